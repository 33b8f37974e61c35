//! A lane and a scripted upstream on a clock that jumps from event to event.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use crate::model::allowance::{Allowance, Left};
use crate::model::knee::Trip;
use crate::model::lane::{Gate, LaneState, Pause};
use crate::model::policy::{self, Answer, Attempt, Body, Charge, Next, Outcome};
use crate::model::throttle::{Room, Signal, Throttle};

/// An answer without the upstream's work.
const AT_ONCE: Duration = Duration::from_millis(2);
/// From here on a lane is held against its ideal.
pub(super) const SETTLED: Duration = Duration::from_secs(10);

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What an upstream does, as functions of the time.
pub(super) struct Script {
    /// Requests worked on at once.
    pub(super) capacity: fn(Duration) -> usize,
    /// What becomes of one beyond it.
    pub(super) beyond: Beyond,
    /// How long the work on one takes while so many are worked on.
    pub(super) work: fn(usize) -> Duration,
    /// Part of the work by which it varies.
    pub(super) varies: f64,
    /// Requests that are let through, beside the capacity.
    pub(super) quota: Option<Quota>,
    /// Share that is refused by chance, whatever is sent.
    pub(super) by_chance: fn(Duration) -> f64,
    /// When to come back, as such a refusal says.
    pub(super) names: Option<Duration>,
    /// A status that everything is answered with, and whether nothing listens at all (0).
    pub(super) away: fn(Duration) -> Option<u16>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Beyond {
    Waits,
    IsRefused,
}

/// What may be spent.
#[derive(Clone, Copy)]
pub(super) struct Quota {
    pub(super) kind: Kind,
    /// Whether a refusal says when to come back.
    pub(super) is_named: bool,
    /// Whether each answer says what is left.
    pub(super) is_told: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// So many at once, and so many a second.
    Bucket { burst: f64, per_second: f64 },
    /// So many in each window.
    Window { requests: u64, length: Duration },
}

impl Script {
    pub(super) fn new(capacity: fn(Duration) -> usize, work: fn(usize) -> Duration) -> Self {
        Self {
            capacity,
            beyond: Beyond::Waits,
            work,
            varies: 0.0,
            quota: None,
            by_chance: |_| 0.0,
            names: None,
            away: |_| None,
        }
    }
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When each line was answered.
    pub(super) answered: Vec<Duration>,
    /// Lines that were given up, of which there must be none.
    pub(super) lost: usize,
    /// Attempts that were charged to a line.
    pub(super) charged: usize,
    /// Refusals and failures.
    pub(super) errors: Vec<Duration>,
    /// Why the lane was paused.
    pub(super) pauses: Vec<(Duration, Pause)>,
    /// Every limit, as it changed.
    pub(super) limits: Vec<(Duration, usize)>,
}

impl Seen {
    pub(super) fn answered_in(&self, from: Duration, to: Duration) -> f64 {
        let among = |at: &&Duration| (from..to).contains(*at);
        self.answered.iter().filter(among).count() as f64
    }

    pub(super) fn errors_in(&self, from: Duration, to: Duration) -> f64 {
        let among = |at: &&Duration| (from..to).contains(*at);
        self.errors.iter().filter(among).count() as f64
    }

    /// Answers against those of a perfect client, which sends so many a second.
    pub(super) fn of_ideal(&self, from: Duration, to: Duration, ideal: fn(Duration) -> f64) -> f64 {
        let step = ms(10);
        let steps = (to - from).as_millis() / step.as_millis();
        let sum: f64 = (0..steps as u32).map(|n| ideal(from + step * n)).sum();
        self.answered_in(from, to) / (sum * step.as_secs_f64())
    }

