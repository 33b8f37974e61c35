//! How many requests may be in flight at once: found by trying, and followed as it changes.
//!
//! A lane that is kept full answers `in flight / latency` requests a second (Little's law), so the
//! latency of requests that were sent while it was full says what a limit is worth. Limits are held
//! against each other by *cohorts*: so many requests in a row, whose latencies are awaited. The limit
//! doubles while that pays, is tried higher and lower from time to time once it does not, and goes
//! down at a refusal, at most by half within one round trip.

use std::time::Duration;

use super::blame::{Blame, Crowd};

/// What an upstream that nobody knows is asked at once: a laptop bears it.
pub const START: usize = 8;

/// A higher limit pays if throughput grows by this part of what the limit grew (of their logarithms):
/// then a lane whose latency grows with its load stops at more than nine tenths of what it can do.
const PAYS: f64 = 0.08;
/// A lower limit is as good if it keeps this part of the throughput.
const AS_GOOD: f64 = 0.99;
/// Latency above its least by this factor means that requests wait at the upstream.
const QUEUES: f64 = 1.25;
/// A first cohort at a higher limit with a latency like before is proof enough.
const SAME: f64 = 1.15;
/// Latency that moved out of this while the limit stayed: the upstream is another one.
const MOVED: std::ops::Range<f64> = 0.9..1.25;
/// Of how many requests a first cohort is at least, and one that decides: where latencies vary, fewer
/// tell nothing.
const FIRST: usize = 8;
const DECIDES: usize = 64;
/// And at most.
const ENOUGH: usize = 512;
/// Rest between two trials, doubled by each that did not pay.
const REST: Duration = Duration::from_secs(1);
const REST_CAP: Duration = Duration::from_secs(8);
/// A limit at which the upstream refused is not gone beyond for so long, and before so many answers:
/// a trial costs a few refusals.
const CEILING: Duration = Duration::from_secs(4);
const CEILING_ANSWERS: u32 = 250;
/// The first times fewer, since much is still unknown.
const CEILING_FIRST: u32 = 50;
/// A retreat after failures other than a refusal: there must be more of them than single lines make.
const TROUBLE: f64 = 0.2;
/// Weight of one outcome in the share of failures.
const TROUBLE_STEP: f64 = 0.05;

/// The limit of one lane.
#[derive(Debug, Clone)]
pub struct Knee {
    most: usize,
    limit: usize,
    /// `None`: the limit was given.
    search: Option<Search>,
}

/// What a request takes along when it is sent.
#[derive(Debug, Clone, Copy)]
pub struct Trip {
    /// When that was.
    pub sent: Duration,
    /// Requests in flight when it was sent, it among them.
    pub crowd: usize,
    /// The cohort that it is of; 0 is none.
    cohort: u64,
}

/// Why the limit is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It was given.
    Given,
    /// More is being tried.
    Climbing,
    /// More did not pay.
    Knee,
    /// The upstream refused more.
    Refused,
    /// Too many requests failed.
    Troubled,
    /// The search goes no further.
    Most,
    /// The upstream has said that requests wait there.
    Waits,
    /// The upstream has said how many it works on at once.
    Places,
}

/// What an upstream says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Requests that have arrived and are not worked on.
    pub waiting: usize,
    /// How many are worked on at once, if that is fixed.
    pub places: Option<usize>,
}

impl Why {
    /// For people.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Given => "given by the settings",
            Self::Climbing => "looking for more",
            Self::Knee => "more in flight did not answer more",
            Self::Refused => "the upstream refused more",
            Self::Troubled => "too many requests failed",
            Self::Most => "the most that is allowed",
            Self::Waits => "the upstream says that requests wait there",
            Self::Places => "the upstream says that it works on no more at once",
        }
    }
}

#[derive(Debug, Clone)]
struct Search {
    phase: Phase,
    why: Why,
    cohort: Cohort,
    /// A cohort was sent at this limit before: what waits at the upstream has settled.
    is_settled: bool,
    /// The best limit so far, which others are held against.
    known: Option<Measure>,
    /// Least mean latency, in seconds.
    least: f64,
    /// Trials in a row that did not pay.
    fruitless: u32,
    retreat: Option<Retreat>,
    ceiling: Option<Ceiling>,
    blame: Blame,
    /// Share of requests that failed of late.
    trouble: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A higher limit is tried.
    Up,
    /// A lower one.
    Down,
    /// The known one is used until then.
    Rest(Duration),
}

/// Requests that are sent one after the other while the lane is full, and what came of them.
#[derive(Debug, Clone, Copy, Default)]
struct Cohort {
    number: u64,
    size: usize,
    sent: usize,
    back: usize,
    seconds: f64,
    crowd: usize,
}

