//! `ditto-batch sim`: the simulated upstream on a port, and its flags for `--upstream sim`.

use std::io::Write;
use std::net::SocketAddr;

use clap::Args;
use ditto_sim::{
    Capacity, Faults, Latency, Pace, ProviderConfig, ProviderFault, ProviderFaults, RateLimits,
    Sim, SimConfig,
};

use crate::exit;
use crate::failure::{Failure, Result};
use crate::printer::say;
use crate::signals::Signals;

/// Under which the flags stand among those of other commands.
const HEADING: &str = "Simulated upstream";

/// A simulated OpenAI-compatible upstream: no key, no model, no network.
///
/// One request can be told its own fate, in the header `x-sim` or in its text after `sim:`, as in
/// `sim: 429x2 then ok`, `sim: hang`, `sim: 503 retry-after 7 then ok` or `sim: delay 3s`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = provider_faults())]
pub(crate) struct SimArgs {
    /// Where to listen.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9100")]
    listen: SocketAddr,
    /// How long an answer takes: 20ms, lognormal:20ms:0.5 (median and sigma), or load:100ms:5ms (alone,
    /// and for each request that is worked on).
    #[arg(long, value_name = "SPAN", default_value = "0")]
    latency: Latency,
    /// Requests at once, and whether the next ones wait or are refused: 37:queue or 37:429.
    #[arg(long, value_name = "N[:queue|:429]")]
    capacity: Option<Capacity>,
    /// Requests and tokens in a time, beyond which 429 is answered: requests:20/1s,tokens:120000/60s;
    /// with :told behind it each answer carries x-ratelimit headers.
    #[arg(
        long,
        value_name = "LIMIT,...[:told]",
        default_value = "",
        hide_default_value = true
    )]
    limit: RateLimits,
    /// First messages that are remembered; one that comes again is told as cached tokens.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    prefix_cache: usize,
    /// Shares of requests that go wrong: a status, quota, hang, reset, cut, garbage or empty.
    #[arg(
        long,
        value_name = "FAULT:SHARE,...",
        default_value = "",
        hide_default_value = true
    )]
    fail: Faults,
    /// Where all chance comes from.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// How fast one answer is written.
    #[arg(long, value_name = "N")]
    tokens_per_second: Option<f64>,
    /// Pad answers to about this many bytes.
    #[arg(long, value_name = "BYTES")]
    answer_bytes: Option<u64>,
    /// Retry-After of simulated 429 and 503, and of 429 over a limit, in seconds.
    #[arg(long, value_name = "SECONDS")]
    retry_after: Option<u32>,
    /// How long a batch is validating, in progress and finalizing.
    #[arg(long, value_name = "SPANS", default_value = "1s/5s/1s")]
    batch_pace: Pace,
    /// How the provider of batches misbehaves, as create-dropped,line-missing:0.01,cut:10mb.
    #[arg(
        long,
        value_name = "FAULT,...",
        default_value = "",
        hide_default_value = true
    )]
    batch_fail: ProviderFaults,
}

/// Every fault of the provider of batches, for the long help.
fn provider_faults() -> String {
    let told =
        ProviderFault::all().map(|fault| format!("\n  {:<18} {}", fault.name(), fault.says()));
    let told: String = told.collect();
    format!(
        "Faults of --batch-fail; behind the name a measure, where there is one, and how often it \
         comes (x3, 0.1 or always):{told}"
    )
}

impl SimArgs {
    fn config(&self) -> SimConfig {
        SimConfig {
            listen: Some(self.listen),
            latency: self.latency,
            capacity: self.capacity,
            limits: self.limit,
            prefix_cache: self.prefix_cache,
            faults: self.fail.clone(),
            seed: self.seed,
            tokens_per_second: self.tokens_per_second,
            answer_bytes: self.answer_bytes,
            retry_after_secs: self.retry_after,
            provider: ProviderConfig {
                pace: self.batch_pace,
                faults: self.batch_fail.clone(),
                ..ProviderConfig::default()
            },
            ..SimConfig::default()
        }
    }
}

/// How the upstream of `--upstream sim` behaves; the flags of `ditto-batch sim` with a prefix.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SimFlags {
    /// With `--upstream sim`: how long an answer takes: 20ms, lognormal:20ms:0.5 or load:100ms:5ms.
    #[arg(long, value_name = "SPAN", default_value = "0", help_heading = HEADING)]
    pub(crate) sim_latency: Latency,
    /// With `--upstream sim`: requests at once: 37:queue or 37:429.
    #[arg(long, value_name = "N[:queue|:429]", help_heading = HEADING)]
    pub(crate) sim_capacity: Option<Capacity>,
    /// With `--upstream sim`: requests and tokens in a time, as requests:20/1s,tokens:120000/60s:told.
    #[arg(
        long,
        value_name = "LIMIT,...[:told]",
        default_value = "",
        hide_default_value = true,
        help_heading = HEADING
    )]
    pub(crate) sim_limit: RateLimits,
    /// With `--upstream sim`: first messages that are remembered and told as cached tokens.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        help_heading = HEADING
    )]
    pub(crate) sim_prefix_cache: usize,
    /// With `--upstream sim`: shares of requests that go wrong, as 429:0.05,hang:0.001.
    #[arg(
        long,
        value_name = "FAULT:SHARE,...",
        default_value = "",
        hide_default_value = true,
        help_heading = HEADING
    )]
    pub(crate) sim_fail: Faults,
    /// With `--upstream sim`: where all chance comes from.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = HEADING)]
    pub(crate) sim_seed: u64,
}

impl From<&SimFlags> for SimConfig {
    fn from(flags: &SimFlags) -> Self {
        Self {
            latency: flags.sim_latency,
            capacity: flags.sim_capacity,
            limits: flags.sim_limit,
            prefix_cache: flags.sim_prefix_cache,
            faults: flags.sim_fail.clone(),
            seed: flags.sim_seed,
            ..Self::default()
        }
    }
}

/// Answers until SIGINT or SIGTERM; `err` is told the address, and the sum at the end.
pub(crate) async fn run(args: &SimArgs, err: &mut dyn Write) -> u8 {
    match answer(args, err).await {
        Ok(()) => exit::DONE,
        Err(failure) => failure.report(err),
    }
}

async fn answer(args: &SimArgs, err: &mut dyn Write) -> Result<()> {
    let mut signals = Signals::new()?;
    let sim = Sim::start(args.config())
        .map_err(|e| Failure::io(format_args!("cannot listen on {}", args.listen), &e))?;
    let (url, address) = (sim.base_url(), sim.addr());
    say(
        err,
        format_args!("simulated upstream on {url} (no model, no key)"),
    );
    say(
        err,
        format_args!("what it was asked: http://{address}/sim/stats"),
    );
    signals.next().await;
    let stats = sim.stats();
    sim.stop().await;
    let (requests, answered) = (stats.requests, stats.answered);
    say(
        err,
        format_args!("stopped after {requests} requests, {answered} answered"),
    );
    Ok(())
}
