//! `/v1/uploads`: a file that comes in parts.

use std::path::PathBuf;
use std::time::Duration;

use ditto_server::{Config, TenantKey};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::form::Form;
use crate::server::{
    Answer, TestServer, answer, create_body, files_below, requests, scrubbed, until,
};

const NOT_JSONL: &str = "Invalid file format for Batch API. Must be .jsonl";

fn description(bytes: usize) -> Value {
    json!({
        "filename": "big.jsonl", "purpose": "batch", "bytes": bytes, "mime_type": "text/jsonl",
    })
}

fn id(object: &Value) -> String {
    object["id"].as_str().unwrap().to_owned()
}

/// An upload of so many bytes; its path.
async fn begin(server: &TestServer, bytes: usize) -> String {
    let upload = server.post("/v1/uploads", &description(bytes)).await.ok();
    format!("/v1/uploads/{}", id(&upload))
}

async fn send(server: &TestServer, path: &str, form: Form, key: Option<&str>) -> Answer {
    let (content_type, body) = form.encode();
    let mut request = server
        .ask(Method::POST, &format!("{path}/parts"))
        .header("content-type", content_type);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    answer(request.body(body)).await
}

fn data(content: &str) -> Form {
    Form::new().part("form-data; name=\"data\"; filename=\"upload\"", content)
}

/// Adds a part; its id.
async fn add(server: &TestServer, path: &str, content: &str) -> String {
    id(&send(server, path, data(content), None).await.ok())
}

async fn complete(server: &TestServer, path: &str, parts: &[&str]) -> Answer {
    let body = json!({ "part_ids": parts });
    server.post(&format!("{path}/complete"), &body).await
}

async fn cancel(server: &TestServer, path: &str) -> Answer {
    answer(server.ask(Method::POST, &format!("{path}/cancel"))).await
}

async fn content(server: &TestServer, upload: &Value) -> Vec<u8> {
    let path = format!("/v1/files/{}/content", id(&upload["file"]));
    server.get(&path).await.body
}

fn blobs(server: &TestServer) -> Vec<PathBuf> {
    files_below(&server.data().join("blobs"), "/uploads/")
}

/// Cut in three, once in the middle of a line.
fn thirds(content: &str) -> [&str; 3] {
    let (first, rest) = content.split_at(content.len() / 3);
    let (second, third) = rest.split_at(rest.len() / 2);
    [first, second, third]
}

#[tokio::test]
async fn an_upload_its_parts_and_its_file_are_as_openai_spells_them() {
    let server = TestServer::start().await;
    let whole = requests(2);
    let pending = server
        .post("/v1/uploads", &description(whole.len()))
        .await
        .ok();
    let lifetime =
        pending["expires_at"].as_i64().unwrap() - pending["created_at"].as_i64().unwrap();
    assert_eq!(lifetime, 3600);
    let mut expected = json!({
        "id": "upload_ID", "object": "upload", "bytes": whole.len(), "created_at": "TIME",
        "filename": "big.jsonl", "purpose": "batch", "status": "pending", "expires_at": "TIME",
        "file": null,
    });
    assert_eq!(scrubbed(pending.clone()), expected);

    let path = format!("/v1/uploads/{}", id(&pending));
    let part = send(&server, &path, data(&whole), None).await.ok();
    assert_eq!(
        scrubbed(part.clone()),
        json!({
            "id": "part_ID", "object": "upload.part", "created_at": "TIME", "upload_id": "upload_ID",
        })
    );
    let completed = complete(&server, &path, &[&id(&part)]).await.ok();
    expected["status"] = json!("completed");
    expected["file"] = json!({
        "id": "file-ID", "object": "file", "bytes": whole.len(), "created_at": "TIME",
        "expires_at": "TIME", "filename": "big.jsonl", "purpose": "batch", "status": "processed",
        "status_details": null,
    });
    assert_eq!(scrubbed(completed.clone()), expected);
    let file = &completed["file"];
    let lifetime = file["expires_at"].as_i64().unwrap() - file["created_at"].as_i64().unwrap();
    assert_eq!(lifetime, 30 * 24 * 3600);
    assert_eq!(content(&server, &completed).await, whole.as_bytes());
    server.stop().await;
}

