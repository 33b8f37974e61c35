//! How many lines may be sent again: a part of what succeeded, so that a storm cannot feed itself.

use std::time::Duration;

/// What is looked back on, in seconds.
const WINDOW: u64 = 10;
/// Retries beside lines that were not sent yet, as a part of the successes.
const PART: f64 = 0.1;
/// And where nothing else waits: they come in the place of other lines then, not on top of them. An
/// upstream that answers half of what it is sent is not slowed down, one that answers a quarter is.
const PART_ALONE: f64 = 3.0;
/// One is allowed in any case if there was none for so long.
const LEAST: Duration = Duration::from_secs(1);

/// The retries of one lane.
#[derive(Debug, Clone, Default)]
pub struct RetryBudget {
    /// By the second, the oldest written over.
    seconds: [Second; WINDOW as usize],
    /// The second that is written to.
    at: u64,
    last: Option<Duration>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Second {
    succeeded: u32,
    retried: u32,
}

impl RetryBudget {
    /// A line succeeded.
    pub fn succeeded(&mut self, now: Duration) {
        self.second(now).succeeded += 1;
    }

    /// A line is sent again.
    pub fn retried(&mut self, now: Duration) {
        self.second(now).retried += 1;
        self.last = Some(now);
    }

    /// When the next line may be sent again; `None`: now. `alone`: no line waits that was not sent yet.
    pub fn waits_until(&mut self, alone: bool, now: Duration) -> Option<Duration> {
        let least = self.last.map(|last| last + LEAST);
        let least = least.filter(|least| now < *least)?;
        self.second(now);
        let sum = |part: fn(&Second) -> u32| self.seconds.iter().map(part).sum::<u32>();
        let part = if alone { PART_ALONE } else { PART };
        let allowed = f64::from(sum(|second| second.succeeded)) * part;
        (f64::from(sum(|second| second.retried)) >= allowed).then_some(least)
    }

    /// The second of this time; what is older than the window is forgotten.
    fn second(&mut self, now: Duration) -> &mut Second {
        let at = now.as_secs().max(self.at);
        for gone in (self.at + 1..=at).take(WINDOW as usize) {
            self.seconds[(gone % WINDOW) as usize] = Second::default();
        }
        if at >= self.at + WINDOW {
            self.seconds = Default::default();
        }
        self.at = at;
        &mut self.seconds[(at % WINDOW) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(1_000.0 + seconds)
    }

    /// Retries that are let through within so many seconds, one asked for every millisecond.
    fn let_through(budget: &mut RetryBudget, alone: bool, from: f64, seconds: u32) -> u32 {
        let asked = (0..seconds * 1_000).map(|ms| at(from + f64::from(ms) / 1_000.0));
        let mut through = 0;
        for now in asked {
            if budget.waits_until(alone, now).is_none() {
                budget.retried(now);
                through += 1;
            }
        }
        through
    }

    #[test]
    fn one_a_second_where_nothing_succeeds() {
        let mut budget = RetryBudget::default();
        assert_eq!(let_through(&mut budget, false, 0.0, 60), 60);
        assert_eq!(let_through(&mut budget, true, 60.0, 60), 60);
    }

    #[test]
    fn a_tenth_of_what_succeeded_beside_other_lines() {
        let mut budget = RetryBudget::default();
        for ms in 0..5_000 {
            budget.succeeded(at(f64::from(ms) / 1_000.0));
        }
        assert_eq!(let_through(&mut budget, false, 5.0, 1), 500);
        // They are out of the window together with what paid for them.
        assert_eq!(let_through(&mut budget, false, 30.0, 1), 1);
    }

    #[test]
    fn three_times_what_succeeded_where_nothing_else_waits() {
        let mut budget = RetryBudget::default();
        for _ in 0..100 {
            budget.succeeded(at(0.0));
        }
        assert_eq!(let_through(&mut budget, true, 0.0, 1), 300);
    }

    /// Retries within a hundred seconds, a hundred a second asked for, of which one in so many succeeds.
    fn of_which_one_succeeds_in(every: u32) -> u32 {
        let mut budget = RetryBudget::default();
        for _ in 0..1_000 {
            budget.succeeded(at(0.0));
        }
        let mut through = 0;
        for asked in 0..10_000u32 {
            let now = at(f64::from(asked) / 100.0);
            if budget.waits_until(true, now).is_none() {
                budget.retried(now);
                through += 1;
                if through % every == 0 {
                    budget.succeeded(now);
                }
            }
        }
        through
    }

    #[test]
    fn half_that_succeed_keep_themselves_going_and_fewer_die_down() {
        assert!(of_which_one_succeeds_in(2) > 9_900);
        let few = of_which_one_succeeds_in(8);
        assert!((1_000..1_500).contains(&few), "{few}");
    }
}
