//! Batches that stand still because something of theirs is gone from the disk: what, and what to do.
//!
//! It is tried again for as long as the server runs, so that a file that is put back is enough. The
//! reason can be read meanwhile: nothing stands still without one. Other batches go on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use super::{Inner, lock};
use crate::catalog::SegmentKey;
use crate::error::Error;

/// Reasons that are told at once: who has read these knows what is wrong.
const TOLD: usize = 20;

/// What stands still, by place; bounded by the open segments and the batches that end.
#[derive(Debug, Default)]
pub(crate) struct Stuck(Mutex<BTreeMap<Place, String>>);

/// Batches that ended although their results do not cover their input: a fault of ours, told until
/// somebody has looked and started the server again. At most [`TOLD`] of them.
#[derive(Debug, Default)]
pub(crate) struct BrokenBatches(Mutex<BTreeSet<String>>);

impl BrokenBatches {
    fn note(&self, sentence: String) {
        let mut broken = lock(&self.0);
        if broken.len() < TOLD {
            broken.insert(sentence);
        }
    }

    /// What to say of them, if there are any.
    pub(crate) fn sentence(&self) -> Option<String> {
        let broken = lock(&self.0);
        (!broken.is_empty()).then(|| broken.iter().cloned().collect::<Vec<_>>().join("; "))
    }
}

/// A segment, or the end of a batch.
type Place = (i64, Option<u32>);

impl Stuck {
    /// True if this is news.
    fn note(&self, place: Place, reason: String) -> bool {
        lock(&self.0).insert(place, reason.clone()) != Some(reason)
    }

    fn forget(&self, place: Place) {
        lock(&self.0).remove(&place);
    }

    fn forget_batch(&self, batch: i64) {
        lock(&self.0).retain(|place, _| place.0 != batch);
    }

    /// Each reason once.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let reasons: BTreeSet<_> = lock(&self.0).values().cloned().collect();
        reasons.into_iter().take(TOLD).collect()
    }
}

impl Inner {
    /// A segment cannot be opened, and waiting alone will not mend it.
    pub(crate) async fn segment_is_stuck(&self, key: SegmentKey, error: &Error) {
        // Its number if the catalog does not answer: the reason is what counts.
        let row = self.catalog.leased_batch(key.batch).await.ok().flatten();
        let id = row.map_or_else(|| key.batch.to_string(), |row| row.id);
        self.stands_still((key.batch, Some(key.index)), &id, error);
    }

    /// A batch cannot be ended, and waiting alone will not mend it.
    pub(crate) fn end_is_stuck(&self, batch: i64, id: &str, error: &Error) {
        self.stands_still((batch, None), id, error);
    }

    fn stands_still(&self, place: Place, id: &str, error: &Error) {
        let reason = format!("batch {id} stands still: {error}");
        if self.stuck.note(place, reason.clone()) {
            tracing::error!(
                reason,
                "a batch needs a person; it is tried again meanwhile"
            );
            self.announce();
        }
    }

    /// A batch ended `failed` by a fault of ours.
    pub(crate) fn batch_is_broken(&self, id: &str, fault: &str) {
        tracing::error!(
            batch = id,
            fault,
            "the results of a batch do not cover its input; it ended failed, with what there is in its two files"
        );
        self.broken.note(format!(
            "the results of batch {id} do not cover its input ({fault}); what there is stands in its two files and other batches are not touched: report this, keep the data folder, then start the server again"
        ));
    }

    pub(crate) fn segment_moves(&self, key: SegmentKey) {
        self.stuck.forget((key.batch, Some(key.index)));
    }

    pub(crate) fn batch_has_ended(&self, batch: i64) {
        self.works.forget(batch);
        self.stuck.forget_batch(batch);
    }
}
