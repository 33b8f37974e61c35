//! What is not a route, and what belongs to none.

use ditto_server::UpstreamConfig;
use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{TestServer, answer};

#[tokio::test]
async fn an_unknown_route_is_404_in_the_envelope() {
    let server = TestServer::start().await;
    let code = Some("unknown_url");
    server
        .get("/v1/nope")
        .await
        .refuses(404, "Invalid URL (GET /v1/nope)", None, code);
    server.get("/files").await.refuses(
        404,
        "Invalid URL (GET /files). The API is below /v1: let the client's base URL end in /v1.",
        None,
        code,
    );
    server.get("/v1/v1/files").await.refuses(
        404,
        "Invalid URL (GET /v1/v1/files). The path has /v1 twice: let the client's base URL end in \
         one /v1.",
        None,
        code,
    );
}

#[tokio::test]
async fn a_wrong_method_is_405_in_the_envelope() {
    let server = TestServer::start().await;
    let refused = answer(server.ask(Method::PUT, "/v1/files")).await;
    let message = "Not allowed to PUT on /v1/files";
    refused.refuses(405, message, None, Some("method_not_allowed"));
    assert_eq!(refused.header("allow"), Some("GET,HEAD,POST"));
}

#[tokio::test]
async fn an_id_that_is_not_utf8_is_400() {
    let server = TestServer::start().await;
    let message = "The id in the URL is not valid UTF-8.";
    for path in ["/v1/files/%FF", "/v1/files/%FF/content", "/v1/batches/%FF"] {
        server.get(path).await.refuses(400, message, None, None);
    }
}

#[tokio::test]
async fn every_answer_has_an_id_of_its_own() {
    let server = TestServer::start().await;
    let id = async |path: &str| {
        server
            .get(path)
            .await
            .header("x-request-id")
            .unwrap()
            .to_owned()
    };
    let (first, second) = (id("/v1/files").await, id("/v1/files").await);
    assert_ne!(first, second);
    assert!(id("/healthz").await.starts_with("req_"));
}

#[tokio::test]
async fn the_upstreams_models_are_listed() {
    let server = TestServer::start().await;
    let models = server.get("/v1/models").await.ok();
    assert_eq!(models["object"], "list");
    let ids: Vec<_> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["id"].clone())
        .collect();
    assert!(ids.contains(&json!("demo-small")), "{ids:?}");
}

/// What `GET /v1/models` names, if the models of its upstream are these.
async fn models_if(named: &[&str], change: impl FnOnce(&mut UpstreamConfig)) -> Vec<Value> {
    let server = TestServer::start_with(|config| {
        let [upstream] = config.upstreams.as_mut_slice() else {
            unreachable!("one upstream is shipped")
        };
        upstream.models = Some(named.iter().map(|name| (*name).to_owned()).collect());
        change(upstream);
    })
    .await;
    let models = server.get("/v1/models").await.ok();
    models["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn models_that_are_configured_are_listed_and_no_others() {
    let listed = models_if(&["demo-small", "of-mine"], |_| {}).await;
    let ids: Vec<_> = listed.iter().map(|model| &model["id"]).collect();
    assert_eq!(ids, ["demo-small", "of-mine"]);
}

#[tokio::test]
async fn models_that_are_configured_are_listed_of_an_upstream_that_does_not_answer() {
    // Where nobody listens.
    let nowhere =
        |upstream: &mut UpstreamConfig| "http://127.0.0.1:1/v1".clone_into(&mut upstream.base_url);
    let listed = models_if(&["a", "b"], nowhere).await;
    let model = |id: &str| json!({"id": id, "object": "model", "created": 0, "owned_by": "sim"});
    assert_eq!(listed, [model("a"), model("b")]);
}

#[tokio::test]
async fn a_server_that_can_work_says_so() {
    let server = TestServer::start().await;
    assert_eq!(server.get("/healthz").await.ok(), json!({ "status": "ok" }));
    assert_eq!(
        server.get("/readyz").await.ok(),
        json!({ "status": "ready" })
    );
}
