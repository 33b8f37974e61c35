//! What an answer's body says, as far as it decides: is it JSON, is it an API's error, what did it
//! cost. The body itself is never changed here.

use std::fmt;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::catalog::Usage;
use crate::model::policy::Body;

/// What was read off a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) body: Body,
    /// The error's code says quota or billing.
    pub(crate) quota: bool,
    pub(crate) usage: Usage,
}

/// Codes and types of a 429 that no waiting of seconds will mend.
const QUOTA: [&str; 4] = [
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "quota_exceeded",
];

/// Reads a body once.
pub(crate) fn read(body: &[u8]) -> Facts {
    let nothing = |body| Facts {
        body,
        quota: false,
        usage: Usage::default(),
    };
    if body.iter().all(u8::is_ascii_whitespace) {
        return nothing(Body::Empty);
    }
    let Ok(text) = std::str::from_utf8(body) else {
        return nothing(Body::Other);
    };
    let Ok(top) = serde_json::from_str::<Top<'_>>(text) else {
        return nothing(Body::Other);
    };
    let error = top
        .error
        .map(RawValue::get)
        .filter(|error| *error != "null");
    let is_error = error.is_some() || top.object.is_some_and(|o| o.get() == "\"error\"");
    Facts {
        body: if is_error { Body::ApiError } else { Body::Json },
        quota: error.is_some_and(names_quota),
        usage: top
            .usage
            .map(|usage| tokens(usage.get()))
            .unwrap_or_default(),
    }
}

fn names_quota(error: &str) -> bool {
    #[derive(Deserialize)]
    struct Error<'a> {
        #[serde(borrow)]
        code: Option<&'a RawValue>,
        #[serde(borrow, rename = "type")]
        kind: Option<&'a RawValue>,
    }
    let Ok(error) = serde_json::from_str::<Error<'_>>(error) else {
        return false;
    };
    [error.code, error.kind]
        .into_iter()
        .flatten()
        .any(|word| QUOTA.contains(&word.get().trim_matches('"')))
}

/// The keys that matter at the top of a body; the last of a repeated key wins, as in most readers.
#[derive(Default)]
struct Top<'a> {
    usage: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    object: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Top<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TopVisitor)
    }
}

struct TopVisitor;

impl<'de> Visitor<'de> for TopVisitor {
    type Value = Top<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Top<'de>, A::Error> {
        let mut top = Top::default();
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match &*key {
                "usage" => top.usage = Some(map.next_value()?),
                "error" => top.error = Some(map.next_value()?),
                "object" => top.object = Some(map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(top)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Top<'de>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Top::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Top<'de>, E> {
        Ok(Top::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Top<'de>, E> {
        Ok(Top::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Top<'de>, E> {
        Ok(Top::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Top<'de>, E> {
        Ok(Top::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Top<'de>, E> {
        Ok(Top::default())
    }

    fn visit_unit<E>(self) -> Result<Top<'de>, E> {
        Ok(Top::default())
    }
}

/// Tokens in both spellings: of chat completions and embeddings, and of responses. What cannot be
/// read counts as nothing: a strange usage must not cost the answer.
fn tokens(usage: &str) -> Usage {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Tokens {
        prompt_tokens: Option<u64>,
        input_tokens: Option<u64>,
        completion_tokens: Option<u64>,
        output_tokens: Option<u64>,
        total_tokens: Option<u64>,
        prompt_tokens_details: Option<Details>,
        input_tokens_details: Option<Details>,
        completion_tokens_details: Option<Details>,
        output_tokens_details: Option<Details>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Details {
        cached_tokens: Option<u64>,
        reasoning_tokens: Option<u64>,
    }
    let Ok(seen) = serde_json::from_str::<Tokens>(usage) else {
        return Usage::default();
    };
    let input = seen.input_tokens.or(seen.prompt_tokens).unwrap_or_default();
    let output = seen
        .output_tokens
        .or(seen.completion_tokens)
        .unwrap_or_default();
    let inputs = seen
        .input_tokens_details
        .or(seen.prompt_tokens_details)
        .unwrap_or_default();
    let outputs = seen
        .output_tokens_details
        .or(seen.completion_tokens_details)
        .unwrap_or_default();
    Usage {
        input,
        cached: inputs.cached_tokens.unwrap_or_default(),
        output,
        reasoning: outputs.reasoning_tokens.unwrap_or_default(),
        total: seen.total_tokens.unwrap_or(input + output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_told_apart() {
        let cases: [(&[u8], Body); 12] = [
            (b"", Body::Empty),
            (b" \r\n", Body::Empty),
            (b"<html>502</html>", Body::Other),
            (b"{\"a\":1} trailing", Body::Other),
            (b"{\"a\":", Body::Other),
            (b"\"\xff\"", Body::Other),
            (b"{\"choices\":[]}", Body::Json),
            (b"{\"error\":null,\"object\":\"response\"}", Body::Json),
            (b"{\"error\":{\"message\":\"no\"}}", Body::ApiError),
            (b"{\"object\":\"error\",\"message\":\"no\"}", Body::ApiError),
            (b"[1,[2,{\"error\":1}]]", Body::Json),
            (b"{\"error\":1,\"error\":null}", Body::Json),
        ];
        for (body, expected) in cases {
            assert_eq!(
                read(body).body,
                expected,
                "{}",
                String::from_utf8_lossy(body)
            );
        }
    }

    #[test]
    fn tokens_are_read_in_both_spellings() {
        let chat = br#"{"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,
            "prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":null}}"#;
        let expected = Usage {
            input: 10,
            cached: 4,
            output: 5,
            reasoning: 0,
            total: 15,
        };
        assert_eq!(read(chat).usage, expected);
        let responses = br#"{"usage":{"input_tokens":10,"output_tokens":5,
            "output_tokens_details":{"reasoning_tokens":2}}}"#;
        let expected = Usage {
            input: 10,
            cached: 0,
            output: 5,
            reasoning: 2,
            total: 15,
        };
        assert_eq!(read(responses).usage, expected);
    }

    #[test]
    fn a_strange_usage_does_not_cost_the_answer() {
        for usage in ["\"many\"", "[]", "{\"prompt_tokens\":-1}", "null"] {
            let facts = read(format!("{{\"usage\":{usage}}}").as_bytes());
            assert_eq!(
                (facts.body, facts.usage),
                (Body::Json, Usage::default()),
                "{usage}"
            );
        }
    }

    #[test]
    fn quota_is_told_from_rate() {
        assert!(read(br#"{"error":{"code":"insufficient_quota"}}"#).quota);
        assert!(read(br#"{"error":{"type":"insufficient_quota","code":429}}"#).quota);
        assert!(!read(br#"{"error":{"code":"rate_limit_exceeded"}}"#).quota);
    }
}
