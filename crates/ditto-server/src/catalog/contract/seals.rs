//! Promises about counts: published, and sealed.

use super::*;

pub(super) async fn published_counts_never_fall(catalog: &dyn Catalog, clock: &ManualClock) {
    catalog.register(ME, LEASE).await.unwrap();
    let key = running(catalog, new_batch("batch_1", TENANT), 1).await;
    let first = lease(catalog, ME, 1).await;
    catalog
        .renew(ME, LEASE, &[publication(&first[0], 6, 2)])
        .await
        .unwrap();
    catalog
        .renew(ME, LEASE, &[publication(&first[0], 5, 1)])
        .await
        .unwrap();
    assert_eq!(counts(catalog, key).await, (6, 2));

    // A takeover that has replayed less so far.
    clock.advance(LEASE);
    catalog.register(OTHER, LEASE).await.unwrap();
    let second = lease(catalog, OTHER, 1).await;
    catalog
        .renew(OTHER, LEASE, &[publication(&second[0], 3, 0)])
        .await
        .unwrap();
    assert_eq!(counts(catalog, key).await, (6, 2));
    catalog
        .renew(OTHER, LEASE, &[publication(&second[0], 7, 2)])
        .await
        .unwrap();
    assert_eq!(counts(catalog, key).await, (7, 2));

    // The old owner's numbers count no more.
    catalog
        .renew(ME, LEASE, &[publication(&first[0], 9, 9)])
        .await
        .unwrap();
    assert_eq!(counts(catalog, key).await, (7, 2));
}

pub(super) async fn a_seal_counts_what_was_not_published_yet(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    let key = running(catalog, new_batch("batch_1", TENANT), 2).await;
    let leased = lease(catalog, ME, 2).await;
    catalog
        .renew(ME, LEASE, &[publication(&leased[0], 6, 1)])
        .await
        .unwrap();
    let with_ended = Sealed {
        ended: 1,
        ..sealed(8, 2)
    };
    assert_eq!(
        seal(catalog, &leased[0], with_ended).await,
        SealOutcome::Sealed
    );
    assert_eq!(counts(catalog, key).await, (8, 1));
    assert_eq!(row(catalog, key).await.usage, with_ended.usage);

    // A renewal that was under way when it was sealed changes nothing and loses nothing.
    let renewal = catalog
        .renew(ME, LEASE, &[publication(&leased[0], 7, 1)])
        .await
        .unwrap();
    assert_eq!(
        (renewal.held, renewal.owned),
        (true, vec![(leased[1].key, 1)])
    );
    assert_eq!(counts(catalog, key).await, (8, 1));
}

pub(super) async fn a_seal_is_fenced_by_owner_and_epoch_and_happens_once(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    let key = running(catalog, new_batch("batch_1", TENANT), 2).await;
    let old = lease(catalog, ME, 1).await;
    clock.advance(LEASE);
    catalog.register(OTHER, LEASE).await.unwrap();
    let new = lease(catalog, OTHER, 1).await;
    assert_eq!(
        seal(catalog, &old[0], sealed(10, 0)).await,
        SealOutcome::Fenced
    );
    assert_eq!(
        seal(catalog, &new[0], sealed(10, 0)).await,
        SealOutcome::Fenced
    );
    assert_eq!(counts(catalog, key).await, (0, 0));

    let by_other = |epoch| catalog.seal(OTHER, new[0].key, epoch, sealed(10, 0));
    assert_eq!(by_other(1).await.unwrap(), SealOutcome::Fenced);
    assert_eq!(by_other(2).await.unwrap(), SealOutcome::Sealed);
    assert_eq!(by_other(2).await.unwrap(), SealOutcome::Fenced);
    assert_eq!(counts(catalog, key).await, (10, 0));
}

fn all_in_one(sealed: Sealed) -> SealedWhole {
    let piece = |offset| ReadyFile {
        piece: Some(Piece {
            blob: "batches/blob".to_owned(),
            offset,
            length: 100,
        }),
        ..description()
    };
    SealedWhole {
        sealed,
        output: Some(piece(0)),
        errors: Some(piece(900)),
    }
}

