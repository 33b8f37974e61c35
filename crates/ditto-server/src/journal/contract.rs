//! The promises of [`super::Journal`] as functions, for every implementation to run.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::TryStreamExt;

use super::{Journal, Kind, Long, PartName, Record};
use crate::catalog::{SegmentKey, Usage};
use crate::folder::Found;

/// Runs every promise.
pub(crate) async fn all(journal: &dyn Journal) {
    what_is_flushed_is_replayed_in_order(journal).await;
    the_hook_counts_what_is_durable(journal).await;
    after_the_cut_its_writer_records_nothing_more(journal).await;
    a_part_that_never_was_has_nothing(journal).await;
    payloads_are_read_back(journal).await;
    a_long_payload_makes_the_record_that_a_held_one_makes(journal).await;
    a_removed_part_is_gone_and_removing_twice_is_fine(journal).await;
    a_part_that_is_set_aside_is_out_of_the_way(journal).await;
    what_is_stored_is_found_by_its_name_and_age(journal).await;
}

fn part(batch: i64, epoch: u32) -> PartName {
    PartName {
        segment: SegmentKey { batch, index: 3 },
        epoch,
    }
}

fn record(line: u64) -> Record {
    Record {
        line,
        ordinal: line as u16,
        kind: Kind::Answer,
        usage: Usage::default(),
    }
}

async fn what_is_flushed_is_replayed_in_order(journal: &dyn Journal) {
    let name = part(1, 1);
    let open = journal.create(name, Box::new(|_| {}));
    for line in [5, 2, 9] {
        open.append(&record(line), format!("line {line}\n").as_bytes());
    }
    let length = open.flushed().await;
    assert_eq!(journal.cut(name).await.unwrap(), length);
    let lines: Vec<_> = journal
        .replay(name, length)
        .await
        .unwrap()
        .iter()
        .map(|(r, _)| r.line)
        .collect();
    assert_eq!(lines, [5, 2, 9]);
}

async fn the_hook_counts_what_is_durable(journal: &dyn Journal) {
    let seen = Arc::new(AtomicUsize::new(0));
    let hook = Arc::clone(&seen);
    let open = journal.create(
        part(2, 1),
        Box::new(move |records| {
            assert!(
                records > hook.swap(records, Ordering::SeqCst),
                "the count only grows"
            );
        }),
    );
    for line in 0..1000 {
        open.append(&record(line), b"x");
    }
    open.flushed().await;
    assert_eq!(seen.load(Ordering::SeqCst), 1000);
}

async fn after_the_cut_its_writer_records_nothing_more(journal: &dyn Journal) {
    let name = part(3, 1);
    let seen = Arc::new(AtomicUsize::new(0));
    let hook = Arc::clone(&seen);
    let late_writer = journal.create(
        name,
        Box::new(move |records| hook.store(records, Ordering::SeqCst)),
    );
    late_writer.append(&record(1), b"before");
    late_writer.flushed().await;
    let cut = journal.cut(name).await.unwrap();
    late_writer.append(&record(2), b"after");
    assert_eq!(
        late_writer.flushed().await,
        cut,
        "not a byte behind the cut"
    );
    assert_eq!(seen.load(Ordering::SeqCst), 1, "it hears of no more");
    let replayed = journal.replay(name, cut).await.unwrap();
    assert_eq!(replayed.len(), 1);
    assert_eq!(replayed[0].0.line, 1);
    assert_eq!(journal.cut(name).await.unwrap(), cut, "and the cut stays");

    // A writer that has written nothing yet is fenced all the same.
    let name = part(3, 7);
    let late_writer = journal.create(name, Box::new(|_| panic!("it records nothing")));
    assert_eq!(journal.cut(name).await.unwrap(), 0);
    late_writer.append(&record(1), b"after");
    assert_eq!(late_writer.flushed().await, 0);
    assert_eq!(journal.cut(name).await.unwrap(), 0);
}

async fn a_part_that_never_was_has_nothing(journal: &dyn Journal) {
    assert_eq!(journal.cut(part(99, 1)).await.unwrap(), 0);
    assert!(journal.replay(part(99, 1), 0).await.unwrap().is_empty());
    assert!(
        journal.replay(part(99, 1), 10).await.is_err(),
        "something recorded is gone"
    );
}

