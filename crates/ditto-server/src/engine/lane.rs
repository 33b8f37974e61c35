//! A lane: one (upstream, model) with its limits, and the slots that send lines.
//!
//! A slot is a loop that takes a line, sends it and settles it. Slots are started when lines
//! arrive, up to the lane's limit, and end when there is nothing to do for a while, or when the limit
//! is reached without them. A slot that takes a line starts another as long as there are fewer than
//! the limit: so their number follows it. A line that waits for a retry holds no slot.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::lanes::Needs;
use super::lease::LOW_WATER;
use super::lock;
use super::pool::{DRY, Pool, Starts};
use super::queue::{Next, TURN_LINES};
use super::segment::LineJob;
use crate::catalog::DryBatch;
use crate::config::Concurrency;
use crate::model::allowance::Allowance;
use crate::model::knee::{Load, Trip, Why};
use crate::model::lane::{Gate, LaneState, LaneView, Pause};
use crate::model::retry_budget::RetryBudget;
use crate::model::throttle::{Room, Signal, Throttle};
use crate::upstream::{Route, Upstream};

/// A probe that is not answered for this long is followed by another.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);
/// A lane beside which another one is open is put aside after so many failures in a row: one that fails
/// fast would take more lines than those that answer them.
const EJECTED_AFTER: u32 = 5;

/// One (upstream, model).
pub(crate) struct Lane {
    pub(crate) upstream: Arc<dyn Upstream>,
    model: String,
    weight: u32,
    /// As configured; `None`: once its answers tell of cached tokens.
    prefix_order: Option<bool>,
    inner: Mutex<LaneInner>,
    seen: Seen,
    /// A line arrived, the gate moved, or the engine stops.
    moved: Notify,
    needs: Arc<Needs>,
}

/// What the other lanes of a pool look at without a lock.
#[derive(Debug)]
struct Seen {
    is_open: AtomicBool,
    is_proven: AtomicBool,
    tells_cached: AtomicBool,
    in_flight: AtomicUsize,
    /// Slots that found no line.
    idle: AtomicUsize,
    limit: AtomicUsize,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("upstream", &self.upstream.name())
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct LaneInner {
    /// Where its lines wait: mostly one.
    pools: Vec<Weak<Pool>>,
    /// Whose turn it is among them, and lines left in it.
    turn: (usize, u32),
    /// How much may be sent.
    throttle: Throttle,
    /// Of that what was logged last.
    noted: Noted,
    /// How much of it again.
    retries: RetryBudget,
    /// One of the slots waits for the pace; the others need not.
    is_paced: bool,
    state: LaneState,
    slots: usize,
    in_flight: usize,
    /// Of those in flight, probes of the paused lane.
    probes: usize,
    /// When the last of them was sent.
    probed: Duration,
}

/// How many slots a lane may still have, and what it has to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Free {
    pub(crate) slots: usize,
    /// Slots that it has, and nothing in flight for them.
    pub(crate) spare: usize,
    busy: usize,
    weight: u32,
}

impl Free {
    /// What it has to do with so many lines more, for its weight.
    pub(crate) fn load_with(&self, more: usize) -> f64 {
        (self.busy + more + 1) as f64 / f64::from(self.weight)
    }
}

/// What a slot that found nothing looks back on.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// It is the one that waits for the pace.
    is_paced: bool,
    /// It is counted as idle.
    is_idle: bool,
}

/// What a slot gets when it asks for a line.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Send this one, of this pool.
    Line(LineJob, Permit, Arc<Pool>),
    /// Nothing now; ask again when the lane moved, or after this long.
    Wait(Option<Duration>),
    /// There are slots enough without this one, which is not counted any more.
    End,
}

/// The right to have one request in flight in a lane. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Permit {
    lane: Arc<Lane>,
    is_probe: bool,
    trip: Trip,
    pub(crate) sent: Duration,
    /// The lane knows what came of it.
    is_back: bool,
    /// Slots that are counted already and have to be started.
    pub(crate) starts: Starts,
}

impl Permit {
    /// The request is back, with this.
    pub(crate) fn back(mut self, signal: Signal, allowance: Allowance, now: Duration) {
        self.is_back = true;
        self.lane
            .back((self.is_probe, self.trip), (signal, allowance), now);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_back {
            let lost = (Signal::Lost, Allowance::default());
            self.lane.back((self.is_probe, self.trip), lost, self.sent);
        }
    }
}

