//! Promises about API keys.

use super::*;

const GRACE: Duration = Duration::from_secs(3600);

fn holder() -> Holder {
    Holder {
        tenant: TENANT.to_owned(),
        label: Some("ci".to_owned()),
    }
}

fn new_key(number: u8) -> NewKey {
    NewKey {
        id: format!("key_{number}"),
        hash: [number; 32],
        shown: format!("sk-ditto-{number}"),
    }
}

async fn made(catalog: &dyn Catalog, number: u8) -> KeyRow {
    catalog.create_key(holder(), new_key(number)).await.unwrap()
}

async fn ring(catalog: &dyn Catalog) -> KeyRing {
    catalog.key_ring(None).await.unwrap().unwrap()
}

/// The keys that are taken now, and for how much longer.
async fn live(catalog: &dyn Catalog) -> Vec<(String, Option<Duration>)> {
    let keys = ring(catalog).await.keys.into_iter();
    keys.map(|key| (key.id, key.left)).collect()
}

pub(super) async fn a_key_is_taken_from_its_making_until_it_is_revoked(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    assert_eq!(ring(catalog).await, KeyRing::default());
    let row = made(catalog, 1).await;
    assert_eq!(row.holder, holder());
    assert_eq!(
        (row.live, row.ends_at, row.last_used_at),
        (true, None, None)
    );
    let expected = LiveKey {
        id: "key_1".to_owned(),
        tenant: TENANT.to_owned(),
        hash: [1; 32],
        left: None,
    };
    assert_eq!(ring(catalog).await.keys, [expected]);
    assert_eq!(catalog.keys().await.unwrap(), [row]);

    let ended = catalog.end_key("key_1", Duration::ZERO).await.unwrap();
    let ended = ended.unwrap();
    assert_eq!((ended.live, ended.ends_at), (false, Some(ended.created_at)));
    assert_eq!(ring(catalog).await.keys, []);
    assert_eq!(catalog.keys().await.unwrap(), [ended]);
    let nobodys = catalog.end_key("key_2", Duration::ZERO).await.unwrap();
    assert_eq!(nobodys, None);
}

pub(super) async fn a_rotated_key_is_taken_until_its_grace_is_over(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    made(catalog, 1).await;
    let rotated = catalog.rotate_key("key_1", new_key(2), GRACE).await;
    let Rotated { old, new } = rotated.unwrap().unwrap();
    assert_eq!((old.live, new.holder), (true, holder()));
    let both = [
        ("key_1".to_owned(), Some(GRACE)),
        ("key_2".to_owned(), None),
    ];
    assert_eq!(live(catalog).await, both);
    clock.advance(GRACE);
    assert_eq!(live(catalog).await, both[1..]);
}

pub(super) async fn an_end_is_never_put_off(catalog: &dyn Catalog, _: &ManualClock) {
    made(catalog, 1).await;
    catalog.end_key("key_1", GRACE).await.unwrap();
    catalog.end_key("key_1", GRACE * 2).await.unwrap();
    assert_eq!(live(catalog).await, [("key_1".to_owned(), Some(GRACE))]);
    catalog.end_key("key_1", Duration::ZERO).await.unwrap();
    catalog.end_key("key_1", GRACE).await.unwrap();
    assert_eq!(live(catalog).await, []);
}

pub(super) async fn a_key_that_has_ended_is_not_rotated(catalog: &dyn Catalog, _: &ManualClock) {
    made(catalog, 1).await;
    catalog.end_key("key_1", Duration::ZERO).await.unwrap();
    for id in ["key_1", "key_3"] {
        let rotated = catalog.rotate_key(id, new_key(2), GRACE).await.unwrap();
        assert_eq!(rotated, None, "{id}");
    }
    assert_eq!(catalog.keys().await.unwrap().len(), 1);
}

pub(super) async fn a_rotation_that_fails_ends_nothing(catalog: &dyn Catalog, _: &ManualClock) {
    made(catalog, 1).await;
    // Its hash is taken.
    let rotated = catalog.rotate_key("key_1", new_key(1), GRACE).await;
    assert!(rotated.is_err());
    assert_eq!(live(catalog).await, [("key_1".to_owned(), None)]);
}

pub(super) async fn the_ring_is_told_again_when_it_has_changed(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    let mut known = ring(catalog).await.version;
    made(catalog, 1).await;
    known = told(catalog, known).await;
    catalog
        .rotate_key("key_1", new_key(2), GRACE)
        .await
        .unwrap();
    known = told(catalog, known).await;
    catalog.end_key("key_2", Duration::ZERO).await.unwrap();
    known = told(catalog, known).await;
    let used = ["key_1".to_owned()];
    catalog.keys_used(&used).await.unwrap();
    clock.advance(GRACE);
    assert_eq!(catalog.key_ring(Some(known)).await.unwrap(), None);
}

/// The version of the ring, which is another one than before and tells that once.
async fn told(catalog: &dyn Catalog, before: u64) -> u64 {
    let ring = catalog.key_ring(Some(before)).await.unwrap().unwrap();
    assert!(ring.version > before);
    let again = catalog.key_ring(Some(ring.version)).await.unwrap();
    assert_eq!(again, None);
    ring.version
}

pub(super) async fn that_there_were_keys_outlasts_all_of_them(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    made(catalog, 1).await;
    catalog.end_key("key_1", Duration::ZERO).await.unwrap();
    clock.advance(ENDED_KEYS_KNOWN + DAY);
    made(catalog, 2).await;
    let known = catalog.keys().await.unwrap();
    assert_eq!(known.len(), 1, "the first is forgotten");
    catalog.end_key("key_2", Duration::ZERO).await.unwrap();
    let ring = ring(catalog).await;
    assert_eq!(ring.keys, []);
    assert!(ring.version > 0);
}

pub(super) async fn a_key_says_when_it_was_used_last(catalog: &dyn Catalog, clock: &ManualClock) {
    let created_at = made(catalog, 1).await.created_at;
    made(catalog, 2).await;
    clock.advance(DAY);
    // One of them is gone by now.
    let used = ["key_1", "key_9"].map(str::to_owned);
    catalog.keys_used(&used).await.unwrap();
    let last: Vec<_> = catalog.keys().await.unwrap();
    let last: Vec<_> = last.into_iter().map(|key| key.last_used_at).collect();
    let a_day_later = created_at + i64::try_from(DAY.as_secs()).unwrap();
    assert_eq!(last, [Some(a_day_later), None]);
}
