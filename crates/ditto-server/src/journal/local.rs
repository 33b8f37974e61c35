//! The journal in a local folder: one file per part, one fdatasync for all that arrived meanwhile.

use std::collections::VecDeque;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;

use super::record::{self, MAGIC, Record};
use super::{Journal, OnDurable, Part, PartName, Place};
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
const MANY_BYTES: usize = 512 * 1024;
/// How long to leave a disk alone that refused a write.
const PAUSE: Duration = Duration::from_millis(500);
/// A part keeps a buffer of this size between flushes.
const SPARE_BYTES: usize = 256 * 1024;

/// A folder of journal parts.
#[derive(Debug)]
pub(crate) struct LocalJournal {
    shared: Arc<Shared>,
    flushers: Vec<std::thread::JoinHandle<()>>,
}

struct Shared {
    folder: PathBuf,
    dirty: Mutex<Dirty>,
    arrived: Condvar,
    unrecorded: AtomicU64,
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
    /// Only the flusher that took this part off the queue locks it.
    file: Mutex<Option<File>>,
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

#[derive(Debug)]
struct Buffer {
    pending: Vec<u8>,
    pending_records: usize,
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
}

impl LocalJournal {
    /// The journal in this folder, which exists.
    pub(crate) fn open(folder: &Path) -> Self {
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            dirty: Mutex::default(),
            arrived: Condvar::new(),
            unrecorded: AtomicU64::new(0),
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
        Arc::new_cyclic(|itself| LocalPart {
            itself: Weak::clone(itself),
            name,
            shared: Arc::clone(&self.shared),
            buffer: Mutex::new(Buffer {
                pending: Vec::new(),
                pending_records: 0,
                spare: Vec::new(),
                queued: false,
                hurry: false,
                last_flush: None,
                appended: MAGIC.len() as u64,
                durable: 0,
                durable_records: 0,
            }),
            file: Mutex::new(None),
            hurried: Condvar::new(),
            durable: Notify::new(),
            on_durable,
        })
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
            let Some(bytes) = shared.read_all(name)? else {
                return Ok(0);
            };
            Ok(whole_records(&bytes, name)?.1)
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
                    "journal part {name} is shorter than the {cut} bytes that were recorded; the sealed results are safe: restore the data folder's `journal` from a backup, or cancel the batch to keep what is there"
                ))
            };
            let mut bytes = shared.read_all(name)?.ok_or_else(gone)?;
            let cut = usize::try_from(cut).map_err(|_| gone())?;
            if bytes.len() < cut {
                return Err(gone());
            }
            bytes.truncate(cut);
            let (records, whole) = whole_records(&bytes, name)?;
            if whole == cut as u64 { Ok(records) } else { Err(gone()) }
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

    fn found(&self) -> Pages {
        folder::pages(&self.shared.folder, "")
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
        let mut buffer = lock(&self.buffer);
        let offset = buffer.appended + record::HEAD as u64;
        let before = buffer.pending.len();
        record::encode(&mut buffer.pending, record, payload);
        let grown = (buffer.pending.len() - before) as u64;
        buffer.appended += grown;
        buffer.pending_records += 1;
        self.shared.unrecorded.fetch_add(grown, Ordering::Relaxed);
        if !std::mem::replace(&mut buffer.queued, true) {
            self.queue();
        }
        Place {
            offset,
            length: payload.len() as u32,
        }
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
                if buffer.durable_records > 0 && buffer.durable == buffer.appended {
                    return buffer.durable;
                }
                if buffer.durable_records == 0 && buffer.pending_records == 0 && !buffer.queued {
                    return 0;
                }
            }
            notified.await;
        }
    }
}

