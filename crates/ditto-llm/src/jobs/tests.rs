//! Whole jobs, against a provider in memory.

mod asked;
mod fake;
mod limits;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use self::fake::{Answer, Create, Fake};
use super::*;
use crate::verify::{Files, verify};

/// A job in a folder of its own.
struct Desk {
    folder: TempDir,
    input: PathBuf,
    profile: Profile,
    canary: Option<u64>,
}

impl Desk {
    fn new(text: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("x.jsonl");
        std::fs::write(&input, text).unwrap();
        Self {
            folder,
            input,
            profile: Profile {
                poll_seconds: 30,
                ..Profile::default()
            },
            canary: None,
        }
    }

    /// So many good lines.
    fn of_lines(lines: i64) -> Self {
        Self::new((1..=lines).map(good).collect::<String>())
    }

    fn lines_a_shard(mut self, lines: u64) -> Self {
        self.profile.max_lines = lines;
        self
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("x.ditto")
    }

    fn settings(&self) -> Settings {
        Settings {
            canary: self.canary,
            canary_over: None,
            ..Settings::new(&self.input, self.profile.clone())
        }
    }

    fn plan(&self, fake: &Fake) -> Job {
        let job = Job::plan(&self.settings(), &self.home()).unwrap();
        job.with_clock(Arc::new(fake.clone()))
    }

    fn open(&self, fake: &Fake) -> Job {
        Job::open(&self.home())
            .unwrap()
            .with_clock(Arc::new(fake.clone()))
    }

    async fn run(&self, fake: &Fake) -> Results {
        let mut job = self.plan(fake);
        self.finish(&mut job, fake).await
    }

    async fn finish(&self, job: &mut Job, fake: &Fake) -> Results {
        let ended = job.run(&fake.provider(), |_| {}).await.unwrap();
        assert_eq!(ended, Ended::Settled);
        self.results(job)
    }

    /// Exports, and holds the results against the input.
    fn results(&self, job: &Job) -> Results {
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let summary = job.export(&mut output, &mut errors).unwrap();
        let input = std::fs::read(&self.input).unwrap();
        let files = Files {
            input: &mut &input[..],
            output: &mut &output[..],
            errors: Some(&mut &errors[..]),
        };
        let report = verify(files, self.folder.path()).unwrap();
        assert_eq!(report.offence_count, 0, "{:?}", report.offences);
        assert_eq!(
            (report.requests, report.answered),
            (summary.total, summary.answered)
        );
        Results {
            output: lines(&output),
            errors: lines(&errors),
            summary,
        }
    }
}

#[derive(Debug)]
struct Results {
    output: Vec<Value>,
    errors: Vec<Value>,
    summary: Summary,
}

