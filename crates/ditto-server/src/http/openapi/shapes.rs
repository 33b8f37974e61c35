//! What is read or answered without a type of its own: here it has one, for the document alone. The
//! tests beside [`document`](super::document) hold each to what reads or writes it.
#![expect(dead_code, reason = "these are looked at and never made")]

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How long something lives.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ExpiresAfter {
    anchor: Anchor,
    /// From an hour to 30 days.
    #[schemars(range(min = 3600, max = 2_592_000))]
    seconds: i64,
}

/// What a lifetime is counted from.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Anchor {
    CreatedAt,
}

/// Read by [`batches::create`](crate::http::batches::create).
#[derive(Deserialize, JsonSchema)]
pub(super) struct CreateBatch {
    /// A file of the purpose `batch`. One that does not exist fails the batch later.
    #[schemars(length(max = 256))]
    input_file_id: String,
    /// What every line of the file asks.
    endpoint: String,
    /// How long it may take.
    completion_window: String,
    /// At most 16 pairs; keys of up to 64 characters, values of up to 512.
    #[schemars(with = "Option<BTreeMap<String, MetadataValue>>")]
    #[schemars(extend("maxProperties" = 16, "propertyNames" = { "maxLength": 64 }))]
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
    /// From the making of the result files.
    #[serde(default)]
    output_expires_after: Option<ExpiresAfter>,
    /// Beyond the protocol.
    #[serde(default)]
    ditto: Option<Wishes>,
    /// As the header `Idempotency-Key`, for clients that cannot set it.
    #[serde(default)]
    idempotency_key: Option<Key>,
}

/// Read by [`Wishes::read`](crate::http::extension::Wishes::read).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wishes {
    #[serde(default)]
    mode: Option<Mode>,
    /// Lines may name several models.
    #[serde(default)]
    mixed_models: Option<bool>,
}

/// What a bad line does.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Strict,
    Lenient,
}

/// Read by [`batches::retry`](crate::http::batches::retry).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryBatch {
    /// Classes of failures, as a list or in one text with commas.
    #[serde(default)]
    only: Option<Only>,
    /// As the header `Idempotency-Key`, for clients that cannot set it.
    #[serde(default)]
    idempotency_key: Option<Key>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Only {
    List(Vec<String>),
    Text(String),
}

/// What a client calls a request of its own.
#[derive(Deserialize, JsonSchema)]
#[schemars(inline)]
struct Key(#[schemars(regex(pattern = "^[!-~]{1,255}$"))] String);

/// A value of metadata.
#[derive(Deserialize, JsonSchema)]
#[schemars(inline)]
struct MetadataValue(#[schemars(length(max = 512))] String);

/// What a file is for.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Purpose {
    Assistants,
    Batch,
    #[serde(rename = "fine-tune")]
    FineTune,
    Vision,
    UserData,
    Evals,
}

/// Read by [`multipart::receive`](crate::http::multipart::receive).
#[derive(Deserialize, JsonSchema)]
pub(super) struct UploadForm {
    /// With a name; for a batch one that ends in `.jsonl`.
    #[schemars(extend("format" = "binary"))]
    file: String,
    purpose: Purpose,
    #[serde(rename = "expires_after[anchor]", default)]
    #[schemars(with = "Anchor")]
    anchor: Option<Anchor>,
    /// From an hour to 30 days.
    #[serde(rename = "expires_after[seconds]", default)]
    #[schemars(with = "i64", range(min = 3600, max = 2_592_000))]
    seconds: Option<i64>,
}

/// Read by [`uploads::create`](crate::http::uploads::create).
#[derive(Deserialize, JsonSchema)]
pub(super) struct CreateUpload {
    /// For a batch one that ends in `.jsonl`.
    #[schemars(length(min = 1))]
    filename: String,
    purpose: Purpose,
    /// Of all parts together.
    #[schemars(range(min = 1))]
    bytes: i64,
    mime_type: String,
    #[serde(default)]
    expires_after: Option<ExpiresAfter>,
    /// As the header `Idempotency-Key`, for clients that cannot set it.
    #[serde(default)]
    idempotency_key: Option<Key>,
}

/// Read by [`uploads::add_part`](crate::http::uploads::add_part).
#[derive(Deserialize, JsonSchema)]
pub(super) struct PartForm {
    /// Up to 64 MiB.
    #[schemars(extend("format" = "binary"))]
    data: String,
}

/// Read by [`uploads::complete`](crate::http::uploads::complete).
#[derive(Deserialize, JsonSchema)]
pub(super) struct CompleteUpload {
    /// In the order that they have in the file.
    #[schemars(length(min = 1))]
    part_ids: Vec<String>,
    /// Of the whole file, in hexadecimal.
    #[schemars(regex(pattern = "^[0-9a-fA-F]{32}$"))]
    #[serde(default)]
    md5: Option<String>,
    /// As the header `Idempotency-Key`, for clients that cannot set it.
    #[serde(default)]
    idempotency_key: Option<Key>,
}

/// In the upstreams' own words.
#[derive(Serialize, JsonSchema)]
pub(super) struct Models {
    #[schemars(extend("const" = "list"))]
    object: String,
    data: Vec<Map<String, Value>>,
}

/// The process lives.
#[derive(Serialize, JsonSchema)]
pub(super) struct Health {
    #[schemars(extend("const" = "ok"))]
    status: String,
}

/// Work is done.
#[derive(Serialize, JsonSchema)]
pub(super) struct Readiness {
    #[schemars(extend("const" = "ready"))]
    status: String,
    /// Batches that stand still, and what to do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stuck: Vec<String>,
    /// Why nothing new is taken, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusing: Option<String>,
}

/// An OpenAPI document.
#[derive(Serialize, JsonSchema)]
pub(super) struct Document {
    openapi: String,
    #[serde(flatten)]
    rest: Map<String, Value>,
}