/// What of a lane's limits is worth a line in the log.
#[derive(Debug, Clone, Copy)]
struct Noted {
    limit: usize,
    /// Requests a second; 0: any.
    pace: f64,
    why: Why,
}

impl Noted {
    fn of(throttle: &Throttle) -> Self {
        Self {
            limit: throttle.limit(),
            pace: throttle.rate().unwrap_or_default(),
            why: throttle.why(),
        }
    }

    /// A step of a search is no news, nor is a little more or less.
    fn is_news_after(self, before: Self) -> bool {
        let differs = |now: f64, before: f64| (now - before).abs() > before.max(now) / 4.0;
        self.why != Why::Climbing && differs(self.limit as f64, before.limit as f64)
            || differs(self.pace, before.pace)
    }
}

/// The state of a lane, for people and programs.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct LaneReport {
    /// Name of the upstream.
    pub upstream: String,
    /// The model.
    pub model: String,
    /// Requests in flight at once, at most.
    pub limit: usize,
    /// Why it is so many.
    pub why: &'static str,
    /// Requests a second, if the upstream takes no more.
    pub pace: Option<f64>,
    /// Requests in flight now.
    pub in_flight: usize,
    /// Lines that wait in memory, for it or for another that serves the model.
    pub waiting: usize,
    /// Answers that went to the output file.
    pub successes: u64,
    /// Why nothing is sent, if that is so.
    pub paused: Option<&'static str>,
    /// The same for programs.
    #[serde(skip)]
    pub pause: Option<Pause>,
    /// Since when nothing has succeeded.
    pub at_fault_for: Option<Duration>,
}

impl Lane {
    pub(crate) fn new(route: &Route, model: &str, needs: Arc<Needs>) -> Self {
        let inner = LaneInner::new(route.concurrency());
        Self {
            upstream: Arc::clone(&route.upstream),
            model: model.to_owned(),
            weight: route.weight().max(1),
            prefix_order: route.prefix_order(),
            seen: Seen {
                is_open: AtomicBool::new(true),
                is_proven: AtomicBool::new(false),
                tells_cached: AtomicBool::new(false),
                in_flight: AtomicUsize::new(0),
                idle: AtomicUsize::new(0),
                limit: AtomicUsize::new(inner.throttle.limit()),
            },
            inner: Mutex::new(inner),
            moved: Notify::new(),
            needs,
        }
    }

    /// Lines of this pool are its own, too, from now on.
    pub(crate) fn join(&self, pool: &Arc<Pool>) {
        let mut inner = lock(&self.inner);
        inner.pools.retain(|known| known.strong_count() > 0);
        inner.pools.push(Arc::downgrade(pool));
    }

    /// And from now on no more.
    pub(crate) fn leave(&self, pool: &Arc<Pool>) {
        let gone = Arc::downgrade(pool);
        lock(&self.inner).pools.retain(|known| !known.ptr_eq(&gone));
        self.wake();
    }

    /// Up to so many slots more, counted from now on.
    pub(crate) fn reserve_slots(&self, most: usize) -> usize {
        let mut inner = lock(&self.inner);
        let free = inner.throttle.limit().saturating_sub(inner.slots);
        let count = free.min(most);
        inner.slots += count;
        count
    }

    pub(crate) fn room(&self) -> Free {
        let inner = lock(&self.inner);
        Free {
            slots: inner.throttle.limit().saturating_sub(inner.slots),
            spare: inner.slots.saturating_sub(inner.in_flight),
            busy: (inner.slots).saturating_sub(self.seen.idle.load(Ordering::Relaxed)),
            weight: self.weight,
        }
    }

    /// Lines may come to it.
    pub(crate) fn is_of_a_pool(&self) -> bool {
        lock(&self.inner).pools().next().is_some()
    }

    pub(crate) fn has_slots(&self) -> bool {
        lock(&self.inner).slots > 0
    }

    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    /// It finds its limit by itself, and has something in flight.
    pub(crate) fn is_searching(&self) -> bool {
        let inner = lock(&self.inner);
        inner.in_flight > 0 && inner.throttle.why() != Why::Given
    }

    /// Its upstream has told of its load.
    pub(crate) fn bears(&self, load: Load, now: Duration) {
        let mut inner = lock(&self.inner);
        inner.throttle.bears(load, now);
        self.show(&inner);
    }

    pub(crate) fn limit(&self) -> usize {
        self.seen.limit.load(Ordering::Relaxed)
    }

    /// It is not paused.
    pub(crate) fn is_open(&self) -> bool {
        self.seen.is_open.load(Ordering::Acquire)
    }

