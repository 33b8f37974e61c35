use std::collections::BTreeMap;
use std::sync::Arc;

use ditto_llm::{
    BatchClient, BatchClientExt as _, BatchCreateRequest, BatchStatus, CreateOptions, OpenAI,
    OpenAIBatches, ProviderOptions, Warning,
};
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};

use crate::server::{CANARY, Reply, Server};

pub(crate) fn request() -> BatchCreateRequest {
    BatchCreateRequest {
        input_file_id: "file-1".to_string(),
        endpoint: "/v1/chat/completions".to_string(),
        completion_window: "24h".to_string(),
        metadata: None,
        provider_options: None,
    }
}

fn with_options(options: Value) -> BatchCreateRequest {
    BatchCreateRequest {
        provider_options: Some(options.into()),
        ..request()
    }
}

pub(crate) fn batch(id: &str, status: &str) -> Value {
    json!({"id": id, "object": "batch", "status": status})
}

#[tokio::test]
async fn create_sends_the_fields_that_are_set_and_nothing_else() {
    let server = Server::json(batch("batch_1", "validating")).await;

    let response = server.batches().create(request()).await.unwrap();

    assert_eq!(response.batch.id, "batch_1");
    assert_eq!(response.batch.status, BatchStatus::Validating);
    assert_eq!(response.warnings, []);
    let seen = &server.seen()[0];
    assert_eq!(seen.line(), "POST /v1/batches");
    assert_eq!(
        seen.header("authorization"),
        Some(&*format!("Bearer {CANARY}"))
    );
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(seen.header("idempotency-key"), None);
    assert_eq!(
        seen.json(),
        json!({
            "input_file_id": "file-1",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        })
    );
}

#[tokio::test]
async fn create_with_adds_expiry_and_idempotency_key() {
    let server = Server::json(batch("batch_1", "validating")).await;
    let options = CreateOptions::default()
        .output_expires_after(3600)
        .idempotency_key("job-7");
    let metadata = BTreeMap::from([("llmbatch_key".to_string(), "7f3a".to_string())]);
    let request = BatchCreateRequest {
        metadata: Some(metadata),
        ..request()
    };

    server
        .batches()
        .create_with(request, options)
        .await
        .unwrap();

    let seen = &server.seen()[0];
    assert_eq!(seen.header("idempotency-key"), Some("job-7"));
    let body = seen.json();
    assert_eq!(
        body["output_expires_after"],
        json!({"anchor": "created_at", "seconds": 3600})
    );
    assert_eq!(body["metadata"], json!({"llmbatch_key": "7f3a"}));
}

#[tokio::test]
async fn every_call_works_behind_a_dyn_client() {
    let server = Server::script([
        Reply::ok(batch("batch_1", "validating").to_string()),
        Reply::ok(batch("batch_1", "in_progress").to_string()),
        Reply::ok(batch("batch_1", "cancelling").to_string()),
        Reply::ok(
            json!({"object": "list", "data": [batch("batch_1", "cancelled")],
            "first_id": "batch_1", "last_id": "batch_1", "has_more": true})
            .to_string(),
        ),
    ])
    .await;
    let client: Arc<dyn BatchClient> = Arc::new(server.batches());

    assert_eq!(client.provider(), "openai-compatible");
    client.create(request()).await.unwrap();
    let read = client.retrieve("batch_1").await.unwrap();
    let cancelled = client.cancel("batch_1").await.unwrap();
    let list = client
        .list(Some(1), Some("batch_9".to_string()))
        .await
        .unwrap();

    assert_eq!(read.batch.status, BatchStatus::InProgress);
    assert_eq!(cancelled.batch.status, BatchStatus::Cancelling);
    assert_eq!(
        (list.after.as_deref(), list.has_more),
        (Some("batch_1"), true)
    );
    assert_eq!(
        server.lines(),
        [
            "POST /v1/batches",
            "GET /v1/batches/batch_1",
            "POST /v1/batches/batch_1/cancel",
            "GET /v1/batches?after=batch_9&limit=1",
        ]
    );
}

#[tokio::test]
async fn raw_keeps_the_fields_nobody_knows() {
    let mut answer = batch("batch_1", "queued");
    answer["progress"] = json!(0.25);
    let server = Server::json(answer.clone()).await;

    let response = server.batches().retrieve("batch_1").await.unwrap();

    assert_eq!(response.raw, answer);
    assert_eq!(
        response.batch.status,
        BatchStatus::Other("queued".to_string())
    );
}

#[tokio::test]
async fn a_batch_wrapped_by_together_is_found() {
    let answer = json!({"job": {"id": "b-1", "status": "VALIDATING", "output_file_id": "",
        "created_at": "2026-09-21T10:00:00Z", "error": "line 2 is broken"}});
    let server = Server::json(answer).await;

    let batch = server.batches().create(request()).await.unwrap().batch;

    assert_eq!(
        (batch.id.as_str(), batch.status),
        ("b-1", BatchStatus::Validating)
    );
    assert_eq!(
        (batch.output_file_id, batch.created_at),
        (None, Some(1_789_984_800))
    );
    assert_eq!(
        batch.errors.unwrap().data[0].message.as_deref(),
        Some("line 2 is broken")
    );
}

#[tokio::test]
async fn provider_options_are_merged_and_owned_keys_left_out_with_a_warning() {
    let server = Server::json(batch("batch_1", "validating")).await;
    let options = json!({
        "*": {"priority": 1, "endpoint": "/v1/evil"},
        "openai_compatible": {"priority": 2},
        "openai": {"never": true},
        "mistral": {"never": true},
    });

    let response = server
        .batches()
        .create(with_options(options))
        .await
        .unwrap();

    let body = server.seen()[0].json();
    assert_eq!(body["priority"], 2);
    assert_eq!(body["endpoint"], "/v1/chat/completions");
    assert_eq!(body.get("never"), None);
    assert_eq!(
        response.warnings,
        [
            Warning::UnknownBucket {
                key: "mistral".to_string()
            },
            Warning::OptionOwnedByField {
                key: "endpoint".to_string()
            },
        ]
    );
}

