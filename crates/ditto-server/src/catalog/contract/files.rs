//! Promises about files.

use super::*;

pub(super) async fn a_pending_file_is_unseen_until_it_is_ready(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    pending(catalog, "file-1").await;
    assert_eq!(catalog.file(TENANT, "file-1").await.unwrap(), None);
    assert!(file_ids(catalog, query(10, None)).await.is_empty());

    let row = catalog.ready_file("file-1", description()).await.unwrap();
    assert_eq!(
        (row.state, row.bytes, row.lines),
        (FileState::Ready, 100, Some(7))
    );
    assert_eq!(catalog.file(TENANT, "file-1").await.unwrap(), Some(row));
}

pub(super) async fn an_abandoned_upload_cannot_become_a_file(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    pending(catalog, "file-1").await;
    catalog.abandon_file("file-1").await.unwrap();
    let error = catalog
        .ready_file("file-1", description())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
}

pub(super) async fn abandoning_a_ready_file_changes_nothing(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    let row = file(catalog, "file-1").await;
    catalog.abandon_file("file-1").await.unwrap();
    assert_eq!(catalog.file(TENANT, "file-1").await.unwrap(), Some(row));
}

pub(super) async fn another_tenant_sees_and_deletes_nothing(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    file(catalog, "file-1").await;
    let key = create(catalog, new_batch("batch_1", TENANT)).await.key;
    assert_eq!(catalog.file("stranger", "file-1").await.unwrap(), None);
    assert!(!catalog.delete_file("stranger", "file-1").await.unwrap());
    assert!(
        catalog
            .files("stranger", query(9, Some("file-1")))
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        catalog
            .batch("stranger", "batch_1")
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        catalog
            .batches("stranger", 9, Some("batch_1"))
            .await
            .unwrap()
            .is_none()
    );
    let cancelled = catalog.cancel_batch("stranger", "batch_1").await.unwrap();
    assert!(matches!(cancelled, Cancelled::Missing));
    assert_eq!(row(catalog, key).await.ending, None);
}

