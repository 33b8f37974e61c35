//! Where an upstream is: what people write, and what it means.

use reqwest::Url;

/// Why a text is not the address of an upstream. The text is not in it: see [`shown_address`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadAddress {
    /// No address of the web.
    #[error("it must begin with http:// or https:// and name a host, as in http://HOST:PORT/v1")]
    NotHttp,
    /// It would stand in logs and process lists.
    #[error("it must not hold a user name or password: an upstream's key is given apart from it")]
    Secret,
    /// Endpoints are put behind it.
    #[error("it must not have a query or a fragment: give only what stands before `?` or `#`")]
    Query,
    /// A slip.
    #[error("it ends in /v1 twice")]
    TwiceV1,
}

/// Whether an upstream can be at this address. Nothing is sent.
///
/// # Errors
///
/// A [`BadAddress`] that says why not.
pub fn check_address(text: &str) -> Result<(), BadAddress> {
    base(text).map(drop)
}

/// What of an address is sure to be no secret. A password stands before an `@`, a key in the query,
/// and this must hold for texts, too, that are no address.
pub fn shown_address(text: &str) -> &str {
    if text.contains('@') {
        return "…";
    }
    text.split(['?', '#']).next().unwrap_or_default()
}

/// The address without `/v1` and without a slash at the end: endpoints go behind it.
pub(super) fn base(text: &str) -> Result<String, BadAddress> {
    let url = Url::parse(text.trim()).map_err(|_| BadAddress::NotHttp)?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(BadAddress::NotHttp);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BadAddress::Secret);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(BadAddress::Query);
    }
    let base = text.trim().trim_end_matches('/');
    let base = base.strip_suffix("/v1").unwrap_or(base);
    if base.ends_with("/v1") {
        return Err(BadAddress::TwiceV1);
    }
    Ok(base.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_end_in_v1_or_not() {
        for (text, expected) in [
            ("http://h", "http://h"),
            ("http://h:8000/v1", "http://h:8000"),
            (" http://h/v1/ ", "http://h"),
            ("https://h/api/openai/v1", "https://h/api/openai"),
            ("http://[::1]:9100//", "http://[::1]:9100"),
        ] {
            assert_eq!(base(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        use BadAddress::{NotHttp, Query, Secret, TwiceV1};
        for (text, why) in [
            ("", NotHttp),
            ("h:8000", NotHttp),
            ("http://", NotHttp),
            ("ftp://h", NotHttp),
            ("http://h/v1/v1", TwiceV1),
            ("http://h/v1?api-version=1", Query),
            ("http://h/v1?", Query),
            ("http://h/v1#x", Query),
            ("http://me:secret@h/v1", Secret),
            ("http://me@h/v1", Secret),
            ("http://me:secret@h/v1?x", Secret),
        ] {
            assert_eq!(base(text), Err(why), "{text}");
        }
    }

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        assert_eq!(shown_address("ftp://host/v1"), "ftp://host/v1");
        for text in [
            "http://me:canary@host/v1",
            "me:canary@host",
            "http://me:canary?@host/v1",
            "ftp://host/v1?key=canary",
            "http://ho st#canary",
        ] {
            assert!(!shown_address(text).contains("canary"), "{text}");
        }
    }
}