#[tokio::test]
async fn parts_arrive_in_any_order_and_stand_in_that_of_the_client() {
    let server = TestServer::start().await;
    let whole = requests(100);
    let path = begin(&server, whole.len()).await;
    let mut ids = Vec::new();
    for part in thirds(&whole).iter().rev() {
        ids.push(add(&server, &path, part).await);
    }
    let before = blobs(&server);
    let order = [&ids[2], &ids[1], &ids[0]].map(String::as_str);
    let completed = complete(&server, &path, &order).await.ok();
    assert_eq!(content(&server, &completed).await, whole.as_bytes());
    assert_eq!(blobs(&server), before, "no bytes were moved");

    // A range that begins in one part and ends in the last.
    let [first, second, _] = thirds(&whole).map(str::len);
    let range = format!("bytes={}-{}", first - 5, first + second + 5);
    let request = server
        .ask(
            Method::GET,
            &format!("/v1/files/{}/content", id(&completed["file"])),
        )
        .header("range", range);
    let part = answer(request).await;
    assert_eq!(part.status, 206);
    assert_eq!(part.body, &whole.as_bytes()[first - 5..=first + second + 5]);
}

#[tokio::test]
async fn a_batch_reads_a_file_of_parts_line_by_line() {
    let server = TestServer::start().await;
    let whole = requests(100);
    let path = begin(&server, whole.len()).await;
    let adds = thirds(&whole).map(|part| add(&server, &path, part));
    let ids = join_all(adds).await;
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let file = complete(&server, &path, &ids).await.ok()["file"].clone();
    let batch = server.submit(&id(&file)).await;
    let ended = server.ended(&id(&batch)).await;
    assert_eq!(ended["status"], "completed", "{ended}");
    assert_eq!(
        ended["request_counts"],
        json!({ "total": 100, "completed": 100, "failed": 0 })
    );
}

#[tokio::test]
async fn what_is_wrong_with_an_upload_is_named() {
    let server = TestServer::start_with(|config| config.limits.file_bytes = 1000).await;
    let refused = async |change: &dyn Fn(&mut Value), message: &str, param, code| {
        let mut body = description(10);
        change(&mut body);
        let refused = server.post("/v1/uploads", &body).await;
        refused.refuses(400, message, param, code);
    };
    for name in ["filename", "purpose", "bytes", "mime_type"] {
        let remove = |body: &mut Value| drop(body.as_object_mut().unwrap().remove(name));
        let message = format!("Missing required parameter: '{name}'.");
        refused(
            &remove,
            &message,
            Some(name),
            Some("missing_required_parameter"),
        )
        .await;
    }
    let set = |name: &'static str, value: Value| move |body: &mut Value| body[name] = value.clone();
    refused(
        &set("bytes", json!(1001)),
        "Invalid 'bytes': integer above maximum value. Expected a value <= 1000, but got 1001 instead.",
        Some("bytes"),
        Some("integer_above_max_value"),
    )
    .await;
    refused(
        &set("bytes", json!(0)),
        "Invalid 'bytes': integer below minimum value. Expected a value >= 1, but got 0 instead.",
        Some("bytes"),
        Some("integer_below_min_value"),
    )
    .await;
    refused(
        &set("bytes", json!("10")),
        "Invalid type for 'bytes': expected an integer, but got a string instead.",
        Some("bytes"),
        Some("invalid_type"),
    )
    .await;
    refused(
        &set("purpose", json!("lunch")),
        "Invalid value: 'lunch'. Supported values are: 'assistants', 'batch', 'fine-tune', 'vision', \
         'user_data', and 'evals'.",
        Some("purpose"),
        Some("invalid_value"),
    )
    .await;
    refused(
        &set("expires_after", json!({ "anchor": "created_at", "seconds": 60 })),
        "Invalid 'expires_after.seconds': integer below minimum value. Expected a value >= 3600, but got \
         60 instead.",
        Some("expires_after.seconds"),
        Some("integer_below_min_value"),
    )
    .await;
    refused(&set("filename", json!("big.json")), NOT_JSONL, None, None).await;
    let long = "x".repeat(256);
    refused(
        &set("filename", json!(long)),
        "The filename is longer than 255 bytes.",
        Some("filename"),
        Some("invalid_value"),
    )
    .await;
}

