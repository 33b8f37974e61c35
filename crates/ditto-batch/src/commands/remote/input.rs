//! The input of a job over a provider: a file that stays, unpacked if it has to be.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use ditto_llm::jobs::{Job, Plan};
use tempfile::NamedTempFile;

use super::failure;
use super::kept::Kept;
use crate::commands::check::input::open;
use crate::compression::Compression;
use crate::exit;
use crate::failure::{Failure, Result};
use crate::fingerprint::Fingerprint;

/// What came by stdin or was packed, in the job's folder.
const UNPACKED: &str = "input.jsonl";

/// The input itself, or what came by stdin or was packed, in the job's folder.
pub(super) fn regular(input: &Path, folder: &Path) -> Result<PathBuf> {
    if stays(input) {
        return found(input);
    }
    let mut source = open(input)?;
    let place = folder.join(UNPACKED);
    let failed = |e: &io::Error| Failure::file("cannot write", &place, e);
    fs::create_dir_all(folder).map_err(|e| failed(&e))?;
    let mut part = NamedTempFile::new_in(folder).map_err(|e| failed(&e))?;
    io::copy(&mut source, &mut part).map_err(|e| Failure::input(input, &e))?;
    part.as_file().sync_all().map_err(|e| failed(&e))?;
    part.persist(&place).map_err(|e| failed(&e.error))?;
    fs::canonicalize(&place).map_err(|e| failed(&e))
}

/// Where the input is by now, if the job's folder was moved together with it.
pub(crate) fn find_again(job: &mut Job, kept: &Kept) {
    let path = whereabouts(job.about(), kept);
    if path != job.about().input.path {
        job.input_is_at(path);
    }
}

/// Takes back what was unpacked for a job that came to nothing, and the folder if nothing else is in it.
pub(super) fn discard(folder: &Path) {
    // What stays is litter, and the next command writes over it.
    let _ = fs::remove_file(folder.join(UNPACKED));
    let _ = fs::remove_dir(folder);
}

/// Where it is, or where it was if it is not found again.
pub(crate) fn whereabouts(plan: &Plan, kept: &Kept) -> PathBuf {
    let then = &plan.input.path;
    if then.exists() {
        return then.clone();
    }
    let there = match stays(&kept.input) {
        true => kept.input.clone(),
        false => kept.places.folder.join(UNPACKED),
    };
    fs::canonicalize(there).unwrap_or(then.clone())
}

/// The input is the one that the job began with. What came by stdin is not asked for again, but if there
/// is something it must be the same.
/// `named` is what that one was called.
pub(super) fn require_same(input: &Path, named: &Path, job: &Job) -> Result<()> {
    let plan = job.about();
    if input == Path::new("-") {
        require_same_stdin(plan)?;
        return job.check_input().map_err(failure);
    }
    if stays(input) {
        let there = found(input)?;
        if there != plan.input.path {
            return Err(other_job(input, named, plan));
        }
        return job.check_input().map_err(failure);
    }
    let there = Fingerprint::read(open(input)?).map_err(|e| Failure::input(input, &e))?;
    match (there.bytes, &there.xxh3) == (plan.input.bytes, &plan.input.xxh3) {
        true => Ok(()),
        false => Err(changed(input)),
    }
}

fn require_same_stdin(plan: &Plan) -> Result<()> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Ok(());
    }
    let there = Fingerprint::read(stdin.lock())
        .map_err(|e| Failure::file("cannot read", Path::new("standard input"), &e))?;
    if there.bytes == 0 || (there.bytes, &there.xxh3) == (plan.input.bytes, &plan.input.xxh3) {
        return Ok(());
    }
    let message = "standard input is not what this job began with";
    Err(Failure::new(exit::CONFLICT, message).hint(
        "nothing was sent and nothing is lost; write the other into a file, to be a job of its own, or give \
         nothing to go on with this one",
    ))
}

/// Where it is: the job is run from anywhere.
fn found(input: &Path) -> Result<PathBuf> {
    fs::canonicalize(input).map_err(|e| {
        Failure::file("cannot read", input, &e)
            .hint("nothing was sent; put it in its place, or give the name that it has now")
    })
}

/// Whether the job reads the input where it is.
fn stays(input: &Path) -> bool {
    input != Path::new("-") && Compression::of(input).is_none()
}

fn other_job(input: &Path, named: &Path, plan: &Plan) -> Failure {
    let about = match stays(named) {
        true => plan.input.path.display(),
        false => named.display(),
    };
    let message = format!(
        "the job in this folder is about {about} and not about {}",
        input.display()
    );
    Failure::new(exit::CONFLICT, message)
        .hint("nothing was sent and nothing is lost; give one of the two inputs another name")
}

fn changed(input: &Path) -> Failure {
    let message = format!("{} has changed since the job began", input.display());
    Failure::new(exit::CONFLICT, message).hint(
        "nothing of the change was sent and all results are kept; put the old file back, or move the \
         job's folder away to begin anew",
    )
}