/// What a limit is worth.
#[derive(Debug, Clone, Copy)]
struct Measure {
    limit: usize,
    in_flight: f64,
    latency: f64,
}

#[derive(Debug, Clone, Copy)]
struct Retreat {
    at: Duration,
    /// No lower within the same round trip.
    floor: usize,
}

/// In flight when the upstream refused one more.
#[derive(Debug, Clone, Copy)]
struct Ceiling {
    at: usize,
    until: Duration,
    /// Answers still to come.
    answers: u32,
    /// How many there were to come.
    costs: u32,
}

impl Trip {
    /// As if it had been sent then.
    pub fn as_of(self, sent: Duration) -> Self {
        Self { sent, ..self }
    }
}

impl Knee {
    /// A limit that is given.
    pub fn given(limit: usize) -> Self {
        Self {
            most: limit.max(1),
            limit: limit.max(1),
            search: None,
        }
    }

    /// A limit that is searched for, up to this one.
    pub fn up_to(most: usize) -> Self {
        let most = most.max(1);
        let limit = START.min(most);
        Self {
            most,
            limit,
            search: Some(Search::new(limit)),
        }
    }

    /// Requests in flight at once, at most.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Where the search ends.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Why it is so many.
    pub fn why(&self) -> Why {
        self.search.as_ref().map_or(Why::Given, |search| search.why)
    }

    /// A request is sent; so many are in flight with it.
    pub fn sent(&mut self, crowd: usize, now: Duration) -> Trip {
        // More than the limit are in flight while it is tried what refusals are about.
        let is_full = crowd * 10 >= self.limit * 9 && crowd <= self.limit;
        let crowd = crowd.min(self.limit);
        let cohort = self.search.as_mut().filter(|_| is_full);
        Trip {
            sent: now,
            crowd,
            cohort: cohort.map_or(0, |search| search.cohort.join()),
        }
    }

    /// It was answered. If more may be in flight for that: how long one takes.
    pub fn answered(&mut self, trip: Trip, now: Duration) -> Option<Duration> {
        let search = self.search.as_mut()?;
        search.trouble *= 1.0 - TROUBLE_STEP;
        search.blame.taken(Crowd::of(trip), now);
        if search.blame.is_by_pace(now) {
            search.ceiling = None;
        }
        if let Some(ceiling) = &mut search.ceiling {
            ceiling.answers = ceiling.answers.saturating_sub(1);
        }
        if !search.cohort.returned(trip, now) || !search.cohort.is_back() {
            return None;
        }
        let measure = search.cohort.measure(self.limit);
        let limit = search.judge(measure, self.most, now);
        let is_more = limit > self.limit;
        self.move_to(limit);
        is_more.then(|| Duration::from_secs_f64(measure.latency))
    }

    /// The upstream is full and said so; so many are in flight without it.
    pub fn refused(&mut self, trip: Trip, in_flight: usize, now: Duration) {
        let Some(search) = &mut self.search else {
            return;
        };
        search.cohort.lost(trip);
        if search.blame.refused(Crowd::of(trip), now) {
            return;
        }
        // So it is far below what is known to be borne.
        let borne = search.known.map_or(self.limit, |known| known.limit);
        if trip.crowd * 3 < borne * 2 {
            return;
        }
        let limit = search.refused(self.limit, in_flight.max(1), now);
        self.move_to(limit);
    }

    /// It failed in another way.
    pub fn failed(&mut self, trip: Trip, now: Duration) {
        let Some(search) = &mut self.search else {
            return;
        };
        search.cohort.lost(trip);
        search.trouble += (1.0 - search.trouble) * TROUBLE_STEP;
        if search.trouble > TROUBLE && !search.is_same_trip(now) {
            let limit = (self.limit * 7 / 10).max(1);
            search.back_to(limit, Why::Troubled, now);
            self.move_to(limit);
        }
    }

    /// It was given up, which says nothing.
    pub fn lost(&mut self, trip: Trip) {
        if let Some(search) = &mut self.search {
            search.cohort.lost(trip);
        }
    }

    /// The upstream says how it is. A few may wait there, so that it never does.
    pub fn bears(&mut self, load: Load, now: Duration) {
        let Some(search) = &mut self.search else {
            return;
        };
        let most = load
            .places
            .map_or(self.limit, |places| places + spare(places));
        let is_crowded = load.waiting > spare(self.limit);
        let (limit, why) = match is_crowded {
            // Others may fill it, too: never so few that nothing comes of it.
            true => {
                let fewer = self.limit - load.waiting.min(self.limit) + spare(self.limit);
                let fewer = fewer.max(self.limit / 2).max(START.min(self.limit));
                (fewer, Why::Waits)
            }
            false => (most, Why::Places),
        };
        if limit < self.limit && !search.is_same_trip(now) {
            search.back_to(limit, why, now);
            // It is known to be full: what is behind it is not tried at once.
            search.rest(why, now);
            self.move_to(limit);
        }
        if let Some(places) = load.places {
            self.most = self.most.min(places + spare(places));
        }
    }

