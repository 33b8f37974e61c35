//! The JSON body of a request, read with OpenAI's words for what is wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_128;

use super::coding::expect_plain;
use super::error::{Answer, Failure, Problem};
use super::params::{Whole, in_bounds, missing, unknown_value};
use super::unique::{self, Unread};

/// Pairs, characters of a key, characters of a value: OpenAI's.
const METADATA_PAIRS: usize = 16;
const METADATA_KEY: usize = 64;
const METADATA_VALUE: usize = 512;
/// OpenAI's bounds of every `expires_after`: an hour to 30 days.
pub(super) const EXPIRY_SECONDS: (i64, i64) = (3600, 2_592_000);
/// The only anchor there is.
pub(super) const EXPIRY_ANCHOR: &str = "created_at";

/// A JSON object and the path that leads to it.
#[derive(Debug, Default)]
pub(super) struct Object {
    fields: Map<String, Value>,
    /// Empty, or with a dot at the end.
    prefix: String,
}

/// A web page can send a form or plain text to another site unasked, but not this. Not compressed.
pub(super) fn expect_json(headers: &HeaderMap) -> Answer<()> {
    let given = headers
        .get(header::CONTENT_TYPE)
        .map_or(&b""[..], |value| value.as_bytes());
    let essence = given
        .split(|b| *b == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    if essence.eq_ignore_ascii_case(b"application/json") {
        return expect_plain(headers);
    }
    let given = String::from_utf8_lossy(essence);
    Err(Failure::new(
        Problem::WrongMediaType,
        format!(
            "Unsupported content type: '{given}'. This call takes 'Content-Type: application/json'."
        ),
    )
    .with_code("unsupported_content_type"))
}

impl Object {
    /// The object that is the whole body.
    pub(super) fn read(body: &[u8]) -> Answer<Self> {
        match unique::read(body) {
            Ok(Value::Object(fields)) => Ok(Self {
                fields,
                prefix: String::new(),
            }),
            Ok(other) => Err(Failure::invalid(format!(
                "Invalid body: expected an object, but got {} instead.",
                spoken_type(&other)
            ))
            .with_code("invalid_type")),
            Err(Unread::Repeated(key)) => Err(repeated(&key)),
            Err(Unread::NotJson(error)) => Err(Failure::invalid(format!(
                "We could not parse the JSON body of your request: {error}."
            ))),
        }
    }

    /// What a body says that is not there.
    pub(super) fn empty() -> Self {
        Self {
            fields: Map::new(),
            prefix: String::new(),
        }
    }

    /// An object with this one field.
    pub(super) fn of(name: &str, value: Value) -> Self {
        Self {
            fields: Map::from_iter([(name.to_owned(), value)]),
            prefix: String::new(),
        }
    }

    /// The same for every spelling of the same object: order of fields and white space do not count.
    /// What the object is about counts with it, if it does not say that itself.
    pub(super) fn fingerprint(&self, about: &str) -> [u8; 16] {
        let mut canonical = Value::Object(self.fields.clone());
        canonical.sort_all_objects();
        xxh3_128(format!("{about}{canonical}").as_bytes()).to_be_bytes()
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A text that must be there.
    pub(super) fn text(&mut self, name: &str) -> Answer<String> {
        let path = self.path(name);
        match self.fields.remove(name) {
            None => Err(missing(&path)),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(wrong_type(&path, "a string", &other)),
        }
    }

    /// A text that may be left out.
    pub(super) fn optional_text(&mut self, name: &str) -> Answer<Option<String>> {
        match self.fields.get(name) {
            None | Some(Value::Null) => {
                self.fields.remove(name);
                Ok(None)
            }
            Some(_) => self.text(name).map(Some),
        }
    }

    /// `true` or `false`, or left out.
    pub(super) fn flag(&mut self, name: &str) -> Answer<Option<bool>> {
        let path = self.path(name);
        match self.fields.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(wrong_type(&path, "a boolean", &other)),
        }
    }

    /// Texts, as a list or in one text with commas between them; or left out.
    pub(super) fn words(&mut self, name: &str) -> Answer<Option<Vec<String>>> {
        let path = self.path(name);
        let list = match self.fields.remove(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => return Ok(Some(between_commas(&text))),
            Some(Value::Array(list)) => list,
            Some(other) => return Err(wrong_type(&path, "an array of strings", &other)),
        };
        let texts = list.into_iter().map(|value| match value {
            Value::String(text) => Ok(text),
            other => Err(wrong_type(&path, "an array of strings", &other)),
        });
        texts.collect::<Answer<_>>().map(Some)
    }

    /// Refuses what no one has asked for: here a misspelt wish would be silence.
    pub(super) fn nothing_else(&self) -> Answer<()> {
        let Some(name) = self.fields.keys().next() else {
            return Ok(());
        };
        let path = self.path(name);
        Err(Failure::invalid(format!("Unknown parameter: '{path}'."))
            .with_param(path)
            .with_code("unknown_parameter"))
    }

    pub(super) fn object(&mut self, name: &str) -> Answer<Option<Self>> {
        let path = self.path(name);
        match self.fields.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Self {
                fields,
                prefix: format!("{path}."),
            })),
            Some(other) => Err(wrong_type(&path, "an object", &other)),
        }
    }

    /// A list of texts that must be there, with one of them at least.
    pub(super) fn texts(&mut self, name: &str, most: usize) -> Answer<Vec<String>> {
        let path = self.path(name);
        let list = match self.fields.remove(name) {
            None => return Err(missing(&path)),
            Some(Value::Array(list)) => list,
            Some(other) => return Err(wrong_type(&path, "an array of strings", &other)),
        };
        check_length(&path, list.len(), most)?;
        let text = |(at, value)| match value {
            Value::String(text) => Ok(text),
            other => Err(wrong_type(&format!("{path}[{at}]"), "a string", &other)),
        };
        list.into_iter().enumerate().map(text).collect()
    }

    /// A number that must be there.
    pub(super) fn integer(&mut self, name: &str) -> Answer<Whole> {
        let path = self.path(name);
        let value = self.fields.remove(name).ok_or_else(|| missing(&path))?;
        whole(&value).ok_or_else(|| wrong_type(&path, "an integer", &value))
    }

    /// `{"anchor": "created_at", "seconds": n}`.
    pub(super) fn expiry(&mut self, name: &str) -> Answer<Option<Duration>> {
        let Some(mut expiry) = self.object(name)? else {
            return Ok(None);
        };
        let anchor = expiry.text("anchor")?;
        let seconds = expiry.integer("seconds")?;
        lifetime(name, &anchor, &seconds).map(Some)
    }

    /// At most 16 pairs of texts.
    pub(super) fn metadata(&mut self) -> Answer<Option<BTreeMap<String, String>>> {
        let Some(metadata) = self.object("metadata")? else {
            return Ok(None);
        };
        if metadata.fields.len() > METADATA_PAIRS {
            let pairs = metadata.fields.len();
            return Err(refused_metadata(
                "metadata",
                "object_above_max_properties",
                format!(
                    "Invalid 'metadata': too many properties. Expected an object with at most \
                     {METADATA_PAIRS} properties, but got an object with {pairs} properties instead."
                ),
            ));
        }
        metadata
            .fields
            .into_iter()
            .map(|(key, value)| metadata_pair(key, value))
            .collect::<Answer<_>>()
            .map(Some)
    }
}

