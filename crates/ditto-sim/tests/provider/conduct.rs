//! What a provider does that behaves well.

use ditto_llm::{BatchClient as _, BatchClientExt as _, FileClient as _, FileUpload};
use futures_util::TryStreamExt as _;

use crate::rig::{Rig, get, ids, line, lines};

#[tokio::test]
async fn a_batch_is_answered_and_billed_line_by_line() {
    let rig = Rig::plain();
    let batch = rig.finish(&lines(5)).await;

    assert_eq!(batch.status.as_str(), "completed");
    assert_eq!(batch.error_file_id, None);
    let rows = rig.output(&batch).await;
    assert_eq!(ids(&rows), ["r0", "r1", "r2", "r3", "r4"]);
    assert_eq!(rows[0]["response"]["status_code"], 200);
    assert_eq!(rows[0]["response"]["body"]["object"], "chat.completion");

    let bill = rig.bill();
    assert_eq!((bill.lines_run, bill.billed), (5, 5));
    assert_eq!((bill.billed_distinct, bill.billed_more_than_once), (5, 0));
    let shard = bill.by_metadata("shard")["7"];
    assert_eq!((shard.batches, shard.billed), (1, 5));
    assert_eq!(bill.calls["create"], 1);
}

#[tokio::test]
async fn the_same_lines_in_a_second_batch_are_paid_twice() {
    let rig = Rig::plain();
    rig.finish(&lines(3)).await;
    rig.finish(&lines(4)).await;

    let bill = rig.bill();
    assert_eq!((bill.billed, bill.billed_distinct), (7, 4));
    assert_eq!(bill.billed_more_than_once, 3);
    assert_eq!(bill.by_metadata("shard")["7"].batches, 2);
}

#[tokio::test]
async fn a_batch_that_nobody_looks_at_is_billed_all_the_same() {
    let rig = Rig::slow();
    rig.create(&lines(3)).await;
    assert_eq!(rig.bill().billed, 0);
    rig.advance_hours(12);
    assert_eq!(rig.bill().billed, 3);
    assert_eq!(rig.bill().batches[0].status, "completed");
}

#[tokio::test]
async fn stages_follow_the_clock_and_files_are_shown_at_the_end() {
    let rig = Rig::slow();
    let batch = rig.create(&lines(10)).await;
    assert_eq!(batch.status.as_str(), "validating");

    let mut seen = Vec::new();
    for hours in [1, 4, 6, 1] {
        rig.advance_hours(hours);
        let batch = rig.look(&batch.id).await;
        let counts = batch.request_counts.unwrap();
        seen.push(format!(
            "{} {}/{} {}",
            batch.status.as_str(),
            counts.completed,
            counts.total,
            batch.output_file_id.is_some()
        ));
    }
    assert_eq!(
        seen,
        [
            "in_progress 0/10 false",
            "in_progress 4/10 false",
            "finalizing 10/10 false",
            "completed 10/10 true",
        ]
    );
}

#[tokio::test]
async fn a_line_that_fails_lies_in_the_error_file_and_is_not_billed() {
    let rig = Rig::plain();
    let input = line("good", "hi") + &line("bad", "sim: 400") + &line("none", "sim: hang");
    let batch = rig.finish(&input).await;

    assert_eq!(ids(&rig.output(&batch).await), ["good"]);
    let errors = rig.errors(&batch).await;
    assert_eq!(ids(&errors), ["bad", "none"]);
    assert_eq!(errors[0]["response"]["status_code"], 400);
    assert_eq!(errors[0]["error"], serde_json::Value::Null);
    assert_eq!(errors[1]["response"]["status_code"], 0);
    let counts = batch.request_counts.unwrap();
    assert_eq!((counts.completed, counts.failed), (1, 2));
    assert_eq!((rig.bill().lines_run, rig.bill().billed), (3, 1));
}

