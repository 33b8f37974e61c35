//! Calls that go beyond the protocol: Ditto's own server knows them.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt as _};
use serde_json::json;

use crate::batches::{BatchResponse, response, unknown_if_unreadable};
use crate::call::{Call, Payload};
use crate::error::{DittoError, Result};
use crate::http::{Transport, text_header};
use crate::operation::Operation;
use crate::providers::OpenAICompatibleBatches;
use crate::wire::FailureClass;

/// Rows that were recorded since the page before, as JSONL, in chunks. A page that breaks off is asked
/// for again with the same cursor.
pub struct RecordedPage {
    /// What to give as `after` for the next page.
    pub next: String,
    /// The batch has ended, and nothing comes behind this page.
    pub ended: bool,
    chunks: BoxStream<'static, Result<Bytes>>,
}

impl Stream for RecordedPage {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.chunks.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for RecordedPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedPage")
            .field("next", &self.next)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl OpenAICompatibleBatches {
    /// Makes a batch of the lines of an ended one that failed in these ways; of all that can pass if
    /// none is named. Only Ditto's server has this call; others answer 404.
    ///
    /// # Errors
    /// As [`BatchClient::create_with`](crate::BatchClient::create_with): what may have happened is not
    /// sent again.
    pub async fn retry_failed(
        &self,
        batch_id: &str,
        only: &[FailureClass],
    ) -> Result<BatchResponse> {
        retry(self.transport(), batch_id, only).await
    }

    /// The rows that a batch has recorded since the cursor `after` (at first empty), each once, while
    /// it runs and afterwards. If there is none, it is waited for up to so long, 60 seconds at most.
    /// Only Ditto's server has this call.
    ///
    /// # Errors
    /// 404 as [`DittoError::Api`] if there is no such batch, or its result files are gone.
    pub async fn recorded(
        &self,
        batch_id: &str,
        after: &str,
        wait: Duration,
    ) -> Result<RecordedPage> {
        recorded(self.transport(), batch_id, after, wait).await
    }
}

async fn retry(
    transport: &Transport,
    batch_id: &str,
    only: &[FailureClass],
) -> Result<BatchResponse> {
    let operation = Operation::BatchRetry;
    let path = ["batches", batch_id, "retry"];
    let mut call = Call::new(operation, &path);
    call.subject = Some(batch_id);
    let only: Vec<_> = only.iter().map(|class| class.as_str()).collect();
    call.payload = Payload::Json(serde_json::to_vec(&json!({ "only": only }))?.into());
    let unknown = |error| unknown_if_unreadable(operation, error);
    let answer = transport.send(call).await.outcome.map_err(unknown)?;
    response(operation, &answer.body, Vec::new()).map_err(unknown)
}

async fn recorded(
    transport: &Transport,
    batch_id: &str,
    after: &str,
    wait: Duration,
) -> Result<RecordedPage> {
    let path = ["batches", batch_id, "results"];
    let mut call = Call::new(Operation::BatchResults, &path)
        .query("after", Some(after))
        .query("wait", Some(wait.as_secs().min(60)));
    call.subject = Some(batch_id);
    let answer = transport.send(call).await.outcome?;
    let unreadable = |what: &str| DittoError::InvalidResponse(format!("batch.results: {what}"));
    let page = answer.stream.ok_or_else(|| unreadable("no body"))?;
    let next = text_header(&page, "ditto-next")
        .ok_or_else(|| unreadable("no cursor; is it one of Ditto's servers?"))?;
    let ended = text_header(&page, "ditto-ended").as_deref() == Some("true");
    let cut = Cut {
        batch_id: batch_id.to_owned(),
        received: 0,
    };
    let chunks = page.bytes_stream().scan(cut, |cut, chunk| {
        let chunk = chunk.map_err(|_| cut.error());
        cut.received += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        std::future::ready(Some(chunk))
    });
    Ok(RecordedPage {
        next,
        ended,
        chunks: chunks.boxed(),
    })
}

/// How far a page came before it broke off.
struct Cut {
    batch_id: String,
    received: u64,
}

impl Cut {
    fn error(&self) -> DittoError {
        DittoError::Incomplete {
            file_id: self.batch_id.clone(),
            received: self.received,
            expected: None,
        }
    }
}
