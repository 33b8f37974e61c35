//! `run --provider`: a job from its plan to its results, and what is done when somebody says stop.

use std::cell::RefCell;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use ditto_llm::jobs::{Ended, Job, Provider, Shard, State, Stop, View};
use serde::Serialize;
use serde_json::{Value, json};

use super::decision::undecided;
use super::events::first_line;
use super::kept::{Kept, Places};
use super::place::{self, Results};
use super::progress::spoken;
use super::talk::{Events, Talk};
use super::{Errand, GoingArgs, describe, failure, resuming};
use crate::commands::run::beside;
use crate::commands::run::summary::quoted;
use crate::exit;
use crate::failure::{Failure, Result};
use crate::fingerprint::Fingerprint;
use crate::printer::{counted, grouped, say, show};
use crate::signals::{Signal, Signals};

/// How often a bar is drawn anew and other commands are told.
const TICK: Duration = Duration::from_secs(1);

/// Lines about the plan of a job that is run.
const MAX_DESCRIBED: usize = 20;

/// Runs the job to its end. Gives the exit code.
pub(crate) async fn run(
    errand: Errand,
    going: &GoingArgs,
    json: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let events = Events::new(going.events, json);
    let ended = work(&errand, going, events, out, err).await;
    events.tell(key_of(&errand).as_deref(), end_of(&ended), out, err);
    match ended {
        Ok((kept, results)) => {
            let told = Told::new(&kept.places, &results);
            if json {
                // A closed pipe: nobody is left to tell.
                let _ = show(out, &told);
            }
            if events != Events::Err {
                summarize(&kept.places, &results, err);
                next_steps(&kept, &results, err);
            }
            told.exit
        }
        Err(failure) => {
            if json {
                failure.report_json(out);
            }
            match events {
                Events::Err => failure.exit,
                Events::Unasked | Events::Out => failure.report(err),
            }
        }
    }
}

/// The last event: there is one also if the job could not begin.
fn end_of(ended: &Result<(Kept, Results)>) -> Value {
    match ended {
        Ok((kept, results)) => json!({
            "event": "ended",
            "result": Told::new(&kept.places, results),
        }),
        Err(failure) => json!({
            "event": "stopped",
            "exit": failure.exit,
            "error": failure.message,
            "hint": failure.hint,
        }),
    }
}

/// What the job is known by, if there is one.
fn key_of(errand: &Errand) -> Option<String> {
    let view = View::open(&beside(&errand.input).folder);
    view.ok().map(|view| view.about().key.clone())
}

