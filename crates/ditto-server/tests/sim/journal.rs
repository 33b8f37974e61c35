//! The journal of a simulated world: parts on a disk that refuses on command, and whose unsynced
//! tails a crash tears.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tokio::sync::Notify;

use super::laws::claim_on_part;
use super::life::{Life, refused};
use super::world::Bug;
use crate::clock::Steady;
use crate::error::{Error, Result};
use crate::folder::{Found, Pages};
use crate::journal::record::{self, HEAD, MAGIC};
use crate::journal::scan::scan;
use crate::journal::{Journal, Long, OnDurable, Part, PartName, Place, Record};

/// Little, so that it is often used up.
const UNRECORDED_BYTES: usize = 4_000;
/// As the real one.
const UNRECORDED_AGE: Duration = Duration::from_secs(1);
/// A sync on a disk that hangs takes up to this long.
const HANG_MS: u64 = 4_000;
/// Between two tries of a disk that refuses.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct SimJournal {
    life: Arc<Life>,
    shared: Arc<Shared>,
}

/// What the parts of one life share.
#[derive(Debug, Default)]
struct Shared {
    unrecorded: Mutex<Unrecorded>,
    room: Notify,
    refused: AtomicBool,
}

/// What is appended and not durable.
#[derive(Debug, Default)]
struct Unrecorded {
    bytes: usize,
    /// When the oldest of each part was appended.
    oldest: BTreeMap<PartName, Duration>,
}

impl Unrecorded {
    fn is_full(&self, now: Duration) -> bool {
        let oldest = self.oldest.values().min().copied().unwrap_or(now);
        self.bytes >= UNRECORDED_BYTES || now.saturating_sub(oldest) > UNRECORDED_AGE
    }

    /// So much of a part has left; what is left of it waits since then.
    fn leaves(&mut self, part: PartName, bytes: usize, since: Option<Duration>) {
        self.bytes -= bytes;
        self.oldest.remove(&part);
        self.oldest.extend(since.map(|since| (part, since)));
    }
}

impl SimJournal {
    pub(super) fn new(life: Arc<Life>) -> Self {
        Self {
            life,
            shared: Arc::default(),
        }
    }

    fn is_full(&self) -> bool {
        let unrecorded = self.shared.unrecorded.lock().unwrap();
        unrecorded.is_full(self.life.now())
    }

    /// The process is gone. What was synced stays; of what was only written any part may.
    pub(super) fn crash(&self) {
        let world = &self.life.world;
        world.laws().ended(self.life.number);
        let mut parts = world.parts.lock().unwrap();
        for part in parts
            .values_mut()
            .filter(|part| part.life == self.life.number)
        {
            let unsynced = (part.written.len() - part.synced) as u64;
            if unsynced == 0 {
                continue;
            }
            let kept = part.synced + world.below(unsynced + 1) as usize;
            part.written.truncate(kept);
            if world.below(4) == 0 {
                let zeros = world.below(60) as usize;
                part.written.extend(vec![0; zeros]);
            }
        }
    }
}

#[async_trait]
impl Journal for SimJournal {
    fn create(&self, name: PartName, on_durable: OnDurable) -> Arc<dyn Part> {
        if !self.life.is_dead() {
            self.life.world.laws().leased(name);
        }
        Arc::new_cyclic(|itself| SimPart {
            itself: Weak::clone(itself),
            name,
            life: Arc::clone(&self.life),
            shared: Arc::clone(&self.shared),
            buffer: Mutex::new(Buffer {
                appended: MAGIC.len() as u64,
                ..Buffer::default()
            }),
            durable: Notify::new(),
            on_durable,
        })
    }

    async fn room(&self) {
        loop {
            let notified = self.shared.room.notified();
            let full = self.is_full() && !self.life.world.has(Bug::OpenGate);
            if !full && !self.shared.refused.load(Ordering::SeqCst) {
                return;
            }
            notified.await;
        }
    }

    async fn cut(&self, name: PartName) -> Result<u64> {
        let life = &self.life;
        life.point("a cut").await;
        if life.world.per_mille(life.world.weather().journal) {
            return Err(refused("the journal"));
        }
        let length = {
            let mut parts = life.world.parts.lock().unwrap();
            let part = parts.entry(name).or_default();
            life.world.fence(name);
            let whole = scan(&part.written[..], name)?;
            part.synced = part.synced.max(whole.length as usize);
            let mut laws = life.world.laws();
            for (record, _) in &whole.records {
                laws.recorded(name, record.line);
            }
            whole.length
        };
        life.note(format_args!("cuts {name} at {length}"));
        life.point("a cut's answer").await;
        Ok(length)
    }

