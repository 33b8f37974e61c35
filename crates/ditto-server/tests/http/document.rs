//! Every answer that a test gets by its path, held to what the server says of itself.

use reqwest::Method;
use serde_json::Value;

use crate::server::Answer;

/// The description of a server.
pub(crate) struct Document(Value);

impl Document {
    pub(crate) fn new(document: Value) -> Self {
        Self(document)
    }

    /// Panics if this is no answer that the document names. What is no route is in none.
    #[track_caller]
    pub(crate) fn holds(&self, method: &Method, path: &str, answer: &Answer) {
        let path = path.split('?').next().unwrap();
        let Some(item) = self.item(path) else {
            // Or it was not let in far enough to be told that there is none.
            let not_there = [401, 403, 404].contains(&answer.status);
            assert!(not_there, "{path} is not in the document");
            return;
        };
        let Some(operation) = item.get(method.as_str().to_lowercase()) else {
            return;
        };
        let status = answer.status.to_string();
        let response = &operation["responses"][&status];
        assert!(
            response.is_object(),
            "{method} {path}: {status} is not in the document"
        );
        let schema = &response["content"]["application/json"]["schema"];
        if !schema.is_null() {
            let fits = self.fits(&answer.json(), schema, "$");
            assert_eq!(fits, Ok(()), "{method} {path}: {status}");
        }
    }

    fn item(&self, path: &str) -> Option<&Value> {
        let asked: Vec<_> = path.split('/').collect();
        let is_it = |known: &str| {
            let known: Vec<_> = known.split('/').collect();
            let mut parts = known.iter().zip(&asked);
            known.len() == asked.len()
                && parts.all(|(known, asked)| known == asked || known.starts_with('{'))
        };
        let paths = self.0["paths"].as_object().unwrap();
        paths
            .iter()
            .find(|(known, _)| is_it(known))
            .map(|(_, item)| item)
    }

    /// Where a value is not of its schema; of JSON Schema as much as the document uses of it.
    fn fits(&self, value: &Value, schema: &Value, at: &str) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{at} {what}: {value}"));
        for (keyword, rule) in schema.as_object().into_iter().flatten() {
            match keyword.as_str() {
                "$ref" => {
                    let name = rule.as_str().unwrap().strip_prefix('#').unwrap();
                    self.fits(value, self.0.pointer(name).unwrap(), at)?;
                }
                "anyOf" => {
                    let mut any = rule.as_array().unwrap().iter();
                    if !any.any(|schema| self.fits(value, schema, at).is_ok()) {
                        return wrong("is none of those");
                    }
                }
                "type" if !is_of(value, rule) => return wrong("is of another type"),
                "const" if value != rule => return wrong("is another value"),
                "enum" if !rule.as_array().unwrap().contains(value) => {
                    return wrong("is another word");
                }
                "minimum" if value.as_f64() < rule.as_f64() && value.is_number() => {
                    return wrong("is too small");
                }
                "required" => {
                    let mut names = rule.as_array().unwrap().iter();
                    if !names.all(|name| value.get(name.as_str().unwrap()).is_some()) {
                        return wrong("lacks a field");
                    }
                }
                "properties" => {
                    for (name, schema) in rule.as_object().unwrap() {
                        let field = value.get(name);
                        field.map_or(Ok(()), |f| self.fits(f, schema, &format!("{at}.{name}")))?;
                    }
                }
                "items" => {
                    for item in value.as_array().into_iter().flatten() {
                        self.fits(item, rule, &format!("{at}[]"))?;
                    }
                }
                "additionalProperties" if rule.is_object() => {
                    for field in value.as_object().into_iter().flatten() {
                        self.fits(field.1, rule, &format!("{at}.*"))?;
                    }
                }
                "type"
                | "const"
                | "enum"
                | "minimum"
                | "additionalProperties"
                | "format"
                | "description"
                | "title" => {}
                unknown => return wrong(&format!("has a rule that is not read, {unknown}")),
            }
        }
        Ok(())
    }
}

fn is_of(value: &Value, kinds: &Value) -> bool {
    let is = |kind: &Value| match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        unknown => panic!("no kind of value: {unknown}"),
    };
    match kinds {
        Value::Array(kinds) => kinds.iter().any(is),
        kind => is(kind),
    }
}
