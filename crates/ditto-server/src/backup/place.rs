//! Where a backup is made: `DEST.partial`, which becomes `DEST` when it is whole.
//!
//! One backup at a time has it, by a lock of the operating system on a file in it. The lock goes with
//! its process, however that ends, and the file stays: so the next backup knows what a killed one has
//! left, and takes away nothing else.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{MANIFEST, UNFINISHED, entries, failed, folder_of, is_folder, sync_folder};
use crate::error::{Error, ErrorKind, Result};

/// Locked by the backup that is being made. It outlives its folder's other files.
const LOCK: &str = "backup.lock";
/// What else a backup may have left, besides the unfinished catalog.
const MADE: [&str; 4] = ["journal", "blobs", MANIFEST, CATALOG];
const CATALOG: &str = "catalog.db";
/// Made by a server, also by one that refuses an unfinished backup. A whole one may have served since.
const SERVED: &str = "owner.lock";

/// A place for one backup, until that is whole or given up.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) partial: PathBuf,
    dest: PathBuf,
    _lock: File,
}

impl Place {
    /// Takes the place of a backup to `dest`, with nothing in it.
    ///
    /// Of several that come at once one makes the folder, the lock and holds it; the others are
    /// refused at one of the three.
    pub(super) fn take(dest: &Path) -> Result<Self> {
        let mut name = dest.as_os_str().to_owned();
        name.push(".partial");
        let partial = PathBuf::from(name);
        clear(&partial)?;
        let made = DirBuilder::new().mode(0o700).create(&partial);
        made.map_err(|e| taken(&partial, "make the folder", e))?;
        let lock = lock(&partial).inspect_err(|error| {
            // A full disk may have room for the folder and not for the lock.
            if error.kind() != ErrorKind::Conflict {
                let _ = fs::remove_dir(&partial);
            }
        })?;
        Ok(Self {
            partial,
            dest: dest.to_owned(),
            _lock: lock,
        })
    }

    /// It is given up.
    pub(super) fn clear(&self) {
        // What cannot be removed is known for what it is by the next backup.
        let _ = remove(&self.partial);
    }

    /// It is whole.
    pub(super) fn put_in_place(&self) -> Result<()> {
        fs::rename(&self.partial, &self.dest).map_err(|e| failed("put in place", &self.dest, e))
    }

    /// It is in place, and shall stay there. If we stop before this, the lock's file stays in it, where
    /// it is in nobody's way.
    pub(super) fn leave(self) -> Result<()> {
        // For the same reason an error changes nothing.
        let _ = fs::remove_file(self.dest.join(LOCK));
        sync_folder(&self.dest)?;
        sync_folder(folder_of(&self.dest))
    }
}

/// A new lock in a folder that has none.
fn lock(partial: &Path) -> Result<File> {
    let lock = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(partial.join(LOCK))
        .map_err(|e| taken(partial, "make a lock in", e))?;
    hold(partial, lock)
}

/// Takes away what a backup that was killed has left, and nothing else.
fn clear(partial: &Path) -> Result<()> {
    match fs::symlink_metadata(partial) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed("look at", partial, e)),
        Ok(found) if !found.is_dir() => return Err(in_the_way(partial)),
        Ok(_) => {}
    }
    // An empty one says nothing of whose it is, and nothing is lost with it.
    let was_full = match fs::remove_dir(partial) {
        Ok(()) => return Ok(()),
        Err(e) => e.kind() == io::ErrorKind::DirectoryNotEmpty,
    };
    let names = entries(partial)?.collect::<Result<BTreeSet<OsString>>>()?;
    if names.is_empty() && was_full {
        // Another has cleared it since.
        return Err(busy(partial));
    }
    if !is_left_by_a_backup(&names) {
        return Err(in_the_way(partial));
    }
    let _lock = match OpenOptions::new().write(true).open(partial.join(LOCK)) {
        Ok(lock) => hold(partial, lock)?,
        // Releases before had none.
        Err(e) if e.kind() == io::ErrorKind::NotFound => lock(partial)?,
        Err(e) => return Err(failed("look into", partial, e)),
    };
    remove(partial)
}

