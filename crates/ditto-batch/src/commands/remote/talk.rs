//! What is said while a job runs: a bar on a terminal, a line when something happens and each minute
//! otherwise, JSON for programs, and a word in the job's folder for other commands.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use ditto_llm::jobs::{Clock, Event, Job, Shard, State, SystemClock};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::events::{self, first_line};
use super::kept::Now;
use super::progress::Progress;
use crate::printer::{counted, grouped, say, show};

/// What other commands are told is no older than this, and not written more often.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Reasons that are told: a provider may put a number into each.
const MAX_REASONS: usize = 100;

/// How events are told to programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventForm {
    /// One JSON object a line.
    Ndjson,
}

/// Where events go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Events {
    /// Nowhere: people are told.
    Unasked,
    /// To stdout.
    Out,
    /// To stderr, and nothing else goes there: stdout is for the summary.
    Err,
}

impl Events {
    pub(super) fn new(form: Option<EventForm>, json: bool) -> Self {
        match (form, json) {
            (None, _) => Self::Unasked,
            (Some(EventForm::Ndjson), false) => Self::Out,
            (Some(EventForm::Ndjson), true) => Self::Err,
        }
    }

    /// Tells one, of the job with this key.
    pub(super) fn tell(
        self,
        key: Option<&str>,
        mut told: Value,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) {
        told["time"] = unix_now().into();
        told["job"] = key.into();
        // A closed pipe: nobody is left to tell, and the job goes on.
        let _ = match self {
            Self::Unasked => return,
            Self::Out => show(out, &told).and_then(|()| out.flush()),
            Self::Err => show(err, &told).and_then(|()| err.flush()),
        };
    }
}

/// All that is said of one run.
pub(super) struct Talk<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    events: Events,
    /// Without a terminal people are told at least this often, so that a log shows life.
    heartbeat: Duration,
    bar: Option<ProgressBar>,
    folder: PathBuf,
    key: String,
    progress: Progress,
    started: Instant,
    /// When people were last told anything.
    said: Instant,
    /// What the provider refused batches for.
    reasons: BTreeSet<String>,
    /// What other commands were last told, and when.
    told: Option<(Instant, Now)>,
}

impl<'a> Talk<'a> {
    /// About a job, as it stands.
    pub(super) fn new(
        job: &Job,
        folder: PathBuf,
        events: Events,
        heartbeat: Duration,
        out: &'a mut dyn Write,
        err: &'a mut dyn Write,
    ) -> Self {
        let plan = job.about();
        let mut progress = Progress::new(plan.requests, plan.withheld);
        for shard in job.shards() {
            progress.stands(shard, job.state(shard));
        }
        let now = Instant::now();
        Self {
            out,
            err,
            events,
            heartbeat,
            bar: bar(events),
            folder,
            key: plan.key.clone(),
            progress,
            started: now,
            said: now,
            reasons: BTreeSet::new(),
            told: None,
        }
    }

    /// Something happened.
    pub(super) fn hear(&mut self, event: &Event<'_>) {
        let now = self.started.elapsed();
        self.progress.hear(event, now);
        match self.events {
            Events::Unasked => {
                if let Some(sentence) = sentence(event)
                    && self.is_news(event)
                {
                    self.say(&sentence);
                }
            }
            Events::Out | Events::Err => {
                if let Some(told) = events::told(event) {
                    self.event(told);
                }
            }
        }
        self.beat();
    }

    /// A provider may refuse a hundred shards for one reason: people are told once.
    fn is_news(&mut self, event: &Event<'_>) -> bool {
        match event {
            Event::Refused { why, .. } => {
                self.reasons.len() < MAX_REASONS && self.reasons.insert((*why).to_owned())
            }
            _ => true,
        }
    }

    /// Time has passed.
    pub(super) fn beat(&mut self) {
        let now = self.started.elapsed();
        if let Some(bar) = &self.bar {
            // A length of zero would show as a full bar.
            bar.set_length(self.progress.total().max(1));
            bar.set_position(self.progress.done());
            bar.set_message(self.progress.rest(now));
        } else if self.said.elapsed() >= self.heartbeat && self.events == Events::Unasked {
            let sentence = self.progress.sentence(now);
            self.say(&sentence);
        }
        self.tell_others(now);
    }

    /// A line for people.
    pub(super) fn say(&mut self, sentence: &str) {
        self.said = Instant::now();
        match (&self.bar, self.events) {
            (_, Events::Err) => {}
            (Some(bar), _) => bar.println(sentence),
            (None, _) => say(self.err, sentence),
        }
    }

    /// An event that is not the job's own.
    pub(super) fn event(&mut self, told: Value) {
        self.events.tell(Some(&self.key), told, self.out, self.err);
    }

