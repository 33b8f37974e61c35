//! What a job does when somebody asks: stop, look, fetch, cancel, once more.

use futures_util::StreamExt as _;

use super::*;

async fn collected(job: &mut Job, fake: &Fake) -> Ended {
    job.collect(&fake.provider(), |_| {}).await.unwrap()
}

async fn advanced(job: &mut Job, fake: &Fake) -> Ended {
    job.advance(&fake.provider(), |_| {}).await.unwrap()
}

#[tokio::test]
async fn a_job_that_is_not_waited_for_sends_what_may_be_sent_and_is_fetched_later() {
    let (desk, fake) = (Desk::of_lines(5).lines_a_shard(2), Fake::ok());
    let mut job = desk.plan(&fake);
    assert_eq!(advanced(&mut job, &fake).await, Ended::Underway);
    assert_eq!(fake.ran(), 3);
    assert_eq!(collected(&mut job, &fake).await, Ended::Underway);
    fake.world().pass(3_600);
    assert_eq!(collected(&mut job, &fake).await, Ended::Idle);
    let results = desk.results(&job);
    assert_eq!(
        (results.answered(), results.summary.unfinished),
        (up_to(5), 0)
    );
    assert_eq!(advanced(&mut job, &fake).await, Ended::Settled);
    assert_eq!(fake.ran(), 3);
}

#[tokio::test]
async fn fetching_sends_nothing_and_tells_what_is_left() {
    let (mut desk, fake) = (Desk::of_lines(4).lines_a_shard(2), Fake::ok());
    desk.profile.max_open_batches = Some(1);
    let mut job = desk.plan(&fake);
    assert_eq!(collected(&mut job, &fake).await, Ended::Idle);
    assert_eq!(advanced(&mut job, &fake).await, Ended::Underway);
    fake.world().pass(3_600);
    assert_eq!(collected(&mut job, &fake).await, Ended::Idle);
    assert_eq!(fake.ran(), 1);
    let results = desk.results(&job);
    assert_eq!(
        (results.answered(), results.summary.unfinished),
        (up_to(2), 2)
    );
    assert_eq!(results.errors[0]["error"]["code"], "job_stopped");
}

#[tokio::test]
async fn a_job_that_is_asked_to_stop_sends_nothing_more_and_goes_on_later() {
    let (desk, fake) = (Desk::of_lines(6).lines_a_shard(2), Fake::ok());
    let stop = Stop::new();
    let mut job = desk.plan(&fake).with_stop(stop.clone());
    let asks = |event: &Event<'_>| {
        if matches!(event, Event::Stepped { state, .. } if state.name() == "creating") {
            stop.ask();
        }
    };
    let ended = job.run(&fake.provider(), asks).await.unwrap();
    assert_eq!(ended, Ended::Stopped);
    // What was on its way is recorded: nothing has to be looked for.
    let names: Vec<_> = job.shards().map(|shard| job.state(shard).name()).collect();
    assert_eq!(names, ["open", "planned", "planned"]);
    drop(job);
    let results = desk.finish(&mut desk.open(&fake), &fake).await;
    assert_eq!((results.answered(), fake.most_billed()), (up_to(6), 1));
}

#[tokio::test]
async fn a_job_that_is_cancelled_ends_its_batches_and_buys_again_only_when_it_is_run() {
    let (desk, fake) = (Desk::of_lines(4).lines_a_shard(2), Fake::ok());
    let mut job = desk.plan(&fake);
    advanced(&mut job, &fake).await;
    let cancelled = job.cancel(&fake.provider()).await;
    assert!(cancelled.iter().all(|one| one.outcome.is_ok()));
    assert_eq!(cancelled.len(), 2);
    fake.world().pass(3_600);
    assert_eq!(collected(&mut job, &fake).await, Ended::Idle);
    let results = desk.results(&job);
    assert_eq!(results.summary.count(Class::Cancelled), 4);
    assert_eq!((fake.ran(), results.summary.unfinished), (2, 4));
    assert_eq!(desk.finish(&mut job, &fake).await.answered(), up_to(4));
}

#[tokio::test]
async fn a_job_that_has_ended_is_opened_anew_for_what_failed_and_keeps_what_was_answered() {
    let desk = Desk::of_lines(4);
    let fake = Fake::answering(|body, _| match body["n"].as_i64() {
        Some(2) => Answer::Status(500),
        Some(3) => Answer::Status(400),
        _ => Answer::Ok,
    });
    let mut job = desk.plan(&fake).with_retries(Retries::new(0));
    let first = desk.finish(&mut job, &fake).await;
    assert_eq!((first.answered(), fake.ran()), (vec![1, 4], 1));
    job.reopen(Failed::InPassing).unwrap();
    drop(job);
    let mut job = desk.open(&fake).with_retries(Retries::new(0));
    let again = desk.finish(&mut job, &fake).await;
    assert_eq!((again.answered(), fake.ran()), (vec![1, 4], 2));
    assert_eq!(job.rounds()[1].shards[0].lines, 1);
    job.reopen(Failed::RefusedToo).unwrap();
    desk.finish(&mut job, &fake).await;
    assert_eq!(job.rounds()[2].shards[0].lines, 2);
    // Each time once: the budget of each opening is its own.
    assert_eq!(fake.ran(), 3);
}

