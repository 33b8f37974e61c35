//! An upstream over HTTP.

use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::address::{base, shown_address};
use super::{Content, Keep, Reply, Request, Upstream};
use crate::config::UpstreamConfig;
use crate::error::{Error, Result};

/// A server that does not take a connection within this time is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Kept of an answer over the limit.
const HEAD_BYTES: usize = 64 * 1024;
/// A list of models is small; a server that does not give it at once is not asked to wait for.
const MODELS_TIMEOUT: Duration = Duration::from_secs(10);
/// Thousands of models; it is held whole, and kept.
const MODELS_BYTES: usize = 4 << 20;
/// The longest wait that an upstream may name: longer, and a probe now and then costs nothing.
const RETRY_AFTER_CAP: Duration = Duration::from_secs(600);

/// One OpenAI-compatible endpoint over HTTP.
pub(crate) struct HttpUpstream {
    name: String,
    /// Without `/v1` and without a slash at the end.
    base: String,
    /// By endpoint: parsing a URL costs more than anything else we do to send a line.
    urls: Vec<(String, reqwest::Url)>,
    key: Option<SecretString>,
    client: reqwest::Client,
    timeout: Duration,
    answer_bytes: usize,
    keep: Keep,
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
        let unusable = |reason: String| {
            Error::invalid(format!(
                "upstream `{}` ({}): {reason}",
                config.name,
                shown_address(&config.base_url)
            ))
        };
        let base = base(&config.base_url).map_err(|e| unusable(e.to_string()))?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = &config.key {
            let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose_secret()))
                .map_err(|_| unusable("the key holds characters that no header may".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let client = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("ditto-batch/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            // A redirect is an answer: following it could carry the key to another host.
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(config.concurrency.most())
            .tcp_nodelay(true)
            .build()
            .map_err(|e| unusable(e.to_string()))?;
        let urls = endpoints.iter().map(|endpoint| {
            let url = reqwest::Url::parse(&format!("{base}{endpoint}"));
            url.map(|url| (endpoint.clone(), url))
        });
        let urls = urls
            .collect::<std::result::Result<_, _>>()
            .map_err(|e| unusable(e.to_string()))?;
        Ok(Self {
            name: config.name.clone(),
            base,
            urls,
            key: config.key.clone(),
            client,
            timeout,
            answer_bytes,
            keep,
        })
    }

    async fn ask(&self, request: Request<'_>) -> std::result::Result<Reply, reqwest::Error> {
        let known = self.urls.iter().find(|(at, _)| at == request.endpoint);
        let post = match known {
            Some((_, url)) => self.client.post(url.clone()),
            // A batch from before the list of endpoints was changed.
            None => self
                .client
                .post(format!("{}{}", self.base, request.endpoint)),
        };
        let response = post
            .header("idempotency-key", request.line_id)
            .header("x-request-id", request.line_id)
            .body(request.body)
            .send()
            .await?;
        let status = response.status().as_u16();
        let request_id = header(response.headers(), "x-request-id");
        let retry_after = retry_after(response.headers());
        match self.read(response).await? {
            Ok(body) => Ok(Reply::Answer {
                status,
                body,
                retry_after,
                request_id,
            }),
            Err(head) => Ok(Reply::TooLarge {
                status,
                head,
                request_id,
            }),
        }
    }

    /// A question that is no line's, with the key and the rules of one.
    pub(super) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.base))
    }

    /// The whole body; or, over the limit, its first bytes.
    pub(super) async fn read(
        &self,
        mut response: reqwest::Response,
    ) -> std::result::Result<std::result::Result<Content, Bytes>, reqwest::Error> {
        let length = response.content_length();
        // What says that it is too large is not read to the limit first.
        let is_short = length.is_none_or(|length| length <= self.answer_bytes as u64);
        let most = if is_short { usize::MAX } else { HEAD_BYTES };
        let limit = self.answer_bytes.min(most);
        let Some(mut last) = response.chunk().await? else {
            return Ok(Ok(self.keep.whole(Bytes::new())));
        };
        let mut arriving = self.keep.arriving(length.filter(|_| is_short));
        loop {
            if arriving.length() + last.len() > limit {
                arriving.take(&last[..last.len().min(HEAD_BYTES)]).await;
                return Ok(Err(arriving.head(HEAD_BYTES).await));
            }
            match response.chunk().await? {
                None if arriving.length() == 0 => return Ok(Ok(self.keep.whole(last))),
                None => {
                    arriving.take(&last).await;
                    return Ok(Ok(arriving.finish().await));
                }
                Some(next) => {
                    arriving.take(&last).await;
                    last = next;
                }
            }
        }
    }
}

#[async_trait]
impl Upstream for HttpUpstream {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, request: Request<'_>) -> Reply {
        match tokio::time::timeout(self.timeout, self.ask(request)).await {
            Err(_) => Reply::Timeout,
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => Reply::Unreachable {
                reason: root_cause(&error.without_url()),
            },
        }
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

    fn secret(&self) -> Option<&str> {
        self.key.as_ref().map(|key| key.expose_secret())
    }
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

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a date in `Retry-After` is held against this machine's time, and only as a wait"
)]
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let (ms, seconds) = (text("retry-after-ms"), text("retry-after"));
    if ms.is_none() && seconds.is_none() {
        return None;
    }
    let now = SystemTime::now();
    ditto_llm::retry::parse_retry_after(ms, seconds, now).map(|wait| wait.min(RETRY_AFTER_CAP))
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
