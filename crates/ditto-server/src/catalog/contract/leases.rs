//! Promises about segments: who holds them, whose turn it is, what comes back.

use super::*;

pub(super) async fn what_nobody_holds_is_told_with_what_is_recorded_of_it(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    let key = running(catalog, new_batch("batch_1", TENANT), 4).await;
    let leased = lease(catalog, ME, 4).await;
    assert!(catalog.waiting_segments(key).await.unwrap().is_empty());
    let published = publication(&leased[1], 2, 1);
    catalog.renew(ME, LEASE, &[published]).await.unwrap();
    // What was settled since the last renewal is told with it.
    for (at, until) in [(1, Until::NextLease), (2, Until::After(LEASE))] {
        let put_down = PutDown {
            cut: cut(1, 100),
            until,
            counts: (2, 4),
            refused_for: None,
        };
        let park = catalog.park(ME, leased[at].key, put_down).await;
        assert!(park.unwrap());
    }
    // To be fenced before anything of it counts.
    catalog.let_go(ME, leased[3].key, 1).await.unwrap();
    let waiting = catalog.waiting_segments(key).await.unwrap();
    let mut told: Vec<_> = waiting
        .iter()
        .map(|one| (one.key.index, one.cuts.clone(), one.published))
        .collect();
    told.sort_unstable_by_key(|(index, ..)| *index);
    assert_eq!(told, [(1, vec![cut(1, 100)], 6), (2, vec![cut(1, 100)], 6)]);
    assert_eq!(counts(catalog, key).await, (4, 8));
}

pub(super) async fn a_plan_is_leased_in_order_and_each_entry_once(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    catalog.register(OTHER, LEASE).await.unwrap();
    let key = running(catalog, new_batch("batch_1", TENANT), 5).await;
    let mine = lease(catalog, ME, 3).await;
    let theirs = lease(catalog, OTHER, 3).await;
    let indexes: Vec<_> = mine.iter().chain(&theirs).map(|l| l.key.index).collect();
    assert_eq!(indexes, [0, 1, 2, 3, 4]);
    let first = SegmentKey {
        batch: key,
        index: 0,
    };
    let expected = Leased {
        key: first,
        span: 1,
        epoch: 1,
        cuts: Vec::new(),
        unfenced: None,
        published: 0,
        refused_for: None,
    };
    assert_eq!(mine[0], expected);
    assert!(lease(catalog, ME, 3).await.is_empty());
}

pub(super) async fn a_released_segment_comes_back_first_with_its_cut_and_nothing_to_fence(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    running(catalog, new_batch("batch_1", TENANT), 5).await;
    let leased = lease(catalog, ME, 2).await;
    assert!(
        catalog
            .park(
                ME,
                leased[1].key,
                PutDown::new(cut(1, 500), Until::NextLease)
            )
            .await
            .unwrap()
    );
    assert!(
        catalog
            .park(ME, leased[0].key, PutDown::new(cut(1, 0), Until::NextLease))
            .await
            .unwrap()
    );

    let again = lease(catalog, ME, 3).await;
    let expected = [
        Leased {
            epoch: 2,
            ..leased[0].clone()
        },
        Leased {
            epoch: 2,
            cuts: vec![cut(1, 500)],
            ..leased[1].clone()
        },
    ];
    assert_eq!(again[..2], expected);
    assert_eq!(again[2].key.index, 2);
    assert!(
        !catalog
            .park(ME, leased[0].key, PutDown::new(cut(1, 9), Until::NextLease))
            .await
            .unwrap()
    );
}

pub(super) async fn a_crash_leaves_an_epoch_to_be_fenced_once(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    running(catalog, new_batch("batch_1", TENANT), 1).await;
    let key = lease(catalog, ME, 1).await[0].key;

    clock.advance(LEASE);
    catalog.register(OTHER, LEASE).await.unwrap();
    let taken = lease(catalog, OTHER, 1).await;
    assert_eq!(
        (taken[0].epoch, taken[0].unfenced, taken[0].cuts.len()),
        (2, Some(1), 0)
    );
    assert!(catalog.fence(OTHER, key, 2, cut(1, 400)).await.unwrap());
    assert!(catalog.fence(OTHER, key, 2, cut(1, 400)).await.unwrap());
    assert!(!catalog.fence(ME, key, 1, cut(1, 999)).await.unwrap());

    clock.advance(LEASE);
    catalog.register("inc_third", LEASE).await.unwrap();
    let taken = lease(catalog, "inc_third", 1).await;
    assert_eq!((taken[0].epoch, taken[0].unfenced), (3, Some(2)));
    assert_eq!(taken[0].cuts, [cut(1, 400)]);
}

