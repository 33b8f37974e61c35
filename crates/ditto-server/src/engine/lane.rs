//! A lane: one (upstream, model), with the lines that wait for it and the slots that send them.
//!
//! A slot is a loop that takes a line, sends it and settles it. Slots are started when lines
//! arrive, up to the lane's limit, and end when there is nothing to do for a while, or when the limit
//! is reached without them. A slot that takes a line starts another as long as there are fewer than
//! the limit: so their number follows it. A line that waits for a retry holds no slot.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::lanes::Needs;
use super::lease::LOW_WATER;
use super::lock;
use super::queue::{Next, Queue, TURN_LINES};
use super::segment::LineJob;
use super::work::Work;
use crate::catalog::{DryBatch, LaneMark};
use crate::config::Concurrency;
use crate::model::knee::{Trip, Why};
use crate::model::lane::{Gate, LaneState, LaneView, Pause};
use crate::model::throttle::{Room, Signal, Throttle};
use crate::upstream::Upstream;

/// Lines in memory that are enough for any lane while there is little room: a second at 1,000 a second,
/// and time enough to lease more.
const ENOUGH: usize = 1_024;
/// A probe that is not answered for this long is followed by another.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);
/// Lines of a batch that wait when it is leased for again: two turns, so that it misses none.
pub(crate) const DRY: usize = 2 * TURN_LINES as usize;

/// One (upstream, model).
pub(crate) struct Lane {
    pub(crate) upstream: Arc<dyn Upstream>,
    model: String,
    mark: LaneMark,
    inner: Mutex<LaneInner>,
    /// A line arrived, the gate moved, or the engine stops.
    moved: Notify,
    needs: Arc<Needs>,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("mark", &self.mark)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct LaneInner {
    /// How much may be sent.
    throttle: Throttle,
    /// Of that what was logged last.
    noted: Noted,
    /// One of the slots waits for the pace; the others need not.
    is_paced: bool,
    queue: Queue,
    state: LaneState,
    slots: usize,
    in_flight: usize,
    /// Of those in flight, probes of the paused lane.
    probes: usize,
    /// When the last of them was sent.
    probed: Duration,
}

/// Why a lane gets nothing of what waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It gets it.
    None,
    /// It has more lines than it needs for now.
    Enough,
    /// It is paused, and has lines for its probes.
    Paused,
    /// It is paused and has none; its next probe may be sent at this time.
    Asleep(Duration),
}

/// What a slot gets when it asks for a line.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Send this one.
    Line(LineJob, Permit),
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
    /// What came of it, and when.
    signal: (Signal, Duration),
    /// A slot that is counted already and has to be started.
    pub(crate) starts: usize,
}

