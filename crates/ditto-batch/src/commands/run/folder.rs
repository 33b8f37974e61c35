//! The job's folder: made when a job begins, read by its owner only, and held by one command at a time.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::exit;
use crate::failure::{Failure, Result};

/// What of the job must not change from one command to the next.
pub(super) const JOB: &str = "job.json";
/// Locked by who holds the folder.
const LOCK: &str = "job.lock";

/// A folder that no other command works in. It is let go with the process, however that ends.
#[derive(Debug)]
pub(super) struct Held {
    _lock: File,
}

/// Makes the folder if there is none and holds it. Nothing in it is read or written before.
pub(super) fn hold(folder: &Path) -> Result<Held> {
    make(folder)?;
    refuse_foreign(folder)?;
    make_private(folder)?;
    let path = folder.join(LOCK);
    let failed = |e: &io::Error| Failure::file("cannot open", &path, e);
    let lock = open_lock(&path).map_err(|e| failed(&e))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(in_use(folder)),
        Err(TryLockError::Error(e)) => return Err(Failure::file("cannot lock", &path, &e)),
    }
    // Its holder may have removed it while we were waiting to open it: another one would not meet us.
    match fs::symlink_metadata(&path) {
        Ok(there) if there.ino() == lock.metadata().map_err(|e| failed(&e))?.ino() => {}
        _ => return Err(in_use(folder)),
    }
    Ok(Held { _lock: lock })
}

/// Only for reading if it is there: the summary of a job that has ended is read on any disk.
fn open_lock(path: &Path) -> io::Result<File> {
    let no_link = OFlags::NOFOLLOW.bits().cast_signed();
    let there = OpenOptions::new()
        .read(true)
        .custom_flags(no_link)
        .open(path);
    match there {
        Err(e) if e.kind() == io::ErrorKind::NotFound => OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(no_link)
            .open(path),
        opened => opened,
    }
}

fn in_use(folder: &Path) -> Failure {
    Failure::new(
        exit::CONFLICT,
        format!(
            "another command works on this job, whose folder is {}",
            folder.display()
        ),
    )
    .hint(
        "nothing was changed; wait until it has ended or stop it, then give the same command again",
    )
}

fn make(folder: &Path) -> Result<()> {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|e| {
        let failure = Failure::file("cannot make the job's folder", folder, &e);
        match e.kind() {
            PermissionDenied | ReadOnlyFilesystem => failure.hint(
                "a job keeps its folder and its report beside its input: make a link to the input \
                 in a folder that you may write in (`ln -s`), and run that",
            ),
            _ => failure,
        }
    })
}

/// A folder that is no job's is not made one.
fn refuse_foreign(folder: &Path) -> Result<()> {
    if folder.join(JOB).exists() {
        return Ok(());
    }
    let entries = fs::read_dir(folder).map_err(|e| Failure::file("cannot read", folder, &e))?;
    for entry in entries {
        let entry = entry.map_err(|e| Failure::file("cannot read", folder, &e))?;
        if !of_a_beginning(&entry.file_name()) {
            return Err(Failure::new(
                exit::CONFLICT,
                format!(
                    "{} is there already and is no job's folder",
                    folder.display()
                ),
            )
            .hint("nothing was changed; move it away, or give the input another name"));
        }
    }
    Ok(())
}

/// What a command leaves that was killed before it had written down its job.
fn of_a_beginning(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name == LOCK.as_bytes() || (name.starts_with(b".") && name.ends_with(b".ditto-part"))
}

/// Prompts and answers are in it. One that was made by other means is closed to others.
fn make_private(folder: &Path) -> Result<()> {
    let failed = |e: io::Error| Failure::file("cannot close to other users", folder, &e);
    let mode = fs::metadata(folder).map_err(failed)?.permissions().mode();
    match mode & 0o077 {
        0 => Ok(()),
        _ => fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_once_and_can_be_held_again_when_it_is_let_go() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("x.ditto");
        let held = hold(&folder).unwrap();
        assert_eq!(hold(&folder).unwrap_err().exit, exit::CONFLICT);
        drop(held);
        hold(&folder).unwrap();
    }

    #[test]
    fn a_folder_is_closed_to_others_whoever_made_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let _held = hold(folder.path()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(folder.path()), 0o700);
        assert_eq!(mode(&folder.path().join(LOCK)), 0o600);
    }

    #[test]
    fn a_folder_with_other_things_in_it_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.path().join("theirs"), "").unwrap();
        assert_eq!(hold(folder.path()).unwrap_err().exit, exit::CONFLICT);
        let mode = fs::metadata(folder.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_kill_at_the_beginning_left_is_no_hindrance() {
        let folder = tempfile::tempdir().unwrap();
        for left in [LOCK, ".0123-4567.ditto-part"] {
            fs::write(folder.path().join(left), "").unwrap();
        }
        hold(folder.path()).unwrap();
    }
}
