//! What can go wrong for a caller of the server, by what the caller should do next.

use std::borrow::Cow;
use std::time::Duration;

/// Few kinds, each with one answer to "what now?".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is wrong; the message says where.
    Invalid,
    /// No such file or batch.
    Missing,
    /// The object has moved on; read it again.
    Conflict,
    /// More than a limit allows.
    TooLarge,
    /// Try later; see [`Error::retry_after`].
    Busy,
    /// The caller has stored as much as it may: it has to delete something, or to wait.
    Full,
    /// There is no room for anything new; what is stored can be read, and what runs goes on.
    NoSpace,
    /// Storage or an upstream is away; what was recorded is safe, and trying again is too.
    Unavailable,
    /// A bug of ours; please report it.
    Internal,
}

/// An error of the service, in the terms of OpenAI's envelope.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    param: Option<Cow<'static, str>>,
    code: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The `code` of an error about bytes that were durable and are gone from the disk, or are not what
/// was written. Waiting does not bring them back.
pub(crate) const GONE: &str = "content_lost";

/// The result of everything a caller can ask of the server.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of this kind with a sentence for the caller.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            param: None,
            code: None,
            retry_after: None,
            source: None,
        }
    }

    /// The request is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// No such object.
    pub fn missing(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Missing, message)
    }

    /// A broken promise of our own code.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Storage that did not do what was asked.
    pub fn storage(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        let message = format!("{}: {source}", what.into());
        Self {
            source: Some(source),
            ..Self::new(ErrorKind::Unavailable, message)
        }
    }

    /// Names the field of the request that is wrong.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Names the fault in one word, as OpenAI's `code`.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Says when trying again makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// What the caller should do next, in one word.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The sentence for the caller.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The field of the request that is wrong.
    pub fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }

    /// OpenAI's `code`.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// How long to wait before trying again.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        match error {
            // Waiting does not bring it back.
            object_store::Error::NotFound { path, .. } => Self::internal(format!(
                "the blob {path} is missing; nothing else was touched: restore the data folder's `blobs` from a backup"
            ))
            .with_code(GONE),
            error => Self::storage("the blob store failed", error),
        }
    }
}
