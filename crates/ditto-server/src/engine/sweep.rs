//! Sweeps: windows that are over, files whose time has come, lanes and batches nobody uses.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Inner;
use crate::blobs::name;
use crate::error::Result;

/// A window ends at most this late.
const EVERY: Duration = Duration::from_secs(1);
/// Bytes go at most this late, in ticks of [`EVERY`].
const FILES_EVERY: u32 = 60;
/// Files swept in one round, so that a round is short.
const BATCH: u32 = 256;

impl Inner {
    /// Duty: the clean-up that nobody waits for.
    pub(crate) async fn sweep(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut round = 0u32;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            // Here and not beside the renewal: its flush may wait for a disk that refuses.
            self.park_waiting().await;
            let done = async {
                self.end_windows().await?;
                self.sweep_litter().await?;
                if round.is_multiple_of(FILES_EVERY)
                    && let Some(_pass) = self.hold.pass()
                {
                    self.sweep_files().await?;
                    self.sweep_batches().await?;
                    while self.catalog.forget_creates(BATCH).await? == BATCH {}
                    self.forget_unused();
                }
                Ok::<(), crate::error::Error>(())
            };
            if let Err(error) = done.await {
                tracing::error!(%error, "sweeping failed; it is tried again");
            }
            round = round.wrapping_add(1);
        }
    }

    async fn end_windows(&self) -> Result<()> {
        if self.catalog.expire_due().await? > 0 {
            self.fillable.store(true, Ordering::Release);
            self.renew_now.notify_one();
            self.lanes.hungry.store(true, Ordering::Release);
            self.wake();
        }
        Ok(())
    }

    /// Bytes first, then the row: what a crash leaves is swept again.
    pub(crate) async fn sweep_files(&self) -> Result<()> {
        for file in self.catalog.sweepable_files(BATCH).await? {
            self.blobs.delete_below(&name::file(&file.id)).await?;
            self.catalog.file_swept(&file.id).await?;
        }
        Ok(())
    }

    pub(crate) async fn sweep_batches(&self) -> Result<()> {
        for batch in self.catalog.sweepable_batches(BATCH).await? {
            self.blobs.delete_below(&name::batch(&batch.id)).await?;
            self.catalog.batch_swept(batch.key).await?;
        }
        Ok(())
    }

    fn forget_unused(&self) {
        self.lanes.forget_unused();
        self.works.forget_unused();
    }
}
