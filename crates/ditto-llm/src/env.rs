//! Settings from the environment; the one place that reads it.

use crate::error::{DittoError, Result};
use crate::providers::Profile;

/// What a client needs to know, as far as the environment says.
pub(crate) struct Settings {
    pub(crate) api_key: String,
    pub(crate) base_url: Option<String>,
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// The process environment; a variable that is not Unicode counts as not set.
pub(crate) fn process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads a provider's settings. The first variable that is set and not empty wins.
pub(crate) fn read(profile: &Profile, lookup: impl Fn(&str) -> Option<String>) -> Result<Settings> {
    let first = |names: &[&str]| {
        names
            .iter()
            .filter_map(|name| lookup(name))
            .find(|value| !value.trim().is_empty())
    };
    let api_key = first(profile.key_vars).ok_or_else(|| missing(profile.key_vars))?;
    let headers = profile.header_vars.iter();
    Ok(Settings {
        api_key: api_key.trim().to_owned(),
        base_url: first(profile.base_url_vars),
        headers: headers
            .filter_map(|(header, name)| Some((*header, first(&[name])?)))
            .collect(),
    })
}

fn missing(names: &[&str]) -> DittoError {
    let names = names.join(" or ");
    DittoError::InvalidConfig(format!("no API key: set {names} in the environment"))
}
