//! Promises about files that come in parts.

use futures_util::future::join_all;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const MOMENT: Duration = Duration::from_millis(1);
const KEEP: Keep = Keep {
    bytes: HOUR,
    rows: DAY,
};

fn new_upload(id: &str, bytes: u64) -> NewUpload {
    NewUpload {
        id: id.to_owned(),
        tenant: TENANT.to_owned(),
        filename: "big.jsonl".to_owned(),
        purpose: "batch".to_owned(),
        bytes,
        expires_after: HOUR,
        file_expires_after: Some(DAY),
        once: None,
    }
}

fn once(key: &str, body: u8) -> Option<Once> {
    Some(Once {
        key: Some(key.to_owned()),
        request_hash: [body; 16],
        repeated: false,
    })
}

fn done<T: std::fmt::Debug>(asked: Asked<T>) -> T {
    match asked {
        Asked::Done(done) => done,
        other => panic!("not done: {other:?}"),
    }
}

fn ended<T: std::fmt::Debug>(asked: Asked<T>) -> UploadState {
    match asked {
        Asked::Ended(row) => row.state,
        other => panic!("not ended: {other:?}"),
    }
}

async fn upload(catalog: &dyn Catalog, id: &str, bytes: u64) -> UploadRow {
    done(catalog.create_upload(new_upload(id, bytes)).await.unwrap())
}

async fn begin(catalog: &dyn Catalog, upload: &str, part: &str) {
    done(catalog.create_part(TENANT, upload, part).await.unwrap());
}

fn ready(bytes: u64) -> ReadyPart {
    ReadyPart {
        bytes,
        breaks: 3,
        ends_line: true,
        index_bytes: 5,
        within: None,
        once: None,
    }
}

async fn part(catalog: &dyn Catalog, upload: &str, id: &str, bytes: u64) -> PartRow {
    begin(catalog, upload, id).await;
    done(catalog.ready_part(TENANT, id, ready(bytes)).await.unwrap())
}

fn of_parts(parts: &[&str]) -> Completion {
    Completion {
        parts: parts.iter().map(|id| (*id).to_owned()).collect(),
        file_id: "file-1".to_owned(),
        lines: 6,
        once: None,
    }
}

async fn complete(catalog: &dyn Catalog, upload: &str, parts: &[&str]) -> Asked<UploadRow> {
    let completion = of_parts(parts);
    let asked = catalog.complete_upload(TENANT, upload, completion).await;
    asked.unwrap()
}

async fn cancel_upload(catalog: &dyn Catalog, id: &str) -> Asked<UploadRow> {
    catalog.cancel_upload(TENANT, id, None).await.unwrap()
}

async fn state(catalog: &dyn Catalog, id: &str) -> UploadState {
    catalog.upload(TENANT, id).await.unwrap().unwrap().state
}

async fn stored(catalog: &dyn Catalog) -> u64 {
    catalog.stored(TENANT).await.unwrap().bytes
}

async fn claim(catalog: &dyn Catalog, upload: &str, part: &str) -> Claim {
    let name = Named::UploadPart {
        upload: upload.to_owned(),
        part: part.to_owned(),
    };
    catalog.claims(vec![name], KEEP).await.unwrap()[0]
}

/// `upload_1` with two ready parts, `part_1` of 4 bytes and `part_2` of 6; and `part_3`, which no file of
/// ten bytes has.
async fn three_parts(catalog: &dyn Catalog) {
    upload(catalog, "upload_1", 10).await;
    for (id, bytes) in [("part_1", 4), ("part_2", 6), ("part_3", 7)] {
        part(catalog, "upload_1", id, bytes).await;
    }
}

pub(super) async fn parts_in_the_order_of_the_client_are_a_file(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    three_parts(catalog).await;
    pending(catalog, "file-1").await;
    clock.advance(Duration::from_secs(60));
    let row = done(complete(catalog, "upload_1", &["part_2", "part_1"]).await);
    assert_eq!(row.state, UploadState::Completed);
    assert_eq!(row.file_id.as_deref(), Some("file-1"));
    assert_eq!(
        catalog.upload(TENANT, "upload_1").await.unwrap(),
        Some(row.clone())
    );

    let file = catalog.file(TENANT, "file-1").await.unwrap().unwrap();
    assert_eq!((file.bytes, file.lines), (10, Some(6)));
    assert_eq!(
        (file.filename.as_str(), file.purpose.as_str()),
        ("big.jsonl", "batch")
    );
    assert_eq!(file.created_at, row.created_at + 60);
    assert_eq!(file.expires_at, Some(file.created_at + 24 * 3600));
    assert_eq!(file.upload.as_deref(), Some("upload_1"));
    let mut parts = catalog.parts(row.key).await.unwrap();
    parts.sort_by_key(|part| part.place);
    let ids: Vec<_> = parts.iter().map(|part| part.id.as_str()).collect();
    assert_eq!(ids, ["part_2", "part_1"]);
}

