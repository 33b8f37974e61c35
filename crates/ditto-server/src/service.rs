//! What a client may ask, without HTTP.
//!
//! The HTTP layer and `ditto-batch run` call the same methods, so that both see the same batch.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ditto_llm::wire::{
    Batch, BatchErrors, BatchRequestCounts, BatchUsage, FileObject, InputTokensDetails,
    OutputTokensDetails,
};
use futures_util::Stream;

pub use crate::catalog::Once;

use crate::blobs::{BlobWriter, Blobs, name};
use crate::catalog::{
    BatchOptions, BatchRow, Cancelled, Catalog, Created, FileQuery, FileRow, FileState, NewBatch,
    NewFile, Order, ReadyFile, Rows, Usage,
};
use crate::config::{Config, Window};
use crate::engine::{Engine, LaneReport};
use crate::error::{Error, ErrorKind, Result};
use crate::id;
use crate::manifest::{LineIndex, Manifest};
use crate::model::batch::wire_status;

/// Input files live as long as OpenAI's, 30 days, unless the client asks for another time.
const INPUT_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// The one window that OpenAI has.
const COMPLETION_WINDOW: &str = "24h";
const COMPLETION_WINDOW_LENGTH: Duration = Duration::from_secs(24 * 3600);

/// What a client may ask. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Service {
    pub(crate) config: Arc<Config>,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) blobs: Blobs,
    pub(crate) engine: Engine,
}

/// How a client describes a file that it has sent.
#[derive(Debug, Clone)]
pub struct FileDescription {
    /// As the client names it; kept as text, never used as a path.
    pub filename: String,
    /// `batch` for inputs.
    pub purpose: String,
    /// Lifetime from now; `None`: 30 days for `batch`, for ever otherwise.
    pub expires_after: Option<Duration>,
}

/// A batch to be made.
#[derive(Debug, Clone, Default)]
pub struct BatchRequest {
    /// The input; a file that does not exist fails the batch later, as at OpenAI.
    pub input_file_id: String,
    /// For instance `/v1/chat/completions`.
    pub endpoint: String,
    /// `24h`.
    pub completion_window: String,
    /// At most 16 pairs of strings.
    pub metadata: Option<std::collections::BTreeMap<String, String>>,
    /// Lifetime of the result files, from their creation.
    pub output_expires_after: Option<Duration>,
    /// A bad line becomes an error line and the others run; `None`: as the server is set.
    pub lenient: Option<bool>,
    /// What lines lack gets this model.
    pub fill_model: Option<String>,
    /// What lines lack gets this url.
    pub fill_endpoint: Option<String>,
    /// Take lines that are only a body.
    pub bare_lines: bool,
    /// End of the window from now; `None`: as the server is set.
    pub deadline: Option<Duration>,
    /// How the same request, sent again, is known; `None`: it makes another batch.
    pub once: Option<Once>,
}

/// A list of files, in the terms of a request.
#[derive(Debug, Clone)]
pub struct FileList {
    /// Exact match.
    pub purpose: Option<String>,
    /// 1 to 10,000.
    pub limit: u32,
    /// Newest first if true.
    pub newest_first: bool,
    /// The last id of the page before.
    pub after: Option<String>,
}

/// A batch and what it has used so far.
#[derive(Debug, Clone)]
pub struct Progress {
    /// As a client sees it.
    pub batch: Batch,
    /// Nothing changes any more.
    pub ended: bool,
    /// Tokens of sealed segments.
    pub tokens: u64,
}

/// One page of a list.
#[derive(Debug, Clone)]
pub struct Listed<T> {
    /// The objects, in order.
    pub data: Vec<T>,
    /// There are more behind the last.
    pub has_more: bool,
}

/// A file's bytes, or some of them.
#[derive(Debug, Clone)]
pub struct Content {
    /// The file.
    pub file: FileObject,
    /// Strong validator: a file's bytes never change under an id.
    pub etag: String,
    manifest: Manifest,
    blobs: Blobs,
}

impl Content {
    /// Streams these bytes.
    pub fn stream(&self, range: Range<u64>) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
        self.blobs.read(self.manifest.slice(range))
    }
}

impl Service {
    // --- files -------------------------------------------------------------------------------

    /// Begins a file whose bytes are about to come; nothing is visible until
    /// [`Upload::finish`]. The id is in the catalog before the first byte is stored.
    pub async fn upload(&self, tenant: &str) -> Result<Upload> {
        let id = id::file();
        self.catalog
            .create_file(NewFile {
                id: id.clone(),
                tenant: tenant.to_owned(),
            })
            .await?;
        let writer = self.blobs.writer(&name::data(&id)).await?;
        Ok(Upload {
            service: self.clone(),
            id,
            writer: Some(writer),
            index: LineIndex::default(),
            lines: 0,
            at_line_start: true,
        })
    }

