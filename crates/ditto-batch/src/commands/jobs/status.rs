//! `ditto-batch status`: how a job stands, by its ledger and by its provider.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use ditto_llm::Batch;
use ditto_llm::jobs::{Provider, Shard, State, View};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::lanes;
use super::target::{self, Target, TargetArgs, view};
use crate::commands::api;
use crate::commands::remote::kept::{Kept, Now};
use crate::commands::remote::place::{Results, noted};
use crate::commands::remote::progress::spoken;
use crate::commands::remote::talk::unix_now;
use crate::commands::remote::{events, resuming};
use crate::exit;
use crate::failure::{Failure, Result};
use crate::printer::{counted, grouped, say, show};

/// Batches that are asked for at once.
const ASKED_AT_ONCE: usize = 8;

/// Show how a job at a provider stands
///
/// Reads the job's folder and asks the provider about each open batch. Changes nothing, and takes
/// nothing from a `run` that works on the job.
#[derive(Debug, Clone, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Ask nobody: tell what the job's folder knows
    #[arg(long)]
    offline: bool,
    /// Print it as one JSON object
    #[arg(long)]
    json: bool,
}

/// Tells it. Gives the exit code.
pub(crate) async fn status(args: &StatusArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let told = match args.target.find() {
        Ok(Target::Job(folder)) => match standing(args, &folder).await {
            Ok(standing) => standing.tell(args.json, out, err),
            Err(failure) => Err(failure),
        },
        Ok(Target::Batch(id)) => batch(args, &id, out).await,
        Err(failure) => Err(failure),
    };
    match told {
        Ok(code) => code,
        Err(failure) => {
            if args.json {
                failure.report_json(out);
            }
            failure.report(err)
        }
    }
}

async fn batch(args: &StatusArgs, id: &str, out: &mut dyn Write) -> Result<u8> {
    let (provider, _) = args.target.provider()?;
    let batch = provider
        .batches()
        .retrieve(id)
        .await
        .map_err(target::of_batch)?
        .batch;
    match args.json {
        true => api::show(out, &batch)?,
        false => {
            say(out, of_batch(&batch));
            for lane in lanes::moments(&batch) {
                say(out, lane);
            }
        }
    }
    Ok(exit::DONE)
}

async fn standing(args: &StatusArgs, folder: &std::path::Path) -> Result<Standing> {
    let view = view(folder)?;
    let kept = args.target.kept(&view)?;
    let mut standing = Standing::new(view, kept)?;
    if !args.offline {
        standing.ask().await;
    }
    Ok(standing)
}

/// How a job stands.
pub(super) struct Standing {
    pub(super) view: View,
    pub(super) kept: Kept,
    pub(super) worker: Option<String>,
    pub(super) results: Option<Results>,
    now: Option<Now>,
    /// What the provider says of the batch of each shard.
    answers: BTreeMap<u32, Batch>,
    /// Why it says nothing.
    silence: Option<Failure>,
}

impl Standing {
    pub(super) fn new(view: View, kept: Kept) -> Result<Self> {
        let worker = view.worker();
        let now = worker.as_ref().and_then(|_| Now::read(view.folder()));
        Ok(Self {
            results: noted(view.folder())?,
            view,
            kept,
            worker,
            now,
            answers: BTreeMap::new(),
            silence: None,
        })
    }

    /// Asks the provider about each open batch; one answer that does not come is enough to stop.
    pub(super) async fn ask(&mut self) {
        let open: Vec<(u32, String)> = self.open().collect();
        if open.is_empty() {
            return;
        }
        let provider = match self.kept.way.provider(&self.view.about().profile) {
            Ok(provider) => provider,
            Err(failure) => {
                self.silence = Some(failure);
                return;
            }
        };
        let asked = open
            .into_iter()
            .map(|(shard, id)| asked(&provider, shard, id));
        let mut answers = stream::iter(asked).buffer_unordered(ASKED_AT_ONCE);
        while let Some((shard, answer)) = answers.next().await {
            match answer {
                Ok(batch) => {
                    self.answers.insert(shard, batch);
                }
                Err(failure) => {
                    self.silence = Some(failure);
                    return;
                }
            }
        }
    }

