//! The results of a job over a provider, put in their places.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use ditto_llm::jobs::{Job, Plan, Round, Summary};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kept::{self, Places};
use super::talk::unix_now;
use super::{events, failure};
use crate::commands::run::places::{check_apart, check_writable};
use crate::exit;
use crate::failure::{Failure, Result};
use crate::fingerprint::{Fingerprint, Sum};
use crate::whole_file::{Mark, Readers, WholeFile};

/// Says which files in the places are ours.
const PLACING: &str = "placing.json";
/// How the job ended.
const ENDED: &str = "ended.json";

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Placing {
    files: Vec<Fingerprint>,
}

/// What there is of a job's results.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) summary: Summary,
    pub(crate) output: Fingerprint,
    pub(crate) errors: Fingerprint,
    /// From its first command to its results.
    pub(crate) seconds: i64,
    /// What tells of them; none until it is written.
    #[serde(default)]
    pub(crate) report: Option<Fingerprint>,
}

/// What is told of a job and its files.
#[derive(Serialize)]
struct Report<'a> {
    version: &'static str,
    exit: u8,
    began: i64,
    seconds: i64,
    summary: &'a Summary,
    plan: &'a Plan,
    rounds: &'a [Round],
    shards: Vec<Value>,
    output: &'a Fingerprint,
    errors: &'a Fingerprint,
}

/// The exit code of results.
pub(crate) fn exit_of(summary: &Summary) -> u8 {
    match (summary.unfinished, summary.failed) {
        (1.., _) => exit::NOT_FINISHED,
        (0, 0) => exit::DONE,
        (0, 1..) => exit::SOME_FAILED,
    }
}

/// The results of a job that has ended, whether or not they are still where they were put.
pub(crate) fn noted(folder: &Path) -> Result<Option<Results>> {
    kept::read(&folder.join(ENDED))
}

/// The results of a job that has ended, if they are still there.
pub(super) fn ended(places: &Places) -> Result<Option<Results>> {
    let Some(ended) = noted(&places.folder)? else {
        return Ok(None);
    };
    for (place, expected) in [
        (&places.output, &ended.output),
        (&places.errors, &ended.errors),
    ] {
        let there = fs::File::open(place).and_then(Fingerprint::read);
        if there.ok().as_ref() != Some(expected) {
            return Err(Failure::new(
                exit::CONFLICT,
                format!(
                    "this job has ended, but {} is not the file that it wrote",
                    place.display()
                ),
            )
            .hint(format!(
                "nothing was changed; move that file away and delete {} to have the results written again",
                places.folder.join(ENDED).display()
            )));
        }
    }
    Ok(Some(ended))
}

/// The job goes on after its end; its results stay where they are until there are others.
pub(super) fn forget_end(places: &Places) -> Result<()> {
    let path = places.folder.join(ENDED);
    fs::remove_file(&path).map_err(|e| Failure::file("cannot remove", &path, &e))
}

/// Each place is one of its own, outside of the job's folder, free, and can be written: said before
/// anything is paid for.
pub(crate) fn require_good(input: &Path, places: &Places) -> Result<()> {
    let results = [
        ("the answers", places.output.as_path()),
        ("the errors", places.errors.as_path()),
        ("the report", places.report.as_path()),
    ];
    check_apart(input, &places.folder, results)?;
    require_free(places)?;
    check_writable(results, &Mark::new())
}

/// Nothing stands in the places but what this job put there.
fn require_free(places: &Places) -> Result<()> {
    let ours = placing(places)?.files;
    for place in [&places.output, &places.errors, &places.report] {
        if fs::symlink_metadata(place).is_err() {
            continue;
        }
        let there = fs::File::open(place).and_then(Fingerprint::read);
        if !there.is_ok_and(|there| ours.contains(&there)) {
            return Err(Failure::new(
                exit::CONFLICT,
                format!(
                    "{} is there already and was not written by this job",
                    place.display()
                ),
            )
            .hint("nothing was sent; move it away, or name other files with -o and -e"));
        }
    }
    Ok(())
}

fn placing(places: &Places) -> Result<Placing> {
    let placing = kept::read(&places.folder.join(PLACING))?;
    Ok(placing.unwrap_or_default())
}

/// Writes output, errors and report of what there is, and, if no line is left, that the job has ended.
/// If we stop in between, the next command writes them again.
pub(crate) fn results(places: &Places, began: i64, job: &Job) -> Result<Results> {
    require_free(places)?;
    let mark = Mark::of_job(&job.about().key);
    let mut output = Hashing::begin(&places.output, &mark)?;
    let mut errors = Hashing::begin(&places.errors, &mark)?;
    let summary = job.export(&mut output, &mut errors).map_err(failure)?;
    let results = Results {
        summary,
        output: output.sum.fingerprint(),
        errors: errors.sum.fingerprint(),
        seconds: (unix_now() - began).max(0),
        report: None,
    };
    let report = report(&results, began, job);
    let mut placing = placing(places)?;
    let report_file = Fingerprint::of(&report);
    let new = [&results.output, &results.errors, &report_file];
    let count = new.len();
    placing.files.extend(new.into_iter().cloned());
    kept::write(&places.folder.join(PLACING), &mark, &placing)?;
    output.place()?;
    errors.place()?;
    write(&places.report, &mark, &report)?;
    // Those before are gone now.
    placing.files.drain(..placing.files.len() - count);
    kept::write(&places.folder.join(PLACING), &mark, &placing)?;
    let results = Results {
        report: Some(report_file),
        ..results
    };
    if results.summary.unfinished == 0 {
        kept::write(&places.folder.join(ENDED), &mark, &results)?;
    }
    Ok(results)
}

fn report(results: &Results, began: i64, job: &Job) -> Vec<u8> {
    let shards = job.shards();
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        exit: exit_of(&results.summary),
        began,
        seconds: results.seconds,
        summary: &results.summary,
        plan: job.about(),
        rounds: job.rounds(),
        shards: shards
            .map(|shard| events::about(shard, job.state(shard)))
            .collect(),
        output: &results.output,
        errors: &results.errors,
    };
    serde_json::to_vec_pretty(&report).expect("a report is plain data")
}

fn write(path: &Path, mark: &Mark, bytes: &[u8]) -> Result<()> {
    WholeFile::begin(path, mark, Readers::AsUsual)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.replace()
        })
        .map_err(|e| Failure::file("cannot write", path, &e))
}

/// A result on its way, with its fingerprint.
struct Hashing {
    place: PathBuf,
    file: BufWriter<WholeFile>,
    sum: Sum,
}

impl Hashing {
    fn begin(place: &Path, mark: &Mark) -> Result<Self> {
        let file = WholeFile::begin(place, mark, Readers::AsUsual)
            .map_err(|e| Failure::file("cannot write", place, &e))?;
        Ok(Self {
            place: place.to_owned(),
            file: BufWriter::with_capacity(1 << 18, file),
            sum: Sum::default(),
        })
    }

    fn place(self) -> Result<()> {
        let place = self.place;
        self.file
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .and_then(WholeFile::replace)
            .map_err(|e| Failure::file("cannot write", &place, &e))
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.sum.add(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
