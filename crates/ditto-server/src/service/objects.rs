//! What clients see of a row, and the sentences of what is not there: OpenAI's objects and words.

use ditto_llm::wire::{
    Batch, BatchErrors, BatchExtension, BatchLane, BatchRequestCounts, BatchUsage, FileObject,
    InputTokensDetails, OutputTokensDetails, UploadObject, UploadPartObject,
};

use super::Listed;
use crate::catalog::{BatchRow, FileRow, FileState, PartRow, Retry, Route, Rows, UploadRow, Usage};
use crate::engine::LaneReport;
use crate::error::{Error, ErrorKind};
use crate::model::batch::wire_status;
use crate::model::upload::Unfit;

pub(super) fn listed<R, T>(rows: Rows<R>, object: impl Fn(&R) -> T) -> Listed<T> {
    Listed {
        data: rows.rows.iter().map(object).collect(),
        has_more: rows.has_more,
    }
}

pub(super) fn no_such_file(id: &str) -> Error {
    Error::missing(format!("No such File object: {id}")).with_param("id")
}

pub(super) fn no_such_batch(id: &str) -> Error {
    Error::missing(format!("No batch found with id '{id}'."))
}

pub(super) fn key_reused(route: Route, made: &str) -> Error {
    let (did, noun) = match route {
        Route::Batches => ("made the batch", "batch"),
        Route::Retry => ("made the batch", "retry"),
        Route::Files => ("made the file", "file"),
        Route::Uploads => ("made the upload", "upload"),
        Route::Parts => ("made the part", "part"),
        Route::Complete => ("completed the upload", "completion"),
        Route::Cancel => ("cancelled the upload", "cancel"),
    };
    Error::new(
        ErrorKind::Conflict,
        format!(
            "This Idempotency-Key belongs to a request with another body, which {did} '{made}'. Use a \
             new key for a new {noun}."
        ),
    )
    .with_code("idempotency_key_reused")
}

pub(super) fn no_such_upload(id: &str) -> Error {
    Error::missing(format!("No such Upload object: {id}")).with_param("id")
}

/// `verb` is what was asked for: `cancel`.
pub(super) fn not_pending(verb: &str, upload: &UploadRow) -> Error {
    Error::invalid(format!(
        "Cannot {verb} an upload with status '{}'.",
        upload.state.as_str()
    ))
}

pub(super) fn unfit(upload: &UploadRow, why: Unfit<'_>) -> Error {
    let message = match why {
        Unfit::Unknown(part) => format!("The upload '{}' has no part '{part}'.", upload.id),
        Unfit::Twice(part) => format!("The part '{part}' is named more than once."),
        Unfit::Bytes(sum) => format!(
            "These parts have {sum} bytes together, and the upload was created for {}.",
            upload.bytes
        ),
    };
    Error::invalid(message)
        .with_param("part_ids")
        .with_code("invalid_value")
}

pub(super) fn unknown_cursor(after: Option<&str>) -> Error {
    Error::invalid(format!(
        "No object found with id '{}' to list after.",
        after.unwrap_or_default()
    ))
    .with_param("after")
    .with_code("invalid_value")
}

/// OpenAI's words for a value that is none of those it knows.
pub(super) fn unknown_value(param: &'static str, value: &str, known: &[String]) -> Error {
    let quoted: Vec<_> = known.iter().map(|known| format!("'{known}'")).collect();
    Error::invalid(format!(
        "Invalid value: '{value}'. Supported values are: {}.",
        spoken_list(&quoted)
    ))
    .with_param(param)
    .with_code("invalid_value")
}

/// `'a', 'b', and 'c'`
fn spoken_list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first, second] => format!("{first} and {second}"),
        [rest @ .., last] => format!("{}, and {last}", rest.join(", ")),
    }
}

