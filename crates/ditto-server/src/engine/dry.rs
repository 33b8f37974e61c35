//! Batches that ran dry: a lane that had lines of them has few or none any more.
//!
//! Each gets its next segments, whosever turn it is and however much waits of others: a batch must
//! not stand still for want of a lease.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;

use super::lock;
use crate::catalog::DryBatch;

/// Those that are to be leased for, in the order in which they ran dry.
#[derive(Debug, Default)]
pub(crate) struct Dry(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    known: BTreeSet<DryBatch>,
    order: VecDeque<DryBatch>,
}

impl Dry {
    /// This one ran dry, or has just begun.
    pub(crate) fn note(&self, batch: DryBatch) {
        let mut noted = lock(&self.0);
        if noted.known.insert(batch.clone()) {
            noted.order.push_back(batch);
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        lock(&self.0).order.len()
    }

    /// The first so many, which are no longer noted.
    pub(crate) fn take(&self, most: usize) -> Vec<DryBatch> {
        let mut noted = lock(&self.0);
        let most = most.min(noted.order.len());
        let taken: Vec<_> = noted.order.drain(..most).collect();
        for batch in &taken {
            noted.known.remove(batch);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_noted_once_and_taken_in_order() {
        let [one, two, three] = [1, 2, 3].map(|batch| DryBatch { batch, lane: None });
        let dry = Dry::default();
        for batch in [&three, &one, &three, &two] {
            dry.note(batch.clone());
        }
        assert_eq!(dry.count(), 3);
        assert_eq!(dry.take(2), [three.clone(), one]);
        dry.note(three.clone());
        assert_eq!(dry.take(9), [two, three]);
        assert!(dry.take(9).is_empty());
    }
}
