//! The error envelope, and what else providers answer when they refuse.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::lenient;

/// `{"error": {…}}`, the body of every refused call.
///
/// ```
/// use ditto_llm::wire::{ErrorBody, ErrorEnvelope};
///
/// let envelope = ErrorEnvelope {
///     error: ErrorBody { message: "no such route".into(), ..ErrorBody::default() },
/// };
/// assert_eq!(
///     serde_json::to_string(&envelope).unwrap(),
///     r#"{"error":{"message":"no such route","type":"invalid_request_error","param":null,"code":null}}"#,
/// );
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorEnvelope {
    /// What is wrong.
    pub error: ErrorBody,
}

/// What is wrong, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorBody {
    /// A sentence for people.
    #[serde(deserialize_with = "lenient::plain_text")]
    pub message: String,
    /// The class, such as `invalid_request_error`; `type` on the wire.
    #[serde(rename = "type", deserialize_with = "lenient::plain_text")]
    pub kind: String,
    /// The parameter at fault.
    #[serde(deserialize_with = "lenient::text")]
    pub param: Option<String>,
    /// The kind of error, such as `invalid_api_key`. A number is kept as its text.
    #[serde(deserialize_with = "lenient::text")]
    pub code: Option<String>,
}

impl Default for ErrorBody {
    fn default() -> Self {
        Self {
            message: String::new(),
            kind: "invalid_request_error".to_owned(),
            param: None,
            code: None,
        }
    }
}

impl ErrorBody {
    /// Reads the body of a refused call, whatever its shape: OpenAI's envelope, its many
    /// relatives, plain text, HTML, or nothing. Never fails; a field that is not there is empty.
    pub fn read(body: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(body) {
            Ok(Value::Object(map)) => Self::of_object(&map),
            Ok(Value::String(message)) => Self::of_text(message),
            Ok(Value::Null) => Self::of_text(""),
            // Google puts its envelope into a list.
            Ok(list @ Value::Array(_)) => Self::of_first(&list).or_text(&list),
            Ok(other @ (Value::Bool(_) | Value::Number(_))) => Self::of_text(other.to_string()),
            Err(_) => Self::of_text(readable(&String::from_utf8_lossy(body))),
        }
    }

    /// Only a message; all else is empty.
    fn of_text(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            kind: String::new(),
            ..Self::default()
        }
    }

    /// What was found, or the whole if there is no message in it.
    fn or_text(self, whole: &Value) -> Self {
        if self.message.is_empty() {
            return Self {
                message: whole.to_string(),
                ..self
            };
        }
        self
    }

    fn of_object(map: &Map<String, Value>) -> Self {
        let found = match (map.get("error"), map.get("errors"), map.get("detail")) {
            (Some(Value::Object(error)), _, _) => Self::of_fields(error),
            // A text beside a code of its own: `{"code": "…", "error": "…"}`.
            (Some(Value::String(text)), _, _) => Self {
                message: text.clone(),
                ..Self::of_fields(map)
            },
            (_, Some(errors), _) => Self::of_first(errors),
            (_, _, Some(Value::Object(detail))) => Self::of_object(detail),
            (_, _, Some(detail)) => Self::of_first(detail),
            _ => Self::of_fields(map),
        };
        found.or_text(&Value::Object(map.clone()))
    }

    /// The first of a list of errors (`{"data": […]}`, a list, or one text), pydantic's included.
    fn of_first(errors: &Value) -> Self {
        match errors {
            Value::Object(map) => match map.get("data") {
                Some(data) => Self::of_first(data),
                None if map.contains_key("error") => Self::of_object(map),
                None => Self::of_fields(map),
            },
            Value::Array(list) => list
                .first()
                .map_or_else(|| Self::of_text(""), Self::of_first),
            Value::String(text) => Self::of_text(text),
            Value::Null | Value::Bool(_) | Value::Number(_) => Self::of_text(""),
        }
    }

    fn of_fields(map: &Map<String, Value>) -> Self {
        let text = |key: &str| {
            map.get(key)
                .cloned()
                .and_then(lenient::text_of)
                .filter(|text| !text.is_empty())
        };
        Self {
            message: text("message").or_else(|| text("msg")).unwrap_or_default(),
            kind: text("type").or_else(|| text("status")).unwrap_or_default(),
            param: text("param").or_else(|| text("loc")),
            code: text("code"),
        }
    }
}

/// Text as it is; of HTML only the words.
fn readable(text: &str) -> String {
    if !text.trim_start().starts_with('<') {
        return text.trim().to_owned();
    }
    let mut words = String::new();
    let mut inside = false;
    for letter in text.chars() {
        match letter {
            '<' => inside = true,
            '>' => {
                inside = false;
                words.push(' ');
            }
            _ if !inside => words.push(letter),
            _ => {}
        }
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}
