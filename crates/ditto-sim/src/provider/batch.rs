//! A batch and its course: which step it takes next, and when. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::ask::Endpoint;
use crate::provider::clock::At;
use crate::provider::fault::ProviderFault as Fault;
use crate::provider::mischief::Plight;
use crate::provider::pace::Pace;
use crate::provider::run::Ran;

/// Where a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Validating,
    InProgress,
    Finalizing,
    Cancelling,
    Completed,
    Failed,
    Expired,
    Cancelled,
}

impl Stage {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Validating => "validating",
            Self::InProgress => "in_progress",
            Self::Finalizing => "finalizing",
            Self::Cancelling => "cancelling",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    pub(crate) fn is_final(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Expired | Self::Cancelled => true,
            Self::Validating | Self::InProgress | Self::Finalizing | Self::Cancelling => false,
        }
    }
}

/// What was asked for when it was created.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) input_file_id: String,
    pub(crate) endpoint: String,
    pub(crate) asks: Endpoint,
    pub(crate) window: String,
    pub(crate) metadata: Option<BTreeMap<String, String>>,
}

/// When it entered each stage.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stamps {
    pub(crate) created: At,
    pub(crate) in_progress: Option<At>,
    pub(crate) finalizing: Option<At>,
    pub(crate) completed: Option<At>,
    pub(crate) failed: Option<At>,
    pub(crate) expired: Option<At>,
    pub(crate) cancelling: Option<At>,
    pub(crate) cancelled: Option<At>,
}

#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) id: String,
    pub(crate) order: Order,
    /// The bytes of its input file, if there is one.
    pub(crate) input: Option<PathBuf>,
    pub(crate) stage: Stage,
    pub(crate) stamps: Stamps,
    /// How long its provider gives itself.
    pub(crate) window: Duration,
    pub(crate) errors: Vec<Value>,
    pub(crate) total: u64,
    /// Of all prompts; they count as enqueued until it ends.
    pub(crate) tokens: u64,
    pub(crate) ran: Option<Ran>,
    /// What befalls it.
    pub(crate) plight: Plight,
}

/// What a batch does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Validate,
    Finalize,
    Complete,
    Cancel,
    /// It has worked to its end although it was cancelled.
    CompleteCancelled,
    /// It breaks down; so many of its lines have run.
    Break {
        lines: u64,
    },
    /// Its time is over; so many of its lines have run.
    Expire {
        lines: u64,
    },
}

impl Batch {
    /// The step that is due by `now`, and when it was.
    pub(crate) fn next(&self, pace: &Pace, now: At) -> Option<(At, Step)> {
        let stuck = self.plight.measure(Fault::Stuck);
        if stuck.is_some_and(|stage| stage.word() == self.stage.word()) {
            return None;
        }
        let (at, step) = match self.stage {
            Stage::Validating => (self.stamps.created + pace.validating, Step::Validate),
            Stage::InProgress => self.end_of_work(pace),
            Stage::Finalizing => {
                let since = self.stamps.finalizing.unwrap_or_default();
                (since + pace.finalizing, Step::Complete)
            }
            Stage::Cancelling => {
                let since = self.stamps.cancelling.unwrap_or_default();
                let slow = self.plight.measure(Fault::CancelSlow);
                let at = since + slow.map_or(pace.finalizing, |slow| slow.span());
                if self.plight.has(Fault::CancelCompletes) {
                    (at, Step::CompleteCancelled)
                } else {
                    (at, Step::Cancel)
                }
            }
            Stage::Completed | Stage::Failed | Stage::Expired | Stage::Cancelled => return None,
        };
        (at <= now).then_some((at, step))
    }

    /// When it came to its end.
    pub(crate) fn ended(&self) -> Option<At> {
        let stamps = &self.stamps;
        let ends = [
            stamps.completed,
            stamps.failed,
            stamps.expired,
            stamps.cancelled,
        ];
        ends.into_iter().flatten().next()
    }

