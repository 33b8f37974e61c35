//! Sweeps over a real folder, with a catalog whose clock the test turns.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::catalog::sqlite::SqliteCatalog;
use crate::catalog::{
    Asked, BatchOptions, BatchRow, Bounds, Completion, Created, Cut, Demand, Leased, NewBatch,
    NewFile, NewUpload, PutDown, ReadyFile, ReadyPart, Sealed, Until, Usage, Validated,
};
use crate::clock::ManualClock;
use crate::hold::Hold;
use crate::journal::PartName;
use crate::journal::local::LocalJournal;
use crate::model::litter::Due;
use crate::model::plan::Entry;
use crate::server::local_blobs;

const ME: &str = "inc_me";
const LEASE: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

struct Place {
    sweeper: Sweeper,
    clock: ManualClock,
    data: TempDir,
}

impl Place {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let path = data.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let clock = ManualClock::at(1_700_000_000_000);
        let sweeper = Sweeper {
            catalog: Arc::new(SqliteCatalog::in_memory(Arc::new(clock.clone())).unwrap()),
            blobs: local_blobs(&folder("blobs")).unwrap(),
            journal: Arc::new(LocalJournal::open(
                &folder("journal"),
                crate::budget::Share::endless(),
            )),
            hold: Hold::of(data.path()),
            notice: Notice::of(data.path()),
            keep: Keep {
                bytes: READERS,
                rows: DAY * 90,
            },
        };
        Self {
            sweeper,
            clock,
            data,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.data.path().join(name)
    }

    /// Puts five bytes there that were written so long ago.
    fn put(&self, name: &str, age: Duration) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "bytes").unwrap();
        let file = std::fs::File::options().write(true).open(path).unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "a file's age is the machine's business"
        )]
        let then = SystemTime::now() - age;
        file.set_modified(then).unwrap();
    }

    fn put_all(&self, names: &[&str], age: Duration) {
        names.iter().for_each(|name| self.put(name, age));
    }

    fn is_there(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Makes the notice as old as if so much time had gone by, during which the server was stopped.
    fn age_notice(&self, by: Duration) {
        let file = self.path("unknown.json");
        let names = std::fs::read(&file).unwrap();
        let mut names: BTreeMap<String, u64> = serde_json::from_slice(&names).unwrap();
        names.values_mut().for_each(|since| *since -= by.as_secs());
        std::fs::write(file, serde_json::to_vec(&names).unwrap()).unwrap();
    }

    async fn round(&self) -> Survey {
        self.sweeper.survey(Act::Round).await.unwrap()
    }

    async fn pending(&self, id: &str) {
        let file = NewFile {
            id: id.to_owned(),
            tenant: "tenant".to_owned(),
        };
        self.sweeper.catalog.create_file(file).await.unwrap();
    }

    async fn file(&self, id: &str) {
        self.pending(id).await;
        let ready = ReadyFile {
            purpose: "batch".to_owned(),
            filename: "in.jsonl".to_owned(),
            bytes: 5,
            lines: Some(1),
            expires_after: None,
            piece: None,
            within: None,
            once: None,
        };
        self.sweeper.catalog.ready_file(id, ready).await.unwrap();
    }

    /// An upload of five bytes with these parts of five, each with its blob.
    async fn upload(&self, id: &str, parts: &[&str]) {
        let new = NewUpload {
            id: id.to_owned(),
            tenant: "tenant".to_owned(),
            filename: "in.jsonl".to_owned(),
            purpose: "batch".to_owned(),
            bytes: 5,
            expires_after: HOUR,
            file_expires_after: None,
            once: None,
        };
        let catalog = &self.sweeper.catalog;
        catalog.create_upload(new).await.unwrap();
        for part in parts {
            let ready = ReadyPart {
                bytes: 5,
                breaks: 1,
                ends_line: true,
                index_bytes: 0,
                within: None,
                once: None,
            };
            catalog.create_part("tenant", id, part).await.unwrap();
            catalog.ready_part("tenant", part, ready).await.unwrap();
            self.put(&part_of(id, part), Duration::ZERO);
        }
    }

    /// Makes a file of this part, under this id.
    async fn complete(&self, upload: &str, part: &str, file: &str) {
        self.pending(file).await;
        let completion = Completion {
            parts: vec![part.to_owned()],
            file_id: file.to_owned(),
            lines: 1,
            once: None,
        };
        let catalog = &self.sweeper.catalog;
        let completed = catalog.complete_upload("tenant", upload, completion).await;
        assert!(matches!(completed.unwrap(), Asked::Done(_)));
    }

    /// A batch of one segment, leased for the second time.
    async fn leased_twice(&self) -> Leased {
        let catalog = &self.sweeper.catalog;
        catalog.register(ME, LEASE).await.unwrap();
        let key = self.batch("batch_1").await;
        let found = Validated {
            total: 1,
            segments: 1,
            only: None,
            model: None,
            bare_suffix: None,
        };
        catalog.lease_validation(ME).await.unwrap().unwrap();
        assert!(catalog.validated(ME, key, found).await.unwrap());
        let first = self.lease().await;
        let cut = Cut {
            epoch: 1,
            length: 5,
        };
        let parked = catalog
            .park(ME, first.key, PutDown::new(cut, Until::NextLease))
            .await;
        assert!(parked.unwrap());
        self.lease().await
    }

    async fn batch(&self, id: &str) -> i64 {
        let new = NewBatch {
            id: id.to_owned(),
            tenant: "tenant".to_owned(),
            input_file_id: "file-input".to_owned(),
            endpoint: "/v1/chat/completions".to_owned(),
            completion_window: "24h".to_owned(),
            expires_after: None,
            metadata: None,
            options: BatchOptions::default(),
            retry: None,
            lines: None,
            once: None,
            bounds: Bounds::default(),
            validator: None,
        };
        match self.sweeper.catalog.create_batch(new).await.unwrap() {
            Created::New(row) => row.key,
            other => panic!("{other:?}"),
        }
    }

    async fn lease(&self) -> Leased {
        let demand = Demand {
            segments: 1,
            ..Demand::default()
        };
        let leased = self.sweeper.catalog.lease(ME, demand).await.unwrap();
        leased.into_iter().next().unwrap()
    }

    async fn seal(&self, leased: &Leased) {
        let sealed = Sealed {
            span: 1,
            answers: 1,
            errors: 0,
            ended: 0,
            answers_bytes: 5,
            errors_bytes: 0,
            usage: Usage::default(),
        };
        let Leased { key, epoch, .. } = *leased;
        let catalog = &self.sweeper.catalog;
        catalog.seal(ME, key, epoch, sealed).await.unwrap();
    }
}

