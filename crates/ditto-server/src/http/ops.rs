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

/// `GET /readyz`: work is done; else 503 with the reason. A batch that stands still keeps nobody else
/// from work, and a server that is short of space only refuses what is new: both are told beside,
/// since behind a balancer its results must stay in reach.
pub(super) async fn ready(State(service): State<Service>) -> Answer<Json<Value>> {
    service.ready().await?;
    let mut told = json!({ "status": "ready" });
    let stuck = service.stuck();
    if !stuck.is_empty() {
        told["stuck"] = json!(stuck);
    }
    if let Some(reason) = service.refusing().await {
        told["refusing"] = json!(reason);
    }
    Ok(Json(told))
}
