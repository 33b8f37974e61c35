//! One call, as a document has it.

use ditto_llm::wire::ErrorEnvelope;
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::Schemas;

/// Makes a schema, naming its parts.
type Shape = fn(&mut Schemas) -> Value;

/// One method of one path.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// Its name in programs that are made from the document.
    name: &'static str,
    summary: &'static str,
    /// Needs no key.
    open: bool,
    query: Option<Shape>,
    headers: Vec<Header>,
    body: Option<(&'static str, Shape)>,
    narrowed: Map<String, Value>,
    /// Its body may be left out.
    optional: bool,
    /// `None`: headers alone, of refusals too.
    answer: Option<(&'static str, Shape)>,
    /// Statuses of refusals beside those that any call may meet.
    refusals: Vec<u16>,
    /// Statuses of answers beside 200.
    partial: bool,
}

/// A header that a call reads.
struct Header {
    name: &'static str,
    description: &'static str,
    /// A regular expression; an empty one takes any text.
    pattern: &'static str,
}

impl Operation {
    /// A call that answers with this as JSON.
    pub(super) fn new<T: JsonSchema>(
        method: &'static str,
        path: &'static str,
        name: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            method,
            path,
            name,
            summary,
            open: false,
            query: None,
            headers: Vec::new(),
            body: None,
            narrowed: Map::new(),
            optional: false,
            answer: Some(("application/json", Schemas::written::<T>)),
            refusals: Vec::new(),
            partial: false,
        }
    }

    /// Needs no key.
    pub(super) fn open(mut self) -> Self {
        self.open = true;
        self
    }

    /// The parameters of its query are the fields of this.
    pub(super) fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(|_| {
            // Each field is a parameter of its own, so nothing of it gets a name.
            schemars::generate::SchemaSettings::draft2020_12()
                .with(|settings| settings.inline_subschemas = true)
                .for_deserialize()
                .into_generator()
                .into_root_schema_for::<T>()
                .to_value()
        });
        self
    }

    /// Reads a header whose value is of this pattern.
    pub(super) fn header(
        mut self,
        name: &'static str,
        description: &'static str,
        pattern: &'static str,
    ) -> Self {
        self.headers.push(Header {
            name,
            description,
            pattern,
        });
        self
    }

    /// Its body is this.
    pub(super) fn body<T: JsonSchema>(mut self, content_type: &'static str) -> Self {
        self.body = Some((content_type, Schemas::read::<T>));
        self
    }

    /// Its body is this, if there is one.
    pub(super) fn optional_body<T: JsonSchema>(mut self, content_type: &'static str) -> Self {
        self.optional = true;
        self.body::<T>(content_type)
    }

    /// Answers with one JSON object a line.
    pub(super) fn lines(mut self) -> Self {
        self.answer = Some(("application/jsonl", |_| json!({})));
        self
    }

    /// Answers with the bytes of a file, or with some of them.
    pub(super) fn bytes(mut self) -> Self {
        self.answer = Some(("*/*", |_| json!({})));
        self.partial = true;
        self
    }

    /// Answers without a body, whatever it answers.
    pub(super) fn bodiless(mut self) -> Self {
        self.answer = None;
        self
    }

    /// What a property of its body may be here, beside what its type says.
    pub(super) fn narrowed(
        mut self,
        property: &'static str,
        keyword: &'static str,
        to: Value,
    ) -> Self {
        self.narrowed
            .insert(property.to_owned(), json!({ keyword: to }));
        self
    }

    pub(super) fn refuses(mut self, statuses: &[u16]) -> Self {
        self.refusals.extend(statuses);
        self
    }

    pub(super) fn into_json(self, schemas: &mut Schemas) -> Value {
        let parameters = self.parameters(schemas);
        let mut operation = json!({
            "operationId": self.name,
            "summary": self.summary,
            "responses": self.responses(schemas, !parameters.is_empty()),
            "parameters": parameters,
        });
        if self.open {
            operation["security"] = json!([]);
        }
        if let Some((content_type, shape)) = self.body {
            let mut schema = shape(schemas);
            if !self.narrowed.is_empty() {
                schema["properties"] = Value::Object(self.narrowed);
            }
            operation["requestBody"] = json!({
                "required": !self.optional,
                "content": { content_type: { "schema": schema } },
            });
        }
        operation
    }

    fn parameters(&self, schemas: &mut Schemas) -> Vec<Value> {
        let fields = self.query.map(|query| fields(&query(schemas)));
        let headers = self.headers.iter().map(|header| {
            json!({
                "name": header.name,
                "in": "header",
                "description": header.description,
                "schema": { "type": "string", "pattern": header.pattern },
            })
        });
        let fields = fields.into_iter().flatten();
        ids(self.path).chain(fields).chain(headers).collect()
    }

    fn responses(&self, schemas: &mut Schemas, has_parameters: bool) -> Map<String, Value> {
        let mut answer = json!({ "description": "Done." });
        if let Some((content_type, shape)) = self.answer {
            answer["content"] = json!({ content_type: { "schema": shape(schemas) } });
        }
        let mut responses = Map::new();
        if self.partial {
            responses.insert("206".to_owned(), answer.clone());
        }
        responses.insert("200".to_owned(), answer);
        for status in refusals(&self.refusals, self.open, has_parameters) {
            let mut refusal = json!({ "description": format!("Refused: {}.", reason(status)) });
            if self.answer.is_some() {
                let schema = schemas.written::<ErrorEnvelope>();
                refusal["content"] = json!({ "application/json": { "schema": schema } });
            }
            responses.insert(status.to_string(), refusal);
        }
        responses
    }
}

/// The ids in a path.
fn ids(path: &str) -> impl Iterator<Item = Value> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            json!({
                "name": name,
                "in": "path",
                "required": true,
                "schema": { "type": "string", "minLength": 1 },
            })
        })
}

/// The fields of an object's schema as parameters of a query.
fn fields(schema: &Value) -> Vec<Value> {
    let properties = schema["properties"].as_object();
    properties
        .into_iter()
        .flatten()
        .map(|(name, schema)| {
            let mut schema = schema.clone();
            let description = schema.as_object_mut().and_then(|s| s.remove("description"));
            // Left out is left out; there is no null in a query.
            if let Some(kind) = schema["type"].get(0).cloned() {
                schema["type"] = kind;
            }
            json!({ "name": name, "in": "query", "description": description, "schema": schema })
        })
        .collect()
}

/// Every status of a refusal that a call may meet, once.
fn refusals(own: &[u16], open: bool, has_parameters: bool) -> Vec<u16> {
    // Who may not ask at all; our faults; a disk or an upstream that is away.
    let mut all = vec![403, 500, 503];
    if !open {
        // No key, or too often.
        all.extend([401, 429]);
    }
    if has_parameters {
        all.push(400);
    }
    all.extend(own);
    all.sort_unstable();
    all.dedup();
    all
}

fn reason(status: u16) -> &'static str {
    let status = axum::http::StatusCode::from_u16(status).ok();
    let reason = status.and_then(|status| status.canonical_reason());
    reason.unwrap_or_default()
}
