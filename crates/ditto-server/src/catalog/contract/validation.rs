//! Promises about validation and its lease.

use super::*;

pub(super) async fn the_oldest_batch_is_validated_first_and_by_one_worker(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    catalog.register(OTHER, LEASE).await.unwrap();
    for id in ["batch_1", "batch_2"] {
        create(catalog, new_batch(id, TENANT)).await;
    }
    assert_eq!(
        catalog.lease_validation(ME).await.unwrap().unwrap().id,
        "batch_1"
    );
    assert_eq!(
        catalog.lease_validation(ME).await.unwrap().unwrap().id,
        "batch_2"
    );
    assert!(catalog.lease_validation(OTHER).await.unwrap().is_none());
}

pub(super) async fn a_try_that_failed_is_made_again_after_all_others(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    let mut keys = Vec::new();
    for id in ["batch_1", "batch_2"] {
        keys.push(create(catalog, new_batch(id, TENANT)).await.key);
    }
    for expected in ["batch_1", "batch_2", "batch_1"] {
        assert_eq!(
            catalog.lease_validation(ME).await.unwrap().unwrap().id,
            expected
        );
    }
    for key in keys {
        assert!(catalog.validated(ME, key, found(0, 0)).await.unwrap());
    }
    for expected in ["batch_1", "batch_2", "batch_1"] {
        assert_eq!(
            catalog.lease_finish(ME).await.unwrap().unwrap().batch.id,
            expected
        );
    }
}

pub(super) async fn a_validator_that_died_is_replaced_and_its_outcome_refused(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    catalog.register(OTHER, LEASE).await.unwrap();
    let key = create(catalog, new_batch("batch_1", TENANT)).await.key;
    catalog.lease_validation(OTHER).await.unwrap().unwrap();
    clock.advance(LEASE);
    catalog.register(ME, LEASE).await.unwrap();
    assert_eq!(
        catalog.lease_validation(ME).await.unwrap().unwrap().key,
        key
    );

    assert!(!catalog.validated(OTHER, key, found(10, 1)).await.unwrap());
    assert!(
        !catalog
            .refuse_batch(OTHER, key, "[]".to_owned())
            .await
            .unwrap()
    );
    assert!(catalog.validated(ME, key, found(10, 1)).await.unwrap());
}

pub(super) async fn what_validation_found_is_kept_with_the_batch(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    let options = BatchOptions {
        bare_suffix: Some(String::new()),
        ..BatchOptions::default()
    };
    let new = NewBatch {
        options,
        ..new_batch("batch_1", TENANT)
    };
    let key = create(catalog, new).await.key;
    catalog.lease_validation(ME).await.unwrap().unwrap();
    let found = Validated {
        model: Some("model-a".to_owned()),
        bare_suffix: Some("-x\"é".to_owned()),
        ..found(70, 7)
    };
    assert!(catalog.validated(ME, key, found).await.unwrap());
    let row = row(catalog, key).await;
    assert_eq!((row.state, row.total), (BatchState::Running, 70));
    assert_eq!(row.model.as_deref(), Some("model-a"));
    assert_eq!(row.options.bare_suffix.as_deref(), Some("-x\"é"));
    assert!(row.in_progress_at.is_some());
}

pub(super) async fn a_refused_batch_has_failed_with_its_errors(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    let key = create(catalog, new_batch("batch_1", TENANT)).await.key;
    catalog.lease_validation(ME).await.unwrap().unwrap();
    assert!(
        catalog
            .refuse_batch(ME, key, r#"[{"line":1}]"#.to_owned())
            .await
            .unwrap()
    );
    let row = row(catalog, key).await;
    assert_eq!(
        (row.state, row.errors.as_deref()),
        (BatchState::Failed, Some(r#"[{"line":1}]"#))
    );
    assert!(row.failed_at.is_some());
    assert_eq!(catalog.open_batches().await.unwrap(), 0);
}

pub(super) async fn a_batch_without_a_request_is_finalizing_right_away(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    let key = running(catalog, new_batch("batch_1", TENANT), 0).await;
    assert_eq!(row(catalog, key).await.state, BatchState::Finalizing);
    let work = catalog.lease_finish(ME).await.unwrap().unwrap();
    assert_eq!((work.batch.key, work.segments), (key, 0));
}