    /// Names a file that stays where it is, for `run`: `file_name` is in the folder that the
    /// server was opened with.
    pub async fn file_in_place(
        &self,
        tenant: &str,
        file_name: &str,
        bytes: u64,
    ) -> Result<FileObject> {
        let id = id::file();
        self.catalog
            .create_file(NewFile {
                id: id.clone(),
                tenant: tenant.to_owned(),
            })
            .await?;
        let manifest = Manifest::whole(name::in_place(file_name), bytes);
        self.blobs
            .put_map(&id, &manifest, &LineIndex::default())
            .await?;
        let ready = ReadyFile {
            purpose: "batch".to_owned(),
            filename: file_name.to_owned(),
            bytes,
            lines: None,
            expires_after: None,
        };
        Ok(file_object(&self.catalog.ready_file(&id, ready).await?))
    }

    /// One file.
    pub async fn file(&self, tenant: &str, id: &str) -> Result<FileObject> {
        Ok(file_object(&self.file_row(tenant, id).await?))
    }

    async fn file_row(&self, tenant: &str, id: &str) -> Result<FileRow> {
        let row = self.catalog.file(tenant, id).await?;
        row.ok_or_else(|| no_such_file(id))
    }

    /// One page of files.
    pub async fn files(&self, tenant: &str, list: FileList) -> Result<Listed<FileObject>> {
        let query = FileQuery {
            purpose: list.purpose,
            limit: list.limit,
            order: if list.newest_first {
                Order::Desc
            } else {
                Order::Asc
            },
            after: list.after.clone(),
        };
        let rows = self.catalog.files(tenant, query).await?;
        let rows = rows.ok_or_else(|| unknown_cursor(list.after.as_deref()))?;
        Ok(listed(rows, file_object))
    }

    /// Deletes a file: unreadable at once; the bytes of an input in use stay until its batches end.
    pub async fn delete_file(&self, tenant: &str, id: &str) -> Result<()> {
        match self.catalog.delete_file(tenant, id).await? {
            true => Ok(()),
            false => Err(no_such_file(id)),
        }
    }

    /// A file's content, to be streamed in whole or in part.
    pub async fn content(&self, tenant: &str, id: &str) -> Result<Content> {
        let row = self.file_row(tenant, id).await?;
        let manifest = self.blobs.manifest(&row.id).await?;
        Ok(Content {
            etag: format!("\"{}\"", row.id),
            file: file_object(&row),
            manifest,
            blobs: self.blobs.clone(),
        })
    }

    // --- batches -----------------------------------------------------------------------------

    /// Makes a batch: one row, whatever the size of its file. Its lines are checked afterwards. A
    /// request that has made one already ([`BatchRequest::once`]) gets that one as it is now.
    pub async fn create_batch(&self, tenant: &str, request: BatchRequest) -> Result<Batch> {
        self.check_request(&request)?;
        let window = match (request.deadline, self.config.window) {
            (Some(deadline), _) => Some(deadline),
            (None, Window::Expire) => Some(COMPLETION_WINDOW_LENGTH),
            (None, Window::KeepGoing) => None,
        };
        let metadata = request
            .metadata
            .map(|m| serde_json::to_string(&m).expect("a map of strings is always JSON"));
        let lenient = self.config.mode == crate::config::Mode::Lenient;
        let created = self
            .catalog
            .create_batch(NewBatch {
                id: id::batch(),
                tenant: tenant.to_owned(),
                input_file_id: request.input_file_id,
                endpoint: request.endpoint,
                completion_window: request.completion_window,
                expires_after: window,
                metadata,
                options: BatchOptions {
                    lenient: request.lenient.unwrap_or(lenient),
                    fill_model: request.fill_model,
                    fill_endpoint: request.fill_endpoint,
                    bare_suffix: request.bare_lines.then(String::new),
                    output_expires_after: request.output_expires_after.map(|d| d.as_secs()),
                },
                once: request.once,
            })
            .await?;
        match created {
            Created::New(row) => {
                self.engine.wake();
                Ok(batch_object(&row))
            }
            Created::Again(row) => Ok(batch_object(&row)),
            Created::Mismatch(row) => Err(key_reused(&row.id)),
        }
    }

    fn check_request(&self, request: &BatchRequest) -> Result<()> {
        if !self.config.endpoints.contains(&request.endpoint) {
            let quoted: Vec<_> = self
                .config
                .endpoints
                .iter()
                .map(|e| format!("'{e}'"))
                .collect();
            return Err(Error::invalid(format!(
                "Invalid value: '{}'. Supported values are: {}.",
                request.endpoint,
                spoken_list(&quoted)
            ))
            .with_param("endpoint")
            .with_code("invalid_value"));
        }
        if request.completion_window != COMPLETION_WINDOW {
            return Err(Error::invalid(format!(
                "Invalid value: '{}'. Supported values are: '{COMPLETION_WINDOW}'.",
                request.completion_window
            ))
            .with_param("completion_window")
            .with_code("invalid_value"));
        }
        Ok(())
    }

