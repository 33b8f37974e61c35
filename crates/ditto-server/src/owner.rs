//! Who owns a data folder: the one process that has the lock of its `owner.lock`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// Another process that owns a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Its process id, where the system tells.
    pub pid: Option<u32>,
}

/// Takes the folder. The lock goes with the process, however it ends.
pub(crate) fn own(folder: &Path) -> Result<File> {
    let path = lock_of(folder);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|e| Error::storage(format!("open {}", path.display()), e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(in_use(folder, holder(&file))),
        Err(TryLockError::Error(e)) => Err(Error::storage(format!("lock {}", path.display()), e)),
    }
}

/// The process that owns the folder now, if any. Nothing is changed.
///
/// # Errors
///
/// If the folder cannot be looked at.
pub fn owner(folder: &Path) -> io::Result<Option<Owner>> {
    Ok(match look(folder)? {
        Looked::Free(_) => None,
        Looked::Owned(owner) => Some(owner),
    })
}

/// What a look at a folder found.
pub(crate) enum Looked {
    /// Nobody owns it, and nobody begins to before this is dropped; there is no file to hold if no
    /// server was ever started here.
    Free(#[expect(dead_code, reason = "held, not read")] Option<File>),
    /// Another process does.
    Owned(Owner),
}

/// As [`own`], without making or keeping anything.
pub(crate) fn look(folder: &Path) -> io::Result<Looked> {
    let file = match File::open(lock_of(folder)) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Looked::Free(None)),
        Err(e) => return Err(e),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Looked::Free(Some(file))),
        Err(TryLockError::WouldBlock) => Ok(Looked::Owned(Owner { pid: holder(&file) })),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

fn lock_of(folder: &Path) -> PathBuf {
    folder.join("owner.lock")
}

fn in_use(folder: &Path, pid: Option<u32>) -> Error {
    let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    Error::new(
        ErrorKind::Conflict,
        format!(
            "the data folder {} is in use by another process{pid}; nothing was changed: stop that process, or give another folder",
            folder.display()
        ),
    )
}

/// Linux has a table of locks; elsewhere nobody tells.
fn holder(file: &File) -> Option<u32> {
    let inode = file.metadata().ok()?.ino();
    holder_in(&std::fs::read_to_string("/proc/locks").ok()?, inode)
}

/// The process in the table that has locked this file. A file of the same number on another disk may
/// be locked as well: then it is not known which.
fn holder_in(locks: &str, inode: u64) -> Option<u32> {
    let inode = inode.to_string();
    let mut holders = locks.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", pid, place, ..] = words[..] else {
            return None;
        };
        let same = place.rsplit(':').next() == Some(&inode);
        pid.parse().ok().filter(|pid: &u32| same && *pid > 0)
    });
    let first = holders.next();
    first.filter(|_| holders.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_and_the_second_is_told_who() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(owner(folder.path()).unwrap(), None);
        let first = own(folder.path()).unwrap();
        let error = own(folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.message().contains("in use by another process"));
        assert!(owner(folder.path()).unwrap().is_some());
        drop(first);
        assert_eq!(owner(folder.path()).unwrap(), None);
    }

    #[test]
    fn the_holder_of_a_lock_is_read_off_the_systems_table() {
        let table = "\
            1: POSIX  ADVISORY  WRITE 7 fe:00:11 0 EOF\n\
            2: FLOCK  ADVISORY  WRITE 4242 fe:00:11 0 EOF\n\
            2: -> FLOCK  ADVISORY  WRITE 4243 fe:00:11 0 EOF\n\
            3: FLOCK  ADVISORY  WRITE 9 fe:00:12 0 EOF\n\
            4: FLOCK  ADVISORY  WRITE 10 fe:01:12 0 EOF\n\
            5: FLOCK  ADVISORY  WRITE 0 fe:00:13 0 EOF\n";
        let found = [11, 12, 13, 14].map(|inode| holder_in(table, inode));
        assert_eq!(found, [Some(4242), None, None, None]);
    }
}