#[tokio::test]
async fn only_the_first_lines_are_taken_if_that_is_asked() {
    let (desk, fake) = (Desk::of_lines(9), Fake::ok());
    let settings = Settings {
        limit: Some(3),
        ..desk.settings()
    };
    let job = Job::plan(&settings, &desk.home()).unwrap();
    let mut job = job.with_clock(Arc::new(fake.clone()));
    assert_eq!(job.about().requests, 3);
    assert_eq!(
        job.run(&fake.provider(), |_| {}).await.unwrap(),
        Ended::Settled
    );
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let summary = job.export(&mut output, &mut errors).unwrap();
    assert_eq!((summary.total, summary.answered), (3, 3));
    job.check_input().unwrap();
}

#[tokio::test]
async fn a_job_is_looked_at_while_it_is_worked_on() {
    let (desk, fake) = (Desk::of_lines(3), Fake::ok());
    assert_eq!(
        View::open(&desk.home()).unwrap_err().kind(),
        JobErrorKind::Missing
    );
    let mut job = desk.plan(&fake);
    advanced(&mut job, &fake).await;
    let view = View::open(&desk.home()).unwrap();
    let shard = view.shards().next().unwrap();
    assert_eq!(view.state(shard), job.state(shard));
    assert!(view.worker().is_some());
    drop(job);
    assert_eq!(View::open(&desk.home()).unwrap().worker(), None);
}

#[tokio::test]
async fn files_at_the_provider_are_deleted_ours_at_the_end_and_results_only_when_asked() {
    let (desk, fake) = (Desk::of_lines(4).lines_a_shard(2), Fake::ok());
    let mut job = desk.plan(&fake);
    desk.finish(&mut job, &fake).await;
    assert_eq!(fake.world().deleted.len(), 2);
    assert_eq!(job.delete_outputs(&fake.provider()).await, 4);
    desk.results(&job);
}

#[test]
fn an_input_that_changed_is_found_before_anything_is_done() {
    let (desk, fake) = (Desk::of_lines(3), Fake::ok());
    let job = desk.plan(&fake);
    job.check_input().unwrap();
    let text = std::fs::read_to_string(&desk.input).unwrap();
    std::fs::write(&desk.input, text.replace("id-2", "id-9")).unwrap();
    assert_eq!(
        job.check_input().unwrap_err().kind(),
        JobErrorKind::Conflict
    );
    std::fs::remove_file(&desk.input).unwrap();
    assert_eq!(job.check_input().unwrap_err().kind(), JobErrorKind::Missing);
}

#[tokio::test]
async fn uploads_of_shards_that_were_cut_anew_are_deleted_as_well() {
    let (desk, fake) = (Desk::of_lines(8), Fake::ok());
    fake.world().max_enqueued_lines = Some(4);
    let mut job = desk.plan(&fake);
    desk.finish(&mut job, &fake).await;
    let names = || job.shards().map(|shard| job.state(shard).name());
    assert!(names().any(|name| name == "dissolved"));
    assert_eq!(fake.world().deleted.len(), names().count());
}

/// The steps of each shard. Which shard is looked at first is left to chance.
fn steps(told: &[Told]) -> BTreeMap<u32, Vec<&str>> {
    let mut steps: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for told in told {
        if let Told::Stepped { shard, state } = told {
            steps.entry(shard.number).or_default().push(state.name());
        }
    }
    steps
}

#[tokio::test]
async fn events_come_as_a_stream_as_they_come_to_an_observer_and_end_with_the_end() {
    let (desk, fake) = (Desk::of_lines(5).lines_a_shard(2), Fake::ok());
    let (mut heard, mut job) = (Vec::new(), desk.plan(&fake));
    let observer = |event: &Event<'_>| heard.push(Told::from(event));
    job.run(&fake.provider(), observer).await.unwrap();

    let (desk, fake) = (Desk::of_lines(5).lines_a_shard(2), Fake::ok());
    let (provider, mut job) = (fake.provider(), desk.plan(&fake));
    let told: Vec<_> = job.events(&provider).map(Result::unwrap).collect().await;
    assert!(matches!(told.last(), Some(Told::Ended(Ended::Settled))));
    assert_eq!(steps(&told), steps(&heard));
    assert_eq!(desk.results(&job).answered(), up_to(5));
}

#[tokio::test]
async fn a_job_whose_events_are_not_read_waits_and_goes_on_where_it_was() {
    let (desk, fake) = (Desk::of_lines(6).lines_a_shard(2), Fake::ok());
    let (provider, mut job) = (fake.provider(), desk.plan(&fake));
    {
        let mut events = std::pin::pin!(job.events(&provider));
        // The first shard is about to be uploaded.
        assert!(matches!(
            events.next().await,
            Some(Ok(Told::Stepped { .. }))
        ));
    }
    assert_eq!(fake.ran(), 0);
    let told: Vec<_> = job.events(&provider).collect().await;
    assert!(matches!(told.last(), Some(Ok(Told::Ended(Ended::Settled)))));
    assert_eq!(
        (desk.results(&job).answered(), fake.most_billed()),
        (up_to(6), 1)
    );
}

#[tokio::test]
async fn a_job_that_fails_says_so_as_the_last_of_its_events() {
    let (desk, fake) = (Desk::of_lines(4), Fake::ok());
    let (provider, mut job) = (fake.provider(), desk.plan(&fake));
    std::fs::write(&desk.input, "other").unwrap();
    let mut told: Vec<_> = job.events(&provider).collect().await;
    let error = told.pop().unwrap().unwrap_err();
    assert_eq!(error.kind(), JobErrorKind::Conflict);
    assert!(told.iter().all(Result::is_ok));
}
