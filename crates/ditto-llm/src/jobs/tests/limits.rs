//! Batches that the provider does not take, or does not end.

use super::*;

fn reasons(results: &Results) -> Vec<(&str, u64)> {
    let told = results.summary.failed_for.iter();
    told.map(|(why, times)| (why.as_str(), *times)).collect()
}

#[tokio::test]
async fn a_shard_of_more_lines_than_the_provider_takes_goes_out_in_smaller_ones() {
    let (desk, fake) = (Desk::of_lines(90).lines_a_shard(40), Fake::ok());
    fake.world().max_lines = Some(12);
    let mut job = desk.plan(&fake).with_retries(Retries::new(0));
    let results = desk.finish(&mut job, &fake).await;
    assert_eq!((results.answered(), fake.most_billed()), (up_to(90), 1));
    // Two of 40, four of 20: all are sent before the first is looked at. Those of 10 run.
    assert_eq!(reasons(&results), [("too_many_tasks: Too many.", 6)]);
    assert_eq!(fake.ran(), 9);
    drop(job);
    assert_eq!(desk.open(&fake).ledger.learned().max_lines, Some(10));
}

#[tokio::test]
async fn a_provider_that_takes_no_line_at_all_is_not_asked_for_ever() {
    let (desk, fake) = (Desk::of_lines(5), Fake::ok());
    fake.world().max_lines = Some(0);
    let results = desk.run(&fake).await;
    assert_eq!(results.summary.count(Class::Cancelled), 5);
    let message = results.errors[0]["error"]["message"].as_str().unwrap();
    assert!(message.ends_with("too_many_tasks: Too many."), "{message}");
    assert!(fake.world().batches.len() < 25);
}

#[tokio::test]
async fn why_a_batch_failed_is_told_as_it_happens_and_in_the_summary() {
    let (desk, fake) = (Desk::of_lines(3), Fake::ok());
    fake.world().creates = vec![Create::FailsForLine(3)];
    let mut job = desk.plan(&fake);
    let mut told = Vec::new();
    let observer = |event: &Event<'_>| {
        if let Event::Refused { why, .. } = event {
            told.push((*why).to_owned());
        }
    };
    job.run(&fake.provider(), observer).await.unwrap();
    assert_eq!(told, ["model_not_found: no such"]);
    assert_eq!(
        reasons(&desk.results(&job)),
        [("model_not_found: no such", 1)]
    );
}

#[tokio::test]
async fn a_batch_that_does_not_end_is_cancelled_after_its_window_and_its_lines_go_out_again() {
    let (desk, fake) = (Desk::of_lines(7).lines_a_shard(4), Fake::ok());
    fake.world().endless = 1;
    let mut job = desk.plan(&fake).with_retries(Retries::new(0));
    let (mut warnings, mut cancelled) = (0, Vec::new());
    let observer = |event: &Event<'_>| match event {
        Event::Waiting { why, .. } => warnings += u32::from(why.contains("past the window")),
        Event::Cancelled { shard, .. } => cancelled.push(shard.number),
        _ => {}
    };
    let ended = job.run(&fake.provider(), observer).await.unwrap();
    assert_eq!((ended, cancelled), (Ended::Settled, vec![1]));
    assert!(warnings > 30, "{warnings}");
    assert_eq!(desk.results(&job).answered(), up_to(7));
    let over = fake.now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(over.as_secs() < 1_700_000_000 + 86_400 + 7_200 + 3_600);
}

#[tokio::test]
async fn a_batch_that_goes_on_although_it_was_cancelled_waits_for_a_person_and_the_others_do_not() {
    let (desk, fake) = (Desk::of_lines(7).lines_a_shard(4), Fake::ok());
    (fake.world().endless, fake.world().cancels) = (1, false);
    let mut job = desk.plan(&fake);
    let ended = job.run(&fake.provider(), |_| {}).await.unwrap();
    assert_eq!(ended, Ended::NeedsDecision(vec![1]));
    assert_eq!(fake.ran(), 2);
    drop(job);
    let mut job = desk.open(&fake);
    job.create_again(1).unwrap();
    assert_eq!(desk.finish(&mut job, &fake).await.answered(), up_to(7));
    // The one that was given up is not taken for the new one.
    assert_eq!((fake.ran(), fake.most_billed()), (3, 2));
}

#[tokio::test]
async fn where_batches_may_go_on_past_their_window_none_is_cancelled() {
    let (mut desk, fake) = (Desk::of_lines(3), Fake::ok());
    desk.profile.expires = false;
    fake.world().endless = 1;
    let mut job = desk.plan(&fake);
    job.advance(&fake.provider(), |_| {}).await.unwrap();
    fake.world().pass(9 * 86_400);
    job.advance(&fake.provider(), |event| {
        assert!(!matches!(event, Event::Cancelled { .. }));
    })
    .await
    .unwrap();
    assert_eq!(job.state(job.shards().next().unwrap()).name(), "open");
}
