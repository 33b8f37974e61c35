//! `ditto-batch plan`, and `run --provider`: a file through a provider's batch API.

mod input;
mod place;

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use ditto_llm::jobs::{
    Ended, Event, Job, JobError, JobErrorKind, Provider, Retries, Settings, Shard, State, Summary,
};
use secrecy::{ExposeSecret, SecretString};

use crate::exit;
use crate::failure::{Failure, Result};
use crate::key;
use crate::printer::{counted, grouped, say, show, sized};
use crate::profiles::ProfilesArgs;
use crate::signals::{Signal, Signals};

/// What decides how a file is cut and sent.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RemoteArgs {
    #[command(flatten)]
    pub(crate) profiles: ProfilesArgs,
    /// Where the provider lives, if not where `ditto-batch providers` says
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// Environment variable that holds the provider's key [default: the profile's]
    #[arg(long, value_name = "NAME")]
    pub(crate) api_key_env: Option<String>,
    /// Completion window [default: the profile's first]
    #[arg(long, value_name = "TIME")]
    pub(crate) window: Option<String>,
    /// Prompt tokens that the account may have enqueued for a model
    #[arg(long, value_name = "N")]
    pub(crate) max_enqueued_tokens: Option<u64>,
    /// Times a line that failed in passing is sent again, for each kind of failure
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) retries: u32,
    /// Send everything at once: no 20 lines first to see whether they are answered
    #[arg(long)]
    pub(crate) no_canary: bool,
    /// Refuse the whole input (exit 12) if one line is refused, before anything is sent
    #[arg(long)]
    pub(crate) strict: bool,
    /// Decide about a shard whose create had no answer: this is its batch
    #[arg(long, value_name = "SHARD=BATCH", value_parser = adoption)]
    pub(crate) adopt: Option<(u32, String)>,
    /// Decide about a shard whose create had no answer: it has no batch, create it again
    #[arg(long, value_name = "SHARD")]
    pub(crate) create_again: Option<u32>,
}

fn adoption(text: &str) -> std::result::Result<(u32, String), String> {
    let parts = text.split_once('=').filter(|(_, batch)| !batch.is_empty());
    parts
        .and_then(|(shard, batch)| Some((shard.parse().ok()?, batch.to_owned())))
        .ok_or_else(|| "the number of a shard and its batch, as 3=batch_abc".to_owned())
}

/// Show how a file would be cut for a provider's batch API, and send nothing
///
/// Reads the input once and leaves the plan in `X.ditto/`, where `run --provider` goes on from.
#[derive(Debug, Clone, Args)]
pub(crate) struct PlanArgs {
    /// The requests: JSONL, or `-` for stdin; may end in .gz or .zst
    #[arg(value_name = "INPUT")]
    input: PathBuf,
    /// The provider, as `ditto-batch providers` names it
    #[arg(long, value_name = "NAME")]
    provider: String,
    /// The model of lines that name none
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// The url of lines that name none
    #[arg(long, value_name = "PATH", value_parser = super::run::endpoint)]
    endpoint: Option<String>,
    #[command(flatten)]
    remote: RemoteArgs,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

/// What a job over a provider is about.
#[derive(Debug)]
pub(crate) struct Errand<'a> {
    pub(crate) input: &'a std::path::Path,
    pub(crate) provider: &'a str,
    pub(crate) model: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) output: PathBuf,
    pub(crate) errors: PathBuf,
    pub(crate) report: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) remote: &'a RemoteArgs,
}

/// Plans the job and shows it. Gives the exit code.
pub(crate) fn plan(args: &PlanArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let places = super::run::beside(&args.input);
    let errand = Errand {
        input: &args.input,
        provider: &args.provider,
        model: args.model.clone(),
        endpoint: args.endpoint.clone(),
        output: places.output,
        errors: places.errors,
        report: places.report,
        folder: places.folder,
        remote: &args.remote,
    };
    let shown = errand.job().and_then(|job| match args.json {
        true => show_plan(&job, out),
        false => {
            describe(&job, out);
            Ok(())
        }
    });
    match shown {
        Ok(()) => exit::DONE,
        Err(failure) => failure.report(err),
    }
}

fn show_plan(job: &Job, out: &mut dyn Write) -> Result<()> {
    let value = serde_json::json!({"plan": job.about(), "rounds": job.rounds()});
    show(out, &value).map_err(|e| Failure::io("cannot write the plan", &e))
}