    /// Refusals and failures among all that came back.
    pub(super) fn error_share(&self, from: Duration, to: Duration) -> f64 {
        let errors = self.errors_in(from, to);
        errors / (errors + self.answered_in(from, to)).max(1.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The work on a request is done.
    Done(u64),
    /// An answer that took no work arrives: a status, and the pause that it names.
    Told(u64, u16, Option<Duration>),
    /// The lane may have something to send.
    Wake,
    /// The capacity may have changed.
    Look,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    charged: u32,
    tries: u32,
    put_backs: u32,
    waiting_since: Option<Duration>,
}

struct Flight {
    line: Line,
    trip: Trip,
    sent: Duration,
    is_probe: bool,
    /// What its answer will say, as of its arrival there.
    allowance: Allowance,
}

struct World<'a> {
    script: &'a Script,
    now: Duration,
    number: u64,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    throttle: Throttle,
    lane: LaneState,
    lines: usize,
    waiting: VecDeque<Line>,
    flights: BTreeMap<u64, Flight>,
    probing: bool,
    woken_at: Option<Duration>,
    // The upstream.
    working: usize,
    queue: VecDeque<u64>,
    spent: f64,
    spent_at: Duration,
    window: u64,
    chance: u64,
    seen: Seen,
}

/// Runs a lane with more than enough lines for so long.
pub(super) fn run(script: &Script, throttle: Throttle, long: Duration) -> Seen {
    run_lines(script, throttle, usize::MAX, long)
}

/// Runs a lane until so many lines are answered, or for so long.
pub(super) fn run_lines(script: &Script, throttle: Throttle, lines: usize, long: Duration) -> Seen {
    let mut world = World {
        script,
        now: Duration::ZERO,
        number: 0,
        events: BinaryHeap::new(),
        throttle,
        lane: LaneState::default(),
        lines,
        waiting: VecDeque::new(),
        flights: BTreeMap::new(),
        probing: false,
        woken_at: None,
        working: 0,
        queue: VecDeque::new(),
        spent: 0.0,
        spent_at: Duration::ZERO,
        window: 0,
        chance: 0x9E37_79B9_7F4A_7C15,
        seen: Seen::default(),
    };
    world.push(Duration::ZERO, Event::Look);
    world.send();
    while world.now < long && world.seen.answered.len() < lines {
        let Some(Reverse((at, _, event))) = world.events.pop() else {
            break;
        };
        world.now = at;
        world.turn(event);
    }
    world.seen
}

impl World<'_> {
    fn push(&mut self, at: Duration, event: Event) {
        self.number += 1;
        self.events.push(Reverse((at, self.number, event)));
    }

    fn turn(&mut self, event: Event) {
        match event {
            Event::Wake => self.woken_at = None,
            Event::Look => {
                self.start_work();
                self.push(self.now + ms(100), Event::Look);
            }
            Event::Done(id) => {
                self.working -= 1;
                self.start_work();
                self.back(id, (self.script.away)(self.now).unwrap_or(200), None);
            }
            Event::Told(id, status, named) => self.back(id, status, named),
        }
        self.send();
        let limit = self.throttle.limit();
        if self
            .seen
            .limits
            .last()
            .is_none_or(|(_, last)| *last != limit)
        {
            self.seen.limits.push((self.now, limit));
        }
    }

    /// What the slots of a lane do.
    fn send(&mut self) {
        while let Some(is_probe) = self.may_send() {
            let Some(line) = self.next_line() else { return };
            let trip = self.throttle.sent(self.flights.len() + 1, self.now);
            self.probing |= is_probe;
            self.number += 1;
            let id = self.number;
            let flight = Flight {
                line,
                trip,
                sent: self.now,
                is_probe,
                allowance: Allowance::default(),
            };
            self.flights.insert(id, flight);
            self.arrive(id);
        }
    }

    fn may_send(&mut self) -> Option<bool> {
        let wait = match self.lane.gate(self.now) {
            Gate::Probe => return (!self.probing).then_some(true),
            Gate::ClosedUntil(at) => at,
            Gate::Open => match self.throttle.room(self.flights.len(), self.now) {
                Room::Now => return Some(false),
                Room::WhenOneIsBack => return None,
                Room::At(at) => at,
            },
        };
        if self.woken_at.is_none_or(|at| at > wait) {
            self.woken_at = Some(wait);
            self.push(wait, Event::Wake);
        }
        None
    }

    fn next_line(&mut self) -> Option<Line> {
        self.waiting.pop_front().or_else(|| {
            self.lines = self.lines.checked_sub(1)?;
            Some(Line {
                charged: 0,
                tries: 0,
                put_backs: 0,
                waiting_since: None,
            })
        })
    }

    /// A request reaches the upstream.
    fn arrive(&mut self, id: u64) {
        if let Some(status) = (self.script.away)(self.now) {
            return self.push(self.now + AT_ONCE, Event::Told(id, status, None));
        }
        let share = (self.script.by_chance)(self.now);
        if share > 0.0 && self.chance() < share {
            let names = self.script.names;
            return self.push(self.now + AT_ONCE, Event::Told(id, 429, names));
        }
        let refused = self.spend();
        let allowance = self.left();
        if let Some(flight) = self.flights.get_mut(&id) {
            flight.allowance = allowance;
        }
        if let Some(wait) = refused {
            let named = self.script.quota.and_then(|q| q.is_named.then_some(wait));
            return self.push(self.now + AT_ONCE, Event::Told(id, 429, named));
        }
        if self.working >= (self.script.capacity)(self.now)
            && self.script.beyond == Beyond::IsRefused
        {
            return self.push(self.now + AT_ONCE, Event::Told(id, 429, None));
        }
        self.queue.push_back(id);
        self.start_work();
    }

