//! Promises about what is stored and set aside.

use super::*;

/// Of the input that [`file`] makes.
const RESERVED: u64 = 7 * 300;

fn input() -> NewBatch {
    new_batch("batch_1", TENANT)
}

fn within(id: &str, tenant: u64) -> NewBatch {
    NewBatch {
        bounds: Bounds {
            tenant: Some(tenant),
            ..Bounds::default()
        },
        ..new_batch(id, TENANT)
    }
}

async fn stored(catalog: &dyn Catalog) -> (u64, u64) {
    let Stored {
        bytes, reserved, ..
    } = catalog.stored(TENANT).await.unwrap();
    (bytes, reserved)
}

/// Open batches and their lines.
async fn open(catalog: &dyn Catalog) -> (u64, u64) {
    let stored = catalog.stored(TENANT).await.unwrap();
    (stored.open_batches, stored.enqueued_lines)
}

async fn refusal(catalog: &dyn Catalog, new: NewBatch) -> Refusal {
    match catalog.create_batch(new).await.unwrap() {
        Created::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

pub(super) async fn a_file_counts_from_ready_to_deleted(catalog: &dyn Catalog, _: &ManualClock) {
    pending(catalog, "file-1").await;
    assert_eq!(stored(catalog).await, (0, 0));
    catalog.ready_file("file-1", description()).await.unwrap();
    file(catalog, "file-2").await;
    assert_eq!(stored(catalog).await, (200, 0));
    assert_eq!(catalog.stored("stranger").await.unwrap(), Stored::default());

    catalog.delete_file(TENANT, "file-1").await.unwrap();
    catalog.delete_file(TENANT, "file-1").await.unwrap();
    catalog.file_swept("file-1").await.unwrap();
    assert_eq!(stored(catalog).await, (100, 0));
    assert_eq!(catalog.stored_by_all().await.unwrap().bytes, 100);
}

pub(super) async fn a_file_that_expires_counts_until_it_is_swept(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    pending(catalog, "file-1").await;
    let short = ReadyFile {
        expires_after: Some(DAY),
        ..description()
    };
    catalog.ready_file("file-1", short).await.unwrap();
    clock.advance(DAY);
    assert_eq!(stored(catalog).await, (100, 0));
    catalog.file_swept("file-1").await.unwrap();
    catalog.file_swept("file-1").await.unwrap();
    assert_eq!(stored(catalog).await, (0, 0));
}

pub(super) async fn a_file_over_what_its_tenant_may_have_does_not_become_ready(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    file(catalog, "file-1").await;
    pending(catalog, "file-2").await;
    let ready = |within| ReadyFile {
        within: Some(within),
        ..description()
    };
    let error = catalog.ready_file("file-2", ready(199)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert_eq!(stored(catalog).await, (100, 0));
    assert_eq!(catalog.file(TENANT, "file-2").await.unwrap(), None);
    catalog.ready_file("file-2", ready(200)).await.unwrap();
    assert_eq!(stored(catalog).await, (200, 0));
}

pub(super) async fn an_open_batch_reserves_300_bytes_a_line_until_it_ends(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    file(catalog, "file-input").await;
    let key = create(catalog, input()).await.key;
    assert_eq!(stored(catalog).await, (100, RESERVED));
    assert_eq!(open(catalog).await, (1, 7));
    assert_eq!(catalog.stored_by_all().await.unwrap().reserved, RESERVED);

    cancel(catalog, key).await;
    cancel(catalog, key).await;
    assert_eq!(stored(catalog).await, (100, 0));
    assert_eq!(open(catalog).await, (0, 0));
    assert_eq!(catalog.stored_by_all().await.unwrap().reserved, 0);
}

pub(super) async fn every_end_gives_back_what_was_set_aside(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    file(catalog, "file-input").await;
    catalog.register(ME, LEASE).await.unwrap();
    // Refused by validation.
    let refused = create(catalog, input()).await.key;
    catalog.lease_validation(ME).await.unwrap().unwrap();
    let errors = "[]".to_owned();
    assert!(catalog.refuse_batch(ME, refused, errors).await.unwrap());
    assert_eq!(stored(catalog).await, (100, 0));
    // Over before its file was read.
    let due = NewBatch {
        expires_after: Some(Duration::from_secs(1)),
        ..new_batch("batch_2", TENANT)
    };
    create(catalog, due).await;
    clock.advance(Duration::from_secs(1));
    assert_eq!(catalog.expire_due().await.unwrap(), 1);
    assert_eq!(stored(catalog).await, (100, 0));
    // Done: two files of 100 bytes count instead.
    let key = running(catalog, new_batch("batch_3", TENANT), 1).await;
    let leased = lease(catalog, ME, 1).await;
    seal(catalog, &leased[0], sealed(9, 1)).await;
    assert_eq!(stored(catalog).await, (100, RESERVED));
    assert_eq!(open(catalog).await, (1, 7));
    catalog.lease_finish(ME).await.unwrap().unwrap();
    assert!(catalog.finish(ME, key, whole()).await.unwrap());
    assert_eq!(stored(catalog).await, (300, 0));
    assert_eq!(open(catalog).await, (0, 0));
}

fn bounded(id: &str, bounds: Bounds) -> NewBatch {
    NewBatch {
        bounds,
        ..new_batch(id, TENANT)
    }
}

pub(super) async fn a_tenant_has_as_many_open_batches_as_it_may(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    let bounds = Bounds {
        open_batches: Some(2),
        ..Bounds::default()
    };
    // Over no file: they are open all the same until validation finds that.
    create(catalog, bounded("batch_1", bounds)).await;
    create(catalog, bounded("batch_2", bounds)).await;
    let refused = refusal(catalog, bounded("batch_3", bounds)).await;
    assert_eq!(refused, Refusal::Batches { limit: 2 });
    let others = NewBatch {
        tenant: "other".to_owned(),
        ..bounded("batch_4", bounds)
    };
    create(catalog, others).await;
    catalog.cancel_batch(TENANT, "batch_1").await.unwrap();
    create(catalog, bounded("batch_5", bounds)).await;
    assert_eq!(open(catalog).await, (2, 0));
    assert_eq!(catalog.stored_by_all().await.unwrap().open_batches, 3);
}

pub(super) async fn a_tenant_has_as_many_lines_enqueued_as_it_may(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    file(catalog, "file-input").await;
    let bounds = Bounds {
        enqueued_lines: Some(20),
        ..Bounds::default()
    };
    create(catalog, bounded("batch_1", bounds)).await;
    create(catalog, bounded("batch_2", bounds)).await;
    let expected = Refusal::Lines {
        held: 14,
        asked: 7,
        limit: 20,
    };
    assert_eq!(refusal(catalog, bounded("batch_3", bounds)).await, expected);
    assert_eq!(open(catalog).await, (2, 14));
    catalog.cancel_batch(TENANT, "batch_1").await.unwrap();
    create(catalog, bounded("batch_4", bounds)).await;
}

pub(super) async fn creates_are_refused_when_what_is_set_aside_reaches_the_limit(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    file(catalog, "file-input").await;
    let limit = 100 + 3 * RESERVED;
    for n in 0..3 {
        create(catalog, within(&format!("batch_{n}"), limit)).await;
    }
    let expected = Refusal::Tenant {
        held: limit,
        asked: RESERVED,
        limit,
    };
    assert_eq!(refusal(catalog, within("batch_3", limit)).await, expected);
    assert!(catalog.batch(TENANT, "batch_3").await.unwrap().is_none());
    // Another tenant has its own, and what ended makes room.
    create(
        catalog,
        NewBatch {
            tenant: "other".to_owned(),
            ..within("batch_4", limit)
        },
    )
    .await;
    catalog.cancel_batch(TENANT, "batch_0").await.unwrap();
    create(catalog, within("batch_5", limit)).await;
}

/// Each round leaves an error file of 100 bytes, as a cancel of a running batch does.
pub(super) async fn creating_and_cancelling_in_a_loop_ends_at_the_limit(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    file(catalog, "file-input").await;
    catalog.register(ME, LEASE).await.unwrap();
    let limit = 100 + RESERVED + 450;
    let mut made = 0;
    loop {
        let new = within(&format!("batch_{made}"), limit);
        let Created::New(row) = catalog.create_batch(new).await.unwrap() else {
            break;
        };
        catalog.lease_validation(ME).await.unwrap().unwrap();
        assert!(catalog.validated(ME, row.key, found(7, 1)).await.unwrap());
        cancel(catalog, row.key).await;
        let runs = lease(catalog, ME, 1).await;
        let ended = Sealed {
            ended: 7,
            ..sealed(0, 7)
        };
        seal(catalog, &runs[0], ended).await;
        catalog.lease_finish(ME).await.unwrap().unwrap();
        let errors = Finish::Whole {
            output: None,
            errors: Some(description()),
        };
        assert!(catalog.finish(ME, row.key, errors).await.unwrap());
        made += 1;
    }
    // 450 bytes are four files and a half; a fifth batch still finds room to be made.
    assert_eq!(made, 5);
    assert_eq!(stored(catalog).await, (600, 0));
}

pub(super) async fn what_is_promised_to_all_tenants_has_its_own_bound(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    file(catalog, "file-input").await;
    let new = |id: &str| NewBatch {
        bounds: Bounds {
            promised: Some(2 * RESERVED),
            ..Bounds::default()
        },
        ..new_batch(id, TENANT)
    };
    create(catalog, new("batch_1")).await;
    create(catalog, new("batch_2")).await;
    let expected = Refusal::Promised {
        held: 2 * RESERVED,
        asked: RESERVED,
    };
    assert_eq!(refusal(catalog, new("batch_3")).await, expected);
    // A batch over no file sets nothing aside, and is still something new.
    let no_input = NewBatch {
        input_file_id: "file-0".to_owned(),
        ..new("batch_4")
    };
    let refused = refusal(catalog, no_input.clone()).await;
    let held = 2 * RESERVED;
    assert_eq!(refused, Refusal::Promised { held, asked: 0 });
    catalog.cancel_batch(TENANT, "batch_1").await.unwrap();
    create(catalog, no_input).await;
    assert_eq!(stored(catalog).await, (100, RESERVED));
}

pub(super) async fn a_create_that_comes_again_is_answered_when_there_is_no_room_any_more(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    file(catalog, "file-input").await;
    let once = Once {
        key: Some("key".to_owned()),
        request_hash: [7; 16],
        repeated: false,
    };
    let new = NewBatch {
        once: Some(once),
        ..within("batch_1", 100 + RESERVED)
    };
    create(catalog, new.clone()).await;
    let again = catalog.create_batch(new).await.unwrap();
    assert!(matches!(again, Created::Again(row) if row.id == "batch_1"));
    assert_eq!(stored(catalog).await, (100, RESERVED));
}
