//! Whether to try again, and when: pure functions, used by client and server alike.
//!
//! Which calls may be sent twice differs by operation: a `GET` freely, a delete or cancel because
//! it changes nothing the second time, an upload from its start. Creating a batch is sent again
//! only where the provider surely did not take it: a second batch costs a second time.

use std::time::{Duration, SystemTime};

/// Delays that double, drawn over their whole range so that many callers do not come back at once.
///
/// ```
/// use std::time::Duration;
/// use ditto_llm::retry::Backoff;
///
/// let backoff = Backoff { base: Duration::from_millis(500), cap: Duration::from_secs(8) };
/// assert_eq!(backoff.delay(1, 1.0), Duration::from_millis(500));
/// assert_eq!(backoff.delay(3, 0.5), Duration::from_secs(1));
/// assert_eq!(backoff.delay(60, 1.0), Duration::from_secs(8));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest delay after the first attempt.
    pub base: Duration,
    /// The longest delay at all.
    pub cap: Duration,
}

impl Backoff {
    /// The delay after the given attempt (the first is 1), with `jitter` from 0 to 1: 0 gives
    /// none, 1 the whole delay.
    pub fn delay(&self, attempt: u32, jitter: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let whole = self.base.saturating_mul(1 << doublings).min(self.cap);
        whole.mul_f64(jitter.clamp(0.0, 1.0))
    }
}

/// How long a server asks to wait: `retry-after-ms` first, then `retry-after` as seconds (with a
/// fraction, if any) or as an HTTP date. Past dates are zero; what cannot be read is none.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use ditto_llm::retry::parse_retry_after;
///
/// let now = SystemTime::UNIX_EPOCH;
/// assert_eq!(parse_retry_after(Some("250"), Some("9"), now), Some(Duration::from_millis(250)));
/// assert_eq!(parse_retry_after(None, Some("1.5"), now), Some(Duration::from_millis(1500)));
/// assert_eq!(
///     parse_retry_after(None, Some("Thu, 01 Jan 1970 01:00:00 GMT"), now),
///     Some(Duration::from_secs(3600)),
/// );
/// assert_eq!(parse_retry_after(None, Some("soon"), now), None);
/// ```
pub fn parse_retry_after(
    retry_after_ms: Option<&str>,
    retry_after: Option<&str>,
    now: SystemTime,
) -> Option<Duration> {
    let number = |text: &str, unit: f64| {
        let count: f64 = text.trim().parse().ok()?;
        if count < 0.0 {
            return None;
        }
        // Refuses NaN, infinity and what no Duration holds.
        Duration::try_from_secs_f64(count * unit).ok()
    };
    if let Some(delay) = retry_after_ms.and_then(|text| number(text, 0.001)) {
        return Some(delay);
    }
    let text = retry_after?;
    number(text, 1.0).or_else(|| {
        let at = httpdate::parse_http_date(text.trim()).ok()?;
        Some(at.duration_since(now).unwrap_or(Duration::ZERO))
    })
}

/// How a call may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Reads: as often as it helps.
    Freely,
    /// Deletes and cancels: the second time changes nothing, but 409 is a final answer.
    Idempotent,
    /// Uploads: again from the first byte; a copy that is left over does no harm.
    FromStart,
    /// Creates: only if the server surely did nothing.
    OnlyIfRefused,
}

/// What came of one attempt, as far as repeating goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure<'a> {
    /// No connection: not a byte of the request was sent.
    NotSent,
    /// Sent, at least in part, and then cut, timed out, or answered unreadably.
    NoAnswer,
    /// Answered with a status that is no success.
    Refused {
        /// The HTTP status.
        status: u16,
        /// `error.code` or `error.type`, whichever says more.
        code: Option<&'a str>,
        /// What the server asked for; see [`parse_retry_after`].
        retry_after: Option<Duration>,
        /// The server's own word in `x-should-retry`.
        should_retry: Option<bool>,
    },
}