#[tokio::test]
async fn an_upload_or_a_part_that_is_not_there_is_named() {
    let server = TestServer::start().await;
    let message = "No such Upload object: upload_nope";
    let path = "/v1/uploads/upload_nope";
    for refused in [
        send(&server, path, data("x"), None).await,
        complete(&server, path, &["part_1"]).await,
        cancel(&server, path).await,
    ] {
        refused.refuses(404, message, Some("id"), None);
    }
    let path = begin(&server, 10).await;
    let upload = path.rsplit('/').next().unwrap();
    let message = format!("The upload '{upload}' has no part 'part_nope'.");
    let refused = complete(&server, &path, &["part_nope"]).await;
    refused.refuses(400, &message, Some("part_ids"), Some("invalid_value"));
}

#[tokio::test]
async fn a_part_has_bytes_up_to_64_mib_under_one_name() {
    let server = TestServer::start().await;
    let path = begin(&server, 10).await;
    let empty = send(&server, &path, data(""), None).await;
    empty.refuses(400, "The part 'data' is empty.", Some("data"), None);
    let none = Form::new().field("other", "x");
    send(&server, &path, none, None).await.refuses(
        400,
        "Missing required parameter: 'data'.",
        Some("data"),
        Some("missing_required_parameter"),
    );
    let twice = data("x").part("form-data; name=\"data\"", "y");
    let message = "The form has more than one part 'data'.";
    let twice = send(&server, &path, twice, None).await;
    twice.refuses(400, message, Some("data"), None);
    let most = 64 << 20;
    let message = format!("The part is larger than the limit of {most} bytes.");
    let over = send(&server, &path, data(&"x".repeat(most + 1)), None).await;
    over.refuses(413, &message, Some("data"), Some("file_too_large"));
    let gone = async || blobs(&server).is_empty().then_some(());
    until("the bytes of what is refused go", gone).await;
    send(&server, &path, data(&"x".repeat(most)), None)
        .await
        .ok();
}

#[tokio::test]
async fn parts_that_do_not_make_up_the_file_are_refused_and_can_be_mended() {
    let server = TestServer::start().await;
    let whole = requests(4);
    let path = begin(&server, whole.len()).await;
    let [a, b, c] = thirds(&whole);
    let (a, b, c) = (
        add(&server, &path, a).await,
        add(&server, &path, b).await,
        add(&server, &path, c).await,
    );
    let refused = async |parts: &[&str], message: &str, code| {
        let refused = complete(&server, &path, parts).await;
        refused.refuses(400, message, Some("part_ids"), code);
    };
    let invalid = Some("invalid_value");
    let short = thirds(&whole)[..2].concat().len();
    let message = format!(
        "These parts have {short} bytes together, and the upload was created for {}.",
        whole.len()
    );
    refused(&[&a, &b], &message, invalid).await;
    let message = format!("The part '{a}' is named more than once.");
    refused(&[&a, &b, &a], &message, invalid).await;
    refused(
        &[],
        "Invalid 'part_ids': empty array. Expected an array with minimum length 1, but got an empty \
         array instead.",
        Some("empty_array"),
    )
    .await;
    // The first line is none any more.
    let message = format!("{NOT_JSONL}: the first line is not valid JSON");
    let refused = complete(&server, &path, &[&b, &a, &c]).await;
    refused.refuses(400, &message, None, None);
    assert_eq!(server.count_files().await, 0);
    complete(&server, &path, &[&a, &b, &c]).await.ok();
}

