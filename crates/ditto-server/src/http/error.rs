//! The one table from what went wrong to what a client sees.

use std::borrow::Cow;
use std::error::Error as _;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ditto_llm::wire::{ErrorBody, ErrorEnvelope};

use crate::error::{Error, ErrorKind, GONE};

/// OpenAI's clients stop or go on as this header says.
const X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// Bytes of a refusal's message, and of the name of what is wrong. Ours are shorter; they repeat what the
/// client sent, which may be as long as a request.
const MESSAGE: usize = 2048;
const PARAM: usize = 512;
/// When nothing better is known, long enough for a restart to be over.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The result of a handler.
pub(super) type Answer<T> = Result<T, Failure>;

/// What can be wrong with a request, or with us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    Invalid,
    NoKey,
    Forbidden,
    Missing,
    WrongMethod,
    TooSlow,
    Conflict,
    TooLarge,
    WrongMediaType,
    NoSuchRange,
    Busy,
    Full,
    Internal,
    Unavailable,
    NoSpace,
}

impl Problem {
    fn status(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::NoKey => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Missing => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::WrongMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NoSuchRange => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Busy | Self::Full => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable | Self::NoSpace => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The envelope's `type`.
    fn kind(self) -> &'static str {
        match self.next_step() {
            NextStep::Stop | NextStep::TryAgain => "invalid_request_error",
            NextStep::Wait if self == Self::Busy => "rate_limit_error",
            // As OpenAI calls what no waiting mends: some clients obey this word and not the header.
            NextStep::ComeBack if self == Self::Full => "insufficient_quota",
            NextStep::Wait | NextStep::ComeBack | NextStep::Report => "server_error",
        }
    }

    fn next_step(self) -> NextStep {
        match self {
            Self::Invalid
            | Self::NoKey
            | Self::Forbidden
            | Self::Missing
            | Self::WrongMethod
            | Self::Conflict
            | Self::TooLarge
            | Self::WrongMediaType
            | Self::NoSuchRange => NextStep::Stop,
            Self::TooSlow => NextStep::TryAgain,
            Self::Busy | Self::Unavailable => NextStep::Wait,
            Self::Full | Self::NoSpace => NextStep::ComeBack,
            Self::Internal => NextStep::Report,
        }
    }
}

/// What a client should do about a problem.
enum NextStep {
    /// The same request will be refused again.
    Stop,
    TryAgain,
    /// Try again after `Retry-After`.
    Wait,
    /// Somebody has to make room first. A program may try again after `Retry-After`, but no client by
    /// itself: it would send a whole file once more, and its user would hear nothing for minutes.
    ComeBack,
    /// Ours to mend; nothing is promised of another try.
    Report,
}

impl From<ErrorKind> for Problem {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Invalid => Self::Invalid,
            ErrorKind::Missing => Self::Missing,
            ErrorKind::Conflict => Self::Conflict,
            ErrorKind::TooLarge => Self::TooLarge,
            ErrorKind::Busy => Self::Busy,
            ErrorKind::Full => Self::Full,
            ErrorKind::NoSpace => Self::NoSpace,
            ErrorKind::Unavailable => Self::Unavailable,
            ErrorKind::Internal => Self::Internal,
        }
    }
}

/// A refusal in OpenAI's envelope. Boxed, since it is the rare half of every answer.
#[derive(Debug)]
pub(super) struct Failure(Box<Detail>);

#[derive(Debug)]
struct Detail {
    problem: Problem,
    message: String,
    param: Option<Cow<'static, str>>,
    code: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Failure {
    pub(super) fn new(problem: Problem, message: impl Into<String>) -> Self {
        Self(Box::new(Detail {
            problem,
            message: message.into(),
            param: None,
            code: None,
            retry_after: None,
            headers: Vec::new(),
        }))
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Problem::Invalid, message)
    }

    pub(super) fn missing(message: impl Into<String>) -> Self {
        Self::new(Problem::Missing, message)
    }

    /// A bug of ours, of which the client learns no more than that.
    pub(super) fn internal() -> Self {
        Self::new(
            Problem::Internal,
            "The server failed at this request. Its log has the details under the id in the \
             x-request-id header.",
        )
    }