impl Failure<'_> {
    /// A refusal of which only the status is known.
    pub fn of_status(status: u16) -> Self {
        Self::Refused {
            status,
            code: None,
            retry_after: None,
            should_retry: None,
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::NotSent | Self::NoAnswer => true,
            Self::Refused {
                should_retry: Some(word),
                ..
            } => *word,
            Self::Refused { status, code, .. } => is_passing_status(*status, *code),
        }
    }

    /// Whether the server may have done what it was asked for.
    pub fn may_have_acted(&self) -> bool {
        match self {
            Self::NotSent => false,
            Self::NoAnswer => true,
            Self::Refused { status, .. } => *status == 408 || *status >= 500,
        }
    }

    fn status(&self) -> Option<u16> {
        match self {
            Self::NotSent | Self::NoAnswer => None,
            Self::Refused { status, .. } => Some(*status),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotSent | Self::NoAnswer => None,
            Self::Refused { retry_after, .. } => *retry_after,
        }
    }
}

/// Whether a status passes by itself. A quota that is used up answers 429 too, but only its owner
/// can change that, so the code is looked at first.
pub fn is_passing_status(status: u16, code: Option<&str>) -> bool {
    const FOR_THE_OWNER: [&str; 4] = [
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "access_terminated",
    ];
    if code.is_some_and(|code| FOR_THE_OWNER.contains(&code)) {
        return false;
    }
    match status {
        408 | 409 | 425 | 429 => true,
        501 | 505 => false,
        _ => status >= 500,
    }
}

/// How often to try, and how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts at most, the first included; at least one is made.
    pub attempts: u32,
    /// The delays where the server names none.
    pub backoff: Backoff,
    /// The longest delay that a server may ask for. Batch work is not interactive, so this is
    /// long; if the server asks for more, the error is returned at once and says how long.
    pub longest_wait: Duration,
}

impl RetryPolicy {
    /// One attempt only.
    pub fn never() -> Self {
        Self {
            attempts: 1,
            ..Self::default()
        }
    }
}

impl Default for RetryPolicy {
    /// Four attempts, up to 8 s apart, or up to 10 minutes if the server asks for it.
    fn default() -> Self {
        Self {
            attempts: 4,
            backoff: Backoff {
                base: Duration::from_millis(500),
                cap: Duration::from_secs(8),
            },
            longest_wait: Duration::from_secs(600),
        }
    }
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Send the call again after this time.
    RetryAfter(Duration),
    /// Hand the failure to the caller.
    GiveUp,
}

/// Decides what to do after the given attempt (the first is 1) of a call.
///
/// A server that names a delay is never asked earlier.
///
/// ```
/// use std::time::Duration;
/// use ditto_llm::retry::{next, Failure, Next, Repeat, RetryPolicy};
///
/// let policy = RetryPolicy::default();
/// let busy = Failure::Refused {
///     status: 429,
///     code: None,
///     retry_after: Some(Duration::from_secs(300)),
///     should_retry: None,
/// };
/// let five_minutes = Next::RetryAfter(Duration::from_secs(300));
/// assert_eq!(next(Repeat::Freely, &busy, 1, &policy, 0.5), five_minutes);
///
/// // The answer to a create was lost: there may be a batch now.
/// assert_eq!(next(Repeat::OnlyIfRefused, &Failure::NoAnswer, 1, &policy, 0.5), Next::GiveUp);
/// ```
pub fn next(
    repeat: Repeat,
    failure: &Failure<'_>,
    attempt: u32,
    policy: &RetryPolicy,
    jitter: f64,
) -> Next {
    if attempt >= policy.attempts || !failure.is_passing() || !allows(repeat, failure) {
        return Next::GiveUp;
    }
    match failure.retry_after() {
        Some(asked) if asked > policy.longest_wait => Next::GiveUp,
        Some(asked) if !asked.is_zero() => Next::RetryAfter(asked),
        _ => Next::RetryAfter(policy.backoff.delay(attempt, jitter)),
    }
}