async fn work(
    errand: &Errand,
    going: &GoingArgs,
    events: Events,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(Kept, Results)> {
    let mut signals = Signals::new()?;
    let kept = errand.kept()?;
    if !kept.places.folder.join("plan.json").exists() {
        // Said before anything is read or made.
        let profile = errand.remote.profiles.named(&errand.provider)?;
        kept.way.provider(&profile)?;
        place::require_good(&kept.input, &kept.places)?;
    }
    let mut job = {
        let (errand, kept) = (errand.clone(), kept.clone());
        unless_stopped(&mut signals, move || errand.job(&kept)).await?
    };
    if let Some(results) = place::ended(&kept.places)?
        && !reopened(&mut job, going, &kept, &results)?
    {
        return Ok((kept, results));
    }
    require_reopened(&job, going, &kept)?;
    place::require_good(&kept.input, &kept.places)?;
    kept.write()?;
    require_all(&job, errand.remote.strict)?;
    errand.decide(&mut job)?;
    let provider = kept.way.provider(&job.about().profile)?;
    let folder = kept.places.folder.clone();
    let mut talk = Talk::new(&job, folder, events, going.heartbeat, out, err);
    let ended = follow(&mut job, &provider, going, &mut signals, &mut talk).await;
    talk.finish();
    match ended? {
        (Ended::Settled, _) => {
            let results = settle(job, &provider, going, &kept, &mut signals).await?;
            Ok((kept, results))
        }
        (Ended::Stopped, signal) if going.cancel_on_exit => {
            Err(cancelled(&job, &provider, &kept, signal, &mut signals).await)
        }
        (ended, signal) => Err(unsettled(&job, &kept, &ended, signal)),
    }
}

/// A job that has ended goes on if it was asked to, and if any line may come out otherwise.
fn reopened(job: &mut Job, going: &GoingArgs, kept: &Kept, results: &Results) -> Result<bool> {
    let failed = results.summary.failed > job.about().withheld;
    let Some(which) = going.only_failed.filter(|_| failed) else {
        return Ok(false);
    };
    job.reopen(which.into()).map_err(failure)?;
    place::forget_end(&kept.places)?;
    Ok(true)
}

fn require_reopened(job: &Job, going: &GoingArgs, kept: &Kept) -> Result<()> {
    if going.only_failed.is_none() || job.was_reopened() {
        return Ok(());
    }
    Err(Failure::new(
        exit::CONFLICT,
        "this job has not ended yet, so --only-failed cannot tell which lines have failed",
    )
    .hint(format!(
        "nothing was sent; `{}` brings it to its end",
        resuming(kept, job.about())
    )))
}

fn require_all(job: &Job, strict: bool) -> Result<()> {
    let withheld = job.about().withheld;
    if !strict || withheld == 0 {
        return Ok(());
    }
    let lines = match withheld {
        1 => "1 line is refused".to_owned(),
        _ => format!("{} lines are refused", grouped(withheld)),
    };
    Err(Failure::new(exit::REFUSED, lines)
        .hint("nothing was sent; `ditto-batch check` names what is wrong with each"))
}

/// Runs the job and says what happens, until it ends or somebody says stop: once, and it comes to a
/// good place; twice, and it is left where it is.
async fn follow(
    job: &mut Job,
    provider: &Provider,
    going: &GoingArgs,
    signals: &mut Signals,
    talk: &mut Talk<'_>,
) -> Result<(Ended, Option<Signal>)> {
    let stop = Stop::new();
    job.stop_at(stop.clone());
    planned(job, talk);
    let talk = RefCell::new(talk);
    let observer = |event: &ditto_llm::jobs::Event<'_>| talk.borrow_mut().hear(event);
    let run = async {
        match going.no_wait {
            true => job.advance(provider, observer).await,
            false => job.run(provider, observer).await,
        }
    };
    tokio::pin!(run);
    let mut tick = tokio::time::interval(TICK);
    let mut said = None;
    loop {
        tokio::select! {
            ended = &mut run => return Ok((ended.map_err(failure)?, said)),
            signal = signals.next() => {
                if let Some(first) = said {
                    return Err(stopped(first));
                }
                said = Some(signal);
                stop.ask();
                talk.borrow_mut().say("stopping; once more to stop at once");
            }
            _ = tick.tick() => talk.borrow_mut().beat(),
        }
    }
}

fn planned(job: &Job, talk: &mut Talk<'_>) {
    let plan = job.about();
    talk.event(json!({
        "event": "planned",
        "requests": plan.requests,
        "withheld": plan.withheld,
        "tokens": plan.tokens,
        "rounds": job.rounds().len(),
        "shards": job.shards().count(),
    }));
    let mut text = Vec::new();
    describe(job, &mut text);
    let text = String::from_utf8_lossy(&text);
    for line in text.lines().take(MAX_DESCRIBED) {
        talk.say(line);
    }
    if text.lines().count() > MAX_DESCRIBED {
        talk.say("and more; `ditto-batch status` shows all");
    }
}

async fn settle(
    job: Job,
    provider: &Provider,
    going: &GoingArgs,
    kept: &Kept,
    signals: &mut Signals,
) -> Result<Results> {
    let (places, began) = (kept.places.clone(), kept.began);
    let (job, results) = unless_stopped(signals, move || {
        place::results(&places, began, &job).map(|results| (job, results))
    })
    .await?;
    if going.delete_remote_files {
        job.delete_outputs(provider).await;
    }
    Ok(results)
}

/// Why there are no results yet.
fn unsettled(job: &Job, kept: &Kept, ended: &Ended, signal: Option<Signal>) -> Failure {
    let resume = resuming(kept, job.about());
    let open = job.shards().filter(|shard| job.state(shard).is_enqueued());
    let open = open.count() as u64;
    let go = if open < 2 { "goes" } else { "go" };
    let open = batches(open);
    match ended {
        Ended::NeedsDecision(shards) => undecided(&standing(job, shards), &resume),
        Ended::Stopped => {
            let message = format!("stopped; {open} at the provider {go} on");
            Failure::new(exit_of(signal), message).hint(format!(
                "nothing is lost; `{resume}` goes on where this one stopped"
            ))
        }
        Ended::Underway | Ended::Idle | Ended::Settled => {
            let message = format!("not finished: {open} at the provider");
            Failure::new(exit::NOT_FINISHED, message)
                .hint(format!("`{resume}` goes on, and so does the same command"))
        }
    }
}

/// These shards of the job, with how far they are.
pub(crate) fn standing<'a>(job: &'a Job, numbers: &[u32]) -> Vec<(&'a Shard, &'a State)> {
    let shards = job.shards().filter(|shard| numbers.contains(&shard.number));
    shards.map(|shard| (shard, job.state(shard))).collect()
}

