//! `/v1/batches`

use ditto_server::{CompletionWindow, Window};
use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Answer, TestServer, answer, create_body, scrubbed};

async fn create_with(server: &TestServer, field: &str, value: Value) -> Answer {
    let mut body = create_body("file-any");
    body[field] = value;
    server.post("/v1/batches", &body).await
}

#[tokio::test]
async fn a_batch_is_made_before_its_file_is_looked_at() {
    let server = TestServer::start().await;
    let body = json!({
        "input_file_id": "file-nope",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": { "job": "7f3a" },
        "output_expires_after": { "anchor": "created_at", "seconds": 604_800 },
    });
    let batch = server.post("/v1/batches", &body).await.ok();
    assert_eq!(
        scrubbed(batch),
        json!({
            "id": "batch_ID", "object": "batch", "endpoint": "/v1/chat/completions",
            "model": null, "errors": null, "input_file_id": "file-ID", "completion_window": "24h",
            "status": "validating", "output_file_id": null, "error_file_id": null,
            "created_at": "TIME", "in_progress_at": null, "expires_at": null,
            "finalizing_at": null, "completed_at": null, "failed_at": null, "expired_at": null,
            "cancelling_at": null, "cancelled_at": null,
            "request_counts": { "total": 0, "completed": 0, "failed": 0 },
            "usage": null, "metadata": { "job": "7f3a" },
        })
    );
}

#[tokio::test]
async fn a_batch_over_no_file_fails_later() {
    let server = TestServer::start().await;
    let batch = server.submit("file-nope").await;
    let failed = server.ended(batch["id"].as_str().unwrap()).await;
    assert_eq!(failed["status"], "failed");
    assert_eq!(failed["errors"]["object"], "list");
    assert_eq!(failed["errors"]["data"][0]["code"], "invalid_request");
    assert_eq!(
        failed["request_counts"],
        json!({ "total": 0, "completed": 0, "failed": 0 })
    );
}

#[tokio::test]
async fn a_batch_runs_and_its_answers_can_be_read() {
    let server = TestServer::start().await;
    let file = server.upload(3).await;
    let batch = server.submit(&file).await;
    let done = server.ended(batch["id"].as_str().unwrap()).await;
    assert_eq!(done["status"], "completed");
    assert_eq!(
        done["request_counts"],
        json!({ "total": 3, "completed": 3, "failed": 0 })
    );
    let output = done["output_file_id"].as_str().unwrap();
    let object = server.get(&format!("/v1/files/{output}")).await.ok();
    assert_eq!(object["purpose"], "batch_output");
    let content = server.get(&format!("/v1/files/{output}/content")).await;
    let ids: Vec<String> = String::from_utf8(content.body)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["custom_id"].to_string())
        .collect();
    assert_eq!(ids, ["\"row-1\"", "\"row-2\"", "\"row-3\""]);
    server.stop().await;
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let server = TestServer::start().await;
    for field in ["input_file_id", "endpoint", "completion_window"] {
        let mut body = create_body("file-any");
        body.as_object_mut().unwrap().remove(field);
        server.post("/v1/batches", &body).await.refuses(
            400,
            &format!("Missing required parameter: '{field}'."),
            Some(field),
            Some("missing_required_parameter"),
        );
    }
}

#[tokio::test]
async fn what_has_the_wrong_type_is_named() {
    let server = TestServer::start().await;
    let table = [
        (
            "input_file_id",
            json!(null),
            "input_file_id",
            "a string, but got null",
        ),
        (
            "endpoint",
            json!(["/v1/embeddings"]),
            "endpoint",
            "a string, but got an array",
        ),
        (
            "completion_window",
            json!(24),
            "completion_window",
            "a string, but got an integer",
        ),
        (
            "metadata",
            json!("tag"),
            "metadata",
            "an object, but got a string",
        ),
        (
            "metadata",
            json!({ "tags": ["a"] }),
            "metadata.tags",
            "a string, but got an array",
        ),
        (
            "metadata",
            json!({ "n": 1.5 }),
            "metadata.n",
            "a string, but got a decimal",
        ),
        (
            "metadata",
            json!({ "b": true }),
            "metadata.b",
            "a string, but got a boolean",
        ),
        (
            "output_expires_after",
            json!(1),
            "output_expires_after",
            "an object, but got an integer",
        ),
    ];
    for (field, value, param, text) in table {
        let message = format!("Invalid type for '{param}': expected {text} instead.");
        let refused = create_with(&server, field, value).await;
        refused.refuses(400, &message, Some(param), Some("invalid_type"));
    }
}