fn allows(repeat: Repeat, failure: &Failure<'_>) -> bool {
    match repeat {
        Repeat::Freely | Repeat::FromStart => true,
        Repeat::Idempotent => failure.status() != Some(409),
        Repeat::OnlyIfRefused => !failure.may_have_acted() && failure.status() != Some(409),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn refused(status: u16) -> Failure<'static> {
        Failure::of_status(status)
    }

    fn asking(status: u16, delay: Duration) -> Failure<'static> {
        Failure::Refused {
            status,
            code: None,
            retry_after: Some(delay),
            should_retry: None,
        }
    }

    fn retried(repeat: Repeat, failure: &Failure<'_>) -> bool {
        next(repeat, failure, 1, &RetryPolicy::default(), 0.5) != Next::GiveUp
    }

    #[test]
    fn each_operation_is_repeated_by_its_own_rule() {
        use Repeat::{Freely, FromStart, Idempotent, OnlyIfRefused};
        let failures = [
            (Failure::NotSent, [true, true, true, true]),
            (Failure::NoAnswer, [true, true, true, false]),
            (refused(400), [false, false, false, false]),
            (refused(404), [false, false, false, false]),
            (refused(408), [true, true, true, false]),
            (refused(409), [true, false, true, false]),
            (refused(429), [true, true, true, true]),
            (refused(500), [true, true, true, false]),
            (refused(501), [false, false, false, false]),
            (refused(503), [true, true, true, false]),
        ];
        for (failure, expected) in failures {
            let seen = [Freely, Idempotent, FromStart, OnlyIfRefused]
                .map(|repeat| retried(repeat, &failure));
            assert_eq!(seen, expected, "{failure:?}");
        }
    }

    #[test]
    fn what_the_server_asks_for_is_waited_for_however_long() {
        let policy = RetryPolicy::default();
        for delay in [SECOND, 61 * SECOND, 121 * SECOND, 600 * SECOND] {
            let failure = asking(429, delay);
            assert_eq!(
                next(Repeat::Freely, &failure, 1, &policy, 0.0),
                Next::RetryAfter(delay)
            );
        }
    }

    #[test]
    fn past_the_longest_wait_the_caller_decides() {
        let failure = asking(503, 601 * SECOND);
        assert_eq!(
            next(Repeat::Freely, &failure, 1, &RetryPolicy::default(), 0.5),
            Next::GiveUp
        );
    }

    #[test]
    fn a_used_up_quota_is_not_asked_again() {
        let failure = Failure::Refused {
            status: 429,
            code: Some("insufficient_quota"),
            retry_after: None,
            should_retry: None,
        };
        assert!(!retried(Repeat::Freely, &failure));
    }

    #[test]
    fn the_servers_own_word_comes_before_the_status_but_not_before_safety() {
        let word = |status, word| Failure::Refused {
            status,
            code: None,
            retry_after: None,
            should_retry: Some(word),
        };
        assert!(!retried(Repeat::Freely, &word(503, false)));
        assert!(retried(Repeat::Freely, &word(400, true)));
        assert!(!retried(Repeat::OnlyIfRefused, &word(500, true)));
        assert!(!retried(Repeat::Idempotent, &word(409, true)));
    }

    #[test]
    fn the_last_attempt_is_the_last() {
        let policy = RetryPolicy::default();
        let after = |attempt| next(Repeat::Freely, &refused(500), attempt, &policy, 1.0);
        assert_ne!(after(3), Next::GiveUp);
        assert_eq!(after(4), Next::GiveUp);
    }

    #[test]
    fn delays_that_no_clock_holds_are_not_read() {
        for text in ["-1", "nan", "inf", "1e300", ""] {
            assert_eq!(
                parse_retry_after(None, Some(text), SystemTime::UNIX_EPOCH),
                None,
                "{text}"
            );
            assert_eq!(
                parse_retry_after(Some(text), None, SystemTime::UNIX_EPOCH),
                None,
                "{text}"
            );
        }
    }

    #[test]
    fn an_unreadable_delay_in_ms_falls_back_to_the_seconds() {
        let read = parse_retry_after(Some("soon"), Some("2"), SystemTime::UNIX_EPOCH);
        assert_eq!(read, Some(2 * SECOND));
    }

    #[test]
    fn a_date_in_the_past_means_now() {
        let later = SystemTime::UNIX_EPOCH + 10_000 * SECOND;
        let read = parse_retry_after(None, Some("Thu, 01 Jan 1970 00:00:01 GMT"), later);
        assert_eq!(read, Some(Duration::ZERO));
    }
}
