//! Storage that refuses: work stands still, says why, and goes on by itself.

use std::path::PathBuf;
use std::time::Duration;

use ditto_llm::wire::BatchStatus;

use super::rig::{Rig, TENANT, lines, prompts, until};
use crate::clock::ManualClock;
use crate::journal::hanging::HangingDisk;

/// A folder that was moved away and is put back when asked to.
struct Away(PathBuf);

impl Away {
    fn take(rig: &Rig, folder: &str) -> Self {
        let path = rig.config.data.join(folder);
        std::fs::rename(&path, path.with_extension("away")).unwrap();
        std::fs::write(&path, "in the way").unwrap();
        Self(path)
    }

    fn put_back(self) {
        std::fs::remove_file(&self.0).unwrap();
        std::fs::rename(self.0.with_extension("away"), &self.0).unwrap();
    }
}

/// Waits until `readyz` would say no for a reason with this word in it.
async fn until_refused(rig: &Rig, word: &str) {
    until(rig.service(), "the reason can be read", async || {
        let reason = rig.service().ready().await.err()?;
        reason.message().contains(word).then_some(())
    })
    .await;
}

async fn until_ready(rig: &Rig) {
    until(rig.service(), "it is ready again", async || {
        rig.service().ready().await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_cannot_be_written_stalls_sending_and_loses_nothing() {
    let rig = Rig::with(|sim| sim.answer_bytes = Some(100_000), |_| {}).await;
    let away = Away::take(&rig, "journal");
    let id = rig.submit(&lines(500)).await;
    until_refused(&rig, "journal").await;
    until_every_slot_waits(&rig).await;
    let asked = rig.sim.stats().requests;
    assert!(
        asked < 60,
        "{asked} answers of 100 kB are more than 4 MiB and those in flight"
    );
    assert_eq!(rig.batch(&id).await.request_counts.unwrap().completed, 0);

    away.put_back();
    let left = rig.ended(&id).await;
    left.is_conserved(500);
    assert_eq!(rig.sim.stats().asked_more_than_once, 0);
    until_ready(&rig).await;
}

/// Nothing is in flight, although lines wait.
async fn until_every_slot_waits(rig: &Rig) {
    until(rig.service(), "every slot waits for room", async || {
        let lanes = rig.service().lanes();
        (lanes.first()?.in_flight == 0 && rig.sim.stats().in_flight == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_for_longer_than_a_second_stops_sending_until_it_goes_on() {
    let mut rig = Rig::stopped(|sim| sim.latency = "20ms".parse().unwrap(), |_| {});
    let (disk, clock) = (HangingDisk::default(), ManualClock::at(0));
    rig.open_on(&disk, &clock).await;
    let id = rig.submit(&lines(1_000)).await;
    let hangs = disk.hang();
    until(rig.service(), "a sync hangs", async || {
        (disk.waiting() > 0).then_some(())
    })
    .await;
    let asked_first = rig.sim.stats().requests;
    until(rig.service(), "it sends on for a second", async || {
        (rig.sim.stats().requests > asked_first + 20).then_some(())
    })
    .await;

    clock.advance(Duration::from_secs(2));
    until_every_slot_waits(&rig).await;
    let asked = rig.sim.stats().requests;
    assert!(asked < 1_000, "a few hundred bytes each, far from 4 MiB");

    drop(hangs);
    rig.ended(&id).await.is_conserved(1_000);
    let stats = rig.sim.stats();
    assert_eq!((stats.requests, stats.asked_more_than_once), (1_000, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_that_cannot_be_sealed_wait_and_are_sealed_later() {
    let rig = Rig::start().await;
    // The folder is made with the first blob in it.
    let first = rig.submit(&lines(1)).await;
    rig.ended(&first).await.is_conserved(1);
    let id = rig.submit(&prompts(&["sim: delay 300ms"; 6])).await;
    until(rig.service(), "all are in flight", async || {
        (rig.sim.stats().in_flight == 6).then_some(())
    })
    .await;
    let away = Away::take(&rig, "blobs/batches");
    until_refused(&rig, "sealing a segment").await;
    away.put_back();
    let left = rig.ended(&id).await;
    left.is_conserved(6);
    assert_eq!(rig.sim.stats().asked_more_than_once, 0);
    until_ready(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_that_cannot_be_opened_wait_and_say_why() {
    let mut rig = Rig::with(|sim| sim.latency = "5ms".parse().unwrap(), |_| {}).await;
    let id = rig.submit(&lines(300)).await;
    until(rig.service(), "one is answered", async || {
        (rig.sim.stats().answered >= 1).then_some(())
    })
    .await;
    assert!(rig.stop().await);
    let away = Away::take(&rig, "blobs/batches");
    rig.open().await;
    until_refused(&rig, "opening a segment").await;
    away.put_back();
    rig.ended(&id).await.is_conserved(300);
    assert_eq!(rig.sim.stats().asked_more_than_once, 0);
    until_ready(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_while_finalizing_changes_nothing() {
    let rig = Rig::start().await;
    // Two segments: the files of one would be named with its seal.
    let mut said = ["say"; 20];
    said[0] = "sim: delay 500ms";
    let id = rig.submit(&prompts(&said)).await;
    until(rig.service(), "the lines are in flight", async || {
        (rig.sim.stats().requests == 20).then_some(())
    })
    .await;
    // The two files cannot be named now.
    let away = Away::take(&rig, "blobs/files");
    until_refused(&rig, "naming the result files").await;
    let batch = rig.service().cancel_batch(TENANT, &id).await.unwrap();
    assert_eq!(batch.status, BatchStatus::Finalizing);

    away.put_back();
    let left = rig.ended(&id).await;
    left.is(BatchStatus::Completed);
    left.is_conserved(20);
    assert_eq!(left.output.len(), 20);
    until_ready(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_journal_refuses_ends_and_the_lines_are_asked_again() {
    let mut rig = Rig::start().await;
    let away = Away::take(&rig, "journal");
    let id = rig.submit(&lines(20)).await;
    until_refused(&rig, "journal").await;
    assert!(rig.stop().await);
    away.put_back();
    rig.open().await;
    rig.ended(&id).await.is_conserved(20);
}
