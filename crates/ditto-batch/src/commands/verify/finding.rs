//! What a proof found, for people and for programs.

use std::io::{self, Write};

use ditto_llm::verify::{MatchedBy, Offence, VerifyReport};
use serde::Serialize;

use super::claim::Difference;
use crate::exit;
use crate::printer::{counted, grouped, show};

/// The most offences that are named; the rest are counted.
const MAX_NAMED: usize = 10;

/// What was found, and what it was held against.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) report: VerifyReport,
    /// What is not as it was reported.
    pub(crate) differences: Vec<Difference>,
    /// What was found to be so if there is no difference, for people: "hashes as reported".
    pub(crate) also: Option<&'static str>,
}

/// The finding for programs.
#[derive(Serialize)]
struct Printed<'a> {
    conserved: bool,
    requests: u64,
    results: u64,
    answered: u64,
    failed: u64,
    unfinished: u64,
    output_lines: u64,
    error_lines: u64,
    matched_by: Option<MatchedBy>,
    batch: Option<String>,
    offence_count: u64,
    offences: Vec<Named<'a>>,
}

/// An offence: of a line, or of a whole file.
#[derive(Serialize)]
#[serde(untagged)]
enum Named<'a> {
    Whole(&'a Difference),
    Line(&'a Offence),
}

impl Finding {
    pub(crate) fn exit(&self) -> u8 {
        match self.offence_count() {
            0 => exit::DONE,
            _ => exit::SOME_FAILED,
        }
    }

    fn offence_count(&self) -> u64 {
        self.report.offence_count + self.differences.len() as u64
    }

    /// The first ten; those of whole files come first, since they are few and say the most.
    fn named(&self) -> impl Iterator<Item = Named<'_>> {
        let whole = self.differences.iter().map(Named::Whole);
        let lines = self.report.offences.iter().map(Named::Line);
        whole.chain(lines).take(MAX_NAMED)
    }

    pub(crate) fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let report = &self.report;
        let printed = Printed {
            conserved: self.offence_count() == 0,
            requests: report.requests,
            results: report.results,
            answered: report.answered,
            failed: report.failed,
            unfinished: report.unfinished,
            output_lines: report.output_lines,
            error_lines: report.error_lines,
            matched_by: report.matched_by,
            batch: report.batch.as_ref().map(|batch| format!("batch_{batch}")),
            offence_count: self.offence_count(),
            offences: self.named().collect(),
        };
        show(out, &printed)
    }

    pub(crate) fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let count = self.offence_count();
        if count == 0 {
            let also = self.also.map(|also| format!("; {also}"));
            return writeln!(
                out,
                "conserved: {}{}",
                self.counts(),
                also.unwrap_or_default()
            );
        }
        let offences = counted(count, "offence");
        writeln!(out, "NOT conserved: {}; {offences}", self.counts())?;
        let mut named = 0;
        for offence in self.named() {
            named += 1;
            match offence {
                Named::Whole(difference) => writeln!(out, "  {difference}")?,
                Named::Line(offence) => writeln!(out, "  {offence}")?,
            }
        }
        match count - named {
            0 => Ok(()),
            more => writeln!(out, "  and {} more", grouped(more)),
        }
    }

    fn counts(&self) -> String {
        let report = &self.report;
        let unfinished = match report.unfinished {
            0 => String::new(),
            some => format!(" ({} of them cancelled or expired)", grouped(some)),
        };
        let matched = match report.matched_by {
            Some(MatchedBy::LineNumber) => ", matched by line number",
            Some(MatchedBy::CustomId) => ", matched by custom_id",
            Some(_) | None => "",
        };
        format!(
            "{}, {}: {} answered, {} failed{unfinished}{matched}",
            counted(report.requests, "request"),
            counted(report.results, "result"),
            grouped(report.answered),
            grouped(report.failed),
        )
    }
}