#[tokio::test]
async fn values_that_nobody_supports_are_refused() {
    let server = TestServer::start().await;
    create_with(&server, "endpoint", json!("/v1/nope"))
        .await
        .refuses(
            400,
            "Invalid value: '/v1/nope'. Supported values are: '/v1/chat/completions', \
         '/v1/completions', '/v1/embeddings', '/v1/responses', and '/v1/moderations'.",
            Some("endpoint"),
            Some("invalid_value"),
        );
    for window in ["1h", "48h", ""] {
        create_with(&server, "completion_window", json!(window))
            .await
            .refuses(
                400,
                &format!("Invalid value: '{window}'. Supported values are: '24h'."),
                Some("completion_window"),
                Some("invalid_value"),
            );
    }
}

#[tokio::test]
async fn metadata_is_held_to_its_limits() {
    let server = TestServer::start().await;
    let pairs = |n: usize| -> Value { (0..n).map(|i| (format!("k{i}"), json!("v"))).collect() };
    assert_eq!(
        create_with(&server, "metadata", pairs(16)).await.status,
        200
    );
    create_with(&server, "metadata", pairs(17)).await.refuses(
        400,
        "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, \
         but got an object with 17 properties instead.",
        Some("metadata"),
        Some("object_above_max_properties"),
    );
    // Characters are counted, not bytes.
    let good = json!({ "é".repeat(64): "字".repeat(512) });
    assert_eq!(
        create_with(&server, "metadata", good.clone()).await.ok()["metadata"],
        good
    );
    create_with(&server, "metadata", json!({ "k".repeat(65): "v" })).await.refuses(
        400,
        "Invalid property name in 'metadata': too long. Expected a name with maximum length 64, \
         but got a name with length 65 instead.",
        Some("metadata"),
        Some("property_name_above_max_length"),
    );
    create_with(&server, "metadata", json!({ "k": "v".repeat(513) }))
        .await
        .refuses(
            400,
            "Invalid 'metadata.k': string too long. Expected a string with maximum length 512, but \
         got a string with length 513 instead.",
            Some("metadata.k"),
            Some("string_above_max_length"),
        );
    let none = create_with(&server, "metadata", json!(null)).await.ok();
    assert_eq!(none["metadata"], json!(null));
}

#[tokio::test]
async fn the_lifetime_of_results_is_held_to_its_bounds() {
    let server = TestServer::start().await;
    let create = async |value| create_with(&server, "output_expires_after", value).await;
    create(json!({ "anchor": "created_at", "seconds": 60 })).await.refuses(
        400,
        "Invalid 'output_expires_after.seconds': integer below minimum value. Expected a value >= \
         3600, but got 60 instead.",
        Some("output_expires_after.seconds"),
        Some("integer_below_min_value"),
    );
    create(json!({ "anchor": "completed_at", "seconds": 3600 }))
        .await
        .refuses(
            400,
            "Invalid value: 'completed_at'. Supported values are: 'created_at'.",
            Some("output_expires_after.anchor"),
            Some("invalid_value"),
        );
    create(json!({ "seconds": 3600 })).await.refuses(
        400,
        "Missing required parameter: 'output_expires_after.anchor'.",
        Some("output_expires_after.anchor"),
        Some("missing_required_parameter"),
    );
}

#[tokio::test]
async fn only_json_is_read_and_only_so_much_of_it() {
    let server = TestServer::start().await;
    let send = async |content_type: &'static str, body: Vec<u8>| {
        let request = server
            .ask(Method::POST, "/v1/batches")
            .header("content-type", content_type);
        answer(request.body(body)).await
    };
    let good = create_body("file-any").to_string().into_bytes();
    send("text/plain", good.clone()).await.refuses(
        415,
        "Unsupported content type: 'text/plain'. This call takes 'Content-Type: application/json'.",
        None,
        Some("unsupported_content_type"),
    );
    assert_eq!(
        send("Application/JSON; charset=utf-8", good).await.status,
        200
    );
    let broken = send("application/json", b"{\"input_file_id\":".to_vec()).await;
    assert_eq!(broken.status, 400);
    let message = broken.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        message.starts_with("We could not parse the JSON body of your request"),
        "{message}"
    );
    send("application/json", b"[]".to_vec()).await.refuses(
        400,
        "Invalid body: expected an object, but got an array instead.",
        None,
        Some("invalid_type"),
    );
    send("application/json", vec![b' '; (1 << 20) + 1])
        .await
        .refuses(
            413,
            "The request body is larger than the limit of 1048576 bytes.",
            None,
            Some("request_too_large"),
        );
}

