//! What a client may ask, without HTTP.
//!
//! The HTTP layer and `ditto-batch run` call the same methods, so that both see the same batch.

mod at_work;
mod complete;
mod first_line;
mod intake;
mod keyed;
pub(crate) mod keys;
mod objects;
mod pending;
pub(crate) mod quota;
mod results;
mod retry;
mod room;
#[cfg(test)]
mod tests;
mod upload;
mod uploads;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ditto_llm::wire::{Batch, FileObject};
use futures_util::Stream;

pub(crate) use self::at_work::AtWork;
pub use self::complete::CompleteRequest;
pub(crate) use self::first_line::{FirstLine, check_extension};
pub(crate) use self::intake::too_large;
pub use self::keys::Access;
pub use self::results::{Cursor, ResultPage};
pub use self::upload::Upload;
pub use self::uploads::{PartUpload, UploadRequest};
pub use crate::catalog::Once;
pub(crate) use crate::model::upload::{PART_BYTES, PARTS};

use self::keys::Keys;
use self::objects::{
    batch_object, file_object, key_reused, lane_object, listed, no_such_batch, no_such_file,
    unknown_cursor, unknown_value,
};
use self::quota::Quotas;
use crate::blobs::{Blobs, name};
use crate::budget::Share;
use crate::catalog::{
    BatchOptions, Cancelled, Catalog, Created, FileQuery, FileRow, NewBatch, NewFile, Order,
    ReadyFile, Route,
};
use crate::config::{CompletionWindow, Config, Mode, UpstreamConfig, Window};
use crate::engine::{Engine, LaneReport};
use crate::error::{Error, ErrorKind, Result};
use crate::id;
use crate::manifest::{LineIndex, Manifest};
use crate::model::batch::wire_status;
use crate::space::Gauge;

/// What a client may ask. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Service {
    pub(crate) config: Arc<Config>,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) blobs: Blobs,
    pub(crate) engine: Engine,
    pub(crate) gauge: Gauge,
    /// Memory for uploads.
    pub(crate) uploads: Share,
    pub(crate) at_work: AtWork,
    /// Who may ask.
    pub(crate) keys: Arc<Keys>,
    /// How often, and how much at once.
    pub(crate) quotas: Arc<Quotas>,
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
    /// `24h`, or another that the server is set to know.
    pub completion_window: String,
    /// At most 16 pairs of strings.
    pub metadata: Option<std::collections::BTreeMap<String, String>>,
    /// Lifetime of the result files, from their creation.
    pub output_expires_after: Option<Duration>,
    /// A bad line becomes an error line and the others run; `None`: as the server is set.
    pub lenient: Option<bool>,
    /// Its lines may name several models; `None`: as the server is set.
    pub mixed_models: Option<bool>,
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

/// Blobs looked at before a download begins: those of four million lines, in about a tenth of a
/// second. Of a longer file what is gone behind them cuts the download.
const BLOBS_LOOKED_AT: usize = 4096;

impl Content {
    /// Whether these bytes are still on the disk, before any of them is promised.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`] if a part of them is gone.
    pub async fn check(&self, range: Range<u64>) -> Result<()> {
        let pieces = self.manifest.slice(range);
        self.blobs.check(&pieces, BLOBS_LOOKED_AT).await
    }

    /// Streams these bytes.
    pub fn stream(&self, range: Range<u64>) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
        self.blobs.read(self.manifest.slice(range))
    }
}

impl Service {
    // --- files -------------------------------------------------------------------------------

