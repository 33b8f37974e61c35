//! Whose line is next: nobody waits behind somebody else's plenty.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::rig::{Rig, line_for, lines, sim, until};
use crate::UpstreamConfig;

#[tokio::test(flavor = "multi_thread")]
async fn a_small_batch_does_not_wait_for_a_large_one() {
    let rig = Rig::with(
        |sim| sim.latency = "50ms".parse().unwrap(),
        |config| config.upstreams[0].concurrency = crate::config::Concurrency::Fixed(4),
    )
    .await;
    let large = rig.submit(&lines(20_000)).await;
    until(
        rig.service(),
        "the large one has filled its lane",
        async || {
            rig.service()
                .lanes()
                .iter()
                .any(|lane| lane.waiting >= 4_096)
                .then_some(())
        },
    )
    .await;
    let before = rig.sim.stats().answered;
    let small = rig.submit(&lines(60)).await;
    rig.ended(&small).await.is_conserved(60);
    let meanwhile = rig.sim.stats().answered - before;
    assert!(
        meanwhile < 600,
        "{meanwhile} lines were answered while 60 had their turn"
    );
    drop(large);
}

/// How long a batch of so many lines takes.
async fn time_of(rig: &Rig, count: usize) -> f64 {
    let begun = Instant::now();
    let id = rig.submit(&lines(count)).await;
    rig.ended(&id).await.is_conserved(count);
    begun.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_lines_beside_very_many_take_twice_their_time_and_cost_the_many_next_to_nothing()
{
    a_hundred_lines_beside(100_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long form: a file of a million lines"]
async fn a_hundred_lines_beside_a_million_too() {
    a_hundred_lines_beside(1_000_000).await;
}

/// They take at most twice their time, and the many keep 0.95 of their speed.
async fn a_hundred_lines_beside(very_many: usize) {
    let rig = Rig::with(
        |sim| sim.latency = "200ms".parse().unwrap(),
        |config| config.upstreams[0].concurrency = crate::config::Concurrency::Fixed(16),
    )
    .await;
    let alone = time_of(&rig, 100).await;
    let many = rig.submit(&lines(very_many)).await;
    until(rig.service(), "the many run", async || {
        (rig.sim.stats().answered >= 200).then_some(())
    })
    .await;
    let (before, begun) = (rig.sim.stats().answered, Instant::now());
    let beside = time_of(&rig, 100).await;
    // So much longer that the hundred are a small part of it.
    let all = before + 1_000;
    until(rig.service(), "the many have gone on", async || {
        (rig.sim.stats().answered >= all).then_some(())
    })
    .await;
    let per_second = 1_000.0 / begun.elapsed().as_secs_f64();
    assert!(beside < 2.0 * alone, "{beside:.2} s, alone {alone:.2} s");
    assert!(
        per_second > 0.95 * 16.0 / 0.2,
        "{per_second:.0} lines a second"
    );
    drop(many);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_behind_a_slow_line() {
    let rig = Rig::start().await;
    let slow = |at: usize, n: usize| match n == at {
        true => line_for("m", n, "sim: delay 20s"),
        false => line_for("m", n, &format!("say {n}")),
    };
    // One in the middle of its batch, which goes on behind it; and one at the end, behind which the
    // next batch goes on.
    for at in [100, 2_999] {
        let file: String = (1..=3_000).map(|n| slow(at, n)).collect();
        let id = rig.submit(file.as_bytes()).await;
        rig.until(&id, "all others are answered", |batch| {
            batch.request_counts.as_ref().unwrap().completed == 2_999
        })
        .await;
    }
    assert!(time_of(&rig, 100).await < 15.0, "it waits for no slow line");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_lane_is_paused_does_not_hold_up_another() {
    let bad = sim(|sim| sim.faults = "401:1".parse().unwrap());
    let rig = Rig::with(
        |_| {},
        |config| {
            config.upstreams[0].models = Some(vec!["m".to_owned()]);
            let mut bad = UpstreamConfig::new("bad", bad.base_url());
            bad.models = Some(vec!["*".to_owned()]);
            config.upstreams.push(bad);
        },
    )
    .await;
    let stuck: String = (1..=12_000).map(|n| line_for("bad", n, "say")).collect();
    let stuck = rig.submit(stuck.as_bytes()).await;
    until(rig.service(), "its lane is paused", async || {
        let lanes = rig.service().lanes();
        lanes
            .iter()
            .any(|l| l.paused.is_some() && l.waiting >= 4_000)
            .then_some(())
    })
    .await;
    let well = rig.submit(&lines(1_000)).await;
    rig.ended(&well).await.is_conserved(1_000);
    assert_eq!(rig.batch(&stuck).await.request_counts.unwrap().completed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_whose_lane_is_paused_does_not_hold_up_another_of_the_same_file() {
    let bad = sim(|sim| sim.faults = "401:1".parse().unwrap());
    let rig = Rig::with(
        |_| {},
        |config| {
            config.upstreams[0].models = Some(vec!["m".to_owned()]);
            let mut bad = UpstreamConfig::new("bad", bad.base_url());
            bad.models = Some(vec!["*".to_owned()]);
            config.upstreams.push(bad);
        },
    )
    .await;
    let models = ["m", "bad"];
    let file: String = (0..12_000)
        .map(|n| line_for(models[n % 2], n, "say"))
        .collect();
    let id = rig
        .submit_with(file.as_bytes(), |r| r.lenient = Some(true))
        .await;
    rig.until(&id, "all lines of the well one are answered", |batch| {
        batch.request_counts.as_ref().unwrap().completed == 6_000
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_does_not_wait_for_another_batch() {
    let rig = Rig::with(
        |sim| sim.latency = "50ms".parse().unwrap(),
        |config| config.upstreams[0].concurrency = crate::config::Concurrency::Fixed(4),
    )
    .await;
    let large = rig.submit(&lines(40_000)).await;
    until(rig.service(), "the large one runs", async || {
        (rig.sim.stats().answered > 10).then_some(())
    })
    .await;
    let other = rig.submit(&lines(20_000)).await;
    rig.until(&other, "it runs", |b| b.in_progress_at.is_some())
        .await;
    rig.service()
        .cancel_batch(super::rig::TENANT, &other)
        .await
        .unwrap();
    rig.ended(&other).await.is_conserved(20_000);
    drop(large);
}

/// A server with room for a few segments, before a fast model and `other`, on an upstream of its own for
/// these models.
async fn beside(other: &str, models: &str) -> Rig {
    Rig::with(
        |_| {},
        |config| {
            config.limits.memory_bytes = 128 << 20;
            // What never ends is not waited for.
            config.sending.grace = Duration::ZERO;
            config.upstreams[0].models = Some(vec!["fast".to_owned()]);
            let mut upstream = UpstreamConfig::new("other", other);
            // One that searches would soon send one line at a time to who refuses all.
            upstream.concurrency = crate::config::Concurrency::Fixed(32);
            upstream.models = Some(vec![models.to_owned()]);
            config.upstreams.push(upstream);
        },
    )
    .await
}

fn of_fast(count: usize) -> Vec<u8> {
    let lines = (1..=count).map(|n| line_for("fast", n, "say"));
    lines.collect::<String>().into_bytes()
}

/// A file of both models in turn, three times what there is room for, and then another of the fast one
/// alone: both have of the fast one what they need.
async fn the_fast_one_is_had_by_all(mut rig: Rig) {
    let long = "say ".repeat(750);
    let models = ["fast", "other"].iter().cycle();
    let mixed: String = (1..=12_000)
        .zip(models)
        .map(|(n, model)| line_for(model, n, &long))
        .collect();
    rig.submit(mixed.as_bytes()).await;
    until(rig.service(), "the large one has begun", async || {
        (rig.sim.stats().answered > 1_000).then_some(())
    })
    .await;
    let small = rig.submit(&of_fast(500)).await;
    rig.ended(&small).await.is_conserved(500);
    until(
        rig.service(),
        "the other's half of the large one",
        async || (rig.sim.stats().answered == 6_000 + 500).then_some(()),
    )
    .await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_slow_keeps_no_room_from_another() {
    let slow = sim(|sim| sim.latency = "1h".parse().unwrap());
    the_fast_one_is_had_by_all(beside(&slow.base_url(), "other").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_wants_to_be_asked_later_keeps_no_room_from_another() {
    let busy = sim(|sim| sim.faults = "429:1".parse().unwrap());
    the_fast_one_is_had_by_all(beside(&busy.base_url(), "other").await).await;
}

/// Else nothing would ever come of a line that is away before its upstream's time is up.
#[tokio::test(flavor = "multi_thread")]
async fn how_long_a_line_was_refused_is_counted_on_while_it_is_away() {
    let busy = sim(|sim| sim.faults = "429:1".parse().unwrap());
    let rig = beside(&busy.base_url(), "other").await;
    let long = "say ".repeat(2_000);
    let lines: String = (1..=2_000).map(|n| line_for("other", n, &long)).collect();
    rig.submit(lines.as_bytes()).await;
    let mut first = BTreeMap::new();
    let again = until(rig.service(), "a segment was parked twice", async || {
        for (idx, epoch, since) in parked(&rig) {
            let (first_epoch, first_since) = *first.entry(idx).or_insert((epoch, since));
            if epoch > first_epoch {
                return Some((first_since, since));
            }
        }
        None
    });
    let (first_since, since) = again.await;
    // It was away for 5 s in between.
    assert!(first_since.abs_diff(since) < 1_000, "{first_since} {since}");
}

/// The segments that are parked and have lines that were refused: place, epoch, and since when, in
/// milliseconds.
fn parked(rig: &Rig) -> Vec<(i64, i64, i64)> {
    let catalog = Connection::open(rig.config.data.join("catalog.db")).unwrap();
    let mut rows = catalog
        .prepare("SELECT idx, epoch, refused_ms FROM segments WHERE state = 'parked' AND refused_ms IS NOT NULL")
        .unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn models_that_are_away_keep_no_room_for_their_probes() {
    let away = sim(|_| {});
    let mut rig = beside(&away.base_url(), "*").await;
    away.stop().await;
    // Each of these has one line, a fifth of the room.
    let long = "say ".repeat(700_000);
    let lines: String = (1..=8)
        .map(|n| line_for(&format!("away-{n}"), n, &long))
        .collect();
    rig.submit(lines.as_bytes()).await;
    until(rig.service(), "some are known to be away", async || {
        let lanes = rig.service().lanes();
        (lanes.iter().filter(|lane| lane.paused.is_some()).count() >= 3).then_some(())
    })
    .await;
    let small = rig.submit(&of_fast(500)).await;
    rig.ended(&small).await.is_conserved(500);
    until(rig.service(), "each of them was probed", async || {
        (rig.service().lanes().len() == 8 + 1).then_some(())
    })
    .await;
    rig.stop().await;
}
