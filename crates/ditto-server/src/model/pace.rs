//! How soon the next request may be sent: a pause that the upstream named, and a pace that is learned
//! from what it took and what it refused.
//!
//! What an upstream lets through between two refusals is what it allows. That is measured over
//! *cycles*, the pauses that it named among them, so that a quota of a minute is spread over it. The
//! pace grows again after a while, later each time that the same limit is found.

use std::time::Duration;

use super::allowance::Means;

/// A cycle that is shorter says nothing.
const CYCLE: Duration = Duration::from_secs(1);
/// Nothing sent for so long: there was nothing to send, and what is measured begins anew.
const IDLE: Duration = Duration::from_secs(2);
/// Of what was measured: beside it every request would be one too many.
const BELOW: f64 = 0.97;
/// And of a pace that was hardly too high.
const STEP_BACK: f64 = 0.95;
/// A pace is found again if it is off by less than this part.
const SAME: f64 = 0.15;
/// As far as this a pace that was found again is believed to be higher.
const SAVED: f64 = 1.06;
/// Pause after a refusal that names none, doubled with each in a row.
const HOLD: Duration = Duration::from_millis(25);
const HOLD_CAP: Duration = Duration::from_secs(2);
/// How long a pace is kept before it grows.
const KEEP: Duration = Duration::from_secs(2);
/// One that was found again is kept for so many requests: to find out more costs a refusal.
const KEEP_REQUESTS: f64 = 400.0;
const KEEP_CAP: Duration = Duration::from_secs(600);
/// First growth of a pace within a second, doubled each second up to the cap.
const GROWTH: f64 = 0.02;
const GROWTH_CAP: f64 = 0.32;
/// Steps without doubling of a pace that was found again.
const STEPS_OF_KNOWN: u32 = 20;
/// A pace that is higher by this than what is sent holds back nothing but what would be sent all at
/// once: it does not grow.
const LOOSE: f64 = 1.5;
/// Fewer refusals than this may be of single lines, and do not slow a lane without end.
const FEW: f64 = 0.1;
const FEW_FLOOR: f64 = 0.7;
/// A pace falls no further at once: in a cycle of pauses little is let through, whatever is allowed.
const FALL: f64 = 0.2;
/// Requests a second of a lane that is refused everything.
const LEAST: f64 = 0.1;
/// How much faster than by and by a lane is filled up to a higher limit.
const SPREAD: f64 = 1.25;
/// How late a request may be sent, for instance by a timer, without the next one being late, too.
const LATENESS: Duration = Duration::from_millis(5);

/// The pace of one lane.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    /// Requests a second; `None`: as many as the limit allows.
    rate: Option<f64>,
    /// No request before.
    next: Duration,
    /// The pause after a refusal ends then.
    holds: Duration,
    /// No request before, whatever is tried: the upstream has said so, and means it.
    shut: Duration,
    spread: Option<Spread>,
    /// What the upstream has said that it takes.
    told: Option<Spread>,
    last_sent: Option<Duration>,
    cycle: Cycle,
    /// The cycle before, with those in which nothing was let through.
    before: Option<Cycle>,
    /// Since the pace last grew: the cycle itself may have been slower than it had to be.
    since_grown: Cycle,
    /// The pace before it last grew, at which nothing was refused.
    proven: f64,
    /// From where it grew last.
    ground: f64,
    /// Most that was let through while few were refused.
    best: f64,
    /// When the pace grows next, and how often it has.
    grows_at: Duration,
    grown: u32,
    /// Steps before their size doubles.
    known_for: u32,
    /// Refusals in a row.
    refusals: u32,
}

#[derive(Debug, Clone, Copy)]
struct Spread {
    rate: f64,
    until: Duration,
}

#[derive(Debug, Clone, Copy, Default)]
struct Cycle {
    start: Duration,
    sent: u64,
    refused: u64,
}

