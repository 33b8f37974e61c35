//! `/v1/batches`

use ditto_server::Window;
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
    let server = TestServer::start_with(|config| config.window = Some(Window::Expire)).await;
    let batch = server.submit("file-any").await;
    let created = batch["created_at"].as_i64().unwrap();
    assert_eq!(batch["expires_at"], created + 24 * 3600);
    let server = TestServer::start_with(|config| config.window = Some(Window::KeepGoing)).await;
    assert!(server.submit("file-any").await["expires_at"].is_null());
}
