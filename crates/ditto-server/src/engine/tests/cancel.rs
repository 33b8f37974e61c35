//! Batches that end early: what finished is kept, every other line is accounted for.

use std::time::Duration;

use ditto_llm::wire::BatchStatus;

use super::rig::{Left, Rig, TENANT, lines, prompts, until};

async fn cancel(rig: &Rig, id: &str) -> BatchStatus {
    rig.service().cancel_batch(TENANT, id).await.unwrap().status
}

fn completed(rig: &Rig) -> u64 {
    rig.sim.stats().answered
}

/// Conserved, and its only errors are lines that the ending wrote.
fn is_ended_by(left: &Left, total: usize, code: &str) {
    left.is_conserved(total);
    assert!(left.codes().iter().all(|c| c == code), "{:?}", left.codes());
    assert!(left.errors.iter().all(|line| line["response"].is_null()));
    assert!(left.errors.iter().all(|line| line["custom_id"].is_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn before_validation_a_cancel_is_final_at_once() {
    let mut rig = Rig::stopped(|_| {}, |_| {});
    let server = crate::Server::open(rig.config.clone()).await.unwrap();
    let id = super::rig::submit(&server.service(), &lines(10), |_| {}).await;
    let batch = server.service().cancel_batch(TENANT, &id).await.unwrap();
    assert_eq!(batch.status, BatchStatus::Cancelled);
    drop(server);

    rig.open().await;
    let later = rig.submit(&lines(1)).await;
    rig.ended(&later).await.is_conserved(1);
    let left = rig.ended(&id).await;
    left.is(BatchStatus::Cancelled);
    left.is_conserved(0);
    assert_eq!(
        rig.sim.stats().requests,
        1,
        "only the later batch was asked"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_batch_keeps_what_finished() {
    let rig = Rig::with(|sim| sim.latency = "10ms".parse().unwrap(), |_| {}).await;
    let id = rig.submit(&lines(600)).await;
    until(rig.service(), "some are answered", async || {
        (completed(&rig) >= 50).then_some(())
    })
    .await;
    assert_eq!(cancel(&rig, &id).await, BatchStatus::Cancelling);
    let statuses = std::cell::RefCell::new(Vec::new());
    rig.until(&id, "it is cancelled", |batch| {
        statuses.borrow_mut().push(batch.status.clone());
        batch.status == BatchStatus::Cancelled
    })
    .await;
    let mut statuses = statuses.into_inner();
    statuses.dedup();
    assert!(
        statuses.ends_with(&[BatchStatus::Cancelled]) && statuses.len() <= 2,
        "{statuses:?}"
    );

    let left = rig.ended(&id).await;
    is_ended_by(&left, 600, "batch_cancelled");
    let stats = rig.sim.stats();
    assert!((50..600).contains(&left.output.len()));
    assert_eq!(
        left.output.len() as u64,
        stats.answered,
        "each answer that was paid for is there"
    );
    assert_eq!(stats.asked_more_than_once, 0);
    assert_eq!(left.batch.request_counts.unwrap().failed, 0);
    assert_eq!(
        cancel(&rig, &id).await,
        BatchStatus::Cancelled,
        "a second cancel changes nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_wait_for_a_retry_end_at_once() {
    let rig = Rig::start().await;
    let mut scripts = vec!["sim: 429 retry-after 500"; 40];
    scripts.extend(["say"; 10]);
    let id = rig.submit(&prompts(&scripts)).await;
    until(rig.service(), "all were asked", async || {
        (rig.sim.stats().requests >= 50).then_some(())
    })
    .await;
    cancel(&rig, &id).await;
    let left = rig.ended(&id).await;
    is_ended_by(&left, 50, "batch_cancelled");
    assert_eq!(left.output.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_paused_lane_end_at_once() {
    let rig = Rig::start().await;
    let id = rig.submit(&prompts(&["sim: 401"; 200])).await;
    until(rig.service(), "the pause is long", async || {
        let lanes = rig.service().lanes();
        (lanes.iter().any(|l| l.paused.is_some()) && rig.sim.stats().requests >= 3).then_some(())
    })
    .await;
    cancel(&rig, &id).await;
    is_ended_by(&rig.ended(&id).await, 200, "batch_cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_were_never_leased_are_filled_in() {
    let rig = Rig::with(
        |sim| sim.latency = "50ms".parse().unwrap(),
        |config| config.upstreams[0].concurrency = crate::config::Concurrency::Fixed(1),
    )
    .await;
    let id = rig.submit(&lines(20_000)).await;
    until(rig.service(), "one is answered", async || {
        (completed(&rig) >= 1).then_some(())
    })
    .await;
    cancel(&rig, &id).await;
    let left = rig.ended(&id).await;
    is_ended_by(&left, 20_000, "batch_cancelled");
    assert_eq!(left.output.len() as u64, completed(&rig));
}

#[tokio::test(flavor = "multi_thread")]
async fn faulty_lines_keep_their_fault_when_they_are_filled_in() {
    let rig = Rig::with(
        |sim| sim.latency = "200ms".parse().unwrap(),
        |config| config.upstreams[0].concurrency = crate::config::Concurrency::Fixed(1),
    )
    .await;
    let mut file = lines(20_000);
    file.extend(b"{\"custom_id\":\"bad\"}\n\x0c\n\n[]\n");
    let id = rig
        .submit_with(&file, |request| request.lenient = Some(true))
        .await;
    until(rig.service(), "one is answered", async || {
        (completed(&rig) >= 1).then_some(())
    })
    .await;
    cancel(&rig, &id).await;
    let left = rig.ended(&id).await;
    left.is_conserved(20_003);
    let codes = left.codes();
    let (ended, own) = codes.split_at(codes.len() - 3);
    assert!(ended.iter().all(|code| code == "batch_cancelled"));
    assert_eq!(
        own,
        [
            "missing_required_parameter",
            "invalid_json_line",
            "invalid_json_line"
        ]
    );
    assert_eq!(left.batch.request_counts.unwrap().failed, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_gets_a_grace_and_is_then_cut_off() {
    let rig = Rig::with(|_| {}, |c| c.sending.grace = Duration::from_millis(300)).await;
    let id = rig
        .submit(&prompts(&["sim: delay 150ms", "sim: hang", "say"]))
        .await;
    until(rig.service(), "two are in flight", async || {
        (rig.sim.stats().requests == 3).then_some(())
    })
    .await;
    cancel(&rig, &id).await;
    let left = rig.ended(&id).await;
    is_ended_by(&left, 3, "batch_cancelled");
    assert_eq!(
        left.output.len(),
        2,
        "the slow one came back within the grace"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_survives_a_restart() {
    let mut rig = Rig::with(
        |sim| sim.latency = "20ms".parse().unwrap(),
        |config| config.upstreams[0].concurrency = crate::config::Concurrency::Fixed(2),
    )
    .await;
    let id = rig.submit(&lines(5_000)).await;
    until(rig.service(), "some are answered", async || {
        (completed(&rig) >= 10).then_some(())
    })
    .await;
    cancel(&rig, &id).await;
    assert!(rig.stop().await);
    rig.open().await;
    let left = rig.ended(&id).await;
    is_ended_by(&left, 5_000, "batch_cancelled");
    assert_eq!(left.output.len() as u64, completed(&rig));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_ends_expires_what_is_left() {
    let rig = Rig::with(
        |sim| sim.latency = "20ms".parse().unwrap(),
        |config| config.upstreams[0].concurrency = crate::config::Concurrency::Fixed(2),
    )
    .await;
    let window = Duration::from_millis(1_200);
    let id = rig
        .submit_with(&lines(5_000), |r| r.deadline = Some(window))
        .await;
    let left = rig.ended(&id).await;
    left.is(BatchStatus::Expired);
    is_ended_by(&left, 5_000, "batch_expired");
    assert!(!left.output.is_empty());
    assert_eq!(left.output.len() as u64, completed(&rig));
    assert!(left.batch.expired_at.is_some());
}
