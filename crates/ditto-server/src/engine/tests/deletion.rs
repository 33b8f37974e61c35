//! Files that are deleted: an input in use stays until its batches end, then the bytes go.

use std::time::Duration;

use ditto_llm::wire::BatchStatus;
use futures_util::TryStreamExt;

use super::rig::{Rig, TENANT, lines, until, upload};
use crate::{BatchRequest, ErrorKind};

/// Blobs of files and of batches.
fn blobs(rig: &Rig) -> usize {
    let count = |folder: &str| count(&rig.config.data.join("blobs").join(folder));
    count("files") + count("batches")
}

fn count(folder: &std::path::Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .map(|path| if path.is_dir() { count(&path) } else { 1 })
        .sum()
}

/// A sweep that waits for nobody who may still be reading.
async fn sweep(rig: &Rig) {
    let mut sweeper = rig.service().engine.0.sweeper.clone();
    sweeper.keep.bytes = Duration::ZERO;
    sweeper.files().await.unwrap();
    sweeper.batches().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_runs_on_when_its_input_is_deleted() {
    let rig = Rig::with(|sim| sim.latency = "5ms".parse().unwrap(), |_| {}).await;
    let id = rig.submit(&lines(300)).await;
    until(rig.service(), "some are answered", async || {
        (rig.sim.stats().answered > 20).then_some(())
    })
    .await;
    let input = rig.batch(&id).await.input_file_id.unwrap();
    rig.service().delete_file(TENANT, &input).await.unwrap();
    sweep(&rig).await;
    let gone = rig.service().file(TENANT, &input).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Missing);

    let left = rig.ended(&id).await;
    left.is_conserved(300);
    assert_eq!(left.output.len(), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_is_deleted_right_after_the_create_is_answered_to_the_end() {
    let rig = Rig::start().await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        let id = rig.submit(&lines(20)).await;
        let input = rig.batch(&id).await.input_file_id.unwrap();
        rig.service().delete_file(TENANT, &input).await.unwrap();
        sweep(&rig).await;
        ids.push(id);
    }
    for id in ids {
        let left = rig.ended(&id).await;
        left.is_conserved(20);
        assert_eq!(left.output.len(), 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_was_deleted_before_the_create_cannot_be_found() {
    let rig = Rig::start().await;
    let input = upload(rig.service(), &lines(20)).await;
    rig.service().delete_file(TENANT, &input).await.unwrap();
    let named = |request: &mut BatchRequest| request.input_file_id = input;
    let id = rig.submit_with(&lines(1), named).await;
    let left = rig.ended(&id).await;
    left.is(BatchStatus::Failed);
    let errors = left.batch.errors.unwrap().data;
    let message = errors[0].message.as_deref().unwrap();
    assert!(message.starts_with("Cannot find file"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_end_every_byte_can_be_swept() {
    let rig = Rig::start().await;
    let mut file = lines(50);
    file.extend(b"{}\n");
    let id = rig
        .submit_with(&file, |request| request.lenient = Some(true))
        .await;
    let batch = rig.ended(&id).await.batch;
    let files = [
        batch.input_file_id,
        batch.output_file_id,
        batch.error_file_id,
    ];
    for (at, file) in files.into_iter().enumerate() {
        let before = blobs(&rig);
        rig.service()
            .delete_file(TENANT, &file.unwrap())
            .await
            .unwrap();
        sweep(&rig).await;
        assert!(blobs(&rig) < before, "file {at}");
    }
    assert_eq!(blobs(&rig), 0);
    assert_eq!(count(&rig.config.data.join("journal")), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_result_file_outlives_the_other() {
    let rig = Rig::start().await;
    let mut file = lines(50);
    file.extend(b"{}\n");
    let id = rig
        .submit_with(&file, |request| request.lenient = Some(true))
        .await;
    let batch = rig.ended(&id).await.batch;
    rig.service()
        .delete_file(TENANT, &batch.output_file_id.unwrap())
        .await
        .unwrap();
    sweep(&rig).await;
    let errors = super::rig::text(rig.service(), &batch.error_file_id.unwrap()).await;
    assert_eq!(errors.lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_batch_leaves_no_bytes_of_its_own() {
    let rig = Rig::start().await;
    let id = rig.submit(b"{}\n").await;
    let input = rig.ended(&id).await.batch.input_file_id.unwrap();
    rig.service().delete_file(TENANT, &input).await.unwrap();
    sweep(&rig).await;
    assert_eq!(blobs(&rig), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_has_begun_is_not_cut_when_its_file_is_deleted() {
    let rig = Rig::with(|sim| sim.answer_bytes = Some(200_000), |_| {}).await;
    let id = rig.submit(&lines(20)).await;
    let output = rig.ended(&id).await.batch.output_file_id.unwrap();
    let content = rig.service().content(TENANT, &output).await.unwrap();
    let bytes = content.file.bytes.unwrap();
    let mut chunks = Box::pin(content.stream(0..bytes));
    let mut read = chunks.try_next().await.unwrap().unwrap().len() as u64;

    rig.service().delete_file(TENANT, &output).await.unwrap();
    let gone = rig.service().content(TENANT, &output).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Missing);
    let sweeper = &rig.service().engine.0.sweeper;
    sweeper.files().await.unwrap();
    sweeper.batches().await.unwrap();
    while let Some(chunk) = chunks.try_next().await.unwrap() {
        read += chunk.len() as u64;
    }
    assert!(read == bytes && bytes > 4_000_000, "{read} of {bytes}");
}
