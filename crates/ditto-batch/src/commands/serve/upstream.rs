//! The spelling of `--upstream`.

use std::str::FromStr;

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

/// What is wrong with the spelling.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadUpstream {
    #[error("`{0}` is no URL: write http://HOST:PORT/v1, or `sim`")]
    NotAUrl(String),
    #[error("a name before `=` is missing")]
    NameMissing,
    #[error("no model after `#`")]
    ModelsMissing,
}

impl Target {
    /// A URL with a host, or `sim`.
    pub(super) fn parse(text: &str) -> Result<Self, BadUpstream> {
        if text == "sim" {
            return Ok(Self::Sim);
        }
        let host = text
            .strip_prefix("http://")
            .or_else(|| text.strip_prefix("https://"));
        if host.is_none_or(|host| host.trim_start_matches('/').is_empty()) {
            return Err(BadUpstream::NotAUrl(text.to_owned()));
        }
        Ok(Self::Url(text.to_owned()))
    }

    /// What an upstream is called if nobody named it: its host and port.
    pub(super) fn default_name(&self) -> &str {
        match self {
            Self::Sim => "sim",
            Self::Url(url) => {
                let host = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
                let host = host.split('/').next().unwrap_or(host);
                // Never a password that stands before the host.
                host.rsplit_once('@').map_or(host, |(_, host)| host)
            }
        }
    }
}

impl FromStr for UpstreamFlag {
    type Err = BadUpstream;

    fn from_str(text: &str) -> Result<Self, BadUpstream> {
        let (text, models) = match text.split_once('#') {
            Some((text, models)) => (text, Some(model_list(models)?)),
            None => (text, None),
        };
        // An `=` further on is the URL's own.
        let (name, target) = match text.split_once('=') {
            Some((name, target)) if !name.contains("://") => (Some(name), target),
            _ => (None, text),
        };
        let target = Target::parse(target)?;
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
            ("https://u:p@h/v1", flag("h", url("https://u:p@h/v1"), None)),
            ("gpu=http://h:1/v1", flag("gpu", url("http://h:1/v1"), None)),
            ("http://h/v1?a=b", flag("h", url("http://h/v1?a=b"), None)),
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
        ] {
            assert!(text.parse::<UpstreamFlag>().is_err(), "{text}");
        }
    }
}
