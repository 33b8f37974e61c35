//! Proof of conservation from the files alone: every request has exactly one result, in the output
//! or in the error file, and every result belongs to a request.
//!
//! Where the results carry our own ids, `batch_req_<batch>_<line>`, they are matched by line
//! number. Otherwise they are matched by `custom_id`, each as often as the input has it.
//!
//! ```
//! use ditto_llm::verify::{Files, verify};
//!
//! let input = r#"{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{}}
//! {"custom_id":"b","method":"POST","url":"/v1/embeddings","body":{}}"#;
//! let output = r#"{"custom_id":"b","response":{"status_code":200,"body":{"id":"x"}}}"#;
//! let files =
//!     Files { input: &mut input.as_bytes(), output: &mut output.as_bytes(), errors: None };
//! let report = verify(files, &std::env::temp_dir())?;
//!
//! assert_eq!((report.requests, report.answered), (2, 1));
//! assert_eq!(report.offences[0].to_string(), "input line 1 has no result");
//! # Ok::<(), std::io::Error>(())
//! ```

mod custom_ids;
mod report;
mod requests;
mod result;

use std::{
    fmt,
    io::{self, Read},
    path::Path,
};

pub use self::report::{MatchedBy, Offence, OffenceKind, VerifiedFile, VerifyReport};
pub(crate) use self::result::ResultParts;
use self::{
    custom_ids::{Origin, match_custom_ids},
    report::Offences,
    requests::{Mark, Requests},
    result::LineId,
};
use crate::{
    ids::Record,
    jsonl::{Content, Line, LineSplitter},
};

/// Large enough for any answer that is worth an answer line; longer lines count as unreadable, and
/// are not held in memory.
const MAX_LINE_BYTES: usize = 128 << 20;

const READ_BUFFER: usize = 1 << 20;

/// The files of one batch, open for reading.
pub struct Files<'a> {
    /// The requests.
    pub input: &'a mut dyn Read,
    /// The answers.
    pub output: &'a mut dyn Read,
    /// The error file, if there is one.
    pub errors: Option<&'a mut dyn Read>,
}

impl fmt::Debug for Files<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files")
            .field("errors", &self.errors.is_some())
            .finish_non_exhaustive()
    }
}

/// Reads the files once, each from its start, and reports what does not add up. `dir` takes
/// unnamed temporary files if there are more ids than fit into memory.
///
/// # Errors
///
/// A file cannot be read, or a temporary one not written. Lines that are wrong are no errors; they
/// are in the report.
pub fn verify(files: Files<'_>, dir: &Path) -> io::Result<VerifyReport> {
    let mut requests = Requests::new(dir);
    each_line(files.input, |line| requests.add(&line))?;
    let mut ledger = Ledger::new(requests);
    each_line(files.output, |line| {
        ledger.result(VerifiedFile::Output, &line)
    })?;
    if let Some(errors) = files.errors {
        each_line(errors, |line| ledger.result(VerifiedFile::Errors, &line))?;
    }
    ledger.finish()
}

