//! Promises about what goes: bytes, rows, and objects that nobody claims.

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const KEEP: Keep = Keep {
    bytes: HOUR,
    rows: Duration::from_secs(90 * 24 * 3600),
};

async fn sweepable(catalog: &dyn Catalog) -> Vec<String> {
    let files = catalog.sweepable_files(KEEP.bytes, 10).await.unwrap();
    files.into_iter().map(|file| file.id).collect()
}

async fn claim(catalog: &dyn Catalog, name: Named) -> Claim {
    catalog.claims(vec![name], KEEP).await.unwrap()[0]
}

async fn claim_file(catalog: &dyn Catalog, id: &str) -> Claim {
    claim(catalog, Named::File(id.to_owned())).await
}

fn blob(batch: &str, index: u32, epoch: u32) -> Named {
    Named::Blob {
        batch: batch.to_owned(),
        index,
        epoch,
    }
}

fn part(batch: i64, index: u32, epoch: u32) -> Named {
    Named::Part {
        segment: SegmentKey { batch, index },
        epoch,
    }
}

/// A batch that has ended, with both result files.
async fn ended(catalog: &dyn Catalog) -> BatchRow {
    let key = finalizing(catalog).await;
    catalog.lease_finish(ME).await.unwrap().unwrap();
    assert!(catalog.finish(ME, key, whole()).await.unwrap());
    row(catalog, key).await
}

async fn delete_results(catalog: &dyn Catalog, batch: &BatchRow) {
    for id in [&batch.output_file_id, &batch.error_file_id] {
        let id = id.as_deref().unwrap();
        assert!(catalog.delete_file(TENANT, id).await.unwrap());
    }
}

async fn sweep_results(catalog: &dyn Catalog, batch: &BatchRow) {
    for id in [&batch.output_file_id, &batch.error_file_id] {
        catalog.file_swept(id.as_deref().unwrap()).await.unwrap();
    }
}

pub(super) async fn a_deleted_file_keeps_its_bytes_for_who_is_reading(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    file(catalog, "file-1").await;
    catalog.delete_file(TENANT, "file-1").await.unwrap();
    assert_eq!(catalog.file(TENANT, "file-1").await.unwrap(), None);
    clock.advance(HOUR - Duration::from_millis(1));
    assert!(sweepable(catalog).await.is_empty());
    assert_eq!(claim_file(catalog, "file-1").await, Claim::Held);

    clock.advance(Duration::from_millis(1));
    assert_eq!(sweepable(catalog).await, ["file-1"]);
    assert_eq!(claim_file(catalog, "file-1").await, Claim::Due(Due::File));
}

pub(super) async fn an_expired_file_keeps_its_bytes_as_long(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    pending(catalog, "file-1").await;
    let short = ReadyFile {
        expires_after: Some(DAY),
        ..description()
    };
    catalog.ready_file("file-1", short).await.unwrap();
    clock.advance(DAY + HOUR - Duration::from_millis(1));
    assert!(sweepable(catalog).await.is_empty());

    clock.advance(Duration::from_millis(1));
    assert_eq!(sweepable(catalog).await, ["file-1"]);
    assert_eq!(claim_file(catalog, "file-1").await, Claim::Due(Due::File));
}

pub(super) async fn a_file_is_held_from_its_id_to_its_last_byte(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    assert_eq!(claim_file(catalog, "file-1").await, Claim::Unknown);
    pending(catalog, "file-1").await;
    assert_eq!(claim_file(catalog, "file-1").await, Claim::Held);
    clock.advance(DAY);
    assert_eq!(claim_file(catalog, "file-1").await, Claim::Due(Due::File));
    catalog.ready_file("file-1", description()).await.unwrap();
    assert_eq!(claim_file(catalog, "file-1").await, Claim::Held);
    catalog.delete_file(TENANT, "file-1").await.unwrap();
    catalog.file_swept("file-1").await.unwrap();
    assert_eq!(claim_file(catalog, "file-1").await, Claim::Litter);
}

