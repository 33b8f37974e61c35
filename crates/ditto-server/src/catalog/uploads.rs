//! Files that come in parts, as values.

use std::time::Duration;

use super::Once;
use crate::error::{Error, ErrorKind};
use crate::model::upload::UploadState;

/// Uploads that a tenant may have pending: an upload is a row, and a loop that only creates them ends.
pub(crate) const PENDING_UPLOADS: u64 = 1_000;
/// An upload that has ended is known for at least this long, to whoever asks for the same again.
pub(crate) const UPLOAD_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// An upload to be.
#[derive(Debug, Clone)]
pub(crate) struct NewUpload {
    /// `upload_…`, chosen by the caller.
    pub(crate) id: String,
    /// Whose it is.
    pub(crate) tenant: String,
    /// As the client named it; never a path.
    pub(crate) filename: String,
    /// Of the file that it will be.
    pub(crate) purpose: String,
    /// What its parts will have together.
    pub(crate) bytes: u64,
    /// How long it takes parts.
    pub(crate) expires_after: Duration,
    /// Lifetime of the file, from its creation; `None`: for ever.
    pub(crate) file_expires_after: Option<Duration>,
    /// How the same request, sent again, is known.
    pub(crate) once: Option<Once>,
}

/// An upload's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UploadRow {
    /// Row number, never reused.
    pub(crate) key: i64,
    /// `upload_…`
    pub(crate) id: String,
    /// Whose it is.
    pub(crate) tenant: String,
    /// Where it is now: one whose time is over has expired, whenever the sweeper comes.
    pub(crate) state: UploadState,
    /// As the client named it.
    pub(crate) filename: String,
    /// Of the file that it will be.
    pub(crate) purpose: String,
    /// As declared.
    pub(crate) bytes: u64,
    /// Lifetime of the file, from its creation.
    pub(crate) file_expires_after: Option<Duration>,
    /// Unix seconds.
    pub(crate) created_at: i64,
    /// Unix seconds.
    pub(crate) expires_at: i64,
    /// The file that it has become.
    pub(crate) file_id: Option<String>,
}

/// What is known of a part once its bytes are durable.
#[derive(Debug, Clone)]
pub(crate) struct ReadyPart {
    /// Size.
    pub(crate) bytes: u64,
    /// Line breaks in it.
    pub(crate) breaks: u64,
    /// Its last byte is one.
    pub(crate) ends_line: bool,
    /// Bytes of its line index, which stands behind its bytes in its blob.
    pub(crate) index_bytes: u64,
    /// What its tenant may have with it; `None`: as much as it likes.
    pub(crate) within: Option<u64>,
    /// How the same request, sent again, is known.
    pub(crate) once: Option<Once>,
}

/// A part's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartRow {
    /// `part_…`
    pub(crate) id: String,
    /// The id of its upload.
    pub(crate) upload: String,
    /// Size.
    pub(crate) bytes: u64,
    /// Line breaks in it.
    pub(crate) breaks: u64,
    /// Its last byte is one.
    pub(crate) ends_line: bool,
    /// Bytes of its line index.
    pub(crate) index_bytes: u64,
    /// Unix seconds.
    pub(crate) created_at: i64,
    /// Its place in the file, once there is one.
    pub(crate) place: Option<u32>,
}

/// What makes a file of an upload.
#[derive(Debug, Clone)]
pub(crate) struct Completion {
    /// Its parts, in order, each once.
    pub(crate) parts: Vec<String>,
    /// A pending file, whose manifest names these parts and is durable.
    pub(crate) file_id: String,
    /// Physical lines of the file.
    pub(crate) lines: u64,
    /// How the same request, sent again, is known.
    pub(crate) once: Option<Once>,
}

/// What became of a call about an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked<T> {
    /// It was done; or had been, by the same request.
    Done(T),
    /// Nothing: the upload is not pending any more. It is as it is now.
    Ended(Box<UploadRow>),
    /// Nothing: its key belongs to another request, about the object with this id.
    Mismatch(String),
    /// There is no such upload of this tenant, or no such part.
    Missing,
}

/// The sentence for a tenant that has too many uploads pending.
pub(crate) fn too_many_uploads() -> Error {
    Error::new(
        ErrorKind::Full,
        format!(
            "This key has {PENDING_UPLOADS} uploads pending, which is as many as it may have. Nothing was \
             changed. Complete or cancel some of them, or wait until they expire, then send this again."
        ),
    )
    .with_code("too_many_uploads")
    .with_retry_after(super::SPACE_RETRY)
}
