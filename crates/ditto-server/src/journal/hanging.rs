//! A disk for tests that hangs when it is told to.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use super::disk::{Disk, LocalDisk};

/// Each sync waits until it is let go.
#[derive(Debug, Clone, Default)]
pub(crate) struct HangingDisk(Arc<Hang>);

#[derive(Debug, Default)]
struct Hang {
    state: Mutex<Syncs>,
    let_go: Condvar,
}

#[derive(Debug, Default)]
struct Syncs {
    hang: bool,
    waiting: usize,
    /// So many may go although the disk hangs.
    may_go: usize,
}

/// It hangs until this is dropped.
#[must_use]
pub(crate) struct Hanging(HangingDisk);

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

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.change(|syncs| syncs.hang = false);
    }
}

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