    /// What was refused came by chance, and says nothing of the limit.
    pub fn forget_refusals(&mut self) {
        if let Some(search) = &mut self.search {
            *search = Search {
                cohort: search.cohort,
                least: search.least,
                trouble: search.trouble,
                ..Search::new(self.limit)
            };
            self.move_to(self.limit);
        }
    }

    /// The lane is paused: who comes back from an outage may bear less than before.
    pub fn paused(&mut self) {
        if self.search.is_some() {
            self.limit = (self.limit / 2).max(self.limit.min(START));
            self.search = Some(Search {
                cohort: self.search.as_ref().map(|s| s.cohort).unwrap_or_default(),
                blame: self.search.as_ref().map(|s| s.blame).unwrap_or_default(),
                ..Search::new(self.limit)
            });
            self.move_to(self.limit);
        }
    }

    fn move_to(&mut self, limit: usize) {
        if let Some(search) = &mut self.search {
            if limit != self.limit {
                search.is_settled = false;
            }
            let size = match search.is_settled {
                false => limit.max(FIRST),
                true => (2 * limit).max(DECIDES),
            };
            search.cohort = search.cohort.next(size);
        }
        self.limit = limit;
    }
}

impl Search {
    fn new(limit: usize) -> Self {
        Self {
            phase: Phase::Up,
            why: Why::Climbing,
            cohort: Cohort::default().next(limit.max(FIRST)),
            is_settled: false,
            known: None,
            least: f64::INFINITY,
            fruitless: 0,
            retreat: None,
            ceiling: None,
            blame: Blame::default(),
            trouble: 0.0,
        }
    }

    /// A cohort is back: the limit from here on.
    fn judge(&mut self, measure: Measure, most: usize, now: Duration) -> usize {
        self.least = measure.latency.min(self.least * 1.01);
        let was_settled = std::mem::replace(&mut self.is_settled, true);
        let Some(known) = self.known else {
            self.known = Some(measure);
            return self.higher(2.0, most, now);
        };
        match self.phase {
            Phase::Up => {
                let is_like_before = measure.latency <= known.latency * SAME;
                if !was_settled && !is_like_before {
                    measure.limit
                } else if is_like_before || pays(known, measure) {
                    self.adopt(measure);
                    self.higher(2.0, most, now)
                } else {
                    self.rest(Why::Knee, now);
                    known.limit
                }
            }
            Phase::Down if !was_settled => measure.limit,
            Phase::Down => {
                if measure.throughput() < known.throughput() * AS_GOOD {
                    self.rest(Why::Knee, now);
                    return known.limit;
                }
                self.adopt(measure);
                self.lower(now)
            }
            Phase::Rest(_) if !was_settled => measure.limit,
            Phase::Rest(until) => {
                let moved = measure.latency / known.latency;
                self.known = Some(measure);
                if MOVED.contains(&moved) && now < until {
                    return measure.limit;
                }
                if !MOVED.contains(&moved) {
                    self.fruitless = 0;
                }
                // Below the knee fewer in flight cannot be as good. By turns otherwise, and down
                // first where the upstream became slower.
                let goes_down = self.fruitless % 2 == 1 || moved >= MOVED.end;
                match goes_down && measure.latency > self.least * QUEUES {
                    true => self.lower(now),
                    false => self.higher(if moved < MOVED.start { 2.0 } else { 1.5 }, most, now),
                }
            }
        }
    }

    /// A limit that proved itself.
    fn adopt(&mut self, measure: Measure) {
        self.known = Some(measure);
        self.fruitless = 0;
        if self
            .ceiling
            .is_some_and(|ceiling| measure.limit > ceiling.at)
        {
            self.ceiling = None;
        }
    }

    /// Tries a higher limit, if there may be one.
    fn higher(&mut self, factor: f64, most: usize, now: Duration) -> usize {
        let limit = self.known.map_or(1, |known| known.limit);
        let wanted = ((limit as f64 * factor) as usize).max(limit + 1);
        let (allowed, why) = match self.ceiling {
            Some(ceiling) if limit < ceiling.at => (ceiling.at, Why::Refused),
            Some(ceiling) if now < ceiling.until || ceiling.answers > 0 => (limit, Why::Refused),
            Some(_) => (limit + (limit / 16).max(1), Why::Climbing),
            None => (most, Why::Most),
        };
        let next = wanted.min(allowed).min(most);
        if next <= limit {
            self.rest(why, now);
            return limit;
        }
        self.phase = Phase::Up;
        self.why = Why::Climbing;
        next
    }

