//! The spelling of `--upstream`.

use std::str::FromStr;

use ditto_server::{BadAddress, check_address, shown_address};

/// The value of `--upstream`: `[NAME=]URL[#MODEL,...]`, or `sim`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UpstreamFlag {
    pub(super) name: String,
    pub(super) target: Target,
    /// None: every model.
    pub(super) models: Option<Vec<String>>,
}

/// Where an upstream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// In this process, without a model.
    Sim,
    /// At a URL.
    Url(String),
}

/// What is wrong with the spelling. A secret in it is not shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadUpstream {
    #[error("`{shown}` is no upstream: {why}; `sim` answers without one")]
    Address { shown: String, why: BadAddress },
    #[error("a name before `=` is missing")]
    NameMissing,
    #[error("no model after `#`")]
    ModelsMissing,
}

impl BadUpstream {
    fn address(whole: &str, why: BadAddress) -> Self {
        let shown = shown_address(whole).to_owned();
        Self::Address { shown, why }
    }
}

impl Target {
    /// A URL that an upstream can be at, or `sim`.
    pub(super) fn parse(text: &str) -> Result<Self, BadUpstream> {
        if text == "sim" {
            return Ok(Self::Sim);
        }
        check_address(text).map_err(|why| BadUpstream::address(text, why))?;
        Ok(Self::Url(text.to_owned()))
    }

    /// What an upstream is called if nobody named it: its host and port.
    pub(super) fn default_name(&self) -> &str {
        match self {
            Self::Sim => "sim",
            Self::Url(url) => {
                let host = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
                host.split('/').next().unwrap_or(host)
            }
        }
    }
}

impl FromStr for UpstreamFlag {
    type Err = BadUpstream;

    fn from_str(whole: &str) -> Result<Self, BadUpstream> {
        let (text, models) = match whole.split_once('#') {
            Some((text, models)) => (text, Some(model_list(models)?)),
            None => (whole, None),
        };
        // An `=` further on is the URL's own.
        let (name, target) = match text.split_once('=') {
            Some((name, target)) if !name.contains("://") => (Some(name), target),
            _ => (None, text),
        };
        let target = Target::parse(target).map_err(|bad| match bad {
            // A part of it may be half a password: whether to show it is decided by the whole.
            BadUpstream::Address { why, .. } => BadUpstream::address(whole, why),
            other => other,
        })?;
        let name = name.unwrap_or(target.default_name()).to_owned();
        if name.is_empty() {
            return Err(BadUpstream::NameMissing);
        }
        Ok(Self {
            name,
            target,
            models,
        })
    }
}

fn model_list(text: &str) -> Result<Vec<String>, BadUpstream> {
    let models: Vec<String> = text
        .split(',')
        .map(str::trim)
        .filter(|m| !m.is_empty())
        .map(str::to_owned)
        .collect();
    if models.is_empty() {
        Err(BadUpstream::ModelsMissing)
    } else {
        Ok(models)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(name: &str, target: Target, models: Option<&[&str]>) -> UpstreamFlag {
        UpstreamFlag {
            name: name.to_owned(),
            target,
            models: models.map(|models| models.iter().map(|m| (*m).to_owned()).collect()),
        }
    }

    #[test]
    fn an_upstream_is_spelled_with_or_without_name_and_models() {
        let url = |url: &str| Target::Url(url.to_owned());
        let table = [
            ("sim", flag("sim", Target::Sim, None)),
            ("demo=sim", flag("demo", Target::Sim, None)),
            (
                "http://h:8000/v1",
                flag("h:8000", url("http://h:8000/v1"), None),
            ),
            ("gpu=http://h:1/v1", flag("gpu", url("http://h:1/v1"), None)),
            (
                "gpu=http://h:1/v1#qwen/a, b",
                flag("gpu", url("http://h:1/v1"), Some(&["qwen/a", "b"])),
            ),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "h:8000",
            "http://",
            "ftp://h",
            "=http://h",
            "http://h#",
            "name=",
            "http://h/v1?a=b",
            "https://u:p@h/v1",
        ] {
            assert!(text.parse::<UpstreamFlag>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_in_an_upstream_is_not_shown_however_it_is_split() {
        for text in [
            "http://me:canary@h/v1",
            "gpu=http://me:canary@h/v1#model",
            "http://me:canary#x@h/v1",
            "http://me:canary/x@h/v1",
            "me:canary=x@h/v1",
            "http://h/v1?key=canary",
        ] {
            let bad = text.parse::<UpstreamFlag>().unwrap_err();
            assert!(!format!("{bad} {bad:?}").contains("canary"), "{bad}");
        }
    }
}
