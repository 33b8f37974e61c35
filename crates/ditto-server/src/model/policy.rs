//! What becomes of a line after one attempt.
//!
//! *An outage is the lane's, a poison line is the line's.* What could be either is charged to the
//! line only if another line of the lane succeeded since this one was sent.

use std::time::Duration;

use super::lane::{LaneView, Pause};

/// What came back for one sending of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An HTTP answer, read to its end.
    Answer(Answer),
    /// An answer over the limit; its first bytes were kept.
    TooLarge,
    /// No answer in time.
    Timeout,
    /// No connection, or one that was lost before the answer was whole.
    Unreachable,
}

/// What matters of an HTTP answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// What its body is.
    pub body: Body,
    /// When the upstream wants to be asked again.
    pub retry_after: Option<Duration>,
    /// Its error code says quota or billing: waiting a moment will not help.
    pub quota: bool,
}

/// What an answer's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// JSON.
    Json,
    /// JSON of an API's error: `{"error":…}` or `"object":"error"`.
    ApiError,
    /// Nothing, or only white space.
    Empty,
    /// Something else: HTML of a proxy, text, not UTF-8.
    Other,
}

/// A line's history, as far as it decides.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// Sendings charged to the line so far, this one not among them.
    pub charged: u32,
    /// Sendings of any kind so far, this one not among them; paces what is not charged.
    pub tries: u32,
    /// Charges after which the last answer is final.
    pub limit: u32,
    /// When this attempt was sent.
    pub sent: Duration,
    /// Times the line went back unsent because its lane was taken to be at fault.
    pub put_backs: u32,
    /// When the line was first told to come back later without being charged.
    pub waiting_since: Option<Duration>,
    /// The batch's deadline.
    pub deadline: Option<Duration>,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// This outcome is final.
    Settle(Verdict),
    /// Send again at this time; whether the attempt counts.
    RetryAt(Duration, Charge),
    /// The line has done nothing wrong: it goes back unsent, and the lane pauses.
    PutBack(Pause),
}

/// Whose attempt it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// Counts against the line's attempts.
    Line,
    /// Does not: the upstream was full.
    Nobody,
}

/// Where a settled line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The output file.
    Output,
    /// The error file, with the HTTP answer in `response` and `error` null.
    HttpError,
    /// The error file: an answer that is no JSON; status and raw text are kept.
    Unreadable,
    /// The error file: `answer_too_large`.
    TooLarge,
    /// The error file: `upstream_timeout`.
    Timeout,
    /// The error file: `upstream_unreachable`.
    Unreachable,
}

/// Answers that are all refusals, before a lane of a large batch is taken for misconfigured.
pub const FIRST_REFUSALS: u32 = 20;
/// A lane probes with the lines that were put back least: one that was put back this often has seen
/// all others fail too.
const LAST_LINES_PUT_BACKS: u32 = 3;
/// How long the last lines of a lane that has worked may fail before they are taken for poison. An
/// outage that ends within it costs nobody an attempt.
const LAST_LINES_PATIENCE: Duration = Duration::from_secs(300);
/// First pause between two sendings of one line.
const BACKOFF_BASE: Duration = Duration::from_millis(500);
/// Longest of our own pauses; an upstream may name a longer one.
const BACKOFF_CAP: Duration = Duration::from_secs(60);

/// How an outcome is to be read, before anything about the line is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Final(Verdict),
    /// The line's fault, but it may pass.
    Line,
    /// The lane's fault if nothing else succeeds.
    LineOrLane,
    /// The upstream is full and says so.
    Full,
    /// Nothing of this lane can succeed now.
    Closed(Pause),
    /// A refusal by the API itself, suspicious if all are so.
    Refused,
}

