//! Refusals that come whatever is sent: one of twenty, say, from a provider that sheds load by chance.
//!
//! They say nothing of what the upstream bears, and a lane that gave way to them would end at one
//! request at a time. They are told apart by a *trial*: at the first refusal, and later when they keep
//! coming, the lane gives way to none for a few requests, has a quarter more in flight than when it was
//! refused, and hurries. A limit refuses most of these, since where one is refused the next is sent at
//! once. Chance refuses as few as before. What it refuses is the *background* from then on, and only
//! refusals that are clearly more than that are about a limit.
//!
//! That is tried again and again. A trial that finds a limit leaves the background what it was, a bit
//! smaller: there may be both. If that was wrong, what is left of it seems too much for chance, the lane
//! goes down, and a trial at less than the limit sets it right.

use std::time::Duration;

/// Refusals after which there is a first trial: before much is known of the limit it costs least.
const SUSPICIOUS: f64 = 1.0;
/// So many times more after each that found a limit, up to the cap: what a trial costs stays a small
/// part of what is refused anyway.
const PATIENCE: f64 = 16.0;
const SUSPICIOUS_CAP: f64 = 32.0;
/// An answer takes away so much of the suspicion.
const ABSOLVES: f64 = 1.0 / 100.0;
/// Requests of a trial.
const TRIAL: u32 = 20;
/// How much faster they are sent than before, where that was at a pace.
const FASTER: f64 = 4.0;
/// But no slower than this: a trial ends.
const GAP_CAP: Duration = Duration::from_secs(1);
/// A trial of which nothing was sent for so long is none any more.
const STALE: Duration = Duration::from_secs(10);
/// It has found a limit when so many were refused, and this part of what was sent.
const REFUSED: u32 = 6;
const REFUSED_SHARE: f64 = 0.5;
/// Who names a longer pause than this means it.
const LONGEST: Duration = Duration::from_secs(2);
/// A share that is less is none, and one that is more is no chance.
const LEAST: f64 = 0.004;
const MOST: f64 = 0.3;
/// Requests over which it is measured.
const MEASURED: f64 = 2_000.0;
/// How much more it may become without another trial.
const CREEP: f64 = 1.2;
/// A trial that finds a limit leaves so much of what was believed.
const DOUBT: f64 = 0.75;
/// But no less than this: so few do no harm.
const DOUBTLESS: f64 = 0.02;
/// How long it is believed without another trial.
const BELIEVED: Duration = Duration::from_secs(20);
/// So many times there were clearly more of late: there is another trial.
const ALARMS: f64 = 4.0;
/// A request takes away so much of that.
const FORGETS: f64 = 1.0 / 16_000.0;
/// Refusals are about a limit if they are so many times the background, as far as that makes sense.
const CLEARLY: f64 = 2.0;
const CLEARLY_SHARES: std::ops::RangeInclusive<f64> = 0.1..=0.5;
/// How much more likely that must be (as a logarithm): by chance it seems so once in hundreds of
/// thousands of requests.
const SURE: f64 = 12.0;

/// What of a lane's refusals is chance.
#[derive(Debug, Clone, Copy)]
pub struct Background {
    suspicion: f64,
    /// As much of it begins a trial.
    enough: f64,
    /// When the last refusal was known: what was sent before it is of the same bunch.
    refused: Duration,
    trial: Option<Trial>,
    known: Option<Known>,
}

/// What a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Too many in flight, or too soon.
    Limit,
    /// Nothing.
    Chance,
    /// That is being tried.
    Unknown,
    /// That was tried: a limit.
    LimitAfterAll,
}

#[derive(Debug, Clone, Copy)]
struct Trial {
    /// Requests that may be in flight.
    limit: usize,
    /// From one to the next.
    gap: Duration,
    next: Duration,
    begun: Duration,
    /// When the last of its requests was sent.
    last: Duration,
    sent: u32,
    back: u32,
    refused: u32,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    until: Duration,
    share: f64,
    /// It is not believed to be more until there is another trial.
    most: f64,
    /// It is being measured for the first time.
    is_new: bool,
    sent: f64,
    refused: f64,
    /// Both when there were last no more than by chance.
    calm: (f64, f64),
    /// How likely it is that there are more refusals than by chance.
    more: f64,
    /// When that was sure: what was sent before was refused for the same limit.
    was_sure: Duration,
    /// How often it was of late.
    alarms: f64,
}

