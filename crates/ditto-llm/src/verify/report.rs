//! What a proof found.

use std::fmt;

use serde::Serialize;

/// The most offences that are named; the rest are counted.
const MAX_NAMED: usize = 10;

/// How results were matched with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MatchedBy {
    /// By the line number in our own result ids, `batch_req_<batch>_<line>`.
    LineNumber,
    /// By `custom_id`, each as often as the input has it.
    CustomId,
}

/// Which of the three files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VerifiedFile {
    /// The requests.
    Input,
    /// The answers.
    Output,
    /// What could not be answered.
    Errors,
}

/// How a line breaks conservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OffenceKind {
    /// A request that has no result.
    Missing,
    /// A result for a request that has one already.
    Repeated,
    /// A result that belongs to no request.
    Unknown,
    /// A result with the line number of one request and the `custom_id` of another.
    WrongCustomId,
    /// A result of another batch.
    OtherBatch,
    /// A result without our id in a file whose first result has it.
    NoLineId,
    /// A result line that is not a JSON object, or too long to be read.
    Unreadable,
}

/// One line that breaks conservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Offence {
    /// The file that the line is in.
    pub file: VerifiedFile,
    /// Physical line in that file, from 1.
    pub line: u64,
    /// How it breaks conservation.
    pub kind: OffenceKind,
}

/// What was found in the files of one batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Lines of the input that are not blank.
    pub requests: u64,
    /// Lines of both result files that are not blank.
    pub results: u64,
    /// Results that are answers.
    pub answered: u64,
    /// Results that say why there is no answer, those of [`unfinished`](Self::unfinished) too.
    pub failed: u64,
    /// Failed results of requests that the end of their batch overtook: `batch_cancelled` and
    /// `batch_expired`. A server does not count them as failed.
    pub unfinished: u64,
    /// Results in the output file.
    pub output_lines: u64,
    /// Results in the error file.
    pub error_lines: u64,
    /// How results were matched with requests; none if there is not one readable result.
    pub matched_by: Option<MatchedBy>,
    /// The batch that our own result ids name, without its prefix `batch_`.
    pub batch: Option<String>,
    /// Lines that break conservation, in all.
    pub offence_count: u64,
    /// The first ten of them, by file and line.
    pub offences: Vec<Offence>,
}

impl VerifyReport {
    /// Whether every request has exactly one result and every result exactly one request.
    #[must_use]
    pub fn is_conserved(&self) -> bool {
        self.offence_count == 0
    }

    /// Whether every request has an answer, too.
    #[must_use]
    pub fn is_all_answered(&self) -> bool {
        self.is_conserved() && self.failed == 0
    }
}

impl fmt::Display for VerifiedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::Errors => "errors",
        })
    }
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            OffenceKind::Missing => "has no result",
            OffenceKind::Repeated => "is a second result for its request",
            OffenceKind::Unknown => "belongs to no request of the input",
            OffenceKind::WrongCustomId => "has the number of one request and the id of another",
            OffenceKind::OtherBatch => "is a result of another batch",
            OffenceKind::NoLineId => "does not say which line it answers",
            OffenceKind::Unreadable => "is not a JSON object that can be read",
        };
        write!(f, "{} line {} {what}", self.file, self.line)
    }
}

/// Counts all offences and keeps the first ones, whatever order they are found in.
#[derive(Debug, Default)]
pub(super) struct Offences {
    count: u64,
    first: Vec<Offence>,
}

impl Offences {
    pub(super) fn add(&mut self, file: VerifiedFile, line: u64, kind: OffenceKind) {
        self.count += 1;
        let offence = Offence { file, line, kind };
        let at = self.first.partition_point(|earlier| *earlier < offence);
        if at < MAX_NAMED {
            self.first.insert(at, offence);
            self.first.truncate(MAX_NAMED);
        }
    }

    pub(super) fn into_count_and_first(self) -> (u64, Vec<Offence>) {
        (self.count, self.first)
    }
}
