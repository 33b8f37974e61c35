//! Whose keys `serve` is told of: which upstream one is for, which tenant one lets in.

use std::convert::Infallible;
use std::path::Path;
use std::str::FromStr;

use ditto_server::TenantKey;

use crate::failure::{Failure, Result};
use crate::key;

/// Whose files a key sees that stands in the key file without a tenant.
const DEFAULT_TENANT: &str = "default";

/// The value of `--upstream-key-env` or `--upstream-key-file`: where a key stands, and for which
/// upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyOf {
    /// None: the only one there is.
    pub(super) upstream: Option<String>,
    /// The variable or the file.
    pub(super) place: String,
}

impl FromStr for KeyOf {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.split_once('=') {
            Some((upstream, place)) => Self {
                upstream: Some(upstream.to_owned()),
                place: place.to_owned(),
            },
            None => Self {
                upstream: None,
                place: text.to_owned(),
            },
        })
    }
}

/// The clients' keys in a file. None at all is a mistake: the server would serve everybody.
pub(super) fn of_clients(path: &Path) -> Result<Vec<TenantKey>> {
    let keys = parse_clients(&key::read_file(path)?);
    if keys.is_empty() {
        return Err(Failure::usage(format!(
            "the key file {} has no keys: write one a line, `key` or `tenant:key`",
            path.display()
        )));
    }
    Ok(keys)
}

fn parse_clients(text: &str) -> Vec<TenantKey> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (tenant, key) = line.split_once(':').unwrap_or((DEFAULT_TENANT, line));
            TenantKey {
                tenant: tenant.trim().to_owned(),
                key: key.trim().to_owned().into(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn a_key_file_has_one_key_a_line() {
        let text = "# ours\nsk-one\n\n team-a:sk-two \r\nteam-b: sk:three\n";
        let keys: Vec<_> = parse_clients(text)
            .into_iter()
            .map(|key| (key.tenant, key.key.expose_secret().to_owned()))
            .collect();
        let expected = [
            ("default", "sk-one"),
            ("team-a", "sk-two"),
            ("team-b", "sk:three"),
        ];
        assert_eq!(
            keys,
            expected.map(|(tenant, key)| (tenant.to_owned(), key.to_owned()))
        );
    }
}
