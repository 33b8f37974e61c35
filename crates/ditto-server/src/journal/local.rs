//! The journal in a local folder: one file per part, one fdatasync for all that arrived meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::Notify;

use super::disk::{Disk, LocalDisk};
use super::record::{self, MAGIC, Record};
use super::scan::{Whole, scan};
use super::{Journal, Long, OnDurable, Part, PartName, Place};
use crate::budget::{Draw, Share};
use crate::error::{Error, Result};
use crate::folder::{self, Found, Pages};

/// Appended but not durable: what a crash may ask for again, beside what is in flight.
const UNRECORDED_BYTES: u64 = 4 << 20;
/// Parts are synced side by side by this many threads; a disk does better with a few at once.
const FLUSHERS: usize = 3;
/// Between two syncs of one part, unless somebody waits: so that on a fast disk a sync is for many
/// lines, not for two or three. What a crash may repeat stays far below a second's work.
const PACE: Duration = Duration::from_millis(5);
/// A part with this much to write does not wait for its pace.
const MANY_BYTES: u64 = 512 * 1024;
/// How long to leave a disk alone that refused a write.
const PAUSE: Duration = Duration::from_millis(500);
/// Of a payload that is not held, what is written at a time.
const STEP_BYTES: usize = 256 * 1024;
/// A part keeps a buffer of this size between flushes.
const SPARE_BYTES: usize = 256 * 1024;

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
    /// Every part that has a writer in this process, to be fenced if it is taken over.
    writers: Mutex<BTreeMap<PartName, Weak<LocalPart>>>,
    dirty: Mutex<Dirty>,
    arrived: Condvar,
    unrecorded: AtomicU64,
    /// What is appended and held is drawn from it, also past its limit: a result must be recorded.
    memory: Share,
    room: Notify,
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

/// One file, being written.
struct LocalPart {
    /// To queue itself.
    itself: Weak<Self>,
    name: PartName,
    shared: Arc<Shared>,
    buffer: Mutex<Buffer>,
    /// Locked for the length of a write and its sync, and to fence.
    file: Mutex<PartFile>,
    /// Somebody waits for this part to be durable.
    hurried: Condvar,
    durable: Notify,
    on_durable: OnDurable,
}

impl fmt::Debug for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalPart")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Where a part is written.
#[derive(Debug, Default)]
struct PartFile {
    /// `None` before the first write.
    open: Option<File>,
    /// Another has taken the segment over: not a byte more.
    fenced: bool,
}

/// What became of a write.
enum Written {
    /// The part has this durable length.
    UpTo(u64),
    /// Nothing: the part is fenced.
    Fenced,
}

/// What is appended and not written yet.
#[derive(Debug)]
struct Pending {
    bytes: Vec<u8>,
    /// Records whose payload is not held, by their place in `bytes`.
    long: Vec<LongRecord>,
    records: usize,
    /// Bytes of all of them in the file.
    length: u64,
    held: Draw,
}

#[derive(Debug)]
struct LongRecord {
    /// Behind so many of the bytes that are held.
    at: usize,
    record: Record,
    payload: Arc<dyn Long>,
}

#[derive(Debug)]
struct Buffer {
    pending: Pending,
    /// Kept to be filled again: the two change places at each flush.
    spare: Vec<u8>,
    queued: bool,
    /// Somebody waits.
    hurry: bool,
    last_flush: Option<Instant>,
    /// Length of the part with all that is pending.
    appended: u64,
    /// Length that is on disk.
    durable: u64,
    durable_records: usize,
    /// As the file is: nothing is kept that will never be written.
    fenced: bool,
}

impl LocalJournal {
    /// The journal in this folder, which exists; what is not written yet is drawn from this memory.
    pub(crate) fn open(folder: &Path, memory: Share) -> Self {
        Self::on(Box::new(LocalDisk), folder, memory)
    }