    /// Shards with an open batch, and the batch.
    fn open(&self) -> impl Iterator<Item = (u32, String)> {
        self.view
            .shards()
            .filter_map(|shard| match self.view.state(shard) {
                State::Open { batch, .. } => Some((shard.number, batch.clone())),
                _ => None,
            })
    }

    /// Whether no batch is open, as far as is known: what the provider says goes before the ledger.
    pub(super) fn all_have_ended(&self) -> bool {
        let profile = &self.view.about().profile;
        self.open().all(|(shard, _)| {
            let batch = self.answers.get(&shard);
            batch.is_some_and(|batch| profile.status(&batch.status).is_terminal())
        })
    }

    /// Shards about which a person must decide.
    pub(super) fn stuck(&self) -> Vec<(&Shard, &State)> {
        let all = self.view.shards();
        let all = all.map(|shard| (shard, self.view.state(shard)));
        all.filter(|(_, state)| matches!(state, State::Stuck { .. }))
            .collect()
    }

    /// The provider has answered, or may in a while.
    pub(super) fn require_hope(&mut self) -> Result<()> {
        match self.silence.take_if(|failure| failure.exit != exit::AWAY) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// To stdout; a provider that could not be asked to stderr, with its exit code.
    pub(super) fn tell(&self, json: bool, out: &mut dyn Write, err: &mut dyn Write) -> Result<u8> {
        match json {
            true => show(out, &self.as_json()).map_err(|e| api::unsaid(&e))?,
            false => {
                for line in self.lines() {
                    say(out, line);
                }
            }
        }
        Ok(match &self.silence {
            None => exit::DONE,
            Some(failure) => {
                say(
                    err,
                    "the provider could not be asked; above is what the job's folder knows",
                );
                failure.report(err)
            }
        })
    }

    fn answered(&self) -> u64 {
        let answered = self
            .view
            .shards()
            .map(|shard| match self.view.state(shard) {
                State::Joined { joined, .. } => joined.answered(),
                _ => 0,
            });
        answered.sum()
    }

    fn as_json(&self) -> Value {
        let plan = self.view.about();
        let shards = self.view.shards().map(|shard| {
            let mut about = events::about(shard, self.view.state(shard));
            about["provider"] = json!(self.answers.get(&shard.number));
            about
        });
        json!({
            "job": plan.key,
            "folder": self.view.folder().display().to_string(),
            "input": plan.input,
            "provider": plan.profile.name,
            "way": self.kept.way,
            "requests": plan.requests,
            "withheld": plan.withheld,
            "answered": self.answered(),
            "worker": self.worker,
            "now": self.now,
            "why": self.why(),
            "ended": self.results,
            "shards": shards.collect::<Vec<_>>(),
            "unasked": self.silence.as_ref().map(|failure| &failure.message),
        })
    }

    /// What is worth a word, without what changes all the time.
    pub(super) fn news(&self) -> Vec<String> {
        let open = self.answers.values();
        let open = open.flat_map(|batch| [of_batch(batch)].into_iter().chain(lanes::states(batch)));
        let why = match (&self.worker, &self.now) {
            (Some(_), Some(now)) => sentence(now),
            _ => format!("{} answered", counted(self.answered(), "line")),
        };
        let silence = self.silence.iter();
        let silence = silence.map(|failure| format!("trying again: {}", failure.message));
        open.chain(silence).chain([why]).collect()
    }

    fn lines(&self) -> Vec<String> {
        let plan = self.view.about();
        let mut lines = vec![format!(
            "{} for {}: {}, {} answered",
            self.view.folder().display(),
            plan.profile.title,
            counted(plan.requests, "request"),
            grouped(self.answered()),
        )];
        for shard in self.view.shards() {
            lines.push(self.line_of(shard));
            let batch = self.answers.get(&shard.number);
            lines.extend(batch.into_iter().flat_map(lanes::moments));
        }
        lines.extend(self.why());
        lines
    }

    fn line_of(&self, shard: &Shard) -> String {
        let state = self.view.state(shard);
        let since = |at: i64| {
            let time = Duration::from_secs((unix_now() - at).max(0).unsigned_abs());
            spoken(time)
        };
        let detail = match state {
            State::Open {
                batch, since: at, ..
            } => {
                let says = match self.answers.get(&shard.number) {
                    Some(batch) => format!("; the provider says {}", counts(batch)),
                    None => String::new(),
                };
                format!(" as {batch} for {}{says}", since(*at))
            }
            State::Creating { at, .. } => format!(" for {}, without an answer", since(*at)),
            State::Stuck { why, .. } => format!(": {why}"),
            State::Ended { batch, end, .. } | State::Fetched { batch, end, .. } => {
                format!(", {batch}: {}", end.status)
            }
            State::Joined { batch, joined, .. } => {
                format!(", {batch}: {} answered", grouped(joined.answered()))
            }
            State::Planned | State::Uploading | State::Uploaded { .. } | State::Dissolved => {
                String::new()
            }
        };
        format!(
            "round {} shard {}: {}, {}{detail}",
            shard.round,
            shard.number,
            counted(shard.lines, "line"),
            state.name()
        )
    }

    /// What it waits for, and what to do.
    pub(super) fn why(&self) -> Option<String> {
        if let Some(results) = &self.results {
            let summary = &results.summary;
            return Some(format!(
                "ended: {} of {} answered; {}",
                grouped(summary.answered),
                counted(summary.total, "line"),
                self.kept.places.output.display()
            ));
        }
        let resume = resuming(&self.kept, self.view.about());
        if let Some(worker) = &self.worker {
            return Some(match &self.now {
                Some(now) => format!("{worker} works on it: {}", sentence(now)),
                None => format!("{worker} works on it"),
            });
        }
        if let Some((shard, _)) = self.stuck().first() {
            let shard = shard.number;
            return Some(format!(
                "nobody works on it: a person must decide about shard {shard}, with `{resume} --adopt \
                 {shard}=BATCH` or `--create-again {shard}`"
            ));
        }
        Some(match self.all_have_ended() {
            true => format!("nobody works on it, and no batch is open; `{resume}` goes on"),
            false => format!(
                "nobody works on it; `{resume}` goes on, `ditto-batch fetch {}` fetches what has ended",
                self.view.folder().display()
            ),
        })
    }
}

async fn asked(provider: &Provider, shard: u32, id: String) -> (u32, Result<Batch>) {
    let answer = provider.batches().retrieve(&id).await;
    (
        shard,
        answer.map(|answer| answer.batch).map_err(Failure::from),
    )
}

fn sentence(now: &Now) -> String {
    let mut text = format!("{} of {} lines", grouped(now.done), grouped(now.total));
    if let Some(why) = &now.why {
        text = format!("{text}; {why}");
    }
    match now.left_seconds {
        Some(left) => format!("{text}; about {} left", spoken(Duration::from_secs(left))),
        None => text,
    }
}

/// A batch on one line.
pub(super) fn of_batch(batch: &Batch) -> String {
    format!("{}: {}", batch.id, counts(batch))
}

fn counts(batch: &Batch) -> String {
    let counts = batch.request_counts.unwrap_or_default();
    let failed = match counts.failed {
        0 => String::new(),
        failed => format!(", {} failed", grouped(failed)),
    };
    format!(
        "{}, {} of {} done{failed}",
        batch.status,
        grouped(counts.completed + counts.failed),
        grouped(counts.total),
    )
}
