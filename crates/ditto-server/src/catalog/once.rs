//! What tells a create that is sent again from another one.

use std::time::Duration;

/// A key that came with a create means that create for this long.
pub(crate) const KEY_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// A repeat without a key is looked for among the creates of this long. The official SDKs are through
/// with their repeats after it; longer, and a batch that is wanted twice would be made once.
pub(crate) const REPEAT_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// A call that makes something. A key belongs to its tenant and to one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Route {
    /// `POST /v1/batches`
    Batches,
    /// `POST /v1/batches/{id}/retry`
    Retry,
    /// `POST /v1/files`
    Files,
    /// `POST /v1/uploads`
    Uploads,
    /// `POST /v1/uploads/{id}/parts`
    Parts,
    /// `POST /v1/uploads/{id}/complete`
    Complete,
    /// `POST /v1/uploads/{id}/cancel`
    Cancel,
}

impl Route {
    /// Its name in the catalog.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Batches => "batches",
            Self::Retry => "retry",
            Self::Files => "files",
            Self::Uploads => "uploads",
            Self::Parts => "parts",
            Self::Complete => "complete",
            Self::Cancel => "cancel",
        }
    }
}

/// What tells a create that is sent again from another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// The client's own name for this create. While it is remembered it decides alone.
    pub key: Option<String>,
    /// Of the request's meaning, 128 bits: two requests with one hash ask for the same.
    pub request_hash: [u8; 16],
    /// The client says that it has sent this before, and heard nothing.
    pub repeated: bool,
}

/// What a key has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    /// Its id.
    pub(crate) id: String,
    /// Of the request that made it.
    pub(crate) request_hash: [u8; 16],
}