fn describe(job: &Job, out: &mut dyn Write) {
    let plan = job.about();
    say(
        out,
        format_args!(
            "{} for {} of {}, about {} prompt tokens, window {}",
            counted(plan.requests - plan.withheld, "request"),
            plan.endpoint,
            plan.profile.title,
            grouped(plan.tokens),
            plan.window
        ),
    );
    for (code, lines) in &plan.withheld_for {
        say(
            out,
            format_args!("withheld: {} with {code}", counted(*lines, "line")),
        );
    }
    for round in job.rounds() {
        for shard in &round.shards {
            let model = shard.model.as_deref().unwrap_or("any model");
            let form = if shard.canary {
                ", first and alone"
            } else {
                ""
            };
            say(
                out,
                format_args!(
                    "round {} shard {}: {} ({} to {}), {}, {model}, {}{form}",
                    round.number,
                    shard.number,
                    counted(shard.lines, "line"),
                    shard.first_line,
                    shard.last_line,
                    sized(shard.bytes),
                    job.state(shard).name(),
                ),
            );
        }
    }
}

/// Runs the job to its end. Gives the exit code.
pub(crate) async fn run(
    errand: &Errand<'_>,
    json: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    match work(errand, err).await {
        Ok(ended) => {
            if json {
                // A closed pipe: nobody is left to tell.
                let _ = show(out, &ended);
            }
            say(
                err,
                format_args!(
                    "{} of {} lines answered, {} failed; {} tokens in, {} out; {}",
                    ended.answered,
                    ended.total,
                    ended.failed,
                    ended.input_tokens,
                    ended.output_tokens,
                    counted(ended.batches, "batch").replace("batchs", "batches"),
                ),
            );
            say(err, format_args!("  {}", errand.output.display()));
            say(err, format_args!("  {}", errand.errors.display()));
            match ended.failed {
                0 => exit::DONE,
                _ => exit::SOME_FAILED,
            }
        }
        Err(failure) => {
            if json {
                failure.report_json(out);
            }
            failure.report(err)
        }
    }
}

async fn work(errand: &Errand<'_>, err: &mut dyn Write) -> Result<Summary> {
    let mut signals = Signals::new()?;
    if let Some(summary) = place::ended(errand)? {
        return Ok(summary);
    }
    place::require_free(errand)?;
    let mut job = errand.job()?;
    let withheld = job.about().withheld;
    if errand.remote.strict && withheld > 0 {
        return Err(Failure::new(
            exit::REFUSED,
            format!(
                "{} refused",
                counted(withheld, "line is").replace("line iss", "lines are")
            ),
        )
        .hint("nothing was sent; `ditto-batch check` names what is wrong with each"));
    }
    errand.decide(&mut job)?;
    describe(&job, err);
    let provider = errand.client(&job)?;
    let ended = tokio::select! {
        ended = job.run(&provider, |event| tell(event, err)) => ended.map_err(failure)?,
        signal = signals.next() => return Err(interrupted(signal)),
    };
    match ended {
        Ended::Settled => place::results(errand, &job),
        Ended::NeedsDecision(shards) => Err(undecided(&shards)),
    }
}

impl Errand<'_> {
    /// The job in its folder, planned now if there is none.
    fn job(&self) -> Result<Job> {
        let remote = self.remote;
        let job = match Job::open(&self.folder) {
            Err(error) if error.kind() == JobErrorKind::Missing => self.planned()?,
            opened => opened.map_err(failure)?,
        };
        if job.about().profile.name != self.provider {
            return Err(Failure::new(
                exit::CONFLICT,
                format!(
                    "--provider was {} when this job began and is {} now",
                    job.about().profile.name,
                    self.provider
                ),
            )
            .hint(format!(
                "nothing was sent and nothing is lost; move {} away to begin anew",
                self.folder.display()
            )));
        }
        let job = job
            .with_retries(Retries::new(remote.retries))
            .with_max_enqueued_tokens(remote.max_enqueued_tokens);
        Ok(match remote.no_canary {
            true => job.with_fine_canary(),
            false => job,
        })
    }

    fn planned(&self) -> Result<Job> {
        let profile = self.remote.profiles.named(self.provider)?;
        let input = input::regular(self.input, &self.folder)?;
        let mut settings = Settings::new(input, profile);
        settings.model.clone_from(&self.model);
        settings.endpoint.clone_from(&self.endpoint);
        settings.window.clone_from(&self.remote.window);
        settings.max_enqueued_tokens = self.remote.max_enqueued_tokens;
        if self.remote.no_canary {
            settings.canary = None;
        }
        Job::plan(&settings, &self.folder).map_err(failure)
    }

    fn decide(&self, job: &mut Job) -> Result<()> {
        if let Some((shard, batch)) = &self.remote.adopt {
            job.adopt(*shard, batch).map_err(failure)?;
        }
        if let Some(shard) = self.remote.create_again {
            job.create_again(shard).map_err(failure)?;
        }
        Ok(())
    }

    fn client(&self, job: &Job) -> Result<Provider> {
        let profile = &job.about().profile;
        let given = self.remote.api_key_env.as_deref();
        let key = match (given, &self.remote.base_url) {
            (Some(name), _) => key::from_env(name)?,
            // A server that is named by its address gets no key that was not meant for it.
            (None, Some(_)) => SecretString::default(),
            (None, None) => profile
                .key_env
                .iter()
                .find_map(|name| key::variable(name).map(SecretString::from))
                .ok_or_else(|| no_key(&profile.title, &profile.key_env))?,
        };
        let base_url = self.remote.base_url.as_deref();
        Provider::of_profile(profile, key.expose_secret().trim(), base_url).map_err(failure)
    }
}

