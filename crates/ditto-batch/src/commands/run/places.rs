//! Where a job's results go, looked at before anything is paid for: each place must be a place of
//! its own, writable, and free.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::settings::Settings;
use super::summary::Summary;
use crate::exit;
use crate::failure::{Failure, Result};
use crate::fingerprint::Fingerprint;
use crate::whole_file::{Mark, Readers, WholeFile, folder_of};

const ANOTHER_PLACE: &str =
    "no line was sent by this command; make the place, or name another with -o and -e";

/// What of its results a job has put in their places, each noted before it stands there.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Placed {
    /// xxh3-128 of the answers, in hex.
    pub(crate) output: Option<String>,
    /// Of the errors.
    pub(crate) errors: Option<String>,
}

/// Where results go, in the order in which they are told.
pub(crate) type Results<'a> = [(&'static str, &'a Path); 3];

/// Every place is its own. A wrong one is said now, not after the last answer.
pub(crate) fn check_apart(input: &Path, folder: &Path, results: Results<'_>) -> Result<()> {
    let mut taken = vec![("the input", whole(input).unwrap_or_default())];
    let own = whole(folder)?;
    for (what, path) in results {
        let place = whole(path)?;
        if place.starts_with(&own) {
            return Err(Failure::usage(format!(
                "{what} would go into the job's own folder {}",
                folder.display()
            ))
            .hint("nothing was sent; name another place with -o and -e"));
        }
        if let Some((other, _)) = taken.iter().find(|(_, taken)| *taken == place) {
            return Err(Failure::usage(format!(
                "{what} and {other} would both be {}",
                path.display()
            ))
            .hint("give each a name of its own with -o and -e"));
        }
        taken.push((what, place));
    }
    Ok(())
}

/// What stands in a place is what this job put there; of one that begins that is nothing.
pub(crate) fn check_free(settings: &Settings, placed: &Placed) -> Result<()> {
    let results = [
        (&settings.output, &placed.output),
        (&settings.errors, &placed.errors),
    ];
    for (path, ours) in results {
        let free = is_free(path) || ours.as_ref().is_some_and(|xxh3| holds(path, xxh3));
        if !free {
            return Err(not_ours(path));
        }
    }
    if is_free(&settings.report) || is_report_of(&settings.report, placed) {
        Ok(())
    } else {
        Err(not_ours(&settings.report))
    }
}

/// Each place can be written. Under the job's mark, so by whoever holds its folder.
pub(crate) fn check_writable(results: Results<'_>, mark: &Mark) -> Result<()> {
    for (_, path) in results {
        WholeFile::begin(path, mark, Readers::AsUsual)
            .map(drop)
            .map_err(|e| of_a_place("cannot write", path, &e))?;
    }
    Ok(())
}

/// Nothing stands there, not even a link to nowhere.
pub(crate) fn is_free(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err()
}

/// A file with these bytes stands there.
pub(crate) fn holds(path: &Path, xxh3: &str) -> bool {
    let there = File::open(path).and_then(Fingerprint::read);
    there.is_ok_and(|there| there.xxh3 == xxh3)
}

/// A report about what this job has placed: of a command that was stopped before it could say that
/// the job has ended.
pub(crate) fn is_report_of(path: &Path, placed: &Placed) -> bool {
    let there = fs::read(path).ok();
    let there = there.and_then(|bytes| serde_json::from_slice::<Summary>(&bytes).ok());
    there.is_some_and(|there| {
        Some(there.output.xxh3) == placed.output && Some(there.errors.xxh3) == placed.errors
    })
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
    let failure = Failure::file(what, path, error);
    Failure {
        exit: exit::LOCAL_IO,
        hint: failure.hint.or(Some(ANOTHER_PLACE.to_owned())),
        ..failure
    }
}
