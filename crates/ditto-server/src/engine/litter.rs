//! Journal parts that no segment needs: those of sealed segments go, and those that no lease of
//! this catalog made are set aside.

use std::sync::atomic::Ordering;

use super::Inner;
use crate::catalog::PartStanding;
use crate::error::Result;
use crate::journal::PartName;

impl Inner {
    /// Removes the parts of a sealed segment: its row names a blob now. While a backup copies, or if
    /// the disk refuses, they stay as litter, which the sweeper takes. So they do after a crash.
    pub(crate) async fn remove_parts(&self, parts: &[PartName]) {
        let removed = match self.hold.pass() {
            None => false,
            Some(_pass) => {
                let removed = self.journal.remove(parts).await;
                removed
                    .inspect_err(|error| tracing::warn!(%error, "a sealed segment's journal stays"))
                    .is_ok()
            }
        };
        self.litter.fetch_or(!removed, Ordering::AcqRel);
    }

    /// Takes what earlier removals have left, if there is any and no backup copies.
    pub(crate) async fn sweep_litter(&self) -> Result<()> {
        if !self.litter.load(Ordering::Acquire) {
            return Ok(());
        }
        let Some(_pass) = self.hold.pass() else {
            return Ok(());
        };
        // Before looking, so that what is left from now on is seen the next time.
        self.litter.store(false, Ordering::Release);
        let swept = async {
            let parts = self.parts_standing(PartStanding::Litter).await?;
            self.journal.remove(&parts).await
        };
        swept
            .await
            .inspect_err(|_| self.litter.store(true, Ordering::Release))
    }

    /// Sets strays aside. To be done before anything is leased: a lease may be given the name of a
    /// stray, and a crash before its first record would have the stray's records replayed.
    pub(crate) async fn set_strays_aside(&self) -> Result<()> {
        let strays = self.parts_standing(PartStanding::Stray).await?;
        for part in &strays {
            tracing::warn!(%part, "this journal part is not of this catalog's history; it is kept under journal/strays");
        }
        self.journal.set_aside(&strays).await
    }

    async fn parts_standing(&self, wanted: PartStanding) -> Result<Vec<PartName>> {
        // The folder first: each part in it was leased before, so the catalog knows it by now.
        let parts = self.journal.parts().await?;
        let names: Vec<_> = parts
            .iter()
            .map(|part| (part.segment, part.epoch))
            .collect();
        let standings = self.catalog.part_standings(&names).await?;
        let both = parts.into_iter().zip(standings);
        Ok(both
            .filter(|(_, standing)| *standing == wanted)
            .map(|(part, _)| part)
            .collect())
    }
}
