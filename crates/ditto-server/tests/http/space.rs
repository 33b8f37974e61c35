//! No room for what is new: the two refusals, and what goes on all the same.

use ditto_server::model::space::Floor;
use reqwest::Method;
use serde_json::json;

use crate::form::Form;
use crate::server::{TestServer, answer, create_body, requests};

/// More than any disk has.
const NO_DISK: Floor = Floor {
    percent: None,
    bytes: Some(u64::MAX),
};

#[tokio::test]
async fn a_server_short_of_space_refuses_what_is_new_and_stays_ready() {
    let server = TestServer::start_with(|config| config.space = NO_DISK).await;
    let form = Form::new()
        .field("purpose", "batch")
        .file("in.jsonl", &requests(1));
    let upload = server.send(form).await;
    let create = server.post("/v1/batches", &create_body("file-any")).await;
    for refused in [upload, create] {
        assert_eq!(refused.status, 503);
        assert_eq!(refused.headers["retry-after"], "60");
        assert_eq!(refused.headers["x-should-retry"], "false");
        let error = &refused.json()["error"];
        assert_eq!(error["type"], "server_error");
        assert_eq!(error["code"], "insufficient_storage");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("short of disk space"), "{message}");
    }
    let ready = server.get("/readyz").await.ok();
    assert_eq!(ready["status"], "ready");
    assert!(ready["refusing"].as_str().unwrap().contains("disk space"));
    assert_eq!(server.get("/v1/files").await.ok()["data"], json!([]));
}

#[tokio::test]
async fn a_tenant_with_all_it_may_have_is_told_what_to_do() {
    let bytes = requests(3).len() as u64;
    let server =
        TestServer::start_with(|config| config.tenants.everyone.stored_bytes = Some(bytes)).await;
    let file = server.upload(3).await;
    let form = || {
        Form::new()
            .field("purpose", "batch")
            .file("in.jsonl", &requests(1))
    };
    let upload = server.send(form()).await;
    let create = server.post("/v1/batches", &create_body(&file)).await;
    for refused in [upload, create] {
        assert_eq!(refused.status, 429);
        assert_eq!(refused.headers["retry-after"], "60");
        assert_eq!(refused.headers["x-should-retry"], "false");
        let error = &refused.json()["error"];
        assert_eq!(error["type"], "insufficient_quota");
        assert_eq!(error["code"], "storage_limit_exceeded");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("Delete files"), "{message}");
    }
    let deleted = answer(server.ask(Method::DELETE, &format!("/v1/files/{file}"))).await;
    deleted.ok();
    server.send(form()).await.ok();
}
