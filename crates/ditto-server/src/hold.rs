//! A hold on a data folder: while a backup has it, nothing that a catalog named goes away.
//!
//! The server deletes two kinds of things, journal parts of sealed segments and the blobs that its
//! sweeper takes. It does so under a [`Pass`], and puts it off while there is none to be had. Both
//! sides lock one file of the folder, and a lock goes with its process, however that ends: a backup
//! that was killed holds up nothing.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};

/// A pass of the server is out for as long as a page of deletions takes; what holds longer is another
/// backup or a `gc`.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries: a pass is mostly out for less.
const PAUSE: Duration = Duration::from_millis(5);

/// Where the hold of a folder is.
#[derive(Debug, Clone)]
pub(crate) struct Hold(PathBuf);

/// The right to delete, until it is dropped. There may be many at once.
#[derive(Debug)]
#[must_use]
pub(crate) struct Pass(#[expect(dead_code, reason = "its lock is the pass")] File);

/// The hold itself, until it is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Held(#[expect(dead_code, reason = "its lock is the hold")] File);

impl Hold {
    /// The hold of this data folder.
    pub(crate) fn of(data: &Path) -> Self {
        Self(data.join("hold.lock"))
    }

    /// A pass to delete things; `None` while a backup holds the folder, or if the disk refuses:
    /// what was to go is litter then, and litter can wait.
    pub(crate) fn pass(&self) -> Option<Pass> {
        let file = self.open().ok()?;
        file.try_lock_shared().ok()?;
        Some(Pass(file))
    }

    /// Takes the hold, waiting for passes that are out.
    pub(crate) fn take(&self) -> Result<Held> {
        let file = self.open()?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Held(file)),
                Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => {
                    std::thread::sleep(PAUSE);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!(
                            "another backup or a `gc` is at work ({}); nothing was copied: wait for its end and give the command again",
                            self.0.display()
                        ),
                    ));
                }
                Err(TryLockError::Error(e)) => {
                    return Err(Error::storage(format!("lock {}", self.0.display()), e));
                }
            }
        }
    }

    fn open(&self) -> Result<File> {
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&self.0)
            .map_err(|e| Error::storage(format!("open {}", self.0.display()), e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_a_backup_holds_the_folder_there_is_no_pass() {
        let folder = tempfile::tempdir().unwrap();
        let hold = Hold::of(folder.path());
        let held = hold.take().unwrap();
        assert!(hold.pass().is_none());
        drop(held);
        assert!(hold.pass().is_some());
    }

    #[test]
    fn passes_do_not_wait_for_each_other_and_the_hold_waits_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let hold = Hold::of(folder.path());
        let (one, other) = (hold.pass().unwrap(), hold.pass().unwrap());
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| hold.take().unwrap());
            drop((one, other));
            drop(taken.join().unwrap());
        });
    }
}
