//! Parks segments whose lines all wait for a lane that has been paused for long: the journal is
//! flushed and the lease given back, so that their memory serves lines that can be sent. One
//! segment of a paused lane stays open: its lines are the probes that find out when it is back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Inner;
use super::lane::Lane;
use super::lease::is_cramped;
use super::segment::{LineJob, OpenSegment};
use crate::catalog::{Cut, SegmentKey};

/// As `readyz` names it.
const STEP: &str = "parking a segment";
/// A lane that is paused for less than this may be back before a segment could be taken up again.
const PAUSED_FOR: Duration = Duration::from_secs(30);
/// The same while lines of other lanes need the room that these segments take.
const PAUSED_FOR_IF_CRAMPED: Duration = Duration::from_secs(2);
/// A parked segment is taken up again after this long.
const PARKED_FOR: Duration = Duration::from_secs(30);

impl Inner {
    /// Looks once over the paused lanes.
    pub(crate) async fn park_waiting(self: &Arc<Self>) {
        let now = self.host.now();
        let long = match is_cramped(self.stock(now)) {
            true => PAUSED_FOR_IF_CRAMPED,
            false => PAUSED_FOR,
        };
        for lane in self.lanes.paused_for(long, now) {
            let mut by_segment: BTreeMap<SegmentKey, Vec<LineJob>> = BTreeMap::new();
            for job in lane.take_ready(&|_| true) {
                by_segment.entry(job.segment.key).or_default().push(job);
            }
            let mut segments = by_segment.into_values();
            if let Some(probes) = segments.next() {
                self.wait_on(&lane, probes);
            }
            for jobs in segments {
                self.park_or_wait(&lane, jobs).await;
            }
        }
    }

    async fn park_or_wait(self: &Arc<Self>, lane: &Arc<Lane>, jobs: Vec<LineJob>) {
        let Some(segment) = jobs.first().map(|job| Arc::clone(&job.segment)) else {
            return;
        };
        if segment.unsettled() == jobs.len() && segment.close() {
            drop(jobs);
            self.park(&segment).await;
        } else {
            // Some of its lines are in flight, wait for a retry, or for another lane.
            self.wait_on(lane, jobs);
        }
    }

    fn wait_on(self: &Arc<Self>, lane: &Arc<Lane>, mut jobs: Vec<LineJob>) {
        // In the order of the lane: the next probe is a line that was put back least.
        jobs.sort_by_key(|job| (job.put_backs, job.ordinal));
        self.dispatch(lane, jobs);
    }

    /// Flushes and gives back. If we stop before the last call, the lease runs out and the next
    /// owner fences the part.
    async fn park(&self, segment: &Arc<OpenSegment>) {
        let cut = Cut {
            epoch: segment.epoch,
            length: segment.part.flushed().await,
        };
        // Out of the books first: an ending may bring it back at once, under a new epoch.
        self.forget(segment.key, segment.epoch);
        match self
            .catalog
            .park(&self.incarnation, segment.key, cut, PARKED_FOR)
            .await
        {
            Ok(_) => self.storage_works(STEP),
            Err(error) => self.storage_refused(STEP, &error),
        }
        self.wake();
    }
}
