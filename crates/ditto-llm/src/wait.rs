//! Waiting for a batch to end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::batches::BatchClient;
use crate::error::{DittoError, Result};
use crate::wire::{Batch, BatchStatus};

/// A batch that was just created may not be found for so long.
const NOT_FOUND_YET: Duration = Duration::from_secs(60);

/// After so long the longest pause doubles.
const LONG_WAIT: Duration = Duration::from_secs(3600);

/// A look that begins close to the deadline may take so long all the same.
const LAST_LOOK: Duration = Duration::from_secs(10);

/// A pause that is longer is as good as none, and an instant after it might not exist.
const LONGEST_PAUSE: Duration = Duration::from_secs(365 * 86_400);

/// How to wait for a batch.
///
/// ```
/// use std::time::Duration;
/// use ditto_llm::WaitPolicy;
///
/// let policy = WaitPolicy::default()
///     .deadline(Some(Duration::from_secs(3600)))
///     .on_progress(|batch| println!("{}: {:?}", batch.status, batch.request_counts));
/// # let _ = policy;
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct WaitPolicy {
    /// The pause after the first look; each later one is half as long again. 5 s unless set.
    pub first_pause: Duration,
    /// The longest pause in the first hour; twice that later. 60 s unless set.
    pub longest_pause: Duration,
    /// How long to wait at all: 26 hours unless set, the usual window and a margin. None: for
    /// ever. A look that is under way then is broken off; the last one has 10 s.
    pub deadline: Option<Duration>,
    /// For how long the provider may be away or answer with passing errors. 1 hour unless set.
    pub patience: Duration,
    on_progress: Option<Callback>,
}

type Callback = Arc<dyn Fn(&Batch) + Send + Sync>;

impl Default for WaitPolicy {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_secs(5),
            longest_pause: Duration::from_secs(60),
            deadline: Some(Duration::from_secs(26 * 3600)),
            patience: Duration::from_secs(3600),
            on_progress: None,
        }
    }
}

impl WaitPolicy {
    /// Sets the first pause.
    #[must_use]
    pub fn first_pause(self, first_pause: Duration) -> Self {
        Self {
            first_pause,
            ..self
        }
    }

    /// Sets the longest pause.
    #[must_use]
    pub fn longest_pause(self, longest_pause: Duration) -> Self {
        Self {
            longest_pause,
            ..self
        }
    }

    /// Sets how long to wait at all.
    #[must_use]
    pub fn deadline(self, deadline: Option<Duration>) -> Self {
        Self { deadline, ..self }
    }

    /// Sets for how long the provider may be away.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Calls back with the batch after each look, the last one included.
    #[must_use]
    pub fn on_progress(self, callback: impl Fn(&Batch) + Send + Sync + 'static) -> Self {
        Self {
            on_progress: Some(Arc::new(callback)),
            ..self
        }
    }

    /// The pause after a look (the first is 1), with `jitter` from 0 to 1 spreading it by a fifth
    /// to either side.
    fn pause(&self, look: u32, waited: Duration, jitter: f64) -> Duration {
        let longest = if waited < LONG_WAIT {
            self.longest_pause
        } else {
            self.longest_pause.saturating_mul(2)
        };
        let longest = longest.min(LONGEST_PAUSE);
        let growth = 1.5_f64.powi(look.saturating_sub(1).min(64).try_into().unwrap_or(64));
        // Compared as numbers: the product of a long pause may be more than a Duration holds.
        let seconds = (self.first_pause.as_secs_f64() * growth).min(longest.as_secs_f64());
        Duration::from_secs_f64(seconds * (0.8 + 0.4 * jitter.clamp(0.0, 1.0)))
    }
}

impl fmt::Debug for WaitPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitPolicy")
            .field("first_pause", &self.first_pause)
            .field("longest_pause", &self.longest_pause)
            .field("deadline", &self.deadline)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// Looks at a batch until it has ended.
pub(crate) async fn until_ended<C>(client: &C, batch_id: &str, policy: WaitPolicy) -> Result<Batch>
where
    C: BatchClient + ?Sized,
{
    let started = Instant::now();
    // A deadline past all time is none.
    let end = policy
        .deadline
        .and_then(|deadline| started.checked_add(deadline));
    let mut heard = started;
    let mut status = BatchStatus::Other("not seen yet".to_owned());
    for look in 1.. {
        let mut asked = Duration::ZERO;
        let Some(answer) = look_until(end, client.retrieve(batch_id)).await else {
            break;
        };
        match answer {
            Ok(response) => {
                heard = Instant::now();
                if let Some(callback) = &policy.on_progress {
                    callback(&response.batch);
                }
                if response.batch.status.is_terminal() {
                    return Ok(response.batch);
                }
                status = response.batch.status;
            }
            Err(error) if bearable(&error, started.elapsed(), heard.elapsed(), &policy) => {
                asked = error.retry_after().unwrap_or_default();
            }
            Err(error) => return Err(error),
        }
        let pause = policy
            .pause(look, started.elapsed(), fastrand::f64())
            .max(asked)
            .min(LONGEST_PAUSE);
        if end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
        // One last look is taken at the deadline itself.
        let next = Instant::now() + pause;
        tokio::time::sleep_until(end.map_or(next, |end| next.min(end))).await;
    }
    Err(DittoError::WaitedTooLong {
        batch_id: batch_id.to_owned(),
        status,
        waited: started.elapsed(),
    })
}

/// One look, broken off at the deadline: its own repetitions may wait for much longer.
async fn look_until<T>(end: Option<Instant>, look: impl Future<Output = T>) -> Option<T> {
    let Some(end) = end else {
        return Some(look.await);
    };
    let latest = end.max(Instant::now() + LAST_LOOK);
    tokio::time::timeout_at(latest, look).await.ok()
}

fn bearable(error: &DittoError, waited: Duration, unheard: Duration, policy: &WaitPolicy) -> bool {
    let not_found_yet = error.status() == Some(404) && waited < NOT_FOUND_YET;
    (error.is_transient() && unheard < policy.patience) || not_found_yet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_double_after_an_hour() {
        let policy = WaitPolicy::default();
        let seconds = |look, waited| {
            policy
                .pause(look, Duration::from_secs(waited), 0.5)
                .as_secs_f64()
        };
        assert_eq!(
            [seconds(1, 0), seconds(2, 5), seconds(3, 12)],
            [5.0, 7.5, 11.25]
        );
        assert_eq!([seconds(20, 600), seconds(1000, 7200)], [60.0, 120.0]);
    }

    #[test]
    fn the_jitter_is_a_fifth_to_either_side() {
        let policy = WaitPolicy::default();
        let pause = |jitter| policy.pause(1, Duration::ZERO, jitter).as_secs_f64();
        assert!((pause(0.0) - 4.0).abs() < 1e-9 && (pause(1.0) - 6.0).abs() < 1e-9);
    }
}
