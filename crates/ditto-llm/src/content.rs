//! A file on its way down: a stream that goes on after a cut, where the server allows it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use reqwest::header::{self, HeaderValue};
use reqwest::{Response, StatusCode};

use crate::call::Call;
use crate::error::{DittoError, Result};
use crate::http::{Transport, text_header};
use crate::operation::Operation;

/// Resumptions in a row that may bring no byte.
const FRUITLESS: u32 = 5;

/// The content of a file, as a stream of chunks.
///
/// A cut transfer is resumed by itself if the server advertised ranges and a strong `ETag`;
/// otherwise the stream ends with [`DittoError::Incomplete`]. After an error it is over.
///
/// ```no_run
/// use futures_util::StreamExt as _;
/// # use ditto_llm::FileClient;
///
/// # async fn show(files: impl FileClient) -> ditto_llm::Result<()> {
/// let mut content = files.content("file-abc").await?;
/// let mut bytes = 0;
/// while let Some(chunk) = content.next().await {
///     bytes += chunk?.len();
/// }
/// # Ok(()) }
/// ```
pub struct Content {
    length: Option<u64>,
    chunks: Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>,
}

impl Content {
    /// The length in bytes, if the server announced it.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The whole content in memory. For files of a size you know.
    ///
    /// # Errors
    /// As the stream.
    pub async fn bytes(mut self) -> Result<Bytes> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.next().await {
            whole.extend_from_slice(&chunk?);
        }
        Ok(whole.into())
    }
}

impl Stream for Content {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.chunks.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// Opens the content of a file.
pub(crate) async fn open(transport: &Transport, file_id: &str) -> Result<Content> {
    let fetch = Fetch::open(transport, file_id).await?;
    let length = fetch.total;
    let chunks = stream::try_unfold(fetch, |mut fetch| async move {
        Ok(fetch.chunk().await?.map(|chunk| (chunk, fetch)))
    });
    Ok(Content {
        length,
        chunks: chunks.boxed(),
    })
}

/// One download, over as many connections as it takes.
pub(crate) struct Fetch {
    transport: Transport,
    file_id: String,
    response: Response,
    /// Bytes handed out.
    received: u64,
    /// Bytes of the open answer to drop, since they were handed out before.
    skip: u64,
    total: Option<u64>,
    /// The version to go on with; none if the server does not do ranges.
    etag: Option<HeaderValue>,
    fruitless: u32,
    resumptions: u32,
}

impl Fetch {
    pub(crate) async fn open(transport: &Transport, file_id: &str) -> Result<Self> {
        let response = request(transport, file_id, None).await?;
        if is_compressed(&response) {
            return Err(DittoError::InvalidResponse(
                "file.content: the file came compressed, though it was asked for as it is"
                    .to_owned(),
            ));
        }
        Ok(Self {
            transport: transport.clone(),
            file_id: file_id.to_owned(),
            received: 0,
            skip: 0,
            total: length(&response),
            etag: resumable(&response),
            response,
            fruitless: 0,
            resumptions: 0,
        })
    }

    pub(crate) fn total(&self) -> Option<u64> {
        self.total
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn resumptions(&self) -> u32 {
        self.resumptions
    }

    /// The next bytes; none at the end, which is where the server said it would be.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>> {
        loop {
            let next = tokio::time::timeout(self.transport.idle(), self.response.chunk()).await;
            match next {
                Ok(Ok(Some(chunk))) => {
                    if let Some(fresh) = self.fresh(chunk)? {
                        return Ok(Some(fresh));
                    }
                }
                Ok(Ok(None)) if self.total.is_none_or(|total| self.received == total) => {
                    return Ok(None);
                }
                // A short end, a broken connection, or silence.
                Ok(Ok(None) | Err(_)) | Err(_) => self.resume().await?,
            }
        }
    }

    /// What of a chunk was not handed out before.
    fn fresh(&mut self, mut chunk: Bytes) -> Result<Option<Bytes>> {
        let known = usize::try_from(self.skip)
            .unwrap_or(usize::MAX)
            .min(chunk.len());
        self.skip -= known as u64;
        let chunk = chunk.split_off(known);
        if chunk.is_empty() {
            return Ok(None);
        }
        self.received += chunk.len() as u64;
        if self.total.is_some_and(|total| self.received > total) {
            return Err(DittoError::InvalidResponse(format!(
                "file.content: {} is longer than announced",
                self.file_id
            )));
        }
        self.fruitless = 0;
        Ok(Some(chunk))
    }

