//! Shows how a file is cut for a provider that takes few lines a batch, before anything is sent, then runs
//! it, looking at the job from outside as another process would.
//!
//! Run with `cargo run -p ditto-llm --features jobs --example split_large_job -- requests.jsonl`, with the
//! address of a server in `OPENAI_COMPAT_BASE_URL` and its key in `OPENAI_COMPAT_API_KEY`.

#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::error::Error;

use ditto_llm::jobs::{Ended, Job, Provider, Settings, View};
use ditto_llm::profiles::Profiles;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let input = std::env::args().nth(1).unwrap_or("requests.jsonl".into());
    let base_url = std::env::var("OPENAI_COMPAT_BASE_URL")?;
    let key = std::env::var("OPENAI_COMPAT_API_KEY").unwrap_or_default();

    // What a provider takes is data, and may be corrected.
    let mut profiles = Profiles::embedded();
    profiles.override_with("[ditto]\nmax_lines = 60\nmax_open_batches = 2\n")?;
    let profile = profiles.get("ditto").cloned().ok_or("no such profile")?;
    let provider = Provider::of_profile(&profile, &key, Some(&base_url))?;

    let place = tempfile::tempdir()?;
    let folder = place.path().join("job.ditto");
    let mut job = Job::plan(&Settings::new(input, profile), &folder)?;
    for shard in job.shards() {
        println!(
            "shard {}: lines {} to {}, {} bytes, about {} tokens",
            shard.number, shard.first_line, shard.last_line, shard.bytes, shard.tokens
        );
    }

    // As far as it gets without waiting; then somebody else looks.
    job.advance(&provider, |_| {}).await?;
    let view = View::open(&folder)?;
    for shard in view.shards() {
        println!("shard {} is {}", shard.number, view.state(shard).name());
    }

    if job.run(&provider, |_| {}).await? != Ended::Settled {
        return Err("not settled".into());
    }
    let summary = job.export(&mut Vec::new(), &mut Vec::new())?;
    println!(
        "{} of {} answered by {} batches",
        summary.answered, summary.total, summary.batches
    );
    Ok(())
}
