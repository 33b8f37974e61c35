//! Rows of segments are gone when their batch ends: what is found of their results is kept, the rest
//! is sent again, once; and what cannot be made whole is said.

use std::path::{Path, PathBuf};

use ditto_llm::wire::BatchStatus;
use rusqlite::{Connection, named_params};

use super::rig::{Left, Rig, line, line_id, until};
use crate::catalog::Usage;
use crate::journal::record::{MAGIC, encode};
use crate::journal::{Kind, Record};

/// In segments of 16.
const LINES: usize = 400;
/// The segment that is lost: lines 33 to 48. Line 40 is refused.
const LOST: u32 = 2;

/// A rig whose batch has one line to go, which hung, and stands still.
struct Nearly {
    rig: Rig,
    id: String,
}

impl Nearly {
    async fn done() -> Self {
        let mut rig = Rig::with(
            |_| {},
            |config| config.sending.grace = std::time::Duration::ZERO,
        )
        .await;
        let prompt = |n| match n {
            40 => "sim: 400".to_owned(),
            LINES => "sim: hang then ok".to_owned(),
            _ => format!("say {n}"),
        };
        let lines: String = (1..=LINES).map(|n| line(n, &prompt(n))).collect();
        let id = rig.submit(lines.as_bytes()).await;
        let catalog = catalog(&rig);
        until(rig.service(), "all but one are sealed", async || {
            let counts = rig.batch(&id).await.request_counts.unwrap();
            let recorded = (counts.completed + counts.failed) as usize;
            (sealed(&catalog) as usize == LINES / 16 - 1 && recorded == LINES - 1).then_some(())
        })
        .await;
        rig.stop().await;
        Self { rig, id }
    }

    /// Its row is lost, whatever became of its results.
    fn lose(&self) {
        let lost = catalog(&self.rig)
            .execute("DELETE FROM segments WHERE idx = ?1", [LOST])
            .unwrap();
        assert_eq!(lost, 1);
    }

    fn blob(&self) -> PathBuf {
        let data = &self.rig.config.data;
        let segments = data.join("blobs/batches").join(&self.id).join("segments");
        segments.join(format!("{LOST}.1"))
    }

    fn part(&self) -> PathBuf {
        self.rig.config.data.join(format!("journal/1-{LOST}.1"))
    }

    async fn ended(&mut self) -> Left {
        self.rig.open().await;
        self.rig.ended(&self.id).await
    }

    /// The lines that were sent more than once, but the one that hung.
    fn asked_again(&self) -> Vec<u64> {
        let again = |n: &u64| self.rig.sim.asked(&line_id(&self.id, *n)) > 1;
        (1..LINES as u64).filter(again).collect()
    }
}

fn catalog(rig: &Rig) -> Connection {
    Connection::open(rig.config.data.join("catalog.db")).unwrap()
}

