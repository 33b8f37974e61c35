//! A file on its way up: where its bytes come from, and how they are sent.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use reqwest::multipart::{Form, Part};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;
use tokio_util::io::ReaderStream;

use crate::error::{DittoError, Result};

/// Bytes read at once from a file or reader.
const CHUNK: usize = 64 * 1024;

/// How long the server may take to answer after the last byte: it may be storing the file.
const ANSWER_WAIT: Duration = Duration::from_secs(300);

/// A file to upload. Whatever its size it is streamed, with its length announced.
///
/// ```
/// use ditto_llm::FileUpload;
///
/// let from_disk = FileUpload::from_path("requests.jsonl");
/// let from_memory = FileUpload::from_bytes("requests.jsonl", "{}\n").expires_after(86_400);
/// # let _ = (from_disk, from_memory);
/// ```
pub struct FileUpload {
    filename: String,
    purpose: String,
    content_type: Option<String>,
    expires_after: Option<u64>,
    source: Source,
}

enum Source {
    Path(PathBuf),
    Bytes(Bytes),
    /// Places of one file, as (offset, bytes), one after the other.
    #[cfg(feature = "jobs")]
    Parts {
        path: PathBuf,
        parts: Arc<[(u64, u64)]>,
    },
    /// Taken out by the first attempt; what was read of it cannot be read again.
    Reader {
        reader: Mutex<Option<Reader>>,
        length: u64,
    },
}

type Reader = Pin<Box<dyn AsyncRead + Send>>;

impl FileUpload {
    /// A file on disk, uploaded under its own name.
    pub fn from_path(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        Self::new(name.unwrap_or_default(), Source::Path(path))
    }

    /// Places of a file on disk, one after the other.
    #[cfg(feature = "jobs")]
    pub(crate) fn from_parts(path: impl Into<PathBuf>, parts: Vec<(u64, u64)>) -> Self {
        let source = Source::Parts {
            path: path.into(),
            parts: parts.into(),
        };
        Self::new("requests.jsonl".to_owned(), source)
    }

    /// Bytes in memory. The name should end in `.jsonl`: OpenAI refuses others for batches.
    pub fn from_bytes(filename: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        Self::new(filename.into(), Source::Bytes(bytes.into()))
    }

    /// A reader of known length, in bytes. It can be read once only, so an upload that breaks off
    /// is not sent again.
    pub fn from_reader(
        filename: impl Into<String>,
        reader: impl AsyncRead + Send + 'static,
        length: u64,
    ) -> Self {
        let reader: Reader = Box::pin(reader);
        Self::new(
            filename.into(),
            Source::Reader {
                reader: Mutex::new(Some(reader)),
                length,
            },
        )
    }

    fn new(filename: String, source: Source) -> Self {
        Self {
            filename,
            purpose: "batch".to_owned(),
            content_type: Some("application/jsonl".to_owned()),
            expires_after: None,
            source,
        }
    }

    /// The name at the provider.
    #[must_use]
    pub fn filename(self, filename: impl Into<String>) -> Self {
        Self {
            filename: filename.into(),
            ..self
        }
    }

    /// What the file is for; `batch` unless set.
    #[must_use]
    pub fn purpose(self, purpose: impl Into<String>) -> Self {
        Self {
            purpose: purpose.into(),
            ..self
        }
    }

    /// The content type of the file; `application/jsonl` unless set, none for `None`.
    #[must_use]
    pub fn content_type(self, content_type: Option<&str>) -> Self {
        Self {
            content_type: content_type.map(str::to_owned),
            ..self
        }
    }

    /// Lets the provider delete the file that many seconds after the upload (OpenAI: one hour to
    /// 30 days, and 30 days for batch files unless set).
    #[must_use]
    pub fn expires_after(self, seconds: u64) -> Self {
        Self {
            expires_after: Some(seconds),
            ..self
        }
    }

    /// Opens the source and makes the form, fields before the file: servers that stream know
    /// then what the bytes are for.
    pub(crate) async fn form(&self) -> Result<(Form, Arc<Progress>)> {
        let (bytes, length) = self.open().await?;
        let progress = Arc::new(Progress::new(length));
        let body = reqwest::Body::wrap_stream(watched(bytes, length, Arc::clone(&progress)));
        let mut file = Part::stream_with_length(body, length).file_name(self.filename.clone());
        if let Some(kind) = &self.content_type {
            file = file
                .mime_str(kind)
                .map_err(|_| DittoError::InvalidRequest(format!("`{kind}` is no content type")))?;
        }
        let mut form = Form::new().text("purpose", self.purpose.clone());
        if let Some(seconds) = self.expires_after {
            form = form
                .text("expires_after[anchor]", "created_at")
                .text("expires_after[seconds]", seconds.to_string());
        }
        Ok((form.part("file", file), progress))
    }

