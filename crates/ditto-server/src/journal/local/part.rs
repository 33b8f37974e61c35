//! One part of the local journal while it is written: what is appended, when it is written, and what
//! becomes of it if the disk refuses or another takes the segment over.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::super::record::{self, MAGIC, Record};
use super::super::{Long, OnDurable, Part, PartName, Place};
use super::pending::{LongRecord, Pending};
use super::{PAUSE, Shared, lock};

/// Between two syncs of one part, and before its first, unless somebody waits: so that on a fast disk a
/// sync is for many lines, not for two or three, and one of a few lines is often synced once. What a crash may repeat stays far below a second's work.
const PACE: Duration = Duration::from_millis(5);
/// A part with this much to write does not wait for its pace.
const MANY_BYTES: u64 = 512 * 1024;
/// A part keeps a buffer of this size between flushes.
const SPARE_BYTES: usize = 256 * 1024;

/// One file, being written.
pub(super) struct LocalPart {
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

#[derive(Debug)]
struct Buffer {
    pending: Pending,
    /// Kept to be filled again: the two change places at each flush.
    spare: Vec<u8>,
    queued: bool,
    /// Somebody waits.
    hurry: bool,
    /// When it was written last, or begun.
    paced_from: Option<Instant>,
    /// Length of the part with all that is pending.
    appended: u64,
    /// Length that is on disk.
    durable: u64,
    durable_records: usize,
    /// As the file is: nothing is kept that will never be written.
    fenced: bool,
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
    pub(super) fn new(name: PartName, shared: &Arc<Shared>, on_durable: OnDurable) -> Arc<Self> {
        Arc::new_cyclic(|itself| Self {
            itself: Weak::clone(itself),
            name,
            shared: Arc::clone(shared),
            buffer: Mutex::new(Buffer {
                pending: Pending::none(&shared.memory),
                spare: Vec::new(),
                queued: false,
                hurry: false,
                paced_from: None,
                appended: MAGIC.len() as u64,
                durable: 0,
                durable_records: 0,
                fenced: false,
            }),
            file: Mutex::default(),
            hurried: Condvar::new(),
            durable: Notify::new(),
            on_durable,
        })
    }

    /// Adds a record with a payload of this length to what is pending.
    fn take(&self, length: u32, add: impl FnOnce(&mut Pending)) -> Place {
        let mut buffer = lock(&self.buffer);
        let offset = buffer.appended + record::HEAD as u64;
        if buffer.fenced {
            return Place { offset, length };
        }
        let grown = record::HEAD as u64 + u64::from(length);
        let since = *buffer
            .pending
            .since
            .get_or_insert_with(|| self.shared.unrecorded.now());
        buffer.paced_from.get_or_insert_with(Instant::now);
        add(&mut buffer.pending);
        buffer.pending.records += 1;
        buffer.pending.length += grown;
        buffer.appended += grown;
        self.shared.unrecorded.appended(grown);
        if !std::mem::replace(&mut buffer.queued, true) {
            let unrecorded = &self.shared.unrecorded;
            unrecorded.oldest_moved(self.name, None, Some(since));
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
    pub(super) fn flush(&self) {
        let (pending, durable) = {
            let mut buffer = self.at_its_pace();
            buffer.paced_from = Some(Instant::now());
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
            Ok(Written::Fenced) => self.gave_up(&pending),
            Err(error) => self.failed(pending, durable, &error),
        }
    }

    /// The buffer, once it is time to write it.
    fn at_its_pace(&self) -> MutexGuard<'_, Buffer> {
        let mut buffer = lock(&self.buffer);
        loop {
            let since = buffer.paced_from.map_or(PACE, |from| from.elapsed());
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
            let folder = &self.shared.folder;
            self.shared.names.with_others(|| disk.sync_folder(folder))?;
        }
        Ok(Written::UpTo(length + pending.length))
    }

    /// Another has taken the segment over. It waits for a write that is under way, which still
    /// counts; after it not a byte is written and nobody hears of one.
    pub(super) fn fence(&self) {
        lock(&self.file).fenced = true;
        let dropped = {
            let mut buffer = lock(&self.buffer);
            buffer.fenced = true;
            buffer.hurry = true;
            std::mem::replace(&mut buffer.pending, Pending::none(&self.shared.memory))
        };
        self.hurried.notify_all();
        self.forgot(&dropped);
    }

    /// What was appended will never be recorded: whoever fenced the part sends the lines.
    fn forgot(&self, dropped: &Pending) {
        let unrecorded = &self.shared.unrecorded;
        unrecorded.oldest_moved(self.name, dropped.since, None);
        unrecorded.leaves(dropped.length);
        self.durable.notify_waiters();
    }

    /// A part that is fenced is not tried again. If it was the one that the disk refused, nobody else
    /// may be left to find out that the disk is well: the next line does.
    fn gave_up(&self, pending: &Pending) {
        self.shared.take_disk_for_well();
        self.forgot(pending);
    }

    fn wrote(&self, pending: Pending, length: u64) {
        let Pending {
            mut bytes,
            long,
            records,
            length: grown,
            since,
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
            let unrecorded = &self.shared.unrecorded;
            unrecorded.oldest_moved(self.name, since, buffer.pending.since);
            if buffer.queued {
                self.queue();
            }
            buffer.durable_records
        };
        self.shared.take_disk_for_well();
        self.shared.unrecorded.leaves(grown);
        (self.on_durable)(durable_records);
        self.durable.notify_waiters();
    }

    fn failed(&self, mut pending: Pending, durable: u64, error: &io::Error) {
        let path = self.shared.path(self.name);
        let reason = format!(
            "the journal cannot be written ({}: {error}); {}",
            path.display(),
            what_next(error.kind())
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
                return self.gave_up(&pending);
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

/// What is safe, and what to do.
fn what_next(error: io::ErrorKind) -> &'static str {
    match error {
        // The files that are open are written still, and are in no folder any more.
        io::ErrorKind::NotFound => {
            "its folder is gone, and what was recorded may be too: stop this process and put the whole data folder back from a backup"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "nothing recorded is lost and work goes on by itself when there is space again"
        }
        _ => "nothing recorded is lost and work goes on by itself when it can be written again",
    }
}