/// What becomes of a line. `now` and every other time is on the engine's steady clock; `jitter`
/// is in 0..1.
pub fn decide(
    outcome: Outcome,
    attempt: &Attempt,
    lane: &LaneView,
    now: Duration,
    jitter: f64,
) -> Next {
    match read(outcome) {
        Reading::Final(verdict) => Next::Settle(verdict),
        Reading::Refused if lane.only_refusals() => Next::PutBack(Pause::Refused),
        Reading::Refused => Next::Settle(Verdict::HttpError),
        // An account is never the fault of a line.
        Reading::Closed(pause @ (Pause::Quota | Pause::Unpaid)) if !lane.out_of_patience(now) => {
            Next::PutBack(pause)
        }
        Reading::Closed(pause) => line_or_lane(outcome, attempt, lane, now, jitter, pause),
        Reading::Line => charge(outcome, attempt, now, jitter),
        Reading::LineOrLane => line_or_lane(outcome, attempt, lane, now, jitter, Pause::Fault),
        Reading::Full => {
            let since = attempt.waiting_since.unwrap_or(now);
            if now.saturating_sub(since) > lane.patience {
                return charge(outcome, attempt, now, jitter);
            }
            let at = again_at(outcome, attempt.tries, now, jitter);
            if attempt.deadline.is_some_and(|deadline| at > deadline) {
                return Next::Settle(last_word(outcome));
            }
            Next::RetryAt(at, Charge::Nobody)
        }
    }
}

/// What could be an outage or a poison line. It is the line's if another line succeeded since this
/// one was sent; if only lines are left that failed again and again, for long, in a lane that has
/// worked; and once the lane's patience is over, so that nothing waits for ever.
fn line_or_lane(
    outcome: Outcome,
    attempt: &Attempt,
    lane: &LaneView,
    now: Duration,
    jitter: f64,
    pause: Pause,
) -> Next {
    let others_succeed = lane.last_success.is_some_and(|at| at >= attempt.sent);
    let only_such_lines_are_left = lane.proven
        && attempt.put_backs >= LAST_LINES_PUT_BACKS
        && lane.at_fault_for(now) >= LAST_LINES_PATIENCE;
    if others_succeed || only_such_lines_are_left || lane.out_of_patience(now) {
        charge(outcome, attempt, now, jitter)
    } else {
        Next::PutBack(pause)
    }
}

/// Whether the outcome may be the fault of its lane, whoever is charged.
pub fn is_failure(outcome: Outcome) -> bool {
    match read(outcome) {
        Reading::LineOrLane => true,
        Reading::Line => !matches!(
            outcome,
            Outcome::Answer(Answer {
                status: 409 | 425,
                ..
            })
        ),
        Reading::Final(_) | Reading::Full | Reading::Closed(_) | Reading::Refused => false,
    }
}

/// Whether sending a line again after this outcome is one of the retries that a lane has a budget for:
/// those by which a storm would feed itself. What is the line's own is bounded by its attempts, and who
/// is full or names a time is asked again as it bears.
pub fn costs_budget(outcome: Outcome) -> bool {
    let named = match outcome {
        Outcome::Answer(answer) => answer.retry_after.is_some(),
        Outcome::TooLarge | Outcome::Timeout | Outcome::Unreachable => false,
    };
    read(outcome) == Reading::LineOrLane && !named
}

fn read(outcome: Outcome) -> Reading {
    let answer = match outcome {
        Outcome::TooLarge => return Reading::Final(Verdict::TooLarge),
        Outcome::Timeout | Outcome::Unreachable => return Reading::LineOrLane,
        Outcome::Answer(answer) => answer,
    };
    let from_api = answer.body == Body::ApiError;
    match answer.status {
        200..=299 => match answer.body {
            Body::Json | Body::ApiError => Reading::Final(Verdict::Output),
            Body::Empty | Body::Other => Reading::Line,
        },
        401 | 407 => Reading::Closed(Pause::NotAllowed),
        402 => Reading::Closed(Pause::Unpaid),
        300..=399 => Reading::Closed(Pause::Redirected),
        403 | 404 | 405 | 410 | 501 if from_api => Reading::Refused,
        403 | 404 | 405 | 410 | 501 => Reading::Closed(Pause::WrongAddress),
        429 if answer.quota => Reading::Closed(Pause::Quota),
        429 => Reading::Full,
        408 | 409 | 425 => Reading::Line,
        502 | 503 | 504 | 529 => Reading::LineOrLane,
        500.. => Reading::Line,
        // 1xx never arrives as a final answer; a server that invents one has answered.
        _ => Reading::Final(Verdict::HttpError),
    }
}