    fn start_work(&mut self) {
        while self.working < (self.script.capacity)(self.now)
            && let Some(id) = self.queue.pop_front()
        {
            self.working += 1;
            let factor = 1.0 + self.script.varies * (self.chance() * 2.0 - 1.0);
            let work = (self.script.work)(self.working).mul_f64(factor);
            self.push(self.now + work, Event::Done(id));
        }
    }

    /// Spends one of the quota, or says how long there is none.
    fn spend(&mut self) -> Option<Duration> {
        match self.script.quota?.kind {
            Kind::Bucket { burst, per_second } => {
                let given_back = (self.now - self.spent_at).as_secs_f64() * per_second;
                self.spent = (self.spent - given_back).max(0.0);
                self.spent_at = self.now;
                let over = self.spent + 1.0 - burst;
                if over > 1e-9 {
                    return Some(Duration::from_secs_f64(over / per_second));
                }
                self.spent += 1.0;
                None
            }
            Kind::Window { requests, length } => {
                let window = (self.now.as_nanos() / length.as_nanos()) as u64;
                if window != self.window {
                    (self.window, self.spent) = (window, 0.0);
                }
                if self.spent >= requests as f64 {
                    return Some(length * (window as u32 + 1) - self.now);
                }
                self.spent += 1.0;
                None
            }
        }
    }

    /// What is left of the quota, if that is told: the time until it is whole again.
    fn left(&self) -> Allowance {
        let Some(quota) = self.script.quota.filter(|quota| quota.is_told) else {
            return Allowance::default();
        };
        let (count, resets_in) = match quota.kind {
            Kind::Bucket { burst, per_second } => (
                burst - self.spent,
                Duration::from_secs_f64(self.spent / per_second),
            ),
            Kind::Window { requests, length } => (
                requests as f64 - self.spent,
                length * (self.window as u32 + 1) - self.now,
            ),
        };
        let count = count.max(0.0) as u64;
        Allowance {
            requests: Some(Left { count, resets_in }),
            tokens: None,
        }
    }

    /// An answer reaches the lane.
    fn back(&mut self, id: u64, status: u16, named: Option<Duration>) {
        let flight = self.flights.remove(&id).expect("it was sent");
        self.probing &= !flight.is_probe;
        let signal = match status {
            0 => Signal::Failed,
            _ => Signal::of(status, named),
        };
        self.throttle
            .back(flight.trip, signal, self.flights.len(), self.now);
        self.throttle
            .told(flight.allowance, self.flights.len(), self.now);
        if status == 200 {
            self.lane.succeeded(self.now);
            self.seen.answered.push(self.now);
            return;
        }
        self.seen.errors.push(self.now);
        self.again(flight, status, named);
    }

    /// What becomes of a line that was not answered, as the engine has it.
    fn again(&mut self, flight: Flight, status: u16, named: Option<Duration>) {
        let mut line = flight.line;
        let outcome = match status {
            0 => Outcome::Unreachable,
            status => Outcome::Answer(Answer {
                status,
                body: Body::Other,
                retry_after: named,
                quota: false,
            }),
        };
        let attempt = Attempt {
            charged: line.charged,
            tries: line.tries,
            limit: 5,
            sent: flight.sent,
            put_backs: line.put_backs,
            waiting_since: line.waiting_since,
            deadline: None,
        };
        let view = self.lane.view(secs(3600), true, false);
        line.tries += 1;
        match policy::decide(outcome, &attempt, &view, self.now, 0.5) {
            Next::Settle(_) => self.seen.lost += 1,
            Next::RetryAt(_, charge) => {
                line.charged += u32::from(charge == Charge::Line);
                line.waiting_since.get_or_insert(self.now);
                self.seen.charged += usize::from(charge == Charge::Line);
                self.waiting.push_back(line);
            }
            Next::PutBack(pause) => {
                line.put_backs += 1;
                self.waiting.push_back(line);
                if self.lane.pause(pause, flight.sent, self.now) {
                    self.throttle.paused();
                }
                self.seen.pauses.push((self.now, pause));
            }
        }
    }

    /// 0 to 1, the same in every run.
    fn chance(&mut self) -> f64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance >> 11) as f64 / (1u64 << 53) as f64
    }
}