pub(super) async fn a_part_is_none_before_its_bytes_are_there(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    let row = upload(catalog, "upload_1", 10).await;
    begin(catalog, "upload_1", "part_1").await;
    assert_eq!(catalog.parts(row.key).await.unwrap(), []);
    assert_eq!(catalog.part(TENANT, "part_1").await.unwrap(), None);
    let part = done(
        catalog
            .ready_part(TENANT, "part_1", ready(10))
            .await
            .unwrap(),
    );
    assert_eq!((part.upload.as_str(), part.place), ("upload_1", None));
    assert_eq!((part.bytes, part.breaks, part.index_bytes), (10, 3, 5));
    let all = catalog.parts(row.key).await.unwrap();
    assert_eq!(all, std::slice::from_ref(&part));
    assert_eq!(catalog.part(TENANT, "part_1").await.unwrap(), Some(part));
}

pub(super) async fn a_part_that_was_given_up_cannot_get_ready_and_a_ready_one_stays(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    let row = upload(catalog, "upload_1", 10).await;
    begin(catalog, "upload_1", "part_1").await;
    catalog.abandon_part("part_1").await.unwrap();
    let late = catalog.ready_part(TENANT, "part_1", ready(10)).await;
    assert_eq!(late.unwrap(), Asked::Missing);

    part(catalog, "upload_1", "part_2", 10).await;
    catalog.abandon_part("part_2").await.unwrap();
    assert_eq!(catalog.parts(row.key).await.unwrap().len(), 1);
}

pub(super) async fn another_tenant_has_no_part_in_an_upload(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    three_parts(catalog).await;
    pending(catalog, "file-1").await;
    let missing = Asked::Missing;
    assert_eq!(catalog.upload("stranger", "upload_1").await.unwrap(), None);
    assert_eq!(catalog.part("stranger", "part_1").await.unwrap(), None);
    let part = catalog.create_part("stranger", "upload_1", "part_9").await;
    assert_eq!(part.unwrap(), Asked::Missing);
    begin(catalog, "upload_1", "part_4").await;
    let part = catalog.ready_part("stranger", "part_4", ready(1)).await;
    assert_eq!(part.unwrap(), Asked::Missing);
    let completion = of_parts(&["part_1", "part_2"]);
    let completed = catalog.complete_upload("stranger", "upload_1", completion);
    assert_eq!(completed.await.unwrap(), missing);
    let cancelled = catalog.cancel_upload("stranger", "upload_1", None).await;
    assert_eq!(cancelled.unwrap(), missing);
    assert_eq!(state(catalog, "upload_1").await, UploadState::Pending);
}

pub(super) async fn a_completion_that_does_not_fit_changes_nothing(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    three_parts(catalog).await;
    upload(catalog, "upload_2", 4).await;
    part(catalog, "upload_2", "part_of_2", 4).await;
    begin(catalog, "upload_1", "part_4").await;
    pending(catalog, "file-1").await;
    let unfit: [&[&str]; 5] = [
        &["part_1"],
        &["part_1", "part_1", "part_2"],
        &["part_1", "part_2", "part_9"],
        &["part_of_2", "part_2"],
        &["part_1", "part_2", "part_4"],
    ];
    for parts in unfit {
        let refused = catalog.complete_upload(TENANT, "upload_1", of_parts(parts));
        refused.await.unwrap_err();
    }
    assert_eq!(state(catalog, "upload_1").await, UploadState::Pending);
    assert_eq!(catalog.file(TENANT, "file-1").await.unwrap(), None);
    assert_eq!(stored(catalog).await, 21);
    done(complete(catalog, "upload_1", &["part_1", "part_2"]).await);
}

