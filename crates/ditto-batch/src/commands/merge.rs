//! `ditto-batch merge`: several files of requests, or of results, as one.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use ditto_llm::ids::{IdSet, Inserted};
use ditto_llm::jsonl::{Content, Line};
use ditto_llm::merge::{Merge, Merged, Outlets};
use serde::Serialize;
use serde_json::value::RawValue;

use super::check::input::open;
use super::rows::outlet::Outlet;
use super::rows::{each_row, each_row_of, too_long};
use crate::exit;
use crate::failure::{Failure, Result};
use crate::printer::{counted, say, show};

/// Merge files of requests, or of results, into one
///
/// Requests come one file after the other; ids that repeat are told. Of results each id keeps one: a success
/// beats a failure, and the first success wins. With `--input` they come in the order of the requests, and
/// exit 9 says that some requests have none.
#[derive(Debug, Clone, Args)]
pub(crate) struct MergeArgs {
    /// JSONL files; one may be `-` for stdin, `.gz` and `.zst` are unpacked
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The requests that the results belong to
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Where the rows go [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where results go that are no answers [default: with the answers]
    #[arg(short, long, value_name = "FILE")]
    errors: Option<PathBuf>,
    /// Print what was merged as JSON on stdout
    #[arg(long, requires = "output")]
    json: bool,
}

/// Merges the files: rows go to `out`, all talk to `err`. Gives the exit code.
pub(crate) fn run(args: &MergeArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let merged = merge(args, out).and_then(|merged| {
        if args.json {
            show(out, &merged).map_err(|e| Failure::io("cannot write what was merged", &e))?;
        }
        Ok(merged)
    });
    match merged {
        Ok(merged) => {
            say(err, merged.sentence());
            merged.exit()
        }
        Err(failure) => failure.report(err),
    }
}

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
enum Outcome {
    Requests { rows: u64, repeated: u64 },
    Results(Merged),
}

impl Outcome {
    fn sentence(&self) -> String {
        match self {
            Self::Requests { rows, repeated: 0 } => counted(*rows, "request"),
            Self::Requests { rows, repeated } => {
                let rows = counted(*rows, "request");
                format!("{rows}, {repeated} with a custom_id that another has; `check` names them")
            }
            Self::Results(merged) => results_sentence(merged),
        }
    }

    fn exit(&self) -> u8 {
        match self {
            Self::Results(merged) if merged.missing > 0 => exit::SOME_FAILED,
            Self::Results(_) | Self::Requests { .. } => exit::DONE,
        }
    }
}

fn results_sentence(merged: &Merged) -> String {
    let mut text = format!(
        "{} of {}",
        merged.answered,
        counted(merged.results, "result")
    );
    text += &format!(" are answers, {} are failures", merged.failed);
    for (count, what) in [
        (merged.repeated, "repeated and left out"),
        (merged.missing, "missing: requests without a result"),
        (merged.unreadable, "lines that are no results"),
        (
            merged.repeated_requests,
            "requests with a custom_id that another has",
        ),
    ] {
        if count > 0 {
            text += &format!("; {count} {what}");
        }
    }
    if merged.unknown > 0 {
        let names = merged.unknown_ids.join(", ");
        text += &format!("; {} of no request, left out: {names}", merged.unknown);
    }
    text
}

fn merge(args: &MergeArgs, out: &mut dyn Write) -> Result<Outcome> {
    let first = Opened::new(&args.files[0])?;
    match args.input.is_some() || first.has_results()? {
        true => results(args, first, out).map(Outcome::Results),
        false => requests(args, &first, out),
    }
}

/// One file after the other.
fn requests(args: &MergeArgs, first: &Opened, out: &mut dyn Write) -> Result<Outcome> {
    if args.errors.is_some() {
        return Err(Failure::usage("requests have no errors to put elsewhere"));
    }
    let mut outlet = Outlet::new(args.output.as_deref(), out)?;
    let mut ids = IdSet::new(std::env::temp_dir(), IdSet::DEFAULT_IN_MEMORY);
    let (mut rows, mut repeated) = (0, 0);
    let mut take = |path: &Path, line: &Line<'_>| {
        if line.is_blank() {
            return Ok(());
        }
        let Content::Bytes(row) = line.content else {
            return Err(too_long(path, line.number));
        };
        rows += 1;
        if let Some(id) = id_of(row) {
            let inserted = ids
                .insert(id.as_bytes(), rows)
                .map_err(|e| spill_failed(&e))?;
            repeated += u64::from(matches!(inserted, Inserted::Seen { .. }));
        }
        outlet.row(row)
    };
    first.each_row(|line| take(&first.path, line))?;
    for path in &args.files[1..] {
        each_row(path, |line| take(path, line))?;
    }
    for late in ids.finish().map_err(|e| spill_failed(&e))? {
        late.map_err(|e| spill_failed(&e))?;
        repeated += 1;
    }
    outlet.finish()?;
    Ok(Outcome::Requests { rows, repeated })
}

