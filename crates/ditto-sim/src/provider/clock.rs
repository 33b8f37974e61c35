//! The provider's own course of time: the real one, with leaps.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A time since the provider was started.
pub(crate) type At = Duration;

#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_unix: Duration,
    leapt: Duration,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            started_unix: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            leapt: Duration::ZERO,
        }
    }

    pub(crate) fn now(&self) -> At {
        self.started.elapsed() + self.leapt
    }

    pub(crate) fn leap(&mut self, span: Duration) {
        self.leapt += span;
    }

    /// In whole seconds, as the API tells times.
    pub(crate) fn unix(&self, at: At) -> u64 {
        (self.started_unix + at).as_secs()
    }
}
