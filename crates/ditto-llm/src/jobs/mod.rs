//! One file, any provider: a job takes a JSONL file of any size through a provider's batch API and
//! brings everything back, through crashes, limits and faults.
//!
//! A job lives in a folder. [`Job::plan`] reads the input once and cuts it into shards within the
//! limits of a [`Profile`]; [`Job::run`] sends them, waits, fetches what came and sends again what
//! may still be answered; [`Job::export`] writes one line for every request, in the order of the
//! input. A job whose process has died is opened with [`Job::open`] and run again: each step that
//! costs money is in the job's ledger before it is taken, so nothing is bought twice.
//!
//! ```no_run
//! use std::fs::File;
//! use ditto_llm::jobs::{Ended, Job, Provider, Settings};
//! use ditto_llm::profiles::Profiles;
//!
//! # async fn overnight() -> Result<(), Box<dyn std::error::Error>> {
//! let profile = Profiles::embedded().get("openai").cloned().expect("it is embedded");
//! let provider = Provider::of_profile(&profile, "the key", None)?;
//! let mut job = match Job::open("big.ditto".as_ref()) {
//!     Ok(job) => job,
//!     Err(_) => Job::plan(&Settings::new("big.jsonl", profile), "big.ditto".as_ref())?,
//! };
//! if job.run(&provider, |event| println!("{event:?}")).await? == Ended::Settled {
//!     let (mut output, mut errors) = (File::create("out.jsonl")?, File::create("err.jsonl")?);
//!     let summary = job.export(&mut output, &mut errors)?;
//!     println!("{} of {} answered", summary.answered, summary.total);
//! }
//! # Ok(()) }
//! ```

mod cancel;
mod class;
mod clock;
mod create;
mod error;
mod events;
mod export;
mod fetch;
mod first_pass;
mod folder;
mod index;
mod input;
mod join;
mod late;
mod ledger;
mod limits;
mod look;
mod outgoing;
mod over;
mod plan;
mod planner;
mod provider;
mod rounds;
mod run;
mod runs;
mod spool;
mod state;
mod stop;
mod tidy;
mod turn;
mod view;
mod walk;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::cancel::Cancelled;
pub use self::class::{Again, Class};
pub use self::clock::{Clock, SystemClock};
pub use self::error::{JobError, JobErrorKind, Result};
pub use self::events::Told;
pub use self::export::Summary;
use self::folder::Held;
pub use self::input::InputIdentity;
use self::ledger::{Ledger, Reopened};
pub use self::outgoing::estimated_tokens;
pub use self::plan::{Form, Plan, Round, Shard};
pub use self::provider::Provider;
pub use self::run::{Ended, Event};
pub use self::state::{End, Impossible, Joined, RawFile, RawKind, State, Step};
pub use self::stop::Stop;
pub use self::view::View;
use crate::profiles::Profile;

/// Lines that are not sent, as lines of the error file.
const WITHHELD: &str = "withheld.jsonl";
const WITHHELD_INDEX: &str = "withheld.index";

/// What a job is to be.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The requests: a regular file of JSONL. It must stay as it is until the job's end.
    pub input: PathBuf,
    /// The provider.
    pub profile: Profile,
    /// The model of bodies that name none.
    pub model: Option<String>,
    /// The url of lines that name none.
    pub endpoint: Option<String>,
    /// The completion window; the profile's first unless set.
    pub window: Option<String>,
    /// Tokens that the account may have enqueued.
    pub max_enqueued_tokens: Option<u64>,
    /// Lines of the shard that goes first and alone.
    pub canary: Option<u64>,
    /// Inputs of up to so many lines have no such shard.
    pub canary_over: Option<u64>,
    /// Only so many requests of the input become part of the job.
    pub limit: Option<u64>,
}

impl Settings {
    /// A job over this input, with a canary of 20 lines if it has more than 10,000.
    pub fn new(input: impl Into<PathBuf>, profile: Profile) -> Self {
        Self {
            input: input.into(),
            profile,
            model: None,
            endpoint: None,
            window: None,
            max_enqueued_tokens: None,
            canary: Some(20),
            canary_over: Some(10_000),
            limit: None,
        }
    }
}

/// How often a line of each class is sent again. Lines that were not bought are sent again without
/// being counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retries {
    all: u32,
    own: BTreeMap<Class, u32>,
}

impl Retries {
    /// So often for every class.
    #[must_use]
    pub fn new(all: u32) -> Self {
        Self {
            all,
            own: BTreeMap::new(),
        }
    }

