//! `ditto-batch cancel`: ends batches at the provider before their time.

use std::io::Write;
use std::path::Path;

use clap::Args;
use ditto_llm::jobs::{Job, Provider, State};
use ditto_llm::profiles::Profile;
use ditto_llm::{Batch, DittoError};
use serde_json::{Value, json};

use super::target::{Target, TargetArgs, view};
use crate::commands::api;
use crate::commands::remote::{batches, failure, resuming};
use crate::exit;
use crate::failure::{Failure, Result};
use crate::printer::{say, show};

/// Cancel the open batches of a job at a provider, or one batch
///
/// Waits for nothing. What was answered is kept: `fetch` writes it down once the batches have ended,
/// and `run` sends the rest again; nothing is bought before. While a `run` works on the job it is
/// refused (exit 5), since that would buy the lines anew: stop it, or let it do this itself with
/// `--cancel-on-exit`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Print what was done as one JSON object
    #[arg(long)]
    json: bool,
}

/// Cancels. Gives the exit code.
pub(crate) async fn cancel(args: &CancelArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let cancelled = match args.target.find() {
        Ok(Target::Job(folder)) => job(args, &folder, out, err).await,
        Ok(Target::Batch(id)) => batch(args, &id, out, err).await,
        Err(failure) => Err(failure),
    };
    match cancelled {
        Ok(()) => exit::DONE,
        Err(failure) => {
            if args.json {
                failure.report_json(out);
            }
            failure.report(err)
        }
    }
}

async fn job(
    args: &CancelArgs,
    folder: &Path,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<()> {
    let kept = args.target.kept(&view(folder)?)?;
    let job = Job::open(folder).map_err(failure)?;
    let profile = &job.about().profile;
    let provider = kept.way.provider(profile)?;
    let mut told: Vec<Value> = Vec::new();
    let mut refused = None;
    for one in job.cancel(&provider).await {
        match outcome(one.outcome, &one.batch, &provider, profile).await {
            Ok(batch) => {
                say(
                    err,
                    format_args!("shard {}: {} is {}", one.shard, one.batch, batch.status),
                );
                told.push(json!({"shard": one.shard, "batch": one.batch, "status": batch.status}));
            }
            Err(failure) => {
                let (shard, message) = (one.shard, &failure.message);
                say(
                    err,
                    format_args!("shard {shard}: {} goes on: {message}", one.batch),
                );
                told.push(json!({"shard": shard, "batch": one.batch, "error": message}));
                refused = refused.or(Some(failure));
            }
        }
    }
    for shard in job.shards() {
        if let State::Creating { .. } | State::Stuck { .. } = job.state(shard) {
            let resume = resuming(&kept, job.about());
            say(
                err,
                format_args!(
                    "shard {}: whether it has a batch is not known; `{resume}` looks for it",
                    shard.number
                ),
            );
        }
    }
    if let Some(failure) = refused {
        return Err(failure.hint("the others are cancelled; give the same command again"));
    }
    if args.json {
        show(out, &json!({"cancelled": told})).map_err(|e| api::unsaid(&e))?;
    }
    if told.is_empty() {
        say(err, "no batch of this job is open");
        return Ok(());
    }
    let resume = resuming(&kept, job.about());
    say(
        err,
        format_args!(
            "{} cancelled; what was answered is kept",
            batches(told.len() as u64)
        ),
    );
    say(
        err,
        format_args!(
            "`ditto-batch fetch {}` writes it down once they have ended; `{resume}` sends the rest again",
            folder.display()
        ),
    );
    Ok(())
}

/// A batch that had ended by itself is no failure.
async fn outcome(
    outcome: Result<Batch, DittoError>,
    id: &str,
    provider: &Provider,
    profile: &Profile,
) -> Result<Batch> {
    let error = match outcome {
        Ok(batch) => return Ok(batch),
        Err(error) => error,
    };
    match provider.batches().retrieve(id).await {
        Ok(answer) if profile.status(&answer.batch.status).is_terminal() => Ok(answer.batch),
        _ => Err(Failure::from(error)),
    }
}

async fn batch(
    args: &CancelArgs,
    id: &str,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<()> {
    let (provider, profile) = args.target.provider()?;
    let answer = provider.batches().cancel(id).await;
    let answer = answer.map(|answer| answer.batch);
    let batch = outcome(answer, id, &provider, &profile).await?;
    if args.json {
        api::show(out, &batch)?;
    }
    say(
        err,
        format_args!("{id} is {}; what was answered is kept", batch.status),
    );
    Ok(())
}
