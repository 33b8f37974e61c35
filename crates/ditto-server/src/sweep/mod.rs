//! What goes: files and batches whose time has come, rows that nobody asks for, and litter.
//!
//! The engine calls this in rounds and `gc` once; both see the same rules. Whether an object is still
//! somebody's is decided in [`litter`](crate::model::litter) and by the catalog; here it only goes.

use std::sync::Arc;
use std::time::Duration;

use crate::blobs::{Blobs, name};
use crate::catalog::{BatchRow, Catalog, DueRows, FileRow, Keep, SealedRow};
use crate::error::Result;
use crate::folder::{PAGE, Tally};
use crate::hold::Hold;
use crate::journal::Journal;

pub(crate) mod names;
mod notice;
mod survey;
#[cfg(test)]
mod tests;

pub(crate) use notice::Notice;
pub(crate) use survey::{Act, Survey};

/// Bytes of what was deleted or has expired stay this long: a download that has begun may end, if
/// it is no slower than this.
pub(crate) const READERS: Duration = Duration::from_secs(3600);
/// Rows in one transaction, so that none keeps the catalog busy for long.
const ROWS: u32 = PAGE as u32;

/// Takes away what is no longer needed.
#[derive(Debug, Clone)]
pub(crate) struct Sweeper {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) blobs: Blobs,
    pub(crate) journal: Arc<dyn Journal>,
    /// What goes, goes under a pass: nothing while a backup copies. A pass is for one page at the
    /// most, so that no backup waits for long.
    pub(crate) hold: Hold,
    pub(crate) notice: Notice,
    pub(crate) keep: Keep,
}

impl Sweeper {
    /// Files whose time has come. Bytes first, then the row: what a crash leaves is swept again. One
    /// that cannot go does not hold up the others of its page.
    pub(crate) async fn files(&self) -> Result<Tally> {
        let mut gone = Tally::default();
        loop {
            let Some(_pass) = self.hold.pass() else {
                return Ok(gone);
            };
            let files = self.catalog.sweepable_files(self.keep.bytes, ROWS).await?;
            let mut refused = Ok(());
            for file in &files {
                match self.file(file).await {
                    Ok(bytes) => gone.join(bytes),
                    Err(error) => refused = Err(error),
                }
            }
            refused?;
            if files.len() < PAGE {
                return Ok(gone);
            }
        }
    }

    async fn file(&self, file: &FileRow) -> Result<Tally> {
        let mut gone = self.blobs.delete_below(&name::file(&file.id)).await?;
        if let Some(upload) = &file.upload {
            gone.join(self.blobs.delete_below(&name::upload(upload)).await?);
        }
        self.catalog.file_swept(&file.id).await?;
        Ok(gone)
    }

    /// Parts of uploads that became no file, and those that a file is made without, in the same order.
    pub(crate) async fn uploads(&self) -> Result<Tally> {
        let mut gone = Tally::default();
        loop {
            let Some(_pass) = self.hold.pass() else {
                return Ok(gone);
            };
            let uploads = self.catalog.sweepable_uploads(ROWS).await?;
            for upload in &uploads {
                gone.join(self.blobs.delete_below(&name::upload(&upload.id)).await?);
                self.catalog.upload_swept(&upload.id).await?;
            }
            let parts = self.catalog.sweepable_parts(ROWS).await?;
            for (upload, part) in &parts {
                gone.join(self.blobs.delete_below(&name::part(upload, part)).await?);
                self.catalog.abandon_part(part).await?;
            }
            if uploads.len() < PAGE && parts.len() < PAGE {
                return Ok(gone);
            }
        }
    }

    /// Blobs of batches that have no result file any more, in the same order.
    pub(crate) async fn batches(&self) -> Result<Tally> {
        let mut gone = Tally::default();
        let mut after = 0;
        loop {
            let Some(_pass) = self.hold.pass() else {
                return Ok(gone);
            };
            let batches = self.catalog.sweepable_batches(after, ROWS).await?;
            for batch in &batches {
                gone.join(self.batch(batch).await?);
                self.catalog.batch_swept(batch.key).await?;
                after = batch.key;
            }
            if batches.len() < PAGE {
                return Ok(gone);
            }
        }
    }

    async fn batch(&self, batch: &BatchRow) -> Result<Tally> {
        let mut gone = self.blobs.delete_below(&name::batch(&batch.id)).await?;
        if batch.only.is_some() {
            gone.join(self.blobs.delete_at(&name::first_seal(&batch.id)).await?);
        }
        Ok(gone)
    }

    /// Rows that nobody can ask for any more.
    pub(crate) async fn rows(&self) -> Result<DueRows> {
        let mut gone = DueRows::default();
        // Creates first: a batch stays as long as one of them names it.
        while add(&mut gone.creates, self.catalog.forget_creates(ROWS).await?) {}
        let age = self.keep.rows;
        while add(
            &mut gone.batches,
            self.catalog.forget_batches(age, ROWS).await?,
        ) {}
        while add(&mut gone.files, self.catalog.forget_files(age, ROWS).await?) {}
        while add(&mut gone.uploads, self.catalog.forget_uploads(ROWS).await?) {}
        Ok(gone)
    }

    /// What seals of earlier epochs left of a batch all of whose segments are sealed. To be called
    /// before its manifests are written: afterwards no row tells which of two blobs counts. What a
    /// backup keeps from going then goes with the batch.
    pub(crate) async fn superseded(&self, batch: &BatchRow, sealed: &[SealedRow]) -> Result<()> {
        if sealed.iter().all(|row| row.epoch == 1) {
            return Ok(());
        }
        if batch.only.is_some() {
            let first = self.blobs.found_at(&name::first_seal(&batch.id)).await?;
            self.blob_litter(first).await?;
        }
        let found = self.blobs.found_below(&name::segments(&batch.id))?;
        self.blob_litter(found).await
    }
}

/// Whether there may be more.
fn add(sum: &mut u64, count: u32) -> bool {
    *sum += u64::from(count);
    count == ROWS
}