pub(super) async fn an_input_in_use_is_held_whatever_its_row_says(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    file(catalog, "file-input").await;
    let key = create(catalog, new_batch("batch_1", TENANT)).await.key;
    catalog.delete_file(TENANT, "file-input").await.unwrap();
    clock.advance(HOUR);
    assert_eq!(claim_file(catalog, "file-input").await, Claim::Held);
    cancel(catalog, key).await;
    assert_eq!(
        claim_file(catalog, "file-input").await,
        Claim::Due(Due::File)
    );
}

pub(super) async fn an_id_that_a_batch_has_reserved_is_held_however_long_it_takes(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    finalizing(catalog).await;
    let work = catalog.lease_finish(ME).await.unwrap().unwrap();
    clock.advance(DAY * 2);
    assert_eq!(claim_file(catalog, &work.output_file_id).await, Claim::Held);
}

pub(super) async fn a_blob_below_the_newest_epoch_of_its_segment_is_litter(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    running(catalog, new_batch("batch_1", TENANT), 1).await;
    let first = lease(catalog, ME, 1).await;
    assert_eq!(claim(catalog, blob("batch_1", 0, 1)).await, Claim::Held);

    let released = catalog.park(ME, first[0].key, PutDown::new(cut(1, 5), Until::NextLease));
    assert!(released.await.unwrap());
    let again = lease(catalog, ME, 1).await;
    assert_eq!(again[0].epoch, 2);
    assert_eq!(claim(catalog, blob("batch_1", 0, 1)).await, Claim::Litter);
    assert_eq!(claim(catalog, blob("batch_1", 0, 2)).await, Claim::Held);
    assert_eq!(claim(catalog, blob("batch_1", 1, 1)).await, Claim::Held);
    assert_eq!(claim(catalog, blob("batch_2", 0, 1)).await, Claim::Unknown);

    seal(catalog, &again[0], sealed(9, 1)).await;
    assert_eq!(claim(catalog, blob("batch_1", 0, 1)).await, Claim::Litter);
    assert_eq!(claim(catalog, blob("batch_1", 0, 2)).await, Claim::Held);
}

pub(super) async fn a_journal_part_is_held_until_its_segment_is_sealed(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    let batch = running(catalog, new_batch("batch_1", TENANT), 2).await;
    let leased = lease(catalog, ME, 1).await;
    assert_eq!(claim(catalog, part(batch, 0, 1)).await, Claim::Held);
    assert_eq!(claim(catalog, part(batch, 0, 2)).await, Claim::Unknown);
    assert_eq!(claim(catalog, part(batch, 1, 1)).await, Claim::Unknown);
    assert_eq!(claim(catalog, part(batch + 1, 0, 1)).await, Claim::Unknown);

    seal(catalog, &leased[0], sealed(9, 1)).await;
    assert_eq!(claim(catalog, part(batch, 0, 1)).await, Claim::Litter);
    assert_eq!(claim(catalog, part(batch, 0, 2)).await, Claim::Litter);
    assert_eq!(claim(catalog, part(batch, 1, 1)).await, Claim::Unknown);
}

pub(super) async fn what_a_batch_has_is_held_until_both_results_are_gone(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    let batch = ended(catalog).await;
    let plan = Named::Batch(batch.id.clone());
    let part = part(batch.key, 0, 1);
    assert_eq!(claim(catalog, plan.clone()).await, Claim::Held);
    assert_eq!(claim(catalog, part).await, Claim::Litter);

    delete_results(catalog, &batch).await;
    assert_eq!(claim(catalog, plan.clone()).await, Claim::Held);
    clock.advance(HOUR);
    let due = Claim::Due(Due::Batch);
    assert_eq!(claim(catalog, plan.clone()).await, due);
    assert_eq!(claim(catalog, blob(&batch.id, 0, 1)).await, due);

    sweep_results(catalog, &batch).await;
    catalog.batch_swept(batch.key).await.unwrap();
    assert_eq!(claim(catalog, plan).await, Claim::Litter);
}

