//! The life of a batch: its states, and what each event does to it.

use ditto_llm::wire::BatchStatus;

/// Where a batch is in its life. What a client sees is [`wire_status`], which also knows the ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchState {
    /// Created; its file has not been read to the end.
    Validating,
    /// Its lines are being answered, or given up after a cancel or an expiry.
    Running,
    /// Every line is settled; the two result files are being named.
    Finalizing,
    /// Validation refused it.
    Failed,
    /// Every line ran.
    Completed,
    /// Cancelled, and every line is accounted for.
    Cancelled,
    /// Its window ended, and every line is accounted for.
    Expired,
}

/// Why a batch ends before its last line ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Its owner cancelled it.
    Cancelled,
    /// Its completion window ended.
    Expired,
}

impl Ending {
    /// The code and the sentence of the error lines that this ending writes.
    pub fn error(self) -> (&'static str, &'static str) {
        match self {
            Self::Cancelled => (
                "batch_cancelled",
                "This request was not executed because the batch was cancelled.",
            ),
            Self::Expired => (
                "batch_expired",
                "This request could not be executed before the completion window expired.",
            ),
        }
    }

    /// As stored in the catalog.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Reads what [`Ending::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "cancelled" => Some(Self::Cancelled),
            "expired" => Some(Self::Expired),
            _ => None,
        }
    }
}

