use std::collections::BTreeSet;

use super::*;
use crate::config::UpstreamConfig;

fn shipped() -> Value {
    let upstream = UpstreamConfig::new("u", "http://127.0.0.1:1");
    document(&Config::new("data", vec![upstream]), false)
}

/// `get /v1/files` for each route of the router, read from its text.
fn routed() -> BTreeSet<String> {
    let source = include_str!("../mod.rs");
    let routes = source.split(".route(\"").skip(1);
    routes
        .flat_map(|route| {
            let (path, rest) = route.split_once('"').unwrap();
            let handlers = rest.split("\n        .").next().unwrap();
            ["get", "post", "delete", "put", "patch"]
                .into_iter()
                .filter(|method| handlers.contains(&format!("{method}(")))
                .map(|method| format!("{method} {path}"))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn documented(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| {
        let methods = item.as_object().unwrap().keys();
        methods
            .map(|method| format!("{method} {path}"))
            .collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

#[test]
fn every_route_is_in_the_document_and_nothing_else() {
    let mut routed = routed();
    // What takes GET takes HEAD; only here is that a call of its own.
    routed.insert("head /v1/files/{id}/content".to_owned());
    assert!(
        routed.contains("post /v1/batches/{id}/cancel"),
        "{routed:?}"
    );
    assert_eq!(documented(&shipped()), routed);
}

#[test]
fn every_name_that_is_referred_to_is_defined() {
    let document = shipped();
    let text = document.to_string();
    let names: BTreeSet<_> = text
        .split("\"$ref\":\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert!(
        names.contains("#/components/schemas/ErrorEnvelope"),
        "{names:?}"
    );
    for name in names {
        let pointer = name.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{name}");
    }
}

#[test]
fn what_is_answered_has_every_field_and_what_is_read_may_lack_some() {
    let document = shipped();
    let required = |name: &str| {
        let schema = &document["components"]["schemas"][name];
        let required = schema["required"].as_array().unwrap();
        let names = required.iter().map(|name| name.as_str().unwrap());
        names.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let fields = serde_json::to_value(ditto_llm::wire::Batch::default()).unwrap();
    let fields: BTreeSet<_> = fields.as_object().unwrap().keys().cloned().collect();
    assert_eq!(required("Batch"), fields);
    let needed = ["completion_window", "endpoint", "input_file_id"].map(str::to_owned);
    assert_eq!(required("CreateBatch"), BTreeSet::from(needed));
}

#[test]
fn a_head_of_content_has_the_statuses_of_a_file_and_no_body() {
    let document = shipped();
    let head = &document["paths"]["/v1/files/{id}/content"]["head"];
    let responses = head["responses"].as_object().unwrap();
    assert!(responses.contains_key("200") && responses.contains_key("404"));
    for (status, response) in responses {
        assert_eq!(response.get("content"), None, "{status}");
    }
}

#[test]
fn every_call_that_reads_the_header_for_extensions_says_so() {
    let document = shipped();
    let paths = document["paths"].as_object().unwrap();
    let mut names = BTreeSet::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().unwrap();
            let reads = |parameter: &&Value| parameter["name"] == "Ditto-Extensions";
            if let Some(header) = parameters.iter().find(reads) {
                assert_eq!(header["in"], "header");
                names.insert(format!("{method} {path}"));
            }
        }
    }
    let calls = [
        "get /v1/batches",
        "get /v1/batches/{id}",
        "post /v1/batches",
        "post /v1/batches/{id}/cancel",
    ];
    assert_eq!(names, BTreeSet::from(calls.map(str::to_owned)));
}

#[test]
fn the_endpoints_are_those_of_this_server() {
    let upstream = UpstreamConfig::new("u", "http://127.0.0.1:1");
    let mut config = Config::new("data", vec![upstream]);
    config.endpoints = vec!["/v1/rerank".to_owned()];
    let create = &document(&config, false)["paths"]["/v1/batches"]["post"];
    let schema = &create["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(
        schema["properties"]["endpoint"]["enum"],
        json!(["/v1/rerank"])
    );
}

#[test]
fn purposes_are_those_that_an_upload_may_have() {
    let document = shipped();
    let purposes = document["components"]["schemas"]["Purpose"]["enum"].clone();
    let mut purposes: Vec<String> = serde_json::from_value(purposes).unwrap();
    purposes.sort();
    let mut known = crate::http::file_form::PURPOSES.to_vec();
    known.sort_unstable();
    assert_eq!(purposes, known);
}
