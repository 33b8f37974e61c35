//! Renews the lease each second, publishes counts with it, and brings back what has changed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::segment::OpenSegment;
use super::{Inner, LEASE, lock};
use crate::catalog::{Renewal, SegmentKey};

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
                biased;
                // What is in flight during the drain ends within the grace, well within a lease.
                () = self.stop.cancelled() => return,
                _ = ticks.tick() => {}
                () = self.renew_now.notified() => {}
            }
            self.renew().await;
        }
    }

    async fn renew(self: &Arc<Self>) {
        let open: Vec<_> = lock(&self.segments).values().cloned().collect();
        let (changed, publications): (Vec<_>, Vec<_>) = open
            .iter()
            .filter_map(|segment| Some((segment, segment.publication()?)))
            .unzip();
        let sent = self.host.now();
        let quiet = !self.leasing.load(Ordering::Acquire);
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
                for (segment, publication) in changed.iter().zip(&publications) {
                    segment.published(publication);
                }
                let owned = self.take_in(renewal, &open);
                // Not while the answer to a lease may be under way: it is ours, and not in hand yet.
                if quiet && !self.leasing.load(Ordering::Acquire) {
                    self.let_go_of_the_rest(&owned).await;
                }
            }
            // Until half the lease is over lines go on; then nothing new is sent.
            Err(error) => self.storage_refused(STEP, &error),
        }
        if !publications.is_empty() {
            self.announce();
        }
    }

    /// The segment is another's. If it was closed, it was sealed or given back meanwhile, which is
    /// why the catalog does not know it as ours.
    fn lose(&self, segment: &Arc<OpenSegment>) {
        if segment.close() {
            tracing::warn!(segment = %segment.key, "another worker has taken this segment");
            self.forget(segment.key, segment.epoch);
            drop(self.lanes.take(|job| Arc::ptr_eq(&job.segment, segment)));
        }
    }

    /// Lets go of what the catalog takes for ours and nobody here works on: the answer to its lease
    /// was lost, or it could not be given back. As long as we live its lease would not run out.
    async fn let_go_of_the_rest(&self, owned: &BTreeSet<(SegmentKey, u32)>) {
        for (key, epoch) in self.hand.missing(owned) {
            match self.catalog.let_go(&self.incarnation, key, epoch).await {
                Ok(()) => tracing::debug!(segment = %key, "let go"),
                Err(error) => return self.storage_refused(STEP, &error),
            }
        }
    }

    /// The segments that are ours.
    fn take_in(
        self: &Arc<Self>,
        renewal: Renewal,
        open: &[Arc<OpenSegment>],
    ) -> BTreeSet<(SegmentKey, u32)> {
        for (batch, ending) in renewal.endings {
            self.end_batch(batch, ending);
        }
        if !renewal.held {
            tracing::error!("our lease was taken: every open segment belongs to others now");
        }
        let owned: BTreeSet<_> = renewal.owned.into_iter().collect();
        for segment in open {
            if !owned.contains(&(segment.key, segment.epoch)) {
                self.lose(segment);
            }
        }
        owned
    }
}
