//! Outages: nobody is charged for them, nothing is lost, and the reason can be read.

use ditto_sim::{Sim, SimConfig};

use super::rig::{Rig, lines, prompts, sim, until};
use crate::model::lane::Pause;

/// Puts another simulator in the place of the rig's, on the same address.
async fn replace(rig: &mut Rig, change: impl FnOnce(&mut SimConfig)) {
    let address = rig.sim.addr();
    let before = std::mem::replace(&mut rig.sim, sim(|_| {}));
    before.stop().await;
    let elsewhere = std::mem::replace(
        &mut rig.sim,
        sim(|sim| {
            sim.listen = Some(address);
            change(sim);
        }),
    );
    elsewhere.stop().await;
}

/// Waits until a lane is paused for this reason.
async fn until_paused(rig: &Rig, pause: Pause) {
    until(rig.service(), "the lane is paused", async || {
        rig.service()
            .lanes()
            .iter()
            .any(|lane| lane.pause == Some(pause))
            .then_some(())
    })
    .await;
}

/// A batch under way, two attempts a line: one may be charged when the outage begins, in the belief
/// that it is the line's.
async fn under_way(total: usize) -> (Rig, String) {
    let rig = Rig::with(
        |sim| sim.latency = "5ms".parse().unwrap(),
        |config| config.sending.attempts = 2,
    )
    .await;
    let id = rig.submit(&lines(total)).await;
    until(rig.service(), "some are answered", async || {
        (rig.sim.stats().answered >= 50).then_some(())
    })
    .await;
    (rig, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_away_for_a_while_costs_no_line() {
    let (mut rig, id) = under_way(400).await;
    let address = rig.sim.addr();
    let gone = std::mem::replace(&mut rig.sim, sim(|_| {}));
    gone.stop().await;
    until(rig.service(), "it has been probed in vain", async || {
        let lanes = rig.service().lanes();
        let fault = lanes.iter().find(|lane| lane.pause == Some(Pause::Fault))?;
        (fault.at_fault_for? > std::time::Duration::from_millis(1_500)).then_some(())
    })
    .await;
    rig.sim = Sim::start(SimConfig {
        listen: Some(address),
        threads: Some(1),
        ..SimConfig::default()
    })
    .unwrap();
    let left = rig.ended(&id).await;
    left.is_conserved(400);
    assert_eq!(left.codes(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_while_of_nothing_but_503_costs_no_line() {
    let (mut rig, id) = under_way(400).await;
    replace(&mut rig, |sim| sim.faults = "503:1".parse().unwrap()).await;
    until(
        rig.service(),
        "it has been probed a few times",
        async || {
            // A line a pause.
            (rig.sim.stats().requests >= 4).then_some(())
        },
    )
    .await;
    until_paused(&rig, Pause::Fault).await;
    replace(&mut rig, |_| {}).await;
    let left = rig.ended(&id).await;
    left.is_conserved(400);
    assert_eq!(left.codes(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_lane_is_paused_only_one_line_at_a_time_is_sent() {
    let rig = Rig::with(|sim| sim.faults = "503:1".parse().unwrap(), |_| {}).await;
    rig.submit(&lines(100)).await;
    until(rig.service(), "four pauses have passed", async || {
        let lanes = rig.service().lanes();
        (lanes.first()?.at_fault_for?.as_millis() > 2_500).then_some(())
    })
    .await;
    let requests = rig.sim.stats().requests;
    assert!(
        requests <= 8 + 5,
        "{requests} requests: eight together, then a probe a pause"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_accepted_pauses_the_lane_with_its_reason() {
    let mut rig = Rig::with(|sim| sim.faults = "401:1".parse().unwrap(), |_| {}).await;
    let id = rig.submit(&lines(200)).await;
    until_paused(&rig, Pause::NotAllowed).await;
    let lane = rig.service().lanes().remove(0);
    assert!(
        lane.paused.unwrap().contains("does not accept the key"),
        "{lane:?}"
    );
    assert_eq!(lane.successes, 0);

    replace(&mut rig, |_| {}).await;
    let left = rig.ended(&id).await;
    left.is_conserved(200);
    assert_eq!(left.output.len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_up_quota_pauses_the_lane_and_loses_nothing() {
    // Alone: the answer of another line that was sent with it would end the pause at once.
    let rig = Rig::start().await;
    let id = rig.submit(&prompts(&["sim: quotax2 then ok"])).await;
    until_paused(&rig, Pause::Quota).await;
    rig.ended(&id).await.is_conserved(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_batch_that_is_refused_from_its_first_line_is_not_burnt() {
    let mut rig = Rig::with(|sim| sim.faults = "404:1".parse().unwrap(), |_| {}).await;
    let id = rig.submit(&lines(500)).await;
    until_paused(&rig, Pause::Refused).await;
    replace(&mut rig, |_| {}).await;
    let left = rig.ended(&id).await;
    left.is_conserved(500);
    assert!(
        left.errors.len() < 40,
        "{} lines were given up",
        left.errors.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_takes_long_does_not_keep_a_paused_lane_from_its_probe() {
    // The first two are sent together, before anything has succeeded.
    let rig = Rig::with(
        |_| {},
        |config| config.upstreams[0].concurrency = crate::config::Concurrency::Fixed(2),
    )
    .await;
    let mut scripts = vec!["sim: hang", "sim: 503 then ok"];
    scripts.extend(["say"; 60]);
    let id = rig.submit(&prompts(&scripts)).await;
    until(rig.service(), "all others are answered", async || {
        (rig.sim.stats().answered == 61).then_some(())
    })
    .await;
    rig.service()
        .cancel_batch(super::rig::TENANT, &id)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_lines_do_not_keep_their_lane_shut() {
    let rig = Rig::start().await;
    for _ in 0..3 {
        rig.submit(&prompts(&["sim: 403 plain"])).await;
    }
    until_paused(&rig, Pause::WrongAddress).await;

    let good = rig.submit(&lines(300)).await;
    let left = rig.ended(&good).await;
    left.is_conserved(300);
    assert_eq!(left.output.len(), 300);
}