fn id_of(row: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        custom_id: Option<String>,
    }
    serde_json::from_slice::<Named>(row).ok()?.custom_id
}

/// One result for each id.
fn results(args: &MergeArgs, first: Opened, out: &mut dyn Write) -> Result<Merged> {
    let mut outlet = Outlet::new(args.output.as_deref(), out)?;
    let mut errors = args.errors.as_deref().map(Outlet::file).transpose()?;
    let mut merge = Merge::new(&std::env::temp_dir()).map_err(|e| spill_failed(&e))?;
    if let Some(input) = &args.input {
        each_row(input, |line| {
            merge.request(line).map_err(|e| spill_failed(&e))
        })?;
    }
    add(&mut merge, first)?;
    for path in &args.files[1..] {
        add(&mut merge, Opened::new(path)?)?;
    }
    let outlets = Outlets {
        output: &mut outlet,
        errors: errors.as_mut().map(|errors| errors as &mut dyn Write),
    };
    let merged = merge
        .write(outlets)
        .map_err(|e| Failure::io("cannot merge the results", &e))?;
    outlet.finish()?;
    errors.map_or(Ok(()), Outlet::finish)?;
    Ok(merged)
}

fn add(merge: &mut Merge, opened: Opened) -> Result<()> {
    let file = opened
        .file
        .try_clone()
        .map_err(|e| Failure::input(&opened.path, &e))?;
    let number = merge
        .file(file)
        .map_err(|e| Failure::usage(e.to_string()))?;
    opened.each_row(|line| merge.result(number, line).map_err(|e| spill_failed(&e)))
}

/// A file that can be read again at any place: one that is packed, or comes from a pipe, is copied.
struct Opened {
    path: PathBuf,
    file: File,
}

impl Opened {
    fn new(path: &Path) -> Result<Self> {
        let plain = path != Path::new("-") && crate::compression::Compression::of(path).is_none();
        let mut source = open(path)?;
        if plain && std::fs::metadata(path).is_ok_and(|there| there.is_file()) {
            let file = File::open(path).map_err(|e| Failure::input(path, &e))?;
            return Ok(Self {
                path: path.to_owned(),
                file,
            });
        }
        let mut file = tempfile::tempfile().map_err(|e| spill_failed(&e))?;
        io::copy(&mut source, &mut file).map_err(|e| Failure::input(path, &e))?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    fn each_row(&self, on_line: impl FnMut(&Line<'_>) -> Result<()>) -> Result<()> {
        let mut reader = FromStart {
            file: &self.file,
            at: 0,
        };
        each_row_of(&mut reader, &self.path, on_line)
    }

    /// Whether its first row is a result, and not a request.
    fn has_results(&self) -> Result<bool> {
        let mut found = None;
        // The first row is enough; the others are passed over by ending with it.
        let ended = self.each_row(|line| match (line.is_blank(), line.content) {
            (false, Content::Bytes(row)) => {
                found = Some(is_result(row));
                Err(Failure::new(exit::DONE, "seen enough"))
            }
            _ => Ok(()),
        });
        match (found, ended) {
            (Some(found), _) => Ok(found),
            (None, ended) => ended.map(|()| false),
        }
    }
}

/// Reads a file from its start, wherever others are in it.
struct FromStart<'a> {
    file: &'a File,
    at: u64,
}

impl io::Read for FromStart<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = std::os::unix::fs::FileExt::read_at(self.file, into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Whether a row is a result: it has a response or an error, and no body to send.
pub(super) fn is_result(row: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Keys<'a> {
        #[serde(borrow)]
        body: Option<&'a RawValue>,
        #[serde(borrow)]
        response: Option<&'a RawValue>,
        #[serde(borrow)]
        error: Option<&'a RawValue>,
    }
    serde_json::from_slice::<Keys<'_>>(row)
        .is_ok_and(|keys| keys.body.is_none() && (keys.response.is_some() || keys.error.is_some()))
}

fn spill_failed(error: &io::Error) -> Failure {
    Failure::io("cannot keep the ids in a temporary file", error)
        .hint("point TMPDIR to a folder with 40 bytes of room a row")
}