#[tokio::test]
async fn an_md5_is_held_against_the_whole_file() {
    let server = TestServer::start().await;
    let whole = "{}\n{}\n";
    let path = begin(&server, whole.len()).await;
    let (a, b) = (
        add(&server, &path, "{}\n{").await,
        add(&server, &path, "}\n").await,
    );
    let with = async |md5: &str| {
        let body = json!({ "part_ids": [a, b], "md5": md5 });
        server.post(&format!("{path}/complete"), &body).await
    };
    let wrong = with("0cc175b9c0f1b6a831c399e269772661").await;
    wrong.refuses(
        400,
        "The md5 of these parts in this order is cee4c523a79b07b56baf8c075ec77da5, and not \
         0cc175b9c0f1b6a831c399e269772661. Nothing was changed: the upload can be completed with the \
         right parts.",
        Some("md5"),
        Some("checksum_mismatch"),
    );
    for none in [
        "",
        "0cc175b9",
        "+cc175b9c0f1b6a831c399e269772661",
        "no digits",
    ] {
        let message = "Invalid 'md5': expected 32 hexadecimal digits.";
        with(none)
            .await
            .refuses(400, message, Some("md5"), Some("invalid_value"));
    }
    assert_eq!(server.count_files().await, 0);
    let completed = with("CEE4C523A79B07B56BAF8C075EC77DA5").await.ok();
    assert_eq!(content(&server, &completed).await, whole.as_bytes());
    // Again it is the same, and refused where it would have been.
    let again = with("cee4c523a79b07b56baf8c075ec77da5").await.ok();
    assert_eq!(again, completed);
    with("0cc175b9c0f1b6a831c399e269772661").await.refuses(
        400,
        "The md5 of these parts in this order is cee4c523a79b07b56baf8c075ec77da5, and not \
         0cc175b9c0f1b6a831c399e269772661. Nothing was changed: the upload is completed, with the file that \
         they have made.",
        Some("md5"),
        Some("checksum_mismatch"),
    );
    // Of a file that is gone nothing can be read.
    let file = format!("/v1/files/{}", id(&completed["file"]));
    server.delete(&file).await.ok();
    let gone = with("cee4c523a79b07b56baf8c075ec77da5").await.ok();
    assert_eq!(gone["file"], json!(null));
}

#[tokio::test]
async fn an_upload_that_has_ended_takes_nothing_more() {
    let server = TestServer::start().await;
    let path = begin(&server, 3).await;
    let part = add(&server, &path, "{}\n").await;
    let other = add(&server, &path, "[]\n").await;
    let completed = complete(&server, &path, &[&part]).await.ok();
    // The same again is the same; a client that did not hear the answer asks once more.
    assert_eq!(complete(&server, &path, &[&part]).await.ok(), completed);
    let refused = |answer: Answer, verb: &str, status: &str| {
        let message = format!("Cannot {verb} an upload with status '{status}'.");
        answer.refuses(400, &message, None, None);
    };
    refused(
        complete(&server, &path, &[&other]).await,
        "complete",
        "completed",
    );
    let late = send(&server, &path, data("x"), None).await;
    refused(late, "add a part to", "completed");
    refused(cancel(&server, &path).await, "cancel", "completed");

    let path = begin(&server, 3).await;
    let part = add(&server, &path, "{}\n").await;
    let cancelled = cancel(&server, &path).await.ok();
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(cancelled["file"], json!(null));
    assert_eq!(cancel(&server, &path).await.ok(), cancelled);
    refused(
        complete(&server, &path, &[&part]).await,
        "complete",
        "cancelled",
    );
    let late = send(&server, &path, data("x"), None).await;
    refused(late, "add a part to", "cancelled");
}

#[tokio::test]
async fn an_upload_whose_time_is_over_has_expired() {
    let server =
        TestServer::start_with(|config| config.limits.upload_lifetime = Duration::ZERO).await;
    let path = begin(&server, 3).await;
    let message = "Cannot add a part to an upload with status 'expired'.";
    let late = send(&server, &path, data("x"), None).await;
    late.refuses(400, message, None, None);
}

#[tokio::test]
async fn a_completed_upload_outlives_its_file() {
    let server = TestServer::start().await;
    let path = begin(&server, 3).await;
    let part = add(&server, &path, "{}\n").await;
    let completed = complete(&server, &path, &[&part]).await.ok();
    let file = format!("/v1/files/{}", id(&completed["file"]));
    server.delete(&file).await.ok();
    let again = complete(&server, &path, &[&part]).await.ok();
    assert_eq!(again["status"], "completed");
    assert_eq!(again["file"], json!(null));
}

#[tokio::test]
async fn many_parts_at_once_are_a_file() {
    let server = TestServer::start().await;
    let whole = requests(300);
    let path = begin(&server, whole.len()).await;
    let parts: Vec<&str> = whole.split_inclusive('}').collect();
    let mut ids = Vec::new();
    for some in parts.chunks(20) {
        ids.extend(join_all(some.iter().map(|part| add(&server, &path, part))).await);
    }
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let completed = complete(&server, &path, &ids).await.ok();
    assert_eq!(content(&server, &completed).await, whole.as_bytes());
}

