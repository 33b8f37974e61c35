//! The journal in a local folder: one file per part, one fdatasync for all that arrived meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};

use self::part::LocalPart;
use self::unrecorded::Unrecorded;
use super::disk::{Disk, LocalDisk};
use super::record::Record;
use super::scan::{Whole, scan};
use super::{Journal, OnDurable, Part, PartName, Place};
use crate::budget::Share;
use crate::clock::{BootTime, Steady};
use crate::error::{Error, Result};
use crate::folder::{self, Found, Pages, SharedSync};

mod part;
mod pending;
mod unrecorded;

/// Parts are synced side by side by this many threads; a disk does better with a few at once.
const FLUSHERS: usize = 3;
/// How long to leave a disk alone that refused a write.
const PAUSE: Duration = Duration::from_millis(500);

/// Where parts go that no lease of this catalog made.
const STRAYS: &str = "strays";

/// A folder of journal parts.
#[derive(Debug)]
pub(crate) struct LocalJournal {
    shared: Arc<Shared>,
    flushers: Vec<std::thread::JoinHandle<()>>,
}

struct Shared {
    folder: PathBuf,
    disk: Box<dyn Disk>,
    /// Of the folder: parts that begin at once share it.
    names: SharedSync,
    /// Every part that has a writer in this process, to be fenced if it is taken over.
    writers: Mutex<BTreeMap<PartName, Weak<LocalPart>>>,
    dirty: Mutex<Dirty>,
    arrived: Condvar,
    unrecorded: Unrecorded,
    /// What is appended and held is drawn from it, also past its limit: a result must be recorded.
    memory: Share,
    /// The disk refused the last write: what comes now could not be recorded.
    refused: AtomicBool,
    stalled: Mutex<Option<String>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Dirty {
    /// Each part is here at most once, so the queue is bounded by the open segments.
    parts: VecDeque<Arc<LocalPart>>,
    stop: bool,
}

impl LocalJournal {
    /// The journal in this folder, which exists; what is not written yet is drawn from this memory.
    pub(crate) fn open(folder: &Path, memory: Share) -> Self {
        Self::on(Box::new(LocalDisk), Box::new(BootTime), folder, memory)
    }

    /// The same on another disk, and by another clock.
    pub(crate) fn on(
        disk: Box<dyn Disk>,
        clock: Box<dyn Steady>,
        folder: &Path,
        memory: Share,
    ) -> Self {
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            disk,
            names: SharedSync::default(),
            writers: Mutex::default(),
            dirty: Mutex::default(),
            arrived: Condvar::new(),
            unrecorded: Unrecorded::new(clock),
            memory,
            refused: AtomicBool::new(false),
            stalled: Mutex::new(None),
        });
        let flushers = (0..FLUSHERS)
            .map(|_| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name("journal".to_owned())
                    .spawn(move || shared.flush_until_stopped())
                    .expect("a thread can be started while the server starts")
            })
            .collect();
        Self { shared, flushers }
    }
}

impl Drop for LocalJournal {
    fn drop(&mut self) {
        lock(&self.shared.dirty).stop = true;
        self.shared.arrived.notify_all();
        for flusher in self.flushers.drain(..) {
            // A flusher that panicked has already said so on stderr.
            let _ = flusher.join();
        }
    }
}

/// What was recorded cannot be read again.
fn not_whole(name: PartName, what: String) -> Error {
    Error::internal(format!(
        "journal part {name} {what}; its lines wait and are not asked again, the others go on: put the whole data folder back from a backup"
    ))
}

#[async_trait]
impl Journal for LocalJournal {
    fn create(&self, name: PartName, on_durable: OnDurable) -> Arc<dyn Part> {
        let part = LocalPart::new(name, &self.shared, on_durable);
        lock(&self.shared.writers).insert(name, Arc::downgrade(&part));
        part
    }

    async fn room(&self) {
        loop {
            let left = self.shared.unrecorded.left();
            let refused = self.shared.refused.load(Ordering::Relaxed);
            if !refused && !self.shared.unrecorded.is_at_its_limit() {
                return;
            }
            left.await;
        }
    }

