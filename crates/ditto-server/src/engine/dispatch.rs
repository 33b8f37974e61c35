//! Sends lines: the slots of the lanes.

use std::sync::Arc;
use std::time::Duration;

use super::Inner;
use super::lane::{Lane, Permit, Taken, Waiting};
use super::pool::{Pool, Starts};
use super::segment::LineJob;
use super::settle::Sending;
use crate::model::throttle::Signal;
use crate::upstream::{Caller, Reply, Request};

/// A slot without work ends after this long; lines that arrive later start another.
const IDLE: Duration = Duration::from_secs(5);
/// How soon a worker that may not send looks at its lease again.
const LEASE_LOOK: Duration = Duration::from_millis(100);

impl Inner {
    /// Hands lines of one segment to their pool and makes sure that its lanes have slots.
    pub(crate) fn dispatch(self: &Arc<Self>, pool: &Arc<Pool>, lines: Vec<LineJob>) {
        let Some(first) = lines.first() else { return };
        let work = Arc::clone(&first.segment.work);
        work.note_pool(pool);
        self.start_slots(pool.push(&work, lines));
    }

    pub(crate) fn start_slots(self: &Arc<Self>, starts: Starts) {
        for (lane, count) in starts {
            for _ in 0..count {
                let (inner, lane) = (Arc::clone(self), Arc::clone(&lane));
                self.slots.spawn(inner.slot(lane));
            }
        }
    }

    /// One slot: take a line, send it, settle it, again.
    async fn slot(self: Arc<Self>, lane: Arc<Lane>) {
        let mut caller = lane.upstream.caller();
        while let Some((job, permit, pool)) = self.rest_for_line(&lane, caller.as_mut()).await {
            let line_id = job.segment.work.line_id(job.number);
            let Some(reply) = self.send(caller.as_mut(), &job, &line_id).await else {
                drop(permit);
                self.cut_off(&job);
                continue;
            };
            let (sent, back) = (permit.sent, self.host.now());
            // The permit is free before the answer is looked at: the next line goes out at once.
            permit.back(signal(&reply), reply.allowance(), back);
            let sending = Sending {
                line_id,
                sent,
                back,
            };
            self.settle((&pool, &lane), job, sending, reply).await;
        }
    }

    /// The next line of the lane, for which its caller rests; `None` once this slot is to end.
    async fn rest_for_line(
        self: &Arc<Self>,
        lane: &Arc<Lane>,
        caller: &mut dyn Caller,
    ) -> Option<(LineJob, Permit, Arc<Pool>)> {
        let mut next = std::pin::pin!(self.next_line(lane));
        // Inside of a block nothing is made for a rest while there is a line at once.
        let rest = async { caller.rest().await };
        tokio::select! {
            biased;
            line = &mut next => line,
            () = rest => next.await,
        }
    }

    /// The next line of the lane; `None` once this slot is to end.
    async fn next_line(self: &Arc<Self>, lane: &Arc<Lane>) -> Option<(LineJob, Permit, Arc<Pool>)> {
        let mut waiting = Waiting::default();
        loop {
            let moved = lane.moved();
            self.room_or_stop().await;
            if self.stop.is_cancelled() {
                lane.stop_slot();
                return None;
            }
            let now = self.host.now();
            let wait = if self.may_send(now) {
                let mut taken = lane.take(now, &mut waiting);
                if let Taken::Line(_, permit, _) = &mut taken {
                    self.start_slots(std::mem::take(&mut permit.starts));
                }
                match taken {
                    // Its segment was given back or lost: whoever has it now sends the line.
                    Taken::Line(job, ..) if job.segment.is_closed() => continue,
                    Taken::Line(job, ..) if job.segment.work.ending().is_some() => {
                        self.cut_off(&job);
                        continue;
                    }
                    Taken::Line(job, permit, pool) => return Some((job, permit, pool)),
                    Taken::Wait(wait) => wait,
                    Taken::End => return None,
                }
            } else {
                Some(LEASE_LOOK)
            };
            let timed_out = tokio::time::timeout(wait.unwrap_or(IDLE).min(IDLE), moved)
                .await
                .is_err();
            if timed_out && wait.is_none() && lane.end_slot(&mut waiting) {
                return None;
            }
        }
    }

    /// What is appended but not durable is bounded: past it nothing is sent. It is waited for before
    /// a line is taken, since a disk may take longer than a lease: whoever holds a line sends it at
    /// once, while it is sure to be ours. A stop does not wait for a disk that refuses.
    async fn room_or_stop(&self) {
        tokio::select! {
            biased;
            () = self.journal.room() => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// The upstream's reply; `None` if the line was cut off by a stop or an ending.
    async fn send(&self, caller: &mut dyn Caller, job: &LineJob, line_id: &str) -> Option<Reply> {
        let work = &job.segment.work;
        let request = Request {
            endpoint: &work.row.endpoint,
            body: job.body.clone(),
            line_id,
        };
        tokio::select! {
            biased;
            // An answer that is there is taken, also at the last moment.
            reply = caller.send(request) => Some(reply),
            () = work.cut_off.cancelled() => None,
        }
    }
}

/// What a reply says of how much its upstream bears.
fn signal(reply: &Reply) -> Signal {
    match reply {
        Reply::Answer {
            status,
            retry_after,
            ..
        } => Signal::of(*status, *retry_after),
        Reply::TooLarge { .. } => Signal::Answered,
        Reply::Timeout | Reply::Unreachable { .. } => Signal::Failed,
    }
}