/// The names of a part under two epochs.
fn parts(leased: &Leased) -> [String; 2] {
    [1, 2].map(|epoch| {
        let name = PartName {
            segment: leased.key,
            epoch,
        };
        format!("journal/{name}")
    })
}

fn part_of(upload: &str, part: &str) -> String {
    format!("blobs/{}", name::part_data(upload, part))
}

#[tokio::test]
async fn parts_of_an_upload_that_was_cancelled_or_has_expired_go() {
    let place = Place::new();
    place.upload("upload_1", &["part_1", "part_2"]).await;
    place.upload("upload_2", &["part_3"]).await;
    place.put(&(part_of("upload_2", "part_4") + "#1"), Duration::ZERO);
    assert_eq!(place.sweeper.uploads().await.unwrap(), Tally::default());

    let catalog = &place.sweeper.catalog;
    let cancelled = catalog.cancel_upload("tenant", "upload_1", None).await;
    assert!(matches!(cancelled.unwrap(), Asked::Done(_)));
    assert_eq!(place.sweeper.uploads().await.unwrap().bytes, 10);
    assert!(!place.is_there("blobs/uploads/upload_1"));
    assert!(place.is_there(&part_of("upload_2", "part_3")));

    place.clock.advance(HOUR);
    assert_eq!(place.sweeper.uploads().await.unwrap().bytes, 10);
    assert!(
        !place.is_there("blobs/uploads/upload_2"),
        "not even a folder"
    );
    assert_eq!(place.sweeper.uploads().await.unwrap(), Tally::default());
}

#[tokio::test]
async fn a_file_of_parts_keeps_them_for_its_readers_and_others_go_at_once() {
    let place = Place::new();
    place.upload("upload_1", &["part_1", "part_2"]).await;
    place.complete("upload_1", "part_2", "file-1").await;
    place.put("blobs/files/file-1/map", Duration::ZERO);
    let look = place.sweeper.survey(Act::Look).await.unwrap();
    assert_eq!(look.due[&Due::Upload].bytes, 5);
    assert_eq!(place.sweeper.uploads().await.unwrap().bytes, 5);
    assert!(!place.is_there(&part_of("upload_1", "part_1")));

    let catalog = &place.sweeper.catalog;
    assert!(catalog.delete_file("tenant", "file-1").await.unwrap());
    place.sweeper.files().await.unwrap();
    assert!(place.is_there(&part_of("upload_1", "part_2")));
    place.clock.advance(READERS);
    assert_eq!(place.sweeper.files().await.unwrap().bytes, 10);
    assert!(!place.is_there("blobs/uploads/upload_1"));
    place.clock.advance(DAY);
    assert_eq!(place.sweeper.rows().await.unwrap().uploads, 1);
}