    /// One batch.
    pub async fn batch(&self, tenant: &str, id: &str) -> Result<Batch> {
        let row = self.catalog.batch(tenant, id).await?;
        Ok(batch_object(&row.ok_or_else(|| no_such_batch(id))?))
    }

    /// One page of batches, newest first.
    pub async fn batches(
        &self,
        tenant: &str,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Listed<Batch>> {
        let rows = self.catalog.batches(tenant, limit, after).await?;
        Ok(listed(
            rows.ok_or_else(|| unknown_cursor(after))?,
            batch_object,
        ))
    }

    /// Cancels a batch: what has finished is kept, what is in flight gets a grace, every other line
    /// ends as `batch_cancelled`.
    pub async fn cancel_batch(&self, tenant: &str, id: &str) -> Result<Batch> {
        match self.catalog.cancel_batch(tenant, id).await? {
            Cancelled::Done(row) => {
                self.engine.wake_for_ending();
                Ok(batch_object(&row))
            }
            Cancelled::Refused(row) => {
                let status = wire_status(row.state, row.ending);
                Err(Error::new(
                    ErrorKind::Conflict,
                    format!("Cannot cancel a batch with status '{}'.", status.as_str()),
                ))
            }
            Cancelled::Missing => Err(no_such_batch(id)),
        }
    }

    /// Where a batch is, with the tokens of what is sealed so far.
    pub async fn progress(&self, tenant: &str, id: &str) -> Result<Progress> {
        let row = self
            .catalog
            .batch(tenant, id)
            .await?
            .ok_or_else(|| no_such_batch(id))?;
        Ok(Progress {
            tokens: row.usage.total,
            ended: row.state.is_terminal(),
            batch: batch_object(&row),
        })
    }

    /// Waits until something may have changed: a seal, an ending, a lane. For watchers; a wake-up
    /// promises nothing.
    pub async fn changed(&self) {
        self.engine.changed().await;
    }

    /// The lanes of this process: what is in flight, what waits, and why.
    pub fn lanes(&self) -> Vec<LaneReport> {
        self.engine.lanes()
    }

    /// The models that the upstreams offer.
    pub async fn models(&self) -> Result<Vec<serde_json::Value>> {
        self.engine.models().await
    }

    /// Whether work can be taken; the sentence says why not.
    pub async fn ready(&self) -> Result<()> {
        self.catalog.open_batches().await?;
        match self.engine.stalled() {
            Some(reason) => Err(Error::new(ErrorKind::Unavailable, reason)),
            None => Ok(()),
        }
    }
}

/// A file that is coming in. Dropped before [`finish`](Self::finish), it leaves nothing behind.
#[derive(Debug)]
pub struct Upload {
    service: Service,
    id: String,
    writer: Option<BlobWriter>,
    index: LineIndex,
    lines: u64,
    at_line_start: bool,
}

impl Upload {
    /// The next bytes. Past the limit on file size: [`ErrorKind::TooLarge`].
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let limit = self.service.config.limits.file_bytes;
        let writer = self.writer.as_mut().expect("present until finish takes it");
        let before = writer.written();
        if before + bytes.len() as u64 > limit {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("The file is larger than the limit of {limit} bytes."),
            )
            .with_code("file_too_large")
            .with_param("file"));
        }
        self.count_lines(before, bytes);
        self.writer
            .as_mut()
            .expect("present until finish takes it")
            .write(bytes)
            .await
    }

    /// Each byte is seen once, here.
    fn count_lines(&mut self, before: u64, bytes: &[u8]) {
        if self.at_line_start && !bytes.is_empty() {
            self.lines += 1;
            self.index.line(self.lines, before);
            self.at_line_start = false;
        }
        for at in memchr::memchr_iter(b'\n', bytes) {
            if at + 1 < bytes.len() {
                self.lines += 1;
                self.index.line(self.lines, before + at as u64 + 1);
            } else {
                self.at_line_start = true;
            }
        }
    }

    /// Bytes so far.
    pub fn written(&self) -> u64 {
        self.writer.as_ref().map_or(0, BlobWriter::written)
    }

    /// Makes the file durable, then visible.
    ///
    /// If we stop between the two, the pending row and its blobs are litter that the sweeper takes.
    pub async fn finish(mut self, description: FileDescription) -> Result<FileObject> {
        let writer = self.writer.take().expect("finish is called once");
        let bytes = writer.finish().await?;
        let manifest = Manifest::whole(name::data(&self.id), bytes);
        self.service
            .blobs
            .put_map(&self.id, &manifest, &self.index)
            .await?;
        let lifetime = match description.purpose.as_str() {
            "batch" => Some(description.expires_after.unwrap_or(INPUT_LIFETIME)),
            _ => description.expires_after,
        };
        let ready = ReadyFile {
            purpose: description.purpose,
            filename: description.filename,
            bytes,
            lines: Some(self.lines),
            expires_after: lifetime,
        };
        let id = std::mem::take(&mut self.id);
        Ok(file_object(
            &self.service.catalog.ready_file(&id, ready).await?,
        ))
    }

    /// Gives the file up: its bytes go at once.
    pub async fn abandon(mut self) -> Result<()> {
        drop(self.writer.take());
        let id = std::mem::take(&mut self.id);
        self.service.give_up(&id).await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.id.is_empty() {
            return;
        }
        // A client that went away. The engine's task set owns the clean-up, so that a stop waits for it.
        let (service, id) = (self.service.clone(), std::mem::take(&mut self.id));
        drop(self.writer.take());
        let engine = service.engine.clone();
        engine.clean_up(async move { service.give_up(&id).await });
    }
}

