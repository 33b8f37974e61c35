//! Downloads that break, wander or lie.

use std::time::Duration;

use ditto_llm::FileClient as _;

use crate::rig::{Rig, Seen, get, lines};

const BYTES: usize = 300_000;

async fn content(rig: &Rig, id: &str, headers: &str) -> Seen {
    get(&rig.sim, &format!("/v1/files/{id}/content"), headers).await
}

#[tokio::test]
async fn a_download_is_cut_each_time_and_goes_on_by_ranges() {
    let rig = Rig::plain();
    let text: String = (0..BYTES)
        .map(|n| char::from(b'a' + (n % 23) as u8))
        .collect();
    let file = rig.upload(&text).await;
    rig.fault("cut:200kb");

    let cut = content(&rig, &file.id, "").await;
    assert!(cut.head.contains("content-length: 300000"), "{}", cut.head);
    assert_eq!(cut.body, text[..200_000]);
    assert_eq!(rig.text(&file.id).await, text);
}

#[tokio::test]
async fn a_download_knows_no_ranges() {
    let rig = Rig::plain();
    let file = rig.upload("0123456789").await;
    let part = content(&rig, &file.id, "range: bytes=4-\r\n").await;
    assert_eq!((part.status, part.body.as_str()), (206, "456789"));
    rig.fault("ranges-ignored");
    let whole = content(&rig, &file.id, "range: bytes=4-\r\n").await;
    assert_eq!((whole.status, whole.body.as_str()), (200, "0123456789"));
    assert!(!whole.head.contains("accept-ranges"), "{}", whole.head);
}

#[tokio::test]
async fn a_download_fails_once() {
    let rig = Rig::plain();
    let file = rig.upload("0123456789").await;
    rig.fault("content-failed");
    assert_eq!(content(&rig, &file.id, "").await.status, 502);
    assert_eq!(content(&rig, &file.id, "").await.status, 200);
}

#[tokio::test]
async fn results_are_away_for_minutes_after_the_end() {
    let rig = Rig::slow_faulty("content-late:5m");
    let batch = rig.create(&lines(1)).await;
    rig.advance_hours(12);
    let id = rig.look(&batch.id).await.output_file_id.unwrap();
    assert_eq!(content(&rig, &id, "").await.status, 502);
    rig.sim.advance(Duration::from_secs(300));
    assert_eq!(content(&rig, &id, "").await.status, 200);
}

#[tokio::test]
async fn results_are_at_another_host_that_must_not_see_the_key() {
    let rig = Rig::faulty("redirect");
    let batch = rig.finish(&lines(3)).await;
    assert_eq!(rig.output(&batch).await.len(), 3);
    assert_eq!(rig.bill().keys_leaked, 0);

    let id = batch.output_file_id.unwrap();
    let host = format!("authorization: Bearer k\r\nx: {}\r\n", rig.sim.addr());
    let sent_on = content(&rig, &id, &host).await;
    assert_eq!(sent_on.status, 302);
    assert!(
        sent_on.head.contains("location: http://localhost:"),
        "{}",
        sent_on.head
    );
    let path = format!("/sim/signed/{id}");
    assert_eq!(
        get(&rig.sim, &path, "authorization: Bearer k\r\n")
            .await
            .status,
        400
    );
    assert_eq!(rig.bill().keys_leaked, 1);
}

#[tokio::test]
async fn a_download_tells_no_length() {
    let rig = Rig::faulty("length-none");
    let file = rig.upload("0123456789").await;
    let seen = content(&rig, &file.id, "").await;
    assert!(!seen.head.contains("content-length"), "{}", seen.head);
    assert_eq!(rig.files.content(&file.id).await.unwrap().length(), None);
    assert_eq!(rig.text(&file.id).await, "0123456789");
}

#[tokio::test]
async fn a_download_is_short_and_looks_whole() {
    let rig = Rig::faulty("short");
    let batch = rig.finish(&lines(6)).await;
    let id = batch.output_file_id.unwrap();
    let bytes = rig.files.retrieve(&id).await.unwrap().bytes.unwrap() as usize;
    let short = content(&rig, &id, "").await;
    assert_eq!(short.body.len(), bytes * 2 / 3);
    let announced = format!("content-length: {}", short.body.len());
    assert!(short.head.contains(&announced), "{}", short.head);
    assert_eq!(rig.text(&id).await.len(), bytes);
}
