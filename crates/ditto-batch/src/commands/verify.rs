//! `ditto-batch verify`: proves from the files alone that no request was lost.

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use ditto_llm::verify::{Files, MatchedBy, VerifyReport, verify};
use serde::Serialize;

use super::check::input::open;
use crate::{
    exit,
    failure::{Failure, Result},
    printer::{counted, grouped, show},
};

/// Prove that every request has exactly one result
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct VerifyArgs {
    /// The requests; one of the files may be `-`, and `.gz` and `.zst` are unpacked
    pub(crate) input: PathBuf,

    /// The answers
    pub(crate) output: PathBuf,

    /// What could not be answered
    pub(crate) errors: Option<PathBuf>,

    /// Print the report as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Verifies the files: the verdict goes to `out`, all talk to `err`. Gives the exit code.
pub(crate) fn run(args: &VerifyArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    match report(args).and_then(|report| print(args, &report, out).map(|()| report)) {
        Ok(report) if !report.is_conserved() => exit::CONFLICT,
        Ok(report) if !report.is_all_answered() => exit::SOME_FAILED,
        Ok(_) => exit::DONE,
        Err(failure) => failure.report(err),
    }
}

fn report(args: &VerifyArgs) -> Result<VerifyReport> {
    let paths = [Some(&args.input), Some(&args.output), args.errors.as_ref()];
    if paths
        .into_iter()
        .flatten()
        .filter(|path| path.as_path() == Path::new("-"))
        .count()
        > 1
    {
        return Err(
            Failure::usage("only one of the files can be stdin").hint("give the others by name")
        );
    }
    let mut input = Named::open(&args.input)?;
    let mut output = Named::open(&args.output)?;
    let mut errors = args.errors.as_deref().map(Named::open).transpose()?;
    let files = Files {
        input: &mut input,
        output: &mut output,
        errors: errors.as_mut().map(|errors| errors as &mut dyn Read),
    };
    let result = verify(files, &std::env::temp_dir());
    result.map_err(|error| {
        let failed = [Some(&input), Some(&output), errors.as_ref()];
        match failed.into_iter().flatten().find(|file| file.failed) {
            Some(file) => Failure::file("cannot read", file.path, &error),
            None => Failure::io("cannot keep the ids in a temporary file", &error),
        }
    })
}

/// A file that remembers whether it was the one that could not be read.
struct Named<'a> {
    path: &'a Path,
    reader: Box<dyn Read>,
    failed: bool,
}

impl<'a> Named<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        Ok(Self {
            path,
            reader: open(path)?,
            failed: false,
        })
    }
}

impl Read for Named<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.reader.read(buffer);
        self.failed = result
            .as_ref()
            .is_err_and(|e| e.kind() != io::ErrorKind::Interrupted);
        result
    }
}

/// The report for programs.
#[derive(Serialize)]
struct Printed<'a> {
    conserved: bool,
    #[serde(flatten)]
    report: &'a VerifyReport,
}

fn print(args: &VerifyArgs, report: &VerifyReport, out: &mut dyn Write) -> Result<()> {
    let written = if args.json {
        write_json(report, out)
    } else {
        write_text(report, out)
    };
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::io("cannot write the report", &error))
        }
        // Who reads on may have seen enough.
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write_json(report: &VerifyReport, out: &mut dyn Write) -> io::Result<()> {
    let printed = Printed {
        conserved: report.is_conserved(),
        report,
    };
    show(out, &printed)
}

fn write_text(report: &VerifyReport, out: &mut dyn Write) -> io::Result<()> {
    let counts = format!(
        "{}, {}: {} answered, {} failed",
        counted(report.requests, "request"),
        counted(report.results, "result"),
        grouped(report.answered),
        grouped(report.failed),
    );
    let matched = match report.matched_by {
        Some(MatchedBy::LineNumber) => ", matched by line number",
        Some(MatchedBy::CustomId) => ", matched by custom_id",
        Some(_) | None => "",
    };
    if report.is_conserved() {
        return writeln!(out, "conserved: {counts}{matched}");
    }
    let offences = counted(report.offence_count, "offence");
    writeln!(out, "NOT conserved: {counts}{matched}; {offences}")?;
    for offence in &report.offences {
        writeln!(out, "  {offence}")?;
    }
    match report.offence_count - report.offences.len() as u64 {
        0 => Ok(()),
        more => writeln!(out, "  and {} more", grouped(more)),
    }
}

#[cfg(test)]
mod tests;