impl Default for Background {
    fn default() -> Self {
        Self {
            suspicion: 0.0,
            enough: SUSPICIOUS,
            refused: Duration::ZERO,
            trial: None,
            known: None,
        }
    }
}

/// Whoever names such a pause is not to be asked before it is over.
pub fn is_meant(named: Duration) -> bool {
    named > LONGEST
}

impl Background {
    /// Requests that may be in flight while a trial is under way, and when the next may be sent,
    /// whatever the pace.
    pub fn trial(&self) -> Option<(usize, Duration)> {
        let trial = self.trial.filter(Trial::goes_on);
        trial.map(|trial| (trial.limit, trial.next))
    }

    /// Share of what is sent that is refused by chance.
    pub fn share(&self) -> f64 {
        self.known.map_or(0.0, |known| known.share)
    }

    /// One is sent; so many are in flight with it.
    pub fn sent(&mut self, in_flight: usize, now: Duration) {
        self.trial = self.trial.filter(|trial| !trial.is_stale(now));
        if let Some(trial) = self.trial.as_mut().filter(|trial| trial.goes_on()) {
            trial.sent(now);
        } else if let Some(known) = &mut self.known {
            known.sent(in_flight);
        }
    }

    /// One that was sent then is back and was not refused; so many are in flight without it. True if a
    /// trial ends with it: refusals come by chance.
    pub fn back(&mut self, sent: Duration, in_flight: usize, now: Duration) -> bool {
        self.suspicion = (self.suspicion - ABSOLVES).max(0.0);
        if let Some(trial) = &mut self.trial {
            trial.back += u32::from(trial.has(sent));
        } else if let Some(known) = &mut self.known {
            known.back(in_flight);
        }
        self.ends(now)
    }

    /// One that was sent then was given up.
    pub fn lost(&mut self, sent: Duration) {
        if let Some(trial) = &mut self.trial {
            trial.sent -= u32::from(trial.has(sent));
        }
    }

    /// One that was sent then, as one of so many in flight and at this pace, was refused, and perhaps a
    /// pause was named.
    pub fn refused(
        &mut self,
        (sent, crowd, pace): (Duration, usize, Option<f64>),
        named: Option<Duration>,
        now: Duration,
    ) -> About {
        if named.is_some_and(is_meant) {
            self.trial = None;
            return About::Limit;
        }
        if let Some(trial) = self.trial.as_mut().filter(|trial| trial.has(sent)) {
            trial.back += 1;
            trial.refused += 1;
            if !trial.found_a_limit() {
                return About::Unknown;
            }
            self.found_a_limit(now);
            return About::LimitAfterAll;
        }
        if let Some(known) = &mut self.known {
            let about = known.refused(sent, now);
            if known.alarms >= ALARMS || now >= known.until {
                known.alarms = 0.0;
                self.trial.get_or_insert(Trial::of(crowd, pace, now));
            }
            return about;
        }
        if sent >= self.refused {
            self.suspicion += 1.0;
            self.refused = now;
        }
        if self.suspicion >= self.enough {
            self.trial.get_or_insert(Trial::of(crowd, pace, now));
        }
        // Until it is known to be none.
        About::Limit
    }

    /// The lane is paused, for whatever reason: a trial says nothing then.
    pub fn paused(&mut self) {
        self.trial = None;
    }

    /// Ends a trial whose requests are back. True if it found none but those that come by chance.
    fn ends(&mut self, now: Duration) -> bool {
        if let Some(trial) = self.trial.filter(Trial::is_back) {
            *self = Self {
                known: Some(Known::by(trial, now)),
                ..Self::default()
            };
            return true;
        }
        // One that is gone.
        self.known = self.known.filter(|known| known.share >= LEAST);
        false
    }

    /// What is known of the background stays: more in flight than it bears has a limit, too.
    fn found_a_limit(&mut self, now: Duration) {
        *self = Self {
            enough: (self.enough * PATIENCE).min(SUSPICIOUS_CAP),
            refused: now,
            known: self.known.map(|known| known.in_doubt(now)),
            ..Self::default()
        };
    }
}

impl Trial {
    fn of(crowd: usize, pace: Option<f64>, now: Duration) -> Self {
        let gap = pace.map_or(Duration::ZERO, |pace| {
            Duration::from_secs_f64(1.0 / (pace * FASTER))
        });
        Self {
            limit: crowd + crowd / 4 + 1,
            gap: gap.min(GAP_CAP),
            next: now,
            begun: now,
            last: now,
            sent: 0,
            back: 0,
            refused: 0,
        }
    }