impl Pace {
    /// When the next request may be sent; `None`: now.
    pub fn waits_until(&self, now: Duration) -> Option<Duration> {
        let next = self.next.max(self.shut);
        (now < next).then_some(next)
    }

    /// Requests a second, if they are limited.
    pub fn rate(&self) -> Option<f64> {
        let sent = self.last_sent.unwrap_or_default();
        let told = self.told.filter(|told| sent < told.until);
        match (self.rate, told) {
            (Some(rate), Some(told)) => Some(rate.min(told.rate)),
            (rate, told) => rate.or(told.map(|told| told.rate)),
        }
    }

    /// The upstream has said what it will still take.
    pub fn told(&mut self, means: Means, now: Duration) {
        match means {
            Means::Pause(long) => self.shut(now + long),
            Means::Pace(rate, long) => {
                self.told = Some(Spread {
                    rate,
                    until: now + long,
                });
            }
        }
    }

    /// The upstream takes none before this.
    pub fn shut(&mut self, until: Duration) {
        self.shut = self.shut.max(until);
    }

    /// When it takes the next, as far as it has said so.
    pub fn shut_until(&self) -> Duration {
        self.shut
    }

    /// Requests a second that were learned.
    pub fn learned(&self) -> Option<f64> {
        self.rate
    }

    /// A request is sent.
    pub fn sent(&mut self, now: Duration) {
        let was_idle = self
            .last_sent
            .is_none_or(|last| now.saturating_sub(last.max(self.next).max(self.shut)) > IDLE);
        if was_idle {
            self.cycle = Cycle::from(now);
            self.since_grown = self.cycle;
            self.before = None;
        }
        self.last_sent = Some(now);
        self.grow(now);
        self.cycle.sent += 1;
        self.since_grown.sent += 1;
        let of = |bound: Option<Spread>| {
            let bound = bound.filter(|bound| now < bound.until);
            bound.map_or(f64::INFINITY, |bound| bound.rate)
        };
        let rate = self.rate.unwrap_or(f64::INFINITY);
        let rate = rate.min(of(self.spread)).min(of(self.told));
        if rate.is_finite() {
            let late = self.next.max(now.saturating_sub(LATENESS));
            self.next = late + Duration::from_secs_f64(1.0 / rate);
        }
    }

    /// More may be in flight from now on, which are not to be sent all at once: an upstream that
    /// counts requests by the second would refuse them, and it would look as if they were too many.
    pub fn spread(&mut self, limit: usize, latency: Duration, now: Duration) {
        self.spread = Some(Spread {
            rate: limit as f64 / latency.as_secs_f64() * SPREAD,
            until: now + latency,
        });
    }

    /// The upstream took one.
    pub fn taken(&mut self) {
        self.refusals = 0;
    }

    /// It refused one, and perhaps named a pause. This share of what is sent is refused by chance.
    pub fn refused(&mut self, named: Option<Duration>, by_chance: f64, now: Duration) {
        let again = match named {
            Some(named) => now + named,
            // Those that were sent together are refused together.
            None if now < self.holds => self.holds,
            None => {
                self.refusals += 1;
                now + HOLD.saturating_mul(1 << self.refusals.min(8)).min(HOLD_CAP)
            }
        };
        self.holds = self.holds.max(again);
        self.cycle.refused += 1;
        self.since_grown.refused += 1;
        self.next = self.next.max(again);
        if again.saturating_sub(self.cycle.start) >= CYCLE {
            self.learn(by_chance, again);
        }
    }

    /// It refused one that is not given way to.
    pub fn missed(&mut self) {
        self.cycle.refused += 1;
        self.since_grown.refused += 1;
    }

    /// What was refused came by chance: it says nothing of the pace.
    pub fn forget_refusals(&mut self) {
        *self = Self {
            told: self.told,
            shut: self.shut,
            last_sent: self.last_sent,
            cycle: Cycle::from(self.last_sent.unwrap_or_default()),
            since_grown: Cycle::from(self.last_sent.unwrap_or_default()),
            ..Self::default()
        };
    }

