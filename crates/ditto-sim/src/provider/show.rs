//! How files and batches are told.

use serde_json::{Value, json};

use crate::provider::batch::{Batch, Stage};
use crate::provider::clock::{At, Clock};
use crate::provider::disguise::disguise;
use crate::provider::pace::Pace;
use crate::provider::store::Stored;

/// Files live so long unless their client says otherwise.
const FILE_LIFE_SECS: u64 = 30 * 24 * 3600;

pub(crate) fn file(file: &Stored, clock: &Clock) -> Value {
    let created = clock.unix(file.created);
    json!({
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": created,
        "expires_at": created + file.expires_after.unwrap_or(FILE_LIFE_SECS),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": null,
    })
}

pub(crate) fn batch(batch: &Batch, clock: &Clock, pace: &Pace) -> Value {
    let stamps = &batch.stamps;
    let time = |at: Option<At>| at.map(|at| clock.unix(at));
    // Files are there from the end of the work on, and shown from the end of the batch.
    let ran = batch.ran.as_ref().filter(|_| batch.stage.is_final());
    let errors =
        (!batch.errors.is_empty()).then(|| json!({"object": "list", "data": batch.errors}));
    let mut told = json!({
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.order.endpoint,
        "errors": errors,
        "input_file_id": batch.order.input_file_id,
        "completion_window": batch.order.window,
        "status": batch.stage.word(),
        "output_file_id": ran.and_then(|ran| ran.output_file_id.as_ref()),
        "error_file_id": ran.and_then(|ran| ran.error_file_id.as_ref()),
        "created_at": clock.unix(stamps.created),
        "in_progress_at": time(stamps.in_progress),
        "expires_at": clock.unix(stamps.created + batch.window),
        "finalizing_at": time(stamps.finalizing),
        "completed_at": time(stamps.completed),
        "failed_at": time(stamps.failed),
        "expired_at": time(stamps.expired),
        "cancelling_at": time(stamps.cancelling),
        "cancelled_at": time(stamps.cancelled),
        "request_counts": counts(batch, clock.now(), pace),
        "usage": ran.map(|ran| json!({
            "input_tokens": ran.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": ran.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": ran.prompt_tokens + ran.completion_tokens,
        })),
        "metadata": batch.order.metadata,
    });
    let ended = batch.ended().map(|at| clock.now().saturating_sub(at));
    disguise(&mut told, &batch.plight, ended);
    told
}

/// Until the lines are counted for good, those that ran count as completed.
fn counts(batch: &Batch, now: At, pace: &Pace) -> Value {
    let (completed, failed) = match (&batch.ran, batch.stage) {
        (Some(ran), _) => (ran.completed, ran.failed),
        (None, Stage::InProgress) => (batch.lines_run_by(pace, now), 0),
        (None, _) => (0, 0),
    };
    json!({"total": batch.total, "completed": completed, "failed": failed})
}