#[tokio::test]
async fn a_line_meets_the_next_step_of_its_script_in_the_next_batch() {
    let rig = Rig::plain();
    let input = line("a", "sim: 500 then ok");
    let first = rig.finish(&input).await;
    let second = rig.finish(&input).await;
    assert_eq!(rig.errors(&first).await[0]["response"]["status_code"], 500);
    assert_eq!(ids(&rig.output(&second).await), ["a"]);
}

#[tokio::test]
async fn a_cancelled_batch_keeps_and_bills_what_has_run() {
    let rig = Rig::slow();
    let batch = rig.create(&lines(10)).await;
    rig.advance_hours(4);
    let cancelling = rig.files.batches().cancel(&batch.id).await.unwrap().batch;
    assert_eq!(cancelling.status.as_str(), "cancelling");
    rig.advance_hours(1);

    let batch = rig.look(&batch.id).await;
    assert_eq!(batch.status.as_str(), "cancelled");
    assert_eq!(ids(&rig.output(&batch).await), ["r0", "r1", "r2"]);
    let errors = rig.errors(&batch).await;
    assert_eq!(errors.len(), 7);
    assert_eq!(errors[0]["error"]["code"], "batch_cancelled");
    assert_eq!(rig.bill().billed, 3);
    assert!(rig.files.batches().cancel("batch_none").await.is_err());
}

#[tokio::test]
async fn a_file_that_is_wrong_fails_the_batch_with_its_lines() {
    let rig = Rig::plain();
    let input = line("a", "x") + "not json\n" + &line("a", "y");
    let batch = rig.finish(&input).await;
    assert_eq!(batch.status.as_str(), "failed");
    let told = format!("{:?}", batch.errors);
    for word in ["invalid_json_line", "duplicate_custom_id"] {
        assert!(told.contains(word), "{told}");
    }
    assert_eq!(rig.bill().lines_run, 0);

    let nowhere = rig.try_create("file-none").await.unwrap();
    assert_eq!(rig.end_of(&nowhere.id).await.status.as_str(), "failed");
}

#[tokio::test]
async fn lists_have_pages_newest_first() {
    let rig = Rig::slow();
    let file = rig.upload(&lines(1)).await;
    for _ in 0..5 {
        rig.try_create(&file.id).await.unwrap();
    }
    let page = rig.files.batches().list(Some(2), None).await.unwrap();
    assert_eq!(page.batches.len(), 2);
    assert_eq!(page.batches[0].id, "batch_sim_000005");
    let batches = rig.files.batches();
    let all: Vec<_> = batches.list_all().try_collect().await.unwrap();
    assert_eq!(all.len(), 5);
}

#[tokio::test]
async fn files_are_listed_read_in_parts_and_deleted() {
    let rig = Rig::plain();
    let file = rig.upload("0123456789").await;
    assert_eq!(
        (file.bytes, file.filename.as_deref()),
        (Some(10), Some("in.jsonl"))
    );
    assert_eq!(rig.text(&file.id).await, "0123456789");

    let path = format!("/v1/files/{}/content", file.id);
    let part = get(&rig.sim, &path, "range: bytes=4-6\r\n").await;
    assert_eq!((part.status, part.body.as_str()), (206, "456"));
    assert!(
        part.head.contains("content-range: bytes 4-6/10"),
        "{}",
        part.head
    );
    assert_eq!(
        get(&rig.sim, &path, "range: bytes=10-\r\n").await.status,
        416
    );

    assert_eq!(rig.bill().files, 1);
    rig.files.delete(&file.id).await.unwrap();
    assert_eq!(rig.bill().files, 0);
    assert!(rig.files.content(&file.id).await.is_err());
}

#[tokio::test]
async fn an_upload_of_any_size_goes_to_disk() {
    const BYTES: usize = 8_000_000;
    let rig = Rig::plain();
    let upload = FileUpload::from_bytes("big.jsonl", vec![b'x'; BYTES]);
    let file = rig.files.upload(upload).await.unwrap();
    assert_eq!(file.bytes, Some(BYTES as u64));
    let content = rig.files.content(&file.id).await.unwrap();
    assert_eq!(content.length(), Some(BYTES as u64));
    assert_eq!(content.bytes().await.unwrap().len(), BYTES);
}