pub(super) async fn a_crash_before_the_fence_names_the_same_epoch_again(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    running(catalog, new_batch("batch_1", TENANT), 1).await;
    let key = lease(catalog, ME, 1).await[0].key;
    clock.advance(LEASE);
    catalog.register(OTHER, LEASE).await.unwrap();
    lease(catalog, OTHER, 1).await;

    clock.advance(LEASE);
    catalog.register("inc_third", LEASE).await.unwrap();
    let taken = lease(catalog, "inc_third", 1).await;
    assert_eq!((taken[0].epoch, taken[0].unfenced), (3, Some(1)));
    // Also after it was put down before it was fenced.
    assert!(
        catalog
            .park("inc_third", key, PutDown::new(cut(3, 0), Until::NextLease))
            .await
            .unwrap()
    );
    let taken = lease(catalog, "inc_third", 1).await;
    assert_eq!((taken[0].epoch, taken[0].unfenced), (4, Some(1)));
}

pub(super) async fn leases_of_a_live_worker_are_nobody_elses(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    catalog.register(OTHER, LEASE).await.unwrap();
    running(catalog, new_batch("batch_1", TENANT), 1).await;
    lease(catalog, ME, 1).await;
    clock.advance(LEASE - Duration::from_millis(1));
    catalog.renew(OTHER, LEASE, &[]).await.unwrap();
    assert!(lease(catalog, OTHER, 1).await.is_empty());
    clock.advance(Duration::from_millis(1));
    assert_eq!(lease(catalog, OTHER, 1).await.len(), 1);
}

pub(super) async fn voided_leases_come_back_at_once_and_cannot_be_renewed(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(OTHER, LEASE).await.unwrap();
    running(catalog, new_batch("batch_1", TENANT), 1).await;
    let theirs = lease(catalog, OTHER, 1).await;
    create(catalog, new_batch("batch_2", TENANT)).await;
    catalog.lease_validation(OTHER).await.unwrap().unwrap();

    catalog.register(ME, LEASE).await.unwrap();
    catalog.void_other_leases(ME).await.unwrap();
    let mine = lease(catalog, ME, 1).await;
    assert_eq!(
        (mine[0].key, mine[0].epoch, mine[0].unfenced),
        (theirs[0].key, 2, Some(1))
    );
    assert!(catalog.lease_validation(ME).await.unwrap().is_some());
    let renewal = catalog
        .renew(OTHER, LEASE, &[publication(&theirs[0], 1, 0)])
        .await
        .unwrap();
    assert_eq!((renewal.held, renewal.owned.len()), (false, 0));
    assert!(catalog.renew(ME, LEASE, &[]).await.unwrap().held);
}

pub(super) async fn a_deregistered_worker_has_nothing_left(catalog: &dyn Catalog, _: &ManualClock) {
    catalog.register(ME, LEASE).await.unwrap();
    catalog.register(OTHER, LEASE).await.unwrap();
    running(catalog, new_batch("batch_1", TENANT), 1).await;
    let leased = lease(catalog, ME, 1).await;
    catalog.deregister(ME).await.unwrap();
    assert!(!catalog.renew(ME, LEASE, &[]).await.unwrap().held);
    assert_eq!(
        seal(catalog, &leased[0], sealed(1, 0)).await,
        SealOutcome::Fenced
    );
    assert_eq!(lease(catalog, OTHER, 1).await[0].unfenced, Some(1));
}

pub(super) async fn a_lease_that_ran_out_but_was_taken_by_nobody_is_renewed_under_its_epoch(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    let key = running(catalog, new_batch("batch_1", TENANT), 1).await;
    let leased = lease(catalog, ME, 1).await;
    clock.advance(LEASE * 10);
    let renewal = catalog
        .renew(ME, LEASE, &[publication(&leased[0], 4, 0)])
        .await
        .unwrap();
    assert_eq!(
        (renewal.held, renewal.owned),
        (true, vec![(leased[0].key, 1)])
    );
    assert_eq!(counts(catalog, key).await, (4, 0));
    assert_eq!(
        seal(catalog, &leased[0], sealed(10, 0)).await,
        SealOutcome::Last
    );
}