    /// Tries a lower limit, if requests wait at the upstream.
    fn lower(&mut self, now: Duration) -> usize {
        let Some(known) = self.known else { return 1 };
        let next = known.limit * 7 / 10;
        if next == 0 || known.latency <= self.least * QUEUES {
            self.rest(Why::Knee, now);
            return known.limit;
        }
        self.phase = Phase::Down;
        next
    }

    fn rest(&mut self, why: Why, now: Duration) {
        self.why = why;
        let rest = REST
            .saturating_mul(1 << self.fruitless.min(8))
            .min(REST_CAP);
        self.fruitless += 1;
        self.phase = Phase::Rest(now + rest.max(self.round_trip() * 2));
    }

    fn refused(&mut self, limit: usize, in_flight: usize, now: Duration) -> usize {
        if self.is_same_trip(now) {
            let floor = self.retreat.map_or(1, |retreat| retreat.floor);
            if let Some(ceiling) = &mut self.ceiling {
                ceiling.at = ceiling.at.min(in_flight);
            }
            return limit.min(in_flight).max(floor);
        }
        let costs = match self.ceiling {
            None => 0,
            Some(old) => (old.costs * 2).clamp(CEILING_FIRST, CEILING_ANSWERS),
        };
        self.ceiling = Some(Ceiling {
            at: in_flight,
            until: now + CEILING,
            answers: costs,
            costs,
        });
        self.blame.goes_down(now);
        let lower = in_flight.min(limit * 9 / 10).max(limit / 2).max(1);
        // Half of a trial's limit is as much as was refused before it.
        let proven = self.known.map_or(limit, |known| known.limit.min(limit));
        self.back_to(lower, Why::Refused, now);
        self.retreat = Some(Retreat {
            at: now,
            floor: (limit / 2).min(proven * 3 / 4).max(1),
        });
        lower
    }

    /// Goes down to a limit of which nothing is known yet.
    fn back_to(&mut self, limit: usize, why: Why, now: Duration) {
        self.why = why;
        self.known = None;
        self.fruitless = 0;
        self.trouble = 0.0;
        self.phase = Phase::Up;
        self.is_settled = false;
        self.retreat = Some(Retreat {
            at: now,
            floor: limit,
        });
    }

    fn is_same_trip(&self, now: Duration) -> bool {
        let over = self.retreat.map(|retreat| retreat.at + self.round_trip());
        over.is_some_and(|over| now < over)
    }

    fn round_trip(&self) -> Duration {
        let seconds = self.known.map_or(self.least, |known| known.latency);
        Duration::try_from_secs_f64(seconds).unwrap_or(REST)
    }
}

impl Crowd {
    fn of(trip: Trip) -> Self {
        Self {
            count: trip.crowd,
            sent: trip.sent,
        }
    }
}

impl Cohort {
    /// The next one, of so many.
    fn next(self, size: usize) -> Self {
        Self {
            number: self.number + 1,
            size: size.min(ENOUGH),
            ..Self::default()
        }
    }

    /// Its number, if there is room in it.
    fn join(&mut self) -> u64 {
        if self.sent == self.size {
            return 0;
        }
        self.sent += 1;
        self.number
    }

    fn returned(&mut self, trip: Trip, now: Duration) -> bool {
        let is_of_it = trip.cohort == self.number;
        if is_of_it {
            self.back += 1;
            self.crowd += trip.crowd;
            self.seconds += now.saturating_sub(trip.sent).as_secs_f64();
        }
        is_of_it
    }

    fn lost(&mut self, trip: Trip) {
        if trip.cohort == self.number {
            self.sent -= 1;
        }
    }

    /// All but the slowest: whoever waits for the last waits for ever. The slowest are left out of
    /// every cohort alike.
    fn is_back(&self) -> bool {
        self.sent == self.size && self.back * 10 >= self.size * 9
    }

    fn measure(&self, limit: usize) -> Measure {
        Measure {
            limit,
            in_flight: self.crowd as f64 / self.back as f64,
            // Answers in no time would be worth anything.
            latency: (self.seconds / self.back as f64).max(1e-6),
        }
    }
}

impl Measure {
    fn throughput(self) -> f64 {
        self.in_flight / self.latency
    }
}

/// How many may wait beside so many that are worked on.
fn spare(worked_on: usize) -> usize {
    (worked_on / 4).max(1)
}

/// Whether it was worth going from one limit to a higher one.
fn pays(low: Measure, high: Measure) -> bool {
    let more = (high.in_flight / low.in_flight).ln();
    (high.throughput() / low.throughput()).ln() >= more * PAYS
}
