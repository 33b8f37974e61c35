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

/// `GET /readyz`: work can be taken; else 503 with the reason. A batch that stands still keeps nobody
/// else from work: its reason is told beside.
pub(super) async fn ready(State(service): State<Service>) -> Answer<Json<Value>> {
    service.ready().await?;
    let stuck = service.stuck();
    Ok(Json(match stuck.is_empty() {
        true => json!({ "status": "ready" }),
        false => json!({ "status": "ready", "stuck": stuck }),
    }))
}