#[tokio::test]
async fn completions_at_once_make_one_file_which_is_whole() {
    let server = TestServer::start().await;
    let path = begin(&server, 6).await;
    let (a, b) = (
        add(&server, &path, "{}\n").await,
        add(&server, &path, "[]\n").await,
    );
    let orders = [[a.as_str(), b.as_str()], [b.as_str(), a.as_str()]];
    let asked = (0..10).map(|n| {
        let (server, path) = (&server, &path);
        async move { (n % 2, complete(server, path, &orders[n % 2]).await) }
    });
    let answers = join_all(asked).await;
    let done: Vec<_> = answers.iter().filter(|(_, a)| a.status == 200).collect();
    let winner = done[0].0;
    assert!(done.iter().all(|(order, _)| *order == winner));
    assert_eq!(done.len(), 5, "the others hear that it is completed");
    let expected = ["{}\n[]\n", "[]\n{}\n"][winner];
    assert_eq!(content(&server, &done[0].1.ok()).await, expected.as_bytes());
    assert_eq!(server.count_files().await, 1);
    let maps = files_below(&server.data().join("blobs"), "/map");
    assert_eq!(maps.len(), 1);
}

fn with_two_tenants(config: &mut Config) {
    config.keys.extend(["a", "b"].map(|tenant| TenantKey {
        tenant: tenant.to_owned(),
        key: format!("sk-{tenant}-1").into(),
    }));
}

#[tokio::test]
async fn an_upload_is_its_tenants_own() {
    let server = TestServer::start_with(with_two_tenants).await;
    let post = async |tenant: &str, path: &str, body: &Value| {
        let request = server
            .ask(Method::POST, path)
            .bearer_auth(format!("sk-{tenant}-1"))
            .header("content-type", "application/json");
        answer(request.body(body.to_string())).await
    };
    let upload = post("a", "/v1/uploads", &description(3)).await.ok();
    let message = format!("No such Upload object: {}", id(&upload));
    let path = format!("/v1/uploads/{}", id(&upload));
    for call in ["complete", "cancel"] {
        let refused = post(
            "b",
            &format!("{path}/{call}"),
            &json!({ "part_ids": ["part_1"] }),
        )
        .await;
        refused.refuses(404, &message, Some("id"), None);
    }
    let (content_type, body) = data("x").encode();
    let part = server
        .ask(Method::POST, &format!("{path}/parts"))
        .bearer_auth("sk-b-1")
        .header("content-type", content_type);
    let refused = answer(part.body(body)).await;
    refused.refuses(404, &message, Some("id"), None);
}

#[tokio::test]
async fn what_a_tenant_may_have_is_held_against_declared_bytes_and_parts() {
    let server =
        TestServer::start_with(|config| config.tenants.everyone.stored_bytes = Some(100)).await;
    let over = server.post("/v1/uploads", &description(101)).await;
    assert_eq!(over.status, 429);
    assert_eq!(over.json()["error"]["code"], "storage_limit_exceeded");
    let path = begin(&server, 100).await;
    let part = "x".repeat(60);
    add(&server, &path, &part).await;
    let over = send(&server, &path, data(&part), None).await;
    assert_eq!(over.status, 429);
    // They go when the answer may have gone out.
    let gone = async || (blobs(&server).len() == 1).then_some(());
    until("the bytes of what is refused go", gone).await;
    cancel(&server, &path).await.ok();
    let path = begin(&server, 100).await;
    add(&server, &path, &part).await;
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_no_part() {
    let server = TestServer::start().await;
    let path = begin(&server, 100_000).await;
    let (content_type, body) = data(&requests(500)).unfinished();
    let mut client = TcpStream::connect(server.address()).await.unwrap();
    let head = format!(
        "POST {path}/parts HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\n\
         content-length: {}\r\n\r\n",
        body.len() + 1000,
    );
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&body).await.unwrap();
    until("its bytes are coming in", async || {
        (!blobs(&server).is_empty()).then_some(())
    })
    .await;
    client.shutdown().await.unwrap();
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest).await;
    let folder = server.stop().await;
    assert_eq!(
        files_below(folder.path(), "/blobs/uploads/"),
        [] as [PathBuf; 0]
    );
}

async fn keyed(server: &TestServer, path: &str, key: &str, body: &Value) -> Answer {
    let request = server
        .ask(Method::POST, path)
        .header("content-type", "application/json")
        .header("idempotency-key", key);
    answer(request.body(body.to_string())).await
}

