//! The segments that this worker has in hand: from their lease on, until they are sealed, given
//! back or lost. What the catalog takes for ours and is not among them waits for nobody.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use super::lock;
use crate::catalog::SegmentKey;

/// All that are in hand.
#[derive(Debug, Default)]
pub(crate) struct Hand(Arc<Mutex<BTreeSet<(SegmentKey, u32)>>>);

/// One of them, under one lease; dropped, it is out of hand.
#[derive(Debug)]
pub(crate) struct InHand {
    all: Arc<Mutex<BTreeSet<(SegmentKey, u32)>>>,
    lease: (SegmentKey, u32),
}

impl Hand {
    pub(crate) fn take(&self, key: SegmentKey, epoch: u32) -> InHand {
        let lease = (key, epoch);
        lock(&self.0).insert(lease);
        InHand {
            all: Arc::clone(&self.0),
            lease,
        }
    }

    /// Of the leases that the catalog knows as ours, those that nobody here works on.
    pub(crate) fn missing(&self, owned: &BTreeSet<(SegmentKey, u32)>) -> Vec<(SegmentKey, u32)> {
        owned.difference(&lock(&self.0)).copied().collect()
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        lock(&self.all).remove(&self.lease);
    }
}
