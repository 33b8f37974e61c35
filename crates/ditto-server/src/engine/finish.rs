//! Finishes batches: the segments must tile the plan, then the two files are named.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ditto_llm::wire::BatchError;

use super::work::segment_blob;
use super::{Inner, lock};
use crate::catalog::{BatchOptions, BatchRow, Finish, FinishWork, ReadyFile, SealedRow};
use crate::error::{ErrorKind, Result};
use crate::manifest::{LineIndex, Manifest};
use crate::model::plan::{Tiling, tiling};

/// As `readyz` names it.
const STEP: &str = "naming the result files";
/// Result files live as long as OpenAI's: 30 days.
const RESULT_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// In the names of the two files.
const OUTPUT: &str = "output";
/// Likewise.
const ERROR: &str = "error";
/// Batches whose files are named side by side.
const FINISHERS: usize = 8;
/// Rows and plan entries read at a time.
const PAGE: u32 = 4096;
/// What nobody has woken us for is looked at this often.
const LOOK: Duration = Duration::from_secs(1);

impl Inner {
    /// Duty: names the files of batches whose last segment was sealed, some side by side: the files of
    /// one wait for the disk.
    pub(crate) async fn finish_batches(self: Arc<Self>) {
        while !self.stop.is_cancelled() {
            let arrived = self.work_arrived();
            if lock(&self.finishing).len() < FINISHERS {
                match self.catalog.lease_finish(&self.incarnation).await {
                    // The catalog also gives what we hold already, should we have given it up.
                    Ok(Some(work)) if lock(&self.finishing).insert(work.batch.key) => {
                        let inner = Arc::clone(&self);
                        self.tasks
                            .spawn(async move { inner.finish_one(work).await });
                        continue;
                    }
                    Ok(_) => {}
                    Err(error) => tracing::error!(%error, "looking for batches to finish failed"),
                }
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                () = arrived => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn finish_one(&self, work: FinishWork) {
        let (key, id) = (work.batch.key, work.batch.id.clone());
        match self.finish(work).await {
            Ok(()) => self.storage_works(STEP),
            Err(error) => {
                match error.kind() {
                    ErrorKind::Unavailable => self.storage_refused(STEP, &error),
                    _ => self.end_is_stuck(key, &id, &error),
                }
                // We hold it still, and try again.
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => {}
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
        }
        lock(&self.finishing).remove(&key);
        self.wake();
    }

    /// If we stop before the last call, the next owner does the same again under the same ids.
    async fn finish(&self, work: FinishWork) -> Result<()> {
        let rows = self.all_sealed(work.batch.key).await?;
        let requests = self.planned_requests(&work.batch, work.segments).await?;
        let fault = match laid(&work, &rows, &requests) {
            Tiling::Whole => None,
            Tiling::Gaps(missing) if !work.reopened => return self.reopen(&work, &missing).await,
            Tiling::Gaps(missing) => Some(format!(
                "{} segments are missing again, the first is {}",
                missing.len(),
                missing[0]
            )),
            Tiling::Broken(fault) => Some(fault),
        };
        if fault.is_none() {
            self.sweeper.superseded(&work.batch, &rows).await?;
        }
        let finish = self.named(&work, &rows, fault.as_deref()).await?;
        let batch = work.batch.key;
        let done = self
            .catalog
            .finish(&self.incarnation, batch, finish)
            .await?;
        tracing::info!(batch = work.batch.id, done, "batch ended");
        if let Some(fault) = fault.filter(|_| done) {
            self.batch_is_broken(&work.batch.id, &fault);
        }
        // Of a segment that was opened again there are parts that its row did not know.
        self.litter.fetch_or(work.reopened, Ordering::AcqRel);
        self.batch_has_ended(batch);
        self.announce();
        Ok(())
    }

    /// Writes the manifests of the two files.
    async fn named(
        &self,
        work: &FinishWork,
        rows: &[SealedRow],
        fault: Option<&str>,
    ) -> Result<Finish> {
        let (answers, errors) = manifests(&work.batch, rows);
        let output = self
            .result_file(work, &work.output_file_id, OUTPUT, &answers)
            .await?;
        let error_lines = self
            .result_file(work, &work.error_file_id, ERROR, &errors)
            .await?;
        Ok(match fault {
            None => Finish::Whole {
                output,
                errors: error_lines,
            },
            Some(fault) => Finish::Broken {
                errors: broken(fault),
                output,
                error_lines,
            },
        })
    }

    async fn all_sealed(&self, batch: i64) -> Result<Vec<SealedRow>> {
        let mut rows = Vec::new();
        loop {
            let from = rows.last().map_or(0, |row: &SealedRow| row.index + 1);
            let page = self.catalog.sealed_segments(batch, from, PAGE).await?;
            let last = page.len() < PAGE as usize;
            rows.extend(page);
            if last {
                return Ok(rows);
            }
        }
    }

    async fn planned_requests(&self, batch: &BatchRow, segments: u32) -> Result<Vec<u32>> {
        let mut requests = Vec::new();
        for from in (0..segments).step_by(PAGE as usize) {
            let count = PAGE.min(segments - from);
            let entries = self.plan_entries(batch, from, count).await?;
            requests.extend(entries.iter().map(|entry| entry.requests));
        }
        Ok(requests)
    }

    /// Writes the manifest of a result file, unless its row can hold it; `None` if it would have no
    /// lines.
    async fn result_file(
        &self,
        work: &FinishWork,
        id: &str,
        kind: &str,
        manifest: &Manifest,
    ) -> Result<Option<ReadyFile>> {
        let file = described(&work.batch, kind, manifest);
        if file.as_ref().is_some_and(|file| file.piece.is_none()) {
            self.blobs
                .put_map(id, manifest, &LineIndex::default())
                .await?;
        }
        Ok(file)
    }
}

/// The two files of a batch whose only segment is sealed so.
pub(crate) fn files_of_one(
    batch: &BatchRow,
    sealed: SealedRow,
) -> (Option<ReadyFile>, Option<ReadyFile>) {
    let (answers, errors) = manifests(batch, &[sealed]);
    (
        described(batch, OUTPUT, &answers),
        described(batch, ERROR, &errors),
    )
}

/// A result file's row; `None` if it would have no lines.
fn described(batch: &BatchRow, kind: &str, manifest: &Manifest) -> Option<ReadyFile> {
    let bytes = manifest.bytes();
    if bytes == 0 {
        return None;
    }
    let piece = match &manifest.pieces[..] {
        [only] => Some(only.clone()),
        _ => None,
    };
    Some(ReadyFile {
        purpose: "batch_output".to_owned(),
        filename: format!("{}_{kind}.jsonl", batch.id),
        bytes,
        lines: None,
        expires_after: Some(result_lifetime(&batch.options)),
        piece,
        // Results are never refused: their batch was let in.
        within: None,
        once: None,
    })
}

/// Whether what is sealed is what was planned, and the plan that of the whole file.
fn laid(work: &FinishWork, rows: &[SealedRow], requests: &[u32]) -> Tiling {
    let planned: u64 = requests.iter().map(|requests| u64::from(*requests)).sum();
    if planned != work.batch.total {
        return Tiling::Broken(format!(
            "the plan has {planned} lines where the batch has {}",
            work.batch.total
        ));
    }
    let sealed: Vec<_> = rows
        .iter()
        .map(|row| {
            let lines = u64::from(row.sealed.answers) + u64::from(row.sealed.errors);
            (row.index, row.sealed.span, lines)
        })
        .collect();
    tiling(&sealed, requests)
}

/// How long result files live.
fn result_lifetime(options: &BatchOptions) -> Duration {
    options
        .output_expires_after
        .map_or(RESULT_LIFETIME, Duration::from_secs)
}

/// The two files, as pieces of the segments' blobs in input order. Nothing is copied.
fn manifests(batch: &BatchRow, rows: &[SealedRow]) -> (Manifest, Manifest) {
    let mut answers = Manifest::default();
    let mut errors = Manifest::default();
    for row in rows {
        let blob = segment_blob(batch, row.index, row.epoch);
        answers.push(blob.clone(), 0, row.sealed.answers_bytes);
        errors.push(blob, row.sealed.answers_bytes, row.sealed.errors_bytes);
    }
    (answers, errors)
}

fn broken(fault: &str) -> String {
    let error = BatchError {
        code: Some("internal_inconsistency".to_owned()),
        message: Some(format!(
            "The results do not cover the input: {fault}. What there is stands in the two files; please report this."
        )),
        ..BatchError::default()
    };
    serde_json::to_string(&[error]).expect("errors are plain data")
}
