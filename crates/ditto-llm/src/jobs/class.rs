//! What came of a line, in one word.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::retry::is_passing_status;
use crate::wire::ResultLine;

/// What came of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Class {
    /// Answered.
    Ok,
    /// Answered up to the limit of tokens that the line set.
    Truncated,
    /// Answered with a refusal to answer: a filter or the model itself.
    Refused,
    /// A success without an answer in it.
    Empty,
    /// The provider refuses what the line asks.
    BadRequest,
    /// The provider's limit on rates.
    RateLimited,
    /// The provider failed.
    ServerError,
    /// No answer came: status 0, a time-out.
    NoAnswer,
    /// The window ended first.
    Expired,
    /// The batch was cancelled first, or failed as a whole.
    Cancelled,
    /// The provider's files do not have the line.
    Missing,
    /// It was not sent: the check refuses it.
    Withheld,
}

impl Class {
    /// All of them, in the order of a summary.
    pub const ALL: [Self; 12] = [
        Self::Ok,
        Self::Truncated,
        Self::Refused,
        Self::Empty,
        Self::BadRequest,
        Self::RateLimited,
        Self::ServerError,
        Self::NoAnswer,
        Self::Expired,
        Self::Cancelled,
        Self::Missing,
        Self::Withheld,
    ];

    /// The class of a result line.
    #[must_use]
    pub fn of(line: &ResultLine) -> Self {
        let code = line.error.as_ref().and_then(|error| error.code.as_deref());
        if let Some(class) = code.and_then(of_code) {
            return class;
        }
        match &line.response {
            Some(response) if response.status_code != 0 => {
                let body = response.json();
                match response.status_code {
                    200..300 if line.is_success() => of_answer(body.as_ref()),
                    200..300 => Self::Empty,
                    status => of_status(status, code.or(code_in(body.as_ref()))),
                }
            }
            // A status of 0 with an empty body.
            Some(_) => Self::NoAnswer,
            None => match (&line.error, code) {
                (None, _) => Self::NoAnswer,
                // A code that nobody knows may be anybody's word for a bad line; buying that again
                // and again is worse than not buying a good one again.
                (Some(_), Some(_)) => Self::BadRequest,
                (Some(_), None) => Self::ServerError,
            },
        }
    }

    /// Whether it is an answer, and so belongs into the output file.
    #[must_use]
    pub fn is_answer(self) -> bool {
        match self {
            Self::Ok | Self::Truncated | Self::Refused => true,
            Self::Empty
            | Self::BadRequest
            | Self::RateLimited
            | Self::ServerError
            | Self::NoAnswer
            | Self::Expired
            | Self::Cancelled
            | Self::Missing
            | Self::Withheld => false,
        }
    }

    /// What another round of such a line costs.
    #[must_use]
    pub fn again(self) -> Again {
        match self {
            Self::Ok | Self::Truncated | Self::Refused | Self::BadRequest | Self::Withheld => {
                Again::Never
            }
            Self::Expired | Self::Cancelled | Self::Missing => Again::Free,
            Self::Empty | Self::RateLimited | Self::ServerError | Self::NoAnswer => Again::Charged,
        }
    }

    /// As it is spelled in summaries.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Truncated => "truncated",
            Self::Refused => "refused",
            Self::Empty => "empty",
            Self::BadRequest => "bad_request",
            Self::RateLimited => "rate_limited",
            Self::ServerError => "server_error",
            Self::NoAnswer => "no_answer",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Missing => "missing",
            Self::Withheld => "withheld",
        }
    }

    pub(crate) fn to_byte(self) -> u8 {
        let place = Self::ALL.iter().position(|class| *class == self);
        u8::try_from(place.expect("all classes are in the list")).expect("there are few")
    }

    pub(crate) fn of_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }
}

/// Whether a line is asked again, and at whose expense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// What came of it is final.
    Never,
    /// As often as its class has attempts.
    Charged,
    /// The line has done nothing wrong and was not bought; as long as rounds get anywhere.
    Free,
}

/// Codes of lines that have no HTTP answer.
fn of_code(code: &str) -> Option<Class> {
    Some(match code {
        "batch_expired" => Class::Expired,
        "batch_cancelled" | "batch_canceled" | "batch_failed" => Class::Cancelled,
        "timeout" | "request_timeout" | "upstream_timeout" | "upstream_unreachable" => {
            Class::NoAnswer
        }
        "rate_limit_exceeded" | "too_many_requests" => Class::RateLimited,
        "server_error" | "internal_error" | "internal_server_error" => Class::ServerError,
        // Some write the status where others write a word.
        _ => of_status(code.parse().ok().filter(|status| *status >= 400)?, None),
    })
}

fn of_status(status: u16, code: Option<&str>) -> Class {
    match status {
        _ if !is_passing_status(status, code) => Class::BadRequest,
        429 => Class::RateLimited,
        _ => Class::ServerError,
    }
}

