//! What a report or a server says of a batch, held against its files. Pure.

use std::fmt;

use ditto_llm::verify::VerifyReport;
use ditto_llm::wire::Batch;
use serde::Serialize;

use super::report::Reported;
use super::source::Proof;
use crate::fingerprint::Fingerprint;
use crate::printer::{counted, grouped};

/// Something that is not as it was said to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Difference {
    /// A file that has other bytes.
    OtherBytes {
        file: &'static str,
        said: Fingerprint,
        found: Fingerprint,
    },
    /// Another number of something.
    OtherCount {
        count: &'static str,
        said: u64,
        found: u64,
    },
    /// Results of another batch than the one that names them.
    ResultsOfAnother { said: String, found: String },
}

/// What the report of a job says.
pub(crate) fn of_report(said: &Reported, proof: &Proof) -> Vec<Difference> {
    let files = [
        ("input", &said.input, Some(proof.input_like(&said.input))),
        ("output", &said.output, Some(&proof.output)),
        ("errors", &said.errors, proof.errors.as_ref()),
    ];
    let altered = files
        .into_iter()
        .filter_map(|(file, said, found)| other_bytes(file, said, found?));
    let mut differences: Vec<_> = altered.collect();
    let is_altered = |name: &str| {
        let altered = differences.iter();
        altered.clone().any(
            |difference| matches!(difference, Difference::OtherBytes { file, .. } if *file == name),
        )
    };
    let found = &proof.report;
    // The counts of other bytes say nothing about the report.
    let counts = [
        ("input", "lines of the input", said.total, found.requests),
        (
            "output",
            "lines of the output",
            said.output_lines,
            found.output_lines,
        ),
        (
            "output",
            "answered lines",
            said.answered,
            found.output_lines,
        ),
        (
            "errors",
            "lines of the errors",
            said.error_lines,
            found.error_lines,
        ),
        ("errors", "failed lines", said.failed, found.error_lines),
    ];
    let counts: Vec<_> = counts
        .into_iter()
        .filter(|(file, ..)| !is_altered(file) && (*file != "errors" || proof.errors.is_some()))
        .filter_map(|(_, count, said, found)| other_count(count, said, found))
        .collect();
    differences.extend(counts);
    differences
}

pub(crate) fn other_bytes(
    file: &'static str,
    said: &Fingerprint,
    found: &Fingerprint,
) -> Option<Difference> {
    (said != found).then(|| Difference::OtherBytes {
        file,
        said: said.clone(),
        found: found.clone(),
    })
}

fn other_count(count: &'static str, said: u64, found: u64) -> Option<Difference> {
    (said != found).then_some(Difference::OtherCount { count, said, found })
}

/// What a server says of a batch that has ended.
pub(crate) fn of_batch(said: &Batch, found: &VerifyReport) -> Vec<Difference> {
    let id = said.id.strip_prefix("batch_").unwrap_or(&said.id);
    let other = found.batch.as_ref().filter(|batch| *batch != id);
    let other = other.map(|batch| Difference::ResultsOfAnother {
        said: said.id.clone(),
        found: format!("batch_{batch}"),
    });
    let mut differences: Vec<_> = other.into_iter().collect();
    let Some(counts) = said.request_counts else {
        return differences;
    };
    differences.extend(other_count("total", counts.total, found.requests));
    // What the end of the batch overtook is in the error file and counts as neither.
    let by_place = (
        found.output_lines,
        found.error_lines.saturating_sub(found.unfinished),
    );
    // Servers that put every result into one file count by what is in it.
    let by_content = (
        found.answered,
        found.failed.saturating_sub(found.unfinished),
    );
    if ![by_place, by_content].contains(&(counts.completed, counts.failed)) {
        differences.extend(other_count("completed", counts.completed, by_place.0));
        differences.extend(other_count("failed", counts.failed, by_place.1));
    }
    differences
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherBytes { file, said, found } if said.bytes != found.bytes => write!(
                f,
                "{file} has {} and had {} when the job ended",
                counted(found.bytes, "byte"),
                counted(said.bytes, "byte")
            ),
            Self::OtherBytes { file, said, found } => write!(
                f,
                "{file} was altered: its hash is {} and was {} when the job ended",
                found.xxh3, said.xxh3
            ),
            Self::OtherCount { count, said, found } => write!(
                f,
                "{count}: {} were reported and the files have {}",
                grouped(*said),
                grouped(*found)
            ),
            Self::ResultsOfAnother { said, found } => {
                write!(f, "the results of {said} are results of {found}")
            }
        }
    }
}

#[cfg(test)]
mod tests;
