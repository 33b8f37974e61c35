//! Where the API lives: what users give as base URL, and what it means.

use reqwest::Url;

use crate::error::{DittoError, Result};

/// The root below which `files` and `batches` are found.
///
/// A base URL may end in `/v1` or not: it is added unless the path names a version somewhere
/// (`/v1/openai`, `/api/v3`), or the version travels as a query parameter (`dated`), as at Azure.
pub(crate) fn root(text: &str, dated: bool) -> Result<Url> {
    let mut url = Url::parse(text.trim()).map_err(|error| wrong(text, &error.to_string()))?;
    check_address(&url, text)?;
    let segments: Vec<String> = url
        .path_segments()
        .map(|all| {
            all.filter(|one| !one.is_empty())
                .map(str::to_owned)
                .collect()
        })
        .unwrap_or_default();
    check_path(&segments, text)?;
    let versioned = segments.iter().any(|segment| is_version(segment));
    let mut path = segments.join("/");
    if !versioned && !dated {
        path += "/v1";
    }
    // As a whole: segment by segment, what is escaped in it would be escaped once more.
    url.set_path(&path);
    Ok(url)
}

fn check_address(url: &Url, text: &str) -> Result<()> {
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong(text, "it must begin with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(text, "it must not hold a user name or password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong(
            text,
            "it must not have a query; use `with_query_param`",
        ));
    }
    if url.scheme() == "https" && cfg!(not(any(feature = "rustls", feature = "native-tls"))) {
        return Err(wrong(
            text,
            "https needs the feature `rustls` or `native-tls` of ditto-llm",
        ));
    }
    Ok(())
}

fn check_path(segments: &[String], text: &str) -> Result<()> {
    if segments
        .windows(2)
        .any(|pair| pair[0] == pair[1] && is_version(&pair[0]))
    {
        return Err(wrong(
            text,
            "the version is doubled; give it once, as in https://host/v1",
        ));
    }
    const CALLS: [&str; 5] = ["files", "batches", "completions", "embeddings", "responses"];
    if segments
        .last()
        .is_some_and(|last| CALLS.contains(&last.as_str()))
    {
        return Err(wrong(
            text,
            "it names a single call; give only what stands before it",
        ));
    }
    Ok(())
}

fn is_version(segment: &str) -> bool {
    segment
        .strip_prefix('v')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn wrong(text: &str, why: &str) -> DittoError {
    DittoError::InvalidConfig(format!("base URL `{}`: {why}", shown(text)))
}

/// What of a base URL is sure to be no secret. A password stands before an `@`, a key in the query,
/// and this must hold for texts, too, that are no URL.
fn shown(text: &str) -> &str {
    if text.contains('@') {
        return "…";
    }
    text.split(['?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_added_where_the_path_names_none() {
        for (given, root_is) in [
            ("http://api.openai.com", "http://api.openai.com/v1"),
            ("http://api.openai.com/", "http://api.openai.com/v1"),
            ("http://api.openai.com/v1", "http://api.openai.com/v1"),
            ("http://api.openai.com/v1/", "http://api.openai.com/v1"),
            (
                "  http://localhost:8000/proxy/ ",
                "http://localhost:8000/proxy/v1",
            ),
            (
                "http://api.deepinfra.com/v1/openai",
                "http://api.deepinfra.com/v1/openai",
            ),
            (
                "http://open.bigmodel.cn/api/paas/v4",
                "http://open.bigmodel.cn/api/paas/v4",
            ),
            (
                "http://g.example/v1beta/openai",
                "http://g.example/v1beta/openai",
            ),
            ("http://[::1]:9100//v1//", "http://[::1]:9100/v1"),
        ] {
            assert_eq!(root(given, false).unwrap().as_str(), root_is, "{given}");
        }
    }

    #[test]
    fn with_a_dated_version_the_path_stays() {
        let azure = root("http://x.openai.azure.com/openai", true).unwrap();
        assert_eq!(azure.as_str(), "http://x.openai.azure.com/openai");
    }

    #[test]
    fn a_doubled_version_is_an_error_that_says_so() {
        let error = root("http://host/v1/v1", false).unwrap_err();
        assert!(error.to_string().contains("doubled"), "{error}");
        assert!(error.to_string().contains("http://host/v1/v1"), "{error}");
    }

    #[test]
    fn what_is_no_base_url_is_refused() {
        for given in [
            "",
            "api.openai.com",
            "ftp://host",
            "http://host/v1?key=1",
            "http://host/v1#x",
            "http://host/v1/chat/completions",
            "http://host/v1/files",
        ] {
            assert!(root(given, false).is_err(), "{given}");
        }
    }

    #[test]
    fn what_may_be_a_secret_in_the_url_is_refused_and_not_shown() {
        for given in [
            "http://me:canary-secret@host/v1",
            "ftp://me:canary-secret@host/v1",
            "http://me:canary-secret@ho st/v1",
            "me:canary-secret@host/v1",
            "http://me:canary-secret?@host/v1",
            "http://ho st/v1?key=canary-secret",
            "ftp://host/v1?key=canary-secret",
        ] {
            let error = root(given, false).unwrap_err();
            assert!(!error.to_string().contains("canary-secret"), "{error}");
        }
    }

    #[test]
    fn what_is_escaped_in_the_path_stays_as_it_is() {
        let escaped = root("http://host/my%20team", false).unwrap();
        assert_eq!(escaped.as_str(), "http://host/my%20team/v1");
    }
}
