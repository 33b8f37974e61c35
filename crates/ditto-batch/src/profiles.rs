//! The profiles of providers that commands go by: the embedded ones, changed by the user's file.

use std::path::PathBuf;

use clap::Args;
use ditto_llm::profiles::{Profile, Profiles};

use crate::failure::{Failure, Result};

/// Where else profiles are.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ProfilesArgs {
    /// TOML with profiles of your own, or single keys of known ones; see `ditto-batch providers`
    #[arg(long, value_name = "FILE", env = "DITTO_PROFILES")]
    pub(crate) profiles: Option<PathBuf>,
}

impl ProfilesArgs {
    /// All profiles.
    pub(crate) fn read(&self) -> Result<Profiles> {
        let mut profiles = Profiles::embedded();
        if let Some(path) = &self.profiles {
            let text = std::fs::read_to_string(path)
                .map_err(|e| Failure::file("cannot read the profiles", path, &e))?;
            profiles.override_with(&text).map_err(|e| {
                Failure::usage(format!("{} holds no profiles: {e}", path.display()))
                    .hint("`ditto-batch providers --json` shows every key")
            })?;
        }
        Ok(profiles)
    }

    /// The profile of this name.
    pub(crate) fn named(&self, name: &str) -> Result<Profile> {
        let profiles = self.read()?;
        profiles
            .get(name)
            .cloned()
            .ok_or_else(|| unknown(name, &profiles))
    }
}

fn unknown(name: &str, profiles: &Profiles) -> Failure {
    let names: Vec<_> = profiles
        .iter()
        .map(|profile| profile.name.as_str())
        .collect();
    Failure::usage(format!("no provider is known as `{name}`")).hint(format!(
        "known are {}; `--profiles FILE` adds others",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit;

    #[test]
    fn a_file_of_the_users_adds_and_changes_profiles() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        std::fs::write(
            &path,
            "[acme]\nbase_url = \"https://acme/v1\"\nmax_lines = 7\n",
        )
        .unwrap();
        let args = ProfilesArgs {
            profiles: Some(path.clone()),
        };
        assert_eq!(args.named("acme").unwrap().max_lines, 7);
        assert_eq!(args.named("nobody").unwrap_err().exit, exit::USAGE);
        std::fs::write(&path, "[acme]\nmax_line = 7\n").unwrap();
        let wrong = args.named("acme").unwrap_err();
        assert_eq!(wrong.exit, exit::USAGE);
        assert!(
            wrong.message.contains("unknown field `max_line`"),
            "{}",
            wrong.message
        );
    }
}