#[tokio::test]
async fn each_provider_takes_its_own_bucket() {
    let server = Server::json(batch("batch_1", "validating")).await;
    let options = json!({"openai": {"tier": "flex"}, "openai-compatible": {"tier": "mine"}});
    let openai = OpenAIBatches::new(CANARY).with_base_url(server.url());

    openai.create(with_options(options)).await.unwrap();

    assert_eq!(openai.provider(), "openai");
    assert_eq!(server.seen()[0].json()["tier"], "flex");
}

#[tokio::test]
async fn bad_provider_options_are_refused_before_anything_is_sent() {
    let server = Server::json(batch("batch_1", "validating")).await;
    let request = BatchCreateRequest {
        provider_options: Some(ProviderOptions::from(json!({"*": {}, "priority": 1}))),
        ..request()
    };

    let error = server.batches().create(request).await.unwrap_err();

    assert!(error.to_string().contains("`priority`"), "{error}");
    assert!(!error.outcome_unknown());
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn ids_are_opaque_and_stay_within_their_path_segment() {
    let server = Server::json(batch("x", "completed")).await;

    server.batches().retrieve("a/b?c#d=+%2F é").await.unwrap();

    assert_eq!(
        server.lines(),
        ["GET /v1/batches/a%2Fb%3Fc%23d=+%252F%20%C3%A9"]
    );
}

#[tokio::test]
async fn what_is_no_id_is_refused_before_it_names_another_call() {
    let server = Server::json(batch("x", "completed")).await;

    for id in ["", ".", ".."] {
        assert!(server.batches().retrieve(id).await.is_err(), "{id}");
    }

    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn list_all_goes_through_the_pages_by_the_last_id() {
    let page = |ids: [&str; 2], has_more: bool| {
        let data: Vec<_> = ids.iter().map(|id| batch(id, "completed")).collect();
        Reply::ok(json!({"object": "list", "data": data, "has_more": has_more}).to_string())
    };
    let server = Server::script([page(["b4", "b3"], true), page(["b2", "b1"], false)]).await;

    let client = server.batches();
    let all: Vec<_> = client
        .list_all()
        .map_ok(|batch| batch.id)
        .try_collect()
        .await
        .unwrap();

    assert_eq!(all, ["b4", "b3", "b2", "b1"]);
    assert_eq!(server.lines()[1], "GET /v1/batches?after=b3&limit=100");
}

#[tokio::test]
async fn a_list_that_never_goes_on_is_an_error_and_no_endless_loop() {
    let page = json!({"data": [batch("b1", "completed")], "has_more": true});
    let server = Server::json(page).await;

    let client = server.batches();
    let all: Result<Vec<_>, _> = client.list_all().try_collect().await;

    assert!(all.unwrap_err().to_string().contains("after"));
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_bare_list_is_the_only_page() {
    let server = Server::json(json!([batch("b1", "COMPLETED")])).await;

    let list = server.batches().list(None, None).await.unwrap();

    assert_eq!(
        (list.batches.len(), list.has_more, list.after),
        (1, false, None)
    );
}

#[tokio::test]
async fn files_and_batches_of_one_provider_share_their_settings() {
    let server = Server::json(batch("batch_1", "completed")).await;
    let files = OpenAI::new(CANARY)
        .with_base_url(server.url())
        .with_header("x-team", "blue");

    files.batches().retrieve("batch_1").await.unwrap();

    assert_eq!(server.seen()[0].header("x-team"), Some("blue"));
}

#[tokio::test]
async fn azure_gets_its_header_and_its_date_and_no_version_in_the_path() {
    let server = Server::json(batch("batch_1", "completed")).await;
    let azure = ditto_llm::OpenAICompatibleBatches::new("")
        .with_base_url(format!("{}/openai", server.url()))
        .with_header("api-key", CANARY)
        .with_query_param("api-version", "2025-04-01-preview");

    azure.retrieve("batch_1").await.unwrap();

    let seen = &server.seen()[0];
    assert_eq!(
        seen.line(),
        "GET /openai/batches/batch_1?api-version=2025-04-01-preview"
    );
    assert_eq!(seen.header("api-key"), Some(CANARY));
    assert_eq!(seen.header("authorization"), None);
}

#[tokio::test]
async fn a_client_of_ones_own_is_used_and_still_says_who_we_are() {
    let server = Server::json(batch("batch_1", "completed")).await;
    let mine = reqwest::Client::builder()
        .default_headers(
            [(reqwest::header::FROM, "me".parse().unwrap())]
                .into_iter()
                .collect(),
        )
        .build()
        .unwrap();

    server
        .batches()
        .with_http_client(mine)
        .retrieve("batch_1")
        .await
        .unwrap();

    let seen = &server.seen()[0];
    assert_eq!(seen.header("from"), Some("me"));
    assert!(seen.header("user-agent").unwrap().starts_with("ditto-llm/"));
}

#[tokio::test]
async fn a_doubled_version_is_told_by_the_first_call() {
    let server = Server::json(batch("batch_1", "completed")).await;
    let client = server
        .batches()
        .with_base_url(format!("{}/v1/v1", server.url()));

    let error = client.retrieve("batch_1").await.unwrap_err();

    assert!(error.to_string().contains("doubled"), "{error}");
    assert_eq!(server.seen().len(), 0);
}