    /// It has answered lines.
    pub(crate) fn is_proven(&self) -> bool {
        self.seen.is_proven.load(Ordering::Acquire)
    }

    /// Its answers tell how much of a prompt was known already. True if that changes what it wants.
    pub(crate) fn tells_cached(&self) -> bool {
        let tells = &self.seen.tells_cached;
        let is_new = !tells.load(Ordering::Relaxed) && !tells.swap(true, Ordering::Relaxed);
        is_new && self.prefix_order.is_none()
    }

    /// Lines that begin alike are to come together.
    pub(crate) fn wants_prefixes_together(&self) -> bool {
        let tells = || self.seen.tells_cached.load(Ordering::Relaxed);
        self.prefix_order.unwrap_or_else(tells)
    }

    /// A line is for this lane rather than for the other.
    pub(crate) fn goes_before(&self, other: &Self) -> bool {
        let in_flight = |lane: &Self| lane.seen.in_flight.load(Ordering::Relaxed);
        let load = |lane: &Self| (in_flight(lane) + 1) as u64;
        self.seen.idle.load(Ordering::Relaxed) > 0
            && self.is_open()
            && in_flight(self) < self.limit()
            && load(self) * u64::from(other.weight) < load(other) * u64::from(self.weight)
    }

    /// What others see of it.
    fn show(&self, inner: &LaneInner) {
        let open = inner.state.paused().is_none();
        self.seen.is_open.store(open, Ordering::Release);
        let proven = inner.state.successes() > 0;
        self.seen.is_proven.store(proven, Ordering::Release);
        self.seen
            .in_flight
            .store(inner.in_flight, Ordering::Relaxed);
        let limit = inner.throttle.limit();
        self.seen.limit.store(limit, Ordering::Relaxed);
    }

    /// It sends nothing but probes from now on.
    pub(crate) fn pause(&self, pause: Pause, sent: Duration, now: Duration) {
        let mut inner = lock(&self.inner);
        if inner.state.pause(pause, sent, now) {
            inner.throttle.paused();
        }
        self.show(&inner);
    }

    /// A line that was sent then failed in a way that may be the lane's. True if there were so many in a
    /// row that another lane should have them.
    pub(crate) fn failed(&self) -> bool {
        let mut inner = lock(&self.inner);
        inner.state.failed();
        inner.state.failures() >= EJECTED_AFTER
    }

    /// A line was answered, for so many tokens.
    pub(crate) fn succeeded(&self, tokens: u64, now: Duration) {
        self.note(|inner| {
            inner.throttle.took(tokens);
            inner.retries.succeeded(now);
            inner.state.succeeded(now);
        });
    }

    pub(crate) fn refused(&self) {
        self.note(|inner| inner.state.refused());
    }

    pub(crate) fn answered(&self) {
        self.note(|inner| inner.state.answered());
    }

    /// Changes the lane's state; if that ends a pause, the slots hear of it.
    fn note(&self, change: impl FnOnce(&mut LaneInner)) {
        let mut inner = lock(&self.inner);
        let was_paused = inner.state.paused().is_some();
        change(&mut inner);
        self.show(&inner);
        drop(inner);
        if was_paused {
            self.wake();
            self.needs.hungry.store(true, Ordering::Relaxed);
            self.needs.ran_low.notify_waiters();
        }
    }

    /// Its slots look again.
    pub(crate) fn wake(&self) {
        self.moved.notify_waiters();
    }

    /// Until when it is paused, if it is.
    pub(crate) fn paused_until(&self) -> Option<Duration> {
        lock(&self.inner).state.paused().map(|paused| paused.until)
    }

    /// A probe is in flight.
    pub(crate) fn is_probing(&self) -> bool {
        lock(&self.inner).probes > 0
    }

    /// It would send a probe at most.
    pub(crate) fn is_shut(&self, now: Duration) -> bool {
        lock(&self.inner).state.gate(now) != Gate::Open
    }

    pub(crate) fn view(
        &self,
        patience: Duration,
        large_batch: bool,
        worked_before: bool,
    ) -> LaneView {
        let inner = lock(&self.inner);
        inner.state.view(patience, large_batch, worked_before)
    }

