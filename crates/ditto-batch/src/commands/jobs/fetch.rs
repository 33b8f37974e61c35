//! `ditto-batch fetch`: brings what has ended, and sends nothing.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use ditto_llm::jobs::{Ended, Event, Job, Retries};

use super::target::{Target, TargetArgs, of_batch, view};
use crate::commands::api;
use crate::commands::batches::exit_of;
use crate::commands::remote::kept::{Kept, Places};
use crate::commands::remote::{
    Told, batches, failure, input, place, resuming, standing, stopped, summarize, talk, undecided,
    unless_stopped,
};
use crate::exit;
use crate::failure::{Failure, Result};
use crate::printer::{counted, say, show};
use crate::signals::Signals;

/// Fetch what a provider has answered so far, and send nothing
///
/// Of a job: looks at each open batch once and downloads what has ended; when none is open any more,
/// the result files are written with what there is, and lines without an answer stand in the error
/// file. Ends with 10 if `run` would go on, and with 5 while a `run` works on the job. Of a batch: its
/// two files as they are.
#[derive(Debug, Clone, Args)]
pub(crate) struct FetchArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Where answers go [default: as the job has it; BATCH.output.jsonl]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where lines go that have failed [default: as the job has it; BATCH.errors.jsonl]
    #[arg(short, long, value_name = "FILE")]
    errors: Option<PathBuf>,
    /// Print the end as one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// Fetches. Gives the exit code.
pub(crate) async fn fetch(args: &FetchArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let fetched = match args.target.find() {
        Ok(Target::Job(folder)) => job(args, &folder, out, err).await,
        Ok(Target::Batch(id)) => batch(args, &id, out, err).await,
        Err(failure) => Err(failure),
    };
    match fetched {
        Ok(code) => code,
        Err(failure) => {
            if args.json {
                failure.report_json(out);
            }
            failure.report(err)
        }
    }
}

async fn job(
    args: &FetchArgs,
    folder: &Path,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<u8> {
    let mut signals = Signals::new()?;
    let kept = args.target.kept(&view(folder)?)?;
    let (places, results) = match place::noted(folder)? {
        // They are where the job has put them.
        Some(results) => (kept.places, results),
        None => {
            let places = Places {
                output: args.output.clone().unwrap_or(kept.places.output.clone()),
                errors: args.errors.clone().unwrap_or(kept.places.errors.clone()),
                ..kept.places.clone()
            };
            let results = collected(&kept, &places, &mut signals, err).await?;
            (places, results)
        }
    };
    if args.json {
        show(out, &Told::new(&places, &results)).map_err(|e| api::unsaid(&e))?;
    }
    summarize(&places, &results, err);
    Ok(place::exit_of(&results.summary))
}

async fn collected(
    kept: &Kept,
    places: &Places,
    signals: &mut Signals,
    err: &mut dyn Write,
) -> Result<place::Results> {
    let job = Job::open(&places.folder).map_err(failure)?;
    let mut job = job.with_retries(Retries::new(kept.retries));
    input::find_again(&mut job, kept);
    place::require_good(&kept.input, places)?;
    // Later commands look where the results are.
    let kept = Kept {
        places: places.clone(),
        ..kept.clone()
    };
    kept.write()?;
    let provider = kept.way.provider(&job.about().profile)?;
    let mut unheard = false;
    let ended = tokio::select! {
        ended = job.collect(&provider, |event| {
            unheard |= matches!(event, Event::Weather { .. });
            if let Some(sentence) = talk::sentence(event) {
                say(err, sentence);
            }
        }) => ended.map_err(failure)?,
        signal = signals.next() => return Err(stopped(signal)),
    };
    match ended {
        Ended::Idle | Ended::Settled => {}
        Ended::NeedsDecision(shards) => {
            let open = standing(&job, &shards);
            return Err(undecided(&open, &resuming(&kept, job.about())));
        }
        Ended::Underway | Ended::Stopped => return Err(underway(&job, unheard)),
    }
    let (resume, began, places) = (resuming(&kept, job.about()), kept.began, places.clone());
    let (job, results) = unless_stopped(signals, move || {
        place::results(&places, began, &job).map(|results| (job, results))
    })
    .await?;
    match results.summary.unfinished {
        0 => job.delete_inputs(&provider).await,
        left => say(
            err,
            format_args!(
                "{} without a final result: `{resume}` goes on",
                counted(left, "line")
            ),
        ),
    }
    Ok(results)
}

fn underway(job: &Job, unheard: bool) -> Failure {
    if unheard {
        return Failure::new(
            exit::AWAY,
            "the provider could not be asked about every open batch",
        )
        .hint("nothing is lost; give the same command again later");
    }
    let open = job.shards().filter(|shard| job.state(shard).is_enqueued());
    let all = job.shards().filter(|shard| job.state(shard).is_sent());
    let message = format!(
        "{} of {} have not ended; what has ended is in the job's folder",
        open.count(),
        batches(all.count() as u64),
    );
    Failure::new(exit::NOT_FINISHED, message)
        .hint("the result files are written when none is open; `ditto-batch watch` waits for that")
}

async fn batch(args: &FetchArgs, id: &str, out: &mut dyn Write, err: &mut dyn Write) -> Result<u8> {
    let (provider, profile) = args.target.provider()?;
    let mut batch = provider
        .batches()
        .retrieve(id)
        .await
        .map_err(of_batch)?
        .batch;
    batch.status = profile.status(&batch.status);
    let place = |given: &Option<PathBuf>, which: &str| {
        given
            .clone()
            .unwrap_or(PathBuf::from(format!("{id}.{which}.jsonl")))
    };
    let files = [
        (&batch.output_file_id, place(&args.output, "output")),
        (&batch.error_file_id, place(&args.errors, "errors")),
    ];
    for (file, place) in files {
        let Some(file) = file else { continue };
        require_nothing(&place)?;
        provider.files().download_to(file, &place).await?;
        say(err, format_args!("  {}", place.display()));
    }
    if args.json {
        api::show(out, &batch)?;
    }
    match batch.status.is_terminal() {
        true => Ok(exit_of(&batch)),
        false => Err(Failure::new(
            exit::NOT_FINISHED,
            format!("{id} has not ended: {}", batch.status),
        )
        .hint("`ditto-batch watch` waits for its end")),
    }
}

fn require_nothing(place: &Path) -> Result<()> {
    match std::fs::symlink_metadata(place) {
        Err(_) => Ok(()),
        Ok(_) => Err(Failure::new(
            exit::CONFLICT,
            format!("{} is there already", place.display()),
        )
        .hint("nothing was changed; move it away, or name another file with -o and -e")),
    }
}
