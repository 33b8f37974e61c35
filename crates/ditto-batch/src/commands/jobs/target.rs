//! What a command is about: a job by its folder or its input, or a batch by its id.

use std::path::{Path, PathBuf};

use clap::Args;
use ditto_llm::DittoError;
use ditto_llm::jobs::{Provider, View};
use ditto_llm::profiles::Profile;

use crate::commands::remote::failure;
use crate::commands::remote::kept::Kept;
use crate::commands::remote::way::{Way, WayArgs};
use crate::commands::run::beside;
use crate::exit;
use crate::failure::{Failure, Result};
use crate::profiles::ProfilesArgs;

/// What was typed.
#[derive(Debug, Clone, Args)]
pub(super) struct TargetArgs {
    /// A job's folder (X.ditto) or its input (X.jsonl), or the id of a batch together with --provider
    #[arg(value_name = "TARGET")]
    target: PathBuf,
    /// The provider of a batch; a job knows its own
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    #[command(flatten)]
    profiles: ProfilesArgs,
    #[command(flatten)]
    way: WayArgs,
}

/// What it means.
#[derive(Debug)]
pub(super) enum Target {
    Job(PathBuf),
    Batch(String),
}

impl TargetArgs {
    pub(super) fn find(&self) -> Result<Target> {
        let folders = [self.target.clone(), beside(&self.target).folder];
        for folder in folders.into_iter().filter(|folder| folder.is_dir()) {
            if folder.join("plan.json").exists() {
                return Ok(Target::Job(folder));
            }
            if folder.join("job.json").exists() {
                return Err(of_an_upstream(&folder));
            }
        }
        match (&self.provider, self.target.to_str()) {
            (Some(_), Some(id)) if !id.is_empty() && !id.contains('/') => {
                Ok(Target::Batch(id.to_owned()))
            }
            _ => Err(self.unknown()),
        }
    }

    /// The provider of a batch.
    pub(super) fn provider(&self) -> Result<(Provider, Profile)> {
        let name = self.provider.as_deref().unwrap_or_default();
        let profile = self.profiles.named(name)?;
        let provider = Way::new(&self.way, None).provider(&profile)?;
        Ok((provider, profile))
    }

    /// What the folder of a job keeps, with what was typed before it.
    pub(super) fn kept(&self, view: &View) -> Result<Kept> {
        let folder = view.folder();
        // Of a folder that a program made with the library: beside it, as X of X.ditto.
        let new = || {
            let beside = beside(&folder.with_extension(""));
            let mut kept = Kept::new(view.about().input.path.clone(), beside);
            folder.clone_into(&mut kept.places.folder);
            kept
        };
        let kept = Kept::read(folder)?.unwrap_or_else(new);
        Ok(Kept {
            way: Way::new(&self.way, Some(&kept.way)),
            ..kept
        })
    }

    fn unknown(&self) -> Failure {
        let message = format!(
            "{} is neither a job's folder nor the input of a job",
            self.target.display()
        );
        Failure::new(exit::NOT_FOUND, message).hint(
            "`ditto-batch run X.jsonl --provider NAME` makes the folder X.ditto; the id of a batch needs \
             --provider NAME",
        )
    }
}

/// Why a provider does not tell of a batch.
pub(super) fn of_batch(error: DittoError) -> Failure {
    let failure = Failure::from(error);
    match failure.exit {
        exit::NOT_FOUND => failure.hint(
            "nothing was changed; look at the id and at --provider: a batch is known only to the account \
             that made it",
        ),
        _ => failure,
    }
}

/// A job as its folder tells it.
pub(super) fn view(folder: &Path) -> Result<View> {
    View::open(folder).map_err(failure)
}

fn of_an_upstream(folder: &Path) -> Failure {
    let message = format!(
        "the job in {} is not at a provider: it runs in its own command",
        folder.display()
    );
    Failure::new(exit::NOT_FOUND, message)
        .hint("give its `ditto-batch run` command again, which goes on and says how far it is")
}
