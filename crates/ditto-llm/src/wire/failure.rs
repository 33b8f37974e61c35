//! Why a line of an error file has no answer, in one word.

use std::fmt;

use super::ResultLine;

/// Why a line failed, as far as it decides whether another run of it can help.
///
/// ```
/// use ditto_llm::{FailureClass, ResultLine};
///
/// let line = r#"{"custom_id":"a","response":null,"error":{"code":"batch_expired"}}"#;
/// let line: ResultLine = serde_json::from_str(line).unwrap();
/// assert_eq!(FailureClass::of(&line), Some(FailureClass::Expired));
/// assert!(FailureClass::Expired.passes());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureClass {
    /// Its batch was cancelled before it ran.
    Cancelled,
    /// The window of its batch ended before it ran.
    Expired,
    /// The provider's limit on rates: 429.
    RateLimited,
    /// The provider failed: 5xx, 408, 409, 425.
    ServerError,
    /// No answer came: a time-out, no connection, a status of 0.
    NoAnswer,
    /// An answer came that is empty, or not JSON.
    Unreadable,
    /// An answer came that is larger than the limit.
    TooLarge,
    /// The provider refuses what the line asks: any other 4xx.
    BadRequest,
    /// The line was never sent: it is faulty, or nobody serves its model.
    Invalid,
}

impl FailureClass {
    /// All of them, those that may pass first.
    pub const ALL: [Self; 9] = [
        Self::Cancelled,
        Self::Expired,
        Self::RateLimited,
        Self::ServerError,
        Self::NoAnswer,
        Self::Unreadable,
        Self::TooLarge,
        Self::BadRequest,
        Self::Invalid,
    ];

    /// The class of a result line; `None` if it was answered.
    pub fn of(line: &ResultLine) -> Option<Self> {
        let code = line.error.as_ref().map(|error| error.code.as_deref());
        match (code, line.response.as_ref().map(|r| r.status_code)) {
            (Some(Some("batch_cancelled")), _) => Some(Self::Cancelled),
            (Some(Some("batch_expired")), _) => Some(Self::Expired),
            (Some(Some("upstream_timeout" | "upstream_unreachable")), _) => Some(Self::NoAnswer),
            (Some(Some("answer_too_large")), _) => Some(Self::TooLarge),
            (Some(_), None) => Some(Self::Invalid),
            (_, None | Some(0)) => Some(Self::NoAnswer),
            (_, Some(429)) => Some(Self::RateLimited),
            (_, Some(408 | 409 | 425 | 500..)) => Some(Self::ServerError),
            (None, Some(200..300)) if line.is_success() => None,
            (_, Some(200..300)) => Some(Self::Unreadable),
            (_, Some(_)) => Some(Self::BadRequest),
        }
    }

    /// Whether the same line can be answered at another time: nothing is wrong with it.
    pub fn passes(self) -> bool {
        match self {
            Self::Cancelled
            | Self::Expired
            | Self::RateLimited
            | Self::ServerError
            | Self::NoAnswer
            | Self::Unreadable => true,
            Self::TooLarge | Self::BadRequest | Self::Invalid => false,
        }
    }

    /// As it is spelled in requests and summaries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::RateLimited => "rate_limited",
            Self::ServerError => "server_error",
            Self::NoAnswer => "no_answer",
            Self::Unreadable => "unreadable",
            Self::TooLarge => "too_large",
            Self::BadRequest => "bad_request",
            Self::Invalid => "invalid",
        }
    }

    /// Reads what [`FailureClass::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(response: &str, error: &str) -> Option<FailureClass> {
        let line = format!(r#"{{"custom_id":"a","response":{response},"error":{error}}}"#);
        FailureClass::of(&serde_json::from_str(&line).unwrap())
    }

    #[test]
    fn every_line_that_failed_has_a_class_and_no_other() {
        use FailureClass as C;
        let code = |code: &str| class("null", &format!(r#"{{"code":"{code}"}}"#));
        assert_eq!(code("batch_cancelled"), Some(C::Cancelled));
        assert_eq!(code("batch_expired"), Some(C::Expired));
        assert_eq!(code("upstream_timeout"), Some(C::NoAnswer));
        assert_eq!(code("upstream_unreachable"), Some(C::NoAnswer));
        assert_eq!(code("missing_required_parameter"), Some(C::Invalid));
        assert_eq!(code("model_not_found"), Some(C::Invalid));
        assert_eq!(class("null", "null"), Some(C::NoAnswer));
        let status = |status: u16, body: &str, error: &str| {
            class(
                &format!(r#"{{"status_code":{status},"body":{body}}}"#),
                error,
            )
        };
        for (number, expected) in [
            (0, C::NoAnswer),
            (429, C::RateLimited),
            (408, C::ServerError),
            (409, C::ServerError),
            (500, C::ServerError),
            (529, C::ServerError),
            (400, C::BadRequest),
            (404, C::BadRequest),
            (422, C::BadRequest),
        ] {
            let refused = status(number, r#"{"error":{"code":"x"}}"#, "null");
            assert_eq!(refused, Some(expected), "{number}");
        }
        let text = r#"{"code":"upstream_invalid_response"}"#;
        assert_eq!(status(200, r#""<html>""#, text), Some(C::Unreadable));
        assert_eq!(status(200, r#"{"error":"x"}"#, "null"), Some(C::Unreadable));
        let large = r#"{"code":"answer_too_large"}"#;
        assert_eq!(status(200, r#""{""#, large), Some(C::TooLarge));
        assert_eq!(status(200, r#"{"id":"x"}"#, "null"), None);
    }

    #[test]
    fn classes_are_read_back_as_written() {
        for class in FailureClass::ALL {
            assert_eq!(FailureClass::parse(class.as_str()), Some(class));
        }
        assert_eq!(FailureClass::parse("other"), None);
    }
}
