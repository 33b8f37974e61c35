//! The batch object and its parts.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::lenient;
use super::open_enum::open_enum;

open_enum! {
    /// Where a batch stands.
    ///
    /// Providers' spellings are understood in any case (`VALIDATING`, `Canceled`); a word this
    /// version does not know is kept in `Other`.
    ///
    /// ```
    /// use ditto_llm::BatchStatus;
    ///
    /// assert_eq!(BatchStatus::from("CANCELED"), BatchStatus::Cancelled);
    /// assert_eq!(BatchStatus::from("queued").to_string(), "queued");
    /// assert!(!BatchStatus::from("queued").is_terminal());
    /// ```
    pub enum BatchStatus, normal = one_spelling {
        /// The input file is being checked; nothing has been sent yet.
        #[default]
        Validating = "validating",
        /// The input file was refused; see [`Batch::errors`].
        Failed = "failed",
        /// Lines are being answered.
        InProgress = "in_progress",
        /// All lines are done; the result files are being put together and cannot be read yet.
        Finalizing = "finalizing",
        /// All done; results are in the output file, failed lines in the error file.
        Completed = "completed",
        /// The window ended first; what was answered is kept.
        Expired = "expired",
        /// A cancel was asked for; lines in flight are let finish.
        Cancelling = "cancelling",
        /// Cancelled; what was answered is kept.
        Cancelled = "cancelled",
    }
}

impl BatchStatus {
    /// Whether the batch can no longer change. An unknown status is never taken as the end.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Failed | Self::Completed | Self::Expired | Self::Cancelled => true,
            Self::Validating
            | Self::InProgress
            | Self::Finalizing
            | Self::Cancelling
            | Self::Other(_) => false,
        }
    }
}

/// OpenAI writes `cancelled` and `in_progress`; others write capitals, one l, or a hyphen.
fn one_spelling(text: &str) -> String {
    let text = text.to_ascii_lowercase().replace(['-', ' '], "_");
    match text.as_str() {
        "canceled" => "cancelled".to_owned(),
        "canceling" => "cancelling".to_owned(),
        "inprogress" => "in_progress".to_owned(),
        _ => text,
    }
}

/// A batch: one run over an input file.
///
/// Only `id` is sure to be there. Times are unix seconds. `Default` gives an empty batch in
/// status [`BatchStatus::Validating`], for programs that answer with one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "schema",
    schemars(description = "One run over an input file.")
)]
pub struct Batch {
    /// The id, opaque (`batch_…` at OpenAI).
    #[serde(deserialize_with = "lenient::id")]
    pub id: String,
    /// Always `batch`.
    #[serde(default = "object_batch", deserialize_with = "lenient::plain_text")]
    #[cfg_attr(feature = "schema", schemars(extend("const" = "batch")))]
    pub object: String,
    /// The endpoint that every line asks, such as `/v1/chat/completions`.
    #[serde(default, deserialize_with = "lenient::text")]
    pub endpoint: Option<String>,
    /// The model, as resolved by the provider after validation.
    #[serde(default, deserialize_with = "lenient::text")]
    pub model: Option<String>,
    /// What is wrong with the input file, if validation failed.
    #[serde(default, deserialize_with = "errors")]
    pub errors: Option<BatchErrors>,
    /// The file the batch runs over.
    #[serde(default, deserialize_with = "lenient::text")]
    pub input_file_id: Option<String>,
    /// The time the batch may take, such as `24h`.
    #[serde(default, deserialize_with = "lenient::text")]
    pub completion_window: Option<String>,
    /// Where the batch stands. `Other("")` if the provider sent no status.
    #[serde(default = "no_status", deserialize_with = "status")]
    pub status: BatchStatus,
    /// The file of answered lines; none as long as the batch runs, or if no line succeeded.
    #[serde(default, deserialize_with = "lenient::text")]
    pub output_file_id: Option<String>,
    /// The file of failed lines; may also be set on a clean run, the file is then empty.
    #[serde(default, deserialize_with = "lenient::text")]
    pub error_file_id: Option<String>,
    /// When the batch was created.
    #[serde(default, deserialize_with = "lenient::time")]
    pub created_at: Option<i64>,
    /// When validation had passed.
    #[serde(default, deserialize_with = "lenient::time")]
    pub in_progress_at: Option<i64>,
    /// When the window ends.
    #[serde(default, deserialize_with = "lenient::time")]
    pub expires_at: Option<i64>,
    /// When the result files were begun.
    #[serde(default, deserialize_with = "lenient::time")]
    pub finalizing_at: Option<i64>,
    /// When the batch completed.
    #[serde(default, deserialize_with = "lenient::time")]
    pub completed_at: Option<i64>,
    /// When the batch failed.
    #[serde(default, deserialize_with = "lenient::time")]
    pub failed_at: Option<i64>,
    /// When the batch expired.
    #[serde(default, deserialize_with = "lenient::time")]
    pub expired_at: Option<i64>,
    /// When a cancel was asked for.
    #[serde(default, deserialize_with = "lenient::time")]
    pub cancelling_at: Option<i64>,
    /// When the batch was cancelled.
    #[serde(default, deserialize_with = "lenient::time")]
    pub cancelled_at: Option<i64>,
    /// How many lines are done. Counts can differ from the files; the files are the truth.
    #[serde(default, deserialize_with = "lenient::or_none")]
    pub request_counts: Option<BatchRequestCounts>,
    /// Tokens over all lines.
    #[serde(default, deserialize_with = "lenient::or_none")]
    pub usage: Option<BatchUsage>,
    /// What the creator attached. Values that were no texts are kept as their JSON text.
    #[serde(default, deserialize_with = "lenient::metadata")]
    pub metadata: Option<BTreeMap<String, String>>,
    /// What Ditto's server says beyond the protocol, to clients that ask for it.
    #[serde(
        default,
        deserialize_with = "lenient::or_none",
        skip_serializing_if = "Option::is_none"
    )]
    pub ditto: Option<BatchExtension>,
}