    /// Another number for one class.
    pub fn set(&mut self, class: Class, times: u32) {
        self.own.insert(class, times);
    }

    fn of(&self, class: Class) -> u32 {
        self.own.get(&class).copied().unwrap_or(self.all)
    }
}

impl Default for Retries {
    /// Three.
    fn default() -> Self {
        Self::new(3)
    }
}

/// Which lines a job that has ended sends once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// Those that failed in passing.
    InPassing,
    /// Also those that the provider has refused: the account or the model may be another by now.
    RefusedToo,
}

/// A job in its folder. While it is open, no other process can open it.
pub struct Job {
    folder: PathBuf,
    plan: Plan,
    rounds: Vec<Round>,
    ledger: Ledger,
    retries: Retries,
    max_enqueued_tokens: Option<u64>,
    canary_is_fine: bool,
    clock: Arc<dyn Clock>,
    stop: Stop,
    _held: Held,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("folder", &self.folder)
            .field("key", &self.plan.key)
            .finish_non_exhaustive()
    }
}

impl Job {
    /// Reads the input once, checks every line, and cuts it into shards. Nothing is sent. `folder`
    /// is made if it is not there.
    ///
    /// # Errors
    ///
    /// The input cannot be read or has nothing to send, or the folder is another's.
    pub fn plan(settings: &Settings, folder: &Path) -> Result<Self> {
        let held = folder::begin(folder)?;
        if folder.join(plan::PLAN).exists() {
            return Err(JobError::new(
                JobErrorKind::Conflict,
                format!("there is a job in {} already", folder.display()),
            )
            .hint("nothing was changed; open it, or name another folder"));
        }
        let planned = first_pass::plan(settings, folder);
        let (plan, round) = planned.inspect_err(|_| folder::discard(folder))?;
        let ledger = Ledger::open(folder)?;
        let job = Self::new(folder, plan, vec![round], ledger, held);
        Ok(Self {
            max_enqueued_tokens: settings.max_enqueued_tokens,
            ..job
        })
    }

