//! The proof of a job of `run`, from its folder or its input: the files are found by what the job
//! noted down.

use std::path::{Path, PathBuf};

use ditto_llm::jobs::View;

use super::claim::{self, other_bytes};
use super::finding::Finding;
use super::report::Reported;
use super::source::{Source, Sources};
use crate::commands::remote::input::whereabouts;
use crate::commands::remote::kept::Kept;
use crate::commands::remote::{failure, place};
use crate::commands::run::beside;
use crate::commands::run::ended::{EndedJob, not_ended};
use crate::exit;
use crate::failure::{Failure, Result};
use crate::fingerprint::Fingerprint;

const MOVED: &str =
    "if it was moved, name the files: ditto-batch verify INPUT OUTPUT ERRORS --report REPORT";
/// In the folder of every job of each kind.
const UPSTREAM: &str = "job.json";
const PROVIDER: &str = "plan.json";

const AS_REPORTED: &str = "hashes and counts as reported";

/// What a proof of a job needs.
struct Ended {
    input: PathBuf,
    sources: Sources,
    said: Reported,
    /// The report as it is now.
    report: Fingerprint,
    /// As it was when the job ended.
    report_said: Fingerprint,
}

/// The folder of the job that was made of this input, if there is one.
pub(super) fn folder_of(input: &Path) -> Option<PathBuf> {
    let folder = beside(input).folder;
    let is_job = [UPSTREAM, PROVIDER].map(|name| folder.join(name).exists());
    is_job.contains(&true).then_some(folder)
}

/// Of the job in this folder.
pub(super) fn prove(folder: &Path) -> Result<Finding> {
    proof_of(ended(folder)?)
}

/// Of the job in this folder, which was found by its input.
pub(super) fn prove_of_input(folder: &Path, input: &Path) -> Result<Finding> {
    let ended = ended(folder)?;
    let same = |a: &Path, b: &Path| a.canonicalize().ok() == b.canonicalize().ok();
    if !same(&ended.input, input) {
        let message = format!(
            "the job in {} is about {} and not about {}",
            folder.display(),
            ended.input.display(),
            input.display()
        );
        return Err(Failure::new(exit::CONFLICT, message)
            .hint("name the files: ditto-batch verify INPUT OUTPUT ERRORS"));
    }
    proof_of(ended)
}

fn ended(folder: &Path) -> Result<Ended> {
    let found = match folder.join(PROVIDER).exists() {
        true => at_provider(folder),
        false => of_upstream(folder),
    };
    found.map_err(|failure| match failure.hint {
        None if failure.exit == exit::NOT_FOUND => failure.hint(MOVED),
        _ => failure,
    })
}

fn proof_of(ended: Ended) -> Result<Finding> {
    let proof = ended.sources.prove()?;
    let mut differences = claim::of_report(&ended.said, &proof);
    differences.extend(other_bytes("report", &ended.report_said, &ended.report));
    Ok(Finding {
        report: proof.report,
        differences,
        also: Some(AS_REPORTED),
    })
}

fn of_upstream(folder: &Path) -> Result<Ended> {
    let job = EndedJob::find(folder)?;
    Ok(Ended {
        sources: sources(Source::open(&job.input)?, &job.output, &job.errors)?,
        said: Reported::from(&job.summary),
        report: Fingerprint::of(&read(&job.report)?),
        report_said: job.report_file,
        input: job.input,
    })
}

fn at_provider(folder: &Path) -> Result<Ended> {
    let view = View::open(folder).map_err(failure)?;
    let kept = Kept::read(folder)?.ok_or_else(|| not_noted(folder))?;
    let results = place::noted(folder)?;
    let results = results.ok_or_else(|| not_ended(folder))?;
    let plan = view.about();
    let said = Reported::of(&results, plan);
    // What was packed is held to what the job has read, of which the folder has a copy.
    let input = match kept.input != Path::new("-") && kept.input.exists() {
        true => kept.input.clone(),
        false => whereabouts(plan, &kept),
    };
    let source = Source::open(&input)?.first_lines(said.first_lines);
    let report = Fingerprint::of(&read(&kept.places.report)?);
    Ok(Ended {
        sources: sources(source, &kept.places.output, &kept.places.errors)?,
        report_said: results.report.unwrap_or(report.clone()),
        report,
        said,
        input,
    })
}

/// A job writes its results as they are, whatever their names end in.
fn sources(input: Source, output: &Path, errors: &Path) -> Result<Sources> {
    Ok(Sources {
        input,
        output: Source::open_plain(output)?,
        errors: Some(Source::open_plain(errors)?),
    })
}

/// Of files that are named, held against a report beside them.
pub(super) fn prove_reported(sources: Sources, report: &Path) -> Result<Finding> {
    let said = Reported::parse(&read(report)?).ok_or_else(|| {
        Failure::usage(format!(
            "{} is not a report of `ditto-batch run`",
            report.display()
        ))
        .hint("it is the file X.report.json beside the results")
    })?;
    let sources = Sources {
        input: sources.input.first_lines(said.first_lines),
        ..sources
    };
    let proof = sources.prove()?;
    Ok(Finding {
        differences: claim::of_report(&said, &proof),
        report: proof.report,
        also: Some(AS_REPORTED),
    })
}

fn not_noted(folder: &Path) -> Failure {
    let message = format!(
        "the job in {} was made by a program, which has put its results where it wanted",
        folder.display()
    );
    Failure::new(exit::NOT_FOUND, message)
        .hint("name the files: ditto-batch verify INPUT OUTPUT ERRORS")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Failure::file("cannot read", path, &e))
}