/// What Ditto's server knows of a batch beyond the protocol, under the key `ditto`. It tells it to
/// clients that send the header `Ditto-Extensions: 1`, and in the answers of calls that are its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BatchExtension {
    /// `strict`: a bad line fails the batch; `lenient`: it becomes an error line.
    pub mode: String,
    /// Whether lines may name several models.
    pub mixed_models: bool,
    /// The batch whose failed lines this one runs again.
    pub retry_of: Option<String>,
    /// The classes of these lines, see [`FailureClass`](super::FailureClass).
    pub retry_only: Option<Vec<String>>,
    /// Where its lines are sent while it runs, as of now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lanes: Vec<BatchLane>,
}

/// One upstream that answers lines of one model, as it is now. It may answer those of other batches
/// as well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct BatchLane {
    /// As the server's configuration calls it.
    pub upstream: String,
    /// The model.
    pub model: String,
    /// Requests in flight at once, at most.
    pub limit: u64,
    /// Why it is so many, in a sentence.
    pub why: String,
    /// Requests in flight.
    pub in_flight: u64,
    /// How many a minute are sent at most, if the upstream takes no more.
    pub requests_per_minute: Option<u64>,
    /// Why nothing is sent, in a sentence, if that is so.
    pub paused: Option<String>,
    /// For how many seconds nothing has succeeded there, if that is so.
    pub at_fault_seconds: Option<u64>,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            id: String::new(),
            object: object_batch(),
            endpoint: None,
            model: None,
            errors: None,
            input_file_id: None,
            completion_window: None,
            status: BatchStatus::default(),
            output_file_id: None,
            error_file_id: None,
            created_at: None,
            in_progress_at: None,
            expires_at: None,
            finalizing_at: None,
            completed_at: None,
            failed_at: None,
            expired_at: None,
            cancelling_at: None,
            cancelled_at: None,
            request_counts: None,
            usage: None,
            metadata: None,
            ditto: None,
        }
    }
}

impl Batch {
    /// Reads an answer that is a batch, or has one in it: Together wraps a new batch in
    /// `{"job": …}`, and tells its errors as one text under `error`.
    ///
    /// # Errors
    /// If there is no id.
    pub fn from_answer(answer: &Value) -> serde_json::Result<Self> {
        let inner = answer
            .get("job")
            .filter(|_| answer.get("id").is_none())
            .unwrap_or(answer);
        let mut batch = Self::deserialize(inner)?;
        if batch.errors.is_none() {
            batch.errors = inner.get("error").cloned().and_then(errors_of);
        }
        Ok(batch)
    }
}

fn object_batch() -> String {
    "batch".to_owned()
}