pub(super) async fn a_frozen_worker_keeps_what_nobody_took_and_hears_what_is_lost(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    let key = running(catalog, new_batch("batch_1", TENANT), 2).await;
    let mine = lease(catalog, ME, 2).await;
    clock.advance(LEASE);
    catalog.register(OTHER, LEASE).await.unwrap();
    let taken = lease(catalog, OTHER, 1).await[0].key;
    let kept = mine.iter().find(|leased| leased.key != taken).unwrap().key;

    let publications = [publication(&mine[0], 5, 0), publication(&mine[1], 6, 0)];
    let renewal = catalog.renew(ME, LEASE, &publications).await.unwrap();
    assert_eq!((renewal.held, renewal.owned), (true, vec![(kept, 1)]));
    let published = if taken.index == 0 { 6 } else { 5 };
    assert_eq!(counts(catalog, key).await, (published, 0));
    // Also if there is nothing new to publish: it must not go on with what is another's.
    let renewal = catalog.renew(ME, LEASE, &[]).await.unwrap();
    assert_eq!(renewal.owned, [(kept, 1)]);
}

pub(super) async fn a_lease_that_nobody_works_on_comes_back_with_its_part_to_be_fenced(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    catalog.register(OTHER, LEASE).await.unwrap();
    running(catalog, new_batch("batch_1", TENANT), 2).await;
    let mine = lease(catalog, ME, 2).await;
    catalog.let_go(OTHER, mine[0].key, 1).await.unwrap();
    catalog.let_go(ME, mine[0].key, 7).await.unwrap();
    assert!(
        lease(catalog, OTHER, 2).await.is_empty(),
        "neither is theirs to let go"
    );

    catalog.let_go(ME, mine[0].key, 1).await.unwrap();
    let theirs = lease(catalog, OTHER, 2).await;
    let expected = Leased {
        epoch: 2,
        unfenced: Some(1),
        ..mine[0].clone()
    };
    assert_eq!(theirs, [expected]);
    catalog.let_go(ME, mine[0].key, 1).await.unwrap();
    let owned = catalog.renew(OTHER, LEASE, &[]).await.unwrap().owned;
    assert_eq!(owned, [(mine[0].key, 2)], "told late, it changes nothing");

    seal(catalog, &mine[1], sealed(10, 0)).await;
    catalog.let_go(ME, mine[1].key, 1).await.unwrap();
    assert!(
        lease(catalog, OTHER, 2).await.is_empty(),
        "what is sealed stays sealed"
    );
}

pub(super) async fn a_worker_whose_lease_is_over_leases_nothing(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    running(catalog, new_batch("batch_1", TENANT), 1).await;
    clock.advance(LEASE);
    assert!(lease(catalog, ME, 1).await.is_empty());
    assert!(lease(catalog, "inc_unknown", 1).await.is_empty());
    catalog.renew(ME, LEASE, &[]).await.unwrap();
    assert_eq!(lease(catalog, ME, 1).await.len(), 1);
}

pub(super) async fn a_parked_segment_comes_back_when_it_is_due(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    running(catalog, new_batch("batch_1", TENANT), 1).await;
    let leased = lease(catalog, ME, 1).await;
    let pause = Duration::from_secs(20);
    assert!(
        catalog
            .park(
                ME,
                leased[0].key,
                PutDown::new(cut(1, 7), Until::After(pause))
            )
            .await
            .unwrap()
    );
    assert_eq!(
        seal(catalog, &leased[0], sealed(1, 0)).await,
        SealOutcome::Fenced
    );
    clock.advance(pause - Duration::from_millis(1));
    assert!(lease(catalog, ME, 1).await.is_empty());
    clock.advance(Duration::from_millis(1));
    let again = lease(catalog, ME, 1).await;
    assert_eq!(
        again,
        [Leased {
            epoch: 2,
            cuts: vec![cut(1, 7)],
            ..leased[0].clone()
        }]
    );
}

pub(super) async fn an_ending_brings_parked_segments_back_at_once(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    let key = running(catalog, new_batch("batch_1", TENANT), 1).await;
    let leased = lease(catalog, ME, 1).await;
    catalog
        .park(
            ME,
            leased[0].key,
            PutDown::new(cut(1, 7), Until::After(DAY)),
        )
        .await
        .unwrap();
    cancel(catalog, key).await;
    assert_eq!(lease(catalog, ME, 1).await[0].key, leased[0].key);
}

