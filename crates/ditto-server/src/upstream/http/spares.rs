//! Connections of callers that have ended, for those that come.
//!
//! Where a lane keeps to a pace its slots come and go with each line; without this each line would
//! make a connection, and greet by TLS.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::caller::IDLE;
use super::connection::Connection;

/// A connection is made only when none is here, so there are never more than there were callers at
/// once. They are closed when the last caller is gone.
#[derive(Default)]
pub(super) struct Spares(Mutex<Vec<Spare>>);

struct Spare {
    connection: Connection,
    since: Instant,
}

impl Spares {
    pub(super) fn put(&self, connection: Connection) {
        let since = Instant::now();
        self.recent(since).push(Spare { connection, since });
    }

    /// The one that was used last: it is the least likely to be closed.
    pub(super) fn take(&self) -> Option<Connection> {
        let last = self.recent(Instant::now()).pop();
        last.map(|spare| spare.connection)
    }

    /// Closes those that have been here for too long.
    pub(super) fn look(&self) {
        drop(self.recent(Instant::now()));
    }

    fn recent(&self, now: Instant) -> MutexGuard<'_, Vec<Spare>> {
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spares.retain(|spare| now.duration_since(spare.since) < IDLE);
        spares
    }
}
