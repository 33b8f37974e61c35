//! How often something may be done: so much at once, and so much by and by.

use std::time::Duration;

/// What somebody has spent, as the time at which all of it will have been given back. What costs time
/// comes back with time: there is nothing to refill.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rate {
    given_back: Duration,
}

impl Rate {
    /// Spends so much, if no more than `burst` is out then; else nothing, and how long to wait for it.
    pub fn take(&mut self, now: Duration, cost: Duration, burst: Duration) -> Result<(), Duration> {
        let after = self.given_back.max(now) + cost;
        match after.checked_sub(now + burst.max(cost)) {
            None | Some(Duration::ZERO) => {
                self.given_back = after;
                Ok(())
            }
            Some(wait) => Err(wait),
        }
    }

    /// Spends so much in any case, and how long to wait before it is used. Whoever asks next waits
    /// behind it, so that many who ask at once have the same rate together as one.
    pub fn spend(&mut self, now: Duration, cost: Duration, burst: Duration) -> Duration {
        self.given_back = self.given_back.max(now) + cost;
        self.given_back.saturating_sub(now + burst)
    }

    /// Whether all of it has been given back: then there is nothing to remember.
    pub fn is_idle(&self, now: Duration) -> bool {
        self.given_back <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Duration {
        1_000 * SECOND + SECOND * u32::try_from(seconds).unwrap()
    }

    #[test]
    fn so_many_are_let_through_at_once_and_then_one_as_one_is_given_back() {
        let mut rate = Rate::default();
        let mut take = |seconds| rate.take(at(seconds), SECOND, 3 * SECOND);
        let asked = [0, 0, 0, 0, 1, 1, 10, 10, 10, 10];
        let expected = [
            Ok(()),
            Ok(()),
            Ok(()),
            Err(SECOND),
            Ok(()),
            Err(SECOND),
            Ok(()),
            Ok(()),
            Ok(()),
            Err(SECOND),
        ];
        assert_eq!(asked.map(&mut take), expected);
    }

    #[test]
    fn what_costs_more_than_a_burst_is_let_through_when_nothing_is_out() {
        let mut rate = Rate::default();
        assert_eq!(rate.take(at(0), 9 * SECOND, SECOND), Ok(()));
        assert_eq!(rate.take(at(8), 9 * SECOND, SECOND), Err(SECOND));
        assert_eq!(rate.take(at(9), 9 * SECOND, SECOND), Ok(()));
    }

    #[test]
    fn who_may_not_be_refused_waits_behind_the_others() {
        let mut rate = Rate::default();
        let waits = [0, 0, 0, 5].map(|seconds| rate.spend(at(seconds), 2 * SECOND, SECOND));
        assert_eq!(waits, [SECOND, 3 * SECOND, 5 * SECOND, 2 * SECOND]);
        assert!(!rate.is_idle(at(7)) && rate.is_idle(at(8)));
    }
}
