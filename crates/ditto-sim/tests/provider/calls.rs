//! Calls that go wrong.

use std::time::Duration;

use ditto_llm::{BatchClient as _, BatchClientExt as _};
use futures_util::TryStreamExt as _;
use serde_json::json;

use crate::rig::{Rig, ask, lines};

/// What a raw creation answers, and how many batches there are then.
async fn creation(fault: &str) -> (u16, usize) {
    let rig = Rig::faulty(fault);
    let file = rig.upload(&lines(2)).await;
    let seen = rig.post_batch(&file.id).await;
    (seen.status, rig.bill().batches.len())
}

#[tokio::test]
async fn a_creation_fails_before_or_behind_the_batch() {
    for (fault, status, made) in [
        ("create-dropped", 0, 1),
        ("create-masked", 502, 1),
        ("create-garbled", 200, 1),
        ("create-doubled", 200, 2),
        ("create-lost", 0, 0),
        ("create-failed", 503, 0),
        ("create-failed:429", 429, 0),
        ("create-error-200", 200, 0),
        ("create-quota", 429, 0),
    ] {
        assert_eq!(creation(fault).await, (status, made), "{fault}");
    }
}

#[tokio::test]
async fn a_dropped_creation_is_of_unknown_outcome_to_the_sdk_and_paid() {
    let rig = Rig::faulty("create-dropped");
    let file = rig.upload(&lines(2)).await;
    let error = rig.try_create(&file.id).await.unwrap_err();
    assert!(error.outcome_unknown(), "{error}");
    rig.advance_hours(1);
    assert_eq!(rig.bill().billed, 2);
    assert_eq!(rig.bill().faults["create-dropped"], 1);

    // The second creation meets nothing, and is what a blind retry costs.
    rig.try_create(&file.id).await.unwrap();
    rig.advance_hours(1);
    assert_eq!(rig.bill().billed, 4);
}

#[tokio::test]
async fn a_hung_creation_has_made_the_batch() {
    let rig = Rig::faulty("create-hung");
    let file = rig.upload(&lines(2)).await;
    let made = async {
        while rig.bill().batches.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = rig.post_batch(&file.id) => panic!("it answered"),
        made = tokio::time::timeout(Duration::from_secs(20), made) => made.unwrap(),
    }
}

#[tokio::test]
async fn an_error_in_a_200_is_an_error_to_the_sdk() {
    let rig = Rig::faulty("create-error-200,poll-error-200");
    let file = rig.upload(&lines(1)).await;
    assert!(rig.try_create(&file.id).await.is_err());
    let batch = rig.try_create(&file.id).await.unwrap();
    let seen = rig.get(&format!("/v1/batches/{}", batch.id)).await;
    assert_eq!(seen.status, 200);
    assert!(seen.json()["error"]["message"].is_string());
}

#[tokio::test]
async fn a_look_fails_once_and_the_batch_is_still_there() {
    let rig = Rig::slow();
    let batch = rig.create(&lines(1)).await;
    let path = format!("/v1/batches/{}", batch.id);
    for (fault, status) in [
        ("poll-dropped", 0),
        ("poll-failed", 502),
        ("poll-failed:500", 500),
        ("poll-missing", 404),
        ("rate-limited", 429),
        ("key-echoed", 401),
    ] {
        rig.fault(fault);
        let seen = rig.get(&path).await;
        assert_eq!(seen.status, status, "{fault}");
        assert_eq!(seen.head.contains("retry-after"), fault == "rate-limited");
        assert_eq!(seen.body.contains("sk-rig"), fault == "key-echoed");
        assert_eq!(rig.get(&path).await.status, 200, "{fault}");
    }
}

#[tokio::test]
async fn the_sdk_waits_through_a_look_that_is_dropped() {
    let rig = Rig::faulty("poll-dropped");
    let batch = rig.finish(&lines(1)).await;
    assert_eq!(batch.status.as_str(), "completed");
    assert_eq!(rig.bill().faults["poll-dropped"], 1);
}

#[tokio::test]
async fn an_outage_begins_with_the_first_batch_and_ends() {
    let rig = Rig::slow_faulty("outage:3m");
    let batch = rig.create(&lines(1)).await;
    let path = format!("/v1/batches/{}", batch.id);
    assert_eq!(rig.get(&path).await.status, 502);
    assert_eq!(rig.get("/v1/batches").await.status, 502);
    rig.sim.advance(Duration::from_secs(180));
    assert_eq!(rig.get(&path).await.status, 200);
}

fn form(length: &str, body: &str) -> String {
    format!(
        "POST /v1/files HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n\
         content-type: multipart/form-data; boundary=X\r\n{length}\r\n\r\n{body}"
    )
}

const FORM: &str = "--X\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n\
     --X\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n0123456789\r\n\
     --X--\r\n";

/// What a raw upload answers, and how many files there are then.
async fn upload(fault: &str) -> (u16, u64) {
    let rig = Rig::faulty(fault);
    let length = format!("content-length: {}", FORM.len());
    let seen = ask(&rig.sim, form(&length, FORM)).await;
    (seen.status, rig.bill().files)
}

