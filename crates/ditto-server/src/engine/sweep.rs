//! Sweeps: windows that are over, lanes and batches nobody uses, and in rounds of their own what may
//! go from the store.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Inner;
use crate::blobs::Blobs;
use crate::catalog::{Catalog, Keep};
use crate::config::Config;
use crate::error::Result;
use crate::hold::Hold;
use crate::journal::Journal;
use crate::sweep::{Act, READERS, Survey, Sweeper};

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
        if let Some(act) = survey_of(round, first) {
            report(&self.sweeper.survey(act).await?, act);
        }
        Ok(())
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

    fn forget_unused(&self) {
        self.lanes.forget_unused();
        self.works.forget_unused();
    }
}

/// Whether the whole store is looked through in this round. What is unknown goes in the second
/// survey of a life at the earliest, a day after the first has named it: whoever put back a catalog
/// that is too old, or lost it, still has the bytes.
fn survey_of(round: u64, first: u64) -> Option<Act> {
    let since = round.checked_sub(first)?;
    match since.is_multiple_of(SURVEY_EVERY) {
        false => None,
        true if since == 0 => Some(Act::Litter),
        true => Some(Act::All),
    }
}

fn report(survey: &Survey, act: Act) {
    if survey.litter.objects > 0 {
        let (objects, bytes) = (survey.litter.objects, survey.litter.bytes);
        tracing::info!(objects, bytes, "litter of earlier crashes was removed");
    }
    let unknown = survey.unknown.objects + survey.young.objects;
    if unknown == 0 {
        return;
    }
    let bytes = survey.unknown.bytes + survey.young.bytes;
    let removed = if act == Act::All {
        survey.unknown.objects
    } else {
        0
    };
    tracing::warn!(
        objects = unknown,
        bytes,
        removed,
        first = ?survey.first_unknown,
        "objects that the catalog does not know are in the data folder; what is older than a day goes with the next daily round: move away what you need, and look at `ditto-batch gc --dry-run`"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_store_is_looked_through_soon_and_then_once_a_day() {
        let rounds: Vec<_> = (0..3 * SURVEY_EVERY)
            .filter_map(|round| Some((round, survey_of(round, 3)?)))
            .collect();
        let day = SURVEY_EVERY;
        let expected = [
            (3, Act::Litter),
            (3 + day, Act::All),
            (3 + 2 * day, Act::All),
        ];
        assert_eq!(rounds, expected);
    }
}