impl Permit {
    /// The request is back.
    pub(crate) fn back(mut self, signal: Signal, now: Duration) {
        self.signal = (signal, now);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut inner = lock(&self.lane.inner);
        inner.in_flight -= 1;
        inner.probes -= usize::from(self.is_probe);
        let (signal, now) = self.signal;
        let in_flight = inner.in_flight;
        inner.throttle.back(self.trip, signal, in_flight, now);
        let news = inner.news();
        drop(inner);
        if let Some(news) = news {
            self.lane.log(news);
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
    /// Lines that wait in memory.
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
    pub(crate) fn new(
        upstream: Arc<dyn Upstream>,
        model: &str,
        concurrency: Concurrency,
        needs: Arc<Needs>,
    ) -> Self {
        Self {
            mark: LaneMark::new(upstream.name(), model),
            upstream,
            model: model.to_owned(),
            inner: Mutex::new(LaneInner::new(concurrency)),
            moved: Notify::new(),
            needs,
        }
    }

    /// Adds lines of one batch, in order. Returns how many slots should be started for them.
    pub(crate) fn push(&self, work: &Arc<Work>, lines: Vec<LineJob>) -> usize {
        let count = lines.len();
        let mut inner = lock(&self.inner);
        inner.queue.push(work, lines);
        self.needs.ready.fetch_add(count, Ordering::Relaxed);
        let start = inner
            .throttle
            .limit()
            .saturating_sub(inner.slots)
            .min(count);
        inner.slots += start;
        drop(inner);
        self.moved.notify_waiters();
        start
    }

    /// A line that may be sent again at this time. Returns how many slots should be started.
    pub(crate) fn retry(&self, job: LineJob, at: Duration) -> usize {
        let mut inner = lock(&self.inner);
        inner.queue.retry(job, at);
        let start = usize::from(inner.slots == 0);
        inner.slots += start;
        drop(inner);
        self.moved.notify_waiters();
        start
    }

    /// A line that may have done nothing wrong goes back behind its batch's other lines: the next
    /// probe is another line, so that a poison line does not keep a lane shut.
    pub(crate) fn put_back(&self, mut job: LineJob, pause: Pause, sent: Duration, now: Duration) {
        let work = Arc::clone(&job.segment.work);
        job.put_backs += 1;
        let mut inner = lock(&self.inner);
        if inner.state.pause(pause, sent, now) {
            inner.throttle.paused();
        }
        inner.queue.push(&work, [job]);
        self.needs.ready.fetch_add(1, Ordering::Relaxed);
        drop(inner);
        self.moved.notify_waiters();
    }

    pub(crate) fn succeeded(&self, now: Duration) {
        self.note(|state| state.succeeded(now));
    }

    pub(crate) fn refused(&self) {
        self.note(LaneState::refused);
    }

    pub(crate) fn answered(&self) {
        self.note(LaneState::answered);
    }

    /// Changes the lane's state; if that ends a pause, the slots hear of it.
    fn note(&self, change: impl FnOnce(&mut LaneState)) {
        let mut inner = lock(&self.inner);
        let was_paused = inner.state.paused().is_some();
        change(&mut inner.state);
        drop(inner);
        if was_paused {
            self.moved.notify_waiters();
            self.needs.hungry.store(true, Ordering::Relaxed);
            self.needs.ran_low.notify_waiters();
        }
    }

    /// Its slots look again.
    pub(crate) fn wake(&self) {
        self.moved.notify_waiters();
    }

    /// Its name in the catalog.
    pub(crate) fn mark(&self) -> &LaneMark {
        &self.mark
    }

    /// It has slots or lines.
    pub(crate) fn is_used(&self) -> bool {
        let inner = lock(&self.inner);
        inner.slots > 0 || !inner.queue.is_empty()
    }

    /// Lines that it needs in memory while there is little room.
    pub(crate) fn enough(&self) -> usize {
        lock(&self.inner).enough()
    }

    pub(crate) fn rest(&self) -> Rest {
        let inner = lock(&self.inner);
        let has_lines = !inner.queue.is_empty() || inner.probes > 0;
        match inner.state.paused() {
            Some(_) if has_lines => Rest::Paused,
            Some(paused) => Rest::Asleep(paused.until),
            None if inner.queue.lines() > inner.enough() => Rest::Enough,
            None => Rest::None,
        }
    }

    /// Lines that wait for a slot, or for a retry: with its time. Those that were charged stay: the count
    /// is here alone.
    pub(crate) fn take_idle(&self) -> Vec<(LineJob, Option<Duration>)> {
        let mut inner = lock(&self.inner);
        let ready = inner.queue.take_ready(&|_| true);
        self.needs.ready.fetch_sub(ready.len(), Ordering::Relaxed);
        let retries = inner.queue.take_retries(&|job| job.charged == 0);
        let ready = ready.into_iter().map(|job| (job, None));
        let retries = retries.into_iter().map(|(job, at)| (job, Some(at)));
        ready.chain(retries).collect()
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

    /// The next line, if the gate is open, there is room, and there is one. The slot that waits for
    /// the pace is told so, and tells when it asks again.
    pub(crate) fn take(self: &Arc<Self>, now: Duration, is_paced: &mut bool) -> Taken {
        let mut inner = lock(&self.inner);
        if std::mem::take(is_paced) {
            inner.is_paced = false;
        }
        let is_probe = match inner.state.gate(now) {
            Gate::Open => match inner.throttle.room(inner.in_flight, now) {
                Room::Now => false,
                Room::At(at) if !inner.is_paced => {
                    inner.is_paced = true;
                    *is_paced = true;
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
        let Some(next) = inner.queue.next(is_probe, now) else {
            let due = inner.queue.next_retry();
            return Taken::Wait(due.map(|due| due.saturating_sub(now)));
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
        let starts = inner.slots_to_start();
        drop(inner);
        let ran_dry = (left == 0 || left == DRY) && job.segment.work.goes_on_behind(&job.segment);
        if ran_dry {
            self.needs.dry.note(DryBatch {
                batch: job.segment.key.batch,
                lane: Some(self.mark.clone()),
            });
        }
        let low = was_ready && self.needs.ready.fetch_sub(1, Ordering::Relaxed) == LOW_WATER;
        if low || ran_dry {
            self.needs.ran_low.notify_waiters();
        }
        Taken::Line(
            job,
            Permit {
                lane: Arc::clone(self),
                is_probe,
                trip,
                signal: (Signal::Lost, now),
                starts,
            },
        )
    }

    /// Resolves when the lane may have something for a slot. To be made before [`take`](Self::take).
    pub(crate) fn moved(&self) -> tokio::sync::futures::Notified<'_> {
        self.moved.notified()
    }

    /// A slot that found nothing for a while wants to end. False: something arrived just now.
    pub(crate) fn end_slot(&self) -> bool {
        let mut inner = lock(&self.inner);
        if !inner.queue.is_empty() {
            return false;
        }
        inner.slots -= 1;
        true
    }

    /// A slot ends because the engine stops.
    pub(crate) fn stop_slot(&self) {
        lock(&self.inner).slots -= 1;
    }

    pub(crate) fn waiting_for_pause(&self, now: Duration) -> usize {
        let inner = lock(&self.inner);
        match inner.state.gate(now) {
            Gate::Open => 0,
            Gate::Probe | Gate::ClosedUntil(_) => inner.queue.ready(),
        }
    }

    pub(crate) fn is_paused_for(&self, long: Duration, now: Duration) -> bool {
        let inner = lock(&self.inner);
        let since = inner.state.paused().and(inner.state.fault_since());
        since.is_some_and(|since| now.saturating_sub(since) >= long)
    }

    /// All waiting lines for which this holds, taken out.
    pub(crate) fn take_waiting(&self, wanted: &impl Fn(&LineJob) -> bool) -> Vec<LineJob> {
        let mut inner = lock(&self.inner);
        let ready = inner.queue.ready();
        let taken = inner.queue.take(wanted);
        let taken_ready = ready - inner.queue.ready();
        self.needs.ready.fetch_sub(taken_ready, Ordering::Relaxed);
        taken
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
            waiting: inner.queue.lines(),
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
            is_paced: false,
            queue: Queue::default(),
            state: LaneState::default(),
            slots: 0,
            in_flight: 0,
            probes: 0,
            probed: Duration::ZERO,
        }
    }

    /// One more slot than before, if there is work for it; it is counted already.
    fn slots_to_start(&mut self) -> usize {
        let starts = usize::from(!self.queue.is_empty() && self.slots < self.throttle.limit());
        self.slots += starts;
        starts
    }

    fn news(&mut self) -> Option<Noted> {
        let now = Noted::of(&self.throttle);
        let is_news = now.is_news_after(self.noted);
        is_news.then(|| {
            self.noted = now;
            now
        })
    }

    fn enough(&self) -> usize {
        (8 * self.throttle.limit()).max(ENOUGH)
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