/// The refusal of a key that stands twice.
pub(super) fn repeated(key: &str) -> Failure {
    Failure::invalid(format!(
        "Invalid body: the key '{key}' appears more than once."
    ))
    .with_param(key.to_owned())
    .with_code("duplicate_key")
}

/// The words of `a,b, c`.
pub(super) fn between_commas(text: &str) -> Vec<String> {
    let words = text.split(',').map(str::trim);
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A whole number. Of one with more digits than a reader keeps, the spelling is that of what was read.
fn whole(value: &Value) -> Option<Whole> {
    let number = value.as_number()?;
    let spelled = number.to_string();
    let large = |number: f64| number.fract() == 0.0 && number.abs() >= i64::MAX as f64;
    let number = number
        .as_i64()
        .or_else(|| number.as_f64().filter(|n| large(*n)).map(|n| n as i64))?;
    Some(Whole { number, spelled })
}

/// OpenAI's words for a list that is empty or too long.
fn check_length(path: &str, length: usize, most: usize) -> Answer<()> {
    let (code, message) = if length == 0 {
        let message = format!(
            "Invalid '{path}': empty array. Expected an array with minimum length 1, but got an empty \
             array instead."
        );
        ("empty_array", message)
    } else if length > most {
        let message = format!(
            "Invalid '{path}': array too long. Expected an array with maximum length {most}, but got an \
             array with length {length} instead."
        );
        ("array_above_max_length", message)
    } else {
        return Ok(());
    };
    Err(Failure::invalid(message)
        .with_param(path.to_owned())
        .with_code(code))
}

fn metadata_pair(key: String, value: Value) -> Answer<(String, String)> {
    let chars = key.chars().count();
    if chars > METADATA_KEY {
        return Err(refused_metadata(
            "metadata",
            "property_name_above_max_length",
            format!(
                "Invalid property name in 'metadata': too long. Expected a name with maximum length \
                 {METADATA_KEY}, but got a name with length {chars} instead."
            ),
        ));
    }
    let path = format!("metadata.{key}");
    let Value::String(text) = value else {
        return Err(wrong_type(&path, "a string", &value));
    };
    let chars = text.chars().count();
    if chars > METADATA_VALUE {
        let message = format!(
            "Invalid '{path}': string too long. Expected a string with maximum length \
             {METADATA_VALUE}, but got a string with length {chars} instead."
        );
        return Err(refused_metadata(&path, "string_above_max_length", message));
    }
    Ok((key, text))
}

fn refused_metadata(path: &str, code: &'static str, message: String) -> Failure {
    Failure::invalid(message)
        .with_param(path.to_owned())
        .with_code(code)
}

/// A lifetime from its two halves; `name` is what they are called together.
pub(super) fn lifetime(name: &str, anchor: &str, seconds: &Whole) -> Answer<Duration> {
    if anchor != EXPIRY_ANCHOR {
        return Err(unknown_value(
            &format!("{name}.anchor"),
            anchor,
            &[EXPIRY_ANCHOR],
        ));
    }
    let (min, max) = EXPIRY_SECONDS;
    let seconds = in_bounds(&format!("{name}.seconds"), seconds, min, max)?;
    Ok(Duration::from_secs(seconds.unsigned_abs()))
}

fn wrong_type(path: &str, expected: &str, got: &Value) -> Failure {
    Failure::invalid(format!(
        "Invalid type for '{path}': expected {expected}, but got {} instead.",
        spoken_type(got)
    ))
    .with_param(path.to_owned())
    .with_code("invalid_type")
}

fn spoken_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(n) if n.is_f64() => "a decimal",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
