//! The proof of a job of `run`, from its folder: the files are found by what the job noted down.

use std::path::Path;

use super::claim::{self, other_bytes};
use super::finding::Finding;
use super::source::{Source, Sources};
use crate::commands::run::ended::EndedJob;
use crate::commands::run::summary::Summary;
use crate::exit;
use crate::failure::{Failure, Result};
use crate::fingerprint::Fingerprint;

const MOVED: &str =
    "if it was moved, name the files: ditto-batch verify INPUT OUTPUT ERRORS --report REPORT";
const AS_REPORTED: &str = "hashes and counts as reported";

/// Of the job in this folder.
pub(crate) fn prove(folder: &Path) -> Result<Finding> {
    let job = EndedJob::find(folder)?;
    let (report, sources) = files(&job).map_err(|failure| match failure.exit {
        exit::NOT_FOUND => failure.hint(MOVED),
        _ => failure,
    })?;
    let proof = sources.prove()?;
    let mut differences = claim::of_report(&job.summary, &proof);
    differences.extend(other_bytes(
        "report",
        job.report_file,
        &Fingerprint::of(&report),
    ));
    Ok(Finding {
        report: proof.report,
        differences,
        also: Some(AS_REPORTED),
    })
}

/// The report as it is now, and the other files, open.
fn files(job: &EndedJob) -> Result<(Vec<u8>, Sources)> {
    let sources = Sources {
        input: Source::open(&job.input)?,
        // A job writes its results as they are, whatever their names end in.
        output: Source::open_plain(&job.output)?,
        errors: Some(Source::open_plain(&job.errors)?),
    };
    Ok((read(&job.report)?, sources))
}

/// Of files that are named, held against a report beside them.
pub(crate) fn prove_reported(sources: Sources, report: &Path) -> Result<Finding> {
    let said: Summary = serde_json::from_slice(&read(report)?).map_err(|_| {
        Failure::usage(format!(
            "{} is not a report of `ditto-batch run`",
            report.display()
        ))
        .hint("it is the file X.report.json beside the results")
    })?;
    let proof = sources.prove()?;
    Ok(Finding {
        differences: claim::of_report(&said, &proof),
        report: proof.report,
        also: Some(AS_REPORTED),
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Failure::file("cannot read", path, &e))
}
