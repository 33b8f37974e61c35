//! What a request asks, read out of its body in one pass; nothing is parsed that no answer needs.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::address::below_prefix;
use crate::envelope::Complaint;

/// The endpoints that a model would answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    ChatCompletions,
    Completions,
    Embeddings,
    Responses,
    Moderations,
}

impl Endpoint {
    pub(crate) fn at(path: &str) -> Option<Self> {
        match below_prefix(path)? {
            "chat/completions" => Some(Self::ChatCompletions),
            "completions" => Some(Self::Completions),
            "embeddings" => Some(Self::Embeddings),
            "responses" => Some(Self::Responses),
            "moderations" => Some(Self::Moderations),
            _ => None,
        }
    }
}

/// A request's body, as far as an answer depends on it.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    /// The JSON string token, with its quotes.
    pub(crate) model: &'a str,
    /// What was said, piece by piece: messages, prompts or inputs.
    pub(crate) pieces: Vec<Piece<'a>>,
    pub(crate) dimensions: Option<usize>,
    /// Tokens at its beginning that need not be read again.
    pub(crate) cached_tokens: u64,
}

/// One message, prompt or input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece<'a>(pub(crate) Cow<'a, str>);

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<Vec<Message<'a>>>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    instructions: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    dimensions: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

/// OpenAI's limit on inputs of one embeddings request.
const MAX_INPUTS: usize = 2048;
/// The largest vectors that embedding models give today.
const MAX_DIMENSIONS: usize = 4096;
/// Small vectors do for a simulation.
pub(crate) const DEFAULT_DIMENSIONS: usize = 8;

impl<'a> Question<'a> {
    pub(crate) fn read(endpoint: Endpoint, body: &'a [u8]) -> Result<Self, Complaint> {
        let fields: Fields<'a> =
            serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
        if fields.stream.is_some_and(|stream| stream.get() == "true") {
            let complaint =
                Complaint::invalid("The simulator does not stream; leave `stream` out.");
            return Err(complaint.with_param("stream"));
        }
        let model = model_token(endpoint, fields.model)?;
        let dimensions = fields.dimensions.map(read_dimensions).transpose()?;
        let pieces = match endpoint {
            Endpoint::ChatCompletions => messages(fields.messages)?,
            Endpoint::Completions => inputs(present(fields.prompt, "prompt")?, "prompt")?,
            Endpoint::Responses => {
                let said = fields.instructions.into_iter().chain(fields.input);
                said.map(content).collect()
            }
            Endpoint::Embeddings | Endpoint::Moderations => {
                inputs(present(fields.input, "input")?, "input")?
            }
        };
        Ok(Self {
            model,
            pieces,
            dimensions,
            cached_tokens: 0,
        })
    }

    /// About as many tokens as a model would count: four letters or one Chinese character each.
    pub(crate) fn tokens(&self) -> u64 {
        self.pieces.iter().map(|piece| tokens(&piece.0)).sum()
    }
}

/// An estimate: a token is four bytes of ASCII, or three of anything else (one Chinese character).
pub(crate) fn tokens(text: &str) -> u64 {
    let ascii = text.bytes().filter(u8::is_ascii).count();
    let others = text.len() - ascii;
    (ascii.div_ceil(4) + others.div_ceil(3)) as u64
}

fn unreadable(error: &serde_json::Error) -> Complaint {
    if error.is_data() {
        return Complaint::invalid(format!("Invalid value in the request's body: {error}."));
    }
    Complaint::invalid(format!(
        "We could not parse the JSON body of your request ({error}). The body must be a JSON object."
    ))
}

fn present<'a>(field: Option<&'a RawValue>, name: &'static str) -> Result<&'a RawValue, Complaint> {
    field.ok_or_else(|| missing(name))
}

fn missing(name: &'static str) -> Complaint {
    let complaint = Complaint::invalid(format!("Missing required parameter: '{name}'."));
    complaint
        .with_param(name)
        .with_code("missing_required_parameter")
}

