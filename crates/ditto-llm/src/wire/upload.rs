//! The objects of an upload in parts.

use serde::{Deserialize, Serialize};

use super::FileObject;
use super::lenient;

/// A file that comes in parts. Only `id` is sure to be there; times are unix seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UploadObject {
    /// The id, opaque (`upload_…` at OpenAI).
    #[serde(deserialize_with = "lenient::id")]
    pub id: String,
    /// Always `upload`.
    #[serde(default = "object_upload", deserialize_with = "lenient::plain_text")]
    pub object: String,
    /// What the parts have together, as it was declared.
    #[serde(default, deserialize_with = "lenient::count")]
    pub bytes: Option<u64>,
    /// When it was begun.
    #[serde(default, deserialize_with = "lenient::time")]
    pub created_at: Option<i64>,
    /// The name of the file.
    #[serde(default, deserialize_with = "lenient::text")]
    pub filename: Option<String>,
    /// What the file is for.
    #[serde(default, deserialize_with = "lenient::text")]
    pub purpose: Option<String>,
    /// `pending`, then `completed`, `cancelled` or `expired`.
    #[serde(default, deserialize_with = "lenient::text")]
    pub status: Option<String>,
    /// When it takes no more parts.
    #[serde(default, deserialize_with = "lenient::time")]
    pub expires_at: Option<i64>,
    /// The file that it has become.
    #[serde(default)]
    pub file: Option<FileObject>,
}

fn object_upload() -> String {
    "upload".to_owned()
}

impl Default for UploadObject {
    fn default() -> Self {
        Self {
            id: String::new(),
            object: object_upload(),
            bytes: None,
            created_at: None,
            filename: None,
            purpose: None,
            status: None,
            expires_at: None,
            file: None,
        }
    }
}

/// A part of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UploadPartObject {
    /// The id, opaque (`part_…` at OpenAI).
    #[serde(deserialize_with = "lenient::id")]
    pub id: String,
    /// Always `upload.part`.
    #[serde(default = "object_part", deserialize_with = "lenient::plain_text")]
    pub object: String,
    /// When it was there.
    #[serde(default, deserialize_with = "lenient::time")]
    pub created_at: Option<i64>,
    /// The upload that it is a part of.
    #[serde(default, deserialize_with = "lenient::text")]
    pub upload_id: Option<String>,
}

fn object_part() -> String {
    "upload.part".to_owned()
}

impl Default for UploadPartObject {
    fn default() -> Self {
        Self {
            id: String::new(),
            object: object_part(),
            created_at: None,
            upload_id: None,
        }
    }
}
