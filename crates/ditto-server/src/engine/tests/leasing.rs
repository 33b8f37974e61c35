//! Leasing: how much is held at once, and leases that cross an ending on their way.

use std::sync::Arc;

use proptest::prelude::*;

use super::rig::{Rig, TENANT, ended, lines, submit};
use crate::Server;
use crate::catalog::Demand;
use crate::engine::LEASE;
use crate::engine::lease::{OPEN_SEGMENTS, Stock, fillers, is_cramped, wanted, wanted_by_dry};
use crate::model::plan::MAX_BYTES;

const MEMORY: u64 = 32 << 20;
/// A quarter is left for a lease that goes over.
const LOADED_BYTES: u64 = 24 << 20;
const NOTHING: Stock = Stock {
    open: 0,
    loaded: 0,
    memory: MEMORY,
    ready: 0,
    hungry: false,
    dry: 0,
};
const PLENTY: usize = 1_000_000;

proptest! {
    #[test]
    fn what_is_leased_never_exceeds_the_limits_by_more_than_a_segment(
        open in 0..=OPEN_SEGMENTS, loaded in 0..2 * LOADED_BYTES, ready in 0..10_000usize, hungry: bool,
        dry in 0..100usize
    ) {
        let stock = Stock { open, loaded, memory: MEMORY, ready, hungry, dry };
        let by_turns = wanted(stock);
        let segments = by_turns + wanted_by_dry(stock, by_turns);
        prop_assert!(open + segments as usize <= OPEN_SEGMENTS);
        let most = loaded + u64::from(segments) * MAX_BYTES;
        prop_assert!(segments == 0 || most < LOADED_BYTES + MAX_BYTES);
    }
}

#[test]
fn only_leases_for_batches_that_ran_dry_make_it_cramped() {
    let mut stock = NOTHING;
    while wanted(stock) > 0 {
        stock.open += 1;
        stock.loaded += MAX_BYTES;
        assert!(!is_cramped(stock) || wanted(stock) == 0, "{stock:?}");
    }
    let dry = Stock { dry: 1, ..stock };
    assert!(wanted_by_dry(dry, 0) > 0, "there is room left for them");
    let full = Stock {
        loaded: LOADED_BYTES,
        ..NOTHING
    };
    assert!(is_cramped(full));
}

#[test]
fn beside_lines_that_wait_to_be_sent_one_run_is_filled_and_never_none() {
    assert_eq!([0, 1, PLENTY].map(fillers), [2, 1, 1]);
}

#[test]
fn an_idle_worker_leases_and_one_with_plenty_does_not() {
    assert!(wanted(NOTHING) > 0);
    assert_eq!(
        wanted(Stock {
            ready: PLENTY,
            ..NOTHING
        }),
        0
    );
    assert_eq!(
        wanted(Stock {
            open: OPEN_SEGMENTS,
            ..NOTHING
        }),
        0
    );
    assert_eq!(
        wanted(Stock {
            loaded: LOADED_BYTES,
            ..NOTHING
        }),
        0
    );
}

#[test]
fn batches_that_ran_dry_get_some_out_of_the_room_that_is_kept_for_them() {
    let dry = Stock { dry: 1, ..NOTHING };
    let plenty = Stock {
        ready: PLENTY,
        ..dry
    };
    assert_eq!((wanted(plenty), wanted_by_dry(plenty, 0)), (0, 6));
    let full = (0..=OPEN_SEGMENTS).find(|open| {
        wanted(Stock {
            open: *open,
            ..NOTHING
        }) == 0
    });
    let full = Stock {
        open: full.unwrap(),
        ..dry
    };
    assert_eq!((wanted(full), wanted_by_dry(full, 0)), (0, 6));
    let very_full = Stock {
        open: OPEN_SEGMENTS,
        ..dry
    };
    assert_eq!(wanted_by_dry(very_full, 0), 0);
    let loaded = Stock {
        loaded: LOADED_BYTES,
        ..dry
    };
    assert_eq!(wanted_by_dry(loaded, 0), 0);
    assert_eq!(wanted_by_dry(NOTHING, 0), 0, "nobody asks");
}

#[test]
fn what_nobody_here_knows_of_is_looked_for_also_beside_plenty_of_lines() {
    let hungry = Stock {
        hungry: true,
        ready: PLENTY,
        ..NOTHING
    };
    assert_eq!(wanted(hungry), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filler_run_that_arrives_before_its_ending_is_not_sent() {
    let rig = Rig::stopped(|_| {}, |_| {});
    let server = Server::open(rig.config.clone()).await.unwrap();
    let service = server.service();
    let inner = Arc::clone(&service.engine.0);
    // The duties do not run: each step is taken here, in the order that a race could take them.
    inner
        .catalog
        .register(&inner.incarnation, LEASE)
        .await
        .unwrap();
    let id = submit(&service, &lines(5_000), |_| {}).await;
    let row = inner
        .catalog
        .lease_validation(&inner.incarnation)
        .await
        .unwrap()
        .unwrap();
    let key = row.key;
    inner.validate_one(row).await;
    let work = inner.work(key).await.unwrap();
    service.cancel_batch(TENANT, &id).await.unwrap();
    let leased = inner
        .catalog
        .lease(
            &inner.incarnation,
            Demand {
                runs: 1,
                ..Demand::default()
            },
        )
        .await
        .unwrap();
    assert!(leased[0].span > 1 && work.ending().is_none());

    let in_hand = inner.hand.take(leased[0].key, leased[0].epoch);
    inner.open(&leased[0], in_hand).await.unwrap();
    assert!(
        work.ending().is_some(),
        "what is open of the batch hears of it too"
    );
    let sealed = inner.catalog.sealed_segments(key, 0, 10).await.unwrap();
    assert_eq!(sealed[0].sealed.span, leased[0].span);
    drop((inner, work));

    tokio::spawn(server.run_engine(std::future::pending()));
    let left = ended(&service, &id).await;
    left.is_conserved(5_000);
    assert_eq!(rig.sim.stats().requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_in_use_is_never_forgotten() {
    let rig = Rig::stopped(|_| {}, |_| {});
    let server = Server::open(rig.config.clone()).await.unwrap();
    let service = server.service();
    let inner = Arc::clone(&service.engine.0);
    inner
        .catalog
        .register(&inner.incarnation, LEASE)
        .await
        .unwrap();
    submit(&service, &lines(10), |_| {}).await;
    let row = inner
        .catalog
        .lease_validation(&inner.incarnation)
        .await
        .unwrap()
        .unwrap();
    let key = row.key;
    inner.validate_one(row).await;

    let work = inner.work(key).await.unwrap();
    inner.works.forget_unused();
    assert!(Arc::ptr_eq(&work, &inner.work(key).await.unwrap()));
    drop(work);
    inner.works.forget_unused();
    assert!(inner.works.get(key).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_about_to_get_lines_is_never_forgotten() {
    let rig = Rig::stopped(|_| {}, |_| {});
    let server = Server::open(rig.config.clone()).await.unwrap();
    let inner = Arc::clone(&server.service().engine.0);
    let front = inner.upstreams.now();
    let offers = front.models.offers(&front.routing, TENANT).await;
    let pool = inner.lanes.pool(&front.routing, &offers, TENANT, "m");
    assert!(pool.is_some());
    inner.lanes.forget_unused(inner.host.now());
    assert_eq!(inner.lanes.pools().len(), 1);
    drop(pool);
    inner.lanes.forget_unused(inner.host.now());
    assert_eq!(inner.lanes.pools().len(), 0);
}
