//! Renews the lease each second, publishes counts with it, and brings back what has changed.

use std::sync::Arc;
use std::time::Duration;

use super::{Inner, LEASE, lock};
use crate::catalog::{Publication, Renewal};
use crate::clock::boot_time;

/// As `readyz` names it.
const STEP: &str = "renewing the lease";
/// Published numbers are at most this old.
const EVERY: Duration = Duration::from_secs(1);

impl Inner {
    /// Duty: one renewal a second, at once after a cancel, until the drain is over.
    pub(crate) async fn renew_lease(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.renew_now.notified() => {}
                // What is in flight during the drain ends within the grace, well within a lease.
                () = self.stop.cancelled() => return,
            }
            self.renew().await;
        }
    }

    async fn renew(self: &Arc<Self>) {
        let open: Vec<_> = lock(&self.segments).values().cloned().collect();
        let publications: Vec<Publication> = open
            .iter()
            .filter_map(|segment| segment.publication())
            .collect();
        let sent = boot_time();
        match self
            .catalog
            .renew(&self.incarnation, LEASE, &publications)
            .await
        {
            Ok(renewal) => {
                self.storage_works(STEP);
                if renewal.held {
                    self.lease_runs_from(sent);
                }
                self.take_in(renewal, &open);
            }
            // Until half the lease is over lines go on; then nothing new is sent.
            Err(error) => self.storage_refused(STEP, &error),
        }
        if !publications.is_empty() {
            self.announce();
        }
    }

    fn take_in(self: &Arc<Self>, renewal: Renewal, open: &[Arc<super::segment::OpenSegment>]) {
        for (batch, ending) in renewal.endings {
            self.end_batch(batch, ending);
        }
        if !renewal.held {
            tracing::error!("our lease was taken: every open segment belongs to others now");
        }
        for segment in open {
            if !renewal.held || renewal.lost.contains(&segment.key) {
                segment.close();
                self.forget(segment.key, segment.epoch);
                drop(self.lanes.take(|job| job.segment.key == segment.key));
            }
        }
    }
}
