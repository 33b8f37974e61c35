//! Journal parts that no segment needs any more: removed at once, or later if that cannot be.

use std::sync::atomic::Ordering;

use super::Inner;
use crate::error::Result;
use crate::journal::PartName;

impl Inner {
    /// Removes the parts of a sealed segment: its row names a blob now. While a backup copies, or if
    /// the disk refuses, they stay as litter, which the sweeper takes. So they do after a crash.
    pub(crate) async fn remove_parts(&self, parts: &[PartName]) {
        let removed = match self.sweeper.hold.pass() {
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
        // Before looking, so that what is left from now on is seen the next time.
        if !self.litter.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let done = self.sweeper.journal_litter().await;
        let all_gone = matches!(done, Ok(true));
        self.litter.fetch_or(!all_gone, Ordering::AcqRel);
        done.map(drop)
    }
}
