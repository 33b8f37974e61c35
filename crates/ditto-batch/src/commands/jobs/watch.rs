//! `ditto-batch watch`: looks at a job until it ends.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use ditto_llm::{Batch, BatchStatus};

use super::lanes;
use super::status::{Standing, of_batch};
use super::target::{self, Target, TargetArgs, view};
use crate::commands::api;
use crate::commands::batches::exit_of;
use crate::commands::remote::{Told, place, resuming, summarize, undecided};
use crate::exit;
use crate::failure::{Failure, Result};
use crate::printer::{say, show};
use crate::signals::{Signal, Signals};

/// How often the folder of a job is read on which somebody works.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Look at a job at a provider until it ends
///
/// Says what changes, and ends as `run` would have: 0 if every line was answered, 9 if some failed. If
/// nobody works on the job, it ends with 10 once no batch is open any more, and fetches nothing.
#[derive(Debug, Clone, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Print the end as one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// Looks. Gives the exit code.
pub(crate) async fn watch(args: &WatchArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    match until_the_end(args, out, err).await {
        Ok(code) => code,
        Err(failure) => {
            if args.json {
                failure.report_json(out);
            }
            failure.report(err)
        }
    }
}

async fn until_the_end(args: &WatchArgs, out: &mut dyn Write, err: &mut dyn Write) -> Result<u8> {
    let mut signals = Signals::new()?;
    let target = args.target.find()?;
    let watched = async {
        match &target {
            Target::Job(folder) => job(args, folder, out, err).await,
            Target::Batch(id) => batch(args, id, out, err).await,
        }
    };
    tokio::select! {
        ended = watched => ended,
        signal = signals.next() => Err(stopped(signal)),
    }
}

async fn job(
    args: &WatchArgs,
    folder: &Path,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<u8> {
    let mut last = None;
    loop {
        let view = view(folder)?;
        let kept = args.target.kept(&view)?;
        let poll = view.about().profile.poll_interval();
        let mut standing = Standing::new(view, kept)?;
        if let Some(results) = &standing.results {
            let places = &standing.kept.places;
            if args.json {
                show(out, &Told::new(places, results)).map_err(|e| api::unsaid(&e))?;
            }
            summarize(places, results, err);
            return Ok(place::exit_of(&results.summary));
        }
        // Who works on it asks the provider; asking as well would only cost calls.
        let pause = match standing.worker {
            Some(_) => LOOK_EVERY,
            None => {
                standing.ask().await;
                standing.require_hope()?;
                poll
            }
        };
        let lines = standing.news();
        if last.as_ref() != Some(&lines) {
            for line in &lines {
                say(err, line);
            }
            last = Some(lines);
        }
        if standing.worker.is_none() && standing.all_have_ended() {
            return Err(nobody_works(&standing));
        }
        tokio::time::sleep(pause).await;
    }
}

fn nobody_works(standing: &Standing) -> Failure {
    let resume = resuming(&standing.kept, standing.view.about());
    let stuck = standing.stuck();
    if !stuck.is_empty() {
        return undecided(&stuck, &resume);
    }
    let message = "no batch is open, the job has not ended, and nobody works on it";
    Failure::new(exit::NOT_FINISHED, message).hint(format!("nothing is lost; `{resume}` goes on"))
}

async fn batch(args: &WatchArgs, id: &str, out: &mut dyn Write, err: &mut dyn Write) -> Result<u8> {
    let (provider, profile) = args.target.provider()?;
    let (mut last, mut last_states) = (String::new(), Vec::new());
    loop {
        match provider.batches().retrieve(id).await {
            Ok(answer) => {
                let batch = answer.batch;
                let status = profile.status(&batch.status);
                let line = of_batch(&batch);
                if line != last {
                    say(err, &line);
                    last = line;
                }
                let states: Vec<_> = lanes::states(&batch).collect();
                for (state, moment) in states.iter().zip(lanes::moments(&batch)) {
                    if !last_states.contains(state) {
                        say(err, moment);
                    }
                }
                last_states = states;
                if status.is_terminal() {
                    if args.json {
                        api::show(out, &batch)?;
                    }
                    return Ok(exit_of_batch(batch, status));
                }
            }
            Err(error) if error.is_transient() => say(err, format_args!("trying again: {error}")),
            Err(error) => return Err(target::of_batch(error)),
        }
        tokio::time::sleep(profile.poll_interval()).await;
    }
}

/// The status in our spelling.
fn exit_of_batch(batch: Batch, status: BatchStatus) -> u8 {
    exit_of(&Batch { status, ..batch })
}

fn stopped(signal: Signal) -> Failure {
    let exit = match signal {
        Signal::Interrupt => exit::INTERRUPTED,
        Signal::Terminate => exit::NOT_FINISHED,
    };
    Failure::new(exit, "stopped looking; the job goes on as it was")
}