pub(super) async fn a_completion_without_a_pending_file_changes_nothing(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    three_parts(catalog).await;
    let completion = of_parts(&["part_1", "part_2"]);
    let refused = catalog.complete_upload(TENANT, "upload_1", completion);
    assert_eq!(refused.await.unwrap_err().kind(), ErrorKind::Missing);
    assert_eq!(state(catalog, "upload_1").await, UploadState::Pending);
    assert_eq!(stored(catalog).await, 17);
}

pub(super) async fn an_upload_that_has_ended_takes_nothing_more(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    three_parts(catalog).await;
    pending(catalog, "file-1").await;
    done(complete(catalog, "upload_1", &["part_1", "part_2"]).await);
    upload(catalog, "upload_2", 10).await;
    begin(catalog, "upload_2", "part_of_2").await;
    done(cancel_upload(catalog, "upload_2").await);
    upload(catalog, "upload_3", 10).await;
    begin(catalog, "upload_3", "part_of_3").await;
    clock.advance(HOUR);
    let states = [
        ("upload_1", UploadState::Completed),
        ("upload_2", UploadState::Cancelled),
        ("upload_3", UploadState::Expired),
    ];
    for (id, expected) in states {
        assert_eq!(state(catalog, id).await, expected);
        let part = catalog.create_part(TENANT, id, "part_late").await.unwrap();
        assert_eq!(ended(part), expected);
        assert_eq!(ended(complete(catalog, id, &[]).await), expected);
    }
    for part in ["part_of_2", "part_of_3"] {
        let late = catalog.ready_part(TENANT, part, ready(10)).await.unwrap();
        assert!(matches!(late, Asked::Ended(_)), "{late:?}");
    }
    for id in ["upload_1", "upload_3"] {
        let cancelled = cancel_upload(catalog, id).await;
        assert!(matches!(cancelled, Asked::Ended(_)), "{cancelled:?}");
    }
    let again = done(cancel_upload(catalog, "upload_2").await);
    assert_eq!(again.state, UploadState::Cancelled);
}

pub(super) async fn parts_count_from_ready_until_their_upload_ends(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    upload(catalog, "upload_1", 10).await;
    begin(catalog, "upload_1", "part_1").await;
    assert_eq!(stored(catalog).await, 0);
    done(
        catalog
            .ready_part(TENANT, "part_1", ready(10))
            .await
            .unwrap(),
    );
    part(catalog, "upload_1", "part_2", 3).await;
    assert_eq!(stored(catalog).await, 13);
    // A file counts instead of its parts, and the others no more.
    pending(catalog, "file-1").await;
    done(complete(catalog, "upload_1", &["part_1"]).await);
    assert_eq!(stored(catalog).await, 10);
    catalog.delete_file(TENANT, "file-1").await.unwrap();
    assert_eq!(stored(catalog).await, 0);

    upload(catalog, "upload_2", 10).await;
    part(catalog, "upload_2", "part_3", 10).await;
    done(cancel_upload(catalog, "upload_2").await);
    done(cancel_upload(catalog, "upload_2").await);
    assert_eq!(stored(catalog).await, 0);
    // What has expired counts until it is swept, as a file does.
    upload(catalog, "upload_3", 10).await;
    part(catalog, "upload_3", "part_4", 10).await;
    clock.advance(HOUR);
    assert_eq!(stored(catalog).await, 10);
    catalog.sweepable_uploads(10).await.unwrap();
    assert_eq!(stored(catalog).await, 0);
    assert_eq!(catalog.stored_by_all().await.unwrap().bytes, 0);
}

pub(super) async fn a_part_over_what_its_tenant_may_have_does_not_get_ready(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    file(catalog, "file-0").await;
    upload(catalog, "upload_1", 10).await;
    begin(catalog, "upload_1", "part_1").await;
    let within = |within| ReadyPart {
        within: Some(within),
        ..ready(10)
    };
    let refused = catalog.ready_part(TENANT, "part_1", within(109)).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Full);
    assert_eq!(stored(catalog).await, 100);
    done(
        catalog
            .ready_part(TENANT, "part_1", within(110))
            .await
            .unwrap(),
    );
    assert_eq!(stored(catalog).await, 110);
}

