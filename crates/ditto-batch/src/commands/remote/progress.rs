//! How far a job is, from the events that are seen, and how long it will take.

use std::collections::BTreeMap;
use std::time::Duration;

use ditto_llm::jobs::{Again, Event, Shard, State};

use crate::printer::grouped;

/// How far a job is. Times are those since some beginning.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    total: u64,
    /// Lines of each shard that have come to their end.
    done: BTreeMap<u32, u64>,
    withheld: u64,
    why: Option<String>,
    /// When lines were first seen to move, and how many were done by then.
    began: Option<(Duration, u64)>,
    /// The same of the last time.
    last: (Duration, u64),
}

impl Progress {
    pub(crate) fn new(total: u64, withheld: u64) -> Self {
        Self {
            total,
            withheld,
            ..Self::default()
        }
    }

    /// Takes in how far a shard is, before anything is seen of it.
    pub(crate) fn stands(&mut self, shard: &Shard, state: &State) {
        match state {
            State::Joined { joined, .. } => {
                let over = joined.classes.iter();
                let over = over.filter(|(class, _)| class.again() == Again::Never);
                let over = over.map(|(_, lines)| lines).sum();
                self.done.insert(shard.number, over);
            }
            State::Dissolved => {
                self.done.remove(&shard.number);
            }
            _ => {}
        }
    }

    /// Takes in what happened.
    pub(crate) fn hear(&mut self, event: &Event<'_>, now: Duration) {
        match event {
            Event::Stepped { shard, state } => {
                self.why = None;
                self.stands(shard, state);
            }
            Event::Polled { shard, batch } => {
                let counts = batch.request_counts.unwrap_or_default();
                let done = (counts.completed + counts.failed).min(shard.lines);
                self.done.insert(shard.number, done);
                let all = self.done();
                if all > 0 {
                    self.began.get_or_insert((now, all));
                    self.last = (now, all);
                }
            }
            Event::Waiting { why, .. } => self.why = Some((*why).to_owned()),
            _ => {}
        }
    }

    pub(crate) fn done(&self) -> u64 {
        let done = self.withheld + self.done.values().sum::<u64>();
        done.min(self.total)
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// The time left, once there is something to tell from.
    pub(crate) fn left(&self, now: Duration) -> Option<Duration> {
        let (began, before) = self.began?;
        let (last, done) = self.last;
        let (seconds, here) = ((last - began).as_secs_f64(), done.saturating_sub(before));
        if here == 0 || seconds < 1.0 {
            return None;
        }
        let left = (self.total - done) as f64 * seconds / here as f64;
        Some(Duration::from_secs_f64(left).saturating_sub(now.saturating_sub(last)))
    }

    /// All of it on one line.
    pub(crate) fn sentence(&self, now: Duration) -> String {
        let count = format!("{} of {} lines", grouped(self.done()), grouped(self.total));
        match self.rest(now) {
            rest if rest.is_empty() => count,
            rest => format!("{count}; {rest}"),
        }
    }

    /// What a bar does not show.
    pub(crate) fn rest(&self, now: Duration) -> String {
        let left = self
            .left(now)
            .map(|left| format!("about {} left", spoken(left)));
        let both: Vec<_> = self.why.clone().into_iter().chain(left).collect();
        both.join("; ")
    }
}

/// `12 s`, `3 min`, `2 h 5 min`.
pub(crate) fn spoken(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ditto_llm::{Batch, BatchRequestCounts};

    fn shard() -> Shard {
        serde_json::from_value(serde_json::json!({
            "number": 1, "round": 1, "model": null, "first_line": 1, "last_line": 100, "lines": 100,
            "bytes": 1, "runs": 1, "tokens": 1, "hash": "", "form": "as_it_is", "canary": false,
        }))
        .unwrap()
    }

    fn polled(progress: &mut Progress, completed: u64, at: u64) {
        let counts = BatchRequestCounts {
            total: 100,
            completed,
            failed: 0,
        };
        let batch = Batch {
            request_counts: Some(counts),
            ..Batch::default()
        };
        let shard = shard();
        let event = Event::Polled {
            shard: &shard,
            batch: &batch,
        };
        progress.hear(&event, Duration::from_secs(at));
    }

    #[test]
    fn the_time_left_is_told_from_what_was_seen_and_not_before() {
        let mut progress = Progress::new(100, 0);
        polled(&mut progress, 20, 0);
        assert_eq!(progress.left(Duration::from_secs(50)), None);
        polled(&mut progress, 40, 60);
        let now = Duration::from_secs(60);
        assert_eq!(progress.left(now), Some(Duration::from_secs(180)));
        let later = Duration::from_secs(80);
        assert_eq!(progress.left(later), Some(Duration::from_secs(160)));
        assert_eq!(progress.sentence(now), "40 of 100 lines; about 3 min left");
    }

    #[test]
    fn what_nothing_moves_for_is_told_until_something_does() {
        let mut progress = Progress::new(100, 1);
        let event = Event::Waiting {
            time: Duration::from_secs(9),
            why: "2 open",
        };
        progress.hear(&event, Duration::ZERO);
        assert_eq!(progress.sentence(Duration::ZERO), "1 of 100 lines; 2 open");
        let shard = shard();
        let event = Event::Stepped {
            shard: &shard,
            state: &State::Uploading,
        };
        progress.hear(&event, Duration::ZERO);
        assert_eq!(progress.why(), None);
    }

    #[test]
    fn a_provider_that_counts_too_much_does_not_fill_the_bar_past_its_end() {
        let mut progress = Progress::new(100, 0);
        polled(&mut progress, 4_000, 0);
        assert_eq!(progress.done(), 100);
    }
}