#[tokio::test]
async fn an_upload_fails_before_or_behind_the_file() {
    for (fault, status, kept) in [
        ("", 200, 1),
        ("upload-dropped", 0, 1),
        ("upload-failed", 503, 0),
        ("upload-error-200", 200, 0),
        ("max-bytes:9", 413, 0),
        ("max-bytes:10", 200, 1),
        ("chunked-refused", 200, 1),
    ] {
        assert_eq!(upload(fault).await, (status, kept), "{fault}");
    }
}

#[tokio::test]
async fn who_sends_a_large_file_hears_that_it_is_refused() {
    let rig = Rig::faulty("key-echoed");
    // More than any socket holds.
    let large = "x".repeat(32 << 20);
    let length = format!("content-length: {}", large.len());
    assert_eq!(ask(&rig.sim, form(&length, &large)).await.status, 401);
}

#[tokio::test]
async fn an_upload_in_chunks_is_taken_or_refused() {
    let chunks = format!("{:x}\r\n{FORM}\r\n0\r\n\r\n", FORM.len());
    let request = form("transfer-encoding: chunked", &chunks);
    let plain = Rig::plain();
    assert_eq!(ask(&plain.sim, request.clone()).await.status, 200);
    let strict = Rig::faulty("chunked-refused");
    assert_eq!(ask(&strict.sim, request).await.status, 411);
    // The SDK announces its length.
    strict.upload(&lines(1)).await;
}

#[tokio::test]
async fn a_list_fails_or_is_not_there() {
    let rig = Rig::slow();
    rig.create(&lines(1)).await;
    for (fault, status, next) in [
        ("list-failed", 502, 200),
        ("list-failed:500:x2", 500, 500),
        ("list-none", 404, 404),
    ] {
        rig.fault(fault);
        assert_eq!(rig.get("/v1/batches").await.status, status, "{fault}");
        assert_eq!(rig.get("/v1/batches").await.status, next, "{fault}");
    }
}

#[tokio::test]
async fn a_new_batch_appears_late_in_lists_and_at_once_by_its_id() {
    let rig = Rig::slow_faulty("list-late:30s");
    let batch = rig.create(&lines(1)).await;
    assert_eq!(rig.look(&batch.id).await.id, batch.id);
    let listed = async || {
        rig.get("/v1/batches").await.json()["data"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(listed().await, 0);
    rig.sim.advance(Duration::from_secs(30));
    assert_eq!(listed().await, 1);
}

#[tokio::test]
async fn lists_have_other_shapes_and_orders() {
    let rig = Rig::slow();
    let file = rig.upload(&lines(1)).await;
    for _ in 0..3 {
        rig.try_create(&file.id).await.unwrap();
    }
    let batches = rig.files.batches();

    rig.fault("list-bare");
    assert!(rig.get("/v1/batches").await.json().is_array());
    assert_eq!(batches.list(Some(2), None).await.unwrap().batches.len(), 2);

    rig.fault("list-oldest-first");
    let page = batches.list(Some(1), None).await.unwrap();
    assert_eq!(page.batches[0].id, "batch_sim_000001");

    rig.fault("list-paged:cursor");
    let page = rig.get("/v1/batches?cursor=batch_sim_000003").await.json();
    assert_eq!(page["data"][0]["id"], "batch_sim_000002");
    assert_eq!(page["paging"]["next_cursor"], "batch_sim_000002");
    rig.fault("list-paged:offset");
    let page = rig.get("/api/paas/v4/batches?after=2").await.json();
    assert_eq!(page["data"][0]["id"], "batch_sim_000001");
    assert_eq!(page["has_more"], false);

    rig.fault("list-loops");
    let path = "/v1/batches?limit=1&after=batch_sim_000003";
    let page = rig.get(path).await.json();
    assert_eq!(page["data"][0]["id"], "batch_sim_000003");
    assert_eq!(page["has_more"], true);
    let all: Result<Vec<_>, _> = batches.list_all().try_collect().await;
    assert!(all.is_err(), "a list without an end is an error to the SDK");
}

#[tokio::test]
async fn answers_lie_in_other_objects_and_the_sdk_finds_them() {
    let rig = Rig::slow_faulty("upload-wrapped,create-wrapped");
    let file = rig.upload(&lines(1)).await;
    let batch = rig.try_create(&file.id).await.unwrap();
    assert_eq!(batch.id, "batch_sim_000001");
    let order = json!({"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"});
    let told = rig.post("/v1/batches", &order.to_string()).await.json();
    assert_eq!(told["job"]["id"], "batch_sim_000002");
}

#[tokio::test]
async fn faults_come_by_their_share_of_the_seed() {
    let rig = Rig::slow();
    let batch = rig.create(&lines(1)).await;
    rig.fault("poll-failed:0.3");
    let path = format!("/v1/batches/{}", batch.id);
    let mut failed = 0;
    for _ in 0..200 {
        failed += usize::from(rig.get(&path).await.status == 502);
    }
    assert!((40..=80).contains(&failed), "{failed} of 200");
    assert_eq!(rig.bill().faults["poll-failed"], failed as u64);
}
