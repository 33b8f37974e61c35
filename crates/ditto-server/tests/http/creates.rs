//! `POST /v1/batches` again: by a client's own key, and by the official SDKs' retries.

use std::collections::HashSet;

use ditto_server::{Config, TenantKey};
use futures_util::future::join_all;
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};

use crate::server::{Answer, TestServer, answer, create_body};

const KEY: &str = "idempotency-key";
const RETRY_COUNT: &str = "x-stainless-retry-count";

async fn create_with(server: &TestServer, header: &'static str, value: &str, body: &str) -> Answer {
    let request = server
        .ask(Method::POST, "/v1/batches")
        .header("content-type", "application/json")
        .header(header, value);
    answer(request.body(body.to_owned())).await
}

async fn keyed(server: &TestServer, key: &str, body: &Value) -> Answer {
    create_with(server, KEY, key, &body.to_string()).await
}

fn id(batch: &Value) -> &str {
    batch["id"].as_str().unwrap()
}

async fn count_batches(server: &TestServer) -> usize {
    let listed = server.get("/v1/batches?limit=100").await.ok();
    listed["data"].as_array().unwrap().len()
}

#[tokio::test]
async fn the_same_key_and_body_are_the_same_batch_as_it_is_now() {
    let server = TestServer::start().await;
    let mut body = create_body("file-nope");
    body["metadata"] = json!({ "a": "1", "b": "2" });
    let first = keyed(&server, "k", &body).await.ok();
    assert_eq!(first["status"], "validating");
    let ended = server.ended(id(&first)).await;
    assert_eq!(ended["status"], "failed");

    // Another order and other white space are the same body.
    let spelled = r#"{ "metadata": {"b": "2", "a": "1"}, "endpoint": "/v1/chat/completions",
        "completion_window": "24h", "input_file_id": "\u0066ile-nope" }"#;
    let again = create_with(&server, KEY, "k", spelled).await.ok();
    assert_eq!(again, ended);
    assert_eq!(count_batches(&server).await, 1);
}

#[tokio::test]
async fn a_key_with_another_body_is_a_conflict_that_names_the_batch() {
    let server = TestServer::start().await;
    let mut body = create_body("file-any");
    let first = keyed(&server, "k", &body).await.ok();
    body["metadata"] = json!({ "another": "body" });
    let message = format!(
        "This Idempotency-Key belongs to a request with another body, which made the batch '{}'. \
         Use a new key for a new batch.",
        id(&first)
    );
    let other = keyed(&server, "k", &body).await;
    other.refuses(409, &message, None, Some("idempotency_key_reused"));
    assert_eq!(count_batches(&server).await, 1);
    keyed(&server, "K", &body).await.ok();
}

#[tokio::test]
async fn a_create_that_was_refused_does_not_use_its_key_up() {
    let server = TestServer::start().await;
    let mut body = create_body("file-any");
    body["endpoint"] = json!("/v1/nope");
    assert_eq!(keyed(&server, "k", &body).await.status, 400);
    keyed(&server, "k", &create_body("file-any")).await.ok();
}

#[tokio::test]
async fn a_key_is_1_to_255_visible_ascii_characters_and_comes_once() {
    let server = TestServer::start().await;
    let body = create_body("file-any");
    for good in ["!", "~", "0", &"k".repeat(255)] {
        keyed(&server, good, &body).await.ok();
    }
    let message =
        "Invalid 'Idempotency-Key' header: expected one key of 1 to 255 visible ASCII characters.";
    let refused = |answer: Answer| {
        let param = Some("Idempotency-Key");
        answer.refuses(400, message, param, Some("invalid_value"));
    };
    for bad in ["", "two words", "a\tb", &"k".repeat(256)] {
        refused(keyed(&server, bad, &body).await);
    }
    let ask = || {
        let request = server.ask(Method::POST, "/v1/batches");
        let request = request.header("content-type", "application/json");
        request.body(body.to_string())
    };
    let not_ascii = HeaderValue::from_bytes("é".as_bytes()).unwrap();
    refused(answer(ask().header(KEY, not_ascii)).await);
    refused(answer(ask().header(KEY, "a").header(KEY, "b")).await);
    assert_eq!(count_batches(&server).await, 4);
}

