//! `ditto-batch serve`: the server, until it is told to stop.

mod config_file;
mod floor;
mod keys;
mod settings;
mod upstream;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::task::Poll;

use clap::Args;
use ditto_server::Server;
use ditto_sim::Sim;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use self::keys::KeyOf;
use self::settings::Settings;
pub(crate) use self::settings::{DEFAULT_DATA, Kept};
use self::upstream::{Target, UpstreamFlag};
use super::sim::SimFlags;
use crate::exit;
use crate::failure::{Failure, Result};
use crate::printer::say;
use crate::signals::{Signal, Signals};

/// A server of /v1/files and /v1/batches in front of endpoints that have none.
///
/// Each setting is taken from its flag, else from the environment, else from the config file.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen [default: 127.0.0.1:8650]
    #[arg(long, value_name = "ADDR", env = "DITTO_LISTEN")]
    listen: Option<SocketAddr>,
    /// Folder for files, batches and results [default: ditto-data]
    #[arg(long, value_name = "DIR", env = "DITTO_DATA")]
    data: Option<PathBuf>,
    /// An OpenAI-compatible endpoint: [NAME=]URL[#MODEL,...], or `sim`; may be repeated
    ///
    /// Lines go to the upstream that lists their model, else to one without a list:
    /// `--upstream gpu=http://10.0.0.5:8000/v1#qwen3-8b,qwen3-32b`. `sim` answers by itself,
    /// without a model, for trying things out.
    #[arg(
        long,
        value_name = "UPSTREAM",
        env = "DITTO_UPSTREAM",
        value_delimiter = ' '
    )]
    upstream: Vec<UpstreamFlag>,
    /// Environment variable that holds the upstream's key; NAME=VARIABLE if there are several
    #[arg(long, value_name = "VARIABLE")]
    upstream_key_env: Vec<KeyOf>,
    /// File that holds the upstream's key; NAME=FILE if there are several upstreams
    #[arg(long, value_name = "FILE")]
    upstream_key_file: Vec<KeyOf>,
    /// Requests in flight at once, per upstream and model [default: 32]
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// Keys of clients, one a line, `key` or `tenant:key`; needed to listen beyond this machine
    #[arg(long, value_name = "FILE", env = "DITTO_API_KEY_FILE")]
    api_key_file: Option<PathBuf>,
    /// Origin of a web page that may use the server; may be repeated
    #[arg(long, value_name = "ORIGIN")]
    origin: Vec<String>,
    /// A bad line becomes an error line, and the others run
    #[arg(long)]
    lenient: bool,
    /// Settings as TOML
    #[arg(long, value_name = "FILE", env = "DITTO_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    sim: SimFlags,
}

/// Serves until SIGINT or SIGTERM, then lets what is in flight finish; a second signal ends it at
/// once. `err` is told where it listens and for whom.
pub(crate) async fn run(args: &ServeArgs, err: &mut dyn Write) -> u8 {
    match serve(args, err).await {
        Ok(code) => code,
        Err(failure) => failure.report(err),
    }
}

async fn serve(args: &ServeArgs, err: &mut dyn Write) -> Result<u8> {
    // Asked for before anything is told: who reads the address may send a signal at once.
    let mut signals = Signals::new()?;
    let mut settings = Settings::read(args)?;
    let sim = start_sim(args, &mut settings)?;
    let listener = TcpListener::bind(settings.listen)
        .await
        .map_err(|e| Failure::io(format_args!("cannot listen on {}", settings.listen), &e))?;
    let address = listener
        .local_addr()
        .map_err(|e| Failure::io("the listener has no address", &e))?;
    let greeting = settings.greeting(address);
    let server = Server::open(settings.config)
        .await
        .map_err(Failure::of_settings)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let mut running = pin!(server.run(listener, async {
        // Dropping the sender is how it is told.
        let _ = stopped.await;
    }));
    // A listener that is refused is refused at the first step: nothing is promised before it.
    if let Poll::Ready(ended) = futures_util::poll!(running.as_mut()) {
        return code_of(ended);
    }
    say(err, greeting);
    tokio::select! {
        ended = running.as_mut() => return code_of(ended),
        _ = signals.next() => {}
    }
    say(
        err,
        "stopping: requests in flight may finish; once more to stop at once",
    );
    drop(stop);
    let code = tokio::select! {
        ended = running => code_of(ended)?,
        signal = signals.next() => code_at_once(signal),
    };
    if let Some(sim) = sim {
        sim.stop().await;
    }
    Ok(code)
}

/// Drained, or at the end of its grace. A listener is refused for what the settings say of it.
fn code_of(ended: ditto_server::Result<bool>) -> Result<u8> {
    if ended.map_err(Failure::of_settings)? {
        Ok(exit::DONE)
    } else {
        Ok(exit::UNEXPECTED)
    }
}

/// Starts the simulator if an upstream is `sim`, and puts its address in that place.
fn start_sim(args: &ServeArgs, settings: &mut Settings) -> Result<Option<Sim>> {
    let mut sims = settings.targets.iter().zip(&mut settings.config.upstreams);
    let Some((_, upstream)) = sims.find(|(target, _)| **target == Target::Sim) else {
        return Ok(None);
    };
    let sim = Sim::start((&args.sim).into())
        .map_err(|e| Failure::io("cannot start the simulated upstream", &e))?;
    upstream.base_url = sim.base_url();
    Ok(Some(sim))
}

/// The exit code of a stop at once.
fn code_at_once(signal: Signal) -> u8 {
    match signal {
        Signal::Interrupt => exit::INTERRUPTED,
        Signal::Terminate => exit::UNEXPECTED,
    }
}