pub(super) async fn the_only_segment_is_sealed_and_its_batch_ends_at_once(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    let key = running(catalog, new_batch("batch_1", TENANT), 1).await;
    let leased = lease(catalog, ME, 1).await;
    let whole = || all_in_one(sealed(9, 1));
    let by = |who, epoch| catalog.seal_whole(who, leased[0].key, epoch, whole());
    assert_eq!(by(OTHER, 1).await.unwrap(), SealOutcome::Fenced);
    assert_eq!(by(ME, 1).await.unwrap(), SealOutcome::Ended);
    assert_eq!(by(ME, 1).await.unwrap(), SealOutcome::Fenced);

    let row = row(catalog, key).await;
    assert_eq!(
        (row.state, row.completed, row.failed),
        (BatchState::Completed, 9, 1)
    );
    assert!(row.finalizing_at.is_some() && row.completed_at.is_some());
    let errors = catalog.file(TENANT, &row.error_file_id.unwrap()).await;
    let errors = errors.unwrap().unwrap();
    assert_eq!(errors.piece, whole().errors.unwrap().piece);
    assert!(catalog.lease_finish(ME).await.unwrap().is_none());
    assert_eq!(catalog.sealed_segments(key, 0, 9).await.unwrap(), []);
    assert_eq!(catalog.stored(TENANT).await.unwrap().open_batches, 0);
}

pub(super) async fn what_is_not_the_whole_batch_is_sealed_like_any_other(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    for (number, segments, answers, outcome) in [
        (1, 1, 9, SealOutcome::Last),
        (2, 2, 10, SealOutcome::Sealed),
    ] {
        let new = new_batch(&format!("batch_{number}"), TENANT);
        running(catalog, new, segments).await;
        let leased = lease(catalog, ME, 1).await;
        let whole = all_in_one(sealed(answers, 0));
        let sealed = catalog.seal_whole(ME, leased[0].key, 1, whole).await;
        assert_eq!(sealed.unwrap(), outcome);
    }
    catalog.lease_finish(ME).await.unwrap().unwrap();
    lease(catalog, ME, 1).await;

    // An earlier lease may have left a blob: who finishes takes it away first.
    running(catalog, new_batch("batch_3", TENANT), 1).await;
    assert_eq!(lease(catalog, ME, 1).await.len(), 1);
    clock.advance(LEASE);
    catalog.register(OTHER, LEASE).await.unwrap();
    let taken = lease(catalog, OTHER, 9).await;
    let last = taken.iter().find(|one| one.key.batch == 3).unwrap();
    let whole = all_in_one(sealed(10, 0));
    let sealed = catalog.seal_whole(OTHER, last.key, last.epoch, whole).await;
    assert_eq!(sealed.unwrap(), SealOutcome::Last);
}

pub(super) async fn a_plan_of_one_entry_is_told_as_it_was_written(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    let key = create(catalog, new_batch("batch_1", TENANT)).await.key;
    catalog.register(ME, LEASE).await.unwrap();
    catalog.lease_validation(ME).await.unwrap().unwrap();
    let only = Entry {
        first_line: 3,
        lines: 12,
        requests: 10,
        offset: 2,
        length: 5_000,
        hash: u64::MAX - 1,
        ..Entry::default()
    };
    let found = Validated {
        only: Some(only),
        ..found(10, 1)
    };
    assert!(catalog.validated(ME, key, found).await.unwrap());
    assert_eq!(row(catalog, key).await.only, Some(only));
}

pub(super) async fn sealed_segments_are_read_in_the_order_of_the_plan(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    let key = running(catalog, new_batch("batch_1", TENANT), 4).await;
    let leased = lease(catalog, ME, 4).await;
    for index in [2, 0, 1] {
        seal(
            catalog,
            &leased[index],
            sealed(10 - u32::try_from(index).unwrap(), 0),
        )
        .await;
    }
    let rows = catalog.sealed_segments(key, 0, 2).await.unwrap();
    assert_eq!(
        rows.iter().map(|r| (r.index, r.epoch)).collect::<Vec<_>>(),
        [(0, 1), (1, 1)]
    );
    assert_eq!(rows[1].sealed, sealed(9, 0));
    let rest = catalog.sealed_segments(key, 2, 100).await.unwrap();
    assert_eq!(rest.iter().map(|r| r.index).collect::<Vec<_>>(), [2]);
}
