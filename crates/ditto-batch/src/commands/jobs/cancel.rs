//! `ditto-batch cancel`: ends batches at the provider before their time.

use std::io::Write;
use std::path::Path;

use clap::Args;
use ditto_llm::jobs::{Job, Provider, State};
use ditto_llm::profiles::Profile;
use ditto_llm::{Batch, DittoError};
use serde_json::{Value, json};

use super::target::{Target, TargetArgs, of_batch, view};
use crate::commands::api;
use crate::commands::remote::events::first_line;
use crate::commands::remote::kept::Kept;
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
    let job = Job::open(folder).map_err(failure)?;
    let kept = args.target.kept(&view(folder)?)?;
    let resume = resuming(&kept, job.about());
    let told = cancelled(&job, &kept, err).await?;
    for shard in job
        .shards()
        .filter(|shard| may_have_a_batch(job.state(shard)))
    {
        let number = shard.number;
        say(
            err,
            format_args!(
                "shard {number}: whether it has a batch is not known; `{resume}` looks for it"
            ),
        );
    }
    if args.json {
        show(out, &json!({"cancelled": told})).map_err(|e| api::unsaid(&e))?;
    }
    if told.is_empty() {
        say(err, "no batch of this job is open");
        return Ok(());
    }
    let (count, folder) = (batches(told.len() as u64), folder.display());
    say(
        err,
        format_args!("{count} cancelled; what was answered is kept"),
    );
    say(
        err,
        format_args!(
            "`ditto-batch fetch {folder}` writes it down once they have ended; `{resume}` sends the rest again"
        ),
    );
    Ok(())
}

/// Cancels what is open, and tells of each. One that goes on is a failure, after the others.
async fn cancelled(job: &Job, kept: &Kept, err: &mut dyn Write) -> Result<Vec<Value>> {
    let profile = &job.about().profile;
    let provider = kept.way.provider(profile)?;
    let (mut told, mut refused) = (Vec::new(), None);
    for one in job.cancel(&provider).await {
        let (shard, id) = (one.shard, one.batch);
        match outcome(one.outcome, &id, &provider, profile).await {
            Ok(batch) => {
                say(err, format_args!("shard {shard}: {id} is {}", batch.status));
                told.push(json!({"shard": shard, "batch": id, "status": batch.status}));
            }
            Err(failure) => {
                say(
                    err,
                    format_args!(
                        "shard {shard}: {id} goes on: {}",
                        first_line(&failure.message)
                    ),
                );
                refused = refused.or(Some(failure));
            }
        }
    }
    match refused {
        None => Ok(told),
        Some(failure) => Err(Failure::new(failure.exit, first_line(&failure.message)).hint(
            format!(
                "{} cancelled, and nothing that was answered is lost; mend that, then give the same \
                 command again",
                batches(told.len() as u64)
            ),
        )),
    }
}

fn may_have_a_batch(state: &State) -> bool {
    matches!(state, State::Creating { .. } | State::Stuck { .. })
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
        _ => Err(of_batch(error)),
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