fn model_token(endpoint: Endpoint, model: Option<&RawValue>) -> Result<&str, Complaint> {
    match model.map(RawValue::get) {
        Some(token) if token.len() > 2 && token.starts_with('"') => Ok(token),
        None if endpoint == Endpoint::Moderations => Ok(r#""demo-moderation""#),
        Some(_) | None => {
            let complaint = Complaint::invalid("you must provide a model parameter");
            Err(complaint.with_param("model"))
        }
    }
}

fn read_dimensions(raw: &RawValue) -> Result<usize, Complaint> {
    match raw.get().parse() {
        Ok(dimensions @ 1..=MAX_DIMENSIONS) => Ok(dimensions),
        _ => {
            let message = format!("'dimensions' must be a number from 1 to {MAX_DIMENSIONS}.");
            Err(Complaint::invalid(message).with_param("dimensions"))
        }
    }
}

fn messages(messages: Option<Vec<Message<'_>>>) -> Result<Vec<Piece<'_>>, Complaint> {
    let messages = messages.ok_or_else(|| missing("messages"))?;
    if messages.is_empty() {
        let complaint = Complaint::invalid("Invalid 'messages': empty array.");
        return Err(complaint.with_param("messages").with_code("empty_array"));
    }
    Ok(messages
        .into_iter()
        .filter_map(|message| message.content)
        .map(content)
        .collect())
}

/// A string, a list of strings, a list of tokens, or a list of lists of tokens: one piece each.
fn inputs<'a>(raw: &'a RawValue, param: &'static str) -> Result<Vec<Piece<'a>>, Complaint> {
    let bad = |message: String| Complaint::invalid(message).with_param(param);
    let Ok(list) = serde_json::from_str::<Vec<&'a RawValue>>(raw.get()) else {
        return Ok(vec![content(raw)]);
    };
    if list.is_empty() || list.len() > MAX_INPUTS {
        let found = list.len();
        return Err(bad(format!(
            "'{param}' must have 1 to {MAX_INPUTS} entries, not {found}."
        )));
    }
    // A list of numbers is one input in tokens; a list of objects is one input in parts.
    if list.iter().all(|input| input.get().starts_with(['"', '['])) {
        return Ok(list.into_iter().map(content).collect());
    }
    Ok(vec![content(raw)])
}

/// The text of a message's or an input's content, whatever its shape.
fn content(raw: &RawValue) -> Piece<'_> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

    if raw.get().starts_with('"') {
        let text = serde_json::from_str::<Text<'_>>(raw.get());
        // A lone surrogate is legal JSON and no text; its spelling stands for it.
        return Piece(text.map_or(Cow::Borrowed(raw.get()), |text| text.0));
    }
    let mut all = String::new();
    if let Ok(value) = serde_json::from_str(raw.get()) {
        gather(&value, &mut all);
    }
    // Tokens, pictures and the like: no text in it, but it is still what was asked.
    Piece(if all.is_empty() {
        Cow::Borrowed(raw.get())
    } else {
        Cow::Owned(all)
    })
}

/// Collects the text of content parts and of items with content, leaving pictures and types out.
fn gather(value: &Value, all: &mut String) {
    match value {
        Value::String(text) => {
            if !all.is_empty() {
                all.push('\n');
            }
            all.push_str(text);
        }
        Value::Array(list) => list.iter().for_each(|item| gather(item, all)),
        Value::Object(map) => {
            let said = ["text", "content"]
                .into_iter()
                .filter_map(|key| map.get(key));
            said.for_each(|part| gather(part, all));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(endpoint: Endpoint, body: &str) -> Vec<String> {
        let question = Question::read(endpoint, body.as_bytes()).unwrap();
        question
            .pieces
            .into_iter()
            .map(|piece| piece.0.into_owned())
            .collect()
    }

    #[test]
    fn content_is_read_in_every_shape() {
        let chat = r#"{"model":"m","messages":[{"role":"system","content":"a\u6807"},
            {"role":"user","content":[{"type":"text","text":"b"},{"type":"image_url","image_url":{}}]},
            {"role":"assistant","content":null}]}"#;
        assert_eq!(pieces(Endpoint::ChatCompletions, chat), ["a标", "b"]);

        let input = r#"{"model":"m","input":["a","b"]}"#;
        assert_eq!(pieces(Endpoint::Embeddings, input), ["a", "b"]);
        assert_eq!(
            pieces(Endpoint::Embeddings, r#"{"model":"m","input":[1,2]}"#),
            ["[1,2]"]
        );
        let items = r#"{"model":"m","input":[{"role":"user","content":"hi"}]}"#;
        assert_eq!(pieces(Endpoint::Responses, items), ["hi"]);
    }

    #[test]
    fn what_no_model_would_take_is_refused_with_its_parameter() {
        let param = |body: &str| {
            let read = Question::read(Endpoint::ChatCompletions, body.as_bytes());
            read.unwrap_err().param
        };
        assert_eq!(param("{"), None);
        assert_eq!(param("[1]"), None);
        assert_eq!(param(r#"{"messages":[]}"#), Some("model"));
        assert_eq!(param(r#"{"model":"m"}"#), Some("messages"));
        assert_eq!(param(r#"{"model":"m","messages":[]}"#), Some("messages"));
        assert_eq!(param(r#"{"model":"m","stream":true}"#), Some("stream"));
    }
}