    fn on(disk: Box<dyn Disk>, folder: &Path, memory: Share) -> Self {
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            disk,
            writers: Mutex::default(),
            dirty: Mutex::default(),
            arrived: Condvar::new(),
            unrecorded: AtomicU64::new(0),
            memory,
            room: Notify::new(),
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

#[async_trait]
impl Journal for LocalJournal {
    fn create(&self, name: PartName, on_durable: OnDurable) -> Arc<dyn Part> {
        let part = Arc::new_cyclic(|itself| LocalPart {
            itself: Weak::clone(itself),
            name,
            shared: Arc::clone(&self.shared),
            buffer: Mutex::new(Buffer {
                pending: Pending::none(&self.shared.memory),
                spare: Vec::new(),
                queued: false,
                hurry: false,
                last_flush: None,
                appended: MAGIC.len() as u64,
                durable: 0,
                durable_records: 0,
                fenced: false,
            }),
            file: Mutex::default(),
            hurried: Condvar::new(),
            durable: Notify::new(),
            on_durable,
        });
        lock(&self.shared.writers).insert(name, Arc::downgrade(&part));
        part
    }

    async fn room(&self) {
        loop {
            let notified = self.shared.room.notified();
            let unrecorded = self.shared.unrecorded.load(Ordering::Relaxed);
            if unrecorded < UNRECORDED_BYTES && !self.shared.refused.load(Ordering::Relaxed) {
                return;
            }
            notified.await;
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
            let gone = || {
                Error::internal(format!(
                    "journal part {name} is shorter than the {cut} bytes that were recorded; its lines wait and are not asked again, the others go on: put the whole data folder back from a backup"
                ))
            };
            let file = shared.part_file(name)?.ok_or_else(gone)?;
            let Whole { records, length } = scan(io::BufReader::new(file.take(cut)), name)?;
            if length == cut { Ok(records) } else { Err(gone()) }
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

#[async_trait]
impl Part for LocalPart {
    fn append(&self, record: &Record, payload: &[u8]) -> Place {
        let length = u32::try_from(payload.len()).expect("answers are limited far below 4 GiB");
        self.take(length, |pending| {
            record::encode(&mut pending.bytes, record, payload);
            pending.held.overgrow((record::HEAD + payload.len()) as u64);
        })
    }

    fn append_long(&self, record: &Record, payload: Arc<dyn Long>) -> Place {
        self.take(payload.length(), |pending| {
            pending.long.push(LongRecord {
                at: pending.bytes.len(),
                record: *record,
                payload,
            });
        })
    }

    fn hurry(&self) {
        lock(&self.buffer).hurry = true;
        self.hurried.notify_one();
    }

    async fn flushed(&self) -> u64 {
        self.hurry();
        loop {
            let notified = self.durable.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            {
                let buffer = lock(&self.buffer);
                if buffer.fenced {
                    return buffer.durable;
                }
                if buffer.durable_records > 0 && buffer.durable == buffer.appended {
                    return buffer.durable;
                }
                if buffer.durable_records == 0 && buffer.pending.records == 0 && !buffer.queued {
                    return 0;
                }
            }
            notified.await;
        }
    }
}

impl Drop for LocalPart {
    fn drop(&mut self) {
        lock(&self.shared.writers).remove(&self.name);
    }
}

impl LocalPart {
    /// Adds a record with a payload of this length to what is pending.
    fn take(&self, length: u32, add: impl FnOnce(&mut Pending)) -> Place {
        let mut buffer = lock(&self.buffer);
        let offset = buffer.appended + record::HEAD as u64;
        if buffer.fenced {
            return Place { offset, length };
        }
        let grown = record::HEAD as u64 + u64::from(length);
        add(&mut buffer.pending);
        buffer.pending.records += 1;
        buffer.pending.length += grown;
        buffer.appended += grown;
        self.shared.unrecorded.fetch_add(grown, Ordering::Relaxed);
        if !std::mem::replace(&mut buffer.queued, true) {
            self.queue();
        }
        Place { offset, length }
    }

    fn queue(&self) {
        let itself = self
            .itself
            .upgrade()
            .expect("a part that runs code is alive");
        lock(&self.shared.dirty).parts.push_back(itself);
        self.shared.arrived.notify_one();
    }

    /// Writes and syncs all that is pending, then says so.
    ///
    /// If the disk refuses, nothing is lost: the bytes stay in memory, the file is cut back to what
    /// was durable, and the part is tried again. Meanwhile `room` lets nothing new be sent.
    fn flush(&self) {
        let (pending, durable) = {
            let mut buffer = self.at_its_pace();
            buffer.last_flush = Some(Instant::now());
            buffer.hurry = false;
            let spare = Pending {
                bytes: std::mem::take(&mut buffer.spare),
                ..Pending::none(&self.shared.memory)
            };
            (
                std::mem::replace(&mut buffer.pending, spare),
                buffer.durable,
            )
        };
        match self.write(&pending, durable) {
            Ok(Written::UpTo(length)) => self.wrote(pending, length),
            Ok(Written::Fenced) => self.gave_up(pending.length),
            Err(error) => self.failed(pending, durable, &error),
        }
    }

    /// The buffer, once it is time to write it.
    fn at_its_pace(&self) -> MutexGuard<'_, Buffer> {
        let mut buffer = lock(&self.buffer);
        loop {
            let since = buffer.last_flush.map_or(PACE, |last| last.elapsed());
            if buffer.hurry || since >= PACE || buffer.pending.length >= MANY_BYTES {
                return buffer;
            }
            (buffer, _) = self
                .hurried
                .wait_timeout(buffer, PACE - since)
                .expect("no thread panics while it holds this lock");
        }
    }

    fn write(&self, pending: &Pending, durable: u64) -> io::Result<Written> {
        let disk = &self.shared.disk;
        let mut part = lock(&self.file);
        if part.fenced {
            return Ok(Written::Fenced);
        }
        let file = match part.open.take() {
            Some(file) => file,
            None => disk.create(&self.shared.path(self.name))?,
        };
        let file = part.open.insert(file);
        let mut length = durable;
        if durable == 0 {
            file.set_len(0)?;
            disk.write(file, MAGIC, 0)?;
            length = MAGIC.len() as u64;
        }
        pending.write(disk.as_ref(), file, length)?;
        disk.sync(file)?;
        if durable == 0 {
            // The file's name must survive too.
            disk.sync_folder(&self.shared.folder)?;
        }
        Ok(Written::UpTo(length + pending.length))
    }

    /// Another has taken the segment over. It waits for a write that is under way, which still
    /// counts; after it not a byte is written and nobody hears of one.
    fn fence(&self) {
        lock(&self.file).fenced = true;
        let dropped = {
            let mut buffer = lock(&self.buffer);
            buffer.fenced = true;
            buffer.hurry = true;
            std::mem::replace(&mut buffer.pending, Pending::none(&self.shared.memory)).length
        };
        self.hurried.notify_all();
        self.forgot(dropped);
    }

    /// What was appended will never be recorded: whoever fenced the part sends the lines.
    fn forgot(&self, bytes: u64) {
        self.shared.unrecorded.fetch_sub(bytes, Ordering::Relaxed);
        self.shared.room.notify_waiters();
        self.durable.notify_waiters();
    }

    /// A part that is fenced is not tried again. If it was the one that the disk refused, nobody else
    /// may be left to find out that the disk is well: the next line does.
    fn gave_up(&self, bytes: u64) {
        self.shared.take_disk_for_well();
        self.forgot(bytes);
    }

    fn wrote(&self, pending: Pending, length: u64) {
        let Pending {
            mut bytes,
            long,
            records,
            length: grown,
            held,
        } = pending;
        // Memory and spool files go back before anybody hears that there is room again.
        drop((long, held));
        let durable_records = {
            let mut buffer = lock(&self.buffer);
            buffer.durable = length;
            buffer.durable_records += records;
            bytes.clear();
            // One burst must not keep its memory for as long as the segment is open.
            if bytes.capacity() <= SPARE_BYTES {
                buffer.spare = bytes;
            }
            buffer.queued = buffer.pending.records > 0;
            if buffer.queued {
                self.queue();
            }
            buffer.durable_records
        };
        self.shared.take_disk_for_well();
        self.shared.unrecorded.fetch_sub(grown, Ordering::Relaxed);
        self.shared.room.notify_waiters();
        (self.on_durable)(durable_records);
        self.durable.notify_waiters();
    }

    fn failed(&self, mut pending: Pending, durable: u64, error: &io::Error) {
        let path = self.shared.path(self.name);
        let reason = format!(
            "the journal cannot be written ({}: {error}); nothing recorded is lost and work goes on by itself when there is space again",
            path.display()
        );
        tracing::error!(reason, "journal stalled");
        *lock(&self.shared.stalled) = Some(reason);
        self.shared.refused.store(true, Ordering::Relaxed);
        if let Some(file) = lock(&self.file).open.as_ref() {
            // Best effort: the next try writes over the same bytes, and replay checks every record.
            let _ = file.set_len(durable);
        }
        {
            let mut buffer = lock(&self.buffer);
            if buffer.fenced {
                drop(buffer);
                return self.gave_up(pending.length);
            }
            let later = std::mem::replace(&mut buffer.pending, Pending::none(&self.shared.memory));
            pending.append(later);
            buffer.pending = pending;
        }
        let dirty = lock(&self.shared.dirty);
        if !dirty.stop {
            // Woken early by another part: that is only an earlier try.
            let _ = self.shared.arrived.wait_timeout(dirty, PAUSE);
            self.queue();
        }
    }
}

impl Pending {
    fn none(memory: &Share) -> Self {
        Self {
            bytes: Vec::new(),
            long: Vec::new(),
            records: 0,
            length: 0,
            held: memory.nothing(),
        }
    }

    /// What was appended later goes behind.
    fn append(&mut self, mut later: Self) {
        let behind = self.bytes.len();
        self.bytes.append(&mut later.bytes);
        self.long
            .extend(later.long.into_iter().map(|long| LongRecord {
                at: behind + long.at,
                ..long
            }));
        self.records += later.records;
        self.length += later.length;
        self.held.overgrow(later.held.bytes());
    }

    /// Writes all of it there, in the order it was appended.
    fn write(&self, disk: &dyn Disk, file: &File, mut at: u64) -> io::Result<()> {
        let mut written = 0;
        for long in &self.long {
            let held = &self.bytes[written..long.at];
            if !held.is_empty() {
                disk.write(file, held, at)?;
            }
            written = long.at;
            at += held.len() as u64;
            at += long.write(disk, file, at)?;
        }
        match &self.bytes[written..] {
            [] => Ok(()),
            held => disk.write(file, held, at),
        }
    }
}

impl LongRecord {
    /// Writes the payload and then its head, which needs the checksum. Returns their length.
    fn write(&self, disk: &dyn Disk, file: &File, at: u64) -> io::Result<u64> {
        let length = self.payload.length();
        let mut steps = Steps {
            disk,
            file,
            at: at + record::HEAD as u64,
            head: record::Head::new(&self.record, length),
        };
        let mut buffered = io::BufWriter::with_capacity(STEP_BYTES, &mut steps);
        self.payload.write_to(&mut buffered)?;
        buffered.flush()?;
        drop(buffered);
        let end = at + record::HEAD as u64 + u64::from(length);
        if steps.at != end {
            let wrong = "a payload had another length than it said; its line is tried again";
            return Err(io::Error::other(wrong));
        }
        disk.write(file, &steps.head.finish(), at)?;
        Ok(end - at)
    }
}

/// Writes a payload step by step and sums it on the way.
struct Steps<'a> {
    disk: &'a dyn Disk,
    file: &'a File,
    at: u64,
    head: record::Head,
}

impl Write for Steps<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.write(self.file, bytes, self.at)?;
        self.head.payload(bytes);
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
    use futures_util::FutureExt;

    use super::*;
    use crate::catalog::{SegmentKey, Usage};
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
        let journal = LocalJournal::on(Box::new(disk.clone()), folder.path(), Share::endless());
        let open = journal.create(NAME, Box::new(|_| {}));
        open.append(&record(1), b"x");
        open.flushed().await;
        drop((open, journal));

        // A new process finds the file. Without a sync its cut could outlive the bytes.
        let journal = LocalJournal::on(Box::new(disk.clone()), folder.path(), Share::endless());
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
        let journal = LocalJournal::on(Box::new(disk.clone()), folder.path(), Share::endless());
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
        let journal = LocalJournal::on(Box::new(disk.clone()), folder.path(), Share::endless());
        let open = journal.create(NAME, Box::new(|_| panic!("nothing of it is recorded")));
        lock(&disk.0).next = [Refusal::NoSpace; 1_000].into();
        open.append(&record(1), &vec![b'x'; UNRECORDED_BYTES as usize]);
        while journal.stalled().is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(journal.cut(NAME).await.unwrap(), 0);
        assert_eq!(open.flushed().await, 0);
        // Nobody else may be left to find out that the disk is well again: the next line does.
        let room = tokio::time::timeout(Duration::from_secs(20), journal.room());
        assert!(room.await.is_ok(), "sending is stopped for ever");
        assert_eq!(journal.stalled(), None);
        assert_eq!(journal.shared.unrecorded.load(Ordering::SeqCst), 0);
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
