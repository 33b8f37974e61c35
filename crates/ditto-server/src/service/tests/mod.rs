//! What a call costs, counted: it must not grow with the lines of a file.
//!
//! The file of ten million lines has a row and a manifest and no bytes, its batch a number of segments
//! and no plan. That is proof enough. All that a call could read of a batch is in the catalog, where it
//! stands as it would for real bytes, or in the store, where a call would be counted, and would fail.
//! The engine is told of the call and does not run, so that its work, which does grow, is not counted
//! with it. A statement is one statement however many rows it goes through: so the steps of SQLite's
//! machine are counted as well.

mod desk;

use futures_util::future::join_all;

use desk::{Cost, Desk, TENANT, request};

use super::{BatchRequest, Once};
use crate::catalog::Leased;

const FEW: u64 = 10;
const MANY: u64 = 10_000_000;

/// Seen: 13 for a create under a key, 12 for a cancel before validation.
const STATEMENTS: u64 = 16;
/// Seen: 614 for that create, 822 for that cancel.
const STEPS: u64 = 1_200;
/// Of a row that is parked. Seen: 70.
const STEPS_A_ROW: u64 = 100;
/// As many segments as a batch may have open.
const PARKED: u32 = 256;

/// The same arrangement and the same call, once for each length of a file.
async fn of_both(call: impl AsyncFn(&Desk, u64) -> Cost) -> [Cost; 2] {
    [
        call(&Desk::open().await, FEW).await,
        call(&Desk::open().await, MANY).await,
    ]
}

fn is_flat([few, many]: [Cost; 2]) {
    assert_eq!(few.statements, many.statements);
    assert_eq!((few.blobs, many.blobs), (0, 0));
    assert!((1..=STATEMENTS).contains(&many.statements), "{many:?}");
    assert!((1..=STEPS).contains(&few.steps), "{few:?}");
    assert!((1..=STEPS).contains(&many.steps), "{many:?}");
}

fn is_the_same([few, many]: [Cost; 2]) {
    is_flat([few, many]);
    assert_eq!(few, many);
}

async fn create(desk: &Desk, request: BatchRequest) -> (String, Cost) {
    let (batch, cost) = desk.cost(desk.service.create_batch(TENANT, request)).await;
    (batch.id, cost)
}

async fn cancel(desk: &Desk, id: &str) -> Cost {
    desk.cost(desk.service.cancel_batch(TENANT, id)).await.1
}

/// A create that says that it may have been sent before, as the official clients do.
fn keyed(file: String, key: Option<&str>) -> BatchRequest {
    BatchRequest {
        once: Some(Once {
            key: key.map(str::to_owned),
            request_hash: [7; 16],
            repeated: true,
        }),
        ..request(file)
    }
}

#[tokio::test]
async fn a_create_costs_the_same_for_ten_lines_and_for_ten_million() {
    let costs = of_both(async |desk, lines| {
        let request = request(desk.file(lines).await);
        create(desk, request).await.1
    });
    is_the_same(costs.await);
}

#[tokio::test]
async fn a_create_under_a_key_costs_the_same_for_ten_lines_and_for_ten_million() {
    let costs = of_both(async |desk, lines| {
        let request = keyed(desk.file(lines).await, Some("key"));
        create(desk, request).await.1
    });
    is_the_same(costs.await);
}

#[tokio::test]
async fn a_create_that_comes_again_costs_the_same_for_ten_lines_and_for_ten_million() {
    for key in [Some("key"), None] {
        let costs = of_both(async |desk, lines| {
            let request = keyed(desk.file(lines).await, key);
            let (first, _) = create(desk, request.clone()).await;
            let (again, cost) = create(desk, request).await;
            assert_eq!(first, again);
            cost
        });
        is_the_same(costs.await);
    }
}

#[tokio::test]
async fn a_cancel_before_validation_costs_the_same_for_ten_lines_and_for_ten_million() {
    let costs = of_both(async |desk, lines| {
        let id = desk.batch(lines).await;
        cancel(desk, &id).await
    });
    is_the_same(costs.await);
}

