//! Parks segments whose lines all wait for lanes that cannot take them soon: paused for long, or, where
//! others need the room, with more lines than they will send for a while. The journal is flushed and
//! the lease given back; they come back when their lane can take them.
//!
//! What a lane needs stays: of a paused one a segment, whose lines are the probes that find out when
//! it is back, as long as such segments take a small part of the room; of a crowded one lines for
//! a while, of each batch among them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::Inner;
use super::lease::is_cramped;
use super::pool::{DRY, Pool};
use super::segment::{LineJob, OpenSegment};
use crate::catalog::{PutDown, SegmentKey, Until};

/// As `readyz` names it.
const STEP: &str = "parking a segment";
/// A lane that is paused for less than this part of the patience with it, 30 s as shipped, may be back
/// before a segment could be taken up again.
const OF_PATIENCE: u32 = 120;
/// At most so long while lines of other lanes need the room that these segments take.
const PAUSED_FOR_IF_CRAMPED: Duration = Duration::from_secs(2);
/// Segments that are put down side by side: their syncs are one.
const PARKERS: usize = 16;
/// A segment that waits for retries is away for at least this long, or it would not be worth while.
const AWAY_FOR: Duration = Duration::from_secs(5);
/// Segments that stay open for the probes of paused lanes, at most,
const PROBES: usize = 32;
/// and their part of the memory for segments. Other lanes get theirs in turn.
const PROBES_PART: u64 = 4;

/// A line taken out of its pool, with the place of the pool and the time of its retry.
type Idle = (usize, LineJob, Option<Duration>);

/// A segment to be put down, closed.
struct Parked {
    segment: Arc<OpenSegment>,
    until: Until,
    /// The longest that one of its lines has been waiting for an upstream that is full.
    refused_for: Option<Duration>,
}

/// What stays in memory.
struct Kept {
    pools: Vec<Need>,
    probe_segments: usize,
    probe_bytes: u64,
}

/// What a pool needs, and has so far.
struct Need {
    is_paused: bool,
    enough: usize,
    kept: usize,
    of_batch: BTreeMap<i64, usize>,
}

impl Inner {
    /// Looks once over the pools.
    pub(crate) async fn park_waiting(self: &Arc<Self>) {
        let now = self.host.now();
        let is_cramped = is_cramped(self.stock(now));
        let long = self.config.sending.patience / OF_PATIENCE;
        let long = match is_cramped {
            true => long.min(PAUSED_FOR_IF_CRAMPED),
            false => long,
        };
        let paused = self.lanes.paused_for(long, now);
        let crowded = match is_cramped {
            true => self.lanes.crowded(),
            false => Vec::new(),
        };
        let parked = self.choose(&paused, &crowded, now);
        stream::iter(parked)
            .for_each_concurrent(PARKERS, |parked| self.park(parked))
            .await;
    }

    /// The segments to be parked. All other lines are back where they were.
    fn choose(
        self: &Arc<Self>,
        paused: &[Arc<Pool>],
        crowded: &[Arc<Pool>],
        now: Duration,
    ) -> Vec<Parked> {
        let pools: Vec<_> = paused.iter().chain(crowded).collect();
        let mut idle: BTreeMap<SegmentKey, Vec<Idle>> = BTreeMap::new();
        for (place, pool) in pools.iter().enumerate() {
            for (job, retry) in pool.take_idle() {
                let jobs = idle.entry(job.segment.key).or_default();
                jobs.push((place, job, retry));
            }
        }
        let mut kept = Kept::of(paused, crowded);
        let most = self.budget.segments.limit() / PROBES_PART;
        let mut parked = Vec::new();
        for jobs in idle.into_values() {
            let Some((place, job, _)) = jobs.first() else {
                continue;
            };
            let (place, segment) = (*place, Arc::clone(&job.segment));
            let stays = kept.needs(&jobs, &segment, most);
            if !stays && segment.unsettled() == jobs.len() && segment.close() {
                let retry = jobs.iter().filter_map(|(_, _, retry)| *retry).min();
                let since = jobs
                    .iter()
                    .filter_map(|(_, job, _)| job.waiting_since)
                    .min();
                parked.push(Parked {
                    segment,
                    until: until(pools[place], retry, now),
                    refused_for: since.map(|since| now.saturating_sub(since)),
                });
            } else {
                kept.keep(&jobs, &segment);
                self.put_back(&pools, jobs);
                // The ending may have emptied the lanes while these lines were in our hand.
                if segment.work.ending().is_some() {
                    self.end_waiting_lines(segment.key.batch);
                }
            }
        }
        parked
    }