impl Results {
    fn answered(&self) -> Vec<i64> {
        let number = |line: &Value| line["response"]["body"]["n"].as_i64().unwrap();
        self.output.iter().map(number).collect()
    }
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    crate::jsonl::split_lines(bytes)
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

fn good(n: i64) -> String {
    named(&format!("id-{n}"), "m", n)
}

fn named(id: &str, model: &str, n: i64) -> String {
    let body = json!({"model": model, "messages": [], "n": n});
    json!({"custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": body})
        .to_string()
        + "\n"
}

fn up_to(n: i64) -> Vec<i64> {
    (1..=n).collect()
}

fn shards(job: &Job) -> Vec<&Shard> {
    job.rounds()
        .iter()
        .flat_map(|round| &round.shards)
        .collect()
}

#[tokio::test]
async fn every_line_comes_back_once_and_in_order_whatever_the_order_of_the_provider() {
    let (desk, fake) = (Desk::of_lines(25).lines_a_shard(10), Fake::ok());
    let results = desk.run(&fake).await;
    assert_eq!(results.answered(), up_to(25));
    assert_eq!(results.errors.len(), 0);
    assert_eq!((fake.ran(), fake.most_billed()), (3, 1));
    assert_eq!(results.output[0]["custom_id"], "id-1");
    assert_eq!(
        (results.summary.input_tokens, results.summary.output_tokens),
        (50, 75)
    );
    // The inputs that the job had uploaded, and nothing else.
    assert_eq!(fake.world().deleted.len(), 3);
}

#[tokio::test]
async fn awkward_inputs_are_told_line_by_line() {
    let text = [
        "\u{feff}",
        &good(1),
        "\n",
        "  \r\n",
        &good(2).replace('\n', "\r\n"),
        "not json\n",
        &good(3).replace("\"id-3\"", "7"),
        &good(2).replace("\"n\":2", "\"n\":4"),
        &good(5).replace("\"custom_id\":\"id-5\",", ""),
        &good(6).replace("\"messages\"", "\"stream\":true,\"messages\""),
        good(7).trim_end(),
    ]
    .concat();
    let (desk, fake) = (Desk::new(&text), Fake::ok());
    let job = desk.plan(&fake);
    assert_eq!((job.about().requests, job.about().withheld), (8, 2));
    assert_eq!(shards(&job)[0].form, Form::Renamed);
    drop(job);
    let results = desk.finish(&mut desk.open(&fake), &fake).await;
    assert_eq!(results.answered(), [1, 2, 3, 4, 5, 7]);
    let ids: Vec<_> = results
        .output
        .iter()
        .map(|line| line["custom_id"].clone())
        .collect();
    assert_eq!(
        json!(ids),
        json!(["id-1", "id-2", null, "id-2", null, "id-7"])
    );
    let codes: Vec<_> = results
        .errors
        .iter()
        .map(|line| line["error"]["code"].clone())
        .collect();
    assert_eq!(
        json!(codes),
        json!(["invalid_json_line", "streaming_unsupported"])
    );
    assert_eq!(results.errors[1]["custom_id"], "id-6");
}

#[tokio::test]
async fn lines_that_go_as_they_are_are_not_copied() {
    let (desk, fake) = (Desk::of_lines(5), Fake::ok());
    let job = desk.plan(&fake);
    assert_eq!(
        (shards(&job)[0].form, shards(&job)[0].runs),
        (Form::AsItIs, 1)
    );
    let sizes: u64 = walk_sizes(&desk.home());
    assert!(sizes < 4_000, "{sizes}");
}

fn walk_sizes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| match entry.path() {
            path if path.is_dir() => walk_sizes(&path),
            path => path.metadata().unwrap().len(),
        })
        .sum()
}

#[test]
fn a_canary_of_a_short_input_goes_with_the_lines_that_follow() {
    let planned = |canary_over, lines_a_shard| {
        let mut desk = Desk::of_lines(25).lines_a_shard(lines_a_shard);
        desk.canary = Some(4);
        let settings = Settings {
            canary_over,
            ..desk.settings()
        };
        let job = Job::plan(&settings, &desk.home()).unwrap();
        let shard = |shard: &&Shard| (shard.number, shard.lines, shard.runs, shard.canary);
        shards(&job).iter().map(shard).collect::<Vec<_>>()
    };
    assert_eq!(planned(Some(25), 50), [(1, 25, 1, false)]);
    assert_eq!(planned(Some(24), 50), [(1, 4, 1, true), (2, 21, 1, false)]);
    // As many in each as may be.
    let cut = [(1, 10, 1, false), (2, 10, 1, false), (3, 5, 1, false)];
    assert_eq!(planned(Some(25), 10), cut);
}

#[tokio::test]
async fn a_canary_that_was_put_to_others_comes_back_as_any_lines() {
    let text: String = (1..=30)
        .map(|n| named(&format!("id-{n}"), ["a", "b", "c"][n as usize % 3], n))
        .collect();
    let (mut desk, fake) = (Desk::new(text), Fake::ok());
    desk.canary = Some(4);
    let settings = Settings {
        canary_over: Some(1_000),
        ..desk.settings()
    };
    let job = Job::plan(&settings, &desk.home()).unwrap();
    let numbers: Vec<_> = shards(&job)
        .iter()
        .map(|shard| (shard.number, shard.lines))
        .collect();
    assert_eq!(numbers, [(1, 10), (2, 10), (3, 10)]);
    let mut job = job.with_clock(Arc::new(fake.clone()));
    let results = desk.finish(&mut job, &fake).await;
    assert_eq!((results.answered(), fake.ran()), (up_to(30), 3));
}

