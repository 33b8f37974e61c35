//! Leases segments ahead of the slots, as many as memory and turns allow, and gives them back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::segment::OpenSegment;
use super::{Inner, lock};
use crate::catalog::{Cut, Demand, Leased, PutDown, SegmentKey, Until};
use crate::error::{Error, ErrorKind};
use crate::model::plan::MAX_BYTES;

/// As `readyz` names it.
const STEP: &str = "opening a segment";
/// Likewise.
const LEASE_STEP: &str = "leasing segments";
/// Segments open at once in one worker: each may have a journal file.
pub(crate) const OPEN_SEGMENTS: usize = 256;
/// Lines that wait for a slot: below this, more are leased. A slot that is free never waits for a
/// lease, even when a lease takes as long as a slow disk's sync and answers come at once.
pub(crate) const LOW_WATER: usize = 4096;
/// One part in so many of the memory for segments is left for a lease that goes over.
const SLACK: u64 = 4;
/// Of the open segments, and likewise a third of the memory, kept for batches that have no line
/// waiting.
const SPARE_SEGMENTS: usize = 64;
/// Segments of one lease, as the catalog allows.
const LEASE_SEGMENTS: u32 = 64;
/// Segments of a lease while there are plenty of lines, to see what else there is: turns alternate
/// between the oldest batch and the one with the fewest lines left, so that both get one.
const HUNGRY_SEGMENTS: u32 = 2;
/// Segments for one batch that ran dry, at most: those of small batches are of a few lines.
const DRY_SEGMENTS: u32 = 8;
/// What comes back by itself (a lease that ran out, a parked segment) is looked for this often.
const LOOK: Duration = Duration::from_secs(1);
/// A segment that could not be opened is left alone for this long.
const SETBACK: Duration = Duration::from_secs(5);

/// Runs of ending batches filled side by side when nothing is to be sent: one writes while another
/// waits for the disk.
const FILLERS: usize = 2;

/// What is in memory, as far as it decides how much to lease.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stock {
    /// Open segments.
    pub(crate) open: usize,
    /// Their bytes.
    pub(crate) loaded: u64,
    /// Bytes that they may have.
    pub(crate) memory: u64,
    /// Lines that wait for a slot.
    pub(crate) ready: usize,
    /// There may be something to lease that nobody here knows of.
    pub(crate) hungry: bool,
    /// Batches that ran dry.
    pub(crate) dry: usize,
}

impl Stock {
    /// Room for so many more segments, within these numbers.
    fn room(self, segments: usize, bytes: u64) -> u32 {
        let by_bytes = bytes.saturating_sub(self.loaded).div_ceil(MAX_BYTES);
        by_bytes.min(segments.saturating_sub(self.open) as u64) as u32
    }

    /// All the room there is.
    fn all_room(self) -> u32 {
        self.room(OPEN_SEGMENTS, self.memory - self.memory / SLACK)
    }
}

/// Segments to lease now by turns. While there are plenty of lines it is none, or a little to see what
/// there is.
pub(crate) fn wanted(stock: Stock) -> u32 {
    let memory = stock.memory - stock.memory / SLACK;
    let plenty = match stock.ready >= LOW_WATER {
        true => 0,
        false => stock.room(OPEN_SEGMENTS - SPARE_SEGMENTS, memory / 3 * 2),
    };
    match (plenty, stock.hungry) {
        (0, true) => stock.all_room().min(HUNGRY_SEGMENTS),
        (0, false) => 0,
        (some, _) => some.min(LEASE_SEGMENTS),
    }
}

/// Segments to lease for batches that ran dry, beside so many others. Plenty of lines of one batch, or
/// of a lane that is paused, must not keep another batch from its turn: these come also then, out of a
/// part of the room that is kept for them.
pub(crate) fn wanted_by_dry(stock: Stock, beside: u32) -> u32 {
    let most = u32::try_from(stock.dry).unwrap_or(u32::MAX);
    let most = most.saturating_mul(DRY_SEGMENTS).min(LEASE_SEGMENTS);
    stock.all_room().saturating_sub(beside).min(most)
}

/// Runs of ending batches filled side by side now. Beside lines that wait to be sent it is one, which
/// leaves them a processor and most of the disk, and never none: a cancel waits for nobody's batch.
pub(crate) fn fillers(ready: usize) -> usize {
    if ready > 0 { 1 } else { FILLERS }
}

/// Half of what is kept for batches that ran dry is in use: soon there is nothing to lease for them.
pub(crate) fn is_cramped(stock: Stock) -> bool {
    let memory = stock.memory - stock.memory / SLACK;
    stock.open >= OPEN_SEGMENTS - SPARE_SEGMENTS / 2 || stock.loaded >= memory / 6 * 5
}

