//! Lanes: one per (upstream, model), with the lines that wait for it and the slots that send them.
//!
//! A slot is a loop that takes a line, sends it and settles it. Slots are started when lines
//! arrive, up to the lane's limit, and end when there is nothing to do for a while, or when the limit
//! is reached without them. A slot that takes a line starts another as long as there are fewer than
//! the limit: so their number follows it. A line that waits for a retry holds no slot.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::dry::Dry;
use super::lease::LOW_WATER;
use super::lock;
use super::segment::LineJob;
use super::work::Work;
use crate::catalog::{DryBatch, LaneMark};
use crate::config::Concurrency;
use crate::model::knee::{Trip, Why};
use crate::model::lane::{Gate, LaneState, LaneView, Pause};
use crate::model::throttle::{Room, Signal, Throttle};
use crate::model::turn::{Candidate, Turn};
use crate::upstream::{Offers, Routing, Upstream};

/// Lines of one batch that are taken in one turn: the request prefixes of neighbours are alike.
const TURN_LINES: u32 = 32;
/// Lines in memory that are enough for any lane while there is little room: a second at 1,000 a second,
/// and time enough to lease more.
const ENOUGH: usize = 1_024;
/// One lane without lines is called this often.
const CALL: Duration = Duration::from_secs(1);
/// A pause that was not looked at for this long says nothing.
const REMEMBERED: Duration = Duration::from_secs(600);
/// A probe that is not answered for this long is followed by another.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);
/// Lines of a batch that wait when it is leased for again: two turns, so that it misses none.
pub(crate) const DRY: usize = 2 * TURN_LINES as usize;

/// The lanes in use.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    by_key: Mutex<BTreeMap<LaneKey, Arc<Lane>>>,
    /// Lines that could be sent as soon as a slot is free.
    ready: Arc<AtomicUsize>,
    /// Batches of which it has few lines or none, although there may be more to lease.
    pub(crate) dry: Arc<Dry>,
    /// There may be something to lease that nobody here knows of: of a batch that is ending, or what
    /// waited for a lane that is back.
    pub(crate) hungry: Arc<AtomicBool>,
    /// Told when lines run low, and whenever else there may be something to lease.
    pub(crate) ran_low: Arc<Notify>,
    /// Segments were parked here: there is something for which lanes may be shut. What an earlier life
    /// has parked comes back once, and is parked here if it has to be.
    pub(crate) has_parked: AtomicBool,
    /// When a lane without lines was last called.
    called: Mutex<Option<Duration>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct LaneKey {
    upstream: usize,
    model: String,
}

/// One (upstream, model).
pub(crate) struct Lane {
    key: LaneKey,
    pub(crate) upstream: Arc<dyn Upstream>,
    inner: Mutex<LaneInner>,
    /// A line arrived, the gate moved, or the engine stops.
    moved: Notify,
    ready: Arc<AtomicUsize>,
    dry: Arc<Dry>,
    hungry: Arc<AtomicBool>,
    /// Told when the lines in memory run low, or those of one batch.
    ran_low: Arc<Notify>,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("key", &self.key)
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
    batches: Vec<Waiting>,
    turn: Turn,
    /// The batch whose turn it is, and lines left in it.
    current: Option<(i64, u32)>,
    retries: BinaryHeap<Reverse<Retry>>,
    retry_number: u64,
    state: LaneState,
    slots: usize,
    in_flight: usize,
    /// Of those in flight, probes of the paused lane.
    probes: usize,
    /// When the last of them was sent.
    probed: Duration,
}

/// Lines of one batch that wait for this lane.
#[derive(Debug)]
struct Waiting {
    batch: i64,
    work: Arc<Work>,
    lines: VecDeque<LineJob>,
}

/// A line that may be sent again at a time. Ties are broken by age.
#[derive(Debug)]
struct Retry {
    at: Duration,
    number: u64,
    job: LineJob,
}

impl PartialEq for Retry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Retry {}
impl PartialOrd for Retry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Retry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Why a lane gets nothing of what waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
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

impl Lanes {
    /// The lane for a model; `None` if no upstream serves it to this tenant.
    pub(crate) fn lane(
        &self,
        routing: &Routing,
        offers: &Offers,
        model: &str,
    ) -> Option<Arc<Lane>> {
        let (upstream, route) = routing.route(model, offers)?;
        let key = LaneKey {
            upstream,
            model: model.to_owned(),
        };
        let mut lanes = lock(&self.by_key);
        let lane = lanes.entry(key).or_insert_with_key(|key| {
            Arc::new(Lane {
                key: key.clone(),
                upstream: Arc::clone(&route.upstream),
                inner: Mutex::new(LaneInner::new(route.concurrency)),
                moved: Notify::new(),
                ready: Arc::clone(&self.ready),
                dry: Arc::clone(&self.dry),
                hungry: Arc::clone(&self.hungry),
                ran_low: Arc::clone(&self.ran_low),
            })
        });
        Some(Arc::clone(lane))
    }