pub(super) fn file_object(row: &FileRow) -> FileObject {
    FileObject {
        id: row.id.clone(),
        bytes: Some(row.bytes),
        created_at: Some(row.created_at),
        expires_at: row.expires_at,
        filename: Some(row.filename.clone()),
        purpose: Some(row.purpose.clone()),
        status: Some(match row.state {
            FileState::Pending => "uploaded".to_owned(),
            FileState::Ready | FileState::Deleted => "processed".to_owned(),
        }),
        ..FileObject::default()
    }
}

pub(super) fn upload_object(row: &UploadRow, file: Option<FileObject>) -> UploadObject {
    UploadObject {
        id: row.id.clone(),
        bytes: Some(row.bytes),
        created_at: Some(row.created_at),
        filename: Some(row.filename.clone()),
        purpose: Some(row.purpose.clone()),
        status: Some(row.state.as_str().to_owned()),
        expires_at: Some(row.expires_at),
        file,
        ..UploadObject::default()
    }
}

pub(super) fn part_object(row: &PartRow) -> UploadPartObject {
    UploadPartObject {
        id: row.id.clone(),
        created_at: Some(row.created_at),
        upload_id: Some(row.upload.clone()),
        ..UploadPartObject::default()
    }
}

pub(super) fn batch_object(row: &BatchRow) -> Batch {
    Batch {
        id: row.id.clone(),
        endpoint: Some(row.endpoint.clone()),
        model: row.model.clone(),
        errors: row.errors.as_deref().and_then(|json| {
            Some(BatchErrors {
                object: Some("list".to_owned()),
                data: serde_json::from_str(json).ok()?,
            })
        }),
        input_file_id: Some(row.input_file_id.clone()),
        completion_window: Some(row.completion_window.clone()),
        status: wire_status(row.state, row.ending),
        output_file_id: row.output_file_id.clone(),
        error_file_id: row.error_file_id.clone(),
        created_at: Some(row.created_at),
        in_progress_at: row.in_progress_at,
        expires_at: row.expires_at,
        finalizing_at: row.finalizing_at,
        completed_at: row.completed_at,
        failed_at: row.failed_at,
        expired_at: row.expired_at,
        cancelling_at: row.cancelling_at,
        cancelled_at: row.cancelled_at,
        request_counts: Some(BatchRequestCounts {
            total: row.total,
            completed: row.completed,
            failed: row.failed,
        }),
        object: "batch".to_owned(),
        usage: row.state.is_terminal().then(|| usage_object(&row.usage)),
        metadata: row
            .metadata
            .as_deref()
            .and_then(|json| serde_json::from_str(json).ok()),
        ditto: Some(extension(row)),
    }
}

/// A lane as a client may see it: nothing of what waits there of others.
pub(super) fn lane_object(lane: LaneReport) -> BatchLane {
    let per_minute = |pace: f64| (pace * 60.0).ceil() as u64;
    BatchLane {
        upstream: lane.upstream,
        model: lane.model,
        limit: lane.limit as u64,
        why: lane.why.to_owned(),
        in_flight: lane.in_flight as u64,
        requests_per_minute: lane.pace.map(per_minute),
        paused: lane.paused.map(str::to_owned),
        at_fault_seconds: lane.at_fault_for.map(|long| long.as_secs()),
    }
}

fn extension(row: &BatchRow) -> BatchExtension {
    let words = |retry: &Retry| retry.only.iter().map(ToString::to_string).collect();
    BatchExtension {
        mode: match row.options.lenient {
            true => "lenient".to_owned(),
            false => "strict".to_owned(),
        },
        mixed_models: !row.options.one_model,
        retry_of: row.retry.as_ref().map(|retry| retry.of.clone()),
        retry_only: row.retry.as_ref().map(words),
        lanes: Vec::new(),
    }
}

pub(super) fn usage_object(usage: &Usage) -> BatchUsage {
    BatchUsage {
        input_tokens: usage.input,
        input_tokens_details: InputTokensDetails {
            cached_tokens: usage.cached,
        },
        output_tokens: usage.output,
        output_tokens_details: OutputTokensDetails {
            reasoning_tokens: usage.reasoning,
        },
        total_tokens: usage.total,
    }
}
