//! A disk that runs full: what is new is refused, what runs goes on.

use ditto_llm::wire::BatchStatus;

use super::rig::{CHAT, Rig, TENANT, lines, text, until, upload};
use crate::model::space::{Disk, Floor};
use crate::service::BatchRequest;
use crate::{Config, Error, ErrorKind};

const GB: u64 = 1_000_000_000;
/// What is set aside for a line.
const LINE: u64 = 300;

fn floor(config: &mut Config) {
    config.space = Floor {
        percent: None,
        bytes: Some(5 * GB),
    };
}

fn pretend(rig: &Rig, free: u64) {
    let disk = Disk {
        size: 100 * GB,
        free,
    };
    rig.service().gauge.pretend(disk);
}

async fn create(rig: &Rig, file: &str) -> crate::Result<String> {
    let request = BatchRequest {
        input_file_id: file.to_owned(),
        endpoint: CHAT.to_owned(),
        completion_window: "24h".to_owned(),
        ..BatchRequest::default()
    };
    let batch = rig.service().create_batch(TENANT, request).await?;
    Ok(batch.id)
}

fn is_short_of_space(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert_eq!(error.code(), Some("insufficient_storage"));
    assert!(error.retry_after().is_some());
    assert!(error.message().contains("5.0 GB"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_floor_what_is_new_is_refused_and_what_runs_ends_whole() {
    let rig = Rig::with(|sim| sim.latency = "5ms".parse().unwrap(), floor).await;
    pretend(&rig, 50 * GB);
    let file = upload(rig.service(), &lines(300)).await;
    let running = create(&rig, &file).await.unwrap();
    until(rig.service(), "some are answered", async || {
        (rig.sim.stats().answered > 20).then_some(())
    })
    .await;

    pretend(&rig, 5 * GB - 1);
    is_short_of_space(&create(&rig, &file).await.unwrap_err());
    is_short_of_space(&rig.service().upload(TENANT).await.unwrap_err());
    rig.service().ready().await.unwrap();
    let reason = rig.service().refusing().await.unwrap();
    assert!(reason.contains("running batches go on"), "{reason}");
    let left = rig.ended(&running).await;
    left.is_conserved(300);
    let output = left.batch.output_file_id.unwrap();
    assert_eq!(text(rig.service(), &output).await.lines().count(), 300);

    pretend(&rig, 50 * GB);
    assert_eq!(rig.service().refusing().await, None);
    create(&rig, &file).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_ends_when_the_disk_runs_low_and_leaves_nothing() {
    let rig = Rig::with(|_| {}, floor).await;
    pretend(&rig, 50 * GB);
    let mut upload = rig.service().upload(TENANT).await.unwrap();
    upload.write(&lines(100)).await.unwrap();
    pretend(&rig, GB);
    is_short_of_space(&upload.write(&lines(100)).await.unwrap_err());
    upload.abandon().await.unwrap();
    let files = rig.config.data.join("blobs/files");
    let left = std::fs::read_dir(files).map_or(0, Iterator::count);
    assert_eq!(left, 0);
}

/// Nobody has keys here, and so nobody a limit: what is promised to open batches stops the loop.
#[tokio::test(flavor = "multi_thread")]
async fn creating_in_a_loop_ends_where_the_disk_would_be_promised_away() {
    let rig = Rig::with(|sim| sim.latency = "60s".parse().unwrap(), floor).await;
    pretend(&rig, 50 * GB);
    let file = upload(rig.service(), &lines(100)).await;
    pretend(&rig, 5 * GB + 4 * 100 * LINE + 17);
    let mut made = Vec::new();
    let refused = loop {
        match create(&rig, &file).await {
            Ok(id) => made.push(id),
            Err(error) => break error,
        }
    };
    is_short_of_space(&refused);
    assert_eq!(made.len(), 4);

    rig.service().cancel_batch(TENANT, &made[0]).await.unwrap();
    let ended = rig.until(&made[0], "it is cancelled", |batch| {
        batch.status == BatchStatus::Cancelled
    });
    ended.await;
    create(&rig, &file).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn creating_and_cancelling_in_a_loop_ends_at_what_the_tenant_may_have() {
    let rig = Rig::with(
        |sim| sim.latency = "60s".parse().unwrap(),
        |config| {
            config.sending.grace = std::time::Duration::ZERO;
            config.tenants.everyone.stored_bytes = Some(100_000);
        },
    )
    .await;
    let file = upload(rig.service(), &lines(100)).await;
    let mut error_bytes = 0;
    let refused = loop {
        let id = match create(&rig, &file).await {
            Ok(id) => id,
            Err(error) => break error,
        };
        rig.until(&id, "it runs", |batch| {
            batch.status != BatchStatus::Validating
        })
        .await;
        rig.service().cancel_batch(TENANT, &id).await.unwrap();
        let left = rig.ended(&id).await;
        left.is_conserved(100);
        let errors = left.batch.error_file_id.unwrap();
        let errors = rig.service().file(TENANT, &errors).await.unwrap();
        error_bytes += errors.bytes.unwrap();
    };
    assert_eq!(refused.kind(), ErrorKind::Full, "{refused}");
    assert_eq!(refused.code(), Some("storage_limit_exceeded"));
    let stored = rig.service().catalog.stored(TENANT).await.unwrap();
    let input = rig.service().file(TENANT, &file).await.unwrap();
    assert_eq!(stored.bytes, input.bytes.unwrap() + error_bytes);
    assert_eq!(stored.reserved, 0);
    assert!(
        stored.bytes <= 100_000 && stored.bytes + 100 * LINE > 100_000,
        "{stored:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_over_what_its_tenant_may_have_is_refused_and_leaves_nothing() {
    let file = lines(10);
    let limit = file.len() as u64 * 5 / 2;
    let rig = Rig::with(
        |_| {},
        |config| config.tenants.everyone.stored_bytes = Some(limit),
    )
    .await;
    upload(rig.service(), &file).await;
    let mut one = rig.service().upload(TENANT).await.unwrap();
    let mut other = rig.service().upload(TENANT).await.unwrap();
    one.write(&file).await.unwrap();
    other.write(&file).await.unwrap();
    assert_eq!(one.write(&file).await.unwrap_err().kind(), ErrorKind::Full);
    let description = || crate::FileDescription {
        filename: "in.jsonl".to_owned(),
        purpose: "batch".to_owned(),
        expires_after: None,
    };
    // Side by side both had room; the second to be done has none any more.
    other.finish(description()).await.unwrap();
    let refused = one.finish(description()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Full, "{refused}");
    let left = std::fs::read_dir(rig.config.data.join("blobs/files")).unwrap();
    assert_eq!(left.count(), 2);
}
