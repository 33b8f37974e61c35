//! The file object.

use serde::{Deserialize, Serialize};

use super::lenient;

/// A file at the provider. Only `id` is sure to be there; times are unix seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "schema",
    schemars(description = "A file. Times are unix seconds.")
)]
pub struct FileObject {
    /// The id, opaque (`file-…` at OpenAI).
    #[serde(deserialize_with = "lenient::id")]
    pub id: String,
    /// Always `file`.
    #[serde(default = "object_file", deserialize_with = "lenient::plain_text")]
    #[cfg_attr(feature = "schema", schemars(extend("const" = "file")))]
    pub object: String,
    /// Size in bytes.
    #[serde(default, deserialize_with = "lenient::count")]
    pub bytes: Option<u64>,
    /// When it was uploaded.
    #[serde(default, alias = "createdAt", deserialize_with = "lenient::time")]
    pub created_at: Option<i64>,
    /// When the provider deletes it; none if never or unknown.
    #[serde(default, deserialize_with = "lenient::time")]
    pub expires_at: Option<i64>,
    /// The name it was uploaded under.
    #[serde(default, deserialize_with = "lenient::text")]
    pub filename: Option<String>,
    /// What it is for: `batch` for input, `batch_output` for results.
    #[serde(default, deserialize_with = "lenient::text")]
    pub purpose: Option<String>,
    /// `processed` once it can be used, at providers that process files. Deprecated at OpenAI.
    #[serde(default, deserialize_with = "lenient::text")]
    pub status: Option<String>,
    /// Why processing failed. Deprecated at OpenAI.
    #[serde(default, deserialize_with = "lenient::text")]
    pub status_details: Option<String>,
}

impl Default for FileObject {
    fn default() -> Self {
        Self {
            id: String::new(),
            object: object_file(),
            bytes: None,
            created_at: None,
            expires_at: None,
            filename: None,
            purpose: None,
            status: None,
            status_details: None,
        }
    }
}

fn object_file() -> String {
    "file".to_owned()
}

/// The answer to a delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeletedFile {
    /// The id that was asked for.
    #[serde(deserialize_with = "lenient::id")]
    pub id: String,
    /// Always `file`.
    #[serde(default = "object_file", deserialize_with = "lenient::plain_text")]
    #[cfg_attr(feature = "schema", schemars(extend("const" = "file")))]
    pub object: String,
    /// Whether it is gone.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub deleted: bool,
}
