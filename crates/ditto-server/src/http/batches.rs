//! `/v1/batches`

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use ditto_llm::wire::{Batch, Page};
use serde::Deserialize;

use super::auth::Tenant;
use super::error::{Answer, Failure};
use super::incoming::Incoming;
use super::json::{Object, expect_json};
use super::once::once;
use super::params::{Id, PageSize, Params, cursor};
use crate::service::{BatchRequest, Service};

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
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<Batch>> {
    let mut incoming = Incoming::new(&headers, body);
    let request = match read(&headers, &mut incoming).await {
        Ok(request) => request,
        Err(failure) => {
            incoming.drain().await;
            return Err(failure);
        }
    };
    Ok(Json(service.create_batch(tenant.name(), request).await?))
}

async fn read(headers: &HeaderMap, incoming: &mut Incoming) -> Answer<BatchRequest> {
    expect_json(headers)?;
    let body = incoming.whole(MAX_BODY).await?;
    let mut fields = Object::read(&body)?;
    let once = once(headers, &mut fields)?;
    let request = BatchRequest {
        input_file_id: fields.text("input_file_id")?,
        endpoint: fields.text("endpoint")?,
        completion_window: fields.text("completion_window")?,
        metadata: fields.metadata()?,
        output_expires_after: fields.expiry("output_expires_after")?,
        once: Some(once),
        ..BatchRequest::default()
    };
    check_file_id(&request.input_file_id)?;
    Ok(request)
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

#[derive(Debug, Deserialize)]
pub(super) struct ListParams {
    limit: Option<String>,
    after: Option<String>,
}

/// `GET /v1/batches`
pub(super) async fn list(
    State(service): State<Service>,
    tenant: Tenant,
    Params(params): Params<ListParams>,
) -> Answer<Json<Page<Batch>>> {
    let limit = PAGE.of(params.limit.as_deref())?;
    let after = cursor(params.after);
    let listed = service
        .batches(tenant.name(), limit, after.as_deref())
        .await?;
    Ok(Json(Page {
        first_id: listed.data.first().map(|batch| batch.id.clone()),
        last_id: listed.data.last().map(|batch| batch.id.clone()),
        data: listed.data,
        has_more: listed.has_more,
        ..Page::default()
    }))
}

/// `GET /v1/batches/{id}`
pub(super) async fn retrieve(
    State(service): State<Service>,
    tenant: Tenant,
    Id(id): Id,
) -> Answer<Json<Batch>> {
    Ok(Json(service.batch(tenant.name(), &id).await?))
}

/// `POST /v1/batches/{id}/cancel`. A body, if there is one, says nothing.
pub(super) async fn cancel(
    State(service): State<Service>,
    tenant: Tenant,
    Id(id): Id,
) -> Answer<Json<Batch>> {
    Ok(Json(service.cancel_batch(tenant.name(), &id).await?))
}
