//! `/healthz` and `/readyz`: for whoever keeps the process running.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::error::{Answer, Failure, Problem};
use crate::service::Service;

/// `GET /healthz`: the process answers. Whether it can work is [`ready`]'s to say: a restart mends
/// nothing that is wrong with a disk or an upstream.
pub(super) async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /readyz`: work is done; else 503 with the reason. A batch that stands still keeps nobody else
/// from work, and a server that is short of space only refuses what is new: both are told beside,
/// since behind a balancer its results must stay in reach.
///
/// Probes give no key, so where there are tenants nothing of them is told: their ids stand in the log.
pub(super) async fn ready(State(service): State<Service>) -> Answer<Json<Value>> {
    let among_strangers = service.keys.asked_for();
    service
        .ready()
        .await
        .map_err(|error| match among_strangers {
            true => Failure::new(
                Problem::Unavailable,
                "No work is done; the server's log says why.",
            ),
            false => error.into(),
        })?;
    let mut told = json!({ "status": "ready" });
    let stuck = service.stuck();
    if !stuck.is_empty() {
        told["stuck"] = told_of(stuck, among_strangers);
    }
    if let Some(reason) = service.refusing().await {
        told["refusing"] = json!(reason);
    }
    Ok(Json(told))
}

/// Batches that stand still, as far as whoever asks may know of them.
fn told_of(stuck: Vec<String>, among_strangers: bool) -> Value {
    match among_strangers {
        true => json!([format!(
            "{} standing still; the server's log names them",
            stuck.len()
        )]),
        false => json!(stuck),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_learn_how_many_batches_stand_still_and_of_none_which() {
        let stuck = || vec!["batch batch_1 stands still: …".to_owned(), "…".to_owned()];
        assert_eq!(told_of(stuck(), false), json!(stuck()));
        let told = told_of(stuck(), true).to_string();
        assert!(
            told.contains("2 standing still") && !told.contains("batch_1"),
            "{told}"
        );
    }
}
