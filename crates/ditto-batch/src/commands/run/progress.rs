//! What a person sees while a job runs: a bar on a terminal, a line per event otherwise.

use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ditto_server::{LaneReport, Progress as BatchProgress};
use indicatif::{ProgressBar, ProgressStyle};

use crate::printer::say;

/// Without a terminal: at least this often, so that a log shows life.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// Without a terminal: a line each time this share of the lines is done.
const STEP: u64 = 10;

/// Talks to stderr; stdout is for results.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    status: String,
    paused: Option<String>,
    steps: u64,
    last: Instant,
    /// When the lines began to run here, and how many were done by then.
    began: Option<(Instant, u64)>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:32} {pos}/{len} lines  {msg}");
            let bar = ProgressBar::new(0);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        let seen = Seen {
            status: String::new(),
            paused: None,
            steps: 0,
            last: Instant::now(),
            began: None,
        };
        Self {
            bar,
            seen: Mutex::new(seen),
        }
    }

    /// Something happened.
    pub(crate) fn say(&self, sentence: &str) {
        match &self.bar {
            Some(bar) => bar.println(sentence),
            None => say(&mut std::io::stderr(), sentence),
        }
    }

    /// Where the job is.
    pub(crate) fn show(&self, now: &BatchProgress, lanes: &[LaneReport]) {
        let mut seen = self.lock();
        let status = now.batch.status.as_str().to_owned();
        let counts = now.batch.request_counts.unwrap_or_default();
        let done = counts.completed + counts.failed;
        if counts.total > 0 {
            seen.began.get_or_insert((Instant::now(), done));
        }
        let news = seen.news(status, done, counts.total, lanes);
        let message = format!(
            "{} failed  {} tokens{}{}",
            counts.failed,
            now.tokens,
            seen.pace(done, counts.total),
            in_flight(lanes)
        );
        drop(seen);
        if let Some(reason) = &news.paused {
            self.say(&format!("waiting: {reason}"));
        }
        match &self.bar {
            Some(bar) => {
                // A length of zero would show as a full bar.
                bar.set_length(counts.total.max(1));
                bar.set_position(done);
                bar.set_message(message);
            }
            None if news.worth_a_line => {
                let status = now.batch.status.as_str();
                self.say(&format!(
                    "{status}: {done}/{} lines  {message}",
                    counts.total
                ));
            }
            None => {}
        }
    }

    /// The bar goes; what follows is the summary.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen
            .lock()
            .expect("no thread panics while it holds this lock")
    }
}

struct News {
    worth_a_line: bool,
    paused: Option<String>,
}

impl Seen {
    fn news(&mut self, status: String, done: u64, total: u64, lanes: &[LaneReport]) -> News {
        let paused = lanes.iter().find_map(|lane| {
            lane.paused
                .map(|reason| format!("{} ({}): {reason}", lane.model, lane.upstream))
        });
        let steps = (done * STEP).checked_div(total).unwrap_or_default();
        let worth_a_line =
            status != self.status || steps != self.steps || self.last.elapsed() > HEARTBEAT;
        if worth_a_line {
            self.last = Instant::now();
        }
        self.status = status;
        self.steps = steps;
        let new_pause = paused.is_some() && paused != self.paused;
        self.paused.clone_from(&paused);
        News {
            worth_a_line,
            paused: paused.filter(|_| new_pause),
        }
    }

    /// Lines a second and the time left, once there is something to tell from.
    fn pace(&self, done: u64, total: u64) -> String {
        let Some((began, before)) = self.began else {
            return String::new();
        };
        let seconds = began.elapsed().as_secs_f64();
        let here = done.saturating_sub(before);
        if here == 0 || seconds < 1.0 {
            return String::new();
        }
        let rate = here as f64 / seconds;
        let left = total.saturating_sub(done) as f64 / rate;
        format!("  {rate:.0}/s  {} left", spoken(left))
    }
}

/// How many are in flight, of how many, and why not more.
fn in_flight(lanes: &[LaneReport]) -> String {
    let sum = |part: fn(&LaneReport) -> usize| lanes.iter().map(part).sum::<usize>();
    let (now, limit) = (sum(|lane| lane.in_flight), sum(|lane| lane.limit));
    match lanes {
        [] => String::new(),
        [only] => format!("  {now} of {limit} in flight ({})", only.why),
        _ => format!("  {now} of {limit} in flight"),
    }
}

fn spoken(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}
