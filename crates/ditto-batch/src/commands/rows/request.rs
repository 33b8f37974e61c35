//! What a row of an input asks for, as far as these commands look at it.

use std::borrow::Cow;

use ditto_llm::jobs::estimated_tokens;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A row of an input: a request, or a body alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) model: Option<String>,
    pub(crate) url: Option<String>,
    /// Of its prompt, about.
    pub(crate) tokens: u64,
    /// Texts that it wants embedded; 0 if it has no `input`.
    pub(crate) inputs: u64,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    url: Option<Cow<'a, str>>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

impl Request {
    /// Reads a row; none if it is no JSON object with a body that is one.
    pub(crate) fn read(row: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(row).ok()?;
        let envelope: Envelope<'_> = serde_json::from_str(text).ok()?;
        let body = envelope.body.map_or(text, RawValue::get);
        let read: Body<'_> = serde_json::from_str(body).ok()?;
        Some(Self {
            model: read.model.map(Cow::into_owned),
            url: envelope.url.map(Cow::into_owned),
            tokens: estimated_tokens(body.len()),
            inputs: read.input.map_or(0, |input| inputs_of(input.get())),
        })
    }
}

/// A list of texts or of lists of tokens has many inputs; a text or a list of tokens is one.
fn inputs_of(input: &str) -> u64 {
    match serde_json::from_str::<Vec<&RawValue>>(input) {
        Ok(all) if all.iter().any(|one| one.get().starts_with(['"', '['])) => all.len() as u64,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_its_model_and_where_it_goes() {
        let row = br#"{"custom_id":"a","url":"/v1/x","body":{"model":"m","input":["a","b"]}}"#;
        let request = Request::read(row).unwrap();
        assert_eq!(
            (request.model.as_deref(), request.url.as_deref()),
            (Some("m"), Some("/v1/x"))
        );
        assert_eq!((request.inputs, request.tokens), (2, 8));
        let bare = Request::read(br#"{"model":"m","messages":[]}"#).unwrap();
        assert_eq!(
            (bare.model.as_deref(), bare.url, bare.inputs),
            (Some("m"), None, 0)
        );
        for other in [&b"[]"[..], b"{", br#"{"body":1}"#, b"\xFF"] {
            assert_eq!(Request::read(other), None);
        }
    }

    #[test]
    fn tokens_are_one_input_and_texts_are_many() {
        for (input, count) in [
            ("[1,2,3]", 1),
            (r#"["a","b"]"#, 2),
            ("[[1],[2]]", 2),
            (r#""a""#, 1),
            ("[]", 1),
        ] {
            assert_eq!(inputs_of(input), count, "{input}");
        }
    }
}