#[tokio::test]
async fn the_same_key_is_the_same_upload_part_and_completion_as_they_are_now() {
    let server = TestServer::start().await;
    let reused = |answer: Answer, did: &str, noun: &str| {
        let message = format!(
            "This Idempotency-Key belongs to a request with another body, which {did}. Use a new key for \
             a new {noun}."
        );
        answer.refuses(409, &message, None, Some("idempotency_key_reused"));
    };
    let mut body = description(3);
    let upload = keyed(&server, "/v1/uploads", "k", &body).await.ok();
    assert_eq!(keyed(&server, "/v1/uploads", "k", &body).await.ok(), upload);
    body["idempotency_key"] = json!("k");
    assert_eq!(server.post("/v1/uploads", &body).await.ok(), upload);
    let other = keyed(&server, "/v1/uploads", "k", &description(4)).await;
    reused(
        other,
        &format!("made the upload '{}'", id(&upload)),
        "upload",
    );

    let path = format!("/v1/uploads/{}", id(&upload));
    let part = send(&server, &path, data("{}\n"), Some("k")).await.ok();
    assert_eq!(
        send(&server, &path, data("{}\n"), Some("k")).await.ok(),
        part
    );
    let in_form = Form::new().field("idempotency_key", "k");
    let in_form = in_form.part("form-data; name=\"data\"; filename=\"upload\"", "{}\n");
    assert_eq!(send(&server, &path, in_form, None).await.ok(), part);
    assert_eq!(blobs(&server).len(), 1);
    let other = send(&server, &path, data("[]\n"), Some("k")).await;
    reused(other, &format!("made the part '{}'", id(&part)), "part");

    let (complete, cancel) = (format!("{path}/complete"), format!("{path}/cancel"));
    let parts = json!({ "part_ids": [id(&part)] });
    let completed = keyed(&server, &complete, "k", &parts).await.ok();
    assert_eq!(keyed(&server, &complete, "k", &parts).await.ok(), completed);
    let other = json!({ "part_ids": [id(&part), "part_2"] });
    let other = keyed(&server, &complete, "k", &other).await;
    reused(
        other,
        &format!("completed the upload '{}'", id(&upload)),
        "completion",
    );
    let created = keyed(&server, "/v1/uploads", "k", &description(3)).await;
    assert_eq!(created.ok(), completed);

    let path = begin(&server, 3).await;
    let elsewhere = keyed(&server, &format!("{path}/complete"), "k", &parts).await;
    reused(
        elsewhere,
        &format!("completed the upload '{}'", id(&upload)),
        "completion",
    );
    let cancelled = keyed(&server, &format!("{path}/cancel"), "k", &json!({}))
        .await
        .ok();
    let again = keyed(&server, &format!("{path}/cancel"), "k", &json!({})).await;
    assert_eq!(again.ok(), cancelled);
    let elsewhere = keyed(&server, &cancel, "k", &json!({})).await;
    reused(
        elsewhere,
        &format!("cancelled the upload '{}'", id(&cancelled)),
        "cancel",
    );
}

#[tokio::test]
async fn two_keys_for_one_request_are_refused() {
    let server = TestServer::start().await;
    let path = begin(&server, 3).await;
    let differing = |mut body: Value| {
        body["idempotency_key"] = json!("other");
        body
    };
    for (path, body) in [
        ("/v1/uploads".to_owned(), description(3)),
        (
            format!("{path}/complete"),
            json!({ "part_ids": ["part_1"] }),
        ),
        (format!("{path}/cancel"), json!({})),
    ] {
        keyed(&server, &path, "k", &differing(body)).await.refuses(
            400,
            "The 'Idempotency-Key' header and 'idempotency_key' in the body differ: send one of them, or \
             the same twice.",
            Some("idempotency_key"),
            Some("invalid_value"),
        );
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_is_refused() {
    let server = TestServer::start().await;
    let path = begin(&server, 3).await;
    for call in [
        "/v1/uploads",
        &format!("{path}/complete"),
        &format!("{path}/cancel"),
    ] {
        let request = server
            .ask(Method::POST, call)
            .header("content-type", "text/plain");
        let refused = answer(request.body(create_body("file").to_string())).await;
        assert_eq!(refused.status, 415, "{call}");
        assert_eq!(refused.json()["error"]["code"], "unsupported_content_type");
    }
}