    /// The next line, if the gate is open, there is room, and there is one. A slot that has to wait is
    /// told for what, and tells when it asks again.
    pub(crate) fn take(self: &Arc<Self>, now: Duration, waiting: &mut Waiting) -> Taken {
        let mut inner = lock(&self.inner);
        let Waiting { is_paced, is_idle } = std::mem::take(waiting);
        if is_paced {
            inner.is_paced = false;
        }
        if is_idle {
            self.seen.idle.fetch_sub(1, Ordering::Relaxed);
        }
        let is_probe = match inner.state.gate(now) {
            Gate::Open => match inner.throttle.room(inner.in_flight, now) {
                Room::Now => false,
                Room::At(at) if !inner.is_paced => {
                    inner.is_paced = true;
                    waiting.is_paced = true;
                    return Taken::Wait(Some(at.saturating_sub(now)));
                }
                Room::At(_) | Room::WhenOneIsBack => {
                    inner.slots -= 1;
                    return Taken::End;
                }
            },
            Gate::Probe => match inner.probe_in(now, inner.throttle.limit()) {
                Duration::ZERO => true,
                wait => return Taken::Wait(Some(wait)),
            },
            Gate::ClosedUntil(at) => return Taken::Wait(Some(at.saturating_sub(now))),
        };
        let (pool, next) = match inner.next(self, is_probe, now) {
            Ok(next) => next,
            Err(again) => {
                waiting.is_idle = again.is_none();
                if waiting.is_idle {
                    self.seen.idle.fetch_add(1, Ordering::Relaxed);
                }
                return Taken::Wait(again.map(|at| at.saturating_sub(now)));
            }
        };
        let Next {
            job,
            was_ready,
            left,
        } = next;
        inner.in_flight += 1;
        if is_probe {
            inner.probes += 1;
            inner.probed = now;
        }
        let in_flight = inner.in_flight;
        let trip = inner.throttle.sent(in_flight, now);
        let more = !pool.is_shared() && inner.one_slot_more(&pool);
        self.show(&inner);
        drop(inner);
        let starts = match more {
            true => vec![(Arc::clone(self), 1)],
            false if pool.is_shared() => pool.start_another(),
            false => Vec::new(),
        };
        let ran_dry = (left == 0 || left == DRY) && job.segment.work.goes_on_behind(&job.segment);
        if ran_dry {
            self.needs.dry.note(DryBatch {
                batch: job.segment.key.batch,
                lane: Some(pool.mark().clone()),
            });
        }
        let low = was_ready && self.needs.ready.fetch_sub(1, Ordering::Relaxed) == LOW_WATER;
        if low || ran_dry {
            self.needs.ran_low.notify_waiters();
        }
        let permit = Permit {
            lane: Arc::clone(self),
            is_probe,
            trip,
            sent: now,
            is_back: false,
            starts,
        };
        Taken::Line(job, permit, pool)
    }

    /// A request is back, or was given up.
    fn back(
        &self,
        (is_probe, trip): (bool, Trip),
        (signal, allowance): (Signal, Allowance),
        now: Duration,
    ) {
        let mut inner = lock(&self.inner);
        inner.in_flight -= 1;
        inner.probes -= usize::from(is_probe);
        let in_flight = inner.in_flight;
        inner.throttle.back(trip, signal, in_flight, now);
        if !allowance.is_empty() {
            inner.throttle.told(allowance, in_flight, now);
        }
        let news = inner.news();
        self.show(&inner);
        drop(inner);
        if let Some(news) = news {
            self.log(news);
        }
    }

    /// Resolves when the lane may have something for a slot. To be made before [`take`](Self::take).
    pub(crate) fn moved(&self) -> tokio::sync::futures::Notified<'_> {
        self.moved.notified()
    }

    /// A slot that found nothing for a while wants to end. False: something arrived just now.
    pub(crate) fn end_slot(&self, waiting: &mut Waiting) -> bool {
        let mut inner = lock(&self.inner);
        if inner.pools().any(|pool| pool.has_lines()) {
            return false;
        }
        inner.slots -= 1;
        if std::mem::take(waiting).is_idle {
            self.seen.idle.fetch_sub(1, Ordering::Relaxed);
        }
        true
    }

    /// A slot ends because the engine stops.
    pub(crate) fn stop_slot(&self) {
        lock(&self.inner).slots -= 1;
    }

    pub(crate) fn is_paused_for(&self, long: Duration, now: Duration) -> bool {
        let inner = lock(&self.inner);
        let since = inner.state.paused().and(inner.state.fault_since());
        since.is_some_and(|since| now.saturating_sub(since) >= long)
    }

    fn log(&self, news: Noted) {
        tracing::info!(
            upstream = self.upstream.name(),
            model = self.model,
            limit = news.limit,
            reason = news.why.reason(),
            pace = (news.pace > 0.0).then(|| format!("{:.1}/s", news.pace)),
            "requests in flight"
        );
    }

    pub(crate) fn report(&self, now: Duration) -> LaneReport {
        let inner = lock(&self.inner);
        let paused = inner.state.paused();
        LaneReport {
            upstream: self.upstream.name().to_owned(),
            model: self.model.clone(),
            limit: inner.throttle.limit(),
            why: inner.throttle.why().reason(),
            pace: inner.throttle.rate(),
            in_flight: inner.in_flight,
            waiting: inner.pools().map(|pool| pool.waiting()).sum(),
            successes: inner.state.successes(),
            paused: paused.map(|p| p.pause.reason()),
            pause: paused.map(|p| p.pause),
            at_fault_for: inner
                .state
                .fault_since()
                .map(|since| now.saturating_sub(since)),
        }
    }
}

