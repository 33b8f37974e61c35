//! How a client is set up, and what of it must not be seen.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Url};
use secrecy::{ExposeSecret as _, SecretString};

use crate::base_url;
use crate::error::{DittoError, Result, causes};
use crate::paging::Paging;
use crate::providers::Profile;
use crate::redact;
use crate::retry::RetryPolicy;
use crate::timeouts::Timeouts;

/// So much of a provider's message is shown.
const MAX_MESSAGE: usize = 2_000;

/// The settings of a client. Its clones share their connections.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) profile: &'static Profile,
    key: SecretString,
    base_url: String,
    headers: HeaderMap,
    query: Vec<(String, SecretString)>,
    given_client: Option<Client>,
    /// Made at the first call, so that a client that is given another one costs nothing.
    own_client: Arc<OnceLock<Client>>,
    pub(crate) retry: RetryPolicy,
    pub(crate) timeouts: Timeouts,
    pub(crate) audit_values: bool,
    /// Where files are uploaded, below the base URL.
    pub(crate) upload_path: Cow<'static, str>,
    #[cfg_attr(
        not(feature = "batches"),
        allow(dead_code, reason = "only batches are listed by pages")
    )]
    pub(crate) paging: Paging,
    /// The first setting that cannot be; told by every call, since builders return no error.
    problem: Option<String>,
}

impl Config {
    pub(crate) fn new(profile: &'static Profile, key: SecretString) -> Self {
        Self {
            profile,
            key,
            base_url: profile.base_url.to_owned(),
            headers: HeaderMap::new(),
            query: Vec::new(),
            given_client: None,
            own_client: Arc::new(OnceLock::new()),
            retry: RetryPolicy::default(),
            timeouts: Timeouts::default(),
            audit_values: false,
            upload_path: Cow::Borrowed("files"),
            paging: Paging::After,
            problem: None,
        }
    }

    pub(crate) fn set_base_url(&mut self, url: String) {
        self.base_url = url;
    }

    pub(crate) fn set_client(&mut self, client: Client) {
        self.given_client = Some(client);
    }

    pub(crate) fn set_timeouts(&mut self, timeouts: Timeouts) {
        self.timeouts = timeouts;
        // The time to connect is built into a client.
        self.own_client = Arc::new(OnceLock::new());
    }

    pub(crate) fn add_query_param(&mut self, name: String, value: String) {
        self.query.push((name, SecretString::from(value)));
    }

    pub(crate) fn add_header(&mut self, name: &str, value: &str) {
        let (Ok(known), Ok(mut value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
        else {
            let problem = format!("header `{name}` or its value is not allowed in HTTP");
            self.problem.get_or_insert(problem);
            return;
        };
        value.set_sensitive(true);
        self.headers.insert(known, value);
    }

    /// The URL of a call. Ids are opaque: whatever they hold stays within their segment.
    pub(crate) fn url(&self, path: &[&str]) -> Result<Url> {
        if let Some(problem) = &self.problem {
            return Err(DittoError::InvalidConfig(problem.clone()));
        }
        if let Some(segment) = path.iter().find(|one| matches!(**one, "" | "." | "..")) {
            return Err(DittoError::InvalidRequest(format!("`{segment}` is no id")));
        }
        let dated = self.query.iter().any(|(name, _)| name == "api-version");
        let mut url = base_url::root(&self.base_url, dated)?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        Ok(url)
    }

    /// A URL with the parameters of the call and our own.
    pub(crate) fn with_query(&self, url: &Url, of_call: &[(&'static str, String)]) -> Url {
        let mut url = url.clone();
        for (name, value) in of_call {
            url.query_pairs_mut().append_pair(name, value);
        }
        for (name, value) in &self.query {
            url.query_pairs_mut()
                .append_pair(name, value.expose_secret());
        }
        url
    }

    /// The headers that say who we are to the provider; for nobody else.
    pub(crate) fn credentials(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        let key = self.key.expose_secret();
        if !key.is_empty() {
            let mut value = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| {
                DittoError::InvalidConfig("the API key has letters no header can hold".to_owned())
            })?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        headers.extend(self.headers.clone());
        Ok(headers)
    }

    pub(crate) fn client(&self) -> Result<&Client> {
        let slot = &self.own_client;
        if let Some(client) = self.given_client.as_ref().or_else(|| slot.get()) {
            return Ok(client);
        }
        let client = Client::builder()
            .connect_timeout(self.timeouts.connect)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| {
                DittoError::InvalidConfig(format!("no HTTP client: {}", causes(&error)))
            })?;
        Ok(slot.get_or_init(|| client))
    }

    /// Everything that must not be seen: the key, and settings whose names say so.
    fn secrets(&self) -> Vec<&str> {
        let headers = self.headers.iter();
        let headers = headers
            .filter(|(name, _)| redact::is_secret_name(name.as_str()))
            .filter_map(|(_, value)| value.to_str().ok())
            // Of `Bearer abc` the word `abc` alone is the secret.
            .map(|value| value.rsplit(' ').next().unwrap_or(value));
        let query = self.query.iter();
        let query = query
            .filter(|(name, _)| redact::is_secret_name(name))
            .map(|(_, value)| value.expose_secret());
        std::iter::once(self.key.expose_secret())
            .chain(headers)
            .chain(query)
            .collect()
    }

    /// Text for people: masked and not too long.
    pub(crate) fn shown(&self, text: &str) -> String {
        let text = self.masked(text);
        match text.char_indices().find(|(at, _)| *at >= MAX_MESSAGE) {
            Some((at, _)) => format!("{}…", &text[..at]),
            None => text,
        }
    }

    pub(crate) fn masked(&self, text: &str) -> String {
        let mask = |text: String, secret: &&str| redact::mask(&text, secret).into_owned();
        self.secrets().iter().fold(text.to_owned(), mask)
    }

    /// A server may say what it was told: not even raw answers hold a secret.
    pub(crate) fn masked_bytes(&self, bytes: Bytes) -> Bytes {
        self.secrets().iter().fold(bytes, |bytes, secret| {
            match redact::mask_bytes(&bytes, secret.as_bytes()) {
                Cow::Borrowed(_) => bytes,
                Cow::Owned(masked) => masked.into(),
            }
        })
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A base URL that cannot be may hold a password.
        let base_url = base_url::root(&self.base_url, true).map(|url| url.to_string());
        let query: Vec<_> = self.query.iter().map(|(name, _)| name).collect();
        let headers: Vec<_> = self.headers.keys().collect();
        f.debug_struct("Config")
            .field("provider", &self.profile.id)
            .field(
                "base_url",
                &base_url.unwrap_or_else(|_| "(not valid)".to_owned()),
            )
            .field("headers", &headers)
            .field("query", &query)
            .field("retry", &self.retry)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}
