//! The batches of a provider: the trait, its requests and answers, and the calls behind it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use reqwest::header::HeaderValue;
use serde_json::{Map, Value, json};

use crate::call::{Call, Payload};
use crate::error::{DittoError, Result};
use crate::http::{Transport, read_json};
use crate::operation::Operation;
use crate::paging::Paging;
use crate::provider_options::{self, ProviderOptions};
use crate::warning::Warning;
use crate::wire::{Batch, Page};

/// What can be done with the batches of a provider. Object safe: `Arc<dyn BatchClient>` works.
///
/// ```no_run
/// use std::sync::Arc;
/// use ditto_llm::BatchClient;
///
/// # async fn show(client: impl BatchClient + 'static) -> ditto_llm::Result<()> {
/// let batches: Arc<dyn BatchClient> = Arc::new(client);
/// let batch = batches.retrieve("batch_abc").await?.batch;
/// println!("{} is {}", batch.id, batch.status);
/// # Ok(()) }
/// ```
#[async_trait]
pub trait BatchClient: Send + Sync {
    /// The provider's id, such as `openai`.
    fn provider(&self) -> &str;

    /// Creates a batch. Never sent twice unless the provider surely did not take it.
    ///
    /// # Errors
    /// If the answer is lost, the error's
    /// [`outcome_unknown`](DittoError::outcome_unknown) is true: there may be a batch.
    async fn create(&self, request: BatchCreateRequest) -> Result<BatchResponse> {
        self.create_with(request, CreateOptions::default()).await
    }

    /// As [`create`](Self::create), with what newer APIs add.
    async fn create_with(
        &self,
        request: BatchCreateRequest,
        options: CreateOptions,
    ) -> Result<BatchResponse>;

    /// A batch as it stands.
    async fn retrieve(&self, batch_id: &str) -> Result<BatchResponse>;

    /// Asks for a batch to be cancelled. It may go on for some minutes, and may still complete;
    /// what was answered is kept.
    ///
    /// # Errors
    /// Status 409 if the batch has ended already.
    async fn cancel(&self, batch_id: &str) -> Result<BatchResponse>;

    /// One page of the list of batches, newest first: at most `limit` of them (1 to 100 at
    /// OpenAI), those after the batch with the id `after`.
    async fn list(&self, limit: Option<u32>, after: Option<String>) -> Result<BatchListResponse>;
}

/// A batch to create.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BatchCreateRequest {
    /// The uploaded input file.
    pub input_file_id: String,
    /// The endpoint of every line, such as `/v1/chat/completions`.
    pub endpoint: String,
    /// The time the batch may take; `24h` at OpenAI.
    pub completion_window: String,
    /// Up to 16 pairs of your own (key up to 64 characters, value up to 512).
    pub metadata: Option<BTreeMap<String, String>>,
    /// Fields beyond the protocol.
    pub provider_options: Option<ProviderOptions>,
}

/// What newer APIs add to creating a batch.
///
/// ```
/// use ditto_llm::CreateOptions;
///
/// let options = CreateOptions::default().output_expires_after(604_800).idempotency_key("job-7");
/// # let _ = options;
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreateOptions {
    /// Result files are deleted that many seconds after they were made (OpenAI: 3,600 to
    /// 2,592,000).
    pub output_expires_after: Option<u64>,
    /// Sent as `Idempotency-Key`: a server that knows it creates one batch per key. Since few do,
    /// an unknown outcome is still not repeated.
    pub idempotency_key: Option<String>,
}

impl CreateOptions {
    /// Sets after how many seconds result files are deleted.
    #[must_use]
    pub fn output_expires_after(self, seconds: u64) -> Self {
        Self {
            output_expires_after: Some(seconds),
            ..self
        }
    }

    /// Sets the idempotency key.
    #[must_use]
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        Self {
            idempotency_key: Some(key.into()),
            ..self
        }
    }
}

/// A batch, and what else came with it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BatchResponse {
    /// The batch.
    pub batch: Batch,
    /// What was left out of the request.
    pub warnings: Vec<Warning>,
    /// The whole answer, with the fields this version does not know.
    pub raw: Value,
}

/// One page of batches.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BatchListResponse {
    /// The batches, newest first.
    pub batches: Vec<Batch>,
    /// What to give as `after` for the next page; none on the last one.
    pub after: Option<String>,
    /// Whether there is another page.
    pub has_more: bool,
    /// What was left out of the request.
    pub warnings: Vec<Warning>,
    /// The whole answer, with the fields this version does not know.
    pub raw: Value,
}

pub(crate) async fn create(
    transport: &Transport,
    request: BatchCreateRequest,
    options: CreateOptions,
) -> Result<BatchResponse> {
    let operation = Operation::BatchCreate;
    let mut call = Call::new(operation, &["batches"]);
    if let Some(key) = &options.idempotency_key {
        let value = HeaderValue::try_from(key).map_err(|_| {
            DittoError::InvalidRequest(format!("idempotency key `{key}` fits no header"))
        })?;
        call.headers.insert("idempotency-key", value);
    }
    let (chosen, mut body) = match &request.provider_options {
        Some(options) => (options.choose(transport.provider())?, body_of(&request)),
        None => (provider_options::Chosen::default(), body_of(&request)),
    };
    if let Some(seconds) = options.output_expires_after {
        let expiry = json!({"anchor": "created_at", "seconds": seconds});
        body.insert("output_expires_after".to_owned(), expiry);
    }
    let fields = chosen.fields.clone();
    let warnings = provider_options::merge(&mut body, chosen);
    call.options = (!fields.is_empty()).then_some(&fields);
    call.payload = Payload::Json(serde_json::to_vec(&body)?.into());
    let answer = transport
        .send(call)
        .await
        .outcome
        .map_err(|error| unknown_if_unreadable(operation, error))?;
    response(operation, &answer.body, warnings)
        .map_err(|error| unknown_if_unreadable(operation, error))
}

