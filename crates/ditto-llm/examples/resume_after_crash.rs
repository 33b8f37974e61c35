//! A job whose process dies in the middle is opened again and goes on: nothing is lost, and nothing is
//! bought twice.
//!
//! Run with `cargo run -p ditto-llm --features jobs --example resume_after_crash -- requests.jsonl`, with the
//! address of a server in `OPENAI_COMPAT_BASE_URL` and its key in `OPENAI_COMPAT_API_KEY`.

#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::error::Error;
use std::path::Path;

use ditto_llm::jobs::{Ended, Event, Job, Provider, Settings, State};
use ditto_llm::profiles::{Profile, Profiles};
use tokio::sync::Notify;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let input = std::env::args().nth(1).unwrap_or("requests.jsonl".into());
    let base_url = std::env::var("OPENAI_COMPAT_BASE_URL")?;
    let key = std::env::var("OPENAI_COMPAT_API_KEY").unwrap_or_default();

    let profile = Profiles::embedded()
        .get("ditto")
        .cloned()
        .ok_or("no such profile")?;
    let provider = Provider::of_profile(&profile, &key, Some(&base_url))?;
    let place = tempfile::tempdir()?;
    let folder = place.path().join("job.ditto");

    die_in_the_middle(&input, profile, &provider, &folder).await?;

    let mut job = Job::open(&folder)?;
    for shard in job.shards() {
        println!(
            "found shard {} as {}",
            shard.number,
            job.state(shard).name()
        );
    }
    if job.run(&provider, |_| {}).await? != Ended::Settled {
        return Err("not settled".into());
    }
    let summary = job.export(&mut Vec::new(), &mut Vec::new())?;
    println!(
        "{} of {} answered by {} batch",
        summary.answered, summary.total, summary.batches
    );
    // One shard, one batch: the one that was open when the process died.
    match (summary.answered == summary.total, summary.batches) {
        (true, 1) => Ok(()),
        _ => Err("that is not as it should be".into()),
    }
}

/// As soon as a batch is open, everything stops where it is, as if the process had been killed.
async fn die_in_the_middle(
    input: &str,
    profile: Profile,
    provider: &Provider,
    folder: &Path,
) -> Result<(), Box<dyn Error>> {
    let opened = Notify::new();
    let mut settings = Settings::new(input, profile);
    // All lines in one shard, and not a few of them first.
    settings.canary = None;
    let mut job = Job::plan(&settings, folder)?;
    let run = job.run(provider, |event| {
        if let Event::Stepped {
            state: State::Open { batch, .. },
            ..
        } = event
        {
            println!("{batch} is open, and now we die");
            opened.notify_one();
        }
    });
    tokio::select! {
        biased;
        () = opened.notified() => Ok(()),
        ended = run => Err(format!("it ended before it could die: {ended:?}").into()),
    }
}
