//! A good line as the wire and the engine see it.

use std::borrow::Cow;

use super::{
    BareIds, Fill,
    envelope::{Body, Envelope},
    scan::{Kind, Value},
};
use crate::jsonl::trimmed;

/// One request. Nothing is copied unless it was filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// The JSON string as it stands in the file, with its quotes.
    pub custom_id: Cow<'a, str>,
    /// The body byte for byte; a filled-in model stands right after its first brace.
    pub body: Cow<'a, [u8]>,
    /// The model's name, unescaped.
    pub model: Cow<'a, str>,
}

/// Reads a line that a [`Checker`](super::Checker) found good under the same `fill`; `number` is
/// its physical line, from 1. A line that is not a request gives `None`.
///
/// ```
/// use ditto_llm::check::{Fill, parse_request};
///
/// let line = br#"{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{"input":"x"}}"#;
/// let fill = Fill { model: Some("m".into()), ..Fill::default() };
/// let request = parse_request(line, 1, &fill).expect("the line is good");
/// assert_eq!(request.custom_id, r#""a""#);
/// assert_eq!(&*request.body, br#"{"model":"m","input":"x"}"#);
/// ```
#[must_use]
pub fn parse_request<'a>(line: &'a [u8], number: u64, fill: &Fill) -> Option<Request<'a>> {
    let mut envelope = Envelope::default();
    envelope.read(trimmed(line, number)).ok()?;
    if let Some(bare) = &fill.bare
        && envelope.is_bare()
    {
        return request(Cow::Owned(bare.custom_id(number)), &envelope.whole, fill);
    }
    let custom_id = envelope.custom_id.filter(|id| id.kind == Kind::String)?;
    let custom_id = std::str::from_utf8(custom_id.raw).ok()?;
    request(Cow::Borrowed(custom_id), envelope.body.as_ref()?, fill)
}

impl BareIds {
    /// The `custom_id` of a line that is only a body, as a JSON string with its quotes.
    #[must_use]
    pub fn custom_id(&self, number: u64) -> String {
        serde_json::Value::String(self.plain_id(number)).to_string()
    }

    pub(crate) fn plain_id(&self, number: u64) -> String {
        format!("line-{number}{}", self.suffix)
    }
}

fn request<'a>(custom_id: Cow<'a, str>, body: &Body<'a>, fill: &Fill) -> Option<Request<'a>> {
    let value = body.value.filter(|value| value.kind == Kind::Object)?;
    let (body, model) = match (body.model, &fill.model) {
        (Some(model), _) => (Cow::Borrowed(value.raw), model.text()?),
        (None, Some(model)) => (
            Cow::Owned(with_model(value, model)),
            Cow::Owned(model.clone()),
        ),
        (None, None) => return None,
    };
    Some(Request {
        custom_id,
        body,
        model,
    })
}

/// The body with `model` as its first key.
pub(crate) fn with_model(body: Value<'_>, model: &str) -> Vec<u8> {
    let rest = &body.raw[1..];
    let empty = rest.trim_ascii_start() == b"}";
    let model = serde_json::Value::from(model).to_string();
    let comma = if empty { "" } else { "," };
    let mut spliced = Vec::with_capacity(body.raw.len() + model.len() + 10);
    spliced.extend_from_slice(b"{\"model\":");
    spliced.extend_from_slice(model.as_bytes());
    spliced.extend_from_slice(comma.as_bytes());
    spliced.extend_from_slice(rest);
    spliced
}
