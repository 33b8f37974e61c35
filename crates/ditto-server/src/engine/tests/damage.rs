//! Something of a batch is gone from the disk, or not what it was: one sentence says so, other
//! batches go on, and when it is put back the batch does too.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ditto_llm::wire::BatchStatus;

use super::rig::{CHAT, Rig, TENANT, lines, prompts, until};

/// Of the batch that is damaged: two segments, so that its plan is a blob.
const LINES: usize = 20;

/// A rig whose batch has stopped in the middle, with results of its first segment recorded and not
/// sealed.
async fn stopped() -> (Rig, String) {
    // What is in flight is cut off by the stop.
    let mut rig = Rig::with(|_| {}, |config| config.sending.grace = Duration::ZERO).await;
    let mut said = ["say"; LINES];
    said[1] = "sim: hang then ok";
    let id = rig.submit(&prompts(&said)).await;
    until(rig.service(), "all others are answered", async || {
        let counts = rig.batch(&id).await.request_counts?;
        (counts.completed >= 1 && rig.sim.stats().answered == LINES as u64 - 1).then_some(())
    })
    .await;
    rig.stop().await;
    (rig, id)
}

fn only_file(folder: &Path) -> PathBuf {
    let mut entries = std::fs::read_dir(folder).unwrap();
    let path = entries.next().unwrap().unwrap().path();
    assert!(entries.next().is_none());
    path
}

/// Damages a file, looks at what is said, mends it, and sees the batch end whole. Another batch ends
/// meanwhile.
async fn is_said_and_mended(
    file: impl FnOnce(&Path, &str) -> PathBuf,
    damage: impl FnOnce(&Path),
    said: &[&str],
) {
    let (mut rig, id) = stopped().await;
    let path = file(&rig.config.data, &id);
    let before = std::fs::read(&path).unwrap();
    damage(&path);
    let damaged = std::fs::read(&path).ok();

    rig.open().await;
    let reason = until(rig.service(), "the reason can be read", async || {
        rig.service().stuck().into_iter().next()
    })
    .await;
    for word in said.iter().chain(&[id.as_str()]) {
        assert!(reason.contains(word), "{word} in: {reason}");
    }
    assert!(rig.service().ready().await.is_ok(), "others can work");
    let other = rig.submit(&lines(5)).await;
    rig.ended(&other).await.is_conserved(5);
    assert_eq!(
        std::fs::read(&path).ok(),
        damaged,
        "nothing is repaired in silence"
    );
    assert_eq!(rig.batch(&id).await.status, BatchStatus::InProgress);

    std::fs::write(&path, before).unwrap();
    let left = rig.ended(&id).await;
    left.is(BatchStatus::Completed);
    left.is_conserved(LINES);
    assert_eq!(rig.service().stuck(), [""; 0]);
    // The line that hung was in flight; those that were recorded are not asked again.
    assert_eq!(rig.sim.stats().asked_more_than_once, 1);
}