impl LocalPart {
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
        let (bytes, records, durable) = {
            let mut buffer = self.at_its_pace();
            buffer.last_flush = Some(Instant::now());
            buffer.hurry = false;
            let spare = std::mem::take(&mut buffer.spare);
            let bytes = std::mem::replace(&mut buffer.pending, spare);
            (
                bytes,
                std::mem::take(&mut buffer.pending_records),
                buffer.durable,
            )
        };
        match self.write(&bytes, durable) {
            Ok(length) => self.wrote(bytes, records, length),
            Err(error) => self.failed(bytes, records, durable, &error),
        }
    }

    /// The buffer, once it is time to write it.
    fn at_its_pace(&self) -> MutexGuard<'_, Buffer> {
        let mut buffer = lock(&self.buffer);
        loop {
            let since = buffer.last_flush.map_or(PACE, |last| last.elapsed());
            if buffer.hurry || since >= PACE || buffer.pending.len() >= MANY_BYTES {
                return buffer;
            }
            (buffer, _) = self
                .hurried
                .wait_timeout(buffer, PACE - since)
                .expect("no thread panics while it holds this lock");
        }
    }

    fn write(&self, bytes: &[u8], durable: u64) -> io::Result<u64> {
        let mut slot = lock(&self.file);
        if slot.is_none() {
            let file = OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(self.shared.path(self.name))?;
            *slot = Some(file);
        }
        let file = slot.as_mut().expect("opened above");
        let mut length = durable;
        if durable == 0 {
            file.set_len(0)?;
            file.write_all_at(MAGIC, 0)?;
            length = MAGIC.len() as u64;
        }
        file.write_all_at(bytes, length)?;
        file.flush()?;
        file.sync_data()?;
        if durable == 0 {
            // The file's name must survive too.
            File::open(&self.shared.folder)?.sync_all()?;
        }
        Ok(length + bytes.len() as u64)
    }

    fn wrote(&self, mut bytes: Vec<u8>, records: usize, length: u64) {
        let grown = bytes.len() as u64;
        let durable_records = {
            let mut buffer = lock(&self.buffer);
            buffer.durable = length;
            buffer.durable_records += records;
            bytes.clear();
            // One burst must not keep its memory for as long as the segment is open.
            if bytes.capacity() <= SPARE_BYTES {
                buffer.spare = bytes;
            }
            buffer.queued = !buffer.pending.is_empty();
            if buffer.queued {
                self.queue();
            }
            buffer.durable_records
        };
        if self.shared.refused.swap(false, Ordering::Relaxed) {
            lock(&self.shared.stalled).take();
            tracing::info!("the journal can be written again");
        }
        self.shared.unrecorded.fetch_sub(grown, Ordering::Relaxed);
        self.shared.room.notify_waiters();
        (self.on_durable)(durable_records);
        self.durable.notify_waiters();
    }

    fn failed(&self, mut bytes: Vec<u8>, records: usize, durable: u64, error: &io::Error) {
        let path = self.shared.path(self.name);
        let reason = format!(
            "the journal cannot be written ({}: {error}); nothing recorded is lost and work goes on by itself when there is space again",
            path.display()
        );
        tracing::error!(reason, "journal stalled");
        *lock(&self.shared.stalled) = Some(reason);
        self.shared.refused.store(true, Ordering::Relaxed);
        if let Some(file) = lock(&self.file).as_ref() {
            // Best effort: the next try writes over the same bytes, and replay checks every record.
            let _ = file.set_len(durable);
        }
        {
            let mut buffer = lock(&self.buffer);
            bytes.append(&mut buffer.pending);
            buffer.pending = bytes;
            buffer.pending_records += records;
        }
        let dirty = lock(&self.shared.dirty);
        if !dirty.stop {
            // Woken early by another part: that is only an earlier try.
            let _ = self.shared.arrived.wait_timeout(dirty, PAUSE);
            self.queue();
        }
    }
}

impl Shared {
    fn path(&self, name: PartName) -> PathBuf {
        self.folder.join(name.to_string())
    }

    fn read_all(&self, name: PartName) -> Result<Option<Vec<u8>>> {
        let path = self.path(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
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

/// All whole records, where their payloads are, and the length up to the last of them.
fn whole_records(bytes: &[u8], name: PartName) -> Result<(Vec<(Record, Place)>, u64)> {
    if bytes.len() < MAGIC.len() {
        return Ok((Vec::new(), 0));
    }
    if &bytes[..MAGIC.len()] != MAGIC {
        return Err(Error::internal(format!(
            "journal part {name} was written by another version; nothing was changed: start the version that wrote it, or move the file away to have its lines asked again"
        )));
    }
    let mut records = Vec::new();
    let mut at = MAGIC.len();
    while let Ok(Some((record, payload))) = record::decode(bytes, at) {
        let place = Place {
            offset: payload.start as u64,
            length: (payload.end - payload.start) as u32,
        };
        at = payload.end;
        records.push((record, place));
    }
    Ok((records, at as u64))
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
    use super::*;
    use crate::catalog::{SegmentKey, Usage};
    use crate::journal::{Kind, contract};

    #[tokio::test]
    async fn the_local_journal_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        contract::all(&LocalJournal::open(folder.path())).await;
    }

    #[tokio::test]
    async fn a_torn_tail_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let journal = LocalJournal::open(folder.path());
        let name = PartName {
            segment: SegmentKey { batch: 1, index: 0 },
            epoch: 1,
        };
        let open = journal.create(name, Box::new(|_| {}));
        let record = Record {
            line: 1,
            ordinal: 0,
            kind: Kind::Answer,
            usage: Usage::default(),
        };
        open.append(&record, b"whole");
        let whole = open.flushed().await;
        let path = folder.path().join(name.to_string());
        let mut torn = std::fs::read(&path).unwrap();
        torn.extend_from_slice(&[5, 0, 0, 0, 1, 2, 3]);
        std::fs::write(&path, torn).unwrap();
        assert_eq!(journal.cut(name).await.unwrap(), whole);
    }

    #[tokio::test]
    async fn a_part_of_another_version_is_refused_in_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let name = PartName {
            segment: SegmentKey { batch: 1, index: 0 },
            epoch: 1,
        };
        std::fs::write(folder.path().join(name.to_string()), b"DTTOJNL9 and more").unwrap();
        let error = LocalJournal::open(folder.path())
            .cut(name)
            .await
            .unwrap_err();
        assert!(error.message().contains("another version"), "{error}");
    }

    #[tokio::test]
    async fn a_disk_that_refuses_stalls_and_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("journal");
        let journal = LocalJournal::open(&inside);
        let name = PartName {
            segment: SegmentKey { batch: 1, index: 0 },
            epoch: 1,
        };
        let open = journal.create(name, Box::new(|_| {}));
        let record = Record {
            line: 1,
            ordinal: 0,
            kind: Kind::Answer,
            usage: Usage::default(),
        };
        open.append(&record, b"kept");
        while journal.stalled().is_none() {
            tokio::task::yield_now().await;
        }
        std::fs::create_dir(&inside).unwrap();
        let length = open.flushed().await;
        assert_eq!(journal.replay(name, length).await.unwrap().len(), 1);
        assert_eq!(journal.stalled(), None);
    }
}
