//! The calls to the system that writing a part takes. Tests put a disk in their place that refuses.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// A disk to write parts to.
pub(crate) trait Disk: fmt::Debug + Send + Sync {
    /// A new and empty file, which only we may read.
    fn create(&self, path: &Path) -> io::Result<File>;
    /// Writes all of it there.
    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// The machine's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalDisk;

impl Disk for LocalDisk {
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(path)
    }

    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

/// A disk that hangs when it is told to: each sync waits until it is let go.
#[cfg(test)]
#[derive(Debug, Clone, Default)]
pub(crate) struct HangingDisk(std::sync::Arc<Hang>);

#[cfg(test)]
#[derive(Debug, Default)]
struct Hang {
    state: std::sync::Mutex<Syncs>,
    let_go: std::sync::Condvar,
}

#[cfg(test)]
#[derive(Debug, Default)]
struct Syncs {
    hang: bool,
    waiting: usize,
    /// So many may go although the disk hangs.
    may_go: usize,
}

/// It hangs until this is dropped.
#[cfg(test)]
#[must_use]
pub(crate) struct Hanging(HangingDisk);

#[cfg(test)]
impl HangingDisk {
    pub(crate) fn hang(&self) -> Hanging {
        self.change(|syncs| syncs.hang = true);
        Hanging(self.clone())
    }

    pub(crate) fn let_one_go(&self) {
        self.change(|syncs| syncs.may_go += 1);
    }

    /// Syncs that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.0.state.lock().unwrap().waiting
    }

    fn change(&self, change: impl FnOnce(&mut Syncs)) {
        change(&mut self.0.state.lock().unwrap());
        self.0.let_go.notify_all();
    }

    fn wait(&self) {
        let mut syncs = self.0.state.lock().unwrap();
        syncs.waiting += 1;
        let hangs = |syncs: &mut Syncs| syncs.hang && syncs.may_go == 0;
        let mut syncs = self.0.let_go.wait_while(syncs, hangs).unwrap();
        syncs.may_go = syncs.may_go.saturating_sub(1);
        syncs.waiting -= 1;
    }
}

#[cfg(test)]
impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.change(|syncs| syncs.hang = false);
    }
}

#[cfg(test)]
impl Disk for HangingDisk {
    fn create(&self, path: &Path) -> io::Result<File> {
        LocalDisk.create(path)
    }

    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        LocalDisk.write(file, bytes, at)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.wait();
        LocalDisk.sync(file)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        LocalDisk.sync_folder(folder)
    }
}