pub(super) async fn an_expired_file_is_gone_before_it_is_swept(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    pending(catalog, "file-1").await;
    let short = ReadyFile {
        expires_after: Some(Duration::from_secs(60)),
        ..description()
    };
    let row = catalog.ready_file("file-1", short).await.unwrap();
    assert_eq!(row.expires_at, Some(row.created_at + 60));

    clock.advance(Duration::from_secs(60));
    assert_eq!(catalog.file(TENANT, "file-1").await.unwrap(), None);
    assert!(file_ids(catalog, query(10, None)).await.is_empty());
    assert!(!catalog.delete_file(TENANT, "file-1").await.unwrap());
    let sweepable = catalog.sweepable_files(Duration::ZERO, 10).await.unwrap();
    assert_eq!(sweepable.len(), 1);

    catalog.file_swept("file-1").await.unwrap();
    assert!(
        catalog
            .sweepable_files(Duration::ZERO, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

pub(super) async fn a_deleted_file_is_a_cursor_and_no_file(catalog: &dyn Catalog, _: &ManualClock) {
    for id in ["file-1", "file-2", "file-3"] {
        file(catalog, id).await;
    }
    assert!(catalog.delete_file(TENANT, "file-2").await.unwrap());
    assert!(!catalog.delete_file(TENANT, "file-2").await.unwrap());
    assert_eq!(catalog.file(TENANT, "file-2").await.unwrap(), None);
    catalog.file_swept("file-2").await.unwrap();
    assert_eq!(
        file_ids(catalog, query(10, Some("file-2"))).await,
        ["file-1"]
    );
}

pub(super) async fn a_cursor_that_never_was_is_refused(catalog: &dyn Catalog, _: &ManualClock) {
    pending(catalog, "file-pending").await;
    assert!(
        catalog
            .files(TENANT, query(10, Some("file-0")))
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        catalog
            .files(TENANT, query(10, Some("file-pending")))
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        catalog
            .batches(TENANT, 10, Some("batch_0"))
            .await
            .unwrap()
            .is_none()
    );
}

pub(super) async fn pages_of_files_hold_each_once_while_others_arrive(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    // Two of each time, so that the sequence has to decide.
    for n in 0..5 {
        file(catalog, &format!("file-{n}a")).await;
        file(catalog, &format!("file-{n}b")).await;
        clock.advance(Duration::from_millis(1));
    }
    let mut seen: Vec<String> = Vec::new();
    loop {
        let after = seen.last().map(String::as_str);
        let page = catalog
            .files(TENANT, query(3, after))
            .await
            .unwrap()
            .unwrap();
        seen.extend(page.rows.into_iter().map(|row| row.id));
        file(catalog, &format!("file-new{}", seen.len())).await;
        if !page.has_more {
            break;
        }
    }
    let expected: Vec<_> = (0..5)
        .rev()
        .flat_map(|n| [format!("file-{n}b"), format!("file-{n}a")])
        .collect();
    assert_eq!(seen, expected);
}

pub(super) async fn a_slow_upload_is_not_missed_by_a_reader_that_is_past_its_beginning(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    pending(catalog, "file-slow").await;
    clock.advance(Duration::from_secs(1));
    file(catalog, "file-fast").await;
    clock.advance(Duration::from_secs(1));
    catalog
        .ready_file("file-slow", description())
        .await
        .unwrap();
    let ascending = FileQuery {
        order: Order::Asc,
        ..query(10, Some("file-fast"))
    };
    assert_eq!(file_ids(catalog, ascending).await, ["file-slow"]);
}

pub(super) async fn files_are_listed_by_purpose_in_both_orders(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    for (id, purpose) in [
        ("file-1", "batch"),
        ("file-2", "vision"),
        ("file-3", "batch"),
    ] {
        pending(catalog, id).await;
        let file = ReadyFile {
            purpose: purpose.to_owned(),
            ..description()
        };
        catalog.ready_file(id, file).await.unwrap();
    }
    let newest = FileQuery {
        purpose: Some("batch".to_owned()),
        ..query(10, None)
    };
    let oldest = FileQuery {
        order: Order::Asc,
        ..newest.clone()
    };
    assert_eq!(file_ids(catalog, newest).await, ["file-3", "file-1"]);
    assert_eq!(file_ids(catalog, oldest).await, ["file-1", "file-3"]);
    let all = FileQuery {
        order: Order::Asc,
        ..query(10, None)
    };
    assert_eq!(file_ids(catalog, all).await, ["file-1", "file-2", "file-3"]);
}

pub(super) async fn a_deleted_input_is_swept_when_its_batches_have_ended(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    file(catalog, "file-input").await;
    let key = create(catalog, new_batch("batch_1", TENANT)).await.key;
    catalog.delete_file(TENANT, "file-input").await.unwrap();
    assert!(
        catalog
            .sweepable_files(Duration::ZERO, 10)
            .await
            .unwrap()
            .is_empty()
    );

    cancel(catalog, key).await;
    let sweepable = catalog.sweepable_files(Duration::ZERO, 10).await.unwrap();
    assert_eq!(sweepable[0].id, "file-input");
}

pub(super) async fn a_batch_reads_the_input_that_was_there_when_it_was_made(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    pending(catalog, "file-input").await;
    let short = ReadyFile {
        expires_after: Some(Duration::from_secs(60)),
        ..description()
    };
    catalog.ready_file("file-input", short).await.unwrap();
    let before = create(catalog, new_batch("batch_1", TENANT)).await.key;
    let stranger = create(catalog, new_batch("batch_2", "stranger")).await.key;
    assert_eq!(catalog.input(stranger).await.unwrap(), None);

    // At the same moment: it is the order that counts, and not the clock.
    catalog.delete_file(TENANT, "file-input").await.unwrap();
    let after = create(catalog, new_batch("batch_3", TENANT)).await.key;
    let input = catalog.input(before).await.unwrap().unwrap();
    assert_eq!((input.id.as_str(), input.bytes), ("file-input", 100));
    assert_eq!(catalog.input(after).await.unwrap(), None);
    clock.advance(Duration::from_secs(60));
    assert!(catalog.input(before).await.unwrap().is_some());

    for key in [before, after, stranger] {
        cancel(catalog, key).await;
    }
    catalog.file_swept("file-input").await.unwrap();
    assert_eq!(catalog.input(before).await.unwrap(), None);
}

pub(super) async fn a_batch_reads_its_input_on_after_that_has_expired(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    pending(catalog, "file-input").await;
    let short = ReadyFile {
        expires_after: Some(Duration::from_secs(60)),
        ..description()
    };
    catalog.ready_file("file-input", short).await.unwrap();
    let before = create(catalog, new_batch("batch_1", TENANT)).await.key;
    clock.advance(Duration::from_secs(60));
    let after = create(catalog, new_batch("batch_2", TENANT)).await.key;
    assert!(catalog.input(before).await.unwrap().is_some());
    assert_eq!(catalog.input(after).await.unwrap(), None);
}

pub(super) async fn an_upload_that_nobody_finished_is_swept_after_a_day_and_stays_gone(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    pending(catalog, "file-1").await;
    clock.advance(DAY - Duration::from_secs(1));
    assert!(
        catalog
            .sweepable_files(Duration::ZERO, 10)
            .await
            .unwrap()
            .is_empty()
    );

    clock.advance(Duration::from_secs(1));
    let sweepable = catalog.sweepable_files(Duration::ZERO, 10).await.unwrap();
    assert_eq!(sweepable[0].id, "file-1");
    let error = catalog
        .ready_file("file-1", description())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
}
