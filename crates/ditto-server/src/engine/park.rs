//! Parks segments whose lines all wait for lanes that have been paused for long: the journal is
//! flushed and the lease given back, so that their memory serves lines that can be sent. One
//! segment of a paused lane stays open: its lines are the probes that find out when it is back, and
//! then the others come back too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::Inner;
use super::lane::Lane;
use super::lease::is_cramped;
use super::segment::{LineJob, OpenSegment};
use crate::catalog::{LaneMark, SegmentKey, Until};

/// As `readyz` names it.
const STEP: &str = "parking a segment";
/// A lane that is paused for less than this part of the patience with it, 30 s as shipped, may be back
/// before a segment could be taken up again.
const OF_PATIENCE: u32 = 120;
/// At most so long while lines of other lanes need the room that these segments take.
const PAUSED_FOR_IF_CRAMPED: Duration = Duration::from_secs(2);
/// Segments that are put down side by side: their syncs are one.
const PARKERS: usize = 16;

/// Lines of one segment, taken out of paused lanes, each with the place of its lane.
type Waiting = Vec<(usize, LineJob)>;

impl Inner {
    /// Looks once over the paused lanes.
    pub(crate) async fn park_waiting(self: &Arc<Self>) {
        let now = self.host.now();
        let long = self.config.sending.patience / OF_PATIENCE;
        let long = match is_cramped(self.stock(now)) {
            true => long.min(PAUSED_FOR_IF_CRAMPED),
            false => long,
        };
        let lanes = self.lanes.paused_for(long, now);
        let parked = self.choose(&lanes);
        stream::iter(parked)
            .for_each_concurrent(PARKERS, |(segment, mark)| self.park(segment, mark))
            .await;
    }

    /// The segments to be parked, closed, each with the lane that it waits for. All other lines are
    /// back where they were.
    fn choose(self: &Arc<Self>, lanes: &[Arc<Lane>]) -> Vec<(Arc<OpenSegment>, LaneMark)> {
        let mut waiting: BTreeMap<SegmentKey, Waiting> = BTreeMap::new();
        for (place, lane) in lanes.iter().enumerate() {
            for job in lane.take_ready(&|_| true) {
                let jobs = waiting.entry(job.segment.key).or_default();
                jobs.push((place, job));
            }
        }
        let mut probed = BTreeSet::new();
        let mut stay: Vec<Vec<LineJob>> = lanes.iter().map(|_| Vec::new()).collect();
        let mut parked = Vec::new();
        for jobs in waiting.into_values() {
            let needed = jobs.iter().any(|(place, _)| !probed.contains(place));
            match jobs.first() {
                Some((place, job)) if !needed && can_park(&job.segment, jobs.len()) => {
                    parked.push((Arc::clone(&job.segment), lanes[*place].mark()));
                }
                _ => {
                    for (place, job) in jobs {
                        probed.insert(place);
                        stay[place].push(job);
                    }
                }
            }
        }
        for (lane, mut jobs) in lanes.iter().zip(stay) {
            // In the order of the lane: the next probe is a line that was put back least.
            jobs.sort_by_key(|job| (job.put_backs, job.segment.key, job.ordinal));
            self.wait_on(lane, jobs);
        }
        parked
    }

    /// Lines of one batch after the other.
    fn wait_on(self: &Arc<Self>, lane: &Arc<Lane>, jobs: Vec<LineJob>) {
        let mut by_batch: BTreeMap<i64, Vec<LineJob>> = BTreeMap::new();
        for job in jobs {
            by_batch.entry(job.segment.key.batch).or_default().push(job);
        }
        for jobs in by_batch.into_values() {
            self.dispatch(lane, jobs);
        }
    }

    /// Flushes and gives back. If we stop before the last call, the lease runs out and the next
    /// owner fences the part.
    async fn park(&self, segment: Arc<OpenSegment>, mark: LaneMark) {
        segment.work.has_parked.store(true, Ordering::Release);
        let length = segment.part.flushed().await;
        let put_down = segment.put_down(length, Until::Open(mark));
        // Out of the books first: an ending may bring it back at once, under a new epoch.
        self.forget(segment.key, segment.epoch);
        let parked = self
            .catalog
            .park(&self.incarnation, segment.key, put_down)
            .await;
        match parked {
            Ok(_) => self.storage_works(STEP),
            Err(error) => self.storage_refused(STEP, &error),
        }
        self.wake();
    }
}

/// Whether these are all that is left of it, so that none is in flight, waits for a retry, or for a
/// lane that is open. It is closed then.
fn can_park(segment: &OpenSegment, waiting: usize) -> bool {
    segment.unsettled() == waiting && segment.close()
}
