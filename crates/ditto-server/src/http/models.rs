//! `/v1/models`

use axum::Json;
use axum::extract::State;
use ditto_llm::wire::Page;
use serde_json::{Value, json};

use super::auth::Tenant;
use super::error::Answer;
use crate::service::Service;

/// `GET /v1/models`: what the upstreams offer, in their own words. Not paged, as at OpenAI.
pub(super) async fn list(State(service): State<Service>, tenant: Tenant) -> Answer<Json<Value>> {
    let Page { object, data, .. } = Page {
        data: service.models(tenant.name()).await?,
        ..Page::default()
    };
    Ok(Json(json!({ "object": object, "data": data })))
}
