//! Lines that wait in a pool: for a slot, by batch, or for the time of a retry.
//!
//! Whose line is next is decided by `model::turn`, in turns of some lines.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::retries::Retries;
use super::segment::LineJob;
use super::work::Work;
use crate::model::retry_budget::RetryBudget;
use crate::model::turn::{Candidate, Turn};

/// Lines of one batch that are taken in one turn: the request prefixes of neighbours are alike.
pub(crate) const TURN_LINES: u32 = 32;

/// The lines of a pool that are not in flight.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    batches: Vec<Waiting>,
    turn: Turn,
    /// The batch whose turn it is, and lines left in it.
    current: Option<(i64, u32)>,
    /// Lines to be sent again that cost something of the lane's budget for it, and those that do not.
    retries: Retries,
    free_retries: Retries,
}

/// Lines of one batch that wait for a slot.
#[derive(Debug)]
struct Waiting {
    batch: i64,
    work: Arc<Work>,
    lines: VecDeque<LineJob>,
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
        self.batches.is_empty() && self.retries.is_empty() && self.free_retries.is_empty()
    }

    /// Lines that wait for a slot.
    pub(crate) fn ready(&self) -> usize {
        let ready = self.batches.iter().map(|waiting| waiting.lines.len());
        ready.sum()
    }

    /// All of them.
    pub(crate) fn lines(&self) -> usize {
        self.ready() + self.retries.len() + self.free_retries.len()
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
        match job.retry_is_free {
            true => self.free_retries.push(job, at),
            false => self.retries.push(job, at),
        }
    }

    /// When to ask again if nothing comes.
    pub(crate) fn next_retry(&self, budget: &mut RetryBudget, now: Duration) -> Option<Duration> {
        let allowed = budget.waits_until(self.batches.is_empty(), now);
        let paid = self.retries.first().map(|at| at.max(allowed.unwrap_or(at)));
        [paid, self.free_retries.first()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next line: a retry that is due and may be, else by turns. A probe is another line than the
    /// ones before, and costs nothing.
    pub(crate) fn next(
        &mut self,
        is_probe: bool,
        budget: &mut RetryBudget,
        now: Duration,
    ) -> Option<Next> {
        if is_probe && let Some(place) = self.least_put_back() {
            return self.pop(place);
        }
        let again = |job| Next {
            job,
            was_ready: false,
            left: usize::MAX,
        };
        if self.free_retries.is_due(now) {
            return self.free_retries.pop().map(again);
        }
        if self.retries.is_due(now) {
            let alone = self.batches.is_empty();
            if is_probe || budget.waits_until(alone, now).is_none() {
                budget.retried(now);
                return self.retries.pop().map(again);
            }
        }
        self.next_by_turn()
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
        let mut taken = self.retries.take(wanted);
        taken.extend(self.free_retries.take(wanted));
        taken
    }

    /// The batch whose first line was put back the fewest times.
    fn least_put_back(&self) -> Option<usize> {
        let put_backs = |waiting: &Waiting| waiting.lines.front().map_or(0, |job| job.put_backs);
        (0..self.batches.len()).min_by_key(|place| put_backs(&self.batches[*place]))
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
        let lines = turn_of(self.batches[place].lines.len());
        self.turn.charge(chosen.tenant, u64::from(lines));
        self.current = Some((chosen.id, lines - 1));
        Some(place)
    }
}

/// Lines of a turn. A few that would be left behind it come along: a whole turn of somebody else for
/// them is what a small batch would wait for most.
fn turn_of(waiting: usize) -> u32 {
    match u32::try_from(waiting) {
        Ok(few) if (TURN_LINES..=TURN_LINES + TURN_LINES / 2).contains(&few) => few,
        _ => TURN_LINES,
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