    /// The lane is paused for another reason, and probes, whatever the upstream has said.
    pub fn paused(&mut self) {
        self.forget_pause();
        self.shut = Duration::ZERO;
    }

    /// The pause after refusals is over.
    pub fn forget_pause(&mut self) {
        self.next = Duration::ZERO;
    }

    /// A cycle ends with the pause after a refusal.
    fn learn(&mut self, by_chance: f64, end: Duration) {
        let mut cycle = self.cycle.without(by_chance);
        let since_grown = self.since_grown.without(by_chance);
        if cycle.taken() == 0
            && let Some(before) = self.before
        {
            cycle = before.and(cycle);
        }
        let measured = cycle.rate(end).max(since_grown.rate(end));
        let few = (cycle.refused as f64) < cycle.sent as f64 * FEW;
        self.best = if few {
            self.best.max(measured)
        } else {
            measured
        };
        let floor = if few { self.best * FEW_FLOOR } else { LEAST };
        let rate = match self.rate {
            Some(rate) if few => (measured.max(self.proven) * BELOW).min(rate * STEP_BACK),
            Some(rate) => rate.min((measured * BELOW).max(rate * FALL)),
            None => measured * BELOW,
        };
        let rate = rate.max(floor).max(LEAST);
        self.proven = 0.0;
        let is_the_same = (rate - self.ground).abs() <= self.ground * SAME;
        let keep = Duration::from_secs_f64(KEEP_REQUESTS / rate).clamp(KEEP, KEEP_CAP);
        (self.grows_at, self.known_for) = match is_the_same {
            true => (end + keep, STEPS_OF_KNOWN),
            false => (end + KEEP, 0),
        };
        self.rate = Some(rate);
        self.grown = 0;
        self.before = Some(cycle);
        self.cycle = Cycle::from(end);
        self.since_grown = self.cycle;
    }

    fn grow(&mut self, now: Duration) {
        let Some(rate) = &mut self.rate else { return };
        // It grows where it is what holds back.
        let slack = Duration::from_secs_f64(0.5 / *rate).max(LATENESS);
        let binds = now.saturating_sub(self.next) < slack;
        if now < self.grows_at || !binds {
            return;
        }
        if *rate > self.since_grown.rate(now) * LOOSE {
            self.grows_at = now + CYCLE;
            self.since_grown = Cycle::from(now);
            return;
        }
        if self.grown == 0 {
            self.ground = *rate;
        }
        let doublings = self.grown.saturating_sub(self.known_for).min(8);
        // What was saved before may carry a pace for a while that is too high.
        self.proven = match self.grown < self.known_for {
            true => rate.min(self.ground * SAVED),
            false => *rate,
        };
        *rate *= 1.0 + (GROWTH * f64::from(1 << doublings)).min(GROWTH_CAP);
        self.grown += 1;
        self.grows_at = now + CYCLE;
        self.since_grown = Cycle::from(now);
    }
}

impl Cycle {
    fn from(start: Duration) -> Self {
        Self {
            start,
            ..Self::default()
        }
    }

    /// Without what is refused by chance: that, too, was let through by whatever limit there is.
    fn without(self, by_chance: f64) -> Self {
        let by_chance = (self.sent as f64 * by_chance) as u64;
        Self {
            refused: self.refused.saturating_sub(by_chance),
            ..self
        }
    }

    /// What is in flight is taken for let through: refusals come at once.
    fn taken(self) -> u64 {
        self.sent.saturating_sub(self.refused)
    }

    fn rate(self, end: Duration) -> f64 {
        self.taken() as f64 / end.saturating_sub(self.start).as_secs_f64().max(1e-3)
    }

    fn and(self, later: Self) -> Self {
        Self {
            start: self.start,
            sent: self.sent + later.sent,
            refused: self.refused + later.refused,
        }
    }
}
