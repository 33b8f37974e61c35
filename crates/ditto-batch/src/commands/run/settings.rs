//! What the flags of `run` mean.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ditto_server::model::space::Floor;
use ditto_server::{CompletionWindow, Concurrency, Config, Mode, Sending, UpstreamConfig, Window};
use ditto_sim::Sim;
use secrecy::SecretString;

use super::RunArgs;
use super::input::Input;
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
    concurrency: Concurrency,
    attempts: u32,
    timeout: Duration,
    sim: ditto_sim::SimConfig,
}

impl Settings {
    /// Where results go.
    pub(super) fn results(&self) -> super::places::Results<'_> {
        [
            ("the answers", &self.output),
            ("the errors", &self.errors),
            ("the report", &self.report),
        ]
    }

    pub(crate) fn new(args: &RunArgs) -> Result<Self> {
        let places = beside(&args.input);
        Ok(Self {
            output: args.output.clone().unwrap_or(places.output),
            errors: args.errors.clone().unwrap_or(places.errors),
            report: places.report,
            folder: places.folder,
            input: args.input.clone(),
            model: args.model.clone(),
            endpoint: args.endpoint.clone(),
            deadline: args.deadline,
            give_up_after: args.give_up_after,
            // Required where no provider is named, and then this is not read.
            upstream: args.upstream.clone().unwrap_or_default(),
            key: key(args)?,
            concurrency: match (args.concurrency, args.max_concurrency) {
                (Some(fixed), _) => Concurrency::Fixed(fixed),
                (None, Some(most)) => Concurrency::UpTo(most),
                (None, None) => Concurrency::default(),
            },
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
        config.windows = vec![CompletionWindow::day(Window::KeepGoing)];
        // Whoever runs a job on his own disk is not kept from it; a disk that is full stalls the job,
        // loses nothing, and says so.
        config.space = Floor::NONE;
        config.sending = Sending {
            attempts: self.attempts,
            timeout: self.timeout,
            patience: self.give_up_after.saturating_add(BEYOND),
            ..Sending::default()
        };
        config
    }

    /// The endpoint of the whole job: that of the first line that names one, else the flag's.
    pub(crate) fn endpoint_of(&self, input: &Input) -> Result<String> {
        match (&input.endpoint, &self.endpoint) {
            (Some(own), Some(given)) if own != given => Err(Failure::usage(format!(
                "the file's first line has the url {own}, but --endpoint says {given}"
            ))
            .hint("a job has one endpoint: leave --endpoint out, or split the file")),
            (Some(endpoint), _) | (None, Some(endpoint)) => Ok(endpoint.clone()),
            (None, None) => Ok("/v1/chat/completions".to_owned()),
        }
    }

    /// An address that cannot work is said before a folder is made.
    pub(crate) fn check_upstream(&self) -> Result<()> {
        if self.upstream == "sim" {
            return Ok(());
        }
        let upstream = UpstreamConfig {
            key: self.key.clone(),
            ..UpstreamConfig::new("upstream", &self.upstream)
        };
        upstream.check().map_err(Failure::of_settings)
    }
}

/// Where everything about an input is unless it is said otherwise.
#[derive(Debug)]
pub(crate) struct Beside {
    pub(crate) output: PathBuf,
    pub(crate) errors: PathBuf,
    pub(crate) report: PathBuf,
    pub(crate) folder: PathBuf,
}

pub(crate) fn beside(input: &Path) -> Beside {
    let stem = stem(input);
    let named = |end: &str| {
        let mut name = stem.clone().into_os_string();
        name.push(end);
        PathBuf::from(name)
    };
    Beside {
        output: named(".output.jsonl"),
        errors: named(".errors.jsonl"),
        report: named(".report.json"),
        folder: named(".ditto"),
    }
}

/// `X` of `X.jsonl`, `X.jsonl.gz` and `X.jsonl.zst`; stdin is called `stdin`.
pub(crate) fn stem(input: &Path) -> PathBuf {
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

/// A path of the API: it goes behind the upstream's address as it is.
pub(crate) fn endpoint(text: &str) -> std::result::Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_.-:".contains(c);
    let fits = text.starts_with('/')
        && text.chars().all(plain)
        && !text.split('/').any(|part| part == "..");
    match fits {
        true => Ok(text.to_owned()),
        false => Err("a path such as /v1/chat/completions".to_owned()),
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
    fn an_endpoint_is_a_path_and_nothing_else() {
        assert!(endpoint("/v1/chat/completions").is_ok());
        for wrong in [
            "foo",
            "http://h/x",
            "../../x",
            "/v1/../admin",
            "/foo#bar",
            "/a?b",
            "/a b",
        ] {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
    }

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
