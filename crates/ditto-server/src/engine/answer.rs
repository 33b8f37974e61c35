//! What an answer's body says, as far as it decides: is it JSON, is it an API's error, what did it
//! cost. The body itself is never changed here.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufReader, Read};
use std::ops::Range;

use ditto_llm::json;
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::catalog::Usage;
use crate::model::policy::Body;
use crate::spool::Spooled;

/// What was read off a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) body: Body,
    /// The error's code says quota or billing.
    pub(crate) quota: bool,
    pub(crate) usage: Usage,
    /// It says how much of the prompt was known already, be it nothing.
    pub(crate) tells_cached: bool,
}

/// Codes and types of a 429 that no waiting of seconds will mend.
const QUOTA: [&str; 4] = [
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "quota_exceeded",
];

/// What was read off a body in a spool file.
#[derive(Debug, Clone)]
pub(crate) struct Survey {
    pub(crate) facts: Facts,
    pub(crate) is_utf8: bool,
    /// Without white space around it.
    pub(crate) trimmed: Range<u64>,
}

/// Read at a time of a body in a spool file.
const PIECE: usize = 64 * 1024;

/// Reads a body once.
pub(crate) fn read(body: &[u8]) -> Facts {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Facts::nothing(Body::Empty);
    }
    let Ok(text) = std::str::from_utf8(body) else {
        return Facts::nothing(Body::Other);
    };
    let mut top = Top::default();
    if json::members(body, |name, value| top.note(name, value)).is_ok() {
        return top.facts();
    }
    // Seldom: it is no JSON, or so deep that only the slower reader, which has no limit, gets to its end.
    match serde_json::from_str::<Top<'_>>(text) {
        Ok(top) => top.facts(),
        Err(_) => Facts::nothing(Body::Other),
    }
}

/// The same of a body that is not held: twice over the file, keeping only what decides.
pub(crate) fn survey(spooled: &Spooled) -> io::Result<Survey> {
    let (trimmed, is_utf8) = outline(spooled)?;
    let facts = if trimmed.is_empty() {
        Facts::nothing(Body::Empty)
    } else if !is_utf8 {
        Facts::nothing(Body::Other)
    } else {
        match serde_json::from_reader::<_, Top>(BufReader::with_capacity(PIECE, spooled.reader())) {
            Ok(top) => top.facts(),
            Err(error) if error.is_io() => return Err(error.into()),
            Err(_) => Facts::nothing(Body::Other),
        }
    };
    Ok(Survey {
        facts,
        is_utf8,
        trimmed,
    })
}

/// Where its first and its last byte are that are no white space, and whether it is UTF-8.
fn outline(spooled: &Spooled) -> io::Result<(Range<u64>, bool)> {
    let (mut trimmed, mut is_utf8) = (0..0, true);
    let (mut reader, mut piece, mut at) = (spooled.reader(), Vec::with_capacity(PIECE), 0);
    loop {
        let carried = piece.len();
        let read = reader.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        if read == 0 {
            return Ok((trimmed, is_utf8 && carried == 0));
        }
        let new = &piece[carried..];
        let seen = |byte: &u8| !byte.is_ascii_whitespace();
        if let (Some(first), Some(last)) = (new.iter().position(seen), new.iter().rposition(seen)) {
            let start = match trimmed.is_empty() {
                true => at + first as u64,
                false => trimmed.start,
            };
            trimmed = start..at + last as u64 + 1;
        }
        at += read as u64;
        let whole = match std::str::from_utf8(&piece) {
            Ok(_) => piece.len(),
            // Its last character goes on in the next piece.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => {
                is_utf8 = false;
                piece.len()
            }
        };
        piece.drain(..whole);
    }
}

impl Facts {
    fn nothing(body: Body) -> Self {
        Self {
            body,
            quota: false,
            usage: Usage::default(),
            tells_cached: false,
        }
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
    usage: Option<Cow<'a, str>>,
    error: Option<Cow<'a, str>>,
    object: Option<Cow<'a, str>>,
}

impl<'a> Top<'a> {
    fn note(&mut self, name: &[u8], value: &'a [u8]) {
        let place = match name {
            b"usage" => &mut self.usage,
            b"error" => &mut self.error,
            b"object" => &mut self.object,
            _ => return,
        };
        *place = Some(String::from_utf8_lossy(value));
    }

    fn facts(&self) -> Facts {
        let error = self.error.as_deref().filter(|error| *error != "null");
        let is_error = error.is_some() || self.object.as_deref() == Some("\"error\"");
        let (usage, tells_cached) = self.usage.as_deref().map(tokens).unwrap_or_default();
        Facts {
            body: if is_error { Body::ApiError } else { Body::Json },
            quota: error.is_some_and(names_quota),
            usage,
            tells_cached,
        }
    }
}

/// A key at the top, told without keeping it.
enum Key {
    Usage,
    Error,
    Object,
    Another,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(match key {
            "usage" => Key::Usage,
            "error" => Key::Error,
            "object" => Key::Object,
            _ => Key::Another,
        })
    }
}

impl<'de> Deserialize<'de> for Top<'static> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TopVisitor)
    }
}

struct TopVisitor;

impl<'de> Visitor<'de> for TopVisitor {
    type Value = Top<'static>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut top = Top::default();
        while let Some(key) = map.next_key::<Key>()? {
            let place = match key {
                Key::Usage => &mut top.usage,
                Key::Error => &mut top.error,
                Key::Object => &mut top.object,
                Key::Another => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            let value = Box::<str>::from(map.next_value::<Box<RawValue>>()?);
            *place = Some(Cow::Owned(value.into()));
        }
        Ok(top)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Top::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Top::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Top::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Top::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Top::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Top::default())
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Top::default())
    }
}

/// Tokens in both spellings: of chat completions and embeddings, and of responses. What cannot be
/// read counts as nothing: a strange usage must not cost the answer. And whether it tells of cached ones.
fn tokens(usage: &str) -> (Usage, bool) {
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
        return Default::default();
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
    let usage = Usage {
        input,
        cached: inputs.cached_tokens.unwrap_or_default(),
        output,
        reasoning: outputs.reasoning_tokens.unwrap_or_default(),
        total: seen.total_tokens.unwrap_or(input + output),
    };
    (usage, inputs.cached_tokens.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_told_apart() {
        let cases: [(&[u8], Body); 13] = [
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
            (b"{\"err\\u006fr\":1}", Body::ApiError),
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
    fn an_answer_may_nest_as_deep_as_it_likes() {
        let (open, close) = ("[".repeat(5_000), "]".repeat(5_000));
        let body = format!("{{\"a\":{open}{close},\"usage\":{{\"total_tokens\":7}}}}");
        let facts = read(body.as_bytes());
        assert_eq!((facts.body, facts.usage.total), (Body::Json, 7));
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
