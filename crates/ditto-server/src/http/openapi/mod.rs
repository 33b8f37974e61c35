//! `GET /openapi.json`: what this server takes and answers, for programs that read such a document.
//!
//! The shapes come from the types: those of the wire for answers, those of [`shapes`] for what is
//! read by hand. The routes are written down in [`operations`], and a test holds them to the router.

mod operation;
mod operations;
mod shapes;

use std::future::{Ready, ready};

use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use self::operation::Operation;
use crate::config::Config;

/// Where schemas are named in a document.
const SCHEMAS: &str = "/components/schemas";

/// What answers `GET /openapi.json`, made once: it is the same for everybody.
pub(super) fn handler(
    config: &Config,
    has_keys: bool,
) -> impl Fn() -> Ready<Page> + Clone + Send + Sync + 'static + use<> {
    let text =
        serde_json::to_vec(&document(config, has_keys)).expect("a JSON value is always written");
    let text = Bytes::from(text);
    move || ready(Page(text.clone()))
}

/// The document, written out.
#[derive(Debug)]
pub(super) struct Page(Bytes);

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0).into_response()
    }
}

fn document(config: &Config, has_keys: bool) -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for operation in operations::all(config) {
        let Operation { path, method, .. } = operation;
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[method] = operation.into_json(&mut schemas);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ditto Batches",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "OpenAI's files and batches in front of endpoints that have none. Every \
                            refusal, of whatever route, is an error envelope.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas.into_json(),
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } },
        },
        // A server without keys asks for none. One that gets its first while it runs says so from its next
        // start on.
        "security": if has_keys { json!([{ "key": [] }]) } else { json!([]) },
    })
}

/// The shapes that operations have named so far. What is written and what is read differ: what we
/// write has every field, what we read may lack some.
struct Schemas {
    written: SchemaGenerator,
    read: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = SCHEMAS.into();
            settings.meta_schema = None;
            // What a lenient reader puts where a field is missing is no matter of what we write.
            let without_default = |schema: &mut Schema| drop(schema.remove("default"));
            settings
                .transforms
                .push(Box::new(RecursiveTransform(without_default)));
        });
        Self {
            written: settings.clone().for_serialize().into_generator(),
            read: settings.for_deserialize().into_generator(),
        }
    }

    fn written<T: JsonSchema>(&mut self) -> Value {
        self.written.subschema_for::<T>().to_value()
    }

    fn read<T: JsonSchema>(&mut self) -> Value {
        self.read.subschema_for::<T>().to_value()
    }

    fn into_json(mut self) -> Map<String, Value> {
        let mut all = self.written.take_definitions(true);
        all.extend(self.read.take_definitions(true));
        all
    }
}

#[cfg(test)]
mod tests;
