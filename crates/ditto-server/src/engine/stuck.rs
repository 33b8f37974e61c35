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

    pub(crate) fn segment_moves(&self, key: SegmentKey) {
        self.stuck.forget((key.batch, Some(key.index)));
    }

    pub(crate) fn batch_has_ended(&self, batch: i64) {
        self.works.forget(batch);
        self.stuck.forget_batch(batch);
    }
}