    fn end_of_work(&self, pace: &Pace) -> (At, Step) {
        let since = self.stamps.in_progress.unwrap_or_default();
        let done = since + pace.in_progress;
        let over = self.stamps.created + self.window;
        let part = |fault| {
            let share = self.plight.measure(fault)?.share();
            let lines = (self.total as f64 * share) as u64;
            Some((since + pace.in_progress.mul_f64(share), lines))
        };
        if let Some((at, lines)) = part(Fault::Expires) {
            (at, Step::Expire { lines })
        } else if let Some((at, lines)) = part(Fault::FailsMidway) {
            (at, Step::Break { lines })
        } else if over < done {
            let lines = self.lines_run_by(pace, over);
            (over, Step::Expire { lines })
        } else {
            (done, Step::Finalize)
        }
    }

    /// How many lines have run by then, as if one ran after the other.
    pub(crate) fn lines_run_by(&self, pace: &Pace, at: At) -> u64 {
        let Some(since) = self.stamps.in_progress else {
            return 0;
        };
        let spent = at.saturating_sub(since);
        if spent >= pace.in_progress {
            return self.total;
        }
        (self.total as f64 * spent.as_secs_f64() / pace.in_progress.as_secs_f64()) as u64
    }
}

/// `24h` or `7d`; for who wants to see its end, `90s` and `5m` too.
pub(crate) fn window(text: &str) -> Option<Duration> {
    let number = |suffix| text.strip_suffix(suffix)?.parse::<u64>().ok();
    let units = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];
    let seconds = units
        .into_iter()
        .find_map(|(suffix, seconds)| number(suffix)?.checked_mul(seconds))?;
    (1..=30 * 86_400)
        .contains(&seconds)
        .then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn batch(stage: Stage, window: Duration) -> Batch {
        Batch {
            id: "batch_sim_1".into(),
            order: Order {
                input_file_id: "file-sim-1".into(),
                endpoint: "/v1/chat/completions".into(),
                asks: Endpoint::ChatCompletions,
                window: "24h".into(),
                metadata: None,
            },
            input: None,
            stage,
            stamps: Stamps::default(),
            window,
            errors: Vec::new(),
            total: 100,
            tokens: 0,
            ran: None,
            plight: Plight::default(),
        }
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const DAY: Duration = seconds(86_400);

    #[test]
    fn each_step_is_due_at_its_time() {
        let pace: Pace = "10s/100s/20s".parse().unwrap();
        let mut batch = batch(Stage::Validating, DAY);
        assert_eq!(batch.next(&pace, seconds(9)), None);
        let due = batch.next(&pace, seconds(500));
        assert_eq!(due, Some((seconds(10), Step::Validate)));

        batch.stage = Stage::InProgress;
        batch.stamps.in_progress = Some(seconds(10));
        let due = batch.next(&pace, seconds(500));
        assert_eq!(due, Some((seconds(110), Step::Finalize)));
        assert_eq!(batch.lines_run_by(&pace, seconds(35)), 25);
    }

    #[test]
    fn a_window_that_ends_first_expires_the_batch_with_what_has_run() {
        let pace: Pace = "10s/100s/20s".parse().unwrap();
        let mut batch = batch(Stage::InProgress, seconds(73));
        batch.stamps.in_progress = Some(seconds(10));
        let due = batch.next(&pace, seconds(500));
        assert_eq!(due, Some((seconds(73), Step::Expire { lines: 63 })));
    }

    #[test]
    fn a_plight_bends_the_course() {
        use crate::provider::faults::Measure;
        let pace: Pace = "10s/100s/20s".parse().unwrap();
        let mut batch = batch(Stage::InProgress, DAY);
        batch.stamps.in_progress = Some(seconds(10));
        batch.plight = Plight::of(Fault::Expires, Measure::Share(0.63));
        let due = batch.next(&pace, seconds(500));
        assert_eq!(due, Some((seconds(73), Step::Expire { lines: 63 })));

        batch.plight = Plight::of(Fault::Stuck, Measure::Word("in_progress".into()));
        assert_eq!(batch.next(&pace, DAY), None);
    }

    #[test]
    fn windows_are_of_any_unit_and_end_within_a_month() {
        assert_eq!(window("24h"), Some(DAY));
        assert_eq!(window("7d"), Some(7 * DAY));
        assert_eq!(window("90s"), Some(seconds(90)));
        for text in ["", "24", "0h", "1w", "999d", "-1h"] {
            assert_eq!(window(text), None, "{text}");
        }
    }
}
