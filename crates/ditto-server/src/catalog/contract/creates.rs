//! Promises about creates that come again.

use futures_util::future::join_all;

use super::*;

const TEN_MINUTES: Duration = Duration::from_secs(600);
const MOMENT: Duration = Duration::from_millis(1);

fn keyed(id: &str, key: &str, body: u8) -> NewBatch {
    once(id, Some(key), body, false)
}

fn plain(id: &str, body: u8) -> NewBatch {
    once(id, None, body, false)
}

fn repeat(id: &str, body: u8) -> NewBatch {
    once(id, None, body, true)
}

fn once(id: &str, key: Option<&str>, body: u8, repeated: bool) -> NewBatch {
    NewBatch {
        once: Some(Once {
            key: key.map(str::to_owned),
            request_hash: [body; 16],
            repeated,
        }),
        ..new_batch(id, TENANT)
    }
}

fn of(tenant: &str, new: NewBatch) -> NewBatch {
    NewBatch {
        tenant: tenant.to_owned(),
        ..new
    }
}

/// The batch that this create was found to have made.
async fn again(catalog: &dyn Catalog, new: NewBatch) -> BatchRow {
    match catalog.create_batch(new).await.unwrap() {
        Created::Again(row) => *row,
        other => panic!("not found: {other:?}"),
    }
}

async fn ids(catalog: &dyn Catalog, tenant: &str) -> Vec<String> {
    let page = catalog.batches(tenant, 100, None).await.unwrap().unwrap();
    page.rows.into_iter().map(|row| row.id).collect()
}

pub(super) async fn the_same_key_and_body_are_the_same_batch_as_it_is_now(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    let made = create(catalog, keyed("batch_1", "k", 1)).await;
    assert_eq!(again(catalog, keyed("batch_2", "k", 1)).await, made);

    cancel(catalog, made.key).await;
    clock.advance(DAY - MOMENT);
    let now = again(catalog, keyed("batch_3", "k", 1)).await;
    assert_eq!(now, row(catalog, made.key).await);
    assert_eq!(now.state, BatchState::Cancelled);
    assert_eq!(ids(catalog, TENANT).await, ["batch_1"]);
}

pub(super) async fn a_key_with_another_body_makes_nothing_and_names_what_it_made(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    let made = create(catalog, keyed("batch_1", "k", 1)).await;
    let other = catalog.create_batch(keyed("batch_2", "k", 2)).await;
    let Created::Mismatch(found) = other.unwrap() else {
        panic!("not a mismatch")
    };
    assert_eq!(*found, made);
    assert_eq!(again(catalog, keyed("batch_3", "k", 1)).await, made);
    create(catalog, keyed("batch_4", "K", 1)).await;
    assert_eq!(ids(catalog, TENANT).await, ["batch_4", "batch_1"]);
}

pub(super) async fn a_key_is_free_again_after_a_day(catalog: &dyn Catalog, clock: &ManualClock) {
    create(catalog, keyed("batch_1", "swept", 1)).await;
    create(catalog, keyed("batch_2", "left", 1)).await;
    clock.advance(DAY);
    assert_eq!(catalog.forget_creates(1).await.unwrap(), 1);
    create(catalog, keyed("batch_3", "swept", 2)).await;
    create(catalog, keyed("batch_4", "left", 2)).await;

    // And counts its day from there.
    clock.advance(DAY - MOMENT);
    for (key, id) in [("swept", "batch_3"), ("left", "batch_4")] {
        assert_eq!(again(catalog, keyed("batch_5", key, 2)).await.id, id);
    }
}

pub(super) async fn two_tenants_with_one_key_have_a_batch_each(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    create(catalog, of("a", keyed("batch_1", "k", 1))).await;
    create(catalog, of("b", keyed("batch_2", "k", 2))).await;
    for (tenant, body, id) in [("a", 1, "batch_1"), ("b", 2, "batch_2")] {
        let found = again(catalog, of(tenant, keyed("batch_3", "k", body))).await;
        assert_eq!((found.tenant.as_str(), found.id.as_str()), (tenant, id));
    }
}

fn under(key: &str, body: u8) -> ReadyFile {
    ReadyFile {
        once: keyed("", key, body).once,
        ..description()
    }
}

async fn made(catalog: &dyn Catalog, route: Route, key: &str) -> Option<(String, [u8; 16])> {
    let made = catalog.made(TENANT, route, key).await.unwrap();
    made.map(|made| (made.id, made.request_hash))
}

pub(super) async fn a_file_is_remembered_by_its_key_for_a_day_and_by_its_own_route(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    pending(catalog, "file-1").await;
    assert_eq!(made(catalog, Route::Files, "k").await, None);
    catalog.ready_file("file-1", under("k", 1)).await.unwrap();
    let file = Some(("file-1".to_owned(), [1; 16]));
    create(catalog, keyed("batch_1", "k", 2)).await;
    assert_eq!(made(catalog, Route::Files, "k").await, file);
    let batch = Some(("batch_1".to_owned(), [2; 16]));
    assert_eq!(made(catalog, Route::Batches, "k").await, batch);
    let stranger = catalog.made("stranger", Route::Files, "k").await.unwrap();
    assert_eq!(stranger, None);

    clock.advance(DAY - MOMENT);
    assert_eq!(made(catalog, Route::Files, "k").await, file);
    clock.advance(MOMENT);
    assert_eq!(made(catalog, Route::Files, "k").await, None);
}