pub(super) async fn a_batchs_blobs_outlast_the_readers_of_its_results(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    let batch = ended(catalog).await;
    delete_results(catalog, &batch).await;
    assert!(catalog.sweepable_batches(0, 10).await.unwrap().is_empty());
    sweep_results(catalog, &batch).await;
    let sweepable = catalog.sweepable_batches(0, 10).await.unwrap();
    assert_eq!(sweepable[0].key, batch.key);
    assert!(
        catalog
            .sweepable_batches(batch.key, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

pub(super) async fn a_file_that_is_gone_is_a_cursor_for_its_time_and_then_forgotten(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    file(catalog, "file-1").await;
    catalog.delete_file(TENANT, "file-1").await.unwrap();
    clock.advance(KEEP.rows);
    assert_eq!(catalog.forget_files(KEEP.rows, 10).await.unwrap(), 0);

    catalog.file_swept("file-1").await.unwrap();
    let page = catalog.files(TENANT, query(10, Some("file-1")));
    assert!(page.await.unwrap().is_some());
    assert_eq!(catalog.due_rows(KEEP).await.unwrap().files, 1);
    assert_eq!(catalog.forget_files(KEEP.rows, 10).await.unwrap(), 1);
    let page = catalog.files(TENANT, query(10, Some("file-1")));
    assert!(page.await.unwrap().is_none());
}

pub(super) async fn a_file_that_is_gone_is_a_cursor_for_30_days_however_short_rows_are_kept(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    let keep = Keep { rows: DAY, ..KEEP };
    for id in ["file-1", "file-2"] {
        file(catalog, id).await;
    }
    catalog.delete_file(TENANT, "file-2").await.unwrap();
    catalog.file_swept("file-2").await.unwrap();
    clock.advance(DAY * 30 - Duration::from_millis(1));
    assert_eq!(catalog.due_rows(keep).await.unwrap().files, 0);
    assert_eq!(catalog.forget_files(keep.rows, 10).await.unwrap(), 0);
    assert_eq!(
        file_ids(catalog, query(10, Some("file-2"))).await,
        ["file-1"]
    );

    clock.advance(Duration::from_millis(1));
    assert_eq!(catalog.due_rows(keep).await.unwrap().files, 1);
    assert_eq!(catalog.forget_files(keep.rows, 10).await.unwrap(), 1);
}

pub(super) async fn a_batch_is_forgotten_long_after_its_end_and_never_before_its_results(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    let batch = ended(catalog).await;
    clock.advance(KEEP.rows);
    assert_eq!(catalog.forget_batches(KEEP.rows, 10).await.unwrap(), 0);

    delete_results(catalog, &batch).await;
    sweep_results(catalog, &batch).await;
    assert_eq!(catalog.forget_batches(KEEP.rows, 10).await.unwrap(), 0);
    catalog.batch_swept(batch.key).await.unwrap();
    let longer = KEEP.rows + Duration::from_secs(1);
    assert_eq!(catalog.forget_batches(longer, 10).await.unwrap(), 0);
    assert_eq!(catalog.due_rows(KEEP).await.unwrap().batches, 1);
    assert_eq!(catalog.forget_batches(KEEP.rows, 10).await.unwrap(), 1);

    assert!(catalog.batch(TENANT, &batch.id).await.unwrap().is_none());
    let page = catalog.batches(TENANT, 10, Some(&batch.id)).await;
    assert!(page.unwrap().is_none());
}

pub(super) async fn a_batch_that_a_repeated_create_would_name_is_not_forgotten(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    let once = Once {
        key: Some("key".to_owned()),
        request_hash: [7; 16],
        repeated: false,
    };
    let new = NewBatch {
        once: Some(once),
        ..new_batch("batch_1", TENANT)
    };
    let key = create(catalog, new).await.key;
    cancel(catalog, key).await;
    catalog.batch_swept(key).await.unwrap();
    assert_eq!(catalog.forget_batches(Duration::ZERO, 10).await.unwrap(), 0);

    clock.advance(DAY);
    let due = catalog.due_rows(Keep { rows: DAY, ..KEEP }).await.unwrap();
    assert_eq!((due.creates, due.batches), (1, 1));
    assert_eq!(catalog.forget_creates(10).await.unwrap(), 1);
    assert_eq!(catalog.forget_batches(DAY, 10).await.unwrap(), 1);
}