pub(super) async fn an_upload_takes_no_more_bytes_than_it_can_need(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    upload(catalog, "upload_1", 10).await;
    part(catalog, "upload_1", "part_1", 20 + PART_BYTES - 1).await;
    begin(catalog, "upload_1", "part_2").await;
    let refused = catalog.ready_part(TENANT, "part_2", ready(2)).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    done(
        catalog
            .ready_part(TENANT, "part_2", ready(1))
            .await
            .unwrap(),
    );
    let refused = catalog.create_part(TENANT, "upload_1", "part_3").await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
}

pub(super) async fn an_upload_takes_no_more_parts_than_it_may(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    upload(catalog, "upload_1", 10).await;
    let ids: Vec<_> = (0..PARTS).map(|n| format!("part_{n}")).collect();
    let all = ids
        .iter()
        .map(|id| catalog.create_part(TENANT, "upload_1", id));
    for part in join_all(all).await {
        done(part.unwrap());
    }
    let more = || catalog.create_part(TENANT, "upload_1", "part_more");
    assert_eq!(more().await.unwrap_err().kind(), ErrorKind::Invalid);
    catalog.abandon_part("part_7").await.unwrap();
    done(more().await.unwrap());
}

pub(super) async fn a_loop_that_only_creates_uploads_ends(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    for n in 0..PENDING_UPLOADS {
        upload(catalog, &format!("upload_{n}"), 10).await;
    }
    let more = || catalog.create_upload(new_upload("upload_more", 10));
    let refused = more().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Full);
    let other = NewUpload {
        tenant: "other".to_owned(),
        ..new_upload("upload_of_other", 10)
    };
    done(catalog.create_upload(other).await.unwrap());
    done(cancel_upload(catalog, "upload_7").await);
    done(more().await.unwrap());
    clock.advance(HOUR);
    upload(catalog, "upload_later", 10).await;
}

pub(super) async fn a_file_of_parts_takes_them_with_it(catalog: &dyn Catalog, clock: &ManualClock) {
    three_parts(catalog).await;
    begin(catalog, "upload_1", "part_4").await;
    let all = ["part_1", "part_2", "part_3", "part_4"];
    for part in all {
        assert_eq!(claim(catalog, "upload_1", part).await, Claim::Held);
    }
    pending(catalog, "file-1").await;
    done(complete(catalog, "upload_1", &["part_1", "part_2"]).await);
    // Those that it is not made of go by themselves, also one that was still coming.
    let due = Claim::Due(Due::Upload);
    assert_eq!(claim(catalog, "upload_1", "part_1").await, Claim::Held);
    assert_eq!(claim(catalog, "upload_1", "part_3").await, due);
    let unused = ["part_3", "part_4"].map(|part| ("upload_1".to_owned(), part.to_owned()));
    assert_eq!(catalog.sweepable_parts(10).await.unwrap(), unused);
    for (_, part) in &unused {
        catalog.abandon_part(part).await.unwrap();
    }
    assert_eq!(catalog.sweepable_parts(10).await.unwrap(), []);
    assert_eq!(claim(catalog, "upload_1", "part_3").await, Claim::Unknown);

    catalog.delete_file(TENANT, "file-1").await.unwrap();
    assert_eq!(claim(catalog, "upload_1", "part_1").await, Claim::Held);
    clock.advance(HOUR);
    let due = Claim::Due(Due::File);
    assert_eq!(claim(catalog, "upload_1", "part_1").await, due);
    let sweepable = catalog.sweepable_files(HOUR, 10).await.unwrap();
    assert_eq!(sweepable[0].upload.as_deref(), Some("upload_1"));
    catalog.file_swept("file-1").await.unwrap();
    assert_eq!(claim(catalog, "upload_1", "part_1").await, Claim::Litter);
    assert_eq!(catalog.part(TENANT, "part_1").await.unwrap(), None);
}