    /// Opens a job that was planned.
    ///
    /// # Errors
    ///
    /// There is none, it is open elsewhere, or its files are damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        if !folder.join(plan::PLAN).exists() {
            let message = format!("there is no job in {}", folder.display());
            return Err(JobError::new(JobErrorKind::Missing, message));
        }
        let held = folder::hold(folder)?;
        let plan = Plan::load(folder)?;
        let rounds = Round::load_all(folder)?;
        if rounds.is_empty() {
            return Err(JobError::damaged(folder, "it has no round"));
        }
        let ledger = Ledger::open(folder)?;
        Ok(Self::new(folder, plan, rounds, ledger, held))
    }

    fn new(folder: &Path, plan: Plan, rounds: Vec<Round>, ledger: Ledger, held: Held) -> Self {
        Self {
            folder: folder.to_owned(),
            plan,
            rounds,
            ledger,
            retries: Retries::default(),
            max_enqueued_tokens: None,
            canary_is_fine: false,
            clock: Arc::new(SystemClock),
            stop: Stop::new(),
            _held: held,
        }
    }

    /// Sets how often lines are sent again.
    #[must_use]
    pub fn with_retries(self, retries: Retries) -> Self {
        Self { retries, ..self }
    }

    /// Sets the time that the job goes by.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Sets what stops its runs.
    #[must_use]
    pub fn with_stop(self, stop: Stop) -> Self {
        Self { stop, ..self }
    }

    /// As [`Job::with_stop`], of a job that is there already.
    pub fn stop_at(&mut self, stop: Stop) {
        self.stop = stop;
    }

    /// Sets how many tokens the account may have enqueued, below what the profile says.
    #[must_use]
    pub fn with_max_enqueued_tokens(self, tokens: Option<u64>) -> Self {
        Self {
            max_enqueued_tokens: tokens.or(self.max_enqueued_tokens),
            ..self
        }
    }

    /// Goes on although most lines of the canary have failed.
    #[must_use]
    pub fn with_fine_canary(self) -> Self {
        Self {
            canary_is_fine: true,
            ..self
        }
    }

    /// Reads the input, and makes sure that it is what was planned.
    ///
    /// # Errors
    ///
    /// It has changed, or cannot be read.
    pub fn check_input(&self) -> Result<()> {
        let changed = || spool::changed(&self.plan);
        let input = input::Input::open(&self.plan.input.path)?;
        if input.bytes()? != self.plan.input.bytes {
            return Err(changed());
        }
        match input.each_line(0, |_| Ok(()))? == self.plan.input {
            true => Ok(()),
            false => Err(changed()),
        }
    }

    /// The input is elsewhere by now, for as long as this job is open. Whether it is still the same is
    /// told by [`Job::check_input`], and looked at wherever it is read.
    pub fn input_is_at(&mut self, path: impl Into<PathBuf>) {
        self.plan.input.path = path.into();
    }

    /// Opens a job that has ended for lines that have failed: they are sent again as if for the first
    /// time, those that the provider has refused only if `which` says so. What was answered stays.
    ///
    /// # Errors
    ///
    /// The disk refuses.
    pub fn reopen(&mut self, which: Failed) -> Result<()> {
        let reopened = Reopened {
            from_shard: self.shards().map(|shard| shard.number).max().unwrap_or(0) + 1,
            from_round: self.rounds.last().map_or(0, |round| round.number) + 1,
            refused_too: which == Failed::RefusedToo,
        };
        self.ledger.reopen(reopened)
    }

    /// Whether it was ever opened anew.
    #[must_use]
    pub fn was_reopened(&self) -> bool {
        self.ledger.reopened().is_some()
    }

    /// What the job is about.
    #[must_use]
    pub fn about(&self) -> &Plan {
        &self.plan
    }

    /// The passes so far.
    #[must_use]
    pub fn rounds(&self) -> &[Round] {
        &self.rounds
    }

    /// How far a shard is.
    #[must_use]
    pub fn state(&self, shard: &Shard) -> &State {
        self.ledger.state(shard.number)
    }

    /// Decides about a shard that is stuck: this is its batch.
    ///
    /// # Errors
    ///
    /// The shard is not stuck, or the disk refuses.
    pub fn adopt(&mut self, shard: u32, batch: impl Into<String>) -> Result<()> {
        self.require_undecided(shard, |_| false)?;
        let at = clock::unix_seconds(&*self.clock);
        let batch = batch.into();
        self.ledger.step(shard, Step::Adopted { batch, at })
    }

    /// Decides about a shard that is stuck: it has no batch, or none that will end. If it has one, it is
    /// paid for twice. Of one whose results are gone at the provider: its lines are to be paid for again.
    ///
    /// # Errors
    ///
    /// The shard is neither stuck nor one whose batch ended more than a day ago without its results
    /// here, or the disk refuses.
    pub fn create_again(&mut self, shard: u32) -> Result<()> {
        let now = clock::unix_seconds(&*self.clock);
        self.require_undecided(shard, |end| !turn::lost_them(end, now))?;
        let why = "somebody looked at the provider's and found none".to_owned();
        let step = match self.ledger.state(shard) {
            // Nothing came of it: its lines are missing, and go into the next round.
            State::Ended { .. } => Step::Fetched { raw: Vec::new() },
            _ => Step::NotCreated { why },
        };
        self.ledger.step(shard, step)
    }

    /// A person decides only about what cannot be found out: a shard whose create was just broken off is
    /// looked for first, and results that may still be there are fetched first.
    fn require_undecided(&self, number: u32, may_be_gone: impl Fn(&End) -> bool) -> Result<()> {
        let Some(shard) = self.shards().find(|shard| shard.number == number) else {
            let message = format!("this job has no shard {number}");
            return Err(JobError::new(JobErrorKind::Missing, message)
                .hint("nothing was changed; a run that needs a decision names the shard"));
        };
        match self.state(shard) {
            State::Stuck { .. } => Ok(()),
            State::Ended { end, .. } if may_be_gone(end) => Ok(()),
            state => Err(JobError::new(
                JobErrorKind::Conflict,
                format!(
                    "shard {number} waits for no decision: it is {}",
                    state.name()
                ),
            )
            .hint("nothing was changed; run again without deciding about it")),
        }
    }

    /// Writes one line for every request, in the order of the input: answers to `output`, all else
    /// to `errors`.
    ///
    /// # Errors
    ///
    /// The input has changed, or the disk refuses.
    pub fn export(&self, output: &mut dyn Write, errors: &mut dyn Write) -> Result<Summary> {
        export::export(
            &self.folder,
            &self.plan,
            &self.rounds,
            &self.ledger,
            &self.retries,
            output,
            errors,
        )
    }
}