pub(super) async fn a_key_that_has_made_a_file_meanwhile_makes_no_other(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    for id in ["file-1", "file-2"] {
        pending(catalog, id).await;
    }
    catalog.ready_file("file-1", under("k", 1)).await.unwrap();
    for body in [1, 2] {
        let refused = catalog.ready_file("file-2", under("k", body)).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Busy);
    }
    assert_eq!(catalog.file(TENANT, "file-2").await.unwrap(), None);
    assert_eq!(catalog.stored(TENANT).await.unwrap().bytes, 100);
}

/// How many of these, all on their way together, made a batch; the ids they were told.
async fn all_at_once(
    catalog: &dyn Catalog,
    creates: impl Iterator<Item = NewBatch>,
) -> (usize, HashSet<String>) {
    let outcomes = join_all(creates.map(|new| catalog.create_batch(new))).await;
    let mut made = 0;
    let told = outcomes.into_iter().map(|outcome| match outcome.unwrap() {
        Created::New(row) => {
            made += 1;
            row.id
        }
        Created::Again(row) => row.id,
        Created::Mismatch(row) => panic!("not the same: {row:?}"),
        Created::Refused(refusal) => panic!("no room: {refusal:?}"),
    });
    let told = told.collect();
    (made, told)
}

pub(super) async fn creates_at_once_under_one_key_make_one_batch(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    let creates = (0..100).map(|n| keyed(&format!("batch_{n}"), "k", 1));
    let (made, told) = all_at_once(catalog, creates).await;
    assert_eq!((made, told.len()), (1, 1));
    assert_eq!(ids(catalog, TENANT).await, Vec::from_iter(told));
}

pub(super) async fn repeats_at_once_make_one_batch(catalog: &dyn Catalog, _: &ManualClock) {
    let creates = (0..100).map(|n| repeat(&format!("batch_{n}"), 1));
    let (made, told) = all_at_once(catalog, creates).await;
    assert_eq!((made, told.len()), (1, 1));
    assert_eq!(ids(catalog, TENANT).await, Vec::from_iter(told));
}

pub(super) async fn a_key_decides_alone_also_for_a_repeat(catalog: &dyn Catalog, _: &ManualClock) {
    create(catalog, plain("batch_1", 1)).await;
    create(catalog, once("batch_2", Some("k"), 1, true)).await;
    let found = again(catalog, once("batch_3", Some("k"), 1, true)).await;
    assert_eq!(found.id, "batch_2");
}

pub(super) async fn a_repeat_within_ten_minutes_is_the_newest_batch_of_the_same_body(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    create(catalog, plain("batch_1", 1)).await;
    create(catalog, keyed("batch_2", "k", 1)).await;
    create(catalog, plain("batch_3", 2)).await;
    assert_eq!(again(catalog, repeat("batch_4", 1)).await.id, "batch_2");
    clock.advance(TEN_MINUTES - MOMENT);
    assert_eq!(again(catalog, repeat("batch_5", 1)).await.id, "batch_2");
    assert_eq!(again(catalog, repeat("batch_6", 2)).await.id, "batch_3");
    assert_eq!(
        ids(catalog, TENANT).await,
        ["batch_3", "batch_2", "batch_1"]
    );
}

/// The first try may never have arrived; then the second is what a third one means.
pub(super) async fn a_repeat_after_ten_minutes_makes_a_batch(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    create(catalog, plain("batch_1", 1)).await;
    // Its key lives for a day, but not for repeats without it.
    create(catalog, keyed("batch_2", "k", 1)).await;
    clock.advance(TEN_MINUTES);
    create(catalog, repeat("batch_3", 1)).await;
    assert_eq!(again(catalog, repeat("batch_4", 1)).await.id, "batch_3");
}

pub(super) async fn a_repeat_of_another_body_or_tenant_makes_a_batch(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    create(catalog, plain("batch_1", 1)).await;
    create(catalog, repeat("batch_2", 2)).await;
    create(catalog, of("b", repeat("batch_3", 1))).await;
    assert_eq!(again(catalog, repeat("batch_4", 1)).await.id, "batch_1");
}

pub(super) async fn creates_that_are_no_repeats_make_a_batch_each(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    create(catalog, plain("batch_1", 1)).await;
    create(catalog, plain("batch_2", 1)).await;
    create(catalog, keyed("batch_3", "k", 1)).await;
    create(catalog, keyed("batch_4", "l", 1)).await;
    // What the server makes for itself is nobody's repeat.
    create(catalog, new_batch("batch_5", TENANT)).await;
    assert_eq!(again(catalog, repeat("batch_6", 1)).await.id, "batch_4");
}

pub(super) async fn creates_are_forgotten_when_no_repeat_can_mean_them_and_a_few_at_a_time(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    for n in 0..5 {
        create(catalog, plain(&format!("batch_{n}"), 1)).await;
    }
    create(catalog, keyed("batch_keyed", "k", 1)).await;
    create(catalog, new_batch("batch_for_itself", TENANT)).await;
    clock.advance(TEN_MINUTES - MOMENT);
    assert_eq!(catalog.forget_creates(9).await.unwrap(), 0);

    clock.advance(MOMENT);
    assert_eq!(catalog.forget_creates(3).await.unwrap(), 3);
    assert_eq!(catalog.forget_creates(3).await.unwrap(), 2);
    assert_eq!(catalog.forget_creates(3).await.unwrap(), 0);

    clock.advance(DAY - TEN_MINUTES);
    assert_eq!(catalog.forget_creates(3).await.unwrap(), 1);
    assert_eq!(ids(catalog, TENANT).await.len(), 7);
}
