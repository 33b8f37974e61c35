//! What an engine takes from the machine it runs on: a steady time, and threads to compute on.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{BootTime, Steady};
use crate::error::{Error, Result};

/// The machine, or a simulated one.
#[derive(Clone)]
pub(crate) struct Host {
    steady: Arc<dyn Steady>,
    threads: Threads,
}

/// Where work for a processor runs.
#[derive(Debug, Clone, Copy)]
enum Threads {
    /// On threads of their own: those that serve sockets must not wait for it.
    Pool,
    /// Here and now, so that a simulated run is one thread and one order of events.
    #[cfg_attr(not(test), expect(dead_code, reason = "for simulated runs"))]
    Inline,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl Host {
    /// This machine.
    pub(crate) fn machine() -> Self {
        Self {
            steady: Arc::new(BootTime),
            threads: Threads::Pool,
        }
    }

    /// One thread, and whatever time it is told.
    #[cfg(test)]
    pub(crate) fn simulated(steady: Arc<dyn Steady>) -> Self {
        Self {
            steady,
            threads: Threads::Inline,
        }
    }

    /// Steady time, on which leases, pauses and deadlines are counted.
    pub(crate) fn now(&self) -> Duration {
        self.steady.now()
    }

    /// Runs what keeps a processor busy for milliseconds, away from the threads that serve sockets.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        match self.threads {
            Threads::Inline => work.await,
            Threads::Pool => {
                let runtime = tokio::runtime::Handle::current();
                tokio::task::spawn_blocking(move || runtime.block_on(work))
                    .await
                    .map_err(|e| Error::storage("work on the input was ended", e))?
            }
        }
    }
}
