//! A pool: lines of one model that wait, and the lanes that may send them.
//!
//! Whichever lane has a slot takes the next line, so that each gets what it can do: a slow one few, one
//! that is paused none but its probes. Where there are more slots than lines, the lane with the least
//! in flight for its weight goes first.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::lane::Lane;
use super::lanes::Needs;
use super::lock;
use super::queue::{Next, Queue, TURN_LINES};
use super::segment::LineJob;
use super::work::Work;
use crate::catalog::LaneMark;
use crate::model::lane::Pause;
use crate::model::retry_budget::RetryBudget;

/// Lines in memory that are enough for any pool while there is little room: a second at 1,000 a second,
/// and time enough to lease more.
const ENOUGH: usize = 1_024;
/// Lines of a batch that wait when it is leased for again: two turns, so that it misses none.
pub(crate) const DRY: usize = 2 * TURN_LINES as usize;

/// The lines of one model, for everybody or for a tenant with upstreams of its own.
pub(crate) struct Pool {
    key: PoolKey,
    mark: LaneMark,
    /// In the order of the configuration, and of which generation of it.
    lanes: RwLock<(u64, Arc<[Arc<Lane>]>)>,
    /// Held by who changes them.
    changing: Mutex<()>,
    /// It has several.
    is_shared: AtomicBool,
    queue: Mutex<Queue>,
    pub(crate) needs: Arc<Needs>,
}

/// What tells one pool from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PoolKey {
    /// Of a tenant that has upstreams by its name.
    pub(crate) tenant: Option<String>,
    pub(crate) model: String,
}

/// Slots to be started in a lane, which are counted already.
pub(crate) type Starts = Vec<(Arc<Lane>, usize)>;