    /// Lines that wait in memory for a slot, retries not among them.
    pub(crate) fn ready(&self) -> usize {
        self.ready.load(Ordering::Relaxed)
    }

    /// Of these, lines that cannot be sent because their lane is paused.
    pub(crate) fn waiting_for_pauses(&self, now: Duration) -> usize {
        let lanes = lock(&self.by_key);
        lanes.values().map(|lane| lane.waiting_for_pause(now)).sum()
    }

    /// Lanes that have been paused for at least this long.
    pub(crate) fn paused_for(&self, long: Duration, now: Duration) -> Vec<Arc<Lane>> {
        let lanes = lock(&self.by_key);
        lanes
            .values()
            .filter(|lane| lane.is_paused_for(long, now))
            .cloned()
            .collect()
    }

    /// Lanes that get nothing of what waits for them: they are paused, or have enough. Of those that
    /// are paused and have no line with which to find out when they are back, one is called a second:
    /// what waits for it elsewhere brings its next probe.
    pub(crate) fn shut(&self, now: Duration) -> Vec<LaneMark> {
        if !self.has_parked.load(Ordering::Acquire) {
            return Vec::new();
        }
        let lanes = lock(&self.by_key);
        let called = self.to_be_called(&lanes, now);
        let shut = lanes.iter().filter(|(key, lane)| {
            let rest = lane.rest();
            rest != Rest::None && called.as_ref() != Some(*key)
        });
        shut.map(|(_, lane)| lane.mark()).collect()
    }

    /// Of the lanes that have nothing to send and whose pause is over, the one that has waited longest.
    fn to_be_called(&self, lanes: &BTreeMap<LaneKey, Arc<Lane>>, now: Duration) -> Option<LaneKey> {
        let mut last = lock(&self.called);
        if last.is_some_and(|last| now < last + CALL) {
            return None;
        }
        let sleeping = lanes.iter().filter_map(|(key, lane)| match lane.rest() {
            Rest::Asleep(until) if until <= now => Some((until, key)),
            _ => None,
        });
        let key = sleeping.min().map(|(_, key)| key.clone());
        if key.is_some() {
            *last = Some(now);
        }
        key
    }

    /// Lanes that have more lines in memory than they need for now.
    pub(crate) fn crowded(&self) -> Vec<Arc<Lane>> {
        let lanes = lock(&self.by_key);
        let crowded = lanes.values().filter(|lane| lane.rest() == Rest::Enough);
        crowded.cloned().collect()
    }

    /// All waiting lines for which this holds, taken out of their lanes.
    pub(crate) fn take(&self, wanted: impl Fn(&LineJob) -> bool) -> Vec<LineJob> {
        let lanes: Vec<_> = lock(&self.by_key).values().cloned().collect();
        lanes
            .iter()
            .flat_map(|lane| lane.take_waiting(&wanted))
            .collect()
    }

    pub(crate) fn wake_all(&self) {
        lock(&self.by_key)
            .values()
            .for_each(|lane| lane.moved.notify_waiters());
    }

    /// Forgets lanes that nobody uses: a lenient file may name any number of models.
    /// That one is paused is remembered while something may wait for it.
    pub(crate) fn forget_unused(&self, now: Duration) {
        lock(&self.by_key).retain(|_, lane| {
            let inner = lock(&lane.inner);
            let paused = inner.state.paused();
            inner.slots > 0
                || !inner.batches.is_empty()
                || !inner.retries.is_empty()
                || paused.is_some_and(|paused| now < paused.until + REMEMBERED)
        });
    }

    pub(crate) fn report(&self, routing: &Routing, now: Duration) -> Vec<LaneReport> {
        debug_assert!(routing.all().count() > 0, "a server has an upstream");
        let mut reports: Vec<_> = lock(&self.by_key).values().map(|l| l.report(now)).collect();
        reports.sort_by(|a, b| (&a.upstream, &a.model).cmp(&(&b.upstream, &b.model)));
        reports
    }
}