/// The answer was a success, so there is a batch; only we cannot tell its name.
pub(crate) fn unknown_if_unreadable(operation: Operation, error: DittoError) -> DittoError {
    match error {
        DittoError::InvalidResponse(_) => DittoError::OutcomeUnknown {
            operation: operation.name(),
            source: Box::new(error),
        },
        other => other,
    }
}

fn body_of(request: &BatchCreateRequest) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert(
        "input_file_id".to_owned(),
        request.input_file_id.clone().into(),
    );
    body.insert("endpoint".to_owned(), request.endpoint.clone().into());
    body.insert(
        "completion_window".to_owned(),
        request.completion_window.clone().into(),
    );
    if let Some(metadata) = &request.metadata {
        body.insert("metadata".to_owned(), json!(metadata));
    }
    body
}

pub(crate) async fn retrieve(transport: &Transport, batch_id: &str) -> Result<BatchResponse> {
    one(
        transport,
        Operation::BatchRetrieve,
        &["batches", batch_id],
        batch_id,
    )
    .await
}

pub(crate) async fn cancel(transport: &Transport, batch_id: &str) -> Result<BatchResponse> {
    one(
        transport,
        Operation::BatchCancel,
        &["batches", batch_id, "cancel"],
        batch_id,
    )
    .await
}

async fn one(
    transport: &Transport,
    operation: Operation,
    path: &[&str],
    batch_id: &str,
) -> Result<BatchResponse> {
    let mut call = Call::new(operation, path);
    call.subject = Some(batch_id);
    let answer = transport.send(call).await.outcome?;
    response(operation, &answer.body, Vec::new())
}

pub(crate) fn response(
    operation: Operation,
    body: &[u8],
    warnings: Vec<Warning>,
) -> Result<BatchResponse> {
    let raw: Value = read_json(operation, body)?;
    let batch = Batch::from_answer(&raw).map_err(|error| {
        DittoError::InvalidResponse(format!("{}: no batch: {error}", operation.name()))
    })?;
    Ok(BatchResponse {
        batch,
        warnings,
        raw,
    })
}

pub(crate) async fn list(
    transport: &Transport,
    limit: Option<u32>,
    after: Option<String>,
) -> Result<BatchListResponse> {
    let paging = transport.paging();
    let cursor = match paging {
        Paging::Cursor => "cursor",
        Paging::After | Paging::Offset | Paging::None => "after",
    };
    let before = after.clone();
    let call = Call::new(Operation::BatchList, &["batches"])
        .query(cursor, after)
        .query("limit", limit);
    let raw: Value = transport.json(call).await?;
    let page: Page<Batch> = serde_json::from_value(raw.clone()).map_err(|error| {
        DittoError::InvalidResponse(format!("batch.list: no list of batches: {error}"))
    })?;
    let after = next_page(paging, before.as_deref(), &page, &raw);
    Ok(BatchListResponse {
        batches: page.data,
        has_more: after.is_some(),
        after,
        warnings: Vec::new(),
        raw,
    })
}

/// What to ask with for the next page; none on the last one.
fn next_page(
    paging: Paging,
    before: Option<&str>,
    page: &Page<Batch>,
    raw: &Value,
) -> Option<String> {
    match paging {
        // The cursor is the last batch itself: not every provider fills `last_id`.
        Paging::After => page
            .data
            .last()
            .map(|batch| batch.id.clone())
            .filter(|_| page.has_more),
        Paging::Cursor => {
            let next = raw.get("paging")?.get("next_cursor")?.as_str()?;
            Some(next.to_owned()).filter(|next| !next.is_empty())
        }
        Paging::Offset => {
            let listed: u64 = before.and_then(|before| before.parse().ok()).unwrap_or(0);
            let goes_on = page.has_more && !page.data.is_empty();
            goes_on.then(|| (listed + page.data.len() as u64).to_string())
        }
        Paging::None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(paging: Paging, before: Option<&str>, raw: &Value) -> Option<String> {
        let page: Page<Batch> = serde_json::from_value(raw.clone()).unwrap();
        next_page(paging, before, &page, raw)
    }

    #[test]
    fn each_provider_is_asked_for_the_next_page_in_its_own_way() {
        let batches = json!([{"id": "b1"}, {"id": "b2"}]);
        let more = json!({"data": batches, "has_more": true, "paging": {"next_cursor": "c2"}});
        let last = json!({"data": batches, "has_more": false, "paging": {"next_cursor": null}});
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(next(Paging::After, None, &more), text("b2"));
        assert_eq!(next(Paging::Cursor, None, &more), text("c2"));
        assert_eq!(next(Paging::Offset, None, &more), text("2"));
        assert_eq!(
            next(Paging::Offset, text("40").as_deref(), &more),
            text("42")
        );
        assert_eq!(next(Paging::None, None, &batches), None);
        for paging in [Paging::After, Paging::Cursor, Paging::Offset] {
            assert_eq!(next(paging, None, &last), None, "{paging:?}");
        }
    }
}