/// Why a pool gets nothing of what waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It gets it.
    None,
    /// It has more lines than it needs for now.
    Enough,
    /// All of its lanes are paused, and it has lines for their probes.
    Paused,
    /// They are and it has none; the next probe may be sent at this time.
    Asleep(Duration),
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Pool {
    pub(crate) fn new(key: PoolKey, needs: Arc<Needs>) -> Self {
        Self {
            mark: LaneMark::new(key.tenant.as_deref().unwrap_or_default(), &key.model),
            key,
            lanes: RwLock::new((0, Arc::new([]))),
            changing: Mutex::default(),
            is_shared: AtomicBool::new(false),
            queue: Mutex::default(),
            needs,
        }
    }

    pub(crate) fn key(&self) -> &PoolKey {
        &self.key
    }

    /// Its name in the catalog.
    pub(crate) fn mark(&self) -> &LaneMark {
        &self.mark
    }

    pub(crate) fn lanes(&self) -> Arc<[Arc<Lane>]> {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&lanes.1)
    }

    /// From now on these lanes send its lines; what the others have in flight comes to its end. Nothing
    /// changes if lanes of a later generation of the configuration do already: who has begun with an
    /// earlier one is late.
    pub(crate) fn set_lanes(self: &Arc<Self>, generation: u64, lanes: Vec<Arc<Lane>>) {
        // One at a time; while lanes are told, the slots of others may read who they are.
        let _turn = lock(&self.changing);
        let (at, before) = self
            .lanes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if generation < at || generation == at && are_same(&before, &lanes) {
            return;
        }
        for lane in lanes.iter().filter(|lane| !has(&before, lane)) {
            lane.join(self);
        }
        for lane in before.iter().filter(|lane| !has(&lanes, lane)) {
            lane.leave(self);
        }
        self.is_shared.store(lanes.len() > 1, Ordering::Release);
        *self.lanes.write().unwrap_or_else(PoisonError::into_inner) = (generation, lanes.into());
        self.wake();
    }

    /// Adds lines of one batch, in order.
    pub(crate) fn push(&self, work: &Arc<Work>, lines: Vec<LineJob>) -> Starts {
        let count = lines.len();
        self.needs.ready.fetch_add(count, Ordering::Relaxed);
        lock(&self.queue).push(work, lines);
        let starts = self.starts(count);
        self.wake();
        starts
    }

    /// A line that may be sent again at this time.
    pub(crate) fn retry(&self, job: LineJob, at: Duration) -> Starts {
        lock(&self.queue).retry(job, at);
        let starts = self.start_if_none();
        self.wake();
        starts
    }

    /// A line that may have done nothing wrong goes back behind its batch's other lines: the next
    /// probe is another line, so that a poison line does not keep a lane shut.
    pub(crate) fn put_back(&self, mut job: LineJob) -> Starts {
        let work = Arc::clone(&job.segment.work);
        job.put_backs += 1;
        self.needs.ready.fetch_add(1, Ordering::Relaxed);
        lock(&self.queue).push(&work, [job]);
        let starts = self.start_if_none();
        self.wake();
        starts
    }

    /// Slots for so many lines, the lane with the least in flight first. Lanes that are paused get some
    /// if no other is there: for their probes.
    pub(crate) fn starts(&self, lines: usize) -> Starts {
        let lanes = self.lanes();
        if let [only] = &lanes[..] {
            let count = only.reserve_slots(lines);
            return start(only, count).into_iter().collect();
        }
        let open: Vec<_> = lanes.iter().filter(|lane| lane.is_open()).collect();
        let chosen = if open.is_empty() {
            lanes.iter().collect()
        } else {
            open
        };
        share_out(&chosen, lines)
    }

    /// A slot, if no lane that may send has one.
    fn start_if_none(&self) -> Starts {
        let lanes = self.lanes();
        let any_open = lanes.iter().any(|lane| lane.is_open());
        let mut able = lanes.iter().filter(|lane| lane.is_open() || !any_open);
        match able.any(|lane| lane.has_slots()) {
            true => Vec::new(),
            false => self.starts(1),
        }
    }

    /// One slot more where the lanes together have fewer than there are lines: a lane that has just got
    /// a line must not go on alone.
    pub(crate) fn start_another(&self) -> Starts {
        let lanes = self.lanes();
        let open = lanes.iter().filter(|lane| lane.is_open());
        let spare: usize = open.map(|lane| lane.room().spare).sum();
        // No lock is held where one of a lane is taken.
        let ready = lock(&self.queue).ready();
        match ready > spare {
            true => self.starts(1),
            false => Vec::new(),
        }
    }

    /// It has several lanes.
    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared.load(Ordering::Acquire)
    }

    /// Its slots look again.
    pub(crate) fn wake(&self) {
        self.lanes().iter().for_each(|lane| lane.wake());
    }

    /// The next line for a slot of this lane.
    pub(crate) fn next(
        &self,
        is_probe: bool,
        budget: &mut RetryBudget,
        now: Duration,
    ) -> Option<Next> {
        lock(&self.queue).next(is_probe, budget, now)
    }

    /// When to ask again if nothing comes.
    pub(crate) fn next_retry(&self, budget: &mut RetryBudget, now: Duration) -> Option<Duration> {
        lock(&self.queue).next_retry(budget, now)
    }

    /// The lane that should have the next line instead of this one: it has less in flight for its
    /// weight, and a slot without a line. None as long as every slot has one.
    pub(crate) fn who_goes_before(&self, this: &Lane) -> Option<Arc<Lane>> {
        if !self.is_shared() {
            return None;
        }
        let lanes = self.lanes();
        let mut others = lanes.iter().filter(|lane| !std::ptr::eq(&***lane, this));
        others.find(|lane| lane.goes_before(this)).cloned()
    }

    /// Another lane than this one may send.
    pub(crate) fn another_is_open(&self, this: &Lane) -> bool {
        self.has_another(this, Lane::is_open)
    }

    /// And has answered lines.
    pub(crate) fn another_is_well(&self, this: &Lane) -> bool {
        self.has_another(this, |lane| lane.is_open() && lane.is_proven())
    }

    fn has_another(&self, this: &Lane, is: impl Fn(&Lane) -> bool) -> bool {
        self.is_shared() && {
            let lanes = self.lanes();
            let mut others = lanes.iter().filter(|lane| !std::ptr::eq(&***lane, this));
            others.any(|lane| is(lane))
        }
    }

    /// Lines that begin alike are to come together.
    pub(crate) fn wants_prefixes_together(&self) -> bool {
        self.lanes()
            .iter()
            .any(|lane| lane.wants_prefixes_together())
    }

    pub(crate) fn has_lines(&self) -> bool {
        !lock(&self.queue).is_empty()
    }

    /// Lines that wait, for a slot or for a retry.
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.queue).lines()
    }

    /// Its lanes have slots, or it has lines.
    pub(crate) fn is_used(&self) -> bool {
        self.has_lines() || self.lanes().iter().any(|lane| lane.has_slots())
    }

    /// Lines that it needs in memory while there is little room.
    pub(crate) fn enough(&self) -> usize {
        let limits: usize = self.lanes().iter().map(|lane| lane.limit()).sum();
        (8 * limits).max(ENOUGH)
    }

    pub(crate) fn rest(&self) -> Rest {
        let lanes = self.lanes();
        let (ready, lines) = {
            let queue = lock(&self.queue);
            (!queue.is_empty(), queue.lines())
        };
        let paused: Option<Vec<_>> = lanes.iter().map(|lane| lane.paused_until()).collect();
        match paused.and_then(|until| until.into_iter().min()) {
            Some(_) if ready || lanes.iter().any(|lane| lane.is_probing()) => Rest::Paused,
            Some(until) => Rest::Asleep(until),
            None if lines > self.enough() => Rest::Enough,
            None => Rest::None,
        }
    }

    /// Lines that wait for a slot, or for a retry: with its time. Those that were charged stay: the count
    /// is here alone.
    pub(crate) fn take_idle(&self) -> Vec<(LineJob, Option<Duration>)> {
        let mut queue = lock(&self.queue);
        let ready = queue.take_ready(&|_| true);
        self.needs.ready.fetch_sub(ready.len(), Ordering::Relaxed);
        let retries = queue.take_retries(&|job| job.charged == 0);
        let ready = ready.into_iter().map(|job| (job, None));
        let retries = retries.into_iter().map(|(job, at)| (job, Some(at)));
        ready.chain(retries).collect()
    }

    /// Lines that wait for a slot, taken out.
    pub(crate) fn take_ready(&self) -> Vec<LineJob> {
        let ready = lock(&self.queue).take_ready(&|_| true);
        self.needs.ready.fetch_sub(ready.len(), Ordering::Relaxed);
        ready
    }

    /// All waiting lines for which this holds, taken out.
    pub(crate) fn take_waiting(&self, wanted: &impl Fn(&LineJob) -> bool) -> Vec<LineJob> {
        let mut queue = lock(&self.queue);
        let ready = queue.ready();
        let taken = queue.take(wanted);
        let taken_ready = ready - queue.ready();
        self.needs.ready.fetch_sub(taken_ready, Ordering::Relaxed);
        taken
    }

    /// Lines that cannot be sent because every lane is paused.
    pub(crate) fn waiting_for_pause(&self, now: Duration) -> usize {
        match self.lanes().iter().all(|lane| lane.is_shut(now)) {
            true => lock(&self.queue).ready(),
            false => 0,
        }
    }

    pub(crate) fn is_paused_for(&self, long: Duration, now: Duration) -> bool {
        self.lanes()
            .iter()
            .all(|lane| lane.is_paused_for(long, now))
    }

    /// One lane is paused, and another goes on.
    pub(crate) fn pause(&self, lane: &Lane, pause: Pause, sent: Duration, now: Duration) {
        lane.pause(pause, sent, now);
        self.wake();
    }
}

fn are_same(a: &[Arc<Lane>], b: &[Arc<Lane>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
}

fn has(lanes: &[Arc<Lane>], lane: &Arc<Lane>) -> bool {
    lanes.iter().any(|known| Arc::ptr_eq(known, lane))
}

fn start(lane: &Arc<Lane>, count: usize) -> Option<(Arc<Lane>, usize)> {
    (count > 0).then(|| (Arc::clone(lane), count))
}

/// Slots for so many lines, one after the other where there is the least in flight.
fn share_out(lanes: &[&Arc<Lane>], lines: usize) -> Starts {
    let mut rooms: Vec<_> = lanes.iter().map(|lane| (lane.room(), 0)).collect();
    for _ in 0..lines {
        let able = rooms.iter_mut().filter(|(room, given)| *given < room.slots);
        let least = able.min_by(|(a, given_a), (b, given_b)| {
            a.load_with(*given_a).total_cmp(&b.load_with(*given_b))
        });
        match least {
            Some((_, given)) => *given += 1,
            None => break,
        }
    }
    let given = lanes.iter().zip(rooms).map(|(lane, (_, given))| {
        let count = lane.reserve_slots(given);
        start(lane, count)
    });
    given.flatten().collect()
}