pub(super) async fn parts_of_an_upload_that_became_no_file_may_go(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    for id in ["upload_1", "upload_2"] {
        upload(catalog, id, 10).await;
        part(catalog, id, &format!("part_of_{id}"), 10).await;
    }
    assert_eq!(catalog.sweepable_uploads(10).await.unwrap(), []);
    done(cancel_upload(catalog, "upload_1").await);
    let due = Claim::Due(Due::Upload);
    assert_eq!(claim(catalog, "upload_1", "part_of_upload_1").await, due);
    clock.advance(HOUR - MOMENT);
    assert_eq!(
        claim(catalog, "upload_2", "part_of_upload_2").await,
        Claim::Held
    );
    clock.advance(MOMENT);
    assert_eq!(claim(catalog, "upload_2", "part_of_upload_2").await, due);
    let sweepable = catalog.sweepable_uploads(10).await.unwrap();
    let ids: Vec<_> = sweepable.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["upload_1", "upload_2"]);
    for id in ids {
        catalog.upload_swept(id).await.unwrap();
    }
    assert_eq!(catalog.sweepable_uploads(10).await.unwrap(), []);
    assert_eq!(
        claim(catalog, "upload_1", "part_of_upload_1").await,
        Claim::Litter
    );
    assert_eq!(claim(catalog, "upload_3", "part").await, Claim::Unknown);
}

pub(super) async fn an_upload_is_forgotten_a_day_after_its_end_and_not_before_its_parts(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    three_parts(catalog).await;
    done(cancel_upload(catalog, "upload_1").await);
    clock.advance(DAY);
    assert_eq!(catalog.forget_uploads(10).await.unwrap(), 0);
    catalog.upload_swept("upload_1").await.unwrap();
    assert_eq!(catalog.due_rows(KEEP).await.unwrap().uploads, 1);
    assert_eq!(catalog.forget_uploads(10).await.unwrap(), 1);
    assert_eq!(catalog.upload(TENANT, "upload_1").await.unwrap(), None);

    // As long as a key names it, it is known.
    let keyed = NewUpload {
        once: once("k", 1),
        expires_after: MOMENT,
        ..new_upload("upload_2", 10)
    };
    done(catalog.create_upload(keyed).await.unwrap());
    clock.advance(MOMENT);
    catalog.sweepable_uploads(10).await.unwrap();
    catalog.upload_swept("upload_2").await.unwrap();
    clock.advance(DAY);
    assert_eq!(catalog.forget_uploads(10).await.unwrap(), 0);
    assert_eq!(catalog.forget_creates(10).await.unwrap(), 1);
    assert_eq!(catalog.forget_uploads(10).await.unwrap(), 1);
}

pub(super) async fn the_same_key_is_the_same_upload_as_it_is_now(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    let keyed = |id: &str, body| NewUpload {
        once: once("k", body),
        ..new_upload(id, 10)
    };
    let made = done(catalog.create_upload(keyed("upload_1", 1)).await.unwrap());
    let again = catalog.create_upload(keyed("upload_2", 1)).await.unwrap();
    assert_eq!(done(again), made);
    let other = catalog.create_upload(keyed("upload_3", 2)).await.unwrap();
    assert_eq!(other, Asked::Mismatch("upload_1".to_owned()));
    assert_eq!(catalog.upload(TENANT, "upload_2").await.unwrap(), None);

    let cancel = |id: &'static str, body| catalog.cancel_upload(TENANT, id, once("k", body));
    let cancelled = done(cancel("upload_1", 1).await.unwrap());
    assert_eq!(done(cancel("upload_1", 1).await.unwrap()), cancelled);
    let other = cancel("upload_1", 2).await.unwrap();
    assert_eq!(other, Asked::Mismatch("upload_1".to_owned()));
    let again = catalog.create_upload(keyed("upload_4", 1)).await.unwrap();
    assert_eq!(done(again).state, UploadState::Cancelled);
}

pub(super) async fn a_part_and_a_completion_are_remembered_by_their_keys(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    upload(catalog, "upload_1", 10).await;
    for id in ["part_1", "part_2"] {
        begin(catalog, "upload_1", id).await;
    }
    let keyed = || ReadyPart {
        once: once("k", 1),
        ..ready(10)
    };
    done(catalog.ready_part(TENANT, "part_1", keyed()).await.unwrap());
    let made = catalog.made(TENANT, Route::Parts, "k").await.unwrap();
    assert_eq!(made.unwrap().id, "part_1");
    let late = catalog.ready_part(TENANT, "part_2", keyed()).await;
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(stored(catalog).await, 10);

    pending(catalog, "file-1").await;
    let completion = Completion {
        once: once("k", 2),
        ..of_parts(&["part_1"])
    };
    done(
        catalog
            .complete_upload(TENANT, "upload_1", completion)
            .await
            .unwrap(),
    );
    let made = catalog.made(TENANT, Route::Complete, "k").await.unwrap();
    assert_eq!(made.unwrap().id, "upload_1");
}