fn code_in(body: Option<&Value>) -> Option<&str> {
    body?.get("error")?.get("code")?.as_str()
}

/// How an answer ended, in chat completions and in responses.
fn of_answer(body: Option<&Value>) -> Class {
    let Some(body) = body else { return Class::Ok };
    let choice = body.get("choices").and_then(|choices| choices.get(0));
    let text = |value: Option<&'_ Value>| value.and_then(Value::as_str).map(str::to_owned);
    let finish = text(choice.and_then(|choice| choice.get("finish_reason")));
    let incomplete = text(
        body.get("incomplete_details")
            .and_then(|why| why.get("reason")),
    );
    let refusal = choice
        .and_then(|choice| choice.get("message"))
        .and_then(|message| message.get("refusal"))
        .is_some_and(|refusal| refusal.as_str().is_some_and(|text| !text.is_empty()));
    match finish.or(incomplete).as_deref() {
        Some("length" | "max_output_tokens") => Class::Truncated,
        Some("content_filter") => Class::Refused,
        _ if refusal => Class::Refused,
        _ => Class::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(response: &str, error: &str) -> Class {
        let line = format!(r#"{{"custom_id":"a","response":{response},"error":{error}}}"#);
        Class::of(&serde_json::from_str(&line).unwrap())
    }

    fn answered(status: u16, body: &str) -> Class {
        class(
            &format!(r#"{{"status_code":{status},"body":{body}}}"#),
            "null",
        )
    }

    #[test]
    fn answers_are_told_apart_by_how_they_end() {
        let chat = |finish: &str| {
            answered(
                200,
                &format!(r#"{{"choices":[{{"finish_reason":"{finish}"}}]}}"#),
            )
        };
        assert_eq!(chat("stop"), Class::Ok);
        assert_eq!(chat("length"), Class::Truncated);
        assert_eq!(chat("content_filter"), Class::Refused);
        assert_eq!(chat("a new word"), Class::Ok);
        let refusal = r#"{"choices":[{"finish_reason":"stop","message":{"refusal":"I cannot"}}]}"#;
        assert_eq!(answered(200, refusal), Class::Refused);
        let response =
            r#"{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}}"#;
        assert_eq!(answered(200, response), Class::Truncated);
        assert_eq!(answered(200, r#"{"object":"list","data":[]}"#), Class::Ok);
    }

    #[test]
    fn a_success_without_an_answer_is_none() {
        assert_eq!(answered(200, "{}"), Class::Empty);
        assert_eq!(answered(200, "null"), Class::Empty);
        assert_eq!(answered(200, r#"{"error":{"message":"x"}}"#), Class::Empty);
    }

    #[test]
    fn failures_are_told_apart_by_whether_they_pass() {
        for (status, expected) in [
            (0, Class::NoAnswer),
            (400, Class::BadRequest),
            (404, Class::BadRequest),
            (408, Class::ServerError),
            (409, Class::ServerError),
            (429, Class::RateLimited),
            (500, Class::ServerError),
            (529, Class::ServerError),
        ] {
            assert_eq!(
                answered(status, r#"{"error":{"code":"x"}}"#),
                expected,
                "{status}"
            );
        }
        let quota = r#"{"error":{"code":"insufficient_quota"}}"#;
        assert_eq!(answered(429, quota), Class::BadRequest);
    }

    #[test]
    fn lines_without_an_answer_are_told_apart_by_their_code() {
        let code = |code: &str| class("null", &format!(r#"{{"code":{code},"message":"m"}}"#));
        for (word, expected) in [
            (r#""batch_expired""#, Class::Expired),
            (r#""batch_cancelled""#, Class::Cancelled),
            (r#""batch_failed""#, Class::Cancelled),
            (r#""timeout""#, Class::NoAnswer),
            (r#""400""#, Class::BadRequest),
            ("503", Class::ServerError),
            (r#""429""#, Class::RateLimited),
            (r#""model_not_found""#, Class::BadRequest),
            ("null", Class::ServerError),
        ] {
            assert_eq!(code(word), expected, "{word}");
        }
        assert_eq!(class("null", "null"), Class::NoAnswer);
    }

    #[test]
    fn only_what_passes_is_asked_again_and_only_what_was_not_bought_is_free() {
        for class in Class::ALL {
            assert_eq!(Class::of_byte(class.to_byte()), Some(class));
            assert!(
                !class.is_answer() || class.again() == Again::Never,
                "{class:?}"
            );
        }
        let free: Vec<_> = Class::ALL
            .into_iter()
            .filter(|class| class.again() == Again::Free)
            .collect();
        assert_eq!(free, [Class::Expired, Class::Cancelled, Class::Missing]);
        assert_eq!(Class::of_byte(12), None);
    }
}
