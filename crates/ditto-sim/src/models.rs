//! What `GET /v1/models` tells.

use serde_json::{Value, json};

use crate::envelope::Complaint;

/// When every simulated model came to be: a date that never changes.
const CREATED: i64 = 1_700_000_000;

fn model(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": CREATED, "owned_by": "ditto-sim"})
}

pub(crate) fn list(ids: &[String]) -> Vec<u8> {
    let data: Vec<_> = ids.iter().map(|id| model(id)).collect();
    json!({"object": "list", "data": data})
        .to_string()
        .into_bytes()
}

pub(crate) fn one(ids: &[String], id: &str) -> Result<Vec<u8>, Complaint> {
    if !ids.iter().any(|known| known == id) {
        let message = format!("The model '{id}' does not exist");
        let complaint = Complaint::invalid(message)
            .with_param("model")
            .with_status(404);
        return Err(complaint.with_code("model_not_found"));
    }
    Ok(model(id).to_string().into_bytes())
}