fn no_status() -> BatchStatus {
    BatchStatus::Other(String::new())
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BatchStatus, D::Error> {
    let text = lenient::plain_text(deserializer)?;
    Ok(BatchStatus::from(text.as_str()))
}

/// Lines of a batch by what became of them. Lines that expired or were cancelled count in
/// `total` only, so `completed + failed` may stay below it for good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BatchRequestCounts {
    /// Requests in the input file; 0 until it has been validated.
    #[serde(deserialize_with = "lenient::count_or_zero")]
    pub total: u64,
    /// Requests that were answered with success.
    #[serde(deserialize_with = "lenient::count_or_zero")]
    pub completed: u64,
    /// Requests that failed.
    #[serde(deserialize_with = "lenient::count_or_zero")]
    pub failed: u64,
}

/// Why a batch was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BatchErrors {
    /// `list` at OpenAI.
    pub object: Option<String>,
    /// One entry per fault found, in the order of lines; may be cut off by the provider.
    pub data: Vec<BatchError>,
}

/// One fault of an input file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BatchError {
    /// The kind of fault, such as `invalid_json_line`.
    #[serde(deserialize_with = "lenient::text")]
    pub code: Option<String>,
    /// A sentence for people.
    #[serde(deserialize_with = "lenient::text")]
    pub message: Option<String>,
    /// The parameter at fault, such as `body.model`.
    #[serde(deserialize_with = "lenient::text")]
    pub param: Option<String>,
    /// The physical line in the input file, from 1; none if the fault is the whole file's.
    #[serde(deserialize_with = "lenient::count")]
    pub line: Option<u64>,
}

impl<'de> Deserialize<'de> for BatchErrors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(errors_of(Value::deserialize(deserializer)?).unwrap_or_default())
    }
}

fn errors<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BatchErrors>, D::Error> {
    Ok(errors_of(Value::deserialize(deserializer)?))
}

/// `{object, data}`, `{data}`, a bare list, a list of texts, or one text.
fn errors_of(value: Value) -> Option<BatchErrors> {
    match value {
        Value::Object(mut map) => match map.remove("data") {
            Some(Value::Array(list)) => Some(BatchErrors {
                object: map.remove("object").and_then(lenient::text_of),
                data: list.into_iter().filter_map(error_of).collect(),
            }),
            // Present, but nothing in it.
            Some(_) => None,
            None => error_of(Value::Object(map)).map(one_error),
        },
        Value::Array(list) if list.is_empty() => None,
        Value::Array(list) => Some(BatchErrors {
            object: None,
            data: list.into_iter().filter_map(error_of).collect(),
        }),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            error_of(other).map(one_error)
        }
    }
}

fn one_error(error: BatchError) -> BatchErrors {
    BatchErrors {
        object: None,
        data: vec![error],
    }
}

fn error_of(value: Value) -> Option<BatchError> {
    if let Value::Object(_) = value {
        let error: BatchError = serde_json::from_value(value).ok()?;
        return (error != BatchError::default()).then_some(error);
    }
    let message = lenient::text_of(value).filter(|text| !text.is_empty())?;
    Some(BatchError {
        message: Some(message),
        ..BatchError::default()
    })
}

/// Tokens used by a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BatchUsage {
    /// Tokens of all prompts.
    #[serde(deserialize_with = "lenient::count_or_zero")]
    pub input_tokens: u64,
    /// What the input consists of.
    #[serde(deserialize_with = "lenient::or_default")]
    pub input_tokens_details: InputTokensDetails,
    /// Tokens of all answers.
    #[serde(deserialize_with = "lenient::count_or_zero")]
    pub output_tokens: u64,
    /// What the output consists of.
    #[serde(deserialize_with = "lenient::or_default")]
    pub output_tokens_details: OutputTokensDetails,
    /// The sum, as the provider has it.
    #[serde(deserialize_with = "lenient::count_or_zero")]
    pub total_tokens: u64,
}

/// Parts of the input tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InputTokensDetails {
    /// Tokens read from a cache.
    #[serde(deserialize_with = "lenient::count_or_zero")]
    pub cached_tokens: u64,
}

/// Parts of the output tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OutputTokensDetails {
    /// Tokens spent on reasoning.
    #[serde(deserialize_with = "lenient::count_or_zero")]
    pub reasoning_tokens: u64,
}
