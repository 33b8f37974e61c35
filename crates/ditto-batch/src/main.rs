//! `ditto-batch`: a file of LLM requests in, every answer back.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

mod commands;
mod compression;
mod duration;
mod exit;
mod failure;
mod fingerprint;
mod key;
mod logging;
mod open_files;
mod printer;
mod profiles;
mod signals;
mod size;
mod umask;
mod whole_file;

use crate::failure::{Failure, Result};

/// A file of LLM requests in, every answer back: every row and every cent accounted for.
#[derive(Debug, Parser)]
#[command(name = "ditto-batch", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What to log on stderr: error, warn, info, debug, or a tracing filter.
    #[arg(long, global = true, value_name = "FILTER", env = "DITTO_LOG")]
    log: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<commands::run::RunArgs>),
    Plan(Box<commands::remote::PlanArgs>),
    Status(commands::jobs::StatusArgs),
    Watch(commands::jobs::WatchArgs),
    Fetch(commands::jobs::FetchArgs),
    Cancel(commands::jobs::CancelArgs),
    Check(commands::check::CheckArgs),
    Providers(commands::providers::ProvidersArgs),
    Verify(commands::verify::VerifyArgs),
    Split(commands::split::SplitArgs),
    Merge(commands::merge::MergeArgs),
    Stats(commands::stats::StatsArgs),
    Sample(commands::sample::SampleArgs),
    Serve(Box<commands::serve::ServeArgs>),
    Backup(commands::backup::BackupArgs),
    Doctor(Box<commands::doctor::DoctorArgs>),
    Sim(commands::sim::SimArgs),
    Gc(commands::gc::GcArgs),
    Keys(commands::keys::KeysArgs),
    Files(commands::files::FilesArgs),
    Batches(commands::batches::BatchesArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let audience = match &cli.command {
        Command::Serve(_) => logging::Audience::Operator,
        _ => logging::Audience::Person,
    };
    logging::start(cli.log.as_deref(), audience);
    umask::make_private();
    open_files::raise();
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let code = match &cli.command {
        Command::Check(args) => Ok(commands::check::run(args, &mut out, &mut err)),
        Command::Plan(args) => Ok(commands::remote::plan(args, &mut out, &mut err)),
        Command::Providers(args) => Ok(commands::providers::run(args, &mut out, &mut err)),
        Command::Verify(args) => Ok(commands::verify::run(args, &mut out, &mut err)),
        Command::Split(args) => Ok(commands::split::run(args, &mut out, &mut err)),
        Command::Merge(args) => Ok(commands::merge::run(args, &mut out, &mut err)),
        Command::Stats(args) => Ok(commands::stats::run(args, &mut out, &mut err)),
        Command::Sample(args) => Ok(commands::sample::run(args, &mut out, &mut err)),
        Command::Backup(args) => Ok(commands::backup::run(args, &mut out, &mut err)),
        Command::Doctor(args) => block_on(commands::doctor::run(args, &mut out, &mut err)),
        Command::Run(args) if args.provider.is_some() => {
            block_on_few(commands::run::run(args, &mut out, &mut err))
        }
        Command::Run(args) => block_on(commands::run::run(args, &mut out, &mut err)),
        Command::Status(args) => block_on(commands::jobs::status(args, &mut out, &mut err)),
        Command::Watch(args) => block_on(commands::jobs::watch(args, &mut out, &mut err)),
        Command::Fetch(args) => block_on(commands::jobs::fetch(args, &mut out, &mut err)),
        Command::Cancel(args) => block_on(commands::jobs::cancel(args, &mut out, &mut err)),
        Command::Serve(args) => block_on(commands::serve::run(args, &mut err)),
        Command::Sim(args) => block_on(commands::sim::run(args, &mut err)),
        Command::Gc(args) => block_on(commands::gc::run(args, &mut out, &mut err)),
        Command::Keys(args) => block_on(commands::keys::run(args, &mut out, &mut err)),
        Command::Files(args) => block_on(commands::files::run(args, &mut out, &mut err)),
        Command::Batches(args) => block_on(commands::batches::run(args, &mut out, &mut err)),
    };
    // A closed pipe at the very end changes nothing about what was done.
    let _ = out.flush();
    ExitCode::from(code.unwrap_or_else(|failure| failure.report(&mut err)))
}

/// Threads for work on files of a job at a provider, which does one thing after the other. Each keeps what
/// it has freed for itself, about 4 MB, and without a limit there would be one more now and then.
const FEW_THREADS: usize = 4;

fn block_on(work: impl Future<Output = u8>) -> Result<u8> {
    block_in(
        tokio::runtime::Builder::new_multi_thread().enable_all(),
        work,
    )
}

fn block_on_few(work: impl Future<Output = u8>) -> Result<u8> {
    let mut few = tokio::runtime::Builder::new_multi_thread();
    block_in(few.enable_all().max_blocking_threads(FEW_THREADS), work)
}

fn block_in(runtime: &mut tokio::runtime::Builder, work: impl Future<Output = u8>) -> Result<u8> {
    let runtime = runtime
        .build()
        .map_err(|e| Failure::new(exit::UNEXPECTED, format!("no threads can be started: {e}")))?;
    let code = runtime.block_on(work);
    // A blocking read of a terminal or a pipe must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(200));
    Ok(code)
}