#[tokio::test]
async fn each_model_has_shards_of_its_own_where_the_provider_wants_one_a_batch() {
    let text: String = (1..=12)
        .map(|n| named(&format!("id-{n}"), ["a", "b", "c"][n as usize % 3], n))
        .collect();
    let (desk, fake) = (Desk::new(text).lines_a_shard(3), Fake::ok());
    let results = desk.run(&fake).await;
    assert_eq!((results.answered(), fake.ran()), (up_to(12), 6));
}

#[tokio::test]
async fn shards_keep_to_every_limit() {
    let bytes = good(1).len() as u64;
    for (limit, expected) in [
        (
            Profile {
                max_lines: 4,
                ..Profile::default()
            },
            3,
        ),
        (
            Profile {
                max_file_bytes: 5 * (bytes + 128),
                ..Profile::default()
            },
            2,
        ),
        (
            Profile {
                max_enqueued_tokens: Some(20),
                ..Profile::default()
            },
            5,
        ),
    ] {
        let mut desk = Desk::of_lines(9);
        desk.profile = limit.clone();
        let job = desk.plan(&Fake::ok());
        assert_eq!(shards(&job).len(), expected, "{limit:?}");
        for shard in shards(&job) {
            assert!(shard.lines <= limit.max_lines && shard.bytes <= limit.max_file_bytes);
            assert!(
                limit
                    .max_enqueued_tokens
                    .is_none_or(|max| shard.tokens <= max)
            );
        }
    }
}

/// Dies at the given point, and goes on in a new life.
async fn die_at(point: u64, create: Create) -> Option<(Fake, Results)> {
    let (desk, fake) = (Desk::of_lines(7).lines_a_shard(3), Fake::ok());
    fake.world().creates = vec![Create::Fine, create];
    fake.world().stop_at = Some(point);
    let mut job = desk.plan(&fake);
    let provider = fake.provider();
    let died = tokio::select! {
        ended = job.run(&provider, |_| {}) => {
            assert_eq!(ended.unwrap(), Ended::Settled);
            false
        }
        () = fake.stopped() => true,
    };
    drop(job);
    if !died {
        return None;
    }
    let results = desk.finish(&mut desk.open(&fake), &fake).await;
    Some((fake, results))
}

#[tokio::test]
async fn a_job_that_dies_anywhere_buys_each_line_once_and_loses_none() {
    for create in [Create::Fine, Create::AnswerLost, Create::CallLost] {
        let mut point = 1;
        while let Some((fake, results)) = die_at(point, create).await {
            assert_eq!(results.answered(), up_to(7), "{create:?} at {point}");
            assert_eq!(
                (fake.ran(), fake.most_billed()),
                (3, 1),
                "{create:?} at {point}"
            );
            point += 1;
        }
        // Three uploads, creates, polls and downloads, each before and after, and more.
        assert!(point > 30, "only {point} points");
    }
}

/// Loses the results of the first batch that ends, and lets time pass.
fn losing(fake: &Fake, seconds: i64) -> impl FnMut(&Event<'_>) {
    let (world, mut lost) = (fake.clone(), false);
    move |event| {
        if let Event::Stepped {
            state: State::Ended { end, .. },
            ..
        } = event
            && !std::mem::replace(&mut lost, true)
        {
            world.world().lose(end.output_file.as_ref());
            world.world().pass(seconds);
        }
    }
}

#[tokio::test]
async fn results_that_the_provider_has_lost_are_asked_again() {
    let (desk, fake) = (Desk::of_lines(7).lines_a_shard(4), Fake::ok());
    let mut job = desk.plan(&fake);
    let ended = job.run(&fake.provider(), losing(&fake, 0)).await.unwrap();
    assert_eq!(ended, Ended::Settled);
    assert_eq!(desk.results(&job).answered(), up_to(7));
    assert_eq!((fake.ran(), fake.most_billed()), (3, 2));
}