/// Ends what is open at the provider. Who says stop once more does not wait for that either.
async fn cancelled(
    job: &Job,
    provider: &Provider,
    kept: &Kept,
    signal: Option<Signal>,
    signals: &mut Signals,
) -> Failure {
    let cancelled = tokio::select! {
        cancelled = job.cancel(provider) => cancelled,
        signal = signals.next() => return stopped(signal),
    };
    let done = cancelled.iter().filter(|one| one.outcome.is_ok()).count();
    let message = match cancelled.len() - done {
        0 => format!("stopped; {} cancelled", batches(done as u64)),
        left => format!(
            "stopped; {} cancelled, {left} could not be",
            batches(done as u64)
        ),
    };
    Failure::new(exit_of(signal), message).hint(format!(
        "what was answered is kept; `{}` fetches it and sends the rest again",
        resuming(kept, job.about())
    ))
}

fn exit_of(signal: Option<Signal>) -> u8 {
    match signal {
        Some(Signal::Interrupt) => exit::INTERRUPTED,
        Some(Signal::Terminate) | None => exit::NOT_FINISHED,
    }
}

/// `no batch`, `1 batch`, `3 batches`.
pub(crate) fn batches(count: u64) -> String {
    match count {
        0 => "no batch".to_owned(),
        1 => "1 batch".to_owned(),
        _ => format!("{} batches", grouped(count)),
    }
}

pub(crate) fn stopped(signal: Signal) -> Failure {
    Failure::new(
        exit_of(Some(signal)),
        "stopped at once; what is at the provider goes on",
    )
    .hint("nothing is lost; the same command goes on where this one stopped")
}

/// Work on files, beside a wait for signals: both passes over a large input take a while.
pub(crate) async fn unless_stopped<T: Send + 'static>(
    signals: &mut Signals,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::select! {
        done = tokio::task::spawn_blocking(work) => {
            done.unwrap_or_else(|e| Err(Failure::new(exit::UNEXPECTED, format!("a task failed: {e}"))))
        }
        signal = signals.next() => Err(stopped(signal)),
    }
}

/// The end, for programs.
#[derive(Serialize)]
pub(crate) struct Told<'a> {
    exit: u8,
    #[serde(flatten)]
    summary: &'a ditto_llm::jobs::Summary,
    seconds: i64,
    output: File<'a>,
    errors: File<'a>,
    report: String,
}

#[derive(Serialize)]
struct File<'a> {
    path: String,
    #[serde(flatten)]
    fingerprint: &'a Fingerprint,
}

impl<'a> Told<'a> {
    pub(crate) fn new(places: &Places, results: &'a Results) -> Self {
        let file = |path: &Path, fingerprint| File {
            path: path.display().to_string(),
            fingerprint,
        };
        Self {
            exit: place::exit_of(&results.summary),
            summary: &results.summary,
            seconds: results.seconds,
            output: file(&places.output, &results.output),
            errors: file(&places.errors, &results.errors),
            report: places.report.display().to_string(),
        }
    }
}

/// Where to look, and how to hold the results against the input.
fn next_steps(kept: &Kept, results: &Results, err: &mut dyn Write) {
    let path = |path: &Path| quoted(&path.display().to_string());
    if results.summary.failed > 0 {
        let errors = path(&kept.places.errors);
        say(err, format_args!("why lines failed is in {errors}"));
    }
    let folder = path(&kept.places.folder);
    say(
        err,
        format_args!("to prove that nothing is lost: ditto-batch verify {folder}"),
    );
}

/// The end, for people.
pub(crate) fn summarize(places: &Places, results: &Results, err: &mut dyn Write) {
    let summary = &results.summary;
    say(
        err,
        format_args!(
            "{} of {} answered, {} failed; {} tokens in, {} out; {} in {}, {}",
            grouped(summary.answered),
            counted(summary.total, "line"),
            grouped(summary.failed),
            grouped(summary.input_tokens),
            grouped(summary.output_tokens),
            batches(summary.batches),
            counted(summary.rounds.into(), "round"),
            spoken(Duration::from_secs(results.seconds.unsigned_abs())),
        ),
    );
    let classes = summary.classes.iter();
    let classes: Vec<_> = classes
        .filter(|(_, lines)| **lines > 0)
        .map(|(class, lines)| format!("{} {}", class.as_str(), grouped(*lines)))
        .collect();
    if summary.failed > 0 {
        say(err, format_args!("  by class: {}", classes.join(", ")));
    }
    for (why, failed) in &summary.failed_for {
        let failed = batches(*failed);
        say(err, format_args!("  {failed} failed: {}", first_line(why)));
    }
    for place in [&places.output, &places.errors, &places.report] {
        say(err, format_args!("  {}", place.display()));
    }
}