/// Counts the attempt against the line: again later, or its last answer is final.
fn charge(outcome: Outcome, attempt: &Attempt, now: Duration, jitter: f64) -> Next {
    if attempt.charged + 1 >= attempt.limit {
        return Next::Settle(last_word(outcome));
    }
    let at = again_at(outcome, attempt.charged, now, jitter);
    if attempt.deadline.is_some_and(|deadline| at > deadline) {
        return Next::Settle(last_word(outcome));
    }
    Next::RetryAt(at, Charge::Line)
}

fn again_at(outcome: Outcome, tries: u32, now: Duration, jitter: f64) -> Duration {
    let named = match outcome {
        Outcome::Answer(answer) => answer.retry_after,
        Outcome::TooLarge | Outcome::Timeout | Outcome::Unreachable => None,
    };
    let ours = BACKOFF_BASE
        .saturating_mul(1 << tries.min(16))
        .min(BACKOFF_CAP)
        .mul_f64(jitter);
    // Spread what the upstream named too, or every line comes back in the same instant.
    now + named.map_or(ours, |named| named + BACKOFF_BASE.mul_f64(jitter))
}

/// The verdict when an outcome that might pass is final after all.
fn last_word(outcome: Outcome) -> Verdict {
    match outcome {
        Outcome::Answer(Answer {
            body: Body::Json | Body::ApiError,
            ..
        }) => Verdict::HttpError,
        Outcome::Answer(_) => Verdict::Unreadable,
        Outcome::TooLarge => Verdict::TooLarge,
        Outcome::Timeout => Verdict::Timeout,
        Outcome::Unreachable => Verdict::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn answer(status: u16, body: Body) -> Outcome {
        Outcome::Answer(Answer {
            status,
            body,
            retry_after: None,
            quota: false,
        })
    }

    fn attempt(charged: u32) -> Attempt {
        Attempt {
            charged,
            tries: charged,
            limit: 5,
            sent: NOW - Duration::from_secs(1),
            put_backs: 0,
            waiting_since: None,
            deadline: None,
        }
    }

    fn lane() -> LaneView {
        LaneView {
            last_success: Some(NOW),
            fault_since: None,
            patience: Duration::from_secs(3600),
            refusals: 0,
            successes: 1,
            large_batch: true,
            proven: true,
            another_is_well: false,
        }
    }

    fn silent_lane() -> LaneView {
        LaneView {
            last_success: None,
            successes: 0,
            ..lane()
        }
    }

    #[test]
    fn every_status_has_one_reading() {
        for status in 100..=999 {
            for body in [Body::Json, Body::ApiError, Body::Empty, Body::Other] {
                let alone = matches!(status, 300..=399 | 401..=405 | 407 | 410 | 501);
                let lane = if alone { silent_lane() } else { lane() };
                let next = decide(answer(status, body), &attempt(0), &lane, NOW, 0.5);
                let expected = match (status, body) {
                    (200..=299, Body::Json | Body::ApiError) => "output",
                    (200..=299, _) => "retry",
                    (401 | 402 | 407 | 300..=399, _) => "put back",
                    (403 | 404 | 405 | 410 | 501, Body::ApiError) => "error",
                    (403 | 404 | 405 | 410 | 501, _) => "put back",
                    (408 | 409 | 425 | 429 | 500.., _) => "retry",
                    _ => "error",
                };
                let seen = match next {
                    Next::Settle(Verdict::Output) => "output",
                    Next::Settle(_) => "error",
                    Next::RetryAt(..) => "retry",
                    Next::PutBack(_) => "put back",
                };
                assert_eq!(seen, expected, "{status} {body:?}");
            }
        }
    }

    /// The last attempt of a line, while others succeed: what stands in the error file.
    #[test]
    fn every_status_and_every_silence_has_one_last_word() {
        for status in 100..=599 {
            for body in [Body::Json, Body::ApiError, Body::Empty, Body::Other] {
                let is_json = matches!(body, Body::Json | Body::ApiError);
                let passing =
                    matches!(status, 300..=399 | 401..=405 | 407..=410 | 425 | 429 | 500..);
                let expected = match status {
                    200..=299 if is_json => Verdict::Output,
                    200..=299 => Verdict::Unreadable,
                    _ if passing && !is_json => Verdict::Unreadable,
                    _ => Verdict::HttpError,
                };
                let worn_out = Attempt {
                    waiting_since: Some(Duration::ZERO),
                    ..attempt(4)
                };
                let impatient = LaneView {
                    patience: Duration::from_secs(1),
                    fault_since: Some(Duration::ZERO),
                    ..lane()
                };
                let next = decide(answer(status, body), &worn_out, &impatient, NOW, 0.5);
                assert_eq!(next, Next::Settle(expected), "{status} {body:?}");
            }
        }
        for (outcome, expected) in [
            (Outcome::TooLarge, Verdict::TooLarge),
            (Outcome::Timeout, Verdict::Timeout),
            (Outcome::Unreachable, Verdict::Unreachable),
        ] {
            let next = decide(outcome, &attempt(4), &lane(), NOW, 0.5);
            assert_eq!(next, Next::Settle(expected));
        }
    }

    #[test]
    fn an_outage_is_the_lanes_and_a_poison_line_is_the_lines() {
        for outcome in [
            Outcome::Timeout,
            Outcome::Unreachable,
            answer(503, Body::Other),
        ] {
            let outage = decide(outcome, &attempt(0), &silent_lane(), NOW, 0.5);
            assert_eq!(outage, Next::PutBack(Pause::Fault));
            let poison = decide(outcome, &attempt(0), &lane(), NOW, 0.5);
            assert!(
                matches!(poison, Next::RetryAt(_, Charge::Line)),
                "{poison:?}"
            );
        }
        let poison = decide(
            answer(500, Body::Json),
            &attempt(0),
            &silent_lane(),
            NOW,
            0.5,
        );
        assert!(matches!(poison, Next::RetryAt(_, Charge::Line)));
    }

    #[test]
    fn the_last_attempt_settles_with_what_was_last_heard() {
        let cases = [
            (answer(500, Body::Json), Verdict::HttpError),
            (answer(200, Body::Empty), Verdict::Unreadable),
            (Outcome::Timeout, Verdict::Timeout),
            (Outcome::Unreachable, Verdict::Unreachable),
        ];
        for (outcome, verdict) in cases {
            assert_eq!(
                decide(outcome, &attempt(4), &lane(), NOW, 0.5),
                Next::Settle(verdict)
            );
        }
    }

    #[test]
    fn a_full_upstream_charges_nobody_until_patience_is_over() {
        let full = Outcome::Answer(Answer {
            status: 429,
            body: Body::ApiError,
            retry_after: Some(Duration::from_secs(7)),
            quota: false,
        });
        let Next::RetryAt(at, Charge::Nobody) = decide(full, &attempt(4), &lane(), NOW, 0.0) else {
            panic!("charged");
        };
        assert_eq!(at, NOW + Duration::from_secs(7));

        let long = Attempt {
            waiting_since: Some(Duration::ZERO),
            ..attempt(4)
        };
        let impatient = LaneView {
            patience: Duration::from_secs(60),
            ..lane()
        };
        assert_eq!(
            decide(full, &long, &impatient, NOW, 0.0),
            Next::Settle(Verdict::HttpError)
        );
    }

    #[test]
    fn quota_and_keys_pause_the_lane() {
        let quota = Outcome::Answer(Answer {
            status: 429,
            body: Body::ApiError,
            retry_after: None,
            quota: true,
        });
        assert_eq!(
            decide(quota, &attempt(0), &silent_lane(), NOW, 0.5),
            Next::PutBack(Pause::Quota)
        );
        let key = answer(401, Body::ApiError);
        assert_eq!(
            decide(key, &attempt(0), &silent_lane(), NOW, 0.5),
            Next::PutBack(Pause::NotAllowed)
        );
    }

    #[test]
    fn a_line_that_alone_is_not_let_in_is_charged_while_others_succeed() {
        for status in [401, 302, 403, 404] {
            let next = decide(answer(status, Body::Other), &attempt(0), &lane(), NOW, 0.5);
            assert!(
                matches!(next, Next::RetryAt(_, Charge::Line)),
                "{status}: {next:?}"
            );
        }
    }

    #[test]
    fn the_last_lines_of_a_lane_that_worked_do_not_wait_for_ever() {
        let long_ago = LaneView {
            last_success: Some(NOW - Duration::from_secs(400)),
            fault_since: Some(NOW - Duration::from_secs(301)),
            ..lane()
        };
        let often = Attempt {
            put_backs: 3,
            ..attempt(0)
        };
        let poison = decide(Outcome::Timeout, &often, &long_ago, NOW, 0.5);
        assert!(
            matches!(poison, Next::RetryAt(_, Charge::Line)),
            "{poison:?}"
        );

        for (attempt, lane) in [
            (attempt(0), long_ago),
            (
                often,
                LaneView {
                    proven: false,
                    ..long_ago
                },
            ),
            (
                often,
                LaneView {
                    fault_since: Some(NOW - Duration::from_secs(299)),
                    ..long_ago
                },
            ),
        ] {
            let outage = decide(Outcome::Timeout, &attempt, &lane, NOW, 0.5);
            assert_eq!(outage, Next::PutBack(Pause::Fault));
        }
    }

    #[test]
    fn twenty_first_refusals_of_a_large_batch_pause_the_lane() {
        let suspicious = LaneView {
            refusals: FIRST_REFUSALS - 1,
            ..silent_lane()
        };
        let next = decide(
            answer(404, Body::ApiError),
            &attempt(0),
            &suspicious,
            NOW,
            0.5,
        );
        assert_eq!(next, Next::PutBack(Pause::Refused));
        let small = LaneView {
            large_batch: false,
            ..suspicious
        };
        let next = decide(answer(404, Body::ApiError), &attempt(0), &small, NOW, 0.5);
        assert_eq!(next, Next::Settle(Verdict::HttpError));
    }

    #[test]
    fn no_retry_is_planned_behind_the_deadline() {
        let late = Attempt {
            deadline: Some(NOW),
            ..attempt(0)
        };
        let next = decide(answer(500, Body::Json), &late, &lane(), NOW, 1.0);
        assert_eq!(next, Next::Settle(Verdict::HttpError));
    }

    proptest::proptest! {
        #[test]
        fn a_line_is_never_charged_more_often_than_its_limit(
            status in 100u16..600, charged in 0u32..5, jitter in 0.0f64..1.0, quiet: bool
        ) {
            let lane = if quiet { silent_lane() } else { lane() };
            let next = decide(answer(status, Body::Json), &attempt(charged), &lane, NOW, jitter);
            if let Next::RetryAt(at, charge) = next {
                proptest::prop_assert!(at >= NOW);
                proptest::prop_assert!(charge == Charge::Nobody || charged + 1 < 5);
            }
        }
    }
}