#[tokio::test]
async fn results_that_had_their_time_are_paid_again_only_if_a_person_says_so() {
    let (desk, fake) = (Desk::of_lines(7).lines_a_shard(4), Fake::ok());
    let mut job = desk.plan(&fake);
    let run = job.run(&fake.provider(), losing(&fake, 90_000)).await;
    // Of two, whichever ended first; the other one is done.
    let Ended::NeedsDecision(gone) = run.unwrap() else {
        panic!("nobody decided");
    };
    let mut names: Vec<_> = job.shards().map(|shard| job.state(shard).name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["ended", "joined"]);
    drop(job);
    let mut job = desk.open(&fake);
    let again = job.run(&fake.provider(), |_| {}).await.unwrap();
    assert_eq!(again, Ended::NeedsDecision(gone.clone()));
    assert_eq!((gone.len(), fake.most_billed()), (1, 1));
    job.create_again(gone[0]).unwrap();
    assert_eq!(desk.finish(&mut job, &fake).await.answered(), up_to(7));
    assert_eq!((fake.ran(), fake.most_billed()), (3, 2));
}

#[tokio::test]
async fn a_create_whose_answer_is_lost_is_found_also_late_and_also_without_metadata() {
    for (late, metadata) in [(0, true), (30, true), (0, false), (45, false)] {
        let (desk, fake) = (Desk::of_lines(6).lines_a_shard(2), Fake::ok());
        fake.world().creates = vec![Create::AnswerLost, Create::CallLost, Create::AnswerLost];
        fake.world().list_is_late_by = late;
        fake.world().keeps_metadata = metadata;
        let results = desk.run(&fake).await;
        assert_eq!(results.answered(), up_to(6));
        assert_eq!((fake.ran(), fake.most_billed()), (3, 1), "late by {late}");
    }
}

/// What comes first in such a list is too old to be the one that is looked for, and says nothing of the rest.
#[tokio::test]
async fn a_create_whose_answer_is_lost_is_found_in_a_list_that_begins_with_the_oldest() {
    let (desk, fake) = (Desk::of_lines(6).lines_a_shard(2), Fake::ok());
    desk.run(&fake).await;
    fake.world().pass(24 * 3600);
    fake.world().lists_oldest_first = true;
    fake.world().creates = vec![Create::AnswerLost];
    let (desk, before) = (Desk::of_lines(6).lines_a_shard(6), fake.ran());
    let results = desk.run(&fake).await;
    assert_eq!(results.answered(), up_to(6));
    assert_eq!(fake.ran(), before + 1);
}

#[tokio::test]
async fn a_provider_that_cannot_be_looked_at_stops_that_shard_and_a_person_decides() {
    for adopts in [true, false] {
        let (desk, fake) = (Desk::of_lines(4).lines_a_shard(2), Fake::ok());
        fake.world().lists = false;
        fake.world().creates = vec![match adopts {
            true => Create::AnswerLost,
            false => Create::CallLost,
        }];
        let mut job = desk.plan(&fake);
        let ended = job.run(&fake.provider(), |_| {}).await.unwrap();
        assert_eq!(ended, Ended::NeedsDecision(vec![1]));
        assert!(job.state(&job.rounds()[0].shards[1].clone()).is_at_rest());
        drop(job);
        let mut job = desk.open(&fake);
        let first = fake
            .world()
            .batches
            .first()
            .map(|batch| batch.id.clone())
            .unwrap_or_default();
        match adopts {
            true => job.adopt(1, first).unwrap(),
            false => job.create_again(1).unwrap(),
        }
        let results = desk.finish(&mut job, &fake).await;
        assert_eq!((results.answered(), fake.most_billed()), (up_to(4), 1));
    }
}

#[tokio::test]
async fn what_passes_is_asked_again_within_its_budget_and_what_does_not_never() {
    let fake = Fake::answering(|body, _| match body["n"].as_i64().unwrap() {
        1 => Answer::Ok,
        2 => Answer::Status(400),
        3 => Answer::Status(503),
        4 => Answer::Status(429),
        _ => Answer::Code("invalid_model"),
    });
    let desk = Desk::of_lines(5);
    let mut job = desk.plan(&fake).with_retries(Retries::new(2));
    let results = desk.finish(&mut job, &fake).await;
    let count = |class| results.summary.classes.get(&class).copied();
    assert_eq!(count(Class::Ok), Some(1));
    assert_eq!(count(Class::BadRequest), Some(2));
    assert_eq!(
        (count(Class::ServerError), count(Class::RateLimited)),
        (Some(1), Some(1))
    );
    // Once, and twice again.
    assert_eq!((results.summary.rounds, fake.ran()), (3, 3));
    let sizes: Vec<u64> = shards(&job).iter().map(|shard| shard.lines).collect();
    assert_eq!(sizes, [5, 2, 2]);
}