/// It was killed between the manifest and the row: the file is nobody's, the upload is as it was.
#[tokio::test]
async fn what_a_killed_completion_left_goes_and_the_upload_can_be_completed_again() {
    let place = Place::new();
    place.upload("upload_1", &["part_1"]).await;
    place.pending("file-1").await;
    place.put("blobs/files/file-1/map", Duration::ZERO);
    assert_eq!(
        place.sweeper.survey(Act::All).await.unwrap(),
        Survey::default()
    );
    place.complete("upload_1", "part_1", "file-2").await;
    place.put("blobs/files/file-2/map", Duration::ZERO);
    place.clock.advance(DAY);
    assert_eq!(place.sweeper.files().await.unwrap().bytes, 5);
    assert_eq!(place.sweeper.uploads().await.unwrap(), Tally::default());
    assert!(!place.is_there("blobs/files/file-1"));
    assert!(place.is_there("blobs/files/file-2/map"));
    assert!(place.is_there(&part_of("upload_1", "part_1")));
}

#[tokio::test]
async fn a_part_that_no_row_knows_is_unknown_and_one_that_came_late_is_litter() {
    let place = Place::new();
    place.upload("upload_1", &["part_1"]).await;
    place.put(&part_of("upload_1", "part_9"), DAY * 2);
    place.put(&part_of("upload_9", "part_1"), DAY * 2);
    let survey = place.sweeper.survey(Act::Litter).await.unwrap();
    assert_eq!((survey.unknown.bytes, survey.litter.bytes), (10, 0));

    let catalog = &place.sweeper.catalog;
    catalog
        .cancel_upload("tenant", "upload_1", None)
        .await
        .unwrap();
    place.sweeper.uploads().await.unwrap();
    place.put(&part_of("upload_1", "part_1"), Duration::ZERO);
    let survey = place.sweeper.survey(Act::Litter).await.unwrap();
    assert_eq!(survey.litter.bytes, 5);
    assert!(!place.is_there(&part_of("upload_1", "part_1")));
}

#[tokio::test]
async fn what_a_killed_upload_had_staged_goes_with_it() {
    let place = Place::new();
    place.pending("file-1").await;
    place.put("blobs/files/file-1/data#1", Duration::ZERO);
    place.clock.advance(DAY);
    assert_eq!(place.sweeper.files().await.unwrap().bytes, 5);
    assert!(!place.is_there("blobs/files/file-1"), "not even a folder");
}

#[tokio::test]
async fn a_deleted_file_is_readable_by_who_has_begun_and_goes_an_hour_later() {
    let place = Place::new();
    place.file("file-1").await;
    let blobs = &place.sweeper.blobs;
    let data = name::data("file-1");
    blobs
        .put(&data, Bytes::from_static(b"bytes"))
        .await
        .unwrap();
    let deleted = place.sweeper.catalog.delete_file("tenant", "file-1").await;
    assert!(deleted.unwrap());

    place.clock.advance(READERS - Duration::from_secs(1));
    place.sweeper.files().await.unwrap();
    assert_eq!(&blobs.get(&data).await.unwrap()[..], b"bytes");
    place.clock.advance(Duration::from_secs(1));
    place.sweeper.files().await.unwrap();
    assert!(blobs.get(&data).await.is_err());
}

#[tokio::test]
async fn the_unknown_is_reported_and_goes_only_when_older_than_a_day() {
    let place = Place::new();
    let old = [
        "blobs/files/file-unknown/data",
        "blobs/batches/batch_unknown/segments/0.1",
        "blobs/notes.txt",
        "journal/99-0.1",
        "journal/notes.txt",
    ];
    place.put_all(&old, DAY + Duration::from_secs(60));
    let young = "blobs/files/file-young/data";
    place.put(young, DAY - Duration::from_secs(60));

    for act in [Act::Look, Act::Litter] {
        let survey = place.sweeper.survey(act).await.unwrap();
        assert_eq!((survey.unknown.objects, survey.young.objects), (5, 1));
        let mut expected: Vec<_> = old.iter().chain([&young]).map(|n| n.to_string()).collect();
        let mut named = survey.first_unknown;
        expected.sort();
        named.sort();
        assert_eq!(named, expected);
        assert!(old.iter().all(|name| place.is_there(name)), "{act:?}");
    }
    let survey = place.sweeper.survey(Act::All).await.unwrap();
    assert_eq!(survey.unknown.bytes, 25);
    assert!(!old.iter().any(|name| place.is_there(name)));
    assert!(place.is_there(young));
}