fn no_key(title: &str, names: &[String]) -> Failure {
    Failure::new(exit::NOT_ALLOWED, format!("there is no key for {title}")).hint(format!(
        "nothing was sent; set {}, or name a variable with --api-key-env",
        names.join(" or ")
    ))
}

/// One line an event; looks at batches that go on are no news.
fn tell(event: &Event<'_>, err: &mut dyn Write) {
    match event {
        Event::Stepped { shard, state } => say(err, stepped(shard, state)),
        Event::Weather { what, error } => {
            let text = error.to_string();
            say(
                err,
                format_args!(
                    "{what}, trying again: {}",
                    text.lines().next().unwrap_or_default()
                ),
            );
        }
        Event::Round { number, lines } => {
            say(
                err,
                format_args!("round {number}: {} again", counted(*lines, "line")),
            );
        }
        Event::Waiting { time, why } if time.as_secs() >= 60 => {
            say(
                err,
                format_args!("{why}; next look in {} s", time.as_secs()),
            );
        }
        _ => {}
    }
}

fn stepped(shard: &Shard, state: &State) -> String {
    let detail = match state {
        State::Open { batch, .. } => format!(" as {batch}"),
        State::Ended { end, .. } => format!(": {}", end.status),
        State::Joined { joined, .. } => format!(
            ": {} of {} answered",
            grouped(joined.answered()),
            grouped(shard.lines)
        ),
        State::Stuck { why, .. } => format!(": {why}"),
        _ => String::new(),
    };
    format!("shard {} {}{detail}", shard.number, state.name())
}

fn interrupted(signal: Signal) -> Failure {
    let exit = match signal {
        Signal::Interrupt => exit::INTERRUPTED,
        Signal::Terminate => exit::NOT_FINISHED,
    };
    Failure::new(exit, "stopped; batches at the provider go on")
        .hint("nothing is lost; the same command goes on where this one stopped")
}

fn undecided(shards: &[u32]) -> Failure {
    let shard = shards.first().copied().unwrap_or_default();
    let all: Vec<_> = shards.iter().map(ToString::to_string).collect();
    Failure::new(
        exit::CONFLICT,
        format!("whether there are batches for shard {} cannot be found out; all others are done", all.join(", ")),
    )
    .hint(format!(
        "look at the provider's: if there is one, give the same command with --adopt {shard}=BATCH; if there is none, with --create-again {shard}"
    ))
}

pub(super) fn failure(error: JobError) -> Failure {
    let exit = match error.kind() {
        JobErrorKind::Refused => exit::REFUSED,
        JobErrorKind::Missing => exit::NOT_FOUND,
        JobErrorKind::NotAllowed => exit::NOT_ALLOWED,
        JobErrorKind::Conflict => exit::CONFLICT,
        JobErrorKind::Away => exit::AWAY,
        JobErrorKind::LocalIo => exit::LOCAL_IO,
        _ => exit::UNEXPECTED,
    };
    let failure = Failure::new(exit, error.to_string());
    match error.what_next() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"custom_id":"ID","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}"#;

    fn planned(json: bool) -> (u8, String) {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("x.jsonl");
        let lines: String = (1..=3)
            .map(|n| LINE.replace("ID", &format!("id-{n}")) + "\n")
            .collect();
        std::fs::write(&input, lines + "nonsense\n").unwrap();
        let args = PlanArgs {
            input,
            provider: "openai".to_owned(),
            model: None,
            endpoint: None,
            remote: RemoteArgs::default(),
            json,
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = plan(&args, &mut out, &mut err);
        assert!(folder.path().join("x.ditto/plan.json").exists());
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_plan_is_shown_shard_by_shard_with_what_is_withheld() {
        let (code, text) = planned(false);
        assert_eq!(code, exit::DONE);
        assert!(
            text.starts_with("3 requests for /v1/chat/completions of OpenAI, about "),
            "{text}"
        );
        assert!(
            text.contains("withheld: 1 line with invalid_json_line"),
            "{text}"
        );
        assert!(
            text.contains("round 1 shard 1: 3 lines (1 to 3), "),
            "{text}"
        );
    }

    #[test]
    fn a_plan_for_programs_is_one_object() {
        let (_, text) = planned(true);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["rounds"][0]["shards"][0]["lines"], 3);
        assert_eq!(value["plan"]["withheld"], 1);
    }

    #[test]
    fn an_adoption_names_a_shard_and_its_batch() {
        assert_eq!(adoption("3=batch_a"), Ok((3, "batch_a".to_owned())));
        for wrong in ["3", "3=", "x=batch_a", "=batch_a"] {
            assert!(adoption(wrong).is_err(), "{wrong}");
        }
    }
}