fn sealed(catalog: &Connection) -> u32 {
    catalog
        .query_row(
            "SELECT count(*) FROM segments WHERE state = 'sealed'",
            [],
            |row| row.get(0),
        )
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_whose_row_is_lost_keeps_its_sealed_results() {
    let mut nearly = Nearly::done().await;
    nearly.lose();
    let left = nearly.ended().await;
    left.is(BatchStatus::Completed);
    left.is_conserved(LINES);
    assert_eq!(nearly.asked_again(), [0_u64; 0]);
    assert_eq!(left.codes(), ["400"]);
    assert!(nearly.rig.service().ready().await.is_ok());
    let usage = left.batch.usage.unwrap();
    let spent: u64 = left
        .output
        .iter()
        .map(|line| {
            line["response"]["body"]["usage"]["total_tokens"]
                .as_u64()
                .unwrap()
        })
        .sum();
    assert_eq!(usage.total_tokens, spent, "counted once");
}

/// The lines of a sealed blob as a part of the journal, one of them with another batch's id.
fn as_part(blob: &Path, foreign: usize) -> Vec<u8> {
    let bytes = std::fs::read(blob).unwrap();
    let text = String::from_utf8_lossy(&bytes[..bytes.len() - 2 * 16]).into_owned();
    let mut part = MAGIC.to_vec();
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let number = super::rig::number(&value);
        let record = Record {
            line: number,
            ordinal: (number - 33) as u16,
            kind: match value["response"]["status_code"].as_u64() {
                Some(200) => Kind::Answer,
                _ => Kind::Error,
            },
            usage: Usage::default(),
        };
        let line = match number as usize == foreign {
            true => line.replace("batch_req_", "batch_req_x"),
            false => line.to_owned(),
        };
        encode(&mut part, &record, format!("{line}\n").as_bytes());
    }
    part
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_whose_row_is_lost_keeps_what_its_journal_has_of_this_batch() {
    let mut nearly = Nearly::done().await;
    std::fs::write(nearly.part(), as_part(&nearly.blob(), 35)).unwrap();
    std::fs::remove_file(nearly.blob()).unwrap();
    nearly.lose();
    let left = nearly.ended().await;
    left.is(BatchStatus::Completed);
    left.is_conserved(LINES);
    assert_eq!(nearly.asked_again(), [35]);
    until(nearly.rig.service(), "no part stays", async || {
        (!nearly.part().exists()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_of_which_nothing_is_left_is_sent_again() {
    let mut nearly = Nearly::done().await;
    std::fs::remove_file(nearly.blob()).unwrap();
    nearly.lose();
    let left = nearly.ended().await;
    left.is(BatchStatus::Completed);
    left.is_conserved(LINES);
    assert_eq!(nearly.asked_again(), (33..=48).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_not_a_whole_segment_is_not_taken_for_one() {
    let mut nearly = Nearly::done().await;
    let bytes = std::fs::read(nearly.blob()).unwrap();
    std::fs::write(nearly.blob(), &bytes[..bytes.len() - 700]).unwrap();
    nearly.lose();
    let left = nearly.ended().await;
    left.is(BatchStatus::Completed);
    left.is_conserved(LINES);
    assert_eq!(nearly.asked_again(), (33..=48).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_batch_with_a_gap_is_whole_in_the_end() {
    let mut nearly = Nearly::done().await;
    std::fs::remove_file(nearly.blob()).unwrap();
    nearly.lose();
    catalog(&nearly.rig)
        .execute(
            "UPDATE batches SET ending = 'cancelled', cancelling_ms = 1",
            [],
        )
        .unwrap();
    let left = nearly.ended().await;
    left.is(BatchStatus::Cancelled);
    assert_eq!(left.output.len() + left.errors.len(), LINES);
    let given_up = left
        .codes()
        .iter()
        .filter(|code| *code == "batch_cancelled")
        .count();
    assert_eq!(given_up, 16 + 1);
    assert_eq!(nearly.asked_again(), [0_u64; 0]);
}

/// Ends as `failed`, with what there is, and says so until the server is started again.
async fn is_broken(mut nearly: Nearly, output: usize, says: &str) {
    let left = nearly.ended().await;
    left.is(BatchStatus::Failed);
    let error = &left.batch.errors.as_ref().unwrap().data[0];
    assert_eq!(error.code.as_deref(), Some("internal_inconsistency"));
    assert!(
        error.message.as_deref().unwrap().contains(says),
        "{error:?}"
    );
    assert_eq!(left.output.len(), output);
    let counts = left.batch.request_counts.as_ref().unwrap();
    assert_eq!(
        (counts.completed as usize, counts.failed as usize),
        (left.output.len(), left.errors.len())
    );
    let red = nearly.rig.service().ready().await.unwrap_err();
    for word in [nearly.id.as_str(), says, "start the server again"] {
        assert!(red.message().contains(word), "{word} in: {red}");
    }
    nearly.rig.stop().await;
    nearly.rig.open().await;
    assert!(nearly.rig.service().ready().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_that_comes_back_ends_its_batch_in_a_sentence() {
    let nearly = Nearly::done().await;
    nearly.lose();
    catalog(&nearly.rig)
        .execute("UPDATE batches SET reopened = 1", [])
        .unwrap();
    // Line 40, which was refused, is lost with its segment.
    is_broken(
        nearly,
        LINES - 16,
        "1 segments are missing again, the first is 2",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_covers_another_ends_its_batch_in_a_sentence() {
    let nearly = Nearly::done().await;
    catalog(&nearly.rig)
        .execute(
            "UPDATE segments SET span = 2 WHERE idx = :idx",
            named_params! { ":idx": LOST },
        )
        .unwrap();
    is_broken(
        nearly,
        LINES - 1,
        "segment 2 has 16 lines where the plan has 32",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_that_are_wrong_are_those_of_the_files_in_the_end() {
    let mut nearly = Nearly::done().await;
    catalog(&nearly.rig)
        .execute(
            "UPDATE batches SET completed = completed + 5, failed = 0",
            [],
        )
        .unwrap();
    let left = nearly.ended().await;
    left.is(BatchStatus::Completed);
    left.is_conserved(LINES);
}
