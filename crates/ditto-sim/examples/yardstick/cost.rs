//! What a piece of work cost this process: seconds by the clock, and seconds of its processors.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Running since it was made.
pub(crate) struct Cost {
    begun: Instant,
    cpu: Duration,
}

impl Cost {
    pub(crate) fn start() -> Self {
        Self {
            begun: Instant::now(),
            cpu: cpu(),
        }
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    pub(crate) fn cpu_seconds(&self) -> f64 {
        (cpu() - self.cpu).as_secs_f64()
    }
}

/// Of all threads of this process.
fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(spent.tv_sec).unwrap_or_default(),
        u32::try_from(spent.tv_nsec).unwrap_or_default(),
    )
}
