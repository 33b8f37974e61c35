//! `ditto-batch run`: a file in, every answer back.
//!
//! The engine of the server runs in this process, on a data folder inside the job's own, with the
//! input read in place. The same command again goes on where the last one stopped.

pub(super) mod ended;
mod export;
mod folder;
mod input;
pub(super) mod job;
pub(super) mod places;
mod preview;
mod progress;
mod settings;
pub(super) mod summary;
mod watch;

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use ditto_server::Server;

use self::input::Reading;
use self::job::Job;
use self::progress::Progress;
use self::settings::Settings;
pub(super) use self::settings::{Beside, beside, endpoint, stem};
use self::summary::Summary;
use super::remote::{Errand, GoingArgs, RemoteArgs};
use super::sim::SimFlags;
use crate::duration;
use crate::failure::{Failure, Result};
use crate::printer::show;
use crate::signals::Signals;

/// Answer every line of a JSONL file.
///
/// For `X.jsonl` it writes `X.output.jsonl`, `X.errors.jsonl` and `X.report.json`, in input order;
/// work in progress is in the folder `X.ditto/`. The same command again resumes; once more after
/// the end it prints the summary and asks nothing.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The requests: JSONL, or `-` for stdin; may end in .gz or .zst
    #[arg(value_name = "INPUT")]
    pub(crate) input: PathBuf,
    /// An OpenAI-compatible endpoint, or `sim` for a simulated one in this process
    #[arg(
        long,
        value_name = "URL",
        env = "DITTO_UPSTREAM",
        hide_env_values = true,
        required_unless_present = "provider"
    )]
    pub(crate) upstream: Option<String>,
    /// A provider's batch API, as `ditto-batch providers` names it, and not an endpoint
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
    #[command(flatten)]
    pub(crate) going: GoingArgs,
    /// Where answers go [default: X.output.jsonl]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Where lines go that failed for good [default: X.errors.jsonl]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) errors: Option<PathBuf>,
    /// The model of lines that name none
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// The url of lines that name none [default: that of the first line, else /v1/chat/completions]
    #[arg(long, value_name = "PATH", value_parser = settings::endpoint)]
    pub(crate) endpoint: Option<String>,
    /// Environment variable that holds the upstream's key; nothing is sent by default
    #[arg(long, value_name = "NAME", conflicts_with = "upstream_key_file")]
    pub(crate) upstream_key_env: Option<String>,
    /// File that holds the upstream's key
    #[arg(long, value_name = "FILE")]
    pub(crate) upstream_key_file: Option<PathBuf>,
    /// Requests in flight at once, per model [default: found out]
    #[arg(long, value_name = "N", value_parser = settings::concurrency)]
    pub(crate) concurrency: Option<usize>,
    /// Find out how many do well, up to these, per model [default: 256]
    #[arg(long, value_name = "N", value_parser = settings::concurrency, conflicts_with = "concurrency")]
    pub(crate) max_concurrency: Option<usize>,
    /// Times a line is sent before its last answer is final
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) attempts: u32,
    /// How long one answer may take, as 90s, 10m or 2h
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration::parse)]
    pub(crate) timeout: std::time::Duration,
    /// Give unfinished lines up after this long, as 90s, 10m or 2h [default: never]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) deadline: Option<std::time::Duration>,
    /// Stop (resumable, exit 6) when the upstream has not answered for this long
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration::parse)]
    pub(crate) give_up_after: std::time::Duration,
    /// Print the summary as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) sim: SimFlags,
}

/// Runs the job and says how it ended.
pub(crate) async fn run(args: &RunArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    if let Some(provider) = &args.provider {
        let errand = Errand {
            input: args.input.clone(),
            provider: provider.clone(),
            model: args.model.clone(),
            endpoint: args.endpoint.clone(),
            output: args.output.clone(),
            errors: args.errors.clone(),
            remote: args.remote.clone(),
        };
        return super::remote::run(errand, &args.going, args.json, out, err).await;
    }
    let progress = Progress::new();
    let ended = work(args, &progress).await;
    progress.finish();
    match ended {
        Ok(summary) => {
            if args.json {
                // A closed pipe: nobody is left to tell.
                let _ = show(out, &summary);
            }
            summary.report(err);
            summary.exit
        }
        Err(failure) => {
            if args.json {
                failure.report_json(out);
            }
            failure.report(err)
        }
    }
}

async fn work(args: &RunArgs, progress: &Progress) -> Result<Summary> {
    // Listened to before anything is read: that may take long, and what is half read must not stay.
    let mut signals = Signals::new()?;
    let settings = Settings::new(args)?;
    settings.check_upstream()?;
    input::require_lasting(&settings)?;
    let mut job = Job::open(&settings)?;
    let mut reading = Reading {
        settings: &settings,
        progress,
        signals: &mut signals,
    };
    if let Some(summary) = job.ended()? {
        reading.still_the_same(&mut job)?;
        return Ok(summary);
    }
    job.require_recorded()?;
    let input = reading
        .prepare(&mut job)
        .inspect_err(|_| job.discard_unbegun())?;
    let sim = settings.start_sim()?;
    let endpoint = settings
        .endpoint_of(&input)
        .inspect_err(|_| job.discard_unbegun())?;
    let config = settings.server_config(job.data_folder(), endpoint, sim.as_ref());
    let server = Server::open_in_place(config, &input.folder)
        .await
        .map_err(Failure::of_opening)?;
    job.begin()?;
    let summary = watch::until_the_end(server, &mut job, &input, reading).await?;
    if let Some(sim) = sim {
        sim.stop().await;
    }
    Ok(summary)
}
