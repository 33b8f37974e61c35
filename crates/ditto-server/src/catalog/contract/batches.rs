//! Promises about batches, as clients see them.

use super::*;

pub(super) async fn a_new_batch_is_validating_and_has_no_counts(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    let options = BatchOptions {
        lenient: true,
        fill_model: Some("m".to_owned()),
        output_expires_after: Some(3_600),
        ..BatchOptions::default()
    };
    let new = NewBatch {
        metadata: Some(r#"{"k":"v"}"#.to_owned()),
        options: options.clone(),
        expires_after: Some(DAY),
        ..new_batch("batch_1", TENANT)
    };
    let row = create(catalog, new).await;
    assert_eq!(
        (row.state, row.total, row.completed, row.failed),
        (BatchState::Validating, 0, 0, 0)
    );
    assert_eq!(row.expires_at, Some(row.created_at + 24 * 3600));
    assert_eq!(
        (&row.options, row.metadata.as_deref()),
        (&options, Some(r#"{"k":"v"}"#))
    );
    assert_eq!(catalog.batch(TENANT, "batch_1").await.unwrap(), Some(row));
    assert_eq!(catalog.open_batches().await.unwrap(), 1);
}

pub(super) async fn pages_of_batches_are_newest_first_and_hold_each_once_while_others_arrive(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    for n in 0..5 {
        create(catalog, new_batch(&format!("batch_{n}"), TENANT)).await;
        clock.advance(Duration::from_secs(n % 2));
    }
    let mut seen: Vec<String> = Vec::new();
    loop {
        let after = seen.last().map(String::as_str);
        let page = catalog.batches(TENANT, 2, after).await.unwrap().unwrap();
        seen.extend(page.rows.into_iter().map(|row| row.id));
        let late = format!("batch_new{}", seen.len());
        create(catalog, new_batch(&late, TENANT)).await;
        if !page.has_more {
            break;
        }
    }
    assert_eq!(
        seen,
        ["batch_4", "batch_3", "batch_2", "batch_1", "batch_0"]
    );
}

pub(super) async fn a_cancel_before_validation_ended_is_over_at_once(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    let key = create(catalog, new_batch("batch_1", TENANT)).await.key;
    catalog.lease_validation(ME).await.unwrap().unwrap();
    let Cancelled::Done(row) = cancel(catalog, key).await else {
        panic!("not cancelled")
    };
    assert_eq!((row.state, row.total), (BatchState::Cancelled, 0));
    assert!(row.cancelling_at.is_some() && row.cancelled_at.is_some());

    // The validator learns it, and only then its litter may be swept.
    assert!(catalog.sweepable_batches(0, 10).await.unwrap().is_empty());
    assert!(!catalog.validated(ME, key, found(10, 1)).await.unwrap());
    assert_eq!(catalog.sweepable_batches(0, 10).await.unwrap().len(), 1);
    catalog.batch_swept(key).await.unwrap();
    assert!(catalog.sweepable_batches(0, 10).await.unwrap().is_empty());
}

pub(super) async fn a_cancel_while_running_is_an_ending_that_the_owner_hears_of(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    let key = running(catalog, new_batch("batch_1", TENANT), 2).await;
    lease(catalog, ME, 1).await;
    assert!(
        catalog
            .renew(ME, LEASE, &[])
            .await
            .unwrap()
            .endings
            .is_empty()
    );

    let Cancelled::Done(row) = cancel(catalog, key).await else {
        panic!("not cancelled")
    };
    assert_eq!(
        (row.state, row.ending),
        (BatchState::Running, Some(Ending::Cancelled))
    );
    assert!(row.cancelling_at.is_some() && row.cancelled_at.is_none());
    let renewal = catalog.renew(ME, LEASE, &[]).await.unwrap();
    assert_eq!(renewal.endings, [(key, Ending::Cancelled)]);
    assert!(matches!(cancel(catalog, key).await, Cancelled::Done(_)));
}

pub(super) async fn a_cancel_while_finalizing_changes_nothing(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    let key = finalizing(catalog).await;
    let Cancelled::Done(row) = cancel(catalog, key).await else {
        panic!("not cancelled")
    };
    assert_eq!((row.state, row.ending), (BatchState::Finalizing, None));
}

pub(super) async fn a_cancel_after_the_end_is_refused_unless_it_was_a_cancel(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    let completed = finalizing(catalog).await;
    catalog.lease_finish(ME).await.unwrap().unwrap();
    catalog.finish(ME, completed, whole()).await.unwrap();
    let Cancelled::Refused(row) = cancel(catalog, completed).await else {
        panic!("not refused")
    };
    assert_eq!(row.state, BatchState::Completed);

    let cancelled = create(catalog, new_batch("batch_2", TENANT)).await.key;
    cancel(catalog, cancelled).await;
    assert!(matches!(
        cancel(catalog, cancelled).await,
        Cancelled::Done(_)
    ));
}

pub(super) async fn a_window_that_is_over_ends_a_batch_once(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    let window = |id| NewBatch {
        expires_after: Some(DAY),
        ..new_batch(id, TENANT)
    };
    let run = running(catalog, window("batch_1"), 1).await;
    let waiting = create(catalog, window("batch_2")).await.key;
    let for_ever = create(catalog, new_batch("batch_3", TENANT)).await.key;
    clock.advance(DAY - Duration::from_millis(1));
    assert_eq!(catalog.expire_due().await.unwrap(), 0);

    clock.advance(Duration::from_millis(1));
    assert_eq!(catalog.expire_due().await.unwrap(), 2);
    assert_eq!(catalog.expire_due().await.unwrap(), 0);
    let run = row(catalog, run).await;
    assert_eq!(
        (run.state, run.ending),
        (BatchState::Running, Some(Ending::Expired))
    );
    let waiting = row(catalog, waiting).await;
    assert_eq!((waiting.state, waiting.total), (BatchState::Expired, 0));
    assert!(waiting.expired_at.is_some());
    assert_eq!(row(catalog, for_ever).await.state, BatchState::Validating);
}

pub(super) async fn a_cancel_that_came_first_is_not_undone_by_the_window(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    let new = NewBatch {
        expires_after: Some(DAY),
        ..new_batch("batch_1", TENANT)
    };
    let key = running(catalog, new, 1).await;
    cancel(catalog, key).await;
    clock.advance(DAY);
    assert_eq!(catalog.expire_due().await.unwrap(), 0);
    assert_eq!(row(catalog, key).await.ending, Some(Ending::Cancelled));
}
