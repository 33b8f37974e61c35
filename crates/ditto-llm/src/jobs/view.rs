//! A job as it stands, for whoever only looks: nothing is held, and nothing is written.

use std::path::{Path, PathBuf};

use super::error::{JobError, JobErrorKind, Result};
use super::folder;
use super::ledger::Known;
use super::plan::{PLAN, Plan, Round, Shard};
use super::state::State;

/// A job as its folder told it at one moment. Another process may work on it meanwhile.
#[derive(Debug, Clone)]
pub struct View {
    folder: PathBuf,
    plan: Plan,
    rounds: Vec<Round>,
    known: Known,
}

impl View {
    /// Reads the folder of a job that was planned.
    ///
    /// # Errors
    ///
    /// There is none, or its files are damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        if !folder.join(PLAN).exists() {
            let message = format!("there is no job in {}", folder.display());
            return Err(JobError::new(JobErrorKind::Missing, message));
        }
        let plan = Plan::load(folder)?;
        // A round is written before the first step of its shards.
        let known = Known::read(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            rounds: Round::load_all(folder)?,
            plan,
            known,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
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

    /// The shards of all passes.
    pub fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.rounds.iter().flat_map(|round| &round.shards)
    }

    /// How far a shard is.
    #[must_use]
    pub fn state(&self, shard: &Shard) -> &State {
        self.known.state(shard.number)
    }

    /// Who works on it at the moment, as `process 7 on host`, as far as that can be seen from here.
    #[must_use]
    pub fn worker(&self) -> Option<String> {
        folder::holder(&self.folder)
    }
}
