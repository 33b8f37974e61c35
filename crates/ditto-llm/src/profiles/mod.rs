//! What each provider takes and how it spells it: data, from one embedded table that a file of the
//! user's can change.
//!
//! ```
//! use ditto_llm::profiles::Profiles;
//!
//! let mut profiles = Profiles::embedded();
//! assert_eq!(profiles.get("groq").unwrap().max_lines, 50_000);
//!
//! // A user who knows better, and a provider of one's own.
//! profiles.override_with("[groq]\nmax_lines = 100_000\n\n[acme]\nbase_url = \"https://acme/v1\"\n")?;
//! assert_eq!(profiles.get("groq").unwrap().max_lines, 100_000);
//! assert_eq!(profiles.get("acme").unwrap().windows, ["24h"]);
//! # Ok::<(), ditto_llm::profiles::ProfileError>(())
//! ```

mod profile;

use std::collections::BTreeMap;

use toml::{Table, Value};

pub use self::profile::{Api, CustomIds, Profile};
pub use crate::paging::Paging;

const EMBEDDED: &str = include_str!("profiles.toml");

/// Profiles by name.
#[derive(Debug, Clone)]
pub struct Profiles {
    /// As written: an override replaces single keys.
    tables: BTreeMap<String, Table>,
    read: BTreeMap<String, Profile>,
}

/// A user's file of profiles that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProfileError(String);

impl Profiles {
    /// The profiles that come with the crate.
    #[must_use]
    pub fn embedded() -> Self {
        let mut profiles = Self {
            tables: BTreeMap::new(),
            read: BTreeMap::new(),
        };
        profiles
            .override_with(EMBEDDED)
            .expect("a test reads the embedded table");
        profiles
    }

    /// Takes over every key that `text` (TOML, one table a provider) sets. A name that is new is a
    /// new profile. If any of it cannot be read, nothing is taken over.
    ///
    /// # Errors
    ///
    /// `text` is not TOML, or has a key or a value that no profile has.
    pub fn override_with(&mut self, text: &str) -> Result<(), ProfileError> {
        let given: Table = text
            .parse()
            .map_err(|e: toml::de::Error| ProfileError(e.to_string()))?;
        let mut changed = self.clone();
        for (name, value) in given {
            let Value::Table(keys) = value else {
                return Err(ProfileError(format!("`{name}` is no table of a provider")));
            };
            let table = changed.tables.entry(name.clone()).or_default();
            table.extend(keys);
            let profile = Profile::read(&name, table.clone())
                .map_err(|why| ProfileError(format!("[{name}]: {why}")))?;
            changed.read.insert(name, profile);
        }
        *self = changed;
        Ok(())
    }

    /// The profile of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Profile> {
        self.read.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.read.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_profile_says_where_it_is_from_and_can_be_called() {
        let profiles = Profiles::embedded();
        assert_eq!(profiles.iter().count(), 24);
        for profile in profiles.iter() {
            assert!(
                !profile.source.is_empty() && !profile.date.is_empty(),
                "{}",
                profile.name
            );
            assert!(
                !profile.title.is_empty() && !profile.key_env.is_empty(),
                "{}",
                profile.name
            );
            let address = profile.base_url.as_ref().or(profile.base_url_hint.as_ref());
            assert!(address.is_some(), "{}", profile.name);
        }
    }

    #[test]
    fn only_what_was_seen_live_says_so() {
        let live: Vec<_> = Profiles::embedded()
            .iter()
            .filter(|profile| profile.seen_live)
            .map(|profile| profile.name.clone())
            .collect();
        assert_eq!(live, ["ditto"]);
    }

    #[test]
    fn an_override_changes_the_keys_it_names_and_no_others() {
        let mut profiles = Profiles::embedded();
        let before = profiles.get("together").unwrap().clone();
        profiles
            .override_with("[together]\npoll_seconds = 5")
            .unwrap();
        let expected = Profile {
            poll_seconds: 5,
            ..before
        };
        assert_eq!(profiles.get("together"), Some(&expected));
    }

    #[test]
    fn a_wrong_override_is_refused_whole_and_names_its_place() {
        let mut profiles = Profiles::embedded();
        for (wrong, named) in [
            (
                "[acme]\nmax_lines = 1\n[openai]\nmax_line = 5",
                "[openai]: unknown field `max_line`",
            ),
            ("[openai]\nmax_lines = 0", "[openai]: `max_lines` is 0"),
            ("[openai]\nwindows = []", "[openai]: `windows` is empty"),
            ("openai = 3", "`openai` is no table of a provider"),
            (
                "[openai]\nbase_url = \"ftp://x\"",
                "[openai]: `base_url` is no http address",
            ),
            ("[", "TOML parse error"),
        ] {
            let error = profiles.override_with(wrong).unwrap_err().to_string();
            assert!(error.contains(named), "{wrong}: {error}");
        }
        assert!(profiles.get("acme").is_none());
    }
}
