//! `ditto-batch plan`, and what it shares with `run --provider`: a file through a provider's batch API.

mod decision;
pub(super) mod events;
pub(super) mod input;
pub(super) mod kept;
pub(super) mod place;
pub(super) mod progress;
mod run;
pub(super) mod talk;
pub(super) mod way;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ditto_llm::jobs::{Failed, Job, JobError, JobErrorKind, Plan, Retries, Settings};

pub(crate) use self::decision::undecided;
use self::kept::{Kept, Places};
pub(crate) use self::run::{Told, batches, run, standing, stopped, summarize, unless_stopped};
use self::talk::EventForm;
use self::way::{Way, WayArgs};
use crate::exit;
use crate::failure::{Failure, Result};
use crate::printer::{counted, grouped, say, show, sized};
use crate::profiles::ProfilesArgs;

/// What decides how a file is cut and sent.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RemoteArgs {
    #[command(flatten)]
    pub(crate) profiles: ProfilesArgs,
    #[command(flatten)]
    pub(crate) way: WayArgs,
    /// Completion window [default: the profile's first]
    #[arg(long, value_name = "TIME")]
    pub(crate) window: Option<String>,
    /// Prompt tokens that the account may have enqueued for a model
    #[arg(long, value_name = "N")]
    pub(crate) max_enqueued_tokens: Option<u64>,
    /// Take only the first so many lines of the input
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// Times a line that failed in passing is sent again, for each kind of failure [default: 3]
    #[arg(long, value_name = "N")]
    pub(crate) retries: Option<u32>,
    /// Send everything at once: no 20 lines first to see whether they are answered
    #[arg(long)]
    pub(crate) no_canary: bool,
    /// Refuse the whole input (exit 12) if one line is refused, before anything is sent
    #[arg(long)]
    pub(crate) strict: bool,
    /// Decide about a shard whose create had no answer, or whose batch does not end: this is its batch
    #[arg(long, value_name = "SHARD=BATCH", value_parser = adoption)]
    pub(crate) adopt: Option<(u32, String)>,
    /// Decide about a shard that has no batch, or whose results are gone: create it again, and pay for it
    #[arg(long, value_name = "SHARD")]
    pub(crate) create_again: Option<u32>,
}

/// How a job at a provider is run.
#[derive(Debug, Clone, Args)]
pub(crate) struct GoingArgs {
    /// Tell what happens as JSON, one object a line: on stdout, or on stderr together with --json
    #[arg(long, value_name = "FORM", requires = "provider")]
    pub(crate) events: Option<EventForm>,
    /// Without a terminal say at least this often how far it is, and why nothing moves if nothing does
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = crate::duration::parse, requires = "provider")]
    pub(crate) heartbeat: Duration,
    /// Send the failed lines of a job that has ended once more: those that failed in passing, or `=all`
    /// those that the provider has refused, too
    #[arg(
        long,
        value_name = "WHICH",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "passing",
        requires = "provider"
    )]
    pub(crate) only_failed: Option<OnlyFailed>,
    /// Send and fetch what can be now, wait for nothing, and end with 10; the same command goes on
    #[arg(long, requires = "provider")]
    pub(crate) no_wait: bool,
    /// When stopped by Ctrl-C or SIGTERM, cancel the batches at the provider
    #[arg(long, requires = "provider")]
    pub(crate) cancel_on_exit: bool,
    /// After the end delete the provider's files of results, too, and not only the job's own uploads
    #[arg(long, requires = "provider")]
    pub(crate) delete_remote_files: bool,
}

/// Which failed lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnlyFailed {
    /// That failed in passing.
    Passing,
    /// All that were sent.
    All,
}

