//! Lines of the files: requests in, results out.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::lenient;

/// A line of an input file, for programs that write one.
///
/// ```
/// use ditto_llm::RequestLine;
/// use serde_json::json;
///
/// let line = RequestLine::post("row-1", "/v1/embeddings", &json!({"input": "hi", "model": "m"}))?;
/// assert_eq!(
///     serde_json::to_string(&line)?,
///     r#"{"custom_id":"row-1","method":"POST","url":"/v1/embeddings","body":{"input":"hi","model":"m"}}"#,
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RequestLine {
    /// Your name for the line, unique in the file; the result carries it.
    pub custom_id: String,
    /// Always `POST`.
    pub method: String,
    /// The endpoint, the same for every line of a file.
    pub url: String,
    /// The body of the request, kept byte for byte.
    pub body: Box<RawValue>,
}

impl RequestLine {
    /// A request with any body that serialises.
    pub fn post(
        custom_id: impl Into<String>,
        url: impl Into<String>,
        body: &impl Serialize,
    ) -> serde_json::Result<Self> {
        Ok(Self {
            custom_id: custom_id.into(),
            method: "POST".to_owned(),
            url: url.into(),
            body: serde_json::value::to_raw_value(body)?,
        })
    }
}

impl PartialEq for RequestLine {
    fn eq(&self, other: &Self) -> bool {
        (&self.custom_id, &self.method, &self.url, self.body.get())
            == (
                &other.custom_id,
                &other.method,
                &other.url,
                other.body.get(),
            )
    }
}

/// A line of an output or error file.
///
/// Reading takes every provider's shape: a missing key is none, an `error` may be a text or be
/// nested, and a `response` without a status is taken as the answer itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResultLine {
    /// The provider's id of the line.
    pub id: Option<String>,
    /// Your name for the line.
    pub custom_id: Option<String>,
    /// The HTTP answer; none if there was none.
    pub response: Option<ResultResponse>,
    /// Why there was no answer. Refusals by HTTP status are in `response`, not here.
    pub error: Option<ResultError>,
}

/// The HTTP answer to a line.
#[derive(Debug, Clone, Serialize)]
pub struct ResultResponse {
    /// The HTTP status; some providers write 0 where no answer came.
    pub status_code: u16,
    /// The provider's id of the call.
    pub request_id: Option<String>,
    /// The answer's body as it was written; a refusal's body holds the error.
    pub body: Option<Box<RawValue>>,
}

impl PartialEq for ResultResponse {
    fn eq(&self, other: &Self) -> bool {
        let text = |body: &Option<Box<RawValue>>| body.as_ref().map(|raw| raw.get().to_owned());
        (self.status_code, &self.request_id) == (other.status_code, &other.request_id)
            && text(&self.body) == text(&other.body)
    }
}

/// Why a line has no answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ResultError {
    /// The kind, such as `batch_expired`; a number is kept as its text.
    pub code: Option<String>,
    /// A sentence for people.
    pub message: Option<String>,
}

impl ResultLine {
    /// Whether the line was answered: status 2xx with a body that is neither empty nor an error.
    /// (An answer of `/v1/responses` has `"error": null` in its body, which is none.)
    pub fn is_success(&self) -> bool {
        let Some(response) = self.response.as_ref().filter(|_| self.error.is_none()) else {
            return false;
        };
        let body = response.body.as_deref();
        (200..300).contains(&response.status_code)
            && body.is_some_and(|body| is_answer(body.get(), Depth::Body))
    }
}

/// Where a JSON text stands: some providers write the body as a text that holds it, once.
#[derive(PartialEq, Eq)]
enum Depth {
    Body,
    WithinText,
}

/// Whether a body is an object or a list with something in it, and no error. Only its top is read:
/// what a model writes may nest deeper than a `Value`, and hold escapes that are no text.
fn is_answer(json: &str, depth: Depth) -> bool {
    match json.trim_start().bytes().next() {
        Some(b'{') => serde_json::from_str::<BTreeMap<String, &RawValue>>(json).is_ok_and(|map| {
            !map.is_empty() && map.get("error").is_none_or(|error| error.get() == "null")
        }),
        Some(b'[') => {
            serde_json::from_str::<Vec<&RawValue>>(json).is_ok_and(|list| !list.is_empty())
        }
        Some(b'"') if depth == Depth::Body => serde_json::from_str::<String>(json)
            .is_ok_and(|inner| is_answer(&inner, Depth::WithinText)),
        _ => false,
    }
}

impl ResultResponse {
    /// The body as a value. A provider that writes a JSON text holding JSON is understood.
    pub fn json(&self) -> Option<Value> {
        let value: Value = serde_json::from_str(self.body.as_ref()?.get()).ok()?;
        match &value {
            Value::String(inner) => Some(serde_json::from_str(inner).unwrap_or(value)),
            _ => Some(value),
        }
    }

    /// The body as a type of yours.
    ///
    /// # Errors
    /// If there is no body (an end-of-input error), or if it has another shape.
    pub fn parse<T: serde::de::DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(self.body.as_ref().map_or("", |raw| raw.get()))
    }
}

#[derive(Deserialize)]
struct ReadLine {
    #[serde(default, deserialize_with = "lenient::text")]
    id: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    custom_id: Option<String>,
    #[serde(default)]
    response: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<Value>,
}

impl<'de> Deserialize<'de> for ResultLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = ReadLine::deserialize(deserializer)?;
        let response = read.response.as_deref().and_then(response_of);
        let error = read.error.and_then(error_of);
        Ok(Self {
            id: read.id,
            custom_id: read.custom_id,
            response,
            error,
        })
    }
}

impl<'de> Deserialize<'de> for ResultResponse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        response_of(&raw).ok_or_else(|| serde::de::Error::custom("a response is an object"))
    }
}

impl<'de> Deserialize<'de> for ResultError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(error_of(Value::deserialize(deserializer)?).unwrap_or_default())
    }
}

fn response_of(raw: &RawValue) -> Option<ResultResponse> {
    #[derive(Deserialize)]
    struct Read<'a> {
        #[serde(default)]
        status_code: Option<Value>,
        #[serde(default, deserialize_with = "lenient::text")]
        request_id: Option<String>,
        #[serde(default, borrow)]
        body: Option<&'a RawValue>,
    }
    // Null and everything else that is no object: no answer.
    let read: Read<'_> = serde_json::from_str(raw.get()).ok()?;
    if read.status_code.is_none() && read.body.is_none() {
        // Fireworks writes the completion itself where the others write an envelope.
        return Some(ResultResponse {
            status_code: 200,
            request_id: None,
            body: Some(raw.to_owned()),
        });
    }
    let status = read
        .status_code
        .as_ref()
        .and_then(lenient::count_of)
        .unwrap_or(0);
    Some(ResultResponse {
        status_code: u16::try_from(status).unwrap_or(0),
        request_id: read.request_id,
        body: read
            .body
            .filter(|body| body.get() != "null")
            .map(ToOwned::to_owned),
    })
}

fn error_of(value: Value) -> Option<ResultError> {
    match value {
        Value::Null => None,
        Value::Object(mut map) => {
            // vLLM wraps the error once more.
            if let Some(Value::Object(inner)) = map.get_mut("error") {
                map = std::mem::take(inner);
            }
            let mut text = |key| map.remove(key).and_then(lenient::text_of);
            Some(ResultError {
                code: text("code"),
                message: text("message"),
            })
        }
        other @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            Some(ResultError {
                code: None,
                message: lenient::text_of(other),
            })
        }
    }
}
