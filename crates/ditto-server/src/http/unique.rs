//! A JSON value in which no key stands twice.
//!
//! Of two equal keys most readers take the last, and some the first: what one of them checked is not
//! what the next one does. Nobody means to write a key twice.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Why a body is not read.
#[derive(Debug)]
pub(super) enum Unread {
    NotJson(serde_json::Error),
    /// Where the second of the two stands, as in `metadata.team`.
    Repeated(String),
}

/// Reads one value and nothing behind it.
pub(super) fn read(json: &[u8]) -> Result<Value, Unread> {
    let repeated = RefCell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(json);
    let seed = Unique {
        path: String::new(),
        repeated: &repeated,
    };
    let read = seed
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    match (read, repeated.into_inner()) {
        (Ok(value), _) => Ok(value),
        (Err(_), Some(path)) => Err(Unread::Repeated(path)),
        (Err(error), None) => Err(Unread::NotJson(error)),
    }
}

/// Reads what stands at `path`.
struct Unique<'a> {
    path: String,
    repeated: &'a RefCell<Option<String>>,
}

impl Unique<'_> {
    fn below(&self, name: &str) -> Self {
        let path = match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        Self {
            path,
            repeated: self.repeated,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Unique<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.below(&list.len().to_string()))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            let field = self.below(&key);
            if map.contains_key(&key) {
                *self.repeated.borrow_mut() = Some(field.path);
                return Err(A::Error::custom("a key stands twice"));
            }
            map.insert(key, fields.next_value_seed(field)?);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_read_as_it_is() {
        let value = json!({
            "a": [null, true, -1, u64::MAX, 0.5, "x\u{0}", {}, []],
            "b": { "a": { "a": 1 } },
        });
        assert_eq!(read(value.to_string().as_bytes()).unwrap(), value);
    }

    #[test]
    fn a_key_that_stands_twice_is_named_wherever_it_is() {
        let table = [
            (r#"{"a":1,"a":1}"#, "a"),
            (r#"{"a":1,"\u0061":1}"#, "a"),
            (r#"{"m":{"t":"x","t":"y"}}"#, "m.t"),
            (r#"{"m":[0,{"t":1,"t":2}]}"#, "m.1.t"),
        ];
        for (json, expected) in table {
            let found = read(json.as_bytes());
            assert!(
                matches!(&found, Err(Unread::Repeated(path)) if path == expected),
                "{json}: {found:?}"
            );
        }
    }

    #[test]
    fn what_is_not_json_is_not_read() {
        for json in [
            "",
            "{",
            "{} {}",
            "\"\\ud800\"",
            "1e999",
            &"[".repeat(100_000),
        ] {
            let found = read(json.as_bytes());
            assert!(matches!(found, Err(Unread::NotJson(_))), "{found:?}");
        }
    }
}