impl LaneInner {
    fn new(concurrency: Concurrency) -> Self {
        let throttle = match concurrency {
            Concurrency::Fixed(limit) => Throttle::given(limit),
            Concurrency::UpTo(most) => Throttle::up_to(most),
        };
        Self {
            noted: Noted::of(&throttle),
            throttle,
            retries: RetryBudget::default(),
            is_paced: false,
            pools: Vec::new(),
            turn: (0, 0),
            state: LaneState::default(),
            slots: 0,
            in_flight: 0,
            probes: 0,
            probed: Duration::ZERO,
        }
    }

    fn pools(&self) -> impl Iterator<Item = Arc<Pool>> + '_ {
        self.pools.iter().filter_map(Weak::upgrade)
    }

    /// The next line of the pool whose turn it is; where no line may be sent, when to ask again.
    fn next(
        &mut self,
        lane: &Lane,
        is_probe: bool,
        now: Duration,
    ) -> Result<(Arc<Pool>, Next), Option<Duration>> {
        let mut again = None;
        for place in self.turns() {
            let Some(pool) = self.pools[place].upgrade() else {
                continue;
            };
            if let Some(other) = pool.who_goes_before(lane)
                && pool.has_lines()
            {
                other.moved.notify_one();
                continue;
            }
            if let Some(next) = pool.next(is_probe, &mut self.retries, now) {
                self.takes_turn(place);
                return Ok((pool, next));
            }
            let retry = pool.next_retry(&mut self.retries, now);
            again = [again, retry].into_iter().flatten().min();
        }
        Err(again)
    }

    /// Places of its pools, first that whose turn it is: they take turns of so many lines as batches do.
    fn turns(&self) -> impl Iterator<Item = usize> + use<> {
        let (count, (at, left)) = (self.pools.len(), self.turn);
        let first = if left > 0 { at } else { at + 1 };
        (0..count).map(move |step| (first + step) % count)
    }

    fn takes_turn(&mut self, place: usize) {
        self.turn = match self.turn {
            (at, left) if at == place && left > 0 => (at, left - 1),
            _ => (place, TURN_LINES - 1),
        };
    }

    /// One more slot than before, if there is work for it; it is counted already.
    fn one_slot_more(&mut self, pool: &Pool) -> bool {
        let more = self.slots < self.throttle.limit() && pool.has_lines();
        self.slots += usize::from(more);
        more
    }

    fn news(&mut self) -> Option<Noted> {
        let now = Noted::of(&self.throttle);
        let is_news = now.is_news_after(self.noted);
        is_news.then(|| {
            self.noted = now;
            now
        })
    }

    /// How long until a probe may be sent. Not until none is in flight: what was sent before the pause
    /// may take minutes to end, and a probe that nobody answers must not keep the lane shut.
    fn probe_in(&self, now: Duration, limit: usize) -> Duration {
        match self.probes {
            0 => Duration::ZERO,
            some if some < limit => (self.probed + PROBE_PATIENCE).saturating_sub(now),
            _ => PROBE_PATIENCE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_that_nobody_answers_is_followed_by_another_as_long_as_there_are_slots() {
        let at = Duration::from_secs;
        let probes = |probes| LaneInner {
            probes,
            probed: at(5),
            ..LaneInner::new(Concurrency::Fixed(2))
        };
        assert_eq!(probes(0).probe_in(at(5), 2), at(0));
        assert_eq!(probes(1).probe_in(at(6), 2), at(9));
        assert_eq!(probes(1).probe_in(at(15), 2), at(0));
        assert!(probes(2).probe_in(at(99), 2) > at(0));
    }
}
