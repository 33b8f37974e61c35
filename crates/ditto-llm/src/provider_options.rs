//! Options beyond the typed fields: flat, or in buckets per provider.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{DittoError, Result};
use crate::warning::Warning;

/// The bucket for every provider.
const EVERY_PROVIDER: &str = "*";

/// Names that make an object a set of buckets, each with the provider it stands for.
const KNOWN_PROVIDERS: [(&str, &str); 3] = [
    ("openai", "openai"),
    ("openai-compatible", "openai-compatible"),
    ("openai_compatible", "openai-compatible"),
];

/// Fields that a provider understands beyond the protocol; they are merged into the request body.
///
/// Either flat, or in buckets: as soon as one top-level key is `"*"` or a provider's name
/// (`openai`, `openai-compatible` or `openai_compatible`), every value must be an object. Then the
/// bucket `"*"` is taken first and the provider's own over it; other names are other providers'.
///
/// ```
/// use ditto_llm::ProviderOptions;
/// use serde_json::json;
///
/// let flat = ProviderOptions::from(json!({"priority": 3}));
/// let buckets = ProviderOptions::from(json!({
///     "*": {"priority": 3},
///     "openai-compatible": {"priority": 1},
/// }));
/// # let _ = (flat, buckets);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProviderOptions(Value);

impl ProviderOptions {
    /// The options as they were given.
    pub fn as_value(&self) -> &Value {
        &self.0
    }
}

impl From<Value> for ProviderOptions {
    /// Takes any value; one that is no object makes the call fail with a clear error.
    fn from(value: Value) -> Self {
        Self(value)
    }
}

impl From<Map<String, Value>> for ProviderOptions {
    fn from(map: Map<String, Value>) -> Self {
        Self(Value::Object(map))
    }
}

/// What one provider takes of the options.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    pub(crate) fields: Map<String, Value>,
    pub(crate) warnings: Vec<Warning>,
}

impl ProviderOptions {
    /// The fields for a provider, by its id.
    pub(crate) fn choose(&self, provider: &str) -> Result<Chosen> {
        let map = match &self.0 {
            Value::Object(map) => map,
            Value::Null => return Ok(Chosen::default()),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(DittoError::InvalidRequest(
                    "provider_options must be a JSON object".to_owned(),
                ));
            }
        };
        if map.keys().any(|key| is_bucket(key)) {
            return choose_buckets(map, provider);
        }
        Ok(Chosen {
            fields: map.clone(),
            warnings: Vec::new(),
        })
    }
}

fn is_bucket(key: &str) -> bool {
    key == EVERY_PROVIDER || known_provider(key).is_some()
}

fn known_provider(key: &str) -> Option<&'static str> {
    KNOWN_PROVIDERS
        .iter()
        .find(|(name, _)| *name == key)
        .map(|(_, provider)| *provider)
}

fn choose_buckets(buckets: &Map<String, Value>, provider: &str) -> Result<Chosen> {
    let mut for_all = Map::new();
    let mut own = Map::new();
    let mut warnings = Vec::new();
    for (key, bucket) in buckets {
        let Value::Object(fields) = bucket else {
            return Err(no_object(key));
        };
        let fields = fields.clone();
        match known_provider(key) {
            _ if key == EVERY_PROVIDER => for_all = fields,
            Some(known) if known == provider => own.extend(fields),
            // A provider we know, and not this one: that is what buckets are for.
            Some(_) => {}
            None => warnings.push(Warning::UnknownBucket { key: key.clone() }),
        }
    }
    for_all.extend(own);
    Ok(Chosen {
        fields: for_all,
        warnings,
    })
}

fn no_object(key: &str) -> DittoError {
    DittoError::InvalidRequest(format!(
        "provider_options: `{key}` must be an object, since the keys beside it are buckets\n\
         hint: put plain options into the bucket \"*\" or the provider's own"
    ))
}

/// Merges the chosen fields into a body. What a typed field has set stays as it is.
pub(crate) fn merge(body: &mut Map<String, Value>, chosen: Chosen) -> Vec<Warning> {
    let mut warnings = chosen.warnings;
    for (key, value) in chosen.fields {
        if body.contains_key(&key) {
            warnings.push(Warning::OptionOwnedByField { key });
        } else {
            body.insert(key, value);
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(options: Value, provider: &str) -> (Value, Vec<Warning>) {
        let chosen = ProviderOptions::from(options).choose(provider).unwrap();
        (Value::Object(chosen.fields), chosen.warnings)
    }

    #[test]
    fn flat_options_are_taken_as_they_are() {
        let (fields, warnings) = fields(json!({"priority": 1, "tags": ["a"]}), "openai");
        assert_eq!(fields, json!({"priority": 1, "tags": ["a"]}));
        assert_eq!(warnings, []);
    }

    #[test]
    fn the_own_bucket_goes_over_the_common_one() {
        let options = json!({"openai": {"a": 2}, "*": {"a": 1, "b": 1}});
        assert_eq!(fields(options.clone(), "openai").0, json!({"a": 2, "b": 1}));
        assert_eq!(
            fields(options, "openai-compatible"),
            (json!({"a": 1, "b": 1}), vec![])
        );
    }

    #[test]
    fn the_alias_is_the_same_bucket() {
        for name in ["openai-compatible", "openai_compatible"] {
            let options = json!({name: {"a": 1}});
            assert_eq!(fields(options, "openai-compatible").0, json!({"a": 1}));
        }
    }

    #[test]
    fn an_unknown_bucket_is_ignored_with_a_warning() {
        let (fields, warnings) = fields(json!({"*": {"a": 1}, "mistral": {"b": 1}}), "openai");
        assert_eq!(fields, json!({"a": 1}));
        assert_eq!(
            warnings,
            [Warning::UnknownBucket {
                key: "mistral".into()
            }]
        );
    }

    #[test]
    fn among_buckets_a_plain_value_is_an_error_that_names_the_key() {
        for options in [
            json!({"*": {}, "priority": 1}),
            json!({"openai": 3}),
            json!({"*": null}),
        ] {
            let key = options
                .as_object()
                .unwrap()
                .iter()
                .find(|(_, v)| !v.is_object())
                .unwrap()
                .0;
            let error = ProviderOptions::from(options.clone())
                .choose("openai")
                .unwrap_err();
            assert!(error.to_string().contains(&format!("`{key}`")), "{error}");
        }
    }

    #[test]
    fn options_that_are_no_object_are_an_error() {
        for options in [json!([]), json!("x"), json!(1)] {
            assert!(ProviderOptions::from(options).choose("openai").is_err());
        }
    }

    #[test]
    fn a_key_of_a_typed_field_is_left_out_with_a_warning() {
        let Value::Object(mut body) = json!({"endpoint": "/v1/x"}) else {
            unreachable!()
        };
        let options = ProviderOptions::from(json!({"endpoint": "/v1/y", "z": 1}));
        let warnings = merge(&mut body, options.choose("openai").unwrap());
        assert_eq!(Value::Object(body), json!({"endpoint": "/v1/x", "z": 1}));
        assert_eq!(
            warnings,
            [Warning::OptionOwnedByField {
                key: "endpoint".into()
            }]
        );
    }
}
