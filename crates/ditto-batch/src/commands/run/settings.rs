//! What the flags of `run` mean.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ditto_server::{Config, Mode, Sending, UpstreamConfig, Window};
use ditto_sim::Sim;
use secrecy::SecretString;

use super::RunArgs;
use super::failure::{Failure, Result};
use crate::exit;

/// More than this is a slip of the finger on one machine.
const MAX_CONCURRENCY: usize = 65_536;
/// Added to the patience of `run`: the command gives up before the engine charges lines for an
/// outage, so that an outage never costs an answer.
const BEYOND: Duration = Duration::from_secs(365 * 24 * 3600);

/// Everything about a job that does not change while it runs.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) input: PathBuf,
    pub(crate) output: PathBuf,
    pub(crate) errors: PathBuf,
    pub(crate) report: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) model: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) give_up_after: Duration,
    upstream: String,
    key: Option<SecretString>,
    concurrency: usize,
    attempts: u32,
    timeout: Duration,
    sim: ditto_sim::SimConfig,
}

impl Settings {
    pub(crate) fn new(args: &RunArgs) -> Result<Self> {
        let stem = stem(&args.input);
        let beside = |end: &str| PathBuf::from(format!("{}{end}", stem.display()));
        Ok(Self {
            output: args
                .output
                .clone()
                .unwrap_or_else(|| beside(".output.jsonl")),
            errors: args
                .errors
                .clone()
                .unwrap_or_else(|| beside(".errors.jsonl")),
            report: beside(".report.json"),
            folder: beside(".ditto"),
            input: args.input.clone(),
            model: args.model.clone(),
            endpoint: args.endpoint.clone(),
            deadline: args.deadline,
            give_up_after: args.give_up_after,
            upstream: args.upstream.clone(),
            key: key(args)?,
            concurrency: args.concurrency,
            attempts: args.attempts,
            timeout: args.timeout,
            sim: (&args.sim).into(),
        })
    }

    pub(crate) fn is_stdin(&self) -> bool {
        self.input == Path::new("-")
    }

    /// The simulated upstream, if that is what was asked for.
    pub(crate) fn start_sim(&self) -> Result<Option<Sim>> {
        if self.upstream != "sim" {
            return Ok(None);
        }
        let sim = Sim::start(self.sim.clone());
        sim.map(Some).map_err(|e| {
            Failure::new(
                exit::LOCAL_IO,
                format!("the simulated upstream cannot listen: {e}"),
            )
        })
    }

    /// A server for this job alone, which takes its endpoint whatever that is.
    pub(crate) fn server_config(
        &self,
        data: PathBuf,
        endpoint: String,
        sim: Option<&Sim>,
    ) -> Config {
        let url = sim.map_or_else(|| self.upstream.clone(), Sim::base_url);
        let name = if sim.is_some() { "sim" } else { "upstream" };
        let upstream = UpstreamConfig {
            key: self.key.clone(),
            concurrency: self.concurrency,
            ..UpstreamConfig::new(name, url)
        };
        let mut config = Config::new(data, vec![upstream]);
        config.endpoints = vec![endpoint];
        config.mode = Mode::Lenient;
        config.window = Window::KeepGoing;
        config.sending = Sending {
            attempts: self.attempts,
            timeout: self.timeout,
            patience: self.give_up_after.saturating_add(BEYOND),
            ..Sending::default()
        };
        config
    }

    /// The endpoint of the whole job, once the first line's own is known.
    pub(crate) fn endpoint_or(&self, first_line: Option<String>) -> String {
        first_line
            .or_else(|| self.endpoint.clone())
            .unwrap_or_else(|| "/v1/chat/completions".to_owned())
    }
}

/// `X` of `X.jsonl`, `X.jsonl.gz` and `X.jsonl.zst`; stdin is called `stdin`.
fn stem(input: &Path) -> PathBuf {
    if input == Path::new("-") {
        return PathBuf::from("stdin");
    }
    let mut stem = input.to_owned();
    for ends in [&["gz", "zst"][..], &["jsonl", "ndjson", "json"]] {
        if stem
            .extension()
            .is_some_and(|e| ends.iter().any(|end| e == *end))
        {
            stem.set_extension("");
        }
    }
    stem
}

fn key(args: &RunArgs) -> Result<Option<SecretString>> {
    let text = match (&args.upstream_key_env, &args.upstream_key_file) {
        (Some(name), _) => std::env::var(name).map_err(|_| {
            Failure::new(
                exit::USAGE,
                format!("the environment variable {name} is not set"),
            )
        })?,
        (None, Some(path)) => std::fs::read_to_string(path)
            .map_err(|e| Failure::io("cannot read the key file", path, &e))?,
        (None, None) => return Ok(None),
    };
    let key = text.trim();
    if key.is_empty() {
        return Err(Failure::new(exit::USAGE, "the upstream's key is empty"));
    }
    Ok(Some(SecretString::from(key)))
}

pub(crate) fn concurrency(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(n @ 1..=MAX_CONCURRENCY) => Ok(n),
        _ => Err(format!("a number from 1 to {MAX_CONCURRENCY}")),
    }
}

/// `90s`, `10m`, `2h`, `1d`, or seconds.
pub(crate) fn duration(text: &str) -> std::result::Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("a time such as 90s, 10m, 2h or 1d".to_owned()),
    };
    let count: u64 = digits
        .parse()
        .map_err(|_| "a time such as 90s, 10m, 2h or 1d".to_owned())?;
    if count == 0 {
        return Err("a time above zero".to_owned());
    }
    Ok(Duration::from_secs(count.saturating_mul(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_named_after_the_input() {
        for input in [
            "a/X.jsonl",
            "a/X.jsonl.gz",
            "a/X.jsonl.zst",
            "a/X.ndjson",
            "a/X",
        ] {
            assert_eq!(stem(Path::new(input)), Path::new("a/X"), "{input}");
        }
        assert_eq!(stem(Path::new("data.v2.jsonl")), Path::new("data.v2"));
        assert_eq!(stem(Path::new("-")), Path::new("stdin"));
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for wrong in ["", "h", "-1s", "0s", "5 m", "1w"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