/// By its names: there is a mark of ours, and nothing beside what a backup makes.
fn is_left_by_a_backup(names: &BTreeSet<OsString>) -> bool {
    let has = |name: &str| names.contains(OsStr::new(name));
    let is_unfinished = |name: &OsString| name.to_string_lossy().starts_with(UNFINISHED);
    let is_known = |name: &OsString| {
        is_unfinished(name)
            || name == LOCK
            || name == SERVED
            || MADE.iter().any(|made| name == *made)
    };
    let is_marked = has(LOCK) || has(UNFINISHED);
    is_marked && names.iter().all(is_known) && !(has(CATALOG) && has(SERVED))
}

/// Removes what was made there. The lock goes last: what a kill in between leaves is still known.
fn remove(partial: &Path) -> Result<()> {
    let gone = |removed: io::Result<()>| match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("clear", partial, e)),
        Ok(()) | Err(_) => Ok(()),
    };
    for name in entries(partial)? {
        let name = name?;
        let path = partial.join(&name);
        // A link is no folder: itself goes, and not what it leads to.
        match is_folder(&path)? {
            true => gone(fs::remove_dir_all(path))?,
            false if name == LOCK => {}
            false => gone(fs::remove_file(path))?,
        }
    }
    gone(fs::remove_file(partial.join(LOCK)))?;
    match fs::remove_dir(partial) {
        // Without its lock it is anybody's: another has taken it away and put its own there.
        Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => Err(busy(partial)),
        removed => gone(removed),
    }
}

/// Locks what was opened as the lock of this folder, if that is its lock still.
fn hold(partial: &Path, lock: File) -> Result<File> {
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(busy(partial)),
        Err(TryLockError::Error(e)) => return Err(failed("lock", partial, e)),
    }
    let held = lock
        .metadata()
        .map_err(|e| failed("look into", partial, e))?;
    match fs::symlink_metadata(partial.join(LOCK)) {
        Ok(found) if (found.dev(), found.ino()) == (held.dev(), held.ino()) => Ok(lock),
        // Another has cleared it away since it was opened, or has put its backup in place.
        Ok(_) | Err(_) => Err(busy(partial)),
    }
}

/// The folder was free a moment ago: what is there now, or is gone, is another backup's doing.
fn taken(partial: &Path, what: &str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists => busy(partial),
        io::ErrorKind::NotFound if folder_of(partial).exists() => busy(partial),
        _ => failed(what, partial, error),
    }
}

fn busy(partial: &Path) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!(
            "another backup to the same place is being made ({}); nothing was copied and it goes on: wait for its end, or give another place",
            partial.display()
        ),
    )
}

fn in_the_way(partial: &Path) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!(
            "{} is in the way and is not what a backup that was killed leaves; nothing was copied and it was not changed: move it away, or give another place",
            partial.display()
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    /// Of those that clear the same litter away at once, each may be overtaken after any step.
    #[test]
    fn of_many_that_come_at_once_one_has_the_place_and_the_others_are_told_of_it() {
        const BACKUPS: usize = 8;
        let folder = tempfile::tempdir().unwrap();
        for round in 0..500 {
            let dest = folder.path().join(round.to_string());
            let partial = folder.path().join(format!("{round}.partial"));
            fs::create_dir(&partial).unwrap();
            File::create(partial.join(UNFINISHED)).unwrap();
            let start = Barrier::new(BACKUPS);
            let take = || {
                start.wait();
                Place::take(&dest)
            };
            let taken: Vec<Result<Place>> = std::thread::scope(|scope| {
                let running: Vec<_> = (0..BACKUPS).map(|_| scope.spawn(take)).collect();
                running
                    .into_iter()
                    .map(|each| each.join().unwrap())
                    .collect()
            });
            let (places, refused): (Vec<_>, Vec<_>) = taken.into_iter().partition(Result::is_ok);
            assert_eq!(places.len(), 1, "round {round}: {refused:?}");
            for refused in refused {
                let error = refused.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Conflict, "round {round}: {error}");
            }
        }
    }
}
