//! How much a lane may send: so many requests at once, and no faster than so.

use std::time::Duration;

use super::allowance::Allowance;
use super::background::{self, About, Background};
use super::knee::{Knee, Load, Trip, Why};
use super::pace::Pace;

/// Both limits of a lane.
#[derive(Debug, Clone)]
pub struct Throttle {
    knee: Knee,
    /// `None`: whoever gives the limit has decided how much is sent, and a refused line waits alone.
    pace: Option<Pace>,
    /// Which refusals are about neither.
    background: Background,
    /// Tokens of a request, on the average; 0: nobody has told.
    tokens_each: f64,
}

/// Weight of one request in the average of tokens.
const TOKENS_STEP: f64 = 0.05;

/// Whether there is room for one more request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Yes.
    Now,
    /// When one is back.
    WhenOneIsBack,
    /// Not before this time.
    At(Duration),
}

/// What became of a request, as far as it says how much the upstream bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// It was answered, well or not.
    Answered,
    /// The upstream is full and said so, and perhaps when to come back.
    Refused(Option<Duration>),
    /// No answer in time, no connection, or a gateway without its server.
    Failed,
    /// It was given up here.
    Lost,
}

impl Signal {
    /// What an HTTP answer says.
    pub fn of(status: u16, named: Option<Duration>) -> Self {
        match status {
            429 | 529 => Self::Refused(named),
            503 if named.is_some() => Self::Refused(named),
            408 | 502 | 503 | 504 => Self::Failed,
            _ => Self::Answered,
        }
    }
}

impl Throttle {
    /// With a limit that is given, and at any pace.
    pub fn given(limit: usize) -> Self {
        Self {
            knee: Knee::given(limit),
            pace: None,
            background: Background::default(),
            tokens_each: 0.0,
        }
    }

    /// With a limit that is searched for, up to this one, at a pace that is learned.
    pub fn up_to(most: usize) -> Self {
        Self {
            knee: Knee::up_to(most),
            pace: Some(Pace::default()),
            background: Background::default(),
            tokens_each: 0.0,
        }
    }

    /// Whether one more may be sent while so many are in flight.
    pub fn room(&self, in_flight: usize, now: Duration) -> Room {
        if in_flight >= self.limit() {
            return Room::WhenOneIsBack;
        }
        let Some(pace) = &self.pace else {
            return Room::Now;
        };
        let wait = match self.background.trial() {
            Some((_, next)) => Some(next.max(pace.shut_until())).filter(|next| now < *next),
            None => pace.waits_until(now),
        };
        wait.map_or(Room::Now, Room::At)
    }

    /// One is sent; so many are in flight with it.
    pub fn sent(&mut self, in_flight: usize, now: Duration) -> Trip {
        if let Some(pace) = &mut self.pace {
            pace.sent(now);
            self.background.sent(in_flight, now);
        }
        self.knee.sent(in_flight, now)
    }

    /// It is back; so many are in flight without it.
    pub fn back(&mut self, trip: Trip, signal: Signal, in_flight: usize, now: Duration) {
        let Some(pace) = &mut self.pace else { return };
        if matches!(signal, Signal::Answered | Signal::Failed)
            && self.background.back(trip.sent, in_flight, now)
        {
            pace.forget_refusals();
            self.knee.forget_refusals();
        }
        match signal {
            Signal::Answered => {
                pace.taken();
                if let Some(latency) = self.knee.answered(trip, now) {
                    pace.spread(self.knee.limit(), latency, now);
                }
            }
            Signal::Refused(named) => self.refused(trip, named, in_flight, now),
            Signal::Failed => self.knee.failed(trip, now),
            Signal::Lost => {
                self.background.lost(trip.sent);
                self.knee.lost(trip);
            }
        }
    }

    fn refused(&mut self, trip: Trip, named: Option<Duration>, in_flight: usize, now: Duration) {
        let Some(pace) = &mut self.pace else { return };
        let request = (trip.sent, trip.crowd, pace.learned());
        if let Some(named) = named.filter(|named| background::is_meant(*named)) {
            pace.shut(now + named);
        }
        let about = self.background.refused(request, named, now);
        let by_chance = self.background.share();
        match about {
            About::Limit => {
                pace.refused(named, by_chance, now);
                // More were sent before that was clear, and some of them were taken.
                let is_late = by_chance > 0.0;
                let trip = if is_late { trip.as_of(now) } else { trip };
                self.knee.refused(trip, in_flight, now);
            }
            About::LimitAfterAll => {
                pace.forget_pause();
                pace.refused(named, by_chance, now);
                self.knee.lost(trip);
            }
            About::Chance | About::Unknown => {
                pace.missed();
                self.knee.lost(trip);
            }
        }
    }

    /// Its answer says what the upstream will still take; so many are in flight without it.
    pub fn told(&mut self, allowance: Allowance, in_flight: usize, now: Duration) {
        if let Some(pace) = &mut self.pace
            && let Some(means) = allowance.means(self.tokens_each, in_flight)
        {
            pace.told(means, now);
        }
    }

    /// The upstream tells of its load.
    pub fn bears(&mut self, load: Load, now: Duration) {
        self.knee.bears(load, now);
    }

    /// A request took so many tokens.
    pub fn took(&mut self, tokens: u64) {
        let tokens = tokens as f64;
        self.tokens_each = match self.tokens_each > 0.0 {
            true => self.tokens_each + (tokens - self.tokens_each) * TOKENS_STEP,
            false => tokens,
        };
    }

    /// The lane is paused: it probes from now on, whatever pause was named.
    pub fn paused(&mut self) {
        if let Some(pace) = &mut self.pace {
            pace.paused();
        }
        self.background.paused();
        self.knee.paused();
    }

    /// Requests in flight at once, at most.
    pub fn limit(&self) -> usize {
        let trial = self.background.trial();
        let limit = self.knee.limit();
        trial.map_or(limit, |(tried, _)| tried.max(limit).min(self.knee.most()))
    }

    /// Why it is so many.
    pub fn why(&self) -> Why {
        self.knee.why()
    }

    /// Requests a second, if the pace is what limits them.
    pub fn rate(&self) -> Option<f64> {
        self.pace.as_ref().and_then(Pace::rate)
    }
}

#[cfg(test)]
mod tests;