impl From<OnlyFailed> for Failed {
    fn from(which: OnlyFailed) -> Self {
        match which {
            OnlyFailed::Passing => Self::InPassing,
            OnlyFailed::All => Self::RefusedToo,
        }
    }
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
#[derive(Debug, Clone)]
pub(crate) struct Errand {
    pub(crate) input: PathBuf,
    pub(crate) provider: String,
    pub(crate) model: Option<String>,
    pub(crate) endpoint: Option<String>,
    /// Where results go, if that was said.
    pub(crate) output: Option<PathBuf>,
    pub(crate) errors: Option<PathBuf>,
    pub(crate) remote: RemoteArgs,
}

/// Plans the job and shows it. Gives the exit code.
pub(crate) fn plan(args: &PlanArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let errand = Errand {
        input: args.input.clone(),
        provider: args.provider.clone(),
        model: args.model.clone(),
        endpoint: args.endpoint.clone(),
        output: None,
        errors: None,
        remote: args.remote.clone(),
    };
    let planned = errand.kept().and_then(|kept| {
        let job = errand.job(&kept)?;
        kept.write()?;
        Ok(job)
    });
    let shown = planned.and_then(|job| match args.json {
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

impl Errand {
    /// What the job's folder keeps, with what was typed before it.
    fn kept(&self) -> Result<Kept> {
        let beside = super::run::beside(&self.input);
        if beside.folder.exists() && !beside.folder.is_dir() {
            let message = format!(
                "{} is there already and is no folder",
                beside.folder.display()
            );
            return Err(Failure::new(exit::CONFLICT, message)
                .hint("nothing was sent; the job keeps what it knows there: move that file away"));
        }
        let old = match beside.folder.is_dir() {
            true => Kept::read(&beside.folder)?,
            false => None,
        };
        let old = old.unwrap_or_else(|| Kept::new(self.input.clone(), beside));
        let remote = &self.remote;
        Ok(Kept {
            input: self.input.clone(),
            way: Way::new(&remote.way, Some(&old.way)),
            places: Places {
                output: self.output.clone().unwrap_or(old.places.output),
                errors: self.errors.clone().unwrap_or(old.places.errors),
                ..old.places
            },
            began: old.began,
            retries: remote.retries.unwrap_or(old.retries),
            max_enqueued_tokens: remote.max_enqueued_tokens.or(old.max_enqueued_tokens),
        })
    }

    /// The job in its folder, planned now if there is none.
    fn job(&self, kept: &Kept) -> Result<Job> {
        let folder = &kept.places.folder;
        let job = match Job::open(folder) {
            Err(error) if error.kind() == JobErrorKind::Missing => {
                self.planned(kept).inspect_err(|failure| {
                    if failure.exit == exit::REFUSED {
                        input::discard(folder);
                    }
                })?
            }
            opened => {
                let mut job = opened.map_err(failure)?;
                self.require_same(&job, kept)?;
                input::find_again(&mut job, kept);
                let named = Kept::read(folder)?.map_or(self.input.clone(), |before| before.input);
                input::require_same(&self.input, &named, &job)?;
                job
            }
        };
        let job = job
            .with_retries(Retries::new(kept.retries))
            .with_max_enqueued_tokens(kept.max_enqueued_tokens);
        Ok(match self.remote.no_canary {
            true => job.with_fine_canary(),
            false => job,
        })
    }

    fn planned(&self, kept: &Kept) -> Result<Job> {
        let profile = self.remote.profiles.named(&self.provider)?;
        let folder = &kept.places.folder;
        let input = input::regular(&self.input, folder)?;
        let mut settings = Settings::new(input, profile);
        settings.model.clone_from(&self.model);
        settings.endpoint.clone_from(&self.endpoint);
        settings.window.clone_from(&self.remote.window);
        settings.max_enqueued_tokens = kept.max_enqueued_tokens;
        settings.limit = self.remote.limit;
        if self.remote.no_canary {
            settings.canary = None;
        }
        Job::plan(&settings, folder).map_err(|error| match error.what_next() {
            Some(_) => failure(error),
            None => {
                failure(error).hint("nothing was sent; mend that, then give the same command again")
            }
        })
    }

    /// What makes a job what it is has not changed since it began.
    fn require_same(&self, job: &Job, kept: &Kept) -> Result<()> {
        let plan = job.about();
        let remote = &self.remote;
        // Without the other flags a job goes on as it is. But who leaves this one out wants all lines.
        let limit = |limit: Option<u64>| limit.map_or("all".to_owned(), |limit| limit.to_string());
        let told = [
            ("--provider", &plan.profile.name, Some(&self.provider)),
            ("--endpoint", &plan.endpoint, self.endpoint.as_ref()),
            ("--window", &plan.window, remote.window.as_ref()),
            ("--limit", &limit(plan.limit), Some(&limit(remote.limit))),
            (
                "--model",
                &plan.model.clone().unwrap_or("not given".to_owned()),
                self.model.as_ref(),
            ),
        ];
        for (flag, was, is) in told {
            if let Some(is) = is.filter(|is| *is != was) {
                let message = format!("{flag} was {was} when this job began and is {is} now");
                return Err(Failure::new(exit::CONFLICT, message).hint(format!(
                    "nothing was sent and nothing is lost; give it as it was, or move {} and the job's \
                     results away to begin anew",
                    kept.places.folder.display()
                )));
            }
        }
        Ok(())
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
}

/// The command that goes on with a job.
pub(crate) fn resuming(kept: &Kept, plan: &Plan) -> String {
    let input = super::run::summary::quoted(&kept.input.display().to_string());
    let limit = plan.limit.map(|limit| format!(" --limit {limit}"));
    let limit = limit.unwrap_or_default();
    format!(
        "ditto-batch run {input} --provider {}{limit}",
        plan.profile.name
    )
}

/// Where the message alone says what is to be mended.
const MEND: &str = "nothing recorded is lost; mend that, then give the same command again";

pub(crate) fn failure(error: JobError) -> Failure {
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
    failure.hint(error.what_next().unwrap_or(MEND))
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