/// What waits for a lane of the upstream `up`.
fn waiting_for(model: &str) -> Until {
    Until::Open(LaneMark::new("up", model))
}

pub(super) async fn what_waits_for_a_lane_comes_back_when_it_is_not_shut(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    running(catalog, new_batch("batch_1", TENANT), 3).await;
    let leased = lease(catalog, ME, 3).await;
    for (one, model) in leased.iter().zip(["a", "b", "c"]) {
        let put_down = PutDown::new(cut(1, 7), waiting_for(model));
        assert!(catalog.park(ME, one.key, put_down).await.unwrap());
    }
    for (shut, back) in [
        (["a", "b", "c"].as_slice(), [].as_slice()),
        (&["a", "c"], &[1]),
    ] {
        let demand = Demand {
            segments: 64,
            shut: shut
                .iter()
                .map(|model| LaneMark::new("up", model))
                .collect(),
            ..Demand::default()
        };
        let returned = catalog.lease(ME, demand).await.unwrap();
        let indexes: Vec<_> = returned.iter().map(|leased| leased.key.index).collect();
        assert_eq!(indexes, back, "while {shut:?} are shut");
    }
    // A worker that knows nothing of these lanes, for instance after a restart, takes the others.
    assert_eq!(lease(catalog, ME, 64).await.len(), 2);
}

pub(super) async fn a_batch_that_ran_dry_gets_its_next_segments_whosever_turn_it_is(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    let first = running(catalog, new_batch("batch_1", TENANT), 300).await;
    let second = running(catalog, new_batch("batch_2", TENANT), 300).await;
    let small = running(catalog, new_batch("batch_3", TENANT), 2).await;
    let dry_in = |lane: Option<&str>, dry: Vec<i64>, dry_segments| Demand {
        dry: dry
            .into_iter()
            .map(|batch| DryBatch {
                batch,
                lane: lane.map(|model| LaneMark::new("up", model)),
            })
            .collect(),
        dry_segments,
        ..Demand::default()
    };
    let dry = |batches, dry_segments| dry_in(None, batches, dry_segments);
    let leased = catalog
        .lease(ME, dry(vec![second, small], 9))
        .await
        .unwrap();
    let of = |batch| leased.iter().filter(|l| l.key.batch == batch).count();
    assert_eq!(
        [of(first), of(second), of(small)],
        [0, 4, 2],
        "in even shares"
    );

    // It has nothing left, and none is not given to another.
    assert!(
        catalog
            .lease(ME, dry(vec![small], 9))
            .await
            .unwrap()
            .is_empty()
    );
    // 13 segments of ten lines are enough for now.
    assert_eq!(
        catalog.lease(ME, dry(vec![first], 64)).await.unwrap().len(),
        13
    );
    // More batches than segments: those that are left out are asked for again.
    assert_eq!(
        catalog
            .lease(ME, dry(vec![first, second], 1))
            .await
            .unwrap()
            .len(),
        1
    );

    // First what waits for the lane in which it ran dry, and nothing that waits for another.
    let key = leased[0].key;
    let put_down = PutDown::new(cut(1, 7), waiting_for("a"));
    assert!(catalog.park(ME, key, put_down).await.unwrap());
    let next = catalog.lease(ME, dry_in(Some("b"), vec![second], 1)).await;
    assert!(next.unwrap()[0].key.index > key.index);
    let next = catalog.lease(ME, dry_in(Some("a"), vec![second], 1)).await;
    assert_eq!(next.unwrap()[0].key, key);
}

pub(super) async fn what_comes_back_leaves_a_quarter_of_a_lease_to_what_begins(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    running(catalog, new_batch("batch_1", TENANT), 200).await;
    for one in lease(catalog, ME, 64).await {
        let put_down = PutDown::new(cut(1, 7), Until::NextLease);
        assert!(catalog.park(ME, one.key, put_down).await.unwrap());
    }
    let other = running(catalog, new_batch("batch_2", "another"), 200).await;
    let demand = Demand {
        segments: 40,
        ..Demand::default()
    };
    let leased = catalog.lease(ME, demand).await.unwrap();
    let back = leased.iter().filter(|leased| leased.epoch == 2).count();
    let of_other = leased
        .iter()
        .filter(|leased| leased.key.batch == other)
        .count();
    assert_eq!((leased.len(), back), (40, 30));
    assert!(
        of_other >= 5,
        "the turns decide who has the others: {of_other}"
    );
}

