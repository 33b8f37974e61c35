//! `/v1/batches`

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use ditto_llm::wire::{Batch, FailureClass, Page};
use schemars::JsonSchema;
use serde::Deserialize;

use super::auth::Tenant;
use super::error::{Answer, Failure};
use super::extension::{Asked, Wishes};
use super::incoming::Incoming;
use super::json::{Object, between_commas, expect_json};
use super::once::{once, once_about};
use super::params::{Id, PageSize, Params, given, unknown_value};
use crate::service::{BatchRequest, Once, Service};

/// OpenAI's.
const PAGE: PageSize = PageSize {
    default: 20,
    max: 100,
};
/// Far over what 16 pairs of metadata can fill.
const MAX_BODY: usize = 1 << 20;
/// It goes into a row.
const MAX_FILE_ID: usize = 256;

/// `POST /v1/batches`
pub(super) async fn create(
    State(service): State<Service>,
    tenant: Tenant,
    asked: Asked,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<Batch>> {
    let mut incoming = Incoming::new(&headers, body);
    let (request, wishes) = match read(&headers, &mut incoming).await {
        Ok(request) => request,
        Err(failure) => {
            incoming.drain().await;
            return Err(failure);
        }
    };
    let batch = service.create_batch(tenant.name(), request).await?;
    Ok(Asked(asked.0 || wishes).sees(batch))
}

/// The request, and whether it has wishes beyond the protocol.
async fn read(headers: &HeaderMap, incoming: &mut Incoming) -> Answer<(BatchRequest, bool)> {
    expect_json(headers)?;
    let body = incoming.whole(MAX_BODY).await?;
    let mut fields = Object::read(&body)?;
    let once = once(headers, &mut fields)?;
    let wishes = Wishes::read(&mut fields)?;
    let Wishes {
        lenient,
        mixed_models,
    } = wishes.unwrap_or_default();
    let request = BatchRequest {
        input_file_id: fields.text("input_file_id")?,
        endpoint: fields.text("endpoint")?,
        completion_window: fields.text("completion_window")?,
        metadata: fields.metadata()?,
        output_expires_after: fields.expiry("output_expires_after")?,
        lenient,
        mixed_models,
        once: Some(once),
        ..BatchRequest::default()
    };
    check_file_id(&request.input_file_id)?;
    Ok((request, wishes.is_some()))
}

fn check_file_id(id: &str) -> Answer<()> {
    if id.len() <= MAX_FILE_ID {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "Invalid 'input_file_id': string too long. Expected a string with maximum length \
         {MAX_FILE_ID}, but got a string with length {} instead.",
        id.len()
    ))
    .with_param("input_file_id")
    .with_code("string_above_max_length"))
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ListParams {
    /// Objects a page.
    #[schemars(with = "Option<i64>", range(min = 1, max = 100))]
    limit: Option<String>,
    /// The last id of the page before.
    after: Option<String>,
}

/// `GET /v1/batches`
pub(super) async fn list(
    State(service): State<Service>,
    tenant: Tenant,
    asked: Asked,
    Params(params): Params<ListParams>,
) -> Answer<Json<Page<Batch>>> {
    let limit = PAGE.of(params.limit.as_deref())?;
    let after = given("after", params.after)?;
    let listed = service
        .batches(tenant.name(), limit, after.as_deref())
        .await?;
    let batches = listed.data.into_iter().map(|batch| asked.sees(batch).0);
    let data: Vec<_> = batches.collect();
    Ok(Json(Page {
        first_id: data.first().map(|batch| batch.id.clone()),
        last_id: data.last().map(|batch| batch.id.clone()),
        data,
        has_more: listed.has_more,
        ..Page::default()
    }))
}

/// `GET /v1/batches/{id}`
pub(super) async fn retrieve(
    State(service): State<Service>,
    tenant: Tenant,
    asked: Asked,
    Id(id): Id,
) -> Answer<Json<Batch>> {
    Ok(asked.sees(service.batch(tenant.name(), &id).await?))
}

/// `POST /v1/batches/{id}/cancel`. A body, if there is one, says nothing.
pub(super) async fn cancel(
    State(service): State<Service>,
    tenant: Tenant,
    asked: Asked,
    Id(id): Id,
) -> Answer<Json<Batch>> {
    Ok(asked.sees(service.cancel_batch(tenant.name(), &id).await?))
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct RetryParams {
    /// Classes of failures, with commas.
    only: Option<String>,
}

/// `POST /v1/batches/{id}/retry`: ours. `only` stands in the query or in a JSON body.
pub(super) async fn retry(
    State(service): State<Service>,
    tenant: Tenant,
    Id(id): Id,
    Params(params): Params<RetryParams>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<Batch>> {
    let mut incoming = Incoming::new(&headers, body);
    let read = read_retry(&headers, &mut incoming, &id, params.only).await;
    let (only, once) = match read {
        Ok(read) => read,
        Err(failure) => {
            incoming.drain().await;
            return Err(failure);
        }
    };
    let batch = service
        .retry_batch(tenant.name(), &id, only, Some(once))
        .await?;
    Ok(Asked(true).sees(batch))
}

async fn read_retry(
    headers: &HeaderMap,
    incoming: &mut Incoming,
    id: &str,
    in_query: Option<String>,
) -> Answer<(Vec<FailureClass>, Once)> {
    let body = incoming.whole(MAX_BODY).await?;
    let mut fields = Object::default();
    if !body.trim_ascii().is_empty() {
        expect_json(headers)?;
        fields = Object::read(&body)?;
    }
    let in_body = fields.words("only")?.as_deref().map(classes).transpose()?;
    let in_query = in_query
        .map(|only| classes(&between_commas(&only)))
        .transpose()?;
    if let (Some(body), Some(query)) = (&in_body, &in_query)
        && body != query
    {
        return Err(Failure::invalid(
            "The query and the body name different classes in 'only'. Give it once.",
        )
        .with_param("only"));
    }
    let only = in_body.or(in_query).unwrap_or_default();
    let once = once_about(&format!("retry {id} {only:?}"), headers, &mut fields)?;
    fields.nothing_else()?;
    Ok((only, once))
}

/// In one order, each once. An empty choice is a slip, and not all of them: they cost money.
fn classes(words: &[String]) -> Answer<Vec<FailureClass>> {
    if words.is_empty() {
        return Err(Failure::invalid(
            "Invalid 'only': no class is named. Leave it out to run again all that can end otherwise.",
        )
        .with_param("only")
        .with_code("invalid_value"));
    }
    let mut classes = words
        .iter()
        .map(|word| class(word))
        .collect::<Answer<Vec<_>>>()?;
    classes.sort_unstable();
    classes.dedup();
    Ok(classes)
}

fn class(word: &str) -> Answer<FailureClass> {
    FailureClass::parse(word).ok_or_else(|| {
        let known = FailureClass::ALL.map(FailureClass::as_str);
        unknown_value("only", word, &known)
    })
}