#[tokio::test]
async fn a_window_that_ends_first_costs_nothing_and_the_rest_goes_on() {
    let (desk, fake) = (Desk::of_lines(50), Fake::ok());
    fake.world().status_at_end = "expired";
    fake.world().share_done = 0.63;
    let mut job = desk.plan(&fake).with_retries(Retries::new(0));
    let results = desk.finish(&mut job, &fake).await;
    assert_eq!(results.answered(), up_to(50));
    assert_eq!(fake.most_billed(), 1);
}

#[tokio::test]
async fn a_provider_that_gets_nowhere_is_not_asked_for_ever() {
    let (desk, fake) = (Desk::of_lines(3), Fake::ok());
    fake.world().status_at_end = "expired";
    fake.world().share_done = 0.0;
    let results = desk.run(&fake).await;
    assert_eq!(results.summary.classes.get(&Class::Expired), Some(&3));
    assert_eq!(results.errors[2]["error"]["code"], "batch_expired");
    assert_eq!(fake.ran(), 3);
}

#[tokio::test]
async fn lines_that_are_missing_repeated_unknown_or_torn_are_told_apart() {
    let fake = Fake::answering(|body, times| match (body["n"].as_i64().unwrap(), times) {
        (1, 0) => Answer::Nothing,
        (2, _) => Answer::Twice,
        (3, _) => Answer::AndUnknown,
        (4, 0) => Answer::Torn,
        (5, _) => Answer::Breaks,
        _ => Answer::Ok,
    });
    let desk = Desk::of_lines(6);
    let results = desk.run(&fake).await;
    assert_eq!(results.answered(), up_to(6));
    let summary = &results.summary;
    assert_eq!(
        (summary.repeated, summary.unknown, summary.unreadable),
        (1, 1, 1)
    );
    // The first one wins; of the lines that came back once, none was bought again. The file was
    // reversed, so the second of line 2 comes first in it.
    assert_eq!(results.output[1]["response"]["body"]["text"], "second");
    assert_eq!(
        results.output[4]["response"]["body"]["text"],
        "a\u{2028}b\u{85}c"
    );
    let billed = fake.world().billed.clone();
    assert_eq!(billed.into_values().collect::<Vec<_>>(), [2, 1, 1, 2, 1, 1]);
}

#[tokio::test]
async fn a_full_provider_is_waited_for_and_is_no_failed_attempt() {
    let (desk, fake) = (Desk::of_lines(9).lines_a_shard(3), Fake::ok());
    fake.world().max_enqueued_lines = Some(4);
    let mut job = desk.plan(&fake).with_retries(Retries::new(0));
    let results = desk.finish(&mut job, &fake).await;
    assert_eq!((results.answered(), fake.most_billed()), (up_to(9), 1));
    assert_eq!(fake.world().most_open, 1);
}

#[tokio::test]
async fn a_shard_too_large_for_the_provider_goes_out_in_smaller_ones() {
    let (desk, fake) = (Desk::of_lines(40), Fake::ok());
    fake.world().max_enqueued_lines = Some(6);
    let results = desk.run(&fake).await;
    assert_eq!((results.answered(), fake.most_billed()), (up_to(40), 1));
    assert!(fake.ran() >= 7);
}

#[tokio::test]
async fn a_file_refused_for_one_line_goes_out_without_it() {
    let (desk, fake) = (Desk::of_lines(5), Fake::ok());
    fake.world().creates = vec![Create::FailsForLine(3)];
    let results = desk.run(&fake).await;
    assert_eq!(
        (results.answered(), fake.most_billed()),
        (vec![1, 2, 4, 5], 1)
    );
    assert_eq!(results.errors[0]["custom_id"], "id-3");
    assert_eq!(
        results.errors[0]["error"],
        json!({"code": "model_not_found", "message": "no such"})
    );
}

