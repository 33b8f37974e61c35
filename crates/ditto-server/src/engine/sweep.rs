//! Sweeps: windows that are over, lanes and batches nobody uses, and in rounds of their own what may
//! go from the store.

use std::sync::Arc;
use std::time::Duration;

use super::Inner;
use crate::blobs::Blobs;
use crate::catalog::{Catalog, Keep};
use crate::config::Config;
use crate::error::Result;
use crate::hold::Hold;
use crate::journal::Journal;
use crate::sweep::{Act, Notice, READERS, Survey, Sweeper};

/// A window ends at most this late.
const EVERY: Duration = Duration::from_secs(1);
/// What is no longer used in memory is forgotten this often, in ticks of [`EVERY`].
const FORGET_EVERY: u32 = 60;
/// Bytes go at most this late.
const CLEAN_EVERY: Duration = Duration::from_secs(60);
/// The whole store is looked through this often, in rounds of [`CLEAN_EVERY`]: once a day, since it
/// costs a call for each thousand objects.
const SURVEY_EVERY: u64 = 24 * 60;
/// And first within this many of them after a start: servers that were started together do not all
/// look at once, and one that is restarted all the time still gets to it.
const FIRST_SURVEY: std::ops::Range<u64> = 1..10;

/// What takes things away under these settings.
pub(super) fn sweeper(
    config: &Config,
    catalog: &Arc<dyn Catalog>,
    blobs: &Blobs,
    journal: &Arc<dyn Journal>,
) -> Sweeper {
    Sweeper {
        catalog: Arc::clone(catalog),
        blobs: blobs.clone(),
        journal: Arc::clone(journal),
        hold: Hold::of(&config.data),
        notice: Notice::of(&config.data),
        keep: Keep {
            bytes: READERS,
            rows: config.retention,
        },
    }
}

impl Inner {
    /// Duty: windows that end, and what is kept in memory for nobody.
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
            if let Err(error) = self.sweep_litter().await {
                tracing::error!(%error, "what a backup or a crash has left could not go; it is tried again");
            }
            if let Err(error) = self.end_windows().await {
                tracing::error!(%error, "ending windows failed; it is tried again");
            }
            if round.is_multiple_of(FORGET_EVERY) {
                self.forget_unused();
            }
            round = round.wrapping_add(1);
        }
    }

    /// Duty: what may go from the store. Apart from [`sweep`](Self::sweep), since a round may take
    /// long and no window should wait for it. A stop ends it between any two steps.
    pub(crate) async fn clean(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(CLEAN_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let first = fastrand::u64(FIRST_SURVEY);
        let mut round = 0;
        loop {
            let work = async {
                ticks.tick().await;
                if let Err(error) = self.clean_once(round, first).await {
                    tracing::error!(%error, "sweeping failed; it is tried again");
                }
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = work => {}
            }
            round += 1;
        }
    }

    async fn clean_once(&self, round: u64, first: u64) -> Result<()> {
        self.sweeper.files().await?;
        self.sweeper.batches().await?;
        self.sweeper.uploads().await?;
        self.sweeper.rows().await?;
        if is_survey(round, first) {
            report(&self.sweeper.survey(Act::Round).await?);
        }
        Ok(())
    }

    async fn end_windows(&self) -> Result<()> {
        if self.catalog.expire_due().await? > 0 {
            self.wake_for_ending();
        }
        Ok(())
    }

    fn forget_unused(&self) {
        self.lanes.forget_unused(self.host.now());
        self.works.forget_unused();
    }
}

/// Whether the whole store is looked through in this round.
fn is_survey(round: u64, first: u64) -> bool {
    let since = round.checked_sub(first);
    since.is_some_and(|since| since.is_multiple_of(SURVEY_EVERY))
}

fn report(survey: &Survey) {
    if survey.litter.objects > 0 {
        let (objects, bytes) = (survey.litter.objects, survey.litter.bytes);
        tracing::info!(objects, bytes, "litter of earlier crashes was removed");
    }
    let unknown = survey.unknown.objects + survey.young.objects;
    if unknown == 0 {
        return;
    }
    let bytes = survey.unknown.bytes + survey.young.bytes;
    tracing::warn!(
        objects = unknown,
        bytes,
        removed = survey.unknown_gone,
        first = ?survey.first_unknown,
        "objects that the catalog does not know are in the data folder; each goes a day after it was first named in `unknown.json` there, if it is older than a day: move away what you need, or put the right catalog in its place"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_store_is_looked_through_soon_and_then_once_a_day() {
        let rounds: Vec<_> = (0..3 * SURVEY_EVERY)
            .filter(|round| is_survey(*round, 3))
            .collect();
        assert_eq!(rounds, [3, 3 + SURVEY_EVERY, 3 + 2 * SURVEY_EVERY]);
    }
}
