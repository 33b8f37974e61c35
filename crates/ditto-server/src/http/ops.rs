//! `/healthz` and `/readyz`: for whoever keeps the process running.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::error::Answer;
use crate::service::Service;

/// `GET /healthz`: the process answers. Whether it can work is [`ready`]'s to say: a restart mends
/// nothing that is wrong with a disk or an upstream.
pub(super) async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /readyz`: work is done; else 503 with the reason. A server that is short of space and only
/// refuses what is new is ready, and says so: behind a balancer its results must stay in reach.
pub(super) async fn ready(State(service): State<Service>) -> Answer<Json<Value>> {
    service.ready().await?;
    Ok(Json(match service.refusing().await {
        None => json!({ "status": "ready" }),
        Some(reason) => json!({ "status": "ready", "refusing": reason }),
    }))
}
