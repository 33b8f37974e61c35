//! Takes a file through a batch API and brings every answer back.
//!
//! Run with `cargo run -p ditto-llm --features jobs --example submit_and_wait -- requests.jsonl`, with the
//! address of a server in `OPENAI_COMPAT_BASE_URL` and its key in `OPENAI_COMPAT_API_KEY`.

#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::error::Error;
use std::fs::File;

use ditto_llm::jobs::{Ended, Event, Job, Provider, Settings};
use ditto_llm::profiles::Profiles;

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
    let mut job = Job::plan(
        &Settings::new(input, profile),
        &place.path().join("job.ditto"),
    )?;
    let ended = job
        .run(&provider, |event| {
            if let Event::Stepped { shard, state } = event {
                println!("shard {} is {}", shard.number, state.name());
            }
        })
        .await?;
    if ended != Ended::Settled {
        return Err(format!("not settled: {ended:?}").into());
    }

    let mut output = File::create(place.path().join("output.jsonl"))?;
    let mut errors = File::create(place.path().join("errors.jsonl"))?;
    let summary = job.export(&mut output, &mut errors)?;
    println!("{} of {} answered", summary.answered, summary.total);
    Ok(())
}