#[tokio::test]
async fn a_server_that_starts_anew_each_day_takes_what_it_named_the_day_before() {
    let place = Place::new();
    let old = ["blobs/files/file-unknown/data", "journal/99-0.1"];
    place.put_all(&old, DAY * 2);
    let young = "blobs/notes.txt";
    place.put(young, Duration::ZERO);
    for look in ["of the first life", "of one that is started again at once"] {
        assert_eq!(place.round().await.unknown_gone, 0, "{look}");
    }
    assert!(old.iter().all(|name| place.is_there(name)));

    place.age_notice(DAY);
    let late = "blobs/files/file-late/data";
    place.put(late, DAY * 400);
    let survey = place.round().await;
    assert_eq!((survey.unknown.objects, survey.unknown_gone), (3, 2));
    assert!(!old.iter().any(|name| place.is_there(name)));
    assert!(place.is_there(young), "named a day ago and younger");
    assert!(place.is_there(late), "old and not named before");

    place.put(young, DAY * 2);
    place.age_notice(DAY);
    assert_eq!(place.round().await.unknown_gone, 2);
    assert!(
        !place.is_there("unknown.json"),
        "nothing is left to be named"
    );
}

#[tokio::test]
async fn what_is_known_again_stands_in_no_notice_any_more() {
    let place = Place::new();
    let data = "blobs/files/file-1/data";
    place.put(data, DAY * 400);
    place.put("blobs/notes.txt", DAY * 400);
    place.round().await;
    // The right catalog knows it.
    place.file("file-1").await;
    place.round().await;
    let json = std::fs::read_to_string(place.path("unknown.json")).unwrap();
    assert!(
        json.contains("notes.txt") && !json.contains("file-1"),
        "{json}"
    );
}

#[tokio::test]
async fn what_a_row_still_needs_stays_however_old() {
    let place = Place::new();
    place.file("file-1").await;
    place.pending("file-2").await;
    let leased = place.leased_twice().await;
    let [first, second] = parts(&leased);
    let held = [
        "blobs/files/file-1/data",
        "blobs/files/file-2/data#1",
        "blobs/batches/batch_1/plan",
        "blobs/batches/batch_1/segments/0.2",
        &first,
        &second,
    ];
    place.put_all(&held, DAY * 400);
    let survey = place.sweeper.survey(Act::All).await.unwrap();
    assert_eq!(survey, Survey::default());
    assert!(held.iter().all(|name| place.is_there(name)));
}

#[tokio::test]
async fn litter_of_a_sealed_segment_goes_at_once_and_its_blob_stays() {
    let place = Place::new();
    let leased = place.leased_twice().await;
    let [first, second] = parts(&leased);
    let litter = [
        "blobs/batches/batch_1/segments/0.1",
        "blobs/batches/batch_1/segments/0.1#1",
        &first,
        &second,
    ];
    place.put_all(&litter, Duration::ZERO);
    let sealed = "blobs/batches/batch_1/segments/0.2";
    place.put(sealed, Duration::ZERO);
    place.seal(&leased).await;

    let survey = place.sweeper.survey(Act::Litter).await.unwrap();
    assert_eq!((survey.litter.objects, survey.litter.bytes), (4, 20));
    assert!(!litter.iter().any(|name| place.is_there(name)));
    assert!(place.is_there(sealed));
}

