//! Lines that wait for one lane: for a slot, by batch, or for the time of a retry.
//!
//! Whose line is next is decided by `model::turn`, in turns of some lines.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::segment::LineJob;
use super::work::Work;
use crate::model::turn::{Candidate, Turn};

/// Lines of one batch that are taken in one turn: the request prefixes of neighbours are alike.
pub(crate) const TURN_LINES: u32 = 32;

/// The lines of a lane that are not in flight.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    batches: Vec<Waiting>,
    turn: Turn,
    /// The batch whose turn it is, and lines left in it.
    current: Option<(i64, u32)>,
    retries: BinaryHeap<Reverse<Retry>>,
    retry_number: u64,
}

/// Lines of one batch that wait for a slot.
#[derive(Debug)]
struct Waiting {
    batch: i64,
    work: Arc<Work>,
    lines: VecDeque<LineJob>,
}

/// A line that may be sent again at a time. Ties are broken by age.
#[derive(Debug)]
struct Retry {
    at: Duration,
    number: u64,
    job: LineJob,
}

impl PartialEq for Retry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Retry {}
impl PartialOrd for Retry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Retry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A line to be sent.
pub(crate) struct Next {
    pub(crate) job: LineJob,
    /// It waited for a slot, not for a retry.
    pub(crate) was_ready: bool,
    /// Lines of its batch that wait behind it for a slot.
    pub(crate) left: usize,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.retries.is_empty()
    }

    /// Lines that wait for a slot.
    pub(crate) fn ready(&self) -> usize {
        let ready = self.batches.iter().map(|waiting| waiting.lines.len());
        ready.sum()
    }

    /// All of them.
    pub(crate) fn lines(&self) -> usize {
        self.ready() + self.retries.len()
    }

    /// Adds lines of one batch behind its others, in order.
    pub(crate) fn push(&mut self, work: &Arc<Work>, lines: impl IntoIterator<Item = LineJob>) {
        let batch = work.row.key;
        match self.batches.iter_mut().find(|w| w.batch == batch) {
            Some(waiting) => waiting.lines.extend(lines),
            None => self.batches.push(Waiting {
                batch,
                work: Arc::clone(work),
                lines: lines.into_iter().collect(),
            }),
        }
    }

    /// A line that may be sent again at this time.
    pub(crate) fn retry(&mut self, job: LineJob, at: Duration) {
        self.retry_number += 1;
        let number = self.retry_number;
        self.retries.push(Reverse(Retry { at, number, job }));
    }

    /// When the next retry is due.
    pub(crate) fn next_retry(&self) -> Option<Duration> {
        self.retries.peek().map(|Reverse(retry)| retry.at)
    }

    /// The next line: a retry that is due, else by turns. A probe is another line than the ones before.
    pub(crate) fn next(&mut self, is_probe: bool, now: Duration) -> Option<Next> {
        if is_probe && let Some(place) = self.least_put_back() {
            return self.pop(place);
        }
        self.due_retry(now).or_else(|| self.next_by_turn())
    }

    /// The lines for which this holds, taken out, with those that wait for a retry.
    pub(crate) fn take(&mut self, wanted: &impl Fn(&LineJob) -> bool) -> Vec<LineJob> {
        let mut taken = self.take_ready(wanted);
        let retries = self.take_retries(wanted);
        taken.extend(retries.into_iter().map(|(job, _)| job));
        taken
    }

    /// Those that wait for a slot alone.
    pub(crate) fn take_ready(&mut self, wanted: &impl Fn(&LineJob) -> bool) -> Vec<LineJob> {
        let mut taken = Vec::new();
        for waiting in &mut self.batches {
            let (out, stay): (VecDeque<_>, _) = waiting.lines.drain(..).partition(wanted);
            waiting.lines = stay;
            taken.extend(out);
        }
        self.batches.retain(|waiting| !waiting.lines.is_empty());
        taken
    }

    /// Those that wait for a retry, each with its time.
    pub(crate) fn take_retries(
        &mut self,
        wanted: &impl Fn(&LineJob) -> bool,
    ) -> Vec<(LineJob, Duration)> {
        let (out, stay): (Vec<_>, Vec<_>) = std::mem::take(&mut self.retries)
            .into_iter()
            .partition(|Reverse(retry)| wanted(&retry.job));
        self.retries = stay.into();
        let out = out.into_iter().map(|Reverse(retry)| (retry.job, retry.at));
        out.collect()
    }

    /// The batch whose first line was put back the fewest times.
    fn least_put_back(&self) -> Option<usize> {
        let put_backs = |waiting: &Waiting| waiting.lines.front().map_or(0, |job| job.put_backs);
        (0..self.batches.len()).min_by_key(|place| put_backs(&self.batches[*place]))
    }

    fn due_retry(&mut self, now: Duration) -> Option<Next> {
        self.retries
            .peek()
            .filter(|Reverse(retry)| retry.at <= now)?;
        self.retries.pop().map(|Reverse(retry)| Next {
            job: retry.job,
            was_ready: false,
            left: usize::MAX,
        })
    }

    /// A line of the batch whose turn it is; turns are runs of [`TURN_LINES`].
    fn next_by_turn(&mut self) -> Option<Next> {
        let place = match self.batches.as_slice() {
            [] => return None,
            [_] => 0,
            _ => self.whose_turn()?,
        };
        self.pop(place)
    }

    fn pop(&mut self, place: usize) -> Option<Next> {
        let waiting = self.batches.get_mut(place)?;
        let job = waiting.lines.pop_front();
        let left = waiting.lines.len();
        if left == 0 {
            self.batches.swap_remove(place);
        }
        job.map(|job| Next {
            job,
            was_ready: true,
            left,
        })
    }

    fn whose_turn(&mut self) -> Option<usize> {
        if let Some((batch, left @ 1..)) = self.current
            && let Some(place) = self.batches.iter().position(|w| w.batch == batch)
        {
            self.current = Some((batch, left - 1));
            return Some(place);
        }
        let candidates: Vec<_> = self.batches.iter().map(Waiting::candidate).collect();
        let place = self.turn.pick(&candidates)?;
        let chosen = &candidates[place];
        self.turn.charge(chosen.tenant, u64::from(TURN_LINES));
        self.current = Some((chosen.id, TURN_LINES - 1));
        Some(place)
    }
}

impl Waiting {
    fn candidate(&self) -> Candidate {
        let row = &self.work.row;
        Candidate {
            tenant: self.work.tenant,
            deadline: row.expires_at.map(|at| at.saturating_mul(1000)),
            age: row.key,
            left: row.total.saturating_sub(row.completed + row.failed),
            id: self.batch,
        }
    }
}