impl BatchState {
    /// No event changes it any more.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Validating | Self::Running | Self::Finalizing => false,
            Self::Failed | Self::Completed | Self::Cancelled | Self::Expired => true,
        }
    }

    /// As stored in the catalog.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Validating => "validating",
            Self::Running => "running",
            Self::Finalizing => "finalizing",
            Self::Failed => "failed",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Reads what [`BatchState::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "validating" => Self::Validating,
            "running" => Self::Running,
            "finalizing" => Self::Finalizing,
            "failed" => Self::Failed,
            "completed" => Self::Completed,
            "cancelled" => Self::Cancelled,
            "expired" => Self::Expired,
            _ => return None,
        })
    }
}

/// What a client sees. A cancelled batch shows `cancelling` until its files are named; an expired
/// one runs on as `in_progress`, since the protocol has no word for it.
pub fn wire_status(state: BatchState, ending: Option<Ending>) -> BatchStatus {
    match (state, ending) {
        (BatchState::Validating, _) => BatchStatus::Validating,
        (BatchState::Running | BatchState::Finalizing, Some(Ending::Cancelled)) => {
            BatchStatus::Cancelling
        }
        (BatchState::Running, _) => BatchStatus::InProgress,
        (BatchState::Finalizing, _) => BatchStatus::Finalizing,
        (BatchState::Failed, _) => BatchStatus::Failed,
        (BatchState::Completed, _) => BatchStatus::Completed,
        (BatchState::Cancelled, _) => BatchStatus::Cancelled,
        (BatchState::Expired, _) => BatchStatus::Expired,
    }
}

/// Something that happens to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Its file was read to the end and lines may run.
    Validated,
    /// Its file was refused.
    Refused,
    /// Its owner cancelled it.
    Cancel,
    /// Its completion window ended.
    Expire,
    /// Its last segment was sealed.
    LastSeal,
    /// Its result files are named.
    Named,
    /// Its segments do not tile its plan: a bug of ours, said openly.
    Broken,
}

/// What an event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The batch is now in this state, with this ending.
    To(BatchState, Option<Ending>),
    /// Nothing changes, and that is an answer too: a second cancel, a late expiry.
    Stay,
    /// The event is not allowed; a cancel gets 409.
    Refuse,
}

/// The whole life of a batch in one table.
pub fn advance(state: BatchState, ending: Option<Ending>, event: Event) -> Step {
    use BatchState as S;
    match (event, state) {
        (Event::Validated, S::Validating) => Step::To(S::Running, None),
        (Event::Refused, S::Validating) => Step::To(S::Failed, None),
        (Event::Cancel, S::Validating) => Step::To(S::Cancelled, Some(Ending::Cancelled)),
        (Event::Expire, S::Validating) => Step::To(S::Expired, Some(Ending::Expired)),
        (Event::Cancel, S::Running) if ending.is_none() => {
            Step::To(S::Running, Some(Ending::Cancelled))
        }
        (Event::Expire, S::Running) if ending.is_none() => {
            Step::To(S::Running, Some(Ending::Expired))
        }
        // Every line is settled by now: a cancel in `finalizing` changes nothing.
        (Event::Cancel | Event::Expire, S::Running | S::Finalizing) => Step::Stay,
        (Event::Cancel, S::Cancelled) => Step::Stay,
        (Event::Cancel, S::Failed | S::Completed | S::Expired) => Step::Refuse,
        (Event::Expire, S::Failed | S::Completed | S::Expired | S::Cancelled) => Step::Stay,
        (Event::LastSeal, S::Running) => Step::To(S::Finalizing, ending),
        // A segment that was found to be missing has been run again.
        (Event::LastSeal, S::Finalizing) => Step::Stay,
        (Event::Named, S::Finalizing) => Step::To(
            match ending {
                None => S::Completed,
                Some(Ending::Cancelled) => S::Cancelled,
                Some(Ending::Expired) => S::Expired,
            },
            ending,
        ),
        (Event::Broken, S::Finalizing) => Step::To(S::Failed, ending),
        (Event::Validated | Event::Refused | Event::LastSeal | Event::Named | Event::Broken, _) => {
            Step::Refuse
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [BatchState; 7] = [
        BatchState::Validating,
        BatchState::Running,
        BatchState::Finalizing,
        BatchState::Failed,
        BatchState::Completed,
        BatchState::Cancelled,
        BatchState::Expired,
    ];
    const EVENTS: [Event; 7] = [
        Event::Validated,
        Event::Refused,
        Event::Cancel,
        Event::Expire,
        Event::LastSeal,
        Event::Named,
        Event::Broken,
    ];

    #[test]
    fn no_event_leaves_a_terminal_state() {
        for state in STATES.into_iter().filter(|s| s.is_terminal()) {
            for event in EVENTS {
                assert!(
                    !matches!(advance(state, None, event), Step::To(..)),
                    "{state:?} {event:?}"
                );
            }
        }
    }

    #[test]
    fn cancel_is_409_on_completed_failed_and_expired_and_allowed_again_on_cancelled() {
        let refused: Vec<_> = STATES
            .into_iter()
            .filter(|s| advance(*s, None, Event::Cancel) == Step::Refuse)
            .collect();
        assert_eq!(
            refused,
            [
                BatchState::Failed,
                BatchState::Completed,
                BatchState::Expired
            ]
        );
        assert_eq!(
            advance(BatchState::Cancelled, None, Event::Cancel),
            Step::Stay
        );
    }

    #[test]
    fn a_cancel_while_finalizing_changes_nothing() {
        assert_eq!(
            advance(BatchState::Finalizing, None, Event::Cancel),
            Step::Stay
        );
        assert_eq!(
            advance(BatchState::Finalizing, None, Event::Named),
            Step::To(BatchState::Completed, None)
        );
    }

    #[test]
    fn the_first_ending_wins() {
        let cancelled = Some(Ending::Cancelled);
        assert_eq!(
            advance(BatchState::Running, cancelled, Event::Expire),
            Step::Stay
        );
        assert_eq!(
            wire_status(BatchState::Running, cancelled),
            BatchStatus::Cancelling
        );
    }

    #[test]
    fn states_and_endings_are_read_back_as_written() {
        for state in STATES {
            assert_eq!(BatchState::parse(state.as_str()), Some(state));
        }
        for ending in [Ending::Cancelled, Ending::Expired] {
            assert_eq!(Ending::parse(ending.as_str()), Some(ending));
        }
    }
}