    async fn cut(&self, name: PartName) -> Result<u64> {
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            shared.fence(name);
            let Some(file) = shared.part_file(name)? else {
                return Ok(0);
            };
            // A writer that was killed may have left bytes that are written and not durable. The
            // cut must not outlive them.
            let failed = |e| Error::storage(format!("sync journal part {name}"), e);
            shared.disk.sync(&file).map_err(failed)?;
            shared.disk.sync_folder(&shared.folder).map_err(failed)?;
            Ok(scan(io::BufReader::new(file), name)?.length)
        })
        .await
    }

    async fn replay(&self, name: PartName, cut: u64) -> Result<Vec<(Record, Place)>> {
        if cut == 0 {
            return Ok(Vec::new());
        }
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            let Some(file) = shared.part_file(name)? else {
                return Err(not_whole(name, "is gone".to_owned()));
            };
            let failed = |e| Error::storage(format!("read journal part {name}"), e);
            let bytes = file.metadata().map_err(failed)?.len();
            if bytes < cut {
                let what = format!("has {bytes} bytes of the {cut} that were recorded");
                return Err(not_whole(name, what));
            }
            let Whole { records, length } = scan(io::BufReader::new(file.take(cut)), name)?;
            if length < cut {
                let what = format!("is damaged at byte {length} of the {cut} that were recorded");
                return Err(not_whole(name, what));
            }
            Ok(records)
        })
        .await
    }

    async fn read(&self, name: PartName, range: Range<u64>) -> Result<Bytes> {
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            let path = shared.path(name);
            let length = usize::try_from(range.end - range.start)
                .map_err(|_| Error::internal("a part larger than memory was asked for"))?;
            let mut bytes = vec![0; length];
            File::open(&path)
                .and_then(|file| file.read_exact_at(&mut bytes, range.start))
                .map_err(|e| Error::storage(format!("read {}", path.display()), e))?;
            Ok(Bytes::from(bytes))
        })
        .await
    }

    async fn remove(&self, parts: &[PartName]) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let paths: Vec<_> = parts.iter().map(|name| shared.path(*name)).collect();
        blocking(move || {
            for path in paths {
                match std::fs::remove_file(&path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => {
                        return Err(Error::storage(format!("remove {}", path.display()), e));
                    }
                    Ok(()) | Err(_) => {}
                }
            }
            Ok(())
        })
        .await
    }

    async fn set_aside(&self, parts: &[PartName]) -> Result<()> {
        let (shared, parts) = (Arc::clone(&self.shared), parts.to_vec());
        blocking(move || parts.iter().try_for_each(|name| shared.set_aside(*name))).await
    }

    fn found(&self) -> Pages {
        // What was set aside is kept for a person.
        let ours = |page: Vec<Found>| page.into_iter().filter(|f| !f.path.starts_with(STRAYS));
        folder::pages(&self.shared.folder, "")
            .map_ok(move |page| ours(page).collect())
            .boxed()
    }

    async fn discard(&self, found: &Found) -> Result<()> {
        folder::remove(&self.shared.folder, &found.path).await
    }

    async fn now(&self) -> Result<SystemTime> {
        folder::now(&self.shared.folder).await
    }

    fn stalled(&self) -> Option<String> {
        lock(&self.shared.stalled).clone()
    }
}

impl Shared {
    /// Until it refuses again.
    fn take_disk_for_well(&self) {
        if self.refused.swap(false, Ordering::Relaxed) {
            lock(&self.stalled).take();
            tracing::info!("the journal is written again");
        }
    }

    fn path(&self, name: PartName) -> PathBuf {
        self.folder.join(name.to_string())
    }

