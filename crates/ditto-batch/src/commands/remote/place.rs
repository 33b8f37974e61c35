//! The results of a job over a provider, put in their places at its end.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use ditto_llm::jobs::{Job, Summary};
use serde::{Deserialize, Serialize};

use super::{Errand, failure};
use crate::exit;
use crate::failure::{Failure, Result};
use crate::fingerprint::{Fingerprint, Sum};
use crate::whole_file::{Mark, Readers, WholeFile};

/// Says that what stands in the places from now on is ours.
const PLACING: &str = "placing.json";
/// How the job ended.
const ENDED: &str = "ended.json";

#[derive(Serialize, Deserialize)]
struct EndedJob {
    summary: Summary,
    output: Fingerprint,
    errors: Fingerprint,
}

/// What is told of a job and its files.
#[derive(Serialize)]
struct Report<'a> {
    version: &'static str,
    summary: &'a Summary,
    plan: &'a ditto_llm::jobs::Plan,
    rounds: &'a [ditto_llm::jobs::Round],
    output: &'a Fingerprint,
    errors: &'a Fingerprint,
}

/// The summary of a job that has ended, if its results are still there.
pub(super) fn ended(errand: &Errand<'_>) -> Result<Option<Summary>> {
    let path = errand.folder.join(ENDED);
    let Ok(bytes) = fs::read(&path) else {
        return Ok(None);
    };
    let ended: EndedJob = serde_json::from_slice(&bytes).map_err(|e| {
        Failure::new(
            exit::CONFLICT,
            format!("{} is damaged: {e}", path.display()),
        )
    })?;
    for (place, expected) in [
        (&errand.output, &ended.output),
        (&errand.errors, &ended.errors),
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
                "nothing was changed; delete {} to have the results written again",
                path.display()
            )));
        }
    }
    Ok(Some(ended.summary))
}

/// Nothing stands in the places but what this job put there.
pub(super) fn require_free(errand: &Errand<'_>) -> Result<()> {
    if errand.folder.join(PLACING).exists() {
        return Ok(());
    }
    for place in [&errand.output, &errand.errors, &errand.report] {
        if fs::symlink_metadata(place).is_ok() {
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

/// Writes output, errors and report, and says that the job has ended. If we stop in between, the next
/// command writes them again.
pub(super) fn results(errand: &Errand<'_>, job: &Job) -> Result<Summary> {
    require_free(errand)?;
    let mark = Mark::new();
    let placing = errand.folder.join(PLACING);
    let mut output = Hashing::begin(&errand.output, &mark)?;
    let mut errors = Hashing::begin(&errand.errors, &mark)?;
    let summary = job.export(&mut output, &mut errors).map_err(failure)?;
    write(&placing, &mark, b"{}", Readers::Owner)?;
    let (output, errors) = (output.place()?, errors.place()?);
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        summary: &summary,
        plan: job.about(),
        rounds: job.rounds(),
        output: &output,
        errors: &errors,
    };
    let json = serde_json::to_vec_pretty(&report).expect("a report is plain data");
    write(&errand.report, &mark, &json, Readers::AsUsual)?;
    let ended = EndedJob {
        summary,
        output,
        errors,
    };
    let json = serde_json::to_vec(&ended).expect("a summary is plain data");
    write(&errand.folder.join(ENDED), &mark, &json, Readers::Owner)?;
    Ok(ended.summary)
}

fn write(path: &Path, mark: &Mark, bytes: &[u8], readers: Readers) -> Result<()> {
    WholeFile::begin(path, mark, readers)
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

    fn place(self) -> Result<Fingerprint> {
        let place = self.place;
        self.file
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .and_then(WholeFile::replace)
            .map_err(|e| Failure::file("cannot write", &place, &e))?;
        Ok(self.sum.fingerprint())
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
