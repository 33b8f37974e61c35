//! Batches that are told otherwise than they are.

use std::time::Duration;

use serde_json::{Value, json};

use crate::rig::{Rig, line, lines};

/// A batch of two good lines and one bad one, finished, as it is told on the wire.
async fn told(fault: &str) -> Value {
    let rig = Rig::slow_faulty(fault);
    let batch = rig.create(&(lines(2) + &line("bad", "sim: 400"))).await;
    rig.advance_hours(12);
    rig.get(&format!("/v1/batches/{}", batch.id)).await.json()
}

#[tokio::test]
async fn a_status_is_told_in_other_words() {
    let rig = Rig::slow_faulty("status-unknown");
    let batch = rig.create(&lines(1)).await;
    rig.advance_hours(1);
    let batch = rig.look(&batch.id).await;
    assert_eq!(batch.status.as_str(), "warming_up");
    assert!(!batch.status.is_terminal());

    assert_eq!(told("end-unknown").await["status"], "done");
    assert_eq!(told("end-unknown:COMPLETE").await["status"], "COMPLETE");
    assert_eq!(told("status-upper").await["status"], "COMPLETED");
    let rig = Rig::faulty("status-upper");
    assert!(rig.finish(&lines(1)).await.status.is_terminal());
}

#[tokio::test]
async fn times_are_texts_that_the_sdk_reads() {
    let time = told("times-iso").await["completed_at"].clone();
    assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
    let rig = Rig::faulty("times-iso");
    let batch = rig.finish(&lines(1)).await;
    assert!(batch.created_at.unwrap() > 1_700_000_000);
}

#[tokio::test]
async fn counts_lie_or_are_not_there() {
    let counts = async |fault| told(fault).await["request_counts"].clone();
    let of = |total, completed, failed| json!({"total": total, "completed": completed, "failed": failed});
    assert_eq!(counts("").await, of(3, 2, 1));
    assert_eq!(counts("counts-rosy").await, of(3, 3, 0));
    assert_eq!(counts("counts-zero").await, of(0, 0, 0));
    assert_eq!(counts("counts-none").await, Value::Null);
}

#[tokio::test]
async fn file_ids_come_late_after_the_end() {
    let rig = Rig::slow_faulty("ids-late:45s");
    let batch = rig.create(&lines(1)).await;
    rig.advance_hours(12);
    let early = rig.look(&batch.id).await;
    assert_eq!(
        (early.status.as_str(), early.output_file_id),
        ("completed", None)
    );
    rig.sim.advance(Duration::from_secs(45));
    assert!(rig.look(&batch.id).await.output_file_id.is_some());
}

#[tokio::test]
async fn file_ids_are_empty_texts_or_null_for_ever() {
    let rig = Rig::slow_faulty("ids-empty");
    let batch = rig.create(&lines(1)).await;
    rig.advance_hours(12);
    let raw = rig.get(&format!("/v1/batches/{}", batch.id)).await.json();
    assert_eq!(raw["error_file_id"], "");
    assert_eq!(rig.look(&batch.id).await.error_file_id, None);

    assert_eq!(told("output-null").await["output_file_id"], Value::Null);
    assert!(told("output-null").await["error_file_id"].is_string());
}

#[tokio::test]
async fn an_output_file_that_is_gone_was_billed() {
    let rig = Rig::faulty("output-gone");
    let batch = rig.finish(&lines(2)).await;
    let id = batch.output_file_id.unwrap();
    let seen = rig.get(&format!("/v1/files/{id}/content")).await;
    assert_eq!(seen.status, 404);
    assert_eq!(rig.bill().billed, 2);
}

#[tokio::test]
async fn an_error_file_has_no_line() {
    let rig = Rig::faulty("error-file-empty");
    let batch = rig.finish(&lines(2)).await;
    assert_eq!(rig.text(&batch.error_file_id.unwrap()).await, "");
}

#[tokio::test]
async fn usage_is_doubled_or_not_told_and_the_bill_is_right() {
    let usage = async |fault| told(fault).await["usage"]["total_tokens"].as_u64();
    let right = usage("").await.unwrap();
    assert_eq!(usage("usage-doubled").await, Some(2 * right));
    assert_eq!(usage("usage-none").await, None);

    let rig = Rig::faulty("usage-doubled");
    let batch = rig.finish(&lines(2)).await;
    let bill = rig.bill();
    let billed = bill.prompt_tokens + bill.completion_tokens;
    assert_eq!(batch.usage.unwrap().total_tokens, 2 * billed);
}

#[tokio::test]
async fn metadata_is_kept_from_the_client_and_known_to_the_bill() {
    assert_eq!(told("").await["metadata"]["shard"], "7");
    assert_eq!(told("metadata-none").await["metadata"], Value::Null);
    let rig = Rig::faulty("metadata-none");
    rig.finish(&lines(2)).await;
    assert_eq!(rig.bill().by_metadata("shard")["7"].billed, 2);
}
