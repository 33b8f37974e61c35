//! What can go wrong, and what to do then.

use std::fmt;
use std::time::Duration;

use crate::retry::{self, Failure};
use crate::wire::BatchStatus;

/// The result of every call.
pub type Result<T, E = DittoError> = std::result::Result<T, E>;

/// What went wrong. Three questions help to decide what now: [`is_transient`](Self::is_transient)
/// (the same call may succeed later), [`outcome_unknown`](Self::outcome_unknown) (look before you
/// repeat it) and [`retry_after`](Self::retry_after).
///
/// No text in here holds a key: what a server echoes is masked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DittoError {
    /// The provider answered, and refused.
    #[error("{}", refused(self))]
    #[non_exhaustive]
    Api {
        /// The HTTP status.
        status: u16,
        /// `error.code`, if any.
        code: Option<String>,
        /// `error.type`, if any.
        kind: Option<Box<str>>,
        /// The parameter at fault, if any.
        param: Option<Box<str>>,
        /// The provider's own words, cut to 2,000 bytes; never empty.
        message: String,
        /// The provider's id of the call, for its support.
        request_id: Option<String>,
        /// What else the answer tells. In a box, so that results stay small.
        detail: Box<ApiDetail>,
    },
    /// No answer came, or it broke off.
    #[error("{0}")]
    Http(HttpError),
    /// A local file could not be read or written.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Something could not be written as JSON or read from it.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// The provider answered with success, but not with what was asked for.
    #[error("{0}")]
    InvalidResponse(String),
    /// The call cannot be made as given; nothing was sent.
    #[error("{0}")]
    InvalidRequest(String),
    /// The client is not set up rightly (base URL, header, environment); nothing was sent.
    #[error("{0}")]
    InvalidConfig(String),
    /// A batch may have been created, but the answer that names it could not be read.
    #[error("{operation}: {source}\nhint: {LOOK_FIRST}")]
    OutcomeUnknown {
        /// The call, such as `batch.create`.
        operation: &'static str,
        /// What was wrong with the answer.
        source: Box<Self>,
    },
    /// A download ended early and could not be resumed.
    #[error("the download of {file_id} broke off after {received} bytes{}", expected_text(*expected))]
    Incomplete {
        /// The file.
        file_id: String,
        /// Bytes that arrived.
        received: u64,
        /// Bytes there should have been, if known.
        expected: Option<u64>,
    },
    /// The deadline of a wait passed. The batch goes on; wait again, or cancel it.
    #[error("{batch_id} was still `{status}` after {} s", waited.as_secs())]
    WaitedTooLong {
        /// The batch.
        batch_id: String,
        /// How it stood when last read.
        status: BatchStatus,
        /// How long was waited.
        waited: Duration,
    },
}

/// What a refusal tells beside the error itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiDetail {
    /// The call, such as `batch.create`.
    pub operation: &'static str,
    /// How long the provider asks to wait.
    pub retry_after: Option<Duration>,
    /// The provider's own word on whether to repeat the call.
    pub should_retry: Option<bool>,
    /// See [`DittoError::outcome_unknown`].
    pub outcome_unknown: bool,
}

const LOOK_FIRST: &str =
    "the batch may have been created; list the batches and look before creating it again";

impl DittoError {
    /// Whether the same call may succeed later, and repeating it does no harm.
    pub fn is_transient(&self) -> bool {
        match self {
            // 409 says that the batch has moved on: read it again rather than repeat the call.
            Self::Api { status: 409, .. } => false,
            _ if self.outcome_unknown() => false,
            _ => self.failure().is_some_and(|failure| failure.is_passing()),
        }
    }

    /// Whether a create may have happened although this error came back. Never repeat such a call
    /// blindly: list the batches, and look for yours by its input file.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Api { detail, .. } => detail.outcome_unknown,
            Self::Http(error) => error.outcome_unknown,
            Self::OutcomeUnknown { .. } => true,
            _ => false,
        }
    }

    /// How long the provider asks to wait before the next call.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Api { detail, .. } => detail.retry_after,
            _ => None,
        }
    }

    /// The provider's id of the call, if it named one.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Api { request_id, .. } => request_id.as_deref(),
            Self::OutcomeUnknown { source, .. } => source.request_id(),
            _ => None,
        }
    }

    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The failure as the retry rules see it; none if repeating cannot help.
    pub(crate) fn failure(&self) -> Option<Failure<'_>> {
        match self {
            Self::Api {
                status,
                code,
                kind,
                detail,
                ..
            } => Some(Failure::Refused {
                status: *status,
                code: code.as_deref().or(kind.as_deref()),
                retry_after: detail.retry_after,
                should_retry: detail.should_retry,
            }),
            Self::Http(error) => Some(error.failure()),
            Self::Incomplete { .. } => Some(Failure::NoAnswer),
            _ => None,
        }
    }
}

