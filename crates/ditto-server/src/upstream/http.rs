//! An upstream over HTTP.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::Uri;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper_util::client::proxy::matcher::Matcher;
use secrecy::{ExposeSecret, SecretString};
use tokio_rustls::rustls::ClientConfig;

use super::address::{base, shown_address};
use super::load::Said;
use super::{Caller, Content, Keep, Upstream};
use crate::config::UpstreamConfig;
use crate::error::{Error, Result};
use caller::{HttpCaller, Terms};
use connector::{Connector, Way};
use heads::Heads;

mod caller;
mod connection;
mod connector;
mod heads;
mod spares;

/// A list of models is small; a server that does not give it at once is not asked to wait for.
const MODELS_TIMEOUT: Duration = Duration::from_secs(10);
/// Thousands of models; it is held whole, and kept.
const MODELS_BYTES: usize = 4 << 20;
/// What a server says of its load is of now, or of no use.
const LOAD_TIMEOUT: Duration = Duration::from_secs(2);
const LOAD_BYTES: usize = 4 << 20;
/// One that never said anything is asked again after this, and one that has after that.
const SILENT: Duration = Duration::from_secs(300);
const HUSHED: Duration = Duration::from_secs(10);
/// How we call ourselves.
const USER_AGENT_NAME: &str = concat!("ditto-batch/", env!("CARGO_PKG_VERSION"));

/// Why a request got no answer, or cannot be made.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One OpenAI-compatible endpoint over HTTP.
pub(crate) struct HttpUpstream {
    name: String,
    /// Without `/v1` and without a slash at the end.
    base: String,
    key: Option<SecretString>,
    /// For lines.
    terms: Arc<Terms>,
    /// For questions that are no line's: they are few, and need not be fast.
    client: reqwest::Client,
    /// It tells nothing of its load.
    silence: Silence,
}

/// Until when one that tells nothing is not asked.
#[derive(Debug, Default)]
struct Silence(Mutex<(Option<Instant>, bool)>);

impl Silence {
    fn lasts(&self) -> bool {
        let (until, _) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn note(&self, spoke: bool) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has_spoken = known.1 || spoke;
        let pause = if has_spoken { HUSHED } else { SILENT };
        *known = ((!spoke).then(|| Instant::now() + pause), has_spoken);
    }
}

impl fmt::Debug for HttpUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpUpstream")
            .field("name", &self.name)
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl HttpUpstream {
    pub(crate) fn new(
        config: &UpstreamConfig,
        endpoints: &[String],
        timeout: Duration,
        answer_bytes: usize,
        keep: Keep,
    ) -> Result<Self> {
        let made = || -> std::result::Result<Self, Failure> {
            let base = base(&config.base_url)?;
            let key = config.key.as_ref().map(authorization).transpose()?;
            let tls = connector::system_tls()?;
            let client = client(key.as_ref(), tls.clone())?;
            let to: Uri = reqwest::Url::parse(&base)?.as_str().parse()?;
            let way = Way::to(&to, &Matcher::from_system());
            let terms = Terms {
                heads: Heads::new(&base, endpoints, key.as_ref(), &way)?,
                connector: Connector::new(&to, &way, tls.into())?,
                timeout,
                answer_bytes,
                keep,
                spares: Mutex::default(),
            };
            Ok(Self {
                name: config.name.clone(),
                base,
                key: config.key.clone(),
                terms: Arc::new(terms),
                client,
                silence: Silence::default(),
            })
        };
        made().map_err(|failure| {
            Error::invalid(format!(
                "upstream `{}` ({}): {}",
                config.name,
                shown_address(&config.base_url),
                root_cause(&*failure)
            ))
        })
    }

    /// A question that is no line's, with the key and the rules of one.
    pub(super) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.base))
    }

    /// The whole body; or, over the limit of an answer, its first bytes.
    pub(super) async fn read(
        &self,
        response: reqwest::Response,
    ) -> reqwest::Result<std::result::Result<Content, Bytes>> {
        let body = reqwest::Body::from(response);
        self.terms.keep.read(body, self.terms.answer_bytes).await
    }
}

#[async_trait]
impl Upstream for HttpUpstream {
    fn name(&self) -> &str {
        &self.name
    }

    fn caller(&self) -> Box<dyn Caller> {
        Box::new(HttpCaller::new(Arc::clone(&self.terms)))
    }

    async fn models(&self) -> Result<Vec<serde_json::Value>> {
        let failed = |reason: String| {
            Error::new(
                crate::error::ErrorKind::Unavailable,
                format!(
                    "upstream `{}` does not list its models: {reason}",
                    self.name
                ),
            )
        };
        let ask = async {
            let response = self.get("/v1/models").send().await?;
            up_to(MODELS_BYTES, response.error_for_status()?).await
        };
        let body = tokio::time::timeout(MODELS_TIMEOUT, ask)
            .await
            .map_err(|_| failed("no answer in time".to_owned()))?
            .map_err(|e| failed(root_cause(&e.without_url())))?
            .ok_or_else(|| failed(format!("its answer is longer than {MODELS_BYTES} bytes")))?;
        let mut list: serde_json::Value =
            serde_json::from_slice(&body).map_err(|e| failed(e.to_string()))?;
        match list.get_mut("data").map(serde_json::Value::take) {
            Some(serde_json::Value::Array(models)) => Ok(models),
            _ => Err(failed("its answer has no `data` list".to_owned())),
        }
    }

    async fn load(&self) -> Option<Said> {
        if self.silence.lasts() {
            return None;
        }
        let said = match self.metrics().await {
            Some(said) => Some(said),
            None => self.slots().await,
        };
        self.silence.note(said.is_some());
        said
    }

    fn secret(&self) -> Option<&str> {
        self.key.as_ref().map(|key| key.expose_secret())
    }
}

impl HttpUpstream {
    async fn metrics(&self) -> Option<Said> {
        Said::metrics(String::from_utf8(self.small("/metrics").await?).ok()?)
    }

    async fn slots(&self) -> Option<Said> {
        Said::slots(&serde_json::from_slice(&self.small("/slots").await?).ok()?)
    }

    /// What stands at a path, if it is there at once and not too long.
    async fn small(&self, path: &str) -> Option<Vec<u8>> {
        let ask = async {
            let response = self.get(path).send().await?;
            up_to(LOAD_BYTES, response.error_for_status()?).await
        };
        tokio::time::timeout(LOAD_TIMEOUT, ask).await.ok()?.ok()?
    }
}

/// What is sent with each request, if there is a key.
fn authorization(key: &SecretString) -> std::result::Result<HeaderValue, Failure> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose_secret()))
        .map_err(|_| "the key holds characters that no header may")?;
    value.set_sensitive(true);
    Ok(value)
}

fn client(key: Option<&HeaderValue>, tls: ClientConfig) -> reqwest::Result<reqwest::Client> {
    let json = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let key = key.map(|key| (AUTHORIZATION, key.clone()));
    reqwest::Client::builder()
        .default_headers(HeaderMap::from_iter(std::iter::once(json).chain(key)))
        .user_agent(USER_AGENT_NAME)
        .connect_timeout(connector::TIMEOUT)
        // A redirect is an answer: following it could carry the key to another host.
        .redirect(reqwest::redirect::Policy::none())
        .tls_backend_preconfigured(tls)
        .build()
}

/// The whole body; `None` if it is longer.
async fn up_to(
    limit: usize,
    mut response: reqwest::Response,
) -> std::result::Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// The innermost cause: "connection refused" says more than "error sending request".
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
