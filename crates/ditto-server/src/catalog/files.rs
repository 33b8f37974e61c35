//! What the catalog keeps of a file.

use std::time::Duration;

use super::Once;
use crate::manifest::Piece;

/// How far a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileState {
    /// Its id is taken, its bytes are still coming. Clients do not see it.
    Pending,
    /// Usable.
    Ready,
    /// Gone for clients; its bytes wait for the sweeper. Still valid as a list cursor.
    Deleted,
}

/// A file to be.
#[derive(Debug, Clone)]
pub(crate) struct NewFile {
    /// Chosen by the caller, so that blob names exist before the row's second write.
    pub(crate) id: String,
    /// Whose it is.
    pub(crate) tenant: String,
}

/// What is known of a file once its bytes are durable.
#[derive(Debug, Clone)]
pub(crate) struct ReadyFile {
    /// `batch`, `batch_output`, or what the client said.
    pub(crate) purpose: String,
    /// As the client named it; never a path.
    pub(crate) filename: String,
    /// Size.
    pub(crate) bytes: u64,
    /// Physical lines, where they were counted.
    pub(crate) lines: Option<u64>,
    /// Lifetime from now; `None`: for ever.
    pub(crate) expires_after: Option<Duration>,
    /// Where its bytes are, if they are one piece of a blob; `None`: its map says so.
    pub(crate) piece: Option<Piece>,
    /// What its tenant may have with it; `None`: as much as it likes.
    pub(crate) within: Option<u64>,
    /// The request that made it, to be remembered by its key.
    pub(crate) once: Option<Once>,
}

/// A file's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileRow {
    /// `file-…`
    pub(crate) id: String,
    /// Whose it is.
    pub(crate) tenant: String,
    /// How far it is.
    pub(crate) state: FileState,
    /// `batch`, `batch_output`, …
    pub(crate) purpose: String,
    /// As the client named it.
    pub(crate) filename: String,
    /// Size in bytes.
    pub(crate) bytes: u64,
    /// Physical lines, where they were counted.
    pub(crate) lines: Option<u64>,
    /// Unix seconds.
    pub(crate) created_at: i64,
    /// Unix seconds.
    pub(crate) expires_at: Option<i64>,
    /// The upload whose parts hold its bytes.
    pub(crate) upload: Option<String>,
    /// Where its bytes are, if they are one piece of a blob; `None`: its map says so.
    pub(crate) piece: Option<Piece>,
}

/// Order of a list by time of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Oldest first.
    Asc,
    /// Newest first.
    Desc,
}

/// Which files to list.
#[derive(Debug, Clone)]
pub(crate) struct FileQuery {
    /// Exact match.
    pub(crate) purpose: Option<String>,
    /// At most this many.
    pub(crate) limit: u32,
    /// By (created_at, internal sequence).
    pub(crate) order: Order,
    /// Begin after this file, which may be a deleted one.
    pub(crate) after: Option<String>,
}

/// A file that is gone is a list cursor for at least this long: a reader who deletes what he has listed
/// walks to the end, however soon batches are forgotten.
pub(crate) const CURSOR_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