    /// There are more to be sent for it. While they are awaited the lane is as it was: whoever refuses
    /// all by now is not to be asked without end.
    fn goes_on(&self) -> bool {
        self.sent < TRIAL
    }

    fn sent(&mut self, now: Duration) {
        self.next = now + self.gap;
        self.sent += 1;
        self.last = now;
    }

    /// There was nothing to send meanwhile, or nothing was to be sent.
    fn is_stale(&self, now: Duration) -> bool {
        self.goes_on() && now.saturating_sub(self.last) > STALE
    }

    fn has(&self, sent: Duration) -> bool {
        (self.begun..=self.last).contains(&sent) && self.sent > 0
    }

    fn found_a_limit(&self) -> bool {
        self.refused >= REFUSED && f64::from(self.refused) >= f64::from(self.sent) * REFUSED_SHARE
    }

    /// All but the slowest.
    fn is_back(&self) -> bool {
        !self.goes_on() && self.back * 10 >= self.sent * 9
    }
}

impl Known {
    fn by(trial: Trial, now: Duration) -> Self {
        // One more: of so few there may have been none.
        let refused = f64::from(trial.refused) + 1.0;
        let share = refused / f64::from(trial.sent);
        Self {
            until: now + BELIEVED,
            share,
            most: (share * CLEARLY).min(MOST),
            is_new: true,
            sent: f64::from(trial.sent),
            refused,
            calm: (f64::from(trial.sent), refused),
            more: 0.0,
            was_sure: Duration::ZERO,
            alarms: 0.0,
        }
    }

    fn in_doubt(mut self, now: Duration) -> Self {
        if now < self.until {
            return self;
        }
        self.until = now + BELIEVED;
        self.most = (self.most * DOUBT).max(DOUBTLESS);
        self.share = self.share.min(self.most);
        self
    }

    /// Taken, until it is known to be refused: refusals come sooner than answers.
    fn sent(&mut self, in_flight: usize) {
        self.sent += 1.0;
        let is_measured = self.sent >= MEASURED;
        if self.is_new || is_measured {
            self.share = (self.refused / self.sent).min(self.most);
        }
        if is_measured {
            if self.is_new {
                self.most = (self.share * CREEP).min(MOST);
            }
            self.is_new = false;
            (self.sent, self.refused) = (0.0, 0.0);
            self.calm = (0.0, 0.0);
        }
        self.alarms = (self.alarms - FORGETS).max(0.0);
        self.more += self.for_one_taken();
        self.back(in_flight);
    }

    /// What is in flight may yet be refused. What was answered before does not make up for it.
    fn back(&mut self, in_flight: usize) {
        let least = self.for_one_taken() * in_flight as f64;
        if self.more <= least {
            self.more = least;
            self.calm = (self.sent, self.refused);
        }
    }

    fn refused(&mut self, sent: Duration, now: Duration) -> About {
        if sent <= self.was_sure {
            return About::Limit;
        }
        self.refused += 1.0;
        self.more += self.for_one_refused() - self.for_one_taken();
        if self.more < SURE {
            return About::Chance;
        }
        self.more = 0.0;
        (self.sent, self.refused) = self.calm;
        self.was_sure = now;
        self.alarms += 1.0;
        About::Limit
    }

    fn for_one_refused(&self) -> f64 {
        let (chance, limit) = self.shares();
        (limit / chance).ln()
    }

    fn for_one_taken(&self) -> f64 {
        let (chance, limit) = self.shares();
        ((1.0 - limit) / (1.0 - chance)).ln()
    }