impl Inner {
    /// Duty: keeps enough lines waiting for the slots.
    pub(crate) async fn lease_segments(self: Arc<Self>) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.stop.is_cancelled() {
            let arrived = self.work_arrived();
            if let Some(demand) = self.demand()
                && self.lease(demand).await
            {
                continue;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                // Another process may have made a batch, or ended one that none of ours is open of. It
                // is looked for also when there is always something arriving.
                _ = looks.tick() => {
                    self.fillable.store(true, Ordering::Release);
                    self.lanes.needs.hungry.store(true, Ordering::Release);
                }
                () = arrived => {}
            }
        }
    }

    /// Whether something was leased.
    async fn lease(self: &Arc<Self>, demand: Demand) -> bool {
        self.leasing.store(true, Ordering::Release);
        let leased = self.catalog.lease(&self.incarnation, demand.clone()).await;
        let got_some = leased.as_ref().is_ok_and(|leased| !leased.is_empty());
        match leased {
            Ok(leased) => self.open_all(leased),
            Err(error) => {
                for batch in demand.dry {
                    self.lanes.needs.dry.note(batch);
                }
                self.storage_refused(LEASE_STEP, &error);
            }
        }
        self.leasing.store(false, Ordering::Release);
        if got_some {
            self.storage_works(LEASE_STEP);
        }
        got_some
    }

    /// How much to lease now; `None`: there is enough.
    fn demand(&self) -> Option<Demand> {
        let now = self.host.now();
        if self.journal.stalled().is_some() || !self.may_send(now) {
            return None;
        }
        let stock = self.stock(now);
        let segments = self.segments_wanted(stock);
        let dry_segments = match self.opening.load(Ordering::Acquire) {
            0 => wanted_by_dry(stock, segments),
            _ => 0,
        };
        let demand = Demand {
            segments,
            dry: self.lanes.needs.dry.take(dry_segments as usize),
            dry_segments,
            runs: self.runs_wanted(stock),
            shut: self.lanes.shut(now),
        };
        let is_any = segments > 0 || demand.runs > 0 || !demand.dry.is_empty();
        is_any.then_some(demand)
    }

    /// Runs are filled a few at a time beside everything else, whatever the stock of lines.
    fn runs_wanted(&self, stock: Stock) -> u32 {
        let room = fillers(stock.ready).saturating_sub(self.filling.load(Ordering::Acquire));
        if room == 0 || !self.fillable.swap(false, Ordering::AcqRel) {
            return 0;
        }
        u32::try_from(room).unwrap_or(1)
    }

    fn segments_wanted(&self, stock: Stock) -> u32 {
        if self.opening.load(Ordering::Acquire) > 0 {
            return 0;
        }
        let segments = wanted(stock);
        if segments > 0 {
            self.lanes.needs.hungry.store(false, Ordering::Release);
        }
        segments
    }

    pub(crate) fn stock(&self, now: Duration) -> Stock {
        Stock {
            open: lock(&self.segments).len(),
            loaded: self.budget.segments.drawn(),
            memory: self.budget.segments.limit(),
            ready: self
                .lanes
                .ready()
                .saturating_sub(self.lanes.waiting_for_pauses(now)),
            hungry: self.lanes.needs.hungry.load(Ordering::Acquire),
            dry: self.lanes.needs.dry.count(),
        }
    }

    fn open_all(self: &Arc<Self>, leased: Vec<Leased>) {
        for one in leased {
            let inner = Arc::clone(self);
            let in_hand = self.hand.take(one.key, one.epoch);
            let is_run = one.span > 1;
            self.under_way(is_run).fetch_add(1, Ordering::AcqRel);
            self.tasks.spawn(async move {
                // Runs have a count of their own: a long one must not keep lines from being leased.
                let permit = match is_run {
                    true => None,
                    false => Some(inner.openers.acquire().await),
                };
                match inner.open(&one, in_hand).await {
                    Ok(()) => {
                        inner.storage_works(STEP);
                        inner.segment_moves(one.key);
                    }
                    Err(error) => inner.could_not_open(&one, &error).await,
                }
                drop(permit);
                // Where one run was there may be another.
                inner.fillable.fetch_or(is_run, Ordering::AcqRel);
                if inner.under_way(is_run).fetch_sub(1, Ordering::AcqRel) == 1 || is_run {
                    inner.wake();
                }
            });
        }
    }

    /// Leases that are not open yet: runs to be filled, or segments.
    fn under_way(&self, is_run: bool) -> &AtomicUsize {
        if is_run { &self.filling } else { &self.opening }
    }

    async fn could_not_open(&self, leased: &Leased, error: &Error) {
        if error.kind() == ErrorKind::Unavailable {
            self.storage_refused(STEP, error);
        } else {
            self.segment_is_stuck(leased.key, error).await;
        }
        if let Some(segment) = self.forget(leased.key, leased.epoch) {
            segment.close();
        }
        let cut = Cut {
            epoch: leased.epoch,
            length: 0,
        };
        let put_down = PutDown::new(cut, Until::After(SETBACK));
        if let Err(error) = self
            .catalog
            .park(&self.incarnation, leased.key, put_down)
            .await
        {
            tracing::error!(segment = %leased.key, %error, "it could not be given back either; a renewal will let go of it");
        }
    }

    /// Takes a segment out of the books, unless a later lease of it stands there by now.
    pub(crate) fn forget(&self, key: SegmentKey, epoch: u32) -> Option<Arc<OpenSegment>> {
        let mut segments = lock(&self.segments);
        segments
            .get(&key)
            .filter(|segment| segment.epoch == epoch)?;
        segments.remove(&key)
    }

    /// Gives every open segment back, with all that was recorded.
    pub(crate) async fn release_segments(&self) {
        let open: Vec<_> = lock(&self.segments).values().cloned().collect();
        // A disk that refuses must not hold up the stop: what is not flushed by then was never
        // recorded, and the next owner fences the segment.
        let patience = tokio::time::Instant::now() + SETBACK;
        drop(self.lanes.take(|_| true));
        for segment in open {
            if !segment.close() {
                continue; // It is being sealed; if that does not end well, it is fenced later.
            }
            let flushed = tokio::time::timeout_at(patience, segment.part.flushed()).await;
            let Ok(length) = flushed else { continue };
            let put_down = segment.put_down(length, Until::NextLease);
            if let Err(error) = self
                .catalog
                .park(&self.incarnation, segment.key, put_down)
                .await
            {
                tracing::warn!(segment = %segment.key, %error, "not given back; the next owner fences it");
            }
            self.forget(segment.key, segment.epoch);
        }
    }
}
