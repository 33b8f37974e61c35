//! Lines that may be sent again at a time, the first to be due first; of those due at once the oldest.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

use super::segment::LineJob;

#[derive(Debug, Default)]
pub(crate) struct Retries {
    heap: BinaryHeap<Reverse<Retry>>,
    number: u64,
}

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
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Retry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl Retries {
    pub(crate) fn push(&mut self, job: LineJob, at: Duration) {
        self.number += 1;
        let number = self.number;
        self.heap.push(Reverse(Retry { at, number, job }));
    }

    /// When the first is due.
    pub(crate) fn first(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse(retry)| retry.at)
    }

    pub(crate) fn is_due(&self, now: Duration) -> bool {
        self.first().is_some_and(|at| at <= now)
    }

    pub(crate) fn pop(&mut self) -> Option<LineJob> {
        self.heap.pop().map(|Reverse(retry)| retry.job)
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Those for which this holds, taken out, each with its time.
    pub(crate) fn take(&mut self, wanted: &impl Fn(&LineJob) -> bool) -> Vec<(LineJob, Duration)> {
        let (out, stay): (Vec<_>, Vec<_>) = std::mem::take(&mut self.heap)
            .into_iter()
            .partition(|Reverse(retry)| wanted(&retry.job));
        self.heap = stay.into();
        let out = out.into_iter().map(|Reverse(retry)| (retry.job, retry.at));
        out.collect()
    }
}
