//! What the engine keeps of a batch while its segments are open.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use ditto_llm::check::{BareIds, Fill};
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64;

use super::pool::Pool;
use super::segment::OpenSegment;
use super::{Inner, lock};
use crate::blobs::name;
use crate::catalog::BatchRow;
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::model::batch::Ending;
use crate::model::plan::{ENTRY_BYTES, Entry};

/// A batch whose lines run here.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) row: BatchRow,
    pub(crate) manifest: Manifest,
    pub(crate) fill: Fill,
    /// `batch_req_<batch without prefix>_`, to which a line's number is added.
    pub(crate) line_id_prefix: String,
    /// The tenant as a number, for turns.
    pub(crate) tenant: u64,
    /// No retry is planned behind this, on the engine's steady clock. It may lie behind the end of
    /// the window (after a restart): the catalog ends the batch when its own clock says so.
    pub(crate) deadline: Option<Duration>,
    ending: OnceLock<Ending>,
    /// Some of its segments were put down here and may have to be taken up again.
    pub(crate) has_parked: AtomicBool,
    /// In-flight lines of an ending batch are cut off when this fires.
    pub(crate) cut_off: CancellationToken,
    /// Where lines of it have waited here.
    pools: Mutex<Vec<Weak<Pool>>>,
}

impl Work {
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending.get().copied()
    }

    /// The first ending wins. True if this one was news.
    pub(crate) fn end(&self, ending: Ending) -> bool {
        self.ending.set(ending).is_ok()
    }

    /// Whether there may be something to lease of it behind this segment.
    pub(crate) fn goes_on_behind(&self, segment: &OpenSegment) -> bool {
        segment.key.index + 1 < self.row.segments
            || segment.epoch > 1
            || self.has_parked.load(Ordering::Acquire)
    }

    /// Lines of it wait there.
    pub(crate) fn note_pool(&self, pool: &Arc<Pool>) {
        let mut pools = lock(&self.pools);
        pools.retain(|known| known.strong_count() > 0);
        let this = Arc::downgrade(pool);
        if !pools.iter().any(|known| known.ptr_eq(&this)) {
            pools.push(this);
        }
    }

    /// Where they have.
    pub(crate) fn pools(&self) -> Vec<Arc<Pool>> {
        lock(&self.pools).iter().filter_map(Weak::upgrade).collect()
    }

    /// Our id of a line, also what an upstream gets as `Idempotency-Key`.
    pub(crate) fn line_id(&self, number: u64) -> String {
        format!("{}{number}", self.line_id_prefix)
    }
}

/// The batches of the open segments.
#[derive(Debug, Default)]
pub(crate) struct Works {
    by_key: Mutex<BTreeMap<i64, Arc<Work>>>,
}

impl Works {
    /// The batch if one of its segments is open here.
    pub(crate) fn get(&self, batch: i64) -> Option<Arc<Work>> {
        lock(&self.by_key).get(&batch).cloned()
    }

    /// Forgets a batch that has ended.
    pub(crate) fn forget(&self, batch: i64) {
        lock(&self.by_key).remove(&batch);
    }

    /// Forgets batches that nobody uses: neither an open segment nor one that is being opened. Of a
    /// batch in use there must never be two, or an ending would reach only one of them.
    pub(crate) fn forget_unused(&self) {
        lock(&self.by_key).retain(|_, work| Arc::strong_count(work) > 1);
    }
}

impl Inner {
    /// The batch of a leased segment, read once.
    pub(crate) async fn work(&self, batch: i64) -> Result<Arc<Work>> {
        if let Some(work) = self.works.get(batch) {
            return Ok(work);
        }
        let row = self.catalog.leased_batch(batch).await?.ok_or_else(|| {
            Error::internal(format!(
                "a segment of batch {batch} was leased, but there is no such batch"
            ))
        })?;
        let manifest = self.blobs.manifest(&row.input_file_id).await?;
        let work = Arc::new(self.new_work(row, manifest));
        // Two segments of one batch may be opened side by side: the first to arrive is kept, so
        // that there is one ending.
        Ok(Arc::clone(
            lock(&self.works.by_key).entry(batch).or_insert(work),
        ))
    }

    fn new_work(&self, row: BatchRow, manifest: Manifest) -> Work {
        let ending = OnceLock::new();
        if let Some(known) = row.ending {
            // A fresh lock is empty.
            let _ = ending.set(known);
        }
        Work {
            fill: fill(&row),
            line_id_prefix: line_id_prefix(&row.id),
            tenant: xxh3_64(row.tenant.as_bytes()),
            deadline: row.expires_at.map(|at| {
                let window = at.saturating_sub(row.created_at);
                // Times are in whole seconds: a window of less must not look over already.
                self.host.now() + Duration::from_secs(u64::try_from(window).unwrap_or_default() + 1)
            }),
            ending,
            has_parked: AtomicBool::new(false),
            cut_off: self.cut_off.child_token(),
            pools: Mutex::default(),
            row,
            manifest,
        }
    }

    /// These entries of a batch's plan.
    pub(crate) async fn plan_entries(
        &self,
        batch: &BatchRow,
        from: u32,
        count: u32,
    ) -> Result<Vec<Entry>> {
        let batch_id = &batch.id;
        if let Some(only) = batch.only
            && (from, count) == (0, 1)
        {
            return Ok(vec![only]);
        }
        let start = u64::from(from) * ENTRY_BYTES as u64;
        let end = start + u64::from(count) * ENTRY_BYTES as u64;
        let bytes = self.blobs.range(&name::plan(batch_id), start..end).await?;
        let (entries, rest) = bytes.as_chunks::<ENTRY_BYTES>();
        if entries.len() != count as usize || !rest.is_empty() {
            return Err(Error::internal(format!(
                "the plan of {batch_id} ends before entry {}; restore the data folder's `blobs` from a backup",
                from + count
            )));
        }
        let entries: Vec<_> = entries.iter().map(Entry::decode).collect();
        if entries.iter().any(|entry| !entry.is_plausible()) {
            return Err(Error::internal(format!(
                "the plan of {batch_id} is damaged; nothing of it was sent: restore the data folder's `blobs` from a backup"
            )));
        }
        Ok(entries)
    }
}

/// Where a sealed segment of this batch is.
pub(crate) fn segment_blob(batch: &BatchRow, index: u32, epoch: u32) -> String {
    match (batch.only, epoch) {
        (Some(_), 1) => name::first_seal(&batch.id),
        _ => name::segment(&batch.id, index, epoch),
    }
}

/// What lines of this batch are supplied with.
pub(crate) fn fill(row: &BatchRow) -> Fill {
    Fill {
        model: row.options.fill_model.clone(),
        endpoint: row.options.fill_endpoint.clone(),
        bare: row
            .options
            .bare_suffix
            .clone()
            .map(|suffix| BareIds { suffix }),
    }
}

/// Result lines are named `batch_req_<batch>_<line>`.
pub(crate) fn line_id_prefix(batch_id: &str) -> String {
    format!(
        "batch_req_{}_",
        batch_id.strip_prefix("batch_").unwrap_or(batch_id)
    )
}