#[tokio::test]
async fn an_unknown_batch_is_404() {
    let server = TestServer::start().await;
    let message = "No batch found with id 'batch_nope'.";
    server
        .get("/v1/batches/batch_nope")
        .await
        .refuses(404, message, None, None);
    let cancel = server
        .post("/v1/batches/batch_nope/cancel", &json!({}))
        .await;
    cancel.refuses(404, message, None, None);
}

#[tokio::test]
async fn an_ended_batch_cannot_be_cancelled() {
    let server = TestServer::start().await;
    let batch = server.submit("file-nope").await;
    let id = batch["id"].as_str().unwrap();
    server.ended(id).await;
    let refused = server
        .post(&format!("/v1/batches/{id}/cancel"), &json!({}))
        .await;
    refused.refuses(
        409,
        "Cannot cancel a batch with status 'failed'.",
        None,
        None,
    );
}

#[tokio::test]
async fn a_batch_has_an_end_where_the_operator_wants_one() {
    let server = TestServer::start_with(|config| {
        config.windows = vec![CompletionWindow::day(Window::Expire)];
    })
    .await;
    let batch = server.submit("file-any").await;
    let created = batch["created_at"].as_i64().unwrap();
    assert_eq!(batch["expires_at"], created + 24 * 3600);
    let server = TestServer::start_with(|config| {
        config.windows = vec![CompletionWindow::day(Window::KeepGoing)];
    })
    .await;
    assert!(server.submit("file-any").await["expires_at"].is_null());
}

#[tokio::test]
async fn other_windows_are_taken_where_the_operator_allows_them() {
    let server = TestServer::start().await;
    let ask = |window: &str| {
        let mut body = crate::server::create_body("file-any");
        body["completion_window"] = json!(window);
        body
    };
    server.post("/v1/batches", &ask("48h")).await.refuses(
        400,
        "Invalid value: '48h'. Supported values are: '24h'.",
        Some("completion_window"),
        Some("invalid_value"),
    );
    let server = TestServer::start_with(|config| {
        config.windows.push(CompletionWindow {
            name: "48h".to_owned(),
            length: std::time::Duration::from_secs(48 * 3600),
            end: Some(Window::Expire),
        });
    })
    .await;
    let batch = server.post("/v1/batches", &ask("48h")).await.ok();
    assert_eq!(batch["completion_window"], "48h");
    let created = batch["created_at"].as_i64().unwrap();
    assert_eq!(batch["expires_at"], created + 48 * 3600);
    let refused = server.post("/v1/batches", &ask("1h")).await.json();
    let message = "Invalid value: '1h'. Supported values are: '24h' and '48h'.";
    assert_eq!(refused["error"]["message"], message);
}

/// Two lines that name two models, and one that is no JSON.
fn uneven(bad: bool) -> String {
    let mut lines = crate::server::requests(2).replacen("demo-small", "demo-large", 1);
    if bad {
        lines.push_str("{\n");
    }
    lines
}

async fn submit_uneven(server: &TestServer, bad: bool, ditto: Value) -> Value {
    let form = crate::form::Form::new()
        .field("purpose", "batch")
        .file("in.jsonl", &uneven(bad));
    let file = server.send(form).await.ok()["id"].clone();
    let mut body = crate::server::create_body(file.as_str().unwrap());
    if !ditto.is_null() {
        body["ditto"] = ditto;
    }
    let batch = server.post("/v1/batches", &body).await.ok();
    assert_eq!(batch.get("ditto").is_some(), body.get("ditto").is_some());
    let ended = server.ended(batch["id"].as_str().unwrap()).await;
    assert!(ended.get("ditto").is_none(), "nobody has asked for it");
    ended
}

