//! The time that a job goes by.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

/// The time that a job goes by; another one makes tests of days take no time.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> SystemTime;

    /// Comes back after that time.
    async fn sleep(&self, time: Duration);
}

/// The time of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// In whole seconds, as providers tell times.
pub(crate) fn unix_seconds(clock: &dyn Clock) -> i64 {
    let since = clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().cast_signed()
}
