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
use std::time::Duration;

use clap::Args;
use ditto_server::{Server, Service};
use ditto_sim::Sim;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub(crate) use self::keys::KeyOf;
use self::settings::who;
pub(crate) use self::settings::{DEFAULT_DATA, Kept, Settings};
pub(crate) use self::upstream::Target;
use super::sim::SimFlags;
use crate::duration;
use crate::exit;
use crate::failure::{Failure, Result};
use crate::printer::say;
use crate::signals::{Hangups, Signal, Signals};

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
        hide_env_values = true,
        value_delimiter = ' '
    )]
    // Parsed later: clap would show a wrong one, with the password in it.
    upstream: Vec<String>,
    /// Environment variable that holds the upstream's key; NAME=VARIABLE if there are several
    #[arg(long, value_name = "VARIABLE")]
    upstream_key_env: Vec<KeyOf>,
    /// File that holds the upstream's key; NAME=FILE if there are several upstreams
    #[arg(long, value_name = "FILE")]
    upstream_key_file: Vec<KeyOf>,
    /// Requests in flight at once, per upstream and model [default: found out]
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// Find out how many do well, up to these, per upstream and model [default: 256]
    #[arg(long, value_name = "N", conflicts_with = "concurrency")]
    max_concurrency: Option<usize>,
    /// How long one answer may take, as 90s, 10m or 2h [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    timeout: Option<Duration>,
    /// Keys of clients, one a line, `key` or `tenant:key`, beside those of `ditto-batch keys`
    #[arg(long, value_name = "FILE", env = "DITTO_API_KEY_FILE")]
    api_key_file: Option<PathBuf>,
    /// Speak HTTPS with the certificate chain in this PEM file, which is read again when it is renewed
    #[arg(long, value_name = "FILE", env = "DITTO_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// And its private key
    #[arg(long, value_name = "FILE", env = "DITTO_TLS_KEY")]
    tls_key: Option<PathBuf>,
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

/// What of requests that were in flight at the end.
const CUT_OFF: &str = "requests in flight were cut off and are sent again after the next start; \
                       what was recorded is kept";

/// The settings of a server that is only looked at.
pub(crate) fn looked_at(
    data: Option<PathBuf>,
    upstream: &[String],
    (key_env, key_file): (&[KeyOf], &[KeyOf]),
    config: Option<PathBuf>,
) -> ServeArgs {
    ServeArgs {
        listen: None,
        data,
        upstream: upstream.to_vec(),
        upstream_key_env: key_env.to_vec(),
        upstream_key_file: key_file.to_vec(),
        concurrency: None,
        max_concurrency: None,
        timeout: None,
        api_key_file: None,
        tls_cert: None,
        tls_key: None,
        origin: Vec::new(),
        lenient: false,
        config,
        sim: SimFlags::default(),
    }
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
    let mut hangups = Hangups::new()?;
    let mut settings = Settings::read(args)?;
    let sim = start_sim(args, &mut settings)?;
    // Before the data folder is opened: what goes wrong then is not the settings' fault.
    for upstream in &settings.config.upstreams {
        upstream.check().map_err(Failure::of_settings)?;
    }
    if let Some(tls) = &settings.config.tls {
        tls.check().map_err(Failure::of_settings)?;
    }
    let listener = TcpListener::bind(settings.listen)
        .await
        .map_err(|e| Failure::io(format_args!("cannot listen on {}", settings.listen), &e))?;
    let address = listener
        .local_addr()
        .map_err(|e| Failure::io("the listener has no address", &e))?;
    let greeting = settings.greeting(address);
    let server = Server::open(settings.config)
        .await
        .map_err(Failure::of_opening)?;
    let who = who(server.access());
    let service = server.service();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut running = pin!(server.run(listener, async {
        // Dropping the sender is how it is told.
        let _ = stopped.await;
    }));
    // A listener that is refused is refused at the first step: nothing is promised before it.
    if let Poll::Ready(ended) = futures_util::poll!(running.as_mut()) {
        return code_of(ended);
    }
    say(err, format_args!("{greeting}\n{who}"));
    loop {
        tokio::select! {
            ended = running.as_mut() => return code_of(ended),
            _ = signals.next() => break,
            () = hangups.next() => {
                // Beside the work, which goes on meanwhile.
                let reloaded = reload(args, &service, sim.as_ref());
                let said = tokio::select! {
                    ended = running.as_mut() => return code_of(ended),
                    said = reloaded => said,
                };
                say(err, said);
            }
        }
    }
    say(
        err,
        "stopping: requests in flight may finish; once more to stop at once",
    );
    drop(stop);
    let code = tokio::select! {
        ended = running => code_of(ended)?,
        signal = signals.next() => {
            say(err, format_args!("stopped at once: {CUT_OFF}"));
            code_at_once(signal)
        }
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
        let sentence = format!("the grace is over before the work was: {CUT_OFF}");
        Err(Failure::new(exit::UNEXPECTED, sentence))
    }
}

/// Reads the settings again and takes the upstreams that they name. What became of it, in a sentence.
async fn reload(args: &ServeArgs, service: &Service, sim: Option<&Sim>) -> String {
    match reloaded(args, service, sim).await {
        Ok(upstreams) => format!("reloaded: {upstreams}; other settings are read at a start"),
        Err(failure) => format!("not reloaded, and nothing has changed: {}", failure.message),
    }
}

async fn reloaded(args: &ServeArgs, service: &Service, sim: Option<&Sim>) -> Result<String> {
    let Settings {
        config, targets, ..
    } = Settings::read(args)?;
    let mut upstreams = config.upstreams;
    for (target, upstream) in targets.iter().zip(&mut upstreams) {
        if *target == Target::Sim {
            let sim = sim.ok_or_else(|| {
                Failure::usage("a simulated upstream is started with the server, not later")
            })?;
            upstream.base_url = sim.base_url();
        }
        upstream.check().map_err(Failure::of_settings)?;
    }
    let reloaded = service.reload_upstreams(&upstreams).await;
    reloaded.map_err(Failure::of_settings)?;
    let names: Vec<_> = upstreams.iter().map(|u| u.name.as_str()).collect();
    Ok(format!("lines go to {}", names.join(", ")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_that_was_cut_off_says_what_is_kept() {
        assert_eq!(code_of(Ok(true)).unwrap(), exit::DONE);
        let failure = code_of(Ok(false)).unwrap_err();
        assert_eq!(failure.exit, exit::UNEXPECTED);
        assert!(failure.message.contains("recorded is kept"));
    }
}