impl Lane {
    /// Adds lines of one batch, in order. Returns how many slots should be started for them.
    pub(crate) fn push(&self, work: &Arc<Work>, lines: Vec<LineJob>) -> usize {
        let count = lines.len();
        let mut inner = lock(&self.inner);
        let batch = work.row.key;
        match inner.batches.iter_mut().find(|w| w.batch == batch) {
            Some(waiting) => waiting.lines.extend(lines),
            None => inner.batches.push(Waiting {
                batch,
                work: Arc::clone(work),
                lines: lines.into(),
            }),
        }
        self.ready.fetch_add(count, Ordering::Relaxed);
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
        inner.retry_number += 1;
        let number = inner.retry_number;
        inner.retries.push(Reverse(Retry { at, number, job }));
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
        let batch = work.row.key;
        match inner.batches.iter_mut().find(|w| w.batch == batch) {
            Some(waiting) => waiting.lines.push_back(job),
            None => inner.batches.push(Waiting {
                batch,
                work,
                lines: VecDeque::from([job]),
            }),
        }
        self.ready.fetch_add(1, Ordering::Relaxed);
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
            self.hungry.store(true, Ordering::Relaxed);
            self.ran_low.notify_waiters();
        }
    }

    /// Its name in the catalog.
    pub(crate) fn mark(&self) -> LaneMark {
        LaneMark::new(self.upstream.name(), &self.key.model)
    }

    /// Lines that it needs in memory while there is little room.
    pub(crate) fn enough(&self) -> usize {
        lock(&self.inner).enough()
    }

    fn rest(&self) -> Rest {
        let inner = lock(&self.inner);
        let has_lines = !inner.batches.is_empty() || !inner.retries.is_empty() || inner.probes > 0;
        match inner.state.paused() {
            Some(_) if has_lines => Rest::Paused,
            Some(paused) => Rest::Asleep(paused.until),
            None if inner.lines() > inner.enough() => Rest::Enough,
            None => Rest::None,
        }
    }

    /// Lines that wait for a slot, or for a retry: with its time. Those that were charged stay: the count
    /// is here alone.
    pub(crate) fn take_idle(&self) -> Vec<(LineJob, Option<Duration>)> {
        let ready = self
            .take_ready(&|_| true)
            .into_iter()
            .map(|job| (job, None));
        let mut inner = lock(&self.inner);
        let retries = std::mem::take(&mut inner.retries);
        let (free, stay): (Vec<_>, Vec<_>) = retries
            .into_iter()
            .partition(|Reverse(retry)| retry.job.charged == 0);
        inner.retries = stay.into();
        let free = free
            .into_iter()
            .map(|Reverse(retry)| (retry.job, Some(retry.at)));
        ready.chain(free).collect()
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
        let (next, was_ready) = inner.next(is_probe, now);
        let Some(Next { job, left }) = next else {
            let next = inner
                .retries
                .peek()
                .map(|Reverse(retry)| retry.at.saturating_sub(now));
            return Taken::Wait(next);
        };
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
            self.dry.note(DryBatch {
                batch: job.segment.key.batch,
                lane: Some(self.mark()),
            });
        }
        let low = was_ready && self.ready.fetch_sub(1, Ordering::Relaxed) == LOW_WATER;
        if low || ran_dry {
            self.ran_low.notify_waiters();
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
        if !inner.batches.is_empty() || !inner.retries.is_empty() {
            return false;
        }
        inner.slots -= 1;
        true
    }

    /// A slot ends because the engine stops.
    pub(crate) fn stop_slot(&self) {
        lock(&self.inner).slots -= 1;
    }

    fn waiting_for_pause(&self, now: Duration) -> usize {
        let inner = lock(&self.inner);
        match inner.state.gate(now) {
            Gate::Open => 0,
            Gate::Probe | Gate::ClosedUntil(_) => inner
                .batches
                .iter()
                .map(|waiting| waiting.lines.len())
                .sum(),
        }
    }

    fn is_paused_for(&self, long: Duration, now: Duration) -> bool {
        let inner = lock(&self.inner);
        let since = inner.state.paused().and(inner.state.fault_since());
        since.is_some_and(|since| now.saturating_sub(since) >= long)
    }

    /// All waiting lines for which this holds, taken out, with those that wait for a retry.
    fn take_waiting(&self, wanted: &impl Fn(&LineJob) -> bool) -> Vec<LineJob> {
        let mut taken = self.take_ready(wanted);
        let mut inner = lock(&self.inner);
        let retries = std::mem::take(&mut inner.retries);
        let (out, stay): (Vec<_>, Vec<_>) = retries
            .into_iter()
            .partition(|Reverse(retry)| wanted(&retry.job));
        inner.retries = stay.into();
        taken.extend(out.into_iter().map(|Reverse(retry)| retry.job));
        taken
    }

    /// All lines that wait for a slot and for which this holds, taken out.
    pub(crate) fn take_ready(&self, wanted: &impl Fn(&LineJob) -> bool) -> Vec<LineJob> {
        let mut inner = lock(&self.inner);
        let mut taken = Vec::new();
        for waiting in &mut inner.batches {
            let (out, stay) = waiting.lines.drain(..).partition(wanted);
            waiting.lines = stay;
            let out: VecDeque<LineJob> = out;
            self.ready.fetch_sub(out.len(), Ordering::Relaxed);
            taken.extend(out);
        }
        inner.batches.retain(|waiting| !waiting.lines.is_empty());
        taken
    }

    fn log(&self, news: Noted) {
        tracing::info!(
            upstream = self.upstream.name(),
            model = self.key.model,
            limit = news.limit,
            reason = news.why.reason(),
            pace = (news.pace > 0.0).then(|| format!("{:.1}/s", news.pace)),
            "requests in flight"
        );
    }

    fn report(&self, now: Duration) -> LaneReport {
        let inner = lock(&self.inner);
        let paused = inner.state.paused();
        LaneReport {
            upstream: self.upstream.name().to_owned(),
            model: self.key.model.clone(),
            limit: inner.throttle.limit(),
            why: inner.throttle.why().reason(),
            pace: inner.throttle.rate(),
            in_flight: inner.in_flight,
            waiting: inner.batches.iter().map(|w| w.lines.len()).sum::<usize>()
                + inner.retries.len(),
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

/// A line to be sent.
struct Next {
    job: LineJob,
    /// Lines of its batch that wait behind it for a slot.
    left: usize,
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
            batches: Vec::new(),
            turn: Turn::default(),
            current: None,
            retries: BinaryHeap::new(),
            retry_number: 0,
            state: LaneState::default(),
            slots: 0,
            in_flight: 0,
            probes: 0,
            probed: Duration::ZERO,
        }
    }

    /// One more slot than before, if there is work for it; it is counted already.
    fn slots_to_start(&mut self) -> usize {
        let has_work = !self.batches.is_empty() || !self.retries.is_empty();
        let starts = usize::from(has_work && self.slots < self.throttle.limit());
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

    /// All that are in memory, but those in flight.
    fn lines(&self) -> usize {
        let ready = self.batches.iter().map(|waiting| waiting.lines.len());
        ready.sum::<usize>() + self.retries.len()
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

    /// The next line, and whether it waited for a slot rather than for a retry.
    fn next(&mut self, is_probe: bool, now: Duration) -> (Option<Next>, bool) {
        if is_probe && let Some(place) = self.least_put_back() {
            return (self.pop(place), true);
        }
        match self.due_retry(now) {
            Some(job) => (Some(job), false),
            None => (self.next_by_turn(), true),
        }
    }

    /// The batch whose first line was put back the fewest times.
    fn least_put_back(&self) -> Option<usize> {
        let put_backs = |waiting: &Waiting| waiting.lines.front().map_or(0, |job| job.put_backs);
        (0..self.batches.len()).min_by_key(|place| put_backs(&self.batches[*place]))
    }

    fn due_retry(&mut self, now: Duration) -> Option<Next> {
        self.retries
            .peek()
            .filter(|Reverse(retry)| retry.at <= now)?;
        self.retries.pop().map(|Reverse(retry)| Next {
            job: retry.job,
            left: usize::MAX,
        })
    }

    /// A line of the batch whose turn it is; turns are runs of [`TURN_LINES`].
    fn next_by_turn(&mut self) -> Option<Next> {
        let place = match self.batches.as_slice() {
            [] => return None,
            [_] => 0,
            _ => self.whose_turn()?,
        };
        self.pop(place)
    }

    fn pop(&mut self, place: usize) -> Option<Next> {
        let waiting = self.batches.get_mut(place)?;
        let job = waiting.lines.pop_front();
        let left = waiting.lines.len();
        if left == 0 {
            self.batches.swap_remove(place);
        }
        job.map(|job| Next { job, left })
    }

    fn whose_turn(&mut self) -> Option<usize> {
        if let Some((batch, left @ 1..)) = self.current
            && let Some(place) = self.batches.iter().position(|w| w.batch == batch)
        {
            self.current = Some((batch, left - 1));
            return Some(place);
        }
        let candidates: Vec<_> = self.batches.iter().map(Waiting::candidate).collect();
        let place = self.turn.pick(&candidates)?;
        let chosen = &candidates[place];
        self.turn.charge(chosen.tenant, u64::from(TURN_LINES));
        self.current = Some((chosen.id, TURN_LINES - 1));
        Some(place)
    }
}

impl Waiting {
    fn candidate(&self) -> Candidate {
        let row = &self.work.row;
        Candidate {
            tenant: self.work.tenant,
            deadline: row.expires_at.map(|at| at.saturating_mul(1000)),
            age: row.key,
            left: row.total.saturating_sub(row.completed + row.failed),
            id: self.batch,
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
