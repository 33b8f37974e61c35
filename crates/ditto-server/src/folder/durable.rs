//! Files that are written whole into a local folder: bytes durable, then the name.
//!
//! Who writes many small files side by side waits for the names of all of them at once: one sync of a
//! folder is for every name that was there when it began.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Syncs of one store.
#[derive(Debug, Default)]
pub(crate) struct Syncs {
    /// Those that somebody waits for: as many as there are writers.
    folders: Mutex<BTreeMap<PathBuf, Arc<SharedSync>>>,
    /// Tells what is being written at the same time apart.
    staged: AtomicU64,
    #[cfg(test)]
    count: AtomicU64,
}

/// The sync of one folder: for every name that was there when it began.
#[derive(Debug, Default)]
pub(crate) struct SharedSync {
    turns: Mutex<Turns>,
    ended: Condvar,
}

/// Who came so far, and for how many of them a sync has begun and ended.
#[derive(Debug, Default)]
struct Turns {
    came: u64,
    durable: u64,
    syncing: bool,
}

impl Syncs {
    /// Writes a file whole. Until this returns it may be there or not, and is never there in part; a
    /// crash leaves a file of another name, with `#` in it.
    pub(crate) fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let folder = parent(path)?;
        let (file, staged) = match self.stage(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.make(folder)?;
                self.stage(path)
            }
            made => made,
        }?;
        let written = self.fill(file, content, &staged, path);
        if written.is_err() {
            // Nobody reads it, and the sweeper takes it if it stays.
            let _ = std::fs::remove_file(&staged);
        }
        written?;
        self.names(folder)
    }

    fn fill(&self, mut file: File, content: &[u8], staged: &Path, path: &Path) -> io::Result<()> {
        file.write_all(content)?;
        self.counted();
        file.sync_data()?;
        std::fs::rename(staged, path)
    }

    /// A new file beside this one. One that a process before us has left there keeps its number.
    fn stage(&self, path: &Path) -> io::Result<(File, PathBuf)> {
        loop {
            let number = self.staged.fetch_add(1, Ordering::Relaxed);
            let mut name = path.as_os_str().to_owned();
            name.push(format!("#{number}"));
            let staged = PathBuf::from(name);
            match new_file(&staged) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                made => return Ok((made?, staged)),
            }
        }
    }

    /// A folder and those above it, their names durable.
    fn make(&self, folder: &Path) -> io::Result<()> {
        let above = parent(folder)?;
        match std::fs::create_dir(folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.make(above)?;
                self.make(folder)
            }
            // Another may have made it just now: its name is not known to be durable.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => self.names(above),
            Err(e) => Err(e),
            Ok(()) => self.names(above),
        }
    }

    /// Makes the names in a folder durable that are there now, with all who wait for the same.
    pub(crate) fn names(&self, folder: &Path) -> io::Result<()> {
        let shared = {
            let mut folders = lock(&self.folders);
            let known = folders.entry(folder.to_owned()).or_default();
            Arc::clone(known)
        };
        let done = shared.with_others(|| {
            self.counted();
            File::open(folder)?.sync_all()
        });
        let mut folders = lock(&self.folders);
        // Ours and the map's: nobody else waits.
        if Arc::strong_count(&shared) == 2 {
            folders.remove(folder);
        }
        done
    }

    #[cfg(test)]
    fn counted(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "syncs are counted in tests")]
    fn counted(&self) {}

    /// Syncs so far.
    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }
}

impl SharedSync {
    /// Syncs, or lets another who begins from now on do it.
    pub(crate) fn with_others(&self, sync: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let mut turns = lock(&self.turns);
        turns.came += 1;
        let mine = turns.came;
        while turns.durable < mine {
            if turns.syncing {
                turns = self
                    .ended
                    .wait(turns)
                    .expect("no thread panics while it holds this lock");
                continue;
            }
            turns.syncing = true;
            let with = turns.came;
            drop(turns);
            let synced = sync();
            turns = lock(&self.turns);
            turns.syncing = false;
            if synced.is_ok() {
                turns.durable = with;
            }
            self.ended.notify_all();
            // The others try for themselves.
            synced?;
        }
        Ok(())
    }
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
}

fn parent(path: &Path) -> io::Result<&Path> {
    path.parent()
        .ok_or_else(|| io::Error::other(format!("{} is in no folder", path.display())))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("no thread panics while it holds this lock")
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn a_file_in_a_folder_that_is_there_costs_two_syncs() {
        let folder = tempfile::tempdir().unwrap();
        let syncs = Syncs::default();
        for number in 1..=3 {
            let path = folder.path().join(number.to_string());
            syncs.write(&path, b"content").unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"content");
            assert_eq!(syncs.count(), 2 * number);
        }
        let names = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 3, "nothing is left beside them");
        assert!(lock(&syncs.folders).is_empty());
    }

    #[test]
    fn what_a_killed_process_left_half_written_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        for number in 0..3 {
            std::fs::write(folder.path().join(format!("blob#{number}")), b"half").unwrap();
        }
        Syncs::default().write(&path, b"whole").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
    }

    #[test]
    fn folders_are_made_and_their_names_are_durable() {
        let folder = tempfile::tempdir().unwrap();
        let syncs = Syncs::default();
        syncs.write(&folder.path().join("a/b/c"), b"x").unwrap();
        // The file, its name, and those of `a` and `b`.
        assert_eq!(syncs.count(), 4);
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        std::fs::create_dir(&taken).unwrap();
        assert!(Syncs::default().write(&taken, b"x").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn who_waits_for_the_same_folder_shares_its_sync() {
        let folder = tempfile::tempdir().unwrap();
        let syncs = Syncs::default();
        let shared = Arc::<SharedSync>::default();
        lock(&syncs.folders).insert(folder.path().to_owned(), Arc::clone(&shared));
        // Somebody's sync is under way: it began before any of these came, and is not for them.
        lock(&shared.turns).syncing = true;
        let came = || lock(&shared.turns).came;
        let start = Barrier::new(9);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    syncs.names(folder.path()).unwrap();
                });
            }
            start.wait();
            while came() < 8 {
                std::thread::yield_now();
            }
            lock(&shared.turns).syncing = false;
            shared.ended.notify_all();
        });
        assert_eq!(syncs.count(), 1);
    }

    #[test]
    fn a_folder_that_cannot_be_synced_is_said_to_each() {
        let folder = tempfile::tempdir().unwrap();
        let syncs = Syncs::default();
        let gone = folder.path().join("gone");
        assert!(syncs.names(&gone).is_err());
        std::fs::create_dir(&gone).unwrap();
        assert!(syncs.names(&gone).is_ok());
    }
}