#[tokio::test]
async fn an_hour_of_bad_weather_loses_nothing() {
    let (desk, fake) = (Desk::of_lines(4).lines_a_shard(2), Fake::ok());
    fake.world().weather = 20;
    let results = desk.run(&fake).await;
    assert_eq!((results.answered(), fake.ran()), (up_to(4), 2));
}

#[tokio::test]
async fn a_canary_that_dies_stops_the_job_before_the_rest_is_bought() {
    let mut desk = Desk::of_lines(100);
    desk.canary = Some(20);
    let fake = Fake::answering(|_, _| Answer::Status(400));
    let mut job = desk.plan(&fake);
    let error = job.run(&fake.provider(), |_| {}).await.unwrap_err();
    assert_eq!(error.kind(), JobErrorKind::Refused);
    let said = error.to_string();
    assert!(
        said.starts_with(
            "0 of the first 20 lines were answered, most of the others are bad_request"
        ),
        "{said}"
    );
    assert_eq!(fake.ran(), 1);
    drop(job);
    let mut job = desk.open(&fake).with_fine_canary();
    let results = desk.finish(&mut job, &fake).await;
    assert_eq!((results.summary.failed, fake.ran()), (100, 2));
}

#[test]
fn a_job_under_the_threshold_is_one_batch_and_one_over_it_has_lines_that_go_first() {
    let planned = |lines, limit| {
        let desk = Desk::new("\n \n".to_owned() + &(1..=lines).map(good).collect::<String>());
        let settings = Settings {
            canary: Some(20),
            canary_over: Some(30),
            limit,
            ..desk.settings()
        };
        let job = Job::plan(&settings, &desk.home()).unwrap();
        let shards = shards(&job).into_iter();
        shards
            .map(|shard| (shard.lines, shard.canary))
            .collect::<Vec<_>>()
    };
    assert_eq!(planned(30, None), [(30, false)]);
    assert_eq!(planned(31, None), [(20, true), (11, false)]);
    assert_eq!(planned(31, Some(30)), [(30, false)]);
}

#[tokio::test]
async fn an_input_that_changed_is_not_sent() {
    let (desk, fake) = (Desk::of_lines(4), Fake::ok());
    let mut job = desk.plan(&fake);
    let changed = std::fs::read_to_string(&desk.input)
        .unwrap()
        .replace("\"n\":3", "\"n\":8");
    std::fs::write(&desk.input, changed).unwrap();
    let error = job.run(&fake.provider(), |_| {}).await.unwrap_err();
    assert_eq!(error.kind(), JobErrorKind::Conflict);
    assert!(
        error
            .to_string()
            .ends_with("has changed since the job began"),
        "{error}"
    );
    assert_eq!(fake.ran(), 0);
}

#[tokio::test]
async fn a_job_that_has_ended_buys_nothing_when_it_is_run_again() {
    let (desk, fake) = (Desk::of_lines(4), Fake::ok());
    desk.run(&fake).await;
    let results = desk.finish(&mut desk.open(&fake), &fake).await;
    assert_eq!((results.answered(), fake.ran()), (up_to(4), 1));
}

#[test]
fn an_input_with_nothing_to_send_is_refused_and_says_why() {
    let desk = Desk::new("nonsense\n\n{}\n");
    let error = Job::plan(&desk.settings(), &desk.home()).unwrap_err();
    assert_eq!(error.kind(), JobErrorKind::Refused);
    assert!(
        error.to_string().starts_with("none of 2 lines can be sent"),
        "{error}"
    );
    // What was left is no hindrance to a mended file.
    std::fs::write(&desk.input, good(1)).unwrap();
    Job::plan(&desk.settings(), &desk.home()).unwrap();
}

#[test]
fn an_endpoint_that_the_provider_does_not_answer_is_refused() {
    let mut desk = Desk::of_lines(1);
    desk.profile.endpoints = vec!["/v1/embeddings".into()];
    let error = Job::plan(&desk.settings(), &desk.home()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("is not known to answer /v1/chat/completions"),
        "{error}"
    );
}