#[tokio::test]
async fn before_the_files_of_a_batch_are_named_only_the_blobs_that_count_are_left() {
    let place = Place::new();
    let leased = place.leased_twice().await;
    for name in ["batch_1/segments/0.1", "batch_1/segments/0.2", "batch_1.1"] {
        place.put(&format!("blobs/batches/{name}"), Duration::ZERO);
    }
    place.seal(&leased).await;
    let catalog = &place.sweeper.catalog;
    let rows = catalog.sealed_segments(leased.key.batch, 0, 10).await;
    let batch = catalog.leased_batch(leased.key.batch).await.unwrap();
    let batch = BatchRow {
        only: Some(Entry::default()),
        ..batch.unwrap()
    };
    place
        .sweeper
        .superseded(&batch, &rows.unwrap())
        .await
        .unwrap();
    assert!(!place.is_there("blobs/batches/batch_1/segments/0.1"));
    assert!(!place.is_there("blobs/batches/batch_1.1"));
    assert!(place.is_there("blobs/batches/batch_1/segments/0.2"));
}

#[tokio::test]
async fn looking_counts_what_a_sweep_would_take_and_takes_nothing() {
    let place = Place::new();
    place.file("file-1").await;
    place.pending("file-2").await;
    place.put("blobs/files/file-1/data", Duration::ZERO);
    place.put("blobs/files/file-2/data", Duration::ZERO);
    let deleted = place.sweeper.catalog.delete_file("tenant", "file-1").await;
    assert!(deleted.unwrap());
    place.clock.advance(DAY);

    let survey = place.sweeper.survey(Act::Look).await.unwrap();
    let due: Vec<_> = survey
        .due
        .iter()
        .map(|(due, tally)| (*due, tally.bytes))
        .collect();
    assert_eq!(due, [(Due::File, 10)]);
    assert!(Path::new(&place.path("blobs/files/file-1/data")).exists());
    let gone = place.sweeper.files().await.unwrap();
    assert_eq!((gone.objects, gone.bytes), (2, 10));
}

#[tokio::test]
async fn more_files_than_a_page_go_in_one_round() {
    let place = Place::new();
    for n in 0..PAGE + 3 {
        place.pending(&format!("file-{n}")).await;
    }
    place.put("blobs/files/file-258/data", Duration::ZERO);
    place.clock.advance(DAY);
    assert_eq!(place.sweeper.files().await.unwrap().objects, 1);
    let left = place.sweeper.catalog.sweepable_files(Duration::ZERO, 9);
    assert!(left.await.unwrap().is_empty());
}

#[tokio::test]
async fn while_a_backup_copies_nothing_goes_and_afterwards_all_of_it_does() {
    let place = Place::new();
    let leased = place.leased_twice().await;
    place.pending("file-1").await;
    place.seal(&leased).await;
    let part = format!("journal/{}.1", leased.key);
    let all = [
        "blobs/files/file-1/data",
        "blobs/batches/batch_1/segments/0.1",
        "blobs/unknown",
        &part,
    ];
    place.put_all(&all, DAY * 2);
    place.clock.advance(DAY);
    let left = |place: &Place| all.map(|name| place.is_there(name));

    let held = place.sweeper.hold.take().unwrap();
    assert_eq!(place.sweeper.files().await.unwrap(), Tally::default());
    assert!(place.sweeper.survey(Act::All).await.unwrap().put_off);
    assert!(!place.sweeper.journal_litter().await.unwrap());
    assert_eq!(left(&place), [true; 4]);

    drop(held);
    assert!(place.sweeper.journal_litter().await.unwrap());
    assert_eq!(place.sweeper.files().await.unwrap().objects, 1);
    assert!(!place.sweeper.survey(Act::All).await.unwrap().put_off);
    assert_eq!(left(&place), [false; 4]);
}

#[tokio::test]
async fn parts_of_another_history_are_set_aside_and_are_no_litter() {
    let place = Place::new();
    let leased = place.leased_twice().await;
    let (ours, newer) = (format!("{}.2", leased.key), format!("{}.3", leased.key));
    let strays: Vec<_> = (0..PAGE + 3).map(|n| format!("99-{n}.1")).collect();
    for name in [&ours, &newer].into_iter().chain(&strays) {
        place.put(&format!("journal/{name}"), DAY * 2);
    }
    place.put("journal/notes.txt", DAY * 2);
    place.sweeper.set_strays_aside().await.unwrap();

    assert!(place.is_there(&format!("journal/{ours}")));
    assert!(place.is_there("journal/notes.txt"));
    let aside = |name: &String| place.is_there(&format!("journal/strays/{name}.0"));
    assert!(aside(&newer) && strays.iter().all(aside));
    // What was set aside is for a person to look at: no survey takes it.
    let survey = place.sweeper.survey(Act::All).await.unwrap();
    assert_eq!(survey.first_unknown, ["journal/notes.txt"]);
    assert!(aside(&newer) && strays.iter().all(aside));
}
