//! What is done about a batch that goes on past the end of its window.

use super::error::Result;
use super::plan::Shard;
use super::run::{Event, Runner};
use super::state::{State, Step};
use super::turn;
use crate::profiles::Profile;
use crate::wire::{Batch, BatchStatus};

/// How a batch that has not ended stands to its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Late {
    /// The window has not ended, or nobody knows when it does.
    InTime,
    /// It has, and the provider may yet end the batch by itself, or lets it go on.
    Waiting,
    /// It will not end by itself: it is to be cancelled.
    Cancel,
    /// It was cancelled and goes on even so: a person must decide.
    GivenUp,
}

/// Decides about a batch; `cancelled_at` is when it was first cancelled for being late.
pub(crate) fn late(
    window_end: Option<i64>,
    cancelled_at: Option<i64>,
    profile: &Profile,
    now: i64,
) -> Late {
    let patience = profile.overdue_seconds.cast_signed();
    match (window_end, cancelled_at) {
        (None, _) => Late::InTime,
        (Some(end), _) if now <= end => Late::InTime,
        (Some(_), _) if !profile.expires => Late::Waiting,
        (Some(end), None) if now <= end + patience => Late::Waiting,
        (_, Some(at)) if now > at + patience => Late::GivenUp,
        (Some(_), _) => Late::Cancel,
    }
}

/// When the window of a batch ends: as the provider says, else counted from when it was made.
pub(crate) fn window_end(expires_at: Option<i64>, window: &str, since: i64) -> Option<i64> {
    expires_at.or_else(|| Some(since + seconds_of(window)?))
}

/// `24h`, `7d`; none for words such as `background`.
fn seconds_of(window: &str) -> Option<i64> {
    let (number, unit) = window.split_at_checked(window.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u32>().ok().map(|n| i64::from(n) * unit)
}

/// What is said of batches past their window for as long as they are. They are cancelled in `left`
/// seconds; where they are left alone there is no such time.
pub(crate) fn sentence(batches: usize, left: Option<i64>) -> String {
    let (are, them, their) = match batches {
        1 => ("is", "it", "its"),
        _ => ("are", "them", "their"),
    };
    let then = format!("{their} lines without an answer go out again");
    match left {
        Some(1..) => {
            let left = left.unwrap_or_default();
            format!(
                "{batches} {are} past the window: cancel {them} at the provider, or wait {left} s until this does, \
                 and {then}"
            )
        }
        Some(_) => format!("{batches} {are} past the window and being cancelled; {then}"),
        None => format!(
            "{batches} {are} past the window, as may be here: if you cancel {them} at the provider, {then}"
        ),
    }
}

impl<F: FnMut(&Event<'_>)> Runner<'_, F> {
    /// A batch has not ended: it is waited for, but not without end.
    pub(super) async fn goes_on(&mut self, shard: &Shard, batch: &Batch, since: i64) -> Result<()> {
        let now = self.now();
        let pause = turn::poll_pause(&self.job.plan.profile, now - since, fastrand::f64());
        self.rest(shard.number, pause);
        let end = window_end(batch.expires_at, &self.job.plan.window, since);
        let pace = self.paces.entry(shard.number).or_default();
        let late = late(end, pace.cancelled_at, &self.job.plan.profile, now);
        pace.disagrees_since = None;
        pace.window_ended = end.filter(|_| late != Late::InTime);
        match late {
            Late::InTime | Late::Waiting => Ok(()),
            Late::Cancel | Late::GivenUp if !self.sends() => Ok(()),
            Late::Cancel => self.cancel_late(shard, batch).await,
            Late::GivenUp => {
                let why = format!(
                    "{} is past its window and goes on although it was cancelled",
                    batch.id
                );
                self.step(shard, Step::Stuck { why })
            }
        }
    }

    /// If we stop in here, it is cancelled again. What it has answered is kept.
    async fn cancel_late(&mut self, shard: &Shard, batch: &Batch) -> Result<()> {
        let now = self.now();
        let pace = self.paces.entry(shard.number).or_default();
        pace.cancelled_at.get_or_insert(now);
        if self.job.plan.profile.status(&batch.status) == BatchStatus::Cancelling {
            return Ok(());
        }
        match self.provider.batches.cancel(&batch.id).await {
            Ok(_) => (self.observer)(&Event::Cancelled {
                shard,
                batch: &batch.id,
            }),
            // It may have ended meanwhile. The next look tells, and tries again.
            Err(error) => (self.observer)(&Event::Weather {
                what: "cannot cancel a batch that is past its window",
                error: &error,
            }),
        }
        Ok(())
    }

    /// What is said of batches that are past their window, if any is.
    pub(super) fn about_late(&self) -> Option<String> {
        let is_open = |number: &u32| matches!(self.job.ledger.state(*number), State::Open { .. });
        let ended = self.paces.iter().filter(|(number, _)| is_open(number));
        let ended: Vec<_> = ended.filter_map(|(_, pace)| pace.window_ended).collect();
        let profile = &self.job.plan.profile;
        let next = ended.iter().min()? + profile.overdue_seconds.cast_signed();
        let left = profile.expires.then(|| next - self.now());
        Some(sentence(ended.len(), left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_past_its_window_is_waited_for_then_cancelled_then_given_up() {
        let profile = Profile {
            overdue_seconds: 100,
            ..Profile::default()
        };
        let of = |cancelled_at, now| late(Some(1_000), cancelled_at, &profile, now);
        assert_eq!(of(None, 1_000), Late::InTime);
        assert_eq!(of(None, 1_100), Late::Waiting);
        assert_eq!(of(None, 1_101), Late::Cancel);
        // As often as it takes: a cancel may be refused in passing.
        assert_eq!(of(Some(1_101), 1_201), Late::Cancel);
        assert_eq!(of(Some(1_101), 1_202), Late::GivenUp);
        // Who comes back a week later cancels first.
        assert_eq!(of(None, 600_000), Late::Cancel);
        assert_eq!(late(None, None, &profile, 600_000), Late::InTime);
    }

    #[test]
    fn what_is_said_of_a_late_batch_is_what_to_do() {
        let said = sentence(1, Some(40));
        assert!(
            said.contains("cancel it at the provider, or wait 40 s"),
            "{said}"
        );
        assert!(sentence(2, Some(0)).contains("2 are past the window and being cancelled"));
        assert!(sentence(2, None).contains("if you cancel them"));
    }

    #[test]
    fn where_batches_do_not_end_with_their_window_none_is_cancelled() {
        let profile = Profile {
            expires: false,
            ..Profile::default()
        };
        assert_eq!(late(Some(0), None, &profile, 600_000), Late::Waiting);
    }

    #[test]
    fn the_end_of_a_window_is_the_provider_s_word_else_counted() {
        assert_eq!(window_end(Some(5), "24h", 1), Some(5));
        for (window, expected) in [
            ("24h", Some(86_401)),
            ("7d", Some(604_801)),
            ("background", None),
            ("", None),
            ("天", None),
        ] {
            assert_eq!(window_end(None, window, 1), expected, "{window}");
        }
    }
}