fn remove(path: &Path) {
    std::fs::remove_file(path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_is_gone_is_said() {
    let plan = |data: &Path, id: &str| data.join("blobs/batches").join(id).join("plan");
    is_said_and_mended(plan, remove, &["/plan is missing", "from a backup"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_nonsense_is_said() {
    let plan = |data: &Path, id: &str| data.join("blobs/batches").join(id).join("plan");
    let nonsense = |path: &Path| {
        let length = std::fs::metadata(path).unwrap().len();
        std::fs::write(path, vec![0xff; length as usize]).unwrap();
    };
    is_said_and_mended(plan, nonsense, &["plan", "damaged", "from a backup"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_was_cut_is_said() {
    let plan = |data: &Path, id: &str| data.join("blobs/batches").join(id).join("plan");
    let cut = |path: &Path| std::fs::write(path, b"").unwrap();
    is_said_and_mended(plan, cut, &["/plan has 0 bytes where", "from a backup"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_is_gone_is_said() {
    let input = |data: &Path, _: &str| only_file(&data.join("blobs/files")).join("data");
    is_said_and_mended(input, remove, &["/data is missing", "from a backup"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_gone_is_said() {
    let map = |data: &Path, _: &str| only_file(&data.join("blobs/files")).join("map");
    is_said_and_mended(map, remove, &["/map is missing", "from a backup"]).await;
}

/// The part that holds what was recorded before the stop.
fn first_part(data: &Path, _: &str) -> PathBuf {
    let entries = std::fs::read_dir(data.join("journal")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_gone_is_said() {
    let said = ["is gone", "not asked again", "from a backup"];
    is_said_and_mended(first_part, remove, &said).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_shorter_than_what_was_recorded_is_said() {
    let cut = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
    };
    let said = ["that were recorded", "not asked again", "from a backup"];
    is_said_and_mended(first_part, cut, &said).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_with_a_changed_byte_is_said_and_where() {
    let change = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    let said = ["is damaged at byte", "not asked again", "from a backup"];
    is_said_and_mended(first_part, change, &said).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_another_version_is_said() {
    let other = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[7] = b'9';
        std::fs::write(path, bytes).unwrap();
    };
    let said = [
        "another version",
        "nothing was changed",
        "start the version",
    ];
    is_said_and_mended(first_part, other, &said).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_is_gone_before_it_was_read_fails_its_batch_in_a_sentence() {
    let rig = Rig::start().await;
    let id = rig.submit(&lines(1)).await;
    rig.ended(&id).await.is_conserved(1);
    let input = rig.batch(&id).await.input_file_id.unwrap();
    remove(
        &rig.config
            .data
            .join("blobs/files")
            .join(&input)
            .join("data"),
    );
    let request = crate::service::BatchRequest {
        input_file_id: input,
        endpoint: CHAT.to_owned(),
        completion_window: "24h".to_owned(),
        ..Default::default()
    };
    let id = rig
        .service()
        .create_batch(TENANT, request)
        .await
        .unwrap()
        .id;
    let left = rig.ended(&id).await;
    left.is(BatchStatus::Failed);
    let errors = left.batch.errors.unwrap().data;
    let message = errors[0].message.as_deref().unwrap();
    assert!(message.contains("/data is missing"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_gone_is_known_before_a_byte_is_promised() {
    let rig = Rig::start().await;
    let id = rig.submit(&lines(40)).await;
    let left = rig.ended(&id).await;
    let output = left.batch.output_file_id.unwrap();
    let segments = rig
        .config
        .data
        .join("blobs/batches")
        .join(&id)
        .join("segments");
    let piece = std::fs::read_dir(&segments)
        .unwrap()
        .last()
        .unwrap()
        .unwrap()
        .path();
    let content = rig.service().content(TENANT, &output).await.unwrap();
    let whole = 0..content.file.bytes.unwrap();
    content.check(whole.clone()).await.unwrap();

    let bytes = std::fs::read(&piece).unwrap();
    std::fs::write(&piece, &bytes[..10]).unwrap();
    let shorter = content.check(whole.clone()).await.unwrap_err();
    assert!(
        shorter.message().contains("has 10 bytes where"),
        "{shorter}"
    );
    remove(&piece);
    let gone = content.check(whole).await.unwrap_err();
    assert!(gone.message().contains("is missing"), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_gone_under_a_running_server_is_said() {
    let rig = Rig::start().await;
    std::fs::remove_dir_all(rig.config.data.join("journal")).unwrap();
    rig.submit(&lines(5)).await;
    let reason = until(rig.service(), "the reason can be read", async || {
        rig.service().ready().await.err()
    });
    let reason = reason.await.to_string();
    for word in ["folder is gone", "stop this process", "from a backup"] {
        assert!(reason.contains(word), "{word} in: {reason}");
    }
}