    async fn replay(&self, name: PartName, cut: u64) -> Result<Vec<(Record, Place)>> {
        self.life.point("a replay").await;
        if cut == 0 {
            return Ok(Vec::new());
        }
        let mut parts = self.life.world.parts.lock().unwrap();
        let written = &parts.entry(name).or_default().written;
        let below = written.get(..cut as usize);
        let below = below.ok_or_else(|| Error::internal(format!("part {name} is too short")))?;
        let mut whole = scan(below, name)?;
        if whole.length != cut {
            return Err(Error::internal(format!(
                "part {name} is torn below its cut"
            )));
        }
        if self.life.world.has(Bug::ForgetfulReplay) {
            let published = self.life.world.published(name.segment);
            let half = whole.records.len() / 2;
            whole.records.truncate(half.max(published));
        }
        self.life.world.laws().replayed += 1;
        Ok(whole.records)
    }

    async fn read(&self, name: PartName, range: Range<u64>) -> Result<Bytes> {
        self.life.point("a read").await;
        let parts = self.life.world.parts.lock().unwrap();
        let part = parts.get(&name);
        let bytes = part.and_then(|p| p.written.get(range.start as usize..range.end as usize));
        let bytes = bytes.ok_or_else(|| refused("a part that is not there"))?;
        Ok(Bytes::copy_from_slice(bytes))
    }

    async fn remove(&self, names: &[PartName]) -> Result<()> {
        self.life.point("a removal").await;
        for name in names {
            let world = &self.life.world;
            self.life.note(format_args!("removes {name}"));
            let claim = claim_on_part(&world.conn.lock().unwrap(), *name);
            if let Some(claim) = claim {
                let how = format_args!("part {name}: {claim}");
                world
                    .laws()
                    .broke("nothing is swept that a row can claim", how);
            }
            world.parts.lock().unwrap().remove(name);
        }
        self.life.point("a removal's answer").await;
        Ok(())
    }

    async fn set_aside(&self, names: &[PartName]) -> Result<()> {
        self.remove(names).await
    }

    fn found(&self) -> Pages {
        let parts = self.life.world.parts.lock().unwrap();
        let found = parts.iter().map(|(name, part)| Found {
            path: name.to_string().into(),
            bytes: part.written.len() as u64,
            // As young as can be: no part of this world is unknown for long.
            modified: SystemTime::UNIX_EPOCH,
        });
        let page: Vec<_> = found.collect();
        stream::iter([Ok(page)]).boxed()
    }

    async fn discard(&self, found: &Found) -> Result<()> {
        let name = found.path.to_str().and_then(PartName::parse);
        let name = name.ok_or_else(|| Error::internal("a part has another name"))?;
        self.remove(&[name]).await
    }

    async fn now(&self) -> Result<SystemTime> {
        self.life.point("asking for the time").await;
        Ok(SystemTime::UNIX_EPOCH)
    }

    fn stalled(&self) -> Option<String> {
        let refused = self.shared.refused.load(Ordering::SeqCst);
        refused.then(|| "the journal refuses, as scripted".to_owned())
    }
}

struct SimPart {
    itself: Weak<Self>,
    name: PartName,
    life: Arc<Life>,
    shared: Arc<Shared>,
    buffer: Mutex<Buffer>,
    durable: Notify,
    on_durable: OnDurable,
}

#[derive(Debug, Default)]
struct Buffer {
    pending: VecDeque<Pending>,
    appended: u64,
    durable: u64,
    durable_records: usize,
    flushing: bool,
    fenced: bool,
}

/// A record that is not written yet.
#[derive(Debug)]
struct Pending {
    line: u64,
    since: Duration,
    bytes: Vec<u8>,
}

/// What was written and is to be synced.
#[derive(Debug)]
struct Written {
    lines: Vec<u64>,
    bytes: usize,
}

impl fmt::Debug for SimPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimPart")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Part for SimPart {
    fn append(&self, record: &Record, payload: &[u8]) -> Place {
        let mut buffer = self.buffer.lock().unwrap();
        let offset = buffer.appended + HEAD as u64;
        let mut bytes = Vec::new();
        record::encode(&mut bytes, record, payload);
        if !self.life.is_dead() && !buffer.fenced {
            self.life.note(format_args!(
                "appends line {} to {}",
                record.line, self.name
            ));
            buffer.appended += bytes.len() as u64;
            let since = self.life.now();
            self.note_unrecorded(since, bytes.len());
            buffer.pending.push_back(Pending {
                line: record.line,
                since,
                bytes,
            });
            if !std::mem::replace(&mut buffer.flushing, true) {
                self.start_flush();
            }
        }
        Place {
            offset,
            length: payload.len() as u32,
        }
    }

    fn append_long(&self, record: &Record, payload: Arc<dyn Long>) -> Place {
        let mut held = Vec::new();
        payload.write_to(&mut held).unwrap();
        self.append(record, &held)
    }

    fn hurry(&self) {}

    async fn flushed(&self) -> u64 {
        loop {
            let notified = self.durable.notified();
            {
                let buffer = self.buffer.lock().unwrap();
                if buffer.fenced || !buffer.flushing {
                    return buffer.durable;
                }
            }
            notified.await;
        }
    }
}

