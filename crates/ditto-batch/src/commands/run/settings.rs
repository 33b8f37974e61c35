//! What the flags of `run` mean.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ditto_server::{Config, Mode, Sending, UpstreamConfig, Window};
use ditto_sim::Sim;
use secrecy::SecretString;

use super::RunArgs;
use crate::failure::{Failure, Result};
use crate::key;

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
        let beside = |end: &str| {
            let mut name = stem.clone().into_os_string();
            name.push(end);
            PathBuf::from(name)
        };
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
        sim.map(Some)
            .map_err(|e| Failure::io("cannot start the simulated upstream", &e))
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
    match (&args.upstream_key_env, &args.upstream_key_file) {
        (Some(name), _) => key::from_env(name).map(Some),
        (None, Some(path)) => key::from_file(path).map(Some),
        (None, None) => Ok(None),
    }
}

pub(crate) fn concurrency(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n @ 1..=MAX_CONCURRENCY) => Ok(n),
        _ => Err(format!("a number from 1 to {MAX_CONCURRENCY}")),
    }
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
}
