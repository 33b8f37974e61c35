//! What a refusal is about: how many requests are in flight, or how soon they come.
//!
//! An upstream that counts those in flight takes few and refuses more. One that counts them by their
//! time refuses few and takes more, as it comes: that is how it is known.

use std::time::Duration;

/// What was taken and what was refused of late.
#[derive(Debug, Clone, Copy, Default)]
pub struct Blame {
    /// When the lane went down. What was sent before says nothing of whoever became smaller.
    down: Option<Duration>,
    /// Most that was in flight with a request that was sent since then, and taken.
    taken: Option<Crowd>,
    /// Least that was in flight with one that was refused.
    refused: Option<Crowd>,
    /// Until then it is known that the upstream counts by the time.
    by_pace: Duration,
}

/// So many in flight, the one that was sent then among them.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    /// How many.
    pub count: usize,
    /// When.
    pub sent: Duration,
}

/// Longer ago it may have been another upstream.
const OF_LATE: Duration = Duration::from_secs(5);
/// How long an upstream that counts by the time is believed to do so.
const BELIEVED: Duration = Duration::from_secs(180);

impl Blame {
    /// One was taken.
    pub fn taken(&mut self, crowd: Crowd, now: Duration) {
        let is_since = self.down.is_some_and(|down| crowd.sent > down);
        let most = of_late(self.taken, crowd.sent);
        if is_since && most.is_none_or(|most| crowd.count >= most.count) {
            self.taken = Some(crowd);
        }
        let refused = of_late(self.refused, crowd.sent);
        if refused.is_some_and(|least| crowd.sent > least.sent && is_more(crowd, least)) {
            self.by_pace = now + BELIEVED;
        }
    }

    /// One was refused. True if that was for the pace.
    pub fn refused(&mut self, crowd: Crowd, now: Duration) -> bool {
        if of_late(self.refused, crowd.sent).is_none_or(|least| crowd.count <= least.count) {
            self.refused = Some(crowd);
        }
        let taken = of_late(self.taken, crowd.sent);
        if taken.is_some_and(|most| is_more(most, crowd)) {
            self.by_pace = now + BELIEVED;
        }
        self.is_by_pace(now)
    }

    /// The upstream is known to count by the time.
    pub fn is_by_pace(&self, now: Duration) -> bool {
        now < self.by_pace
    }

    /// The lane goes down.
    pub fn goes_down(&mut self, now: Duration) {
        self.down = Some(now);
        self.taken = None;
    }
}

fn of_late(crowd: Option<Crowd>, now: Duration) -> Option<Crowd> {
    crowd.filter(|crowd| now.saturating_sub(crowd.sent) < OF_LATE)
}

/// By more than those that are on their way back, and no more at the upstream.
fn is_more(crowd: Crowd, than: Crowd) -> bool {
    crowd.count > than.count + than.count / 8 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn crowd(count: usize, ms: u64) -> Crowd {
        Crowd {
            count,
            sent: at(ms),
        }
    }

    #[test]
    fn who_refuses_few_and_takes_more_after_that_counts_by_the_time() {
        let mut blame = Blame::default();
        assert!(!blame.refused(crowd(2, 0), at(1)));
        blame.taken(crowd(4, 50), at(250));
        assert!(blame.is_by_pace(at(250)));
        assert!(blame.refused(crowd(9, 300), at(301)));
    }

    #[test]
    fn who_takes_many_and_refuses_fewer_after_that_does_too() {
        let mut blame = Blame::default();
        blame.goes_down(at(0));
        blame.taken(crowd(16, 10), at(200));
        assert!(blame.refused(crowd(8, 300), at(301)));
    }

    #[test]
    fn who_has_become_smaller_counts_those_in_flight() {
        let mut blame = Blame::default();
        blame.goes_down(at(250));
        blame.taken(crowd(37, 200), at(290));
        assert!(!blame.refused(crowd(13, 300), at(301)));
        blame.taken(crowd(12, 400), at(600));
        assert!(!blame.refused(crowd(13, 700), at(701)));
    }

    #[test]
    fn one_that_is_on_its_way_back_and_what_was_long_ago_say_nothing() {
        let mut blame = Blame::default();
        assert!(!blame.refused(crowd(38, 0), at(1)));
        blame.taken(crowd(39, 10), at(210));
        assert!(!blame.is_by_pace(at(210)));
        blame.taken(crowd(60, 6_000), at(6_200));
        assert!(!blame.is_by_pace(at(6_200)));
    }
}