impl Service {
    async fn give_up(&self, id: &str) -> Result<()> {
        self.blobs.delete_below(&name::file(id)).await?;
        self.catalog.abandon_file(id).await
    }
}

fn listed<R, T>(rows: Rows<R>, object: impl Fn(&R) -> T) -> Listed<T> {
    Listed {
        data: rows.rows.iter().map(object).collect(),
        has_more: rows.has_more,
    }
}

fn no_such_file(id: &str) -> Error {
    Error::missing(format!("No such File object: {id}")).with_param("id")
}

fn no_such_batch(id: &str) -> Error {
    Error::missing(format!("No batch found with id '{id}'."))
}

fn key_reused(batch: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!(
            "This Idempotency-Key belongs to a request with another body, which made the batch \
             '{batch}'. Use a new key for a new batch."
        ),
    )
    .with_code("idempotency_key_reused")
}

fn unknown_cursor(after: Option<&str>) -> Error {
    Error::invalid(format!(
        "No object found with id '{}' to list after.",
        after.unwrap_or_default()
    ))
    .with_param("after")
    .with_code("invalid_value")
}

/// `'a', 'b', and 'c'`
fn spoken_list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first, second] => format!("{first} and {second}"),
        [rest @ .., last] => format!("{}, and {last}", rest.join(", ")),
    }
}

fn file_object(row: &FileRow) -> FileObject {
    FileObject {
        id: row.id.clone(),
        bytes: Some(row.bytes),
        created_at: Some(row.created_at),
        expires_at: row.expires_at,
        filename: Some(row.filename.clone()),
        purpose: Some(row.purpose.clone()),
        status: Some(match row.state {
            FileState::Pending => "uploaded".to_owned(),
            FileState::Ready | FileState::Deleted => "processed".to_owned(),
        }),
        ..FileObject::default()
    }
}

pub(crate) fn batch_object(row: &BatchRow) -> Batch {
    Batch {
        id: row.id.clone(),
        endpoint: Some(row.endpoint.clone()),
        model: row.model.clone(),
        errors: row.errors.as_deref().and_then(|json| {
            Some(BatchErrors {
                object: Some("list".to_owned()),
                data: serde_json::from_str(json).ok()?,
            })
        }),
        input_file_id: Some(row.input_file_id.clone()),
        completion_window: Some(row.completion_window.clone()),
        status: wire_status(row.state, row.ending),
        output_file_id: row.output_file_id.clone(),
        error_file_id: row.error_file_id.clone(),
        created_at: Some(row.created_at),
        in_progress_at: row.in_progress_at,
        expires_at: row.expires_at,
        finalizing_at: row.finalizing_at,
        completed_at: row.completed_at,
        failed_at: row.failed_at,
        expired_at: row.expired_at,
        cancelling_at: row.cancelling_at,
        cancelled_at: row.cancelled_at,
        request_counts: Some(BatchRequestCounts {
            total: row.total,
            completed: row.completed,
            failed: row.failed,
        }),
        usage: row.state.is_terminal().then(|| usage_object(&row.usage)),
        metadata: row
            .metadata
            .as_deref()
            .and_then(|json| serde_json::from_str(json).ok()),
        ..Batch::default()
    }
}

fn usage_object(usage: &Usage) -> BatchUsage {
    BatchUsage {
        input_tokens: usage.input,
        input_tokens_details: InputTokensDetails {
            cached_tokens: usage.cached,
        },
        output_tokens: usage.output,
        output_tokens_details: OutputTokensDetails {
            reasoning_tokens: usage.reasoning,
        },
        total_tokens: usage.total,
    }
}
