//! What is appended and not durable yet, and whether more may be sent meanwhile.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::super::PartName;
use super::lock;
use crate::clock::Steady;

/// What a crash may ask for again is at most this much, beside what is in flight.
pub(super) const BYTES: u64 = 4 << 20;
/// And at most what came in this time: small answers are many before they are much, and a disk that
/// hangs says nothing. One that takes so long for a sync has more than it can do.
pub(super) const AGE: Duration = Duration::from_secs(1);
/// Nothing waits.
const NEVER: u64 = u64::MAX;

/// The answers of all parts that wait for the disk.
#[derive(Debug)]
pub(super) struct Unrecorded {
    clock: Box<dyn Steady>,
    bytes: AtomicU64,
    /// When the oldest of them was appended, in microseconds of the clock.
    oldest_us: AtomicU64,
    /// The oldest of each part. Locked with each flush and not with each line.
    oldest: Mutex<BTreeSet<(Duration, PartName)>>,
    left: Notify,
}

impl Unrecorded {
    pub(super) fn new(clock: Box<dyn Steady>) -> Self {
        Self {
            clock,
            bytes: AtomicU64::new(0),
            oldest_us: AtomicU64::new(NEVER),
            oldest: Mutex::default(),
            left: Notify::new(),
        }
    }

    /// The time of what is appended now.
    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Whether nothing more may be sent before the disk has caught up.
    pub(super) fn is_at_its_limit(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= BYTES || self.age() > AGE
    }

    /// How long the oldest has waited.
    fn age(&self) -> Duration {
        match self.oldest_us.load(Ordering::Relaxed) {
            // The clock is not asked while there is nothing to time.
            NEVER => Duration::ZERO,
            oldest => Duration::from_micros(micros(self.now()).saturating_sub(oldest)),
        }
    }

    /// Resolves when something has left. To be made before [`is_at_its_limit`](Self::is_at_its_limit)
    /// is asked.
    pub(super) fn left(&self) -> Notified<'_> {
        self.left.notified()
    }

    pub(super) fn appended(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The oldest answer of a part that waits is another one now, if any waits.
    pub(super) fn oldest_moved(
        &self,
        part: PartName,
        from: Option<Duration>,
        to: Option<Duration>,
    ) {
        let mut oldest = lock(&self.oldest);
        if let Some(from) = from {
            oldest.remove(&(from, part));
        }
        if let Some(to) = to {
            oldest.insert((to, part));
        }
        let first = oldest.first().map_or(NEVER, |(since, _)| micros(*since));
        self.oldest_us.store(first, Ordering::Relaxed);
    }

    /// So much is durable, or was dropped. To be told behind [`oldest_moved`](Self::oldest_moved).
    pub(super) fn leaves(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.left.notify_waiters();
    }

    /// Nothing waits, and nobody is thought to.
    #[cfg(test)]
    pub(super) fn is_nothing(&self) -> bool {
        let bytes = self.bytes.load(Ordering::SeqCst);
        bytes == 0 && self.oldest_us.load(Ordering::SeqCst) == NEVER
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(NEVER - 1)
}
