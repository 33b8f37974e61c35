//! Journal parts that no segment needs: left by a backup or a crash, or of another history.

use ditto_llm::wire::BatchStatus;

use super::rig::{Rig, lines, until};
use crate::catalog::{SegmentKey, Usage};
use crate::hold::Hold;
use crate::journal::record::{self, MAGIC};
use crate::journal::{Kind, PartName, Record};

/// The names in the journal's folder.
fn parts(rig: &Rig) -> Vec<String> {
    let entries = std::fs::read_dir(rig.config.data.join("journal")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_backup_copies_parts_stay_and_afterwards_they_go() {
    let rig = Rig::start().await;
    let held = Hold::of(&rig.config.data).take().unwrap();
    let id = rig.submit(&lines(300)).await;
    let left = rig.ended(&id).await;
    left.is(BatchStatus::Completed);
    left.is_conserved(300);
    assert!(!parts(&rig).is_empty(), "nothing is removed under a backup");
    drop(held);
    until(rig.service(), "the parts are gone", async || {
        parts(&rig).is_empty().then_some(())
    })
    .await;
}

/// A catalog that was put back from an older copy counts its keys up again. What another batch
/// under the same key had recorded must not become an answer of this one.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_another_history_is_set_aside_and_answers_nothing() {
    let mut rig = Rig::start().await;
    assert!(rig.stop().await);
    let name = PartName {
        segment: SegmentKey { batch: 1, index: 0 },
        epoch: 1,
    };
    let record = Record {
        line: 1,
        ordinal: 0,
        kind: Kind::Answer,
        usage: Usage::default(),
    };
    let mut part = MAGIC.to_vec();
    record::encode(&mut part, &record, b"{\"id\":\"of another\"}\n");
    let journal = rig.config.data.join("journal");
    std::fs::write(journal.join(name.to_string()), &part).unwrap();

    rig.open().await;
    let id = rig.submit(&lines(3)).await;
    rig.ended(&id).await.is_conserved(3);
    assert_eq!(rig.sim.stats().requests, 3);
    // Its own part goes behind the end of its batch.
    until(rig.service(), "nothing else is left", async || {
        (parts(&rig) == ["strays"]).then_some(())
    })
    .await;
    let kept = std::fs::read(journal.join("strays/1-0.1.0")).unwrap();
    assert_eq!(kept, part);
}