#[tokio::test]
async fn a_cancel_while_the_file_is_read_costs_the_same_for_ten_lines_and_for_ten_million() {
    let costs = of_both(async |desk, lines| {
        let id = desk.batch(lines).await;
        desk.validating().await;
        cancel(desk, &id).await
    });
    is_the_same(costs.await);
}

#[tokio::test]
async fn a_cancel_of_an_untouched_batch_costs_the_same_for_ten_lines_and_for_ten_million() {
    let costs = of_both(async |desk, lines| {
        let id = desk.validated(lines).await;
        let first = cancel(desk, &id).await;
        let second = cancel(desk, &id).await;
        assert!(second.statements < first.statements && second.blobs == 0);
        first
    });
    is_the_same(costs.await);
}

/// The ten lines are one segment, and nothing is left untouched of them.
#[tokio::test]
async fn a_cancel_with_open_segments_costs_the_same_for_ten_lines_and_for_ten_million() {
    let costs = of_both(async |desk, lines| {
        let id = desk.validated(lines).await;
        assert!(!desk.lease(64).await.is_empty());
        cancel(desk, &id).await
    });
    is_flat(costs.await);
}

#[tokio::test]
async fn a_cancel_costs_the_same_however_many_segments_are_sealed() {
    let untouched = cancel_behind(0, async |_, _| {}).await;
    let sealed = cancel_behind(1_024, async |desk, leased| desk.seal(leased).await).await;
    assert_eq!(sealed, untouched);
}

/// What is parked is written in one statement, a row each, and there is never more of it.
#[tokio::test]
async fn a_cancel_writes_at_most_as_many_rows_as_a_batch_may_have_parked() {
    let untouched = cancel_behind(0, async |_, _| {}).await;
    let parked = cancel_behind(PARKED, async |desk, leased| {
        desk.park(leased).await;
    });
    let parked = parked.await;
    assert_eq!(parked.statements, untouched.statements);
    assert_eq!(parked.blobs, 0);
    assert!(
        parked.steps < untouched.steps + u64::from(PARKED) * STEPS_A_ROW,
        "{parked:?}"
    );
}

/// The cancel of ten million lines of which so many segments went this way.
async fn cancel_behind(segments: u32, way: impl AsyncFn(&Desk, &Leased)) -> Cost {
    let desk = Desk::open().await;
    let id = desk.validated(MANY).await;
    for _ in 0..segments / 64 {
        let leased = desk.lease(64).await;
        assert_eq!(leased.len(), 64);
        join_all(leased.iter().map(|leased| way(&desk, leased))).await;
    }
    cancel(&desk, &id).await
}

#[tokio::test]
async fn asking_for_a_batch_or_a_page_costs_the_same_for_ten_lines_and_for_ten_million() {
    let costs = of_both(async |desk, lines| {
        let id = desk.validated(lines).await;
        desk.cost(desk.service.batch(TENANT, &id)).await.1
    });
    is_the_same(costs.await);
    let costs = of_both(async |desk, lines| {
        desk.validated(lines).await;
        desk.cost(desk.service.batches(TENANT, 20, None)).await.1
    });
    is_the_same(costs.await);
}

/// What is not counted is always the same.
#[tokio::test]
async fn what_grows_is_seen_to_grow() {
    let desk = Desk::open().await;
    let id = desk.file(FEW).await;
    let page = || desk.service.batches(TENANT, 20, None);
    let (_, none) = desk.cost(page()).await;
    for _ in 0..20 {
        create(&desk, request(id.clone())).await;
    }
    let (_, full) = desk.cost(page()).await;
    assert_eq!(none.statements, full.statements);
    assert!(full.steps > none.steps + 20 * 10, "{none:?} {full:?}");

    let (_, content) = desk.cost(desk.service.content(TENANT, &id)).await;
    assert_eq!(content.blobs, 1, "the manifest is read");
    let in_place = desk.service.file_in_place(TENANT, "in.jsonl", 1);
    assert_eq!(desk.cost(in_place).await.1.blobs, 1, "and written");
}