fn refused(error: &DittoError) -> String {
    let DittoError::Api {
        status,
        code,
        kind,
        param,
        message,
        request_id,
        detail,
    } = error
    else {
        return String::new();
    };
    let mut text = format!("{}: status {status}", detail.operation);
    if let Some(word) = code.as_deref().or(kind.as_deref()) {
        text += &format!(", {word}");
    }
    text += &format!(": {message}");
    if let Some(param) = param {
        text += &format!(" (`{param}`)");
    }
    if let Some(id) = request_id {
        text += &format!(" [request {id}]");
    }
    if let Some(hint) = hint(error) {
        text += &format!("\nhint: {hint}");
    }
    text
}

fn hint(error: &DittoError) -> Option<&'static str> {
    if error.outcome_unknown() {
        return Some(LOOK_FIRST);
    }
    match error.failure()? {
        Failure::Refused { status: 401, .. } => Some("check the key, and that it is this server's"),
        Failure::Refused {
            status: 300..=399, ..
        } => Some("the server lives elsewhere: give the address it names as base URL"),
        Failure::Refused {
            status: 429, code, ..
        } if !retry::is_passing_status(429, code) => {
            Some("the account's quota is used up; waiting does not help")
        }
        Failure::Refused { .. } | Failure::NotSent | Failure::NoAnswer => None,
    }
}

fn expected_text(expected: Option<u64>) -> String {
    expected
        .map(|bytes| format!(" of {bytes}"))
        .unwrap_or_default()
}

/// How far a call came that has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpStage {
    /// No connection; nothing was sent.
    Connect,
    /// Sent at least in part; the answer did not come or broke off.
    Exchange,
    /// Sent at least in part; nothing moved for too long.
    TimedOut,
}

/// A call without an answer.
#[derive(Debug, Clone)]
pub struct HttpError {
    operation: &'static str,
    stage: HttpStage,
    message: String,
    outcome_unknown: bool,
}

impl HttpError {
    #[cfg(feature = "http")]
    pub(crate) fn new(operation: &'static str, stage: HttpStage, message: String) -> Self {
        Self {
            operation,
            stage,
            message,
            outcome_unknown: false,
        }
    }

    /// Marks what may have happened all the same.
    #[cfg(feature = "http")]
    pub(crate) fn outcome_unknown(self, outcome_unknown: bool) -> Self {
        Self {
            outcome_unknown,
            ..self
        }
    }

    /// How far the call came.
    pub fn stage(&self) -> HttpStage {
        self.stage
    }

    pub(crate) fn failure(&self) -> Failure<'static> {
        match self.stage {
            HttpStage::Connect => Failure::NotSent,
            HttpStage::Exchange | HttpStage::TimedOut => Failure::NoAnswer,
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.stage {
            HttpStage::Connect => "cannot connect",
            HttpStage::Exchange => "no whole answer",
            HttpStage::TimedOut => "timed out",
        };
        write!(f, "{}: {how}: {}", self.operation, self.message)?;
        if self.outcome_unknown {
            write!(f, "\nhint: {LOOK_FIRST}")?;
        }
        Ok(())
    }
}

impl std::error::Error for HttpError {}

/// The causes of a failed exchange in one line. Its own text is left out: it names the URL, and
/// the query may hold a key.
#[cfg(feature = "http")]
pub(crate) fn causes(error: &reqwest::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        // Many errors repeat their cause.
        if texts.last().is_none_or(|last| !last.contains(&text)) {
            texts.push(text);
        }
        cause = error.source();
    }
    if texts.is_empty() {
        texts.push(
            if error.is_timeout() {
                "too slow"
            } else {
                "failed"
            }
            .to_owned(),
        );
    }
    texts.join(": ")
}