    /// What was set aside before under the same name stays, too.
    fn set_aside(&self, name: PartName) -> Result<()> {
        let path = self.path(name);
        let failed = |e| Error::storage(format!("move {} aside", path.display()), e);
        let strays = self.folder.join(STRAYS);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&strays)
            .map_err(failed)?;
        let free = (0u32..)
            .map(|copy| strays.join(format!("{name}.{copy}")))
            .find(|place| !place.exists());
        let place = free.expect("a folder holds fewer files than there are numbers");
        std::fs::rename(&path, place).map_err(failed)?;
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed)
    }

    /// Stops the part's writer, if it is in this process. There is no other: the folder has one
    /// owner.
    fn fence(&self, name: PartName) {
        let writer = lock(&self.writers).get(&name).and_then(Weak::upgrade);
        if let Some(part) = writer {
            part.fence();
        }
    }

    fn part_file(&self, name: PartName) -> Result<Option<File>> {
        let path = self.path(name);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::storage(format!("read {}", path.display()), e)),
        }
    }

    fn flush_until_stopped(&self) {
        while let Some(part) = self.next_dirty() {
            part.flush();
        }
    }

    /// The next part with something to write; `None` once stopped and nothing is left.
    fn next_dirty(&self) -> Option<Arc<LocalPart>> {
        let mut dirty = lock(&self.dirty);
        loop {
            if let Some(part) = dirty.parts.pop_front() {
                return Some(part);
            }
            if dirty.stop {
                return None;
            }
            dirty = self
                .arrived
                .wait(dirty)
                .expect("no thread panics while it holds this lock");
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::storage("a journal task was ended", e))?
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("no thread panics while it holds this lock")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use futures_util::FutureExt;
    use tempfile::TempDir;

    use super::pending::STEP_BYTES;
    use super::*;
    use crate::catalog::{SegmentKey, Usage};
    use crate::clock::ManualClock;
    use crate::journal::hanging::HangingDisk;
    use crate::journal::{Kind, contract};

    #[tokio::test]
    async fn the_local_journal_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        contract::all(&LocalJournal::open(folder.path(), Share::endless())).await;
    }

    const NAME: PartName = PartName {
        segment: SegmentKey { batch: 1, index: 0 },
        epoch: 1,
    };

    const OTHER: PartName = PartName { epoch: 2, ..NAME };

    fn on(disk: &(impl Disk + Clone + 'static), folder: &TempDir) -> LocalJournal {
        timed(disk, Box::new(BootTime), folder)
    }

    fn timed(
        disk: &(impl Disk + Clone + 'static),
        clock: Box<dyn Steady>,
        folder: &TempDir,
    ) -> LocalJournal {
        LocalJournal::on(
            Box::new(disk.clone()),
            clock,
            folder.path(),
            Share::endless(),
        )
    }

    fn has_room(journal: &LocalJournal) -> bool {
        journal.room().now_or_never().is_some()
    }

    async fn until(holds: impl Fn() -> bool) {
        let asked = async {
            while !holds() {
                tokio::task::yield_now().await;
            }
        };
        let asked = tokio::time::timeout(Duration::from_secs(20), asked).await;
        assert!(asked.is_ok(), "waited in vain");
    }

    fn record(line: u64) -> Record {
        Record {
            line,
            ordinal: line as u16,
            kind: Kind::Answer,
            usage: Usage::default(),
        }
    }

    /// The lines that a part holds, and its length.
    async fn lines(journal: &LocalJournal) -> (Vec<u64>, u64) {
        let cut = journal.cut(NAME).await.unwrap();
        let records = journal.replay(NAME, cut).await.unwrap();
        (records.iter().map(|(record, _)| record.line).collect(), cut)
    }

    #[tokio::test]
    async fn a_torn_tail_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let journal = LocalJournal::open(folder.path(), Share::endless());
        let open = journal.create(NAME, Box::new(|_| {}));
        open.append(&record(1), b"whole");
        let whole = open.flushed().await;
        let path = folder.path().join(NAME.to_string());
        let mut torn = std::fs::read(&path).unwrap();
        torn.extend_from_slice(&[5, 0, 0, 0, 1, 2, 3]);
        std::fs::write(&path, torn).unwrap();
        assert_eq!(lines(&journal).await, (vec![1], whole));
    }

    #[tokio::test]
    async fn what_was_written_and_not_durable_is_made_so_before_it_counts() {
        let folder = tempfile::tempdir().unwrap();
        let disk = ScriptedDisk::default();
        let journal = on(&disk, &folder);
        let open = journal.create(NAME, Box::new(|_| {}));
        open.append(&record(1), b"x");
        open.flushed().await;
        drop((open, journal));

        // A new process finds the file. Without a sync its cut could outlive the bytes.
        let journal = on(&disk, &folder);
        let synced = lock(&disk.0).synced;
        journal.cut(NAME).await.unwrap();
        assert_eq!(lock(&disk.0).synced, synced + 2, "the file and its folder");
        lock(&disk.0).next = [Refusal::Sync].into();
        assert!(journal.cut(NAME).await.is_err(), "no cut that may not last");
    }

    /// What a disk does instead of what it was asked.
    #[derive(Debug, Clone, Copy)]
    enum Refusal {
        /// `ENOSPC` when half of it is written.
        NoSpace,
        /// Half of it is written, and it is said to be an error of the device.
        ShortWrite,
        /// `EIO` instead of a sync.
        Sync,
        /// As the next one was asked: nothing is wrong.
        None,
    }

    #[derive(Debug, Default)]
    struct Script {
        /// What becomes of the next calls; behind them all is well.
        next: VecDeque<Refusal>,
        synced: u32,
    }

    #[derive(Debug, Default, Clone)]
    struct ScriptedDisk(Arc<Mutex<Script>>);

    impl ScriptedDisk {
        fn next(&self, about_write: bool) -> Refusal {
            let mut script = lock(&self.0);
            let meant = match script.next.front() {
                Some(Refusal::Sync) => !about_write,
                Some(_) => about_write,
                None => false,
            };
            if !meant {
                return Refusal::None;
            }
            script.next.pop_front().unwrap_or(Refusal::None)
        }
    }

    impl Disk for ScriptedDisk {
        fn create(&self, path: &Path) -> io::Result<File> {
            LocalDisk.create(path)
        }

        fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
            let refusal = match self.next(true) {
                Refusal::NoSpace => io::Error::from_raw_os_error(28),
                Refusal::ShortWrite => io::Error::from(io::ErrorKind::WriteZero),
                Refusal::Sync | Refusal::None => return LocalDisk.write(file, bytes, at),
            };
            LocalDisk.write(file, &bytes[..bytes.len() / 2], at)?;
            Err(refusal)
        }

        fn sync(&self, file: &File) -> io::Result<()> {
            if let Refusal::Sync = self.next(false) {
                return Err(io::Error::from_raw_os_error(5));
            }
            lock(&self.0).synced += 1;
            LocalDisk.sync(file)
        }

        fn sync_folder(&self, folder: &Path) -> io::Result<()> {
            lock(&self.0).synced += 1;
            LocalDisk.sync_folder(folder)
        }
    }

    /// One record is durable, then the disk refuses in this way, again and again.
    async fn refused(refusal: Refusal, says: &str) {
        let folder = tempfile::tempdir().unwrap();
        let disk = ScriptedDisk::default();
        let journal = on(&disk, &folder);
        let durable = Arc::new(AtomicU64::new(0));
        let hook = Arc::clone(&durable);
        let open = journal.create(
            NAME,
            Box::new(move |records| hook.store(records as u64, Ordering::SeqCst)),
        );
        open.append(&record(1), b"before");
        let before = open.flushed().await;

        lock(&disk.0).next = [refusal; 3].into();
        open.append(&record(2), b"meanwhile");
        let long = contract::InPieces(vec![b'x'; 2 * STEP_BYTES + 1]);
        open.append_long(&record(3), Arc::new(long));
        open.hurry();
        while journal.stalled().is_none() {
            tokio::task::yield_now().await;
        }
        let reason = journal.stalled().unwrap();
        assert!(reason.contains(says), "{reason}");
        assert!(reason.contains("nothing recorded is lost"), "{reason}");
        assert!(journal.room().now_or_never().is_none(), "nothing is sent");
        assert_eq!(durable.load(Ordering::SeqCst), 1, "it does not count yet");
        let read = LocalJournal::open(folder.path(), Share::endless())
            .cut(NAME)
            .await
            .unwrap();
        assert_eq!(read, before, "a crash now finds what was recorded");

        open.append(&record(4), b"and after");
        open.flushed().await;
        assert_eq!(durable.load(Ordering::SeqCst), 4);
        assert_eq!(journal.shared.memory.drawn(), 0);
        assert!(journal.room().now_or_never().is_some() && journal.stalled().is_none());
        assert_eq!(lines(&journal).await.0, [1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn a_full_disk_stops_sending_and_goes_on_by_itself() {
        refused(Refusal::NoSpace, "No space left on device").await;
    }

    #[tokio::test]
    async fn a_short_write_stops_sending_and_goes_on_by_itself() {
        refused(Refusal::ShortWrite, "the journal cannot be written").await;
    }

    #[tokio::test]
    async fn a_sync_that_fails_stops_sending_and_goes_on_by_itself() {
        refused(Refusal::Sync, "Input/output error").await;
    }

    #[tokio::test]
    async fn a_part_that_is_fenced_while_the_disk_refuses_gives_its_room_back() {
        let folder = tempfile::tempdir().unwrap();
        let disk = ScriptedDisk::default();
        let journal = on(&disk, &folder);
        let open = journal.create(NAME, Box::new(|_| panic!("nothing of it is recorded")));
        lock(&disk.0).next = [Refusal::NoSpace; 1_000].into();
        open.append(&record(1), &vec![b'x'; unrecorded::BYTES as usize]);
        while journal.stalled().is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(journal.cut(NAME).await.unwrap(), 0);
        assert_eq!(open.flushed().await, 0);
        // Nobody else may be left to find out that the disk is well again: the next line does.
        let room = tokio::time::timeout(Duration::from_secs(20), journal.room());
        assert!(room.await.is_ok(), "sending is stopped for ever");
        assert_eq!(journal.stalled(), None);
        assert!(journal.shared.unrecorded.is_nothing());
    }

    /// Older than an answer may wait.
    const TOO_LONG: Duration = unrecorded::AGE.saturating_add(Duration::from_millis(1));

    #[tokio::test]
    async fn while_an_answer_waits_for_longer_than_a_second_nothing_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, clock) = (HangingDisk::default(), ManualClock::at(0));
        let journal = timed(&disk, Box::new(clock.clone()), &folder);
        let [one, other] = [NAME, OTHER].map(|name| journal.create(name, Box::new(|_| {})));
        let hangs = disk.hang();
        one.append(&record(1), b"few bytes");
        until(|| disk.waiting() == 1).await;
        clock.advance(unrecorded::AGE);
        // Younger than the oldest, one in a part of its own and one behind it.
        other.append(&record(2), b"of another part");
        one.append(&record(3), b"behind it");
        assert!(
            has_room(&journal),
            "it has waited for a second and no longer"
        );

        clock.advance(Duration::from_millis(1));
        assert!(!has_room(&journal));
        drop(hangs);
        journal.room().await;
        one.flushed().await;
        other.flushed().await;
        assert!(journal.shared.unrecorded.is_nothing());
        clock.advance(TOO_LONG);
        assert!(has_room(&journal), "nothing waits, so nothing is old");
    }

    #[tokio::test]
    async fn what_came_while_the_disk_was_busy_waits_from_when_it_came() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, clock) = (HangingDisk::default(), ManualClock::at(0));
        let journal = timed(&disk, Box::new(clock.clone()), &folder);
        let durable = Arc::new(AtomicU64::new(0));
        let hook = Arc::clone(&durable);
        let open = journal.create(
            NAME,
            Box::new(move |records| hook.store(records as u64, Ordering::SeqCst)),
        );
        let hangs = disk.hang();
        open.append(&record(1), b"being written");
        until(|| disk.waiting() == 1).await;
        clock.advance(TOO_LONG);
        open.append(&record(2), b"behind it");
        disk.let_one_go();
        until(|| durable.load(Ordering::SeqCst) == 1 && disk.waiting() == 1).await;
        assert!(has_room(&journal), "the second has not waited");

        clock.advance(TOO_LONG);
        assert!(!has_room(&journal), "now it has");
        drop(hangs);
        open.flushed().await;
        assert!(journal.shared.unrecorded.is_nothing() && has_room(&journal));
    }

    /// A disk that will not have one part as long as this is true.
    #[derive(Debug, Clone)]
    struct PickyDisk(Arc<AtomicBool>);

    impl Disk for PickyDisk {
        fn create(&self, path: &Path) -> io::Result<File> {
            match self.0.load(Ordering::SeqCst) && path.ends_with(NAME.to_string()) {
                true => Err(io::Error::from_raw_os_error(28)),
                false => LocalDisk.create(path),
            }
        }

        fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
            LocalDisk.write(file, bytes, at)
        }

        fn sync(&self, file: &File) -> io::Result<()> {
            LocalDisk.sync(file)
        }

        fn sync_folder(&self, folder: &Path) -> io::Result<()> {
            LocalDisk.sync_folder(folder)
        }
    }

    #[tokio::test]
    async fn what_the_disk_refused_is_not_forgotten_because_it_took_another_part() {
        let folder = tempfile::tempdir().unwrap();
        let refuses = Arc::new(AtomicBool::new(true));
        let (disk, clock) = (PickyDisk(Arc::clone(&refuses)), ManualClock::at(0));
        let journal = timed(&disk, Box::new(clock.clone()), &folder);
        let [one, other] = [NAME, OTHER].map(|name| journal.create(name, Box::new(|_| {})));
        one.append(&record(1), b"refused");
        until(|| journal.stalled().is_some()).await;
        clock.advance(TOO_LONG);
        other.append(&record(2), b"taken");
        other.flushed().await;
        assert!(journal.shared.unrecorded.is_at_its_limit());
        refuses.store(false, Ordering::SeqCst);
        one.flushed().await;
        assert!(journal.shared.unrecorded.is_nothing() && has_room(&journal));
    }

    #[tokio::test]
    async fn a_disk_that_refuses_stalls_and_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("journal");
        let journal = LocalJournal::open(&inside, Share::endless());
        let open = journal.create(NAME, Box::new(|_| {}));
        open.append(&record(1), b"kept");
        while journal.stalled().is_none() {
            tokio::task::yield_now().await;
        }
        std::fs::create_dir(&inside).unwrap();
        let length = open.flushed().await;
        assert_eq!(journal.replay(NAME, length).await.unwrap().len(), 1);
        assert_eq!(journal.stalled(), None);
    }
}