    /// The bar goes; what follows is the summary.
    pub(super) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn tell_others(&mut self, now: Duration) {
        let news = Now {
            time: unix_now(),
            done: self.progress.done(),
            total: self.progress.total(),
            why: self.progress.why().map(str::to_owned),
            left_seconds: self.progress.left(now).map(|left| left.as_secs()),
        };
        let is_old = |(at, _): &(Instant, Now)| at.elapsed() >= TOLD_EVERY;
        if self.told.as_ref().is_none_or(is_old) {
            news.write(&self.folder);
            self.told = Some((Instant::now(), news));
        }
    }
}

fn bar(events: Events) -> Option<ProgressBar> {
    if events == Events::Err || !std::io::stderr().is_terminal() {
        return None;
    }
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len} lines  {msg}");
    let bar = ProgressBar::new(1);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    Some(bar)
}

/// The time of the machine, in unix seconds.
pub(crate) fn unix_now() -> i64 {
    let since = SystemClock.now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default().as_secs().cast_signed()
}

/// One line an event; looks at batches that go on are no news.
pub(crate) fn sentence(event: &Event<'_>) -> Option<String> {
    Some(match event {
        Event::Stepped { shard, state } => stepped(shard, state),
        Event::Weather { what, error } => {
            format!("{what}, trying again: {}", first_line(&error.to_string()))
        }
        Event::Refused { shard, why } => {
            format!("shard {}: {}", shard.number, first_line(why))
        }
        Event::Cancelled { shard, batch } => {
            format!(
                "shard {}: {batch} is past its window, and was cancelled",
                shard.number
            )
        }
        Event::Round { number, lines } => {
            format!("round {number}: {} again", counted(*lines, "line"))
        }
        _ => return None,
    })
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
        State::Dissolved => ": its lines go out in smaller ones".to_owned(),
        _ => String::new(),
    };
    format!("shard {} {}{detail}", shard.number, state.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ditto_llm::jobs::Settings;
    use ditto_llm::profiles::Profiles;

    const LINE: &str = r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}"#;

    const HEARTBEAT: Duration = Duration::from_secs(60);

    fn told(events: Events, quiet_for: Duration) -> (String, String, Option<Now>) {
        let folder = tempfile::tempdir().unwrap();
        let (input, home) = (folder.path().join("x.jsonl"), folder.path().join("x.ditto"));
        std::fs::write(&input, LINE).unwrap();
        let profile = Profiles::embedded().get("openai").cloned().unwrap();
        let job = Job::plan(&Settings::new(input, profile), &home).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut talk = Talk::new(&job, home.clone(), events, HEARTBEAT, &mut out, &mut err);
        let event = Event::Waiting {
            time: quiet_for,
            why: "1 open",
        };
        talk.hear(&event);
        talk.said = Instant::now().checked_sub(quiet_for).unwrap();
        talk.beat();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(out), text(err), Now::read(&home))
    }

    #[test]
    fn a_log_shows_life_once_a_minute_and_why_nothing_moves() {
        let (_, err, now) = told(Events::Unasked, HEARTBEAT);
        assert_eq!(err, "0 of 1 lines; 1 open\n");
        assert_eq!(now.unwrap().why.as_deref(), Some("1 open"));
        assert_eq!(told(Events::Unasked, Duration::from_secs(1)).1, "");
    }

    #[test]
    fn a_reason_is_told_once_however_many_batches_it_is_for() {
        let folder = tempfile::tempdir().unwrap();
        let (input, home) = (folder.path().join("x.jsonl"), folder.path().join("x.ditto"));
        std::fs::write(&input, LINE).unwrap();
        let profile = Profiles::embedded().get("openai").cloned().unwrap();
        let job = Job::plan(&Settings::new(input, profile), &home).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut talk = Talk::new(
            &job,
            home,
            Events::Unasked,
            Duration::from_secs(60),
            &mut out,
            &mut err,
        );
        let shard = job.shards().next().unwrap();
        for why in ["server_error: m", "server_error: m", "too_many_tasks: n"] {
            talk.hear(&Event::Refused { shard, why });
        }
        assert_eq!(
            String::from_utf8(err).unwrap(),
            "shard 1: server_error: m\nshard 1: too_many_tasks: n\n"
        );
    }

    #[test]
    fn events_go_where_nothing_else_goes() {
        let (out, err, _) = told(Events::Out, HEARTBEAT);
        let event: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&event["event"], err.as_str()), (&"waiting".into(), ""));
        let (out, err, _) = told(Events::Err, HEARTBEAT);
        assert_eq!(out, "");
        assert_eq!(
            serde_json::from_str::<Value>(&err).unwrap()["why"],
            "1 open"
        );
    }
}
