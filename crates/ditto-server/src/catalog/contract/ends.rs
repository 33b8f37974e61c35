//! Promises about the end of a batch.

use super::*;

pub(super) async fn the_last_seal_takes_two_ids_that_outlive_the_sweeper(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    let key = finalizing(catalog).await;
    assert!(row(catalog, key).await.finalizing_at.is_some());
    clock.advance(DAY * 2);
    assert!(
        catalog
            .sweepable_files(Duration::ZERO, 10)
            .await
            .unwrap()
            .is_empty()
    );

    catalog.renew(ME, LEASE, &[]).await.unwrap();
    let work = catalog.lease_finish(ME).await.unwrap().unwrap();
    assert_eq!((work.batch.key, work.segments), (key, 1));
    assert_ne!(work.output_file_id, work.error_file_id);
    assert!(
        catalog
            .file(TENANT, &work.output_file_id)
            .await
            .unwrap()
            .is_none()
    );
    assert!(catalog.finish(ME, key, whole()).await.unwrap());
    let output = catalog
        .file(TENANT, &work.output_file_id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (output.purpose.as_str(), output.bytes),
        ("batch_output", 100)
    );
}

pub(super) async fn a_file_without_lines_is_not_named(catalog: &dyn Catalog, _: &ManualClock) {
    let key = finalizing(catalog).await;
    let work = catalog.lease_finish(ME).await.unwrap().unwrap();
    let finish = Finish::Whole {
        output: Some(description()),
        errors: None,
    };
    assert!(catalog.finish(ME, key, finish).await.unwrap());
    let row = row(catalog, key).await;
    assert_eq!(
        (row.state, row.completed, row.failed),
        (BatchState::Completed, 9, 1)
    );
    assert_eq!(
        (row.output_file_id, row.error_file_id),
        (Some(work.output_file_id), None)
    );
    assert!(row.completed_at.is_some());
    let error = catalog
        .ready_file(&work.error_file_id, description())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert!(
        catalog
            .sealed_segments(key, 0, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

pub(super) async fn a_batch_is_finished_once_and_by_who_holds_it(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    let key = finalizing(catalog).await;
    assert!(!catalog.finish(ME, key, whole()).await.unwrap());
    let first = catalog.lease_finish(ME).await.unwrap().unwrap();
    catalog.register(OTHER, LEASE).await.unwrap();
    assert!(catalog.lease_finish(OTHER).await.unwrap().is_none());

    clock.advance(LEASE);
    catalog.renew(OTHER, LEASE, &[]).await.unwrap();
    let second = catalog.lease_finish(OTHER).await.unwrap().unwrap();
    assert_eq!(first.output_file_id, second.output_file_id);
    assert!(!catalog.finish(ME, key, whole()).await.unwrap());
    assert!(catalog.finish(OTHER, key, whole()).await.unwrap());
    assert!(!catalog.finish(OTHER, key, whole()).await.unwrap());
    assert!(catalog.lease_finish(OTHER).await.unwrap().is_none());
}

pub(super) async fn a_batch_that_is_not_whole_fails_and_keeps_both_files(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    let key = finalizing(catalog).await;
    catalog.lease_finish(ME).await.unwrap().unwrap();
    let finish = Finish::Broken {
        errors: "[1]".to_owned(),
        output: Some(description()),
        error_lines: Some(description()),
    };
    assert!(catalog.finish(ME, key, finish).await.unwrap());
    let row = row(catalog, key).await;
    assert_eq!(
        (row.state, row.errors.as_deref()),
        (BatchState::Failed, Some("[1]"))
    );
    assert!(row.output_file_id.is_some() && row.error_file_id.is_some());
    assert!(row.failed_at.is_some());
}

pub(super) async fn segments_that_are_missing_come_back_with_what_was_found_of_them(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    // A run over three entries, of which two are said to be missing.
    catalog.register(ME, LEASE).await.unwrap();
    let key = running(catalog, new_batch("batch_1", TENANT), 3).await;
    cancel(catalog, key).await;
    let run = lease(catalog, ME, 1).await;
    let run_sealed = Sealed {
        span: 3,
        ..sealed(9, 1)
    };
    assert_eq!(seal(catalog, &run[0], run_sealed).await, SealOutcome::Last);
    let lost = |index, length| Gap {
        index,
        requests: 10,
        epoch: 7,
        length,
    };
    assert!(!catalog.reopen(ME, key, vec![lost(1, 0)]).await.unwrap());
    let first = catalog.lease_finish(ME).await.unwrap().unwrap();
    assert!(!first.reopened);
    assert!(!catalog.reopen(OTHER, key, vec![lost(1, 0)]).await.unwrap());
    let gaps = vec![lost(1, 120), lost(2, 0)];
    assert!(catalog.reopen(ME, key, gaps).await.unwrap());
    assert!(catalog.lease_finish(ME).await.unwrap().is_none());
    assert_eq!(row(catalog, key).await.state, BatchState::Finalizing);

    let leased = lease(catalog, ME, 8).await;
    let found: Vec<_> = leased
        .iter()
        .map(|one| (one.key.index, one.epoch, one.cuts.clone(), one.unfenced))
        .collect();
    assert_eq!(
        found,
        [(1, 8, vec![cut(7, 120)], None), (2, 8, vec![], None)]
    );
    let outcome = seal(catalog, &leased[0], sealed(10, 0)).await;
    assert_eq!(outcome, SealOutcome::Sealed);
    let outcome = seal(catalog, &leased[1], sealed(8, 2)).await;
    assert_eq!(outcome, SealOutcome::Last);
    assert_eq!(counts(catalog, key).await, (27, 3));

    let second = catalog.lease_finish(ME).await.unwrap().unwrap();
    assert!(second.reopened);
    assert_eq!(second.output_file_id, first.output_file_id);
    assert!(!catalog.reopen(ME, key, vec![lost(3, 0)]).await.unwrap());
}

pub(super) async fn a_batchs_blobs_may_go_when_both_of_its_files_are_gone(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    let key = finalizing(catalog).await;
    let work = catalog.lease_finish(ME).await.unwrap().unwrap();
    let output = ReadyFile {
        expires_after: Some(DAY),
        ..description()
    };
    let finish = Finish::Whole {
        output: Some(output),
        errors: Some(description()),
    };
    catalog.finish(ME, key, finish).await.unwrap();
    assert!(catalog.sweepable_batches(0, 10).await.unwrap().is_empty());
    assert!(
        catalog
            .delete_file(TENANT, &work.error_file_id)
            .await
            .unwrap()
    );
    catalog.file_swept(&work.error_file_id).await.unwrap();
    assert!(catalog.sweepable_batches(0, 10).await.unwrap().is_empty());

    clock.advance(DAY);
    catalog.file_swept(&work.output_file_id).await.unwrap();
    catalog.file_swept(&work.output_file_id).await.unwrap();
    assert_eq!(catalog.sweepable_batches(0, 10).await.unwrap()[0].key, key);
}