#[tokio::test]
async fn as_shipped_a_batch_has_one_model_and_no_bad_line() {
    let server = TestServer::start().await;
    let failed = submit_uneven(&server, false, Value::Null).await;
    assert_eq!(failed["status"], "failed");
    let expected = json!([{
        "code": "mismatched_model",
        "message": "All requests in a batch must use the same model; expected 'demo-large', found 'demo-small'.",
        "param": "body.model",
        "line": 2,
    }]);
    assert_eq!(failed["errors"]["data"], expected);
}

#[tokio::test]
async fn a_batch_may_be_more_lenient_than_its_server_and_stricter() {
    let server = TestServer::start().await;
    let lenient = submit_uneven(&server, true, json!({"mode": "lenient"})).await;
    assert_eq!(
        lenient["request_counts"],
        json!({"total": 3, "completed": 2, "failed": 1})
    );
    let mixed = submit_uneven(&server, false, json!({"mixed_models": true})).await;
    assert_eq!(mixed["request_counts"]["completed"], 2);
    let bad = submit_uneven(&server, true, json!({"mixed_models": true})).await;
    assert_eq!(bad["errors"]["data"][0]["code"], "invalid_json_line");

    let server = TestServer::start_with(|config| config.mode = ditto_server::Mode::Lenient).await;
    let strict = submit_uneven(&server, false, json!({"mode": "strict"})).await;
    assert_eq!(strict["errors"]["data"][0]["code"], "mismatched_model");
}

#[tokio::test]
async fn extensions_are_told_to_those_who_ask() {
    let server = TestServer::start().await;
    let batch = server.submit("file-any").await;
    for path in [
        format!("/v1/batches/{}", batch["id"].as_str().unwrap()),
        "/v1/batches".to_owned(),
    ] {
        let asked = server
            .ask(reqwest::Method::GET, &path)
            .header("ditto-extensions", "1");
        let told = crate::server::answer(asked).await.ok();
        let told = told["data"].get(0).unwrap_or(&told);
        let expected = json!({
            "mode": "strict", "mixed_models": false, "retry_of": null, "retry_only": null,
        });
        assert_eq!(told["ditto"], expected, "{path}");
    }
    let mut body = crate::server::create_body("file-any");
    body["ditto"] = json!({"mode": "sloppy"});
    server.post("/v1/batches", &body).await.refuses(
        400,
        "Invalid value: 'sloppy'. Supported values are: 'strict' and 'lenient'.",
        Some("ditto.mode"),
        Some("invalid_value"),
    );
}

#[tokio::test]
async fn a_model_that_no_list_has_fails_its_batch_unless_a_list_could_not_be_read() {
    let other = ditto_sim::Sim::start(ditto_sim::SimConfig::default()).unwrap();
    let two = |address: String| {
        move |config: &mut ditto_server::Config| {
            let other = ditto_server::UpstreamConfig::new("other", address);
            config.upstreams.push(other);
        }
    };
    let unlisted = crate::server::requests(2).replace("demo-small", "nobody-has-it");
    let submit = async |server: &TestServer| {
        let form = crate::form::Form::new()
            .field("purpose", "batch")
            .file("in.jsonl", &unlisted);
        let file = server.send(form).await.ok()["id"].clone();
        server.submit(file.as_str().unwrap()).await["id"].clone()
    };

    let server = TestServer::start_with(two(other.base_url())).await;
    let id = submit(&server).await;
    let failed = server.ended(id.as_str().unwrap()).await;
    let error = |line: u32| {
        json!({
            "code": "model_not_found",
            "message": "The provided model 'nobody-has-it' is not supported by the Batch API.",
            "param": "body.model",
            "line": line,
        })
    };
    assert_eq!(failed["errors"]["data"], json!([error(1), error(2)]));

    // Nobody listens there: who knows what it serves.
    let server = TestServer::start_with(two("http://127.0.0.1:9/v1".to_owned())).await;
    let id = submit(&server).await;
    let path = format!("/v1/batches/{}", id.as_str().unwrap());
    let validated = async {
        while server.get(&path).await.ok()["status"] == "validating" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), validated)
        .await
        .unwrap();
    assert_eq!(server.get(&path).await.ok()["status"], "in_progress");
    server
        .post(&format!("{path}/cancel"), &json!({}))
        .await
        .ok();
}
