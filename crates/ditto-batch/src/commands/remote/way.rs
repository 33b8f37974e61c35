//! The way to a provider: its address, and where its key stands. Never the key itself.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use ditto_llm::jobs::Provider;
use ditto_llm::profiles::Profile;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::failure;
use crate::exit;
use crate::failure::{Failure, Result};
use crate::key;

/// What was typed about the way to a provider.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct WayArgs {
    /// Where the provider lives, if not where `ditto-batch providers` says
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// Environment variable that holds the provider's key [default: the profile's; a server named by
    /// --base-url is sent no key that was not meant for it]
    #[arg(long, value_name = "NAME", conflicts_with = "api_key_file")]
    pub(crate) api_key_env: Option<String>,
    /// File that holds the provider's key
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
}

/// What it means, and what a job's folder keeps of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Way {
    /// None where the profile says it.
    pub(crate) base_url: Option<String>,
    pub(crate) key: KeyAt,
}

/// Where a key stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyAt {
    /// In one of the variables that the profile names.
    #[default]
    Profile,
    /// In this variable.
    Env(String),
    /// In this file.
    File(PathBuf),
    /// Nowhere: the server wants none.
    Nowhere,
}

impl fmt::Display for KeyAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile | Self::Nowhere => f.write_str("the variable"),
            Self::Env(name) => write!(f, "the variable {name}"),
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

impl Way {
    /// What was typed goes before what the job has kept.
    pub(crate) fn new(args: &WayArgs, kept: Option<&Self>) -> Self {
        let kept = kept.cloned().unwrap_or_default();
        let elsewhere = args.base_url.is_some() && args.base_url != kept.base_url;
        let key = match (&args.api_key_env, &args.api_key_file) {
            (Some(name), _) => KeyAt::Env(name.clone()),
            // The job is looked at from anywhere.
            (None, Some(path)) => KeyAt::File(std::path::absolute(path).unwrap_or(path.clone())),
            // A server that is named by its address gets no key that was not meant for it.
            (None, None) if elsewhere => KeyAt::Nowhere,
            (None, None) => kept.key,
        };
        Self {
            base_url: args.base_url.clone().or(kept.base_url),
            key,
        }
    }

    /// The provider behind it.
    pub(crate) fn provider(&self, profile: &Profile) -> Result<Provider> {
        // What cannot work with any key is said first.
        self.with_key(profile, "")?;
        let key = self.key(profile)?;
        let key = key.expose_secret().trim();
        // A second line, or what a word processor makes of a dash.
        if !key.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
            return Err(
                Failure::usage("the key has characters that no key has").hint(format!(
                    "nothing was sent; {} must hold the key alone, on one line",
                    self.key
                )),
            );
        }
        self.with_key(profile, key)
    }

    fn with_key(&self, profile: &Profile, key: &str) -> Result<Provider> {
        Provider::of_profile(profile, key, self.base_url.as_deref()).map_err(failure)
    }

    fn key(&self, profile: &Profile) -> Result<SecretString> {
        match &self.key {
            KeyAt::Nowhere => Ok(SecretString::default()),
            KeyAt::Env(name) => key::from_env(name).map_err(|failure| {
                failure.hint("nothing was sent; set it, or name another with --api-key-env")
            }),
            KeyAt::File(path) => key::from_file(path).map_err(|failure| {
                failure.hint("nothing was sent; name the file that holds it with --api-key-file")
            }),
            KeyAt::Profile => profile
                .key_env
                .iter()
                .find_map(|name| key::variable(name).map(SecretString::from))
                .ok_or_else(|| no_key(profile)),
        }
    }
}

fn no_key(profile: &Profile) -> Failure {
    let message = format!("there is no key for {}", profile.title);
    let names = profile.key_env.join(" or ");
    Failure::new(exit::NOT_ALLOWED, message).hint(match names.as_str() {
        "" => "nothing was sent; name the variable that holds it with --api-key-env".to_owned(),
        names => format!("nothing was sent; set {names}, or name a variable with --api-key-env"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(base_url: &str, api_key_env: &str) -> WayArgs {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        WayArgs {
            base_url: given(base_url),
            api_key_env: given(api_key_env),
            api_key_file: None,
        }
    }

    #[test]
    fn a_job_keeps_its_way_and_what_is_typed_goes_before_it() {
        let first = Way::new(&args("http://a/v1", "A_KEY"), None);
        let env = KeyAt::Env("A_KEY".to_owned());
        assert_eq!(
            (first.base_url.as_deref(), &first.key),
            (Some("http://a/v1"), &env)
        );
        assert_eq!(Way::new(&args("", ""), Some(&first)), first);
        assert_eq!(Way::new(&args("http://a/v1", ""), Some(&first)), first);
    }

    #[test]
    fn another_address_gets_no_key_that_was_not_meant_for_it() {
        let first = Way::new(&args("http://a/v1", "A_KEY"), None);
        assert_eq!(
            Way::new(&args("http://b/v1", ""), Some(&first)).key,
            KeyAt::Nowhere
        );
        assert_eq!(Way::new(&args("http://b/v1", ""), None).key, KeyAt::Nowhere);
        assert_eq!(Way::new(&args("", ""), None).key, KeyAt::Profile);
    }

    #[test]
    fn a_key_is_kept_by_its_name_alone() {
        let way = Way::new(&args("http://a/v1", "A_KEY"), None);
        let json = serde_json::to_string(&way).unwrap();
        assert_eq!(json, r#"{"base_url":"http://a/v1","key":{"env":"A_KEY"}}"#);
    }
}