    async fn resume(&mut self) -> Result<()> {
        let Some(etag) = self.etag.clone().filter(|_| self.fruitless < FRUITLESS) else {
            return Err(self.incomplete());
        };
        if self.fruitless > 0 {
            let backoff = self.transport.retry_policy().backoff;
            tokio::time::sleep(backoff.delay(self.fruitless, fastrand::f64())).await;
        }
        self.fruitless += 1;
        self.resumptions += 1;
        let from = Some((self.received, &etag));
        let response = request(&self.transport, &self.file_id, from).await?;
        self.skip = self.overlap(&response, &etag)?;
        self.response = response;
        Ok(())
    }

    /// How many bytes of a second answer are known already. The rest must be of the same version.
    fn overlap(&self, response: &Response, etag: &HeaderValue) -> Result<u64> {
        match response.status() {
            StatusCode::PARTIAL_CONTENT if self.goes_on(response, etag) => Ok(0),
            StatusCode::OK if resumable(response).as_ref() == Some(etag) => Ok(self.received),
            _ => Err(self.incomplete()),
        }
    }

    /// Whether a part is the rest of what we have. A server that ignores `If-Range` may send the
    /// rest of another version; then tag or length tell.
    fn goes_on(&self, response: &Response, etag: &HeaderValue) -> bool {
        let Some(part) = Part::of(response) else {
            return false;
        };
        let tag = response.headers().get(header::ETAG);
        part.start == self.received
            && tag.is_none_or(|tag| tag == etag)
            && (part.total.is_none() || part.total == self.total || self.total.is_none())
    }

    pub(crate) fn incomplete(&self) -> DittoError {
        DittoError::Incomplete {
            file_id: self.file_id.clone(),
            received: self.received,
            expected: self.total,
        }
    }
}

async fn request(
    transport: &Transport,
    file_id: &str,
    from: Option<(u64, &HeaderValue)>,
) -> Result<Response> {
    let path = ["files", file_id, "content"];
    let mut call = Call::new(Operation::FileContent, &path);
    call.subject = Some(file_id);
    // Compressed, neither lengths nor ranges would mean bytes of the file.
    call.headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    if let Some((at, etag)) = from {
        call.headers.insert(header::RANGE, range(at));
        call.headers.insert(header::IF_RANGE, etag.clone());
    }
    let answer = transport.send(call).await.outcome?;
    answer.stream.ok_or_else(|| {
        DittoError::InvalidResponse("file.content: the answer has no content".to_owned())
    })
}

fn range(from: u64) -> HeaderValue {
    HeaderValue::try_from(format!("bytes={from}-")).expect("digits are allowed in a header")
}

/// Whether the bytes are others than those of the file. `aws-chunked` is how object storage was
/// given a file, and no word on how it is sent.
fn is_compressed(response: &Response) -> bool {
    text_header(response, "content-encoding")
        .is_some_and(|encoding| !matches!(encoding.trim(), "" | "identity" | "aws-chunked"))
}

fn length(response: &Response) -> Option<u64> {
    text_header(response, "content-length")?.trim().parse().ok()
}

/// The strong `ETag` of an answer that may be asked for in ranges.
fn resumable(response: &Response) -> Option<HeaderValue> {
    let ranges = text_header(response, "accept-ranges")?;
    let etag = response.headers().get(header::ETAG)?;
    let strong = !etag.as_bytes().starts_with(b"W/");
    (strong && ranges.trim().eq_ignore_ascii_case("bytes")).then(|| etag.clone())
}

/// What an answer says of its part: `bytes 1048576-2097151/2097152`.
struct Part {
    start: u64,
    /// The length of the whole; some servers leave it open with `*`.
    total: Option<u64>,
}

impl Part {
    fn of(response: &Response) -> Option<Self> {
        let range = text_header(response, "content-range")?;
        let (span, total) = range.strip_prefix("bytes ")?.split_once('/')?;
        Some(Self {
            start: span.split('-').next()?.trim().parse().ok()?,
            total: total.trim().parse().ok(),
        })
    }
}