    pub(super) fn with_param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.0.param = Some(param.into());
        self
    }

    pub(super) fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.0.code = Some(code.into());
        self
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let problem = Problem::from(error.kind());
        let mut failure = match problem {
            Problem::Internal if error.code() == Some(GONE) => {
                tracing::error!(target: "ditto_server::http", error = %error, "content is lost");
                Self::new(
                    problem,
                    "A part of this file is gone from the server's disk; nothing was sent of it. \
                     The server's operator can restore it from a backup; its log names the part.",
                )
            }
            Problem::Internal => {
                tracing::error!(target: "ditto_server::http", error = %error, "internal error");
                Self::internal()
            }
            // What has a source speaks of our disks and paths, which are no client's business.
            Problem::Unavailable if error.source().is_some() => {
                tracing::error!(target: "ditto_server::http", error = %error, "storage is away");
                Self::new(
                    problem,
                    "The server's storage does not answer. What was recorded is safe; try again.",
                )
            }
            _ => Self::new(problem, error.message()),
        };
        failure.0.param = error.param().map(|p| Cow::Owned(p.to_owned()));
        failure.0.code = error.code().map(|c| Cow::Owned(c.to_owned()));
        failure.0.retry_after = error.retry_after();
        failure
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let detail = *self.0;
        let body = ErrorEnvelope {
            error: ErrorBody {
                message: shortened(detail.message, MESSAGE),
                kind: detail.problem.kind().to_owned(),
                param: detail
                    .param
                    .map(|param| shortened(param.into_owned(), PARAM)),
                code: detail.code.map(Cow::into_owned),
            },
        };
        let mut response = (detail.problem.status(), Json(body)).into_response();
        let headers = response.headers_mut();
        let next_step = detail.problem.next_step();
        if matches!(next_step, NextStep::Stop | NextStep::ComeBack) {
            headers.insert(X_SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        if matches!(next_step, NextStep::Wait | NextStep::ComeBack) {
            let wait = detail.retry_after.unwrap_or(DEFAULT_RETRY_AFTER);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        headers.extend(detail.headers);
        response
    }
}

/// A text of at most so many bytes: of a longer one its beginning and its end, in which our own words
/// stand.
fn shortened(text: String, most: usize) -> String {
    const GAP: &str = "…";
    if text.len() <= most {
        return text;
    }
    let half = (most - GAP.len()) / 2;
    let whole = |at: &usize| text.is_char_boundary(*at);
    let start = (0..=half).rev().find(whole).unwrap_or(0);
    let end = (text.len() - half..).find(whole).unwrap_or(text.len());
    format!("{}{GAP}{}", &text[..start], &text[end..])
}

/// Rounded up, and at least one: clients read 0 as "at once".
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds() {
        let table = [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2), (90_000, 90)];
        for (ms, seconds) in table {
            assert_eq!(whole_seconds(Duration::from_millis(ms)), seconds, "{ms} ms");
        }
    }

    #[test]
    fn a_long_text_keeps_its_ends_and_whole_characters() {
        for (text, expected) in [
            ("0123456789", "0123456789"),
            ("01234567890", "012…890"),
            ("ééééééé", "é…é"),
        ] {
            assert_eq!(shortened(text.to_owned(), 10), expected);
        }
        for length in 0..200 {
            let text = "é".repeat(length);
            assert!(shortened(text, 50).len() <= 50);
        }
    }

    #[test]
    fn only_final_refusals_tell_clients_to_stop() {
        let retry = |problem| {
            let response = Failure::new(problem, "m").into_response();
            (
                response.status().as_u16(),
                response.headers().contains_key(X_SHOULD_RETRY),
                response.headers().contains_key(header::RETRY_AFTER),
            )
        };
        assert_eq!(retry(Problem::Invalid), (400, true, false));
        assert_eq!(retry(Problem::Conflict), (409, true, false));
        assert_eq!(retry(Problem::TooSlow), (408, false, false));
        assert_eq!(retry(Problem::Busy), (429, false, true));
        assert_eq!(retry(Problem::Full), (429, true, true));
        assert_eq!(retry(Problem::NoSpace), (503, true, true));
        assert_eq!(retry(Problem::Internal), (500, false, false));
        assert_eq!(retry(Problem::Unavailable), (503, false, true));
    }

    #[tokio::test]
    async fn storage_errors_keep_paths_to_themselves() {
        let inner = std::io::Error::other("/secret/path is full");
        let response = Failure::from(Error::storage("write", inner)).into_response();
        let body = axum::body::to_bytes(response.into_body(), 10_000)
            .await
            .unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("/secret"));
    }
}