fn each_line(
    reader: &mut dyn Read,
    mut on_line: impl FnMut(Line<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut splitter = LineSplitter::new(MAX_LINE_BYTES);
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return splitter.finish(on_line),
            Ok(length) => splitter.feed(&buffer[..length], &mut on_line)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Requests on one side, results on the other.
#[derive(Debug)]
struct Ledger {
    requests: Requests,
    output_lines: u64,
    error_lines: u64,
    answered: u64,
    unfinished: u64,
    /// Results without `custom_id`, where that is what they are matched by.
    unnamed: u64,
    /// Chosen by the first result that can be read.
    matching: Option<Matching>,
    offences: Offences,
}

#[derive(Debug)]
enum Matching {
    LineNumber { batch: String },
    CustomId,
}

impl Ledger {
    fn new(requests: Requests) -> Self {
        Self {
            requests,
            output_lines: 0,
            error_lines: 0,
            answered: 0,
            unfinished: 0,
            unnamed: 0,
            matching: None,
            offences: Offences::default(),
        }
    }

    fn result(&mut self, file: VerifiedFile, line: &Line<'_>) -> io::Result<()> {
        if line.is_blank() {
            return Ok(());
        }
        match file {
            VerifiedFile::Errors => self.error_lines += 1,
            VerifiedFile::Input | VerifiedFile::Output => self.output_lines += 1,
        }
        let parts = match line.content {
            Content::Bytes(bytes) => ResultParts::read(bytes),
            Content::TooLong => None,
        };
        let Some(parts) = parts else {
            self.offences
                .add(file, line.number, OffenceKind::Unreadable);
            return Ok(());
        };
        self.answered += u64::from(parts.is_answer());
        self.unfinished += u64::from(parts.is_unfinished());
        let line_id = parts.line_id();
        let matching = self.matching.get_or_insert_with(|| match &line_id {
            Some(id) => Matching::LineNumber {
                batch: id.batch.clone(),
            },
            None => Matching::CustomId,
        });
        match matching {
            Matching::LineNumber { batch } => {
                let kind = by_line_number(&mut self.requests, batch, line_id, &parts);
                if let Some(kind) = kind {
                    self.offences.add(file, line.number, kind);
                }
                Ok(())
            }
            Matching::CustomId => self.by_custom_id(
                Origin {
                    file,
                    line: line.number,
                },
                &parts,
            ),
        }
    }

    /// Puts the result beside the requests of the same id; they are compared at the end. Results
    /// without an id stand for requests without one.
    fn by_custom_id(&mut self, origin: Origin, parts: &ResultParts<'_>) -> io::Result<()> {
        if let Some(id) = parts.custom_id() {
            let key = self.requests.hasher.hash(id.as_bytes());
            return self.requests.ids.push_by_key(Record {
                key,
                number: origin.to_number(),
            });
        }
        self.unnamed += 1;
        if self.unnamed > self.requests.unnamed {
            self.offences
                .add(origin.file, origin.line, OffenceKind::Unknown);
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<VerifyReport> {
        let matched_by = match &self.matching {
            Some(Matching::CustomId) => {
                self.requests.name_bare_lines()?;
                match_custom_ids(&mut self.requests, &mut self.offences)?;
                name_missing(
                    &self.requests,
                    Mark::is_unnamed,
                    self.unnamed,
                    &mut self.offences,
                );
                Some(MatchedBy::CustomId)
            }
            Some(Matching::LineNumber { .. }) => {
                name_missing(&self.requests, Mark::lacks_result, 0, &mut self.offences);
                Some(MatchedBy::LineNumber)
            }
            None => {
                name_missing(&self.requests, Mark::lacks_result, 0, &mut self.offences);
                None
            }
        };
        let batch = match self.matching {
            Some(Matching::LineNumber { batch }) => Some(batch),
            Some(Matching::CustomId) | None => None,
        };
        let results = self.output_lines + self.error_lines;
        let (offence_count, offences) = self.offences.into_count_and_first();
        Ok(VerifyReport {
            requests: self.requests.count,
            results,
            answered: self.answered,
            failed: results - self.answered,
            unfinished: self.unfinished,
            output_lines: self.output_lines,
            error_lines: self.error_lines,
            matched_by,
            batch,
            offence_count,
            offences,
        })
    }
}

/// Ticks off the request that a result names; gives what is wrong with the result, if anything.
fn by_line_number(
    requests: &mut Requests,
    batch: &str,
    id: Option<LineId>,
    parts: &ResultParts<'_>,
) -> Option<OffenceKind> {
    let Some(id) = id else {
        return Some(OffenceKind::NoLineId);
    };
    if id.batch != batch {
        return Some(OffenceKind::OtherBatch);
    }
    let custom_id = parts
        .custom_id()
        .map(|id| requests.hasher.hash(id.as_bytes()));
    let index = usize::try_from(id.line.wrapping_sub(1)).ok();
    let mark = index.and_then(|index| requests.marks.get_mut(index));
    let Some(mark) = mark.filter(|mark| mark.is_request()) else {
        return Some(OffenceKind::Unknown);
    };
    if mark.has_result() {
        return Some(OffenceKind::Repeated);
    }
    mark.set_has_result();
    match custom_id {
        Some(hash) if !mark.may_have_id(hash) => Some(OffenceKind::WrongCustomId),
        Some(_) | None => None,
    }
}

/// Names the requests without a result: those marked so, but for the first `given` of them.
fn name_missing(
    requests: &Requests,
    lacks_result: fn(Mark) -> bool,
    given: u64,
    offences: &mut Offences,
) {
    let lacking = (1..)
        .zip(&requests.marks)
        .filter(|(_, mark)| lacks_result(**mark));
    for (line, _) in lacking.skip(usize::try_from(given).unwrap_or(usize::MAX)) {
        offences.add(VerifiedFile::Input, line, OffenceKind::Missing);
    }
}

#[cfg(test)]
mod tests;