pub(super) async fn how_long_lines_were_refused_is_told_again_whenever_they_are_put_down(
    catalog: &dyn Catalog,
    clock: &ManualClock,
) {
    catalog.register(ME, DAY).await.unwrap();
    running(catalog, new_batch("batch_1", TENANT), 1).await;
    let first = lease(catalog, ME, 1).await.remove(0);
    assert_eq!(first.refused_for, None);
    let put_down = PutDown {
        refused_for: Some(LEASE),
        ..PutDown::new(cut(1, 7), Until::After(LEASE))
    };
    assert!(catalog.park(ME, first.key, put_down).await.unwrap());
    clock.advance(LEASE);
    let second = lease(catalog, ME, 1).await.remove(0);
    assert_eq!(second.refused_for, Some(2 * LEASE));
    let put_down = PutDown::new(cut(2, 7), Until::NextLease);
    assert!(catalog.park(ME, first.key, put_down).await.unwrap());
    let third = lease(catalog, ME, 1).await.remove(0);
    assert_eq!(third.refused_for, None, "none of them waits for it");
}

pub(super) async fn what_is_put_down_after_its_ending_comes_back_at_once(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    let key = running(catalog, new_batch("batch_1", TENANT), 2).await;
    let leased = lease(catalog, ME, 2).await;
    cancel(catalog, key).await;
    let untils = [waiting_for("a"), Until::After(DAY)];
    for (one, until) in leased.iter().zip(untils) {
        let put_down = PutDown::new(cut(1, 7), until);
        assert!(catalog.park(ME, one.key, put_down).await.unwrap());
    }
    let demand = Demand {
        segments: 4,
        shut: vec![LaneMark::new("up", "a")],
        ..Demand::default()
    };
    assert_eq!(catalog.lease(ME, demand).await.unwrap().len(), 2);
}

pub(super) async fn at_most_256_segments_of_a_batch_are_open_and_what_waits_is_counted_apart(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    let key = running(catalog, new_batch("batch_1", TENANT), 2_000).await;
    let shut = || Demand {
        segments: 64,
        shut: vec![LaneMark::new("up", "a")],
        ..Demand::default()
    };
    let mut leased = Vec::new();
    for _ in 0..5 {
        leased.extend(catalog.lease(ME, shut()).await.unwrap());
    }
    assert_eq!(leased.len(), 256);

    let mut parked = 0;
    while let Some(one) = leased.pop() {
        let put_down = PutDown::new(cut(1, 1), waiting_for("a"));
        assert!(catalog.park(ME, one.key, put_down).await.unwrap());
        parked += 1;
        if leased.is_empty() {
            for _ in 0..4 {
                leased.extend(catalog.lease(ME, shut()).await.unwrap());
            }
        }
    }
    assert_eq!(parked, 768);

    cancel(catalog, key).await;
    let back = lease(catalog, ME, 64).await;
    assert!(
        back.iter().any(|leased| leased.epoch == 2),
        "an ending waits for no lane"
    );
}

pub(super) async fn one_lease_brings_at_most_64_segments(catalog: &dyn Catalog, _: &ManualClock) {
    catalog.register(ME, LEASE).await.unwrap();
    running(catalog, new_batch("batch_1", TENANT), 100).await;
    assert_eq!(lease(catalog, ME, 1_000).await.len(), 64);
    assert!(lease(catalog, ME, 0).await.is_empty());
}

pub(super) async fn tenants_share_a_lease_whatever_the_number_of_their_batches(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    for n in 0..20 {
        running(catalog, new_batch(&format!("batch_a{n}"), "a"), 100).await;
    }
    let small = running(catalog, new_batch("batch_b", "b"), 100).await;
    let leased = lease(catalog, ME, 64).await;
    let of_b = leased.iter().filter(|l| l.key.batch == small).count();
    assert_eq!((leased.len(), of_b), (64, 32));
}

pub(super) async fn more_tenants_than_one_lease_looks_at_are_all_served(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    for n in 0..40 {
        running(
            catalog,
            new_batch(&format!("batch_{n}"), &format!("t{n}")),
            3,
        )
        .await;
    }
    let mut served = HashSet::new();
    for _ in 0..50 {
        served.extend(lease(catalog, ME, 1).await.iter().map(|l| l.key.batch));
    }
    assert_eq!(served.len(), 40);
}