#[tokio::test]
async fn a_key_in_the_body_is_as_good_as_one_in_the_header_and_no_part_of_the_request() {
    let server = TestServer::start().await;
    let body = create_body("file-any");
    let mut with_key = body.clone();
    with_key["idempotency_key"] = json!("k");
    let first = server.post("/v1/batches", &with_key).await.ok();
    for again in [
        server.post("/v1/batches", &with_key).await.ok(),
        keyed(&server, "k", &body).await.ok(),
        keyed(&server, "k", &with_key).await.ok(),
    ] {
        assert_eq!(id(&again), id(&first));
    }
    keyed(&server, "other", &with_key).await.refuses(
        400,
        "The 'Idempotency-Key' header and 'idempotency_key' in the body differ: send one of them, or \
         the same twice.",
        Some("idempotency_key"),
        Some("invalid_value"),
    );
    with_key["idempotency_key"] = json!("two words");
    server.post("/v1/batches", &with_key).await.refuses(
        400,
        "Invalid 'idempotency_key': expected a key of 1 to 255 visible ASCII characters.",
        Some("idempotency_key"),
        Some("invalid_value"),
    );
    with_key["idempotency_key"] = json!(7);
    server.post("/v1/batches", &with_key).await.refuses(
        400,
        "Invalid type for 'idempotency_key': expected a string, but got an integer instead.",
        Some("idempotency_key"),
        Some("invalid_type"),
    );
    assert_eq!(count_batches(&server).await, 1);
}

fn with_two_tenants(config: &mut Config) {
    let keys = [("a", "sk-alpha-1"), ("a", "sk-alpha-2"), ("b", "sk-beta-1")];
    config.keys.extend(keys.map(|(tenant, key)| TenantKey {
        tenant: tenant.to_owned(),
        key: key.to_owned().into(),
    }));
}

#[tokio::test]
async fn keys_and_repeats_are_a_tenants_own() {
    let server = TestServer::start_with(with_two_tenants).await;
    let create = async |api_key: &str, name: &'static str, value: &str| {
        let request = server
            .ask(Method::POST, "/v1/batches")
            .bearer_auth(api_key)
            .header("content-type", "application/json")
            .header(name, value);
        let body = create_body("file-any").to_string();
        id(&answer(request.body(body)).await.ok()).to_owned()
    };
    let first = create("sk-alpha-1", KEY, "k").await;
    assert_eq!(create("sk-alpha-2", KEY, "k").await, first);
    assert_eq!(create("sk-alpha-2", RETRY_COUNT, "1").await, first);
    let other = create("sk-beta-1", RETRY_COUNT, "1").await;
    assert_ne!(other, first);
    assert_ne!(create("sk-beta-1", KEY, "k").await, first);
}

#[tokio::test]
async fn creates_at_once_under_one_key_make_one_batch() {
    let server = TestServer::start().await;
    let body = create_body("file-any");
    let answers = join_all((0..20).map(|_| keyed(&server, "k", &body))).await;
    let ids: HashSet<String> = answers.iter().map(|a| id(&a.ok()).to_owned()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(count_batches(&server).await, 1);
}

#[tokio::test]
async fn a_retry_of_an_sdk_gets_the_batch_of_its_first_try() {
    let server = TestServer::start().await;
    let retry = async |count, body: &Value| {
        let answer = create_with(&server, RETRY_COUNT, count, &body.to_string()).await;
        id(&answer.ok()).to_owned()
    };
    let body = create_body("file-any");
    let first = retry("0", &body).await;
    assert_eq!(retry("1", &body).await, first);
    assert_eq!(retry("2", &body).await, first);

    let other = retry("1", &create_body("file-other")).await;
    assert_ne!(other, first);
    assert_eq!(retry("2", &create_body("file-other")).await, other);
}

#[tokio::test]
async fn a_create_that_is_no_retry_makes_another_batch() {
    let server = TestServer::start().await;
    let body = create_body("file-any");
    server.post("/v1/batches", &body).await.ok();
    server.post("/v1/batches", &body).await.ok();
    for count in ["0", "-1", "", "many"] {
        create_with(&server, RETRY_COUNT, count, &body.to_string())
            .await
            .ok();
    }
    assert_eq!(count_batches(&server).await, 6);
}
