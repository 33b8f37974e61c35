//! A batch that runs lines of another one again: those that failed, by class.

use bytes::Bytes;
use ditto_llm::jsonl::{Content, LineSplitter};
use ditto_llm::wire::{Batch, FailureClass, ResultLine};
use futures_util::TryStreamExt;

use super::objects::no_such_batch;
use super::{Once, Service};
use crate::catalog::{BatchRow, FileRow, NewBatch, Retry};
use crate::error::{Error, ErrorKind, Result};
use crate::id;
use crate::model::batch::wire_status;

/// Looked at of an error file before a retry is made. If no line in it fits and there is more behind,
/// validation finds out.
const LOOKED_AT: u64 = 4 << 20;
/// Each is a call to the store.
const PIECES_LOOKED_AT: usize = 32;

impl Service {
    /// Makes a batch of the lines of an ended one that failed for one of these reasons; of all that
    /// can pass if none is named. It keeps their line numbers, and everything else that its batch was
    /// asked for. O(1): one row, and a bounded look at the error file.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`] if the batch has not ended, or its files are gone;
    /// [`ErrorKind::Invalid`] if no line fits.
    pub async fn retry_batch(
        &self,
        tenant: &str,
        id: &str,
        only: Vec<FailureClass>,
        once: Option<Once>,
    ) -> Result<Batch> {
        let row = self.catalog.batch(tenant, id).await?;
        let row = row.ok_or_else(|| no_such_batch(id))?;
        let only = match only.is_empty() {
            true => FailureClass::ALL
                .into_iter()
                .filter(|c| c.passes())
                .collect(),
            false => only,
        };
        let retry = self.retry_of(&row, only).await?;
        let window = self.window(&row.completion_window).ok();
        let expires_after = window.and_then(|window| self.expiry(window));
        let bounds = self.bounds(tenant).await?;
        self.make_batch(NewBatch {
            id: id::batch(),
            tenant: tenant.to_owned(),
            input_file_id: id::file(),
            lines: Some(row.total - row.completed.min(row.total)),
            endpoint: row.endpoint,
            completion_window: row.completion_window,
            expires_after,
            metadata: row.metadata,
            options: row.options,
            retry: Some(retry),
            once,
            bounds,
            validator: None,
        })
        .await
    }

    async fn retry_of(&self, row: &BatchRow, only: Vec<FailureClass>) -> Result<Retry> {
        if !row.state.is_terminal() {
            let status = wire_status(row.state, row.ending);
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "Cannot retry a batch with status '{}'. Wait for its end.",
                    status.as_str()
                ),
            ));
        }
        let Some(errors) = &row.error_file_id else {
            return Err(nothing_to_retry(&row.id, &only));
        };
        self.file_to_retry(row, "input", &row.input_file_id).await?;
        let found = self.file_to_retry(row, "error", errors).await?;
        if !self.may_have(&found, &only).await? {
            return Err(nothing_to_retry(&row.id, &only));
        }
        Ok(Retry {
            of: row.id.clone(),
            only,
            input: row.input_file_id.clone(),
            errors: errors.clone(),
        })
    }

    async fn file_to_retry(&self, row: &BatchRow, what: &str, file: &str) -> Result<FileRow> {
        self.catalog.file(&row.tenant, file).await?.ok_or_else(|| {
            Error::new(
                ErrorKind::Conflict,
                format!(
                    "Cannot retry the batch: its {what} file '{file}' was deleted or has expired."
                ),
            )
        })
    }

    /// Whether a line of this error file is of one of these classes, as far as its beginning tells.
    async fn may_have(&self, errors: &FileRow, only: &[FailureClass]) -> Result<bool> {
        let manifest = self
            .blobs
            .manifest_of(&errors.id, errors.piece.as_ref())
            .await?;
        let mut pieces = manifest.slice(0..manifest.bytes().min(LOOKED_AT));
        pieces.truncate(PIECES_LOOKED_AT);
        let looked_at: u64 = pieces.iter().map(|piece| piece.length).sum();
        let mut chunks = std::pin::pin!(self.blobs.read(pieces));
        let mut splitter = LineSplitter::new(LOOKED_AT as usize);
        let mut found = false;
        while let Some(chunk) = chunks.try_next().await? {
            found |= has_one(&mut splitter, &chunk, only);
            if found {
                break;
            }
        }
        Ok(found || looked_at < manifest.bytes())
    }
}

fn has_one(splitter: &mut LineSplitter, chunk: &Bytes, only: &[FailureClass]) -> bool {
    let mut found = false;
    let fed: Result<(), std::convert::Infallible> = splitter.feed(chunk, |line| {
        if let Content::Bytes(bytes) = line.content
            && let Ok(line) = serde_json::from_slice::<ResultLine>(bytes)
        {
            found |= FailureClass::of(&line).is_some_and(|class| only.contains(&class));
        }
        Ok(())
    });
    fed.is_ok() && found
}

fn nothing_to_retry(id: &str, only: &[FailureClass]) -> Error {
    let classes: Vec<_> = only.iter().map(|class| class.as_str()).collect();
    Error::invalid(format!(
        "Nothing to retry: no line of '{id}' failed as {}.",
        classes.join(", ")
    ))
    .with_param("only")
    .with_code("nothing_to_retry")
}