pub(super) async fn a_small_batch_does_not_wait_behind_a_large_one_of_the_same_tenant(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    running(catalog, new_batch("batch_1", TENANT), 10_000).await;
    let small = running(catalog, new_batch("batch_2", TENANT), 2).await;
    let leased = lease(catalog, ME, 4).await;
    assert_eq!(leased.iter().filter(|l| l.key.batch == small).count(), 2);
}

pub(super) async fn an_earlier_deadline_goes_first(catalog: &dyn Catalog, _: &ManualClock) {
    catalog.register(ME, LEASE).await.unwrap();
    running(catalog, new_batch("batch_1", TENANT), 9).await;
    let new = NewBatch {
        expires_after: Some(DAY),
        ..new_batch("batch_2", TENANT)
    };
    let urgent = running(catalog, new, 9).await;
    assert_eq!(lease(catalog, ME, 1).await[0].key.batch, urgent);
}

pub(super) async fn untouched_segments_of_an_ending_batch_come_last_and_in_runs(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    let ending = running(catalog, new_batch("batch_1", TENANT), 1_000).await;
    lease(catalog, ME, 1).await;
    cancel(catalog, ending).await;
    let other = running(catalog, new_batch("batch_2", TENANT), 2).await;

    let leased = lease(catalog, ME, 64).await;
    let (normal, runs) = leased.split_at(2);
    assert!(normal.iter().all(|l| l.key.batch == other));
    let spans: Vec<_> = runs.iter().map(|l| (l.key.index, l.span)).collect();
    assert_eq!(spans, (0..8).map(|n| (1 + n * 64, 64)).collect::<Vec<_>>());
    assert!(lease(catalog, ME, 64).await.is_empty());

    let filled = Sealed {
        span: 64,
        ended: 640,
        ..sealed(0, 640)
    };
    seal(catalog, &runs[0], filled).await;
    assert_eq!(lease(catalog, ME, 64).await.len(), 1);
}

pub(super) async fn runs_are_granted_however_many_segments_are_wanted(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    running(catalog, new_batch("batch_1", TENANT), 1_000).await;
    let ending = running(catalog, new_batch("batch_2", TENANT), 1_000).await;
    cancel(catalog, ending).await;

    for segments in [0, 5] {
        let demand = Demand {
            segments,
            runs: 2,
            ..Demand::default()
        };
        let leased = catalog.lease(ME, demand).await.unwrap();
        let runs: Vec<_> = leased.iter().filter(|l| l.span > 1).collect();
        assert_eq!(leased.len() - runs.len(), segments as usize);
        assert_eq!(runs.len(), 2);
        assert!(runs.iter().all(|run| run.key.batch == ending));
    }
}

pub(super) async fn an_ended_batch_is_finalizing_when_every_run_is_sealed(
    catalog: &dyn Catalog,
    _: &ManualClock,
) {
    catalog.register(ME, LEASE).await.unwrap();
    let key = running(catalog, new_batch("batch_1", TENANT), 100).await;
    let first = lease(catalog, ME, 1).await;
    cancel(catalog, key).await;
    let runs = lease(catalog, ME, 64).await;
    assert_eq!(runs.iter().map(|l| l.span).collect::<Vec<_>>(), [64, 35]);

    assert_eq!(
        seal(catalog, &first[0], sealed(10, 0)).await,
        SealOutcome::Sealed
    );
    let filled = |lines, span| Sealed {
        span,
        ended: lines,
        ..sealed(0, lines)
    };
    assert_eq!(
        seal(catalog, &runs[0], filled(640, 64)).await,
        SealOutcome::Sealed
    );
    assert_eq!(
        seal(catalog, &runs[1], filled(350, 35)).await,
        SealOutcome::Last
    );
    let row = row(catalog, key).await;
    assert_eq!(
        (row.state, row.ending),
        (BatchState::Finalizing, Some(Ending::Cancelled))
    );
    assert_eq!((row.completed, row.failed), (10, 0));

    let work = catalog.lease_finish(ME).await.unwrap().unwrap();
    catalog.finish(ME, work.batch.key, whole()).await.unwrap();
    let row = catalog.leased_batch(key).await.unwrap().unwrap();
    assert_eq!(row.state, BatchState::Cancelled);
    assert!(row.cancelled_at.is_some() && row.completed_at.is_none());
}