async fn payloads_are_read_back(journal: &dyn Journal) {
    let name = part(4, 2);
    let open = journal.create(name, Box::new(|_| {}));
    open.append(&record(1), b"first");
    let place = open.append(&record(2), b"second");
    open.flushed().await;
    let range = place.offset..place.offset + u64::from(place.length);
    assert_eq!(&journal.read(name, range).await.unwrap()[..], b"second");
}

/// Bytes that are given in pieces.
#[derive(Debug)]
pub(super) struct InPieces(pub(super) Vec<u8>);

impl Long for InPieces {
    fn length(&self) -> u32 {
        self.0.len() as u32
    }

    fn write_to(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        self.0
            .chunks(1000)
            .try_for_each(|piece| out.write_all(piece))
    }
}

async fn a_long_payload_makes_the_record_that_a_held_one_makes(journal: &dyn Journal) {
    let (held, long) = (part(6, 1), part(6, 2));
    let payloads: [Vec<u8>; 4] = [
        b"first".into(),
        vec![b'x'; 300_000],
        b"".into(),
        b"last".into(),
    ];
    let first = journal.create(held, Box::new(|_| {}));
    let second = journal.create(long, Box::new(|_| {}));
    for (line, payload) in (1..).zip(payloads) {
        let place = first.append(&record(line), &payload);
        let same = match line {
            2 | 3 => second.append_long(&record(line), Arc::new(InPieces(payload))),
            _ => second.append(&record(line), &payload),
        };
        assert_eq!(place, same);
    }
    let length = first.flushed().await;
    assert_eq!(second.flushed().await, length);
    assert_eq!(
        journal.cut(long).await.unwrap(),
        length,
        "its checksums hold"
    );
    let read = async |name| journal.read(name, 0..length).await.unwrap();
    assert!(read(held).await == read(long).await);
    journal.remove(&[held, long]).await.unwrap();
}

async fn a_removed_part_is_gone_and_removing_twice_is_fine(journal: &dyn Journal) {
    let name = part(5, 1);
    let open = journal.create(name, Box::new(|_| {}));
    open.append(&record(1), b"x");
    open.flushed().await;
    journal.remove(&[name]).await.unwrap();
    journal.remove(&[name]).await.unwrap();
    assert_eq!(journal.cut(name).await.unwrap(), 0);
}

async fn a_part_that_is_set_aside_is_out_of_the_way(journal: &dyn Journal) {
    let name = part(6, 1);
    for _ in 0..2 {
        let open = journal.create(name, Box::new(|_| {}));
        open.append(&record(1), b"x");
        open.flushed().await;
        assert!(is_found(journal, name).await);
        journal.set_aside(&[name]).await.unwrap();
        assert!(!is_found(journal, name).await);
        assert_eq!(journal.cut(name).await.unwrap(), 0);
    }
}

async fn is_found(journal: &dyn Journal, name: PartName) -> bool {
    let found: Vec<_> = journal.found().try_collect().await.unwrap();
    let mut names = found
        .iter()
        .flatten()
        .filter_map(|found| found.path.to_str());
    names.any(|found| PartName::parse(found) == Some(name))
}

async fn what_is_stored_is_found_by_its_name_and_age(journal: &dyn Journal) {
    let name = part(7, 1);
    let open = journal.create(name, Box::new(|_| {}));
    open.append(&record(1), b"x");
    let length = open.flushed().await;
    let by_name = |found: &Found| found.path.to_str() == Some(name.to_string().as_str());

    let found: Vec<_> = journal.found().try_collect().await.unwrap();
    let found = found.concat().into_iter().find(by_name).unwrap();
    assert_eq!(found.bytes, length);
    assert!(found.modified <= journal.now().await.unwrap());
    assert_eq!(PartName::parse(found.path.to_str().unwrap()), Some(name));

    journal.discard(&found).await.unwrap();
    journal.discard(&found).await.unwrap();
    assert_eq!(journal.cut(name).await.unwrap(), 0);
}
