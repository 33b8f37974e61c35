//! Several upstreams for one model.

use std::time::Instant;

use ditto_sim::Sim;

use super::rig::{Left, Rig, lines, sim, until};
use crate::UpstreamConfig;
use crate::config::Concurrency;

const EACH: usize = 8;

fn upstream(name: &str, sim: &Sim) -> UpstreamConfig {
    UpstreamConfig {
        models: Some(vec!["m".to_owned()]),
        concurrency: Concurrency::Fixed(EACH),
        ..UpstreamConfig::new(name, sim.base_url())
    }
}

fn with_latency(latency: &str) -> Sim {
    sim(|sim| sim.latency = latency.parse().unwrap())
}

/// In front of these, and the rig's own.
async fn rig_with(latency: &str, others: &[(&str, &Sim)]) -> Rig {
    Rig::with(
        |sim| sim.latency = latency.parse().unwrap(),
        |config| {
            let own = &mut config.upstreams[0];
            own.models = Some(vec!["m".to_owned()]);
            own.concurrency = Concurrency::Fixed(EACH);
            let others = others.iter().map(|(name, sim)| upstream(name, sim));
            config.upstreams.extend(others);
        },
    )
    .await
}

fn all_answered(left: &Left, total: usize) {
    left.is_conserved(total);
    assert_eq!(left.codes(), [""; 0], "every line is answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_some_lines_a_slow_a_dying_and_an_added_upstream_take_what_they_can() {
    // Of so few the last second counts for more: what was sent to the slow one and tried again last.
    they_take_what_they_can(8_000, 1.3).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long form: a minute"]
async fn of_twenty_thousand_lines_a_slow_a_dying_and_an_added_upstream_take_what_they_can() {
    they_take_what_they_can(20_000, 1.15).await;
}

/// Four upstreams: one is ten times slower, one dies after a sixth, and another is added after a third.
async fn they_take_what_they_can(total: u64, bar: f64) {
    let per_second = |latency: f64| EACH as f64 / latency;
    let (slow, dying, added) = (
        with_latency("500ms"),
        with_latency("50ms"),
        with_latency("50ms"),
    );
    let also = with_latency("50ms");
    let others = [("also", &also), ("slow", &slow), ("dying", &dying)];
    let rig = rig_with("50ms", &others).await;
    let begun = Instant::now();
    let id = rig.submit(&lines(total as usize)).await;
    let answered = async |count: u64| {
        until(rig.service(), "so many are answered", async || {
            let sims = [&rig.sim, &also, &slow];
            let all: u64 = sims.map(|sim| sim.stats().answered).iter().sum();
            (all >= count).then_some(())
        })
        .await;
        begun.elapsed().as_secs_f64()
    };
    answered(total / 6).await;
    let died = begun.elapsed().as_secs_f64();
    dying.stop().await;
    answered(total / 3).await;
    let was_added = begun.elapsed().as_secs_f64();
    let mut now = rig.config.upstreams.clone();
    now.push(upstream("added", &added));
    rig.service().reload_upstreams(&now).await.unwrap();

    answered(total / 2).await;
    all_answered(&rig.ended(&id).await, total as usize);
    let took = begun.elapsed().as_secs_f64();
    // Whoever knows the script keeps every slot of those that live full.
    let rest = total as f64
        - (2.0 * per_second(0.05) + per_second(0.5)) * was_added
        - per_second(0.05) * died;
    let ideal = was_added + rest / (3.0 * per_second(0.05) + per_second(0.5));
    eprintln!(
        "{total} lines on four upstreams: {:.3} of the ideal time",
        took / ideal
    );
    assert!(took < ideal * bar, "{took:.2} s, and {ideal:.2} s at best");
    for sim in [&rig.sim, &also, &slow, &added] {
        assert_eq!(sim.stats().answered_more_than_once, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_at_once_does_not_take_the_lines_of_one_that_answers() {
    let broken = sim(|sim| sim.faults = "500:1".parse().unwrap());
    let rig = rig_with("20ms", &[("broken", &broken)]).await;
    let id = rig.submit(&lines(1_500)).await;
    all_answered(&rig.ended(&id).await, 1_500);
    let asked = broken.stats().requests;
    assert!(asked < 100, "it was asked {asked} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_refuses_the_key_or_the_model_leaves_the_lines_to_the_others() {
    for fault in ["401:1", "403:1", "404:1", "quota:1"] {
        let closed = sim(|sim| sim.faults = fault.parse().unwrap());
        let rig = rig_with("20ms", &[("closed", &closed)]).await;
        // The other one works: what it says of a line is the last word.
        let first = rig.submit(&lines(10)).await;
        until(rig.service(), "it works", async || {
            (rig.sim.stats().answered > 0).then_some(())
        })
        .await;
        let id = rig.submit(&lines(500)).await;
        all_answered(&rig.ended(&id).await, 500);
        let left = rig.ended(&first).await;
        left.is_conserved(10);
        let lanes = rig.service().lanes();
        let closed = lanes.iter().find(|lane| lane.upstream == "closed");
        assert!(closed.unwrap().paused.is_some(), "{fault}: {lanes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn few_lines_go_where_the_least_is_in_flight_for_the_weight() {
    let heavy = with_latency("1s");
    let rig = Rig::with(
        |sim| sim.latency = "1s".parse().unwrap(),
        |config| {
            config.upstreams[0].models = Some(vec!["m".to_owned()]);
            let mut heavy = upstream("heavy", &heavy);
            heavy.weight = 3;
            config.upstreams.push(heavy);
        },
    )
    .await;
    // Twice: with slots that are started for it, and with slots that are there.
    for _ in 0..2 {
        let before = [&rig.sim, &heavy].map(|sim| sim.stats().requests);
        let id = rig.submit(&lines(8)).await;
        all_answered(&rig.ended(&id).await, 8);
        let after = [&rig.sim, &heavy].map(|sim| sim.stats().requests);
        assert_eq!([after[0] - before[0], after[1] - before[1]], [2, 6]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_wait_go_to_the_others_when_an_upstream_is_taken_away() {
    let other = with_latency("20ms");
    let rig = rig_with("20ms", &[("other", &other)]).await;
    let id = rig.submit(&lines(1_000)).await;
    until(rig.service(), "it has begun", async || {
        (other.stats().answered > 100).then_some(())
    })
    .await;
    let nobody = vec![UpstreamConfig {
        models: Some(vec!["n".to_owned()]),
        ..upstream("third", &other)
    }];
    let refused = rig.service().reload_upstreams(&nobody).await.unwrap_err();
    assert!(refused.message().contains("`m`"), "{refused}");

    let own = vec![rig.config.upstreams[0].clone()];
    rig.service().reload_upstreams(&own).await.unwrap();
    let at_most = other.stats().requests + EACH as u64;
    all_answered(&rig.ended(&id).await, 1_000);
    assert!(other.stats().requests <= at_most, "it has no new lines");
    let stats = [rig.sim.stats(), other.stats()];
    assert_eq!(stats.iter().map(|s| s.answered).sum::<u64>(), 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_in_a_storm_lose_nothing_and_buy_nothing_twice() {
    let others = [with_latency("10ms"), with_latency("10ms")];
    let rig = rig_with("10ms", &[]).await;
    let all: Vec<_> = rig
        .config
        .upstreams
        .iter()
        .cloned()
        .chain([upstream("b", &others[0]), upstream("c", &others[1])])
        .collect();
    let id = rig.submit(&lines(6_000)).await;
    let storm = async {
        for n in 0usize.. {
            // Each alone, and each pair, in turn.
            let some = (0..3).filter(|place| (n % 6 + 1) & (1 << place) != 0);
            let now: Vec<_> = some.map(|place| all[place].clone()).collect();
            rig.service().reload_upstreams(&now).await.unwrap();
            tokio::task::yield_now().await;
            if rig.batch(&id).await.status.is_terminal() {
                return n;
            }
        }
        unreachable!("it ends");
    };
    let reloads = storm.await;
    assert!(reloads > 20, "{reloads} reloads");
    all_answered(&rig.ended(&id).await, 6_000);
    let sims = [&rig.sim, &others[0], &others[1]].map(|sim| sim.stats());
    assert!(sims.iter().all(|stats| stats.answered > 100));
    assert_eq!(sims.iter().map(|stats| stats.answered).sum::<u64>(), 6_000);
}
