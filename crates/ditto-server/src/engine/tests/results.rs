//! Partial results: each row once, through stops, crashes, a cancel, the seal and the end.

use std::collections::BTreeMap;
use std::time::Duration;

use ditto_llm::wire::BatchStatus;
use futures_util::TryStreamExt;

use super::rig::{Rig, TENANT, lines, number, prompts, until};
use crate::service::{Cursor, Service};

/// A reader that keeps its cursor as a client does: as a text.
#[derive(Default)]
struct Reader {
    cursor: String,
    /// How often each row was read.
    read: BTreeMap<u64, u32>,
    pages: usize,
}

impl Reader {
    /// Reads one page; whether it was the last.
    async fn page(&mut self, service: &Service, id: &str) -> bool {
        let cursor = Cursor::parse(&self.cursor).unwrap();
        let page = service.results(TENANT, id, &cursor).await.unwrap();
        let (next, ended) = (page.next.to_string(), page.ended);
        let chunks: Vec<_> = page.stream().try_collect().await.unwrap();
        for line in chunks.concat().split(|byte| *byte == b'\n') {
            if !line.is_empty() {
                let line = serde_json::from_slice(line).unwrap();
                *self.read.entry(number(&line)).or_default() += 1;
            }
        }
        self.cursor = next;
        self.pages += 1;
        ended
    }

    async fn read_on(&mut self, rig: &Rig, id: &str) {
        until(rig.service(), "all results are read", async || {
            self.page(rig.service(), id).await.then_some(())
        })
        .await;
    }

    fn has_each_once(&self, total: u64) {
        assert_eq!(self.read, (1..=total).map(|n| (n, 1)).collect());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn results_can_be_read_while_the_batch_runs_and_each_comes_once() {
    let rig = Rig::start().await;
    let asked = ["say", "sim: 400", "sim: hang then ok", "say", "say"];
    let id = rig.submit(&prompts(&asked)).await;
    let mut reader = Reader::default();
    // Nothing is sealed as long as the third row hangs.
    until(rig.service(), "four are read", async || {
        assert!(!reader.page(rig.service(), &id).await);
        (reader.read.len() == 4).then_some(())
    })
    .await;
    rig.service().cancel_batch(TENANT, &id).await.unwrap();
    reader.read_on(&rig, &id).await;
    reader.has_each_once(5);
    rig.ended(&id).await.is(BatchStatus::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_and_the_seal_between_pages_repeat_nothing_and_lose_nothing() {
    let mut rig = Rig::with(|sim| sim.latency = "3ms".parse().unwrap(), |_| {}).await;
    let id = rig.submit(&lines(1_200)).await;
    let mut reader = Reader::default();
    for answered in [10, 300, 310, 700, 1_000, 1_199] {
        until(rig.service(), "some more are answered", async || {
            reader.page(rig.service(), &id).await;
            (rig.sim.stats().answered >= answered).then_some(())
        })
        .await;
        rig.stop().await;
        rig.open().await;
        reader.page(rig.service(), &id).await;
    }
    reader.read_on(&rig, &id).await;
    reader.has_each_once(1_200);
    assert!(reader.pages > 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_comes_late_gets_all_of_it_from_the_files() {
    let rig = Rig::start().await;
    let id = rig.submit(&lines(700)).await;
    let left = rig.ended(&id).await;
    let mut reader = Reader::default();
    reader.read_on(&rig, &id).await;
    reader.has_each_once(700);
    assert!(
        reader.page(rig.service(), &id).await,
        "and then nothing more"
    );
    reader.has_each_once(700);

    let output = left.batch.output_file_id.unwrap();
    rig.service().delete_file(TENANT, &output).await.unwrap();
    let gone = rig.service().results(TENANT, &id, &Cursor::default()).await;
    assert!(gone.unwrap_err().message().contains("was deleted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_of_an_open_segment_is_not_read_again_from_its_seal() {
    let rig = Rig::with(
        |sim| sim.latency = "1ms".parse().unwrap(),
        |config| config.sending.grace = Duration::ZERO,
    )
    .await;
    let id = rig.submit(&lines(3_000)).await;
    let mut reader = Reader::default();
    // As fast as possible, so that pages fall everywhere: before, in and behind seals.
    loop {
        if reader.page(rig.service(), &id).await {
            break;
        }
        tokio::task::yield_now().await;
    }
    reader.has_each_once(3_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_cancel_gave_up_come_too() {
    let rig = Rig::with(
        |sim| sim.latency = "20ms".parse().unwrap(),
        |config| config.sending.grace = Duration::ZERO,
    )
    .await;
    let id = rig.submit(&lines(20_000)).await;
    let mut reader = Reader::default();
    until(rig.service(), "a few are read", async || {
        reader.page(rig.service(), &id).await;
        (reader.read.len() > 20).then_some(())
    })
    .await;
    rig.service().cancel_batch(TENANT, &id).await.unwrap();
    reader.read_on(&rig, &id).await;
    reader.has_each_once(20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_piece_that_was_cut_no_byte_goes_out() {
    let rig = Rig::start().await;
    let id = rig.submit(&lines(40)).await;
    rig.ended(&id).await.is_conserved(40);
    let folder = rig
        .config
        .data
        .join("blobs/batches")
        .join(&id)
        .join("segments");
    let piece = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap();
    let whole = std::fs::read(piece.path()).unwrap();
    std::fs::write(piece.path(), &whole[..100]).unwrap();
    let page = rig.service().results(TENANT, &id, &Cursor::default()).await;
    let error = page.unwrap_err();
    assert_eq!(error.code(), Some("content_lost"), "{error}");
    std::fs::write(piece.path(), whole).unwrap();
    let mut reader = Reader::default();
    reader.read_on(&rig, &id).await;
    reader.has_each_once(40);
}