    async fn open(&self) -> Result<(ByteStream, u64)> {
        match &self.source {
            Source::Bytes(bytes) => {
                let whole = bytes.clone();
                let chunks = stream::unfold(whole, |mut rest| async move {
                    let next = rest.split_to(rest.len().min(CHUNK));
                    (!next.is_empty()).then_some((Ok(next), rest))
                });
                Ok((chunks.boxed(), bytes.len() as u64))
            }
            Source::Path(path) => open_file(path).await.map_err(|error| {
                let text = format!("{}: {error}", path.display());
                DittoError::Io(io::Error::new(error.kind(), text))
            }),
            #[cfg(feature = "jobs")]
            Source::Parts { path, parts } => {
                let length = parts.iter().map(|(_, bytes)| bytes).sum();
                Ok((open_parts(path.clone(), Arc::clone(parts)), length))
            }
            Source::Reader { reader, length } => {
                let taken = reader.lock().unwrap_or_else(PoisonError::into_inner).take();
                let reader = taken.ok_or_else(|| {
                    DittoError::InvalidRequest("this reader was uploaded already".to_owned())
                })?;
                Ok((chunks_of(reader, *length), *length))
            }
        }
    }

    /// All of it, for a test that is the server.
    #[cfg(all(test, feature = "jobs"))]
    pub(crate) async fn bytes(&self) -> Result<Vec<u8>> {
        use futures_util::TryStreamExt as _;

        let (chunks, length) = self.open().await?;
        let chunks: Vec<Bytes> = chunks.try_collect().await?;
        let bytes = chunks.concat();
        assert_eq!(bytes.len() as u64, length);
        Ok(bytes)
    }

    /// Whether the bytes can be had once more.
    pub(crate) fn can_restart(&self) -> bool {
        match &self.source {
            Source::Path(_) | Source::Bytes(_) => true,
            #[cfg(feature = "jobs")]
            Source::Parts { .. } => true,
            Source::Reader { .. } => false,
        }
    }
}

impl fmt::Debug for FileUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileUpload")
            .field("filename", &self.filename)
            .field("purpose", &self.purpose)
            .field("content_type", &self.content_type)
            .field("expires_after", &self.expires_after)
            .finish_non_exhaustive()
    }
}

type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

async fn open_file(path: &Path) -> io::Result<(ByteStream, u64)> {
    let file = tokio::fs::File::open(path).await?;
    let about = file.metadata().await?;
    if !about.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    Ok((chunks_of(file, about.len()), about.len()))
}

#[cfg(feature = "jobs")]
fn open_parts(path: PathBuf, parts: Arc<[(u64, u64)]>) -> ByteStream {
    use futures_util::TryStreamExt as _;
    use tokio::io::AsyncSeekExt as _;

    stream::iter(0..parts.len())
        .then(move |index| {
            let (path, (offset, bytes)) = (path.clone(), parts[index]);
            async move {
                let mut file = tokio::fs::File::open(&path).await?;
                file.seek(io::SeekFrom::Start(offset)).await?;
                Ok::<_, io::Error>(chunks_of(file, bytes))
            }
        })
        .try_flatten()
        .boxed()
}

/// At most the announced bytes: a file that grows meanwhile must not break the request.
fn chunks_of(reader: impl AsyncRead + Send + 'static, length: u64) -> ByteStream {
    ReaderStream::with_capacity(reader.take(length), CHUNK).boxed()
}

/// Counts what is handed to the connection, and keeps what went wrong at the source.
fn watched(
    bytes: ByteStream,
    length: u64,
    progress: Arc<Progress>,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let end = stream::once(async { Ok(Bytes::new()) });
    bytes.chain(end).scan(0, move |sent, chunk| {
        let chunk = chunk.and_then(|chunk| {
            let is_end = chunk.is_empty();
            *sent += chunk.len() as u64;
            progress.moved(*sent);
            if is_end && *sent < length {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("the source ended after {sent} of {length} bytes"),
                ));
            }
            Ok(chunk)
        });
        let chunk = chunk.map_err(|error| progress.failed(&error));
        std::future::ready(Some(chunk))
    })
}

/// How an upload gets on. It has no time limit as a whole, only one without progress.
pub(crate) struct Progress {
    length: u64,
    last: Mutex<Instant>,
    all_sent: AtomicBool,
    failure: Mutex<Option<io::Error>>,
}

impl Progress {
    fn new(length: u64) -> Self {
        Self {
            length,
            last: Mutex::new(Instant::now()),
            all_sent: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    fn moved(&self, sent: u64) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.all_sent.store(sent >= self.length, Ordering::Relaxed);
    }

    fn failed(&self, error: &io::Error) -> io::Error {
        let copy = io::Error::new(error.kind(), error.to_string());
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy);
        io::Error::new(error.kind(), error.to_string())
    }

    /// What went wrong at the source, if that is why the upload failed.
    pub(crate) fn source_failure(&self) -> Option<io::Error> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Waits until nothing has moved for `idle`, or the answer is overdue.
    pub(crate) async fn stalled(&self, idle: Duration) {
        loop {
            let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let patience = if self.all_sent.load(Ordering::Relaxed) {
                idle.max(ANSWER_WAIT)
            } else {
                idle
            };
            let left = patience.saturating_sub(last.elapsed());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}
