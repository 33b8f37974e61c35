//! Where a job's results go, looked at before anything is paid for: each place must be a place of
//! its own, writable, and free.

use std::fs;
use std::path::{Path, PathBuf};

use super::settings::Settings;
use crate::exit;
use crate::failure::{Failure, Result};
use crate::whole_file::{WholeFile, folder_of};

/// Every place is its own and can be written. A wrong one is said now, not after the last answer.
pub(crate) fn check(settings: &Settings) -> Result<()> {
    let results = [
        ("the answers", &settings.output),
        ("the errors", &settings.errors),
        ("the report", &settings.report),
    ];
    let mut taken = vec![("the input", whole(&settings.input).unwrap_or_default())];
    let folder = whole(&settings.folder)?;
    for (what, path) in results {
        let place = whole(path)?;
        if place.starts_with(&folder) {
            return Err(Failure::usage(format!(
                "{what} would go into the job's own folder {}",
                settings.folder.display()
            )));
        }
        if let Some((other, _)) = taken.iter().find(|(_, taken)| *taken == place) {
            return Err(Failure::usage(format!(
                "{what} and {other} would both be {}",
                path.display()
            ))
            .hint("give each a name of its own with -o and -e"));
        }
        try_to_write(path)?;
        taken.push((what, place));
    }
    Ok(())
}

/// For a job that begins: what stands in a place is not ours.
pub(crate) fn refuse_to_overwrite(settings: &Settings) -> Result<()> {
    let places = [&settings.output, &settings.errors, &settings.report];
    match places
        .into_iter()
        .find(|path| fs::symlink_metadata(path).is_ok())
    {
        Some(path) => Err(not_ours(path)),
        None => Ok(()),
    }
}

/// Something stands in the place of a result that this job did not write.
pub(crate) fn not_ours(path: &Path) -> Failure {
    Failure::new(
        exit::CONFLICT,
        format!("{} is there already and was not written by this job", path.display()),
    )
    .hint("nothing was changed and nothing is lost; move it away, or name other files with -o and -e, and run again")
}

/// The path with its folder resolved; the file itself need not be there, and is not followed.
pub(crate) fn whole(path: &Path) -> Result<PathBuf> {
    let folder = folder_of(path);
    let resolved = folder
        .canonicalize()
        .map_err(|e| of_a_place("there is no folder", folder, &e))?;
    Ok(resolved.join(path.file_name().unwrap_or_default()))
}

/// "Not found" is the exit code of an input or a batch; a place is the disk's.
fn of_a_place(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure {
        exit: exit::LOCAL_IO,
        ..Failure::file(what, path, error)
    }
}

fn try_to_write(path: &Path) -> Result<()> {
    WholeFile::begin(path)
        .map(drop)
        .map_err(|e| of_a_place("cannot write", path, &e))
}