    /// The lines of one segment, each where it was.
    fn put_back(self: &Arc<Self>, pools: &[&Arc<Pool>], jobs: Vec<Idle>) {
        let mut ready: BTreeMap<usize, Vec<LineJob>> = BTreeMap::new();
        for (place, job, retry) in jobs {
            match retry {
                Some(at) => {
                    self.start_slots(pools[place].retry(job, at));
                }
                None => ready.entry(place).or_default().push(job),
            }
        }
        for (place, mut jobs) in ready {
            // In the order of the lane: the next probe is a line that was put back least.
            jobs.sort_by_key(|job| (job.put_backs, job.ordinal));
            self.dispatch(pools[place], jobs);
        }
    }

    /// Flushes and gives back. If we stop before the last call, the lease runs out and the next
    /// owner fences the part.
    async fn park(&self, parked: Parked) {
        let Parked {
            segment,
            until,
            refused_for,
        } = parked;
        segment.work.has_parked.store(true, Ordering::Release);
        self.lanes.has_parked.store(true, Ordering::Release);
        let length = segment.part.flushed().await;
        let put_down = PutDown {
            refused_for,
            ..segment.put_down(length, until)
        };
        // Out of the books first: an ending may bring it back at once, under a new epoch.
        self.forget(segment.key, segment.epoch);
        let parked = self
            .catalog
            .park(&self.incarnation, segment.key, put_down)
            .await;
        match parked {
            Ok(_) => self.storage_works(STEP),
            Err(error) => self.storage_refused(STEP, &error),
        }
        self.wake();
    }
}

/// When it comes back. The first of its retries says so, where there is one.
fn until(pool: &Pool, retry: Option<Duration>, now: Duration) -> Until {
    match retry {
        Some(at) => Until::After(at.saturating_sub(now).max(AWAY_FOR)),
        None => Until::Open(pool.mark().clone()),
    }
}

impl Kept {
    fn of(paused: &[Arc<Pool>], crowded: &[Arc<Pool>]) -> Self {
        let need = |is_paused: bool, pool: &Arc<Pool>| Need {
            is_paused,
            enough: if is_paused { 1 } else { pool.enough() / 2 },
            kept: 0,
            of_batch: BTreeMap::new(),
        };
        let paused = paused.iter().map(|pool| need(true, pool));
        let crowded = crowded.iter().map(|pool| need(false, pool));
        Self {
            pools: paused.chain(crowded).collect(),
            probe_segments: 0,
            probe_bytes: 0,
        }
    }

    /// Whether one of its pools has not enough without this segment.
    fn needs(&self, jobs: &[Idle], segment: &OpenSegment, most: u64) -> bool {
        let room_for_probes =
            self.probe_segments < PROBES && self.probe_bytes + segment.entry.length <= most;
        let mut places: Vec<_> = jobs.iter().map(|(place, ..)| *place).collect();
        places.dedup();
        places.into_iter().any(|place| {
            let need = &self.pools[place];
            need.needs(segment.key.batch) && (room_for_probes || !need.is_paused)
        })
    }

    fn keep(&mut self, jobs: &[Idle], segment: &OpenSegment) {
        let mut is_probe = false;
        for (place, ..) in jobs {
            let need = &mut self.pools[*place];
            is_probe |= need.is_paused;
            need.kept += 1;
            *need.of_batch.entry(segment.key.batch).or_default() += 1;
        }
        if is_probe {
            self.probe_segments += 1;
            self.probe_bytes += segment.entry.length;
        }
    }
}

impl Need {
    /// Whether it needs more lines, or more of this batch: each has its turns.
    fn needs(&self, batch: i64) -> bool {
        let of_batch = self.of_batch.get(&batch).copied().unwrap_or_default();
        self.kept < self.enough || !self.is_paused && of_batch < DRY && self.kept < 4 * self.enough
    }
}