    /// Names a file that stays where it is, for `run`, and needs no room: `file_name` is in the folder that the
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
            piece: None,
            within: None,
            once: None,
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
        let manifest = self.blobs.manifest_of(&row.id, row.piece.as_ref()).await?;
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
        self.check_endpoint(&request.endpoint)?;
        let window = self.window(&request.completion_window)?;
        let expires_after = request.deadline.or(self.expiry(window));
        let metadata = request
            .metadata
            .map(|m| serde_json::to_string(&m).expect("a map of strings is always JSON"));
        let lenient = request.lenient.unwrap_or(self.config.mode == Mode::Lenient);
        let mixed_models = request.mixed_models.or(self.config.mixed_models);
        let bounds = self.bounds(tenant).await?;
        self.make_batch(NewBatch {
            id: id::batch(),
            tenant: tenant.to_owned(),
            input_file_id: request.input_file_id,
            endpoint: request.endpoint,
            completion_window: request.completion_window,
            expires_after,
            metadata,
            options: BatchOptions {
                lenient,
                one_model: !mixed_models.unwrap_or(lenient),
                fill_model: request.fill_model,
                fill_endpoint: request.fill_endpoint,
                bare_suffix: request.bare_lines.then(String::new),
                output_expires_after: request.output_expires_after.map(|d| d.as_secs()),
                // The catalog's to say.
                input_there: false,
            },
            retry: None,
            lines: None,
            once: request.once,
            bounds,
            validator: None,
        })
        .await
    }

    /// Where this process can validate it at once, it is made so that no other does. If we stop or are
    /// dropped behind that, it is found again as a batch whose first try did not come to an end.
    async fn make_batch(&self, mut batch: NewBatch) -> Result<Batch> {
        let turn = self.engine.turn_to_validate();
        batch.validator = turn.as_ref().map(|_| self.engine.incarnation().to_owned());
        let route = match batch.retry {
            Some(_) => Route::Retry,
            None => Route::Batches,
        };
        match self.catalog.create_batch(batch).await? {
            Created::New(row) => {
                let batch = batch_object(&row);
                match turn {
                    Some(turn) => self.engine.validate(turn, *row),
                    None => self.engine.wake(),
                }
                Ok(batch)
            }
            Created::Again(row) => Ok(batch_object(&row)),
            Created::Mismatch(row) => Err(key_reused(route, &row.id)),
            Created::Refused(refusal) => Err(self.refused(refusal).await),
        }
    }

    /// When a batch with this window expires.
    fn expiry(&self, window: &CompletionWindow) -> Option<Duration> {
        let shipped = match self.keys.asked_for() {
            true => Window::Expire,
            false => Window::KeepGoing,
        };
        match window.end.unwrap_or(shipped) {
            Window::Expire => Some(window.length),
            Window::KeepGoing => None,
        }
    }

    fn check_endpoint(&self, endpoint: &str) -> Result<()> {
        match self.config.endpoints.iter().any(|known| known == endpoint) {
            true => Ok(()),
            false => Err(unknown_value("endpoint", endpoint, &self.config.endpoints)),
        }
    }

    fn window(&self, name: &str) -> Result<&CompletionWindow> {
        let windows = &self.config.windows;
        windows
            .iter()
            .find(|window| window.name == name)
            .ok_or_else(|| {
                let names: Vec<_> = windows.iter().map(|window| window.name.clone()).collect();
                unknown_value("completion_window", name, &names)
            })
    }

    /// One batch.
    pub async fn batch(&self, tenant: &str, id: &str) -> Result<Batch> {
        let row = self.catalog.batch(tenant, id).await?;
        let row = row.ok_or_else(|| no_such_batch(id))?;
        let mut batch = batch_object(&row);
        if let Some(extension) = &mut batch.ditto {
            let lanes = self.engine.lanes_of(row.key);
            extension.lanes = lanes.into_iter().map(lane_object).collect();
        }
        Ok(batch)
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

    /// The models that the upstreams offer this tenant.
    pub async fn models(&self, tenant: &str) -> Result<Vec<serde_json::Value>> {
        self.engine.models(tenant).await
    }

    /// Lines go to these upstreams from now on. What one that is not among them has in flight comes to
    /// its end; everything else of the configuration stays as it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] if they cannot be, or if lines of a model are under way that none of them
    /// serves; nothing has changed then.
    pub async fn reload_upstreams(&self, upstreams: &[UpstreamConfig]) -> Result<()> {
        self.engine.reload(upstreams).await
    }

    /// Why batches stand still while others go on, each reason once: something of theirs is gone from
    /// the disk.
    pub fn stuck(&self) -> Vec<String> {
        self.engine.stuck()
    }

    /// Whether work can be taken; the sentence says why not.
    pub async fn ready(&self) -> Result<()> {
        self.catalog.open_batches().await?;
        match self.engine.stalled().or_else(|| self.engine.broken()) {
            Some(reason) => Err(Error::new(ErrorKind::Unavailable, reason)),
            None => Ok(()),
        }
    }
}