impl SimPart {
    fn note_unrecorded(&self, now: Duration, bytes: usize) {
        let mut unrecorded = self.shared.unrecorded.lock().unwrap();
        unrecorded.bytes += bytes;
        unrecorded.oldest.entry(self.name).or_insert(now);
        let mut laws = self.life.world.laws();
        laws.appended(self.life.number, self.name, now, bytes);
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "it ends with the process's runtime"
    )]
    fn start_flush(&self) {
        let part = self.itself.upgrade().unwrap();
        tokio::spawn(async move { part.flush().await });
    }

    /// Writes, syncs and tells, until nothing is pending.
    async fn flush(&self) {
        while self.has_pending() {
            tokio::time::sleep(Duration::from_millis(1 + self.life.world.below(60))).await;
            self.life.point("a write").await;
            if self.life.world.per_mille(self.life.world.weather().journal) {
                self.shared.refused.store(true, Ordering::SeqCst);
                self.life.note(format_args!("cannot write {}", self.name));
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let Some(written) = self.write() else {
                return self.fenced(0);
            };
            self.life.point("a sync").await;
            if self.life.world.per_mille(self.life.world.weather().hang) {
                self.life.note(format_args!("hangs in {}", self.name));
                tokio::time::sleep(Duration::from_millis(self.life.world.below(HANG_MS))).await;
            }
            if !self.synced(&written) {
                return self.fenced(written.bytes);
            }
            self.shared.refused.store(false, Ordering::SeqCst);
            self.shared.room.notify_waiters();
            self.durable.notify_waiters();
        }
        self.durable.notify_waiters();
    }

    fn has_pending(&self) -> bool {
        let mut buffer = self.buffer.lock().unwrap();
        buffer.flushing = !buffer.pending.is_empty();
        buffer.flushing
    }

    fn is_late(&self) -> bool {
        self.life.world.is_fenced(self.name) && !self.life.world.has(Bug::LateFlush)
    }

    /// What is pending is on the disk, though not durable; `None`: another has fenced the part.
    fn write(&self) -> Option<Written> {
        let mut parts = self.life.world.parts.lock().unwrap();
        let part = parts.entry(self.name).or_default();
        if self.is_late() {
            return None;
        }
        part.life = self.life.number;
        let mut buffer = self.buffer.lock().unwrap();
        // Over what an earlier try has left behind the durable part.
        part.written.truncate(buffer.durable as usize);
        if part.written.is_empty() {
            part.written.extend_from_slice(MAGIC);
        }
        let mut written = Written {
            lines: Vec::new(),
            bytes: 0,
        };
        for Pending { line, bytes, .. } in buffer.pending.drain(..) {
            part.written.extend_from_slice(&bytes);
            written.lines.push(line);
            written.bytes += bytes.len();
        }
        Some(written)
    }

    /// False: it was fenced while it was synced. What the cut has counts, and others tell of it.
    fn synced(&self, written: &Written) -> bool {
        let world = &self.life.world;
        let records = {
            let mut parts = world.parts.lock().unwrap();
            let Some(part) = parts.get_mut(&self.name) else {
                return false;
            };
            if self.is_late() {
                return false;
            }
            let mut laws = world.laws();
            if world.is_fenced(self.name) {
                laws.recorded_behind_a_fence(self.name);
            }
            part.synced = part.written.len();
            for line in &written.lines {
                laws.recorded(self.name, *line);
            }
            laws.is_durable(self.life.number, self.name, written.lines.len());
            let mut buffer = self.buffer.lock().unwrap();
            buffer.durable = part.synced as u64;
            buffer.durable_records += written.lines.len();
            let since = buffer.pending.front().map(|record| record.since);
            let mut unrecorded = self.shared.unrecorded.lock().unwrap();
            unrecorded.leaves(self.name, written.bytes, since);
            buffer.durable_records
        };
        self.life
            .note(format_args!("has {records} records in {}", self.name));
        (self.on_durable)(records);
        true
    }

    /// With what was written and will never count.
    fn fenced(&self, written: usize) {
        self.life.note(format_args!("is fenced in {}", self.name));
        self.life
            .world
            .laws()
            .is_fenced(self.life.number, self.name);
        let mut buffer = self.buffer.lock().unwrap();
        buffer.fenced = true;
        buffer.flushing = false;
        let pending = buffer.pending.drain(..);
        let dropped: usize = pending.map(|record| record.bytes.len()).sum();
        drop(buffer);
        let mut unrecorded = self.shared.unrecorded.lock().unwrap();
        unrecorded.leaves(self.name, written + dropped, None);
        drop(unrecorded);
        // As the real one: the next line finds out how the disk is.
        self.shared.refused.store(false, Ordering::SeqCst);
        self.shared.room.notify_waiters();
        self.durable.notify_waiters();
    }
}