    /// Refused by chance, and where there is a limit, too.
    fn shares(&self) -> (f64, f64) {
        let chance = self.share.clamp(LEAST, MOST);
        let limit = (chance * CLEARLY).clamp(*CLEARLY_SHARES.start(), *CLEARLY_SHARES.end());
        (chance, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A background of which nothing is known, but whose refusals are suspicious.
    fn suspicious() -> Background {
        let mut background = Background::default();
        let about = background.refused((at(20), 8, None), None, at(21));
        assert_eq!(about, About::Limit);
        background
    }

    /// So many more are sent, one each millisecond, of which each so-many-th is refused; what that was
    /// about.
    fn send(background: &mut Background, count: u64, nth: u64, from: u64) -> Vec<About> {
        let mut abouts = Vec::new();
        for ms in from..from + count {
            background.sent(1, at(ms));
            if (ms - from) % nth == nth - 1 {
                abouts.push(background.refused((at(ms), 8, None), None, at(ms)));
            } else {
                background.back(at(ms), 0, at(ms));
            }
        }
        abouts
    }

    /// One whose first trial found a limit.
    fn limited() -> Background {
        let mut background = suspicious();
        let abouts = send(&mut background, 6, 1, 30);
        assert_eq!(abouts[..5], [About::Unknown; 5]);
        assert_eq!(abouts[5], About::LimitAfterAll);
        assert_eq!(background.trial(), None);
        background
    }

    /// One that is known to refuse a twentieth by chance.
    fn known() -> Background {
        let mut background = suspicious();
        send(&mut background, 21, 10, 30);
        assert_eq!(background.trial(), None);
        let abouts = send(&mut background, 4_000, 20, 60);
        assert_eq!(abouts, [About::Chance; 200]);
        background
    }

    #[test]
    fn a_trial_has_a_quarter_more_in_flight_and_is_faster() {
        let background = suspicious();
        assert_eq!(background.trial(), Some((11, at(21))));
        let mut background = Background::default();
        background.refused((at(0), 8, Some(25.0)), None, at(1));
        background.sent(8, at(5));
        assert_eq!(background.trial(), Some((11, at(15))));
    }

    #[test]
    fn refusals_of_one_bunch_are_one() {
        let mut background = limited();
        for ms in 100..200 {
            let about = background.refused((at(ms), 8, None), None, at(200 + ms));
            assert_eq!(about, About::Limit, "{ms}");
        }
        assert_eq!(background.trial(), None);
    }

    #[test]
    fn one_now_and_then_is_not_suspicious() {
        let mut background = limited();
        let abouts = send(&mut background, 50_000, 200, 100);
        assert_eq!(abouts, vec![About::Limit; 250]);
        assert_eq!(background.trial(), None);
    }

    #[test]
    fn refusals_that_keep_coming_are_tried_again() {
        let mut background = limited();
        let abouts = send(&mut background, 600, 20, 100);
        assert!(abouts.contains(&About::Unknown), "{abouts:?}");
    }

    #[test]
    fn what_is_sent_behind_a_trial_is_held_back_as_ever() {
        let mut background = suspicious();
        (30..50).for_each(|ms| background.sent(8, at(ms)));
        assert_eq!(background.trial(), None);
        let about = background.refused((at(60), 8, None), None, at(61));
        assert_eq!(about, About::Limit);
    }

    #[test]
    fn who_refuses_few_of_a_trial_does_so_by_chance() {
        known();
    }

    #[test]
    fn a_limit_beside_chance_is_seen_after_a_few_requests() {
        let mut background = known();
        let abouts = send(&mut background, 30, 1, 5_000);
        let seen = abouts.iter().position(|about| *about == About::Limit);
        assert!(seen.is_some_and(|seen| seen < 25), "{seen:?}");
        // And those that were sent before that was known are about the same.
        let seen = at(5_000 + seen.unwrap() as u64);
        let of_the_same = background.refused((seen, 8, None), None, at(5_100));
        assert_eq!(of_the_same, About::Limit);
        let abouts = send(&mut background, 1_000, 20, 6_000);
        assert_eq!(abouts, [About::Chance; 50]);
    }

    #[test]
    fn a_limit_that_a_trial_finds_beside_chance_does_not_end_it() {
        let mut background = known();
        let later = BELIEVED.as_millis() as u64 + 1_000;
        let abouts = send(&mut background, 26, 20, later);
        assert_eq!(abouts, [About::Chance]);
        let abouts = send(&mut background, 6, 1, later + 100);
        assert!(abouts.contains(&About::LimitAfterAll), "{abouts:?}");
        let abouts = send(&mut background, 1_000, 20, later + 200);
        assert_eq!(abouts, [About::Chance; 50]);
    }

    #[test]
    fn a_background_that_is_gone_is_forgotten() {
        let mut background = known();
        send(&mut background, 4_000, 4_001, 5_000);
        let about = background.refused((at(9_100), 8, None), None, at(9_101));
        assert_eq!(about, About::Limit);
    }

    #[test]
    fn who_names_a_long_pause_means_it() {
        let mut background = suspicious();
        let named = Some(Duration::from_secs(20));
        let about = background.refused((at(30), 8, None), named, at(31));
        assert_eq!((about, background.trial()), (About::Limit, None));
    }
}
