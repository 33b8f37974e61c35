//! Ends batches early, by cancel or expiry: what waits is given up, what is in flight gets a grace.
//! Lines that were never leased are written by fillers, see [`filler`](super::filler).

use std::sync::Arc;

use super::Inner;
use super::work::Work;
use crate::error::Result;
use crate::model::batch::Ending;

impl Inner {
    /// An ending was brought by a renewal.
    pub(crate) fn end_batch(self: &Arc<Self>, batch: i64, ending: Ending) {
        let Some(work) = self.works.get(batch) else {
            return;
        };
        if !work.end(ending) {
            return;
        }
        tracing::info!(
            batch = work.row.id,
            ending = ending.as_str(),
            "batch is ending"
        );
        self.end_waiting_lines(batch);
        let (grace, stop) = (self.config.sending.grace, self.stop.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = tokio::time::sleep(grace) => work.cut_off.cancel(),
                () = stop.cancelled() => {}
            }
        });
    }

    /// Asks the catalog how the batch is ending, ahead of the next renewal.
    pub(crate) async fn learn_ending(self: &Arc<Self>, work: &Work) -> Result<()> {
        if work.ending().is_none()
            && let Some(row) = self.catalog.leased_batch(work.row.key).await?
            && let Some(ending) = row.ending
        {
            self.end_batch(row.key, ending);
        }
        Ok(())
    }

    /// Lines of the batch that wait in a lane are not sent any more.
    pub(crate) fn end_waiting_lines(&self, batch: i64) {
        for job in self.lanes.take(|job| job.segment.key.batch == batch) {
            self.cut_off(&job);
        }
    }
}
