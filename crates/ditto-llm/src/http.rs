//! The transport all clients share: retries, redirects, time limits, one audit event a call.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use reqwest::{RequestBuilder, Response, Url, header};
use secrecy::SecretString;
use serde::de::DeserializeOwned;

use crate::audit;
use crate::call::{Answer, Call, Payload, Sent};
use crate::config::Config;
use crate::error::{DittoError, HttpError, HttpStage, Result, causes};
use crate::operation::Operation;
#[cfg(feature = "batches")]
use crate::paging::Paging;
use crate::providers::Profile;
use crate::refusal;
use crate::retry::{self, Next, RetryPolicy};
use crate::upload::FileUpload;

const USER_AGENT: &str = concat!("ditto-llm/", env!("CARGO_PKG_VERSION"));

/// An answer in JSON may be this long; a page of 10,000 files has about 3 MB.
const MAX_ANSWER: usize = 64 << 20;

/// Redirects followed for one download.
const MAX_HOPS: usize = 5;

/// The way to a provider. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Transport {
    config: Arc<Config>,
}

impl Transport {
    pub(crate) fn new(profile: &'static Profile, key: SecretString) -> Self {
        Self {
            config: Arc::new(Config::new(profile, key)),
        }
    }

    /// The same way with other settings.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    pub(crate) fn provider(&self) -> &'static str {
        self.config.profile.id
    }

    pub(crate) fn upload_path(&self) -> &str {
        &self.config.upload_path
    }

    #[cfg(feature = "batches")]
    pub(crate) fn paging(&self) -> Paging {
        self.config.paging
    }

    pub(crate) fn idle(&self) -> Duration {
        self.config.timeouts.idle
    }

    pub(crate) fn retry_policy(&self) -> &RetryPolicy {
        &self.config.retry
    }

    /// Sends a call, again where the rules of its operation allow it, and records it.
    pub(crate) async fn send(&self, call: Call<'_>) -> Sent {
        let started = Instant::now();
        let url = match self.config.url(call.path) {
            Ok(url) => url,
            Err(error) => {
                return Sent {
                    attempts: 0,
                    outcome: Err(error),
                };
            }
        };
        let mut attempts = 1;
        let outcome = loop {
            let outcome = self.attempt(&call, &url).await;
            let Err(error) = &outcome else { break outcome };
            match self.after(error, &call, attempts) {
                Next::GiveUp => break outcome,
                Next::RetryAfter(delay) => {
                    tracing::debug!(operation = call.operation.name(), ?delay, %error, "retrying");
                    tokio::time::sleep(delay).await;
                    attempts += 1;
                }
            }
        };
        let ended = audit::Ended {
            provider: self.provider(),
            path: url.path(),
            attempts,
            elapsed: started.elapsed(),
            outcome: outcome.as_ref(),
        };
        audit::record(&call, &ended, &self.config);
        Sent { attempts, outcome }
    }

    fn after(&self, error: &DittoError, call: &Call<'_>, attempt: u32) -> Next {
        match error.failure() {
            Some(failure) if call.can_restart() => retry::next(
                call.repeat(),
                &failure,
                attempt,
                &self.config.retry,
                fastrand::f64(),
            ),
            _ => Next::GiveUp,
        }
    }

    /// Sends a call whose answer is JSON.
    pub(crate) async fn json<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T> {
        let operation = call.operation;
        let answer = self.send(call).await.outcome?;
        read_json(operation, &answer.body)
    }

    async fn attempt(&self, call: &Call<'_>, url: &Url) -> Result<Answer> {
        let response = match &call.payload {
            Payload::Upload(upload) => self.exchange_upload(call, url, upload).await?,
            Payload::Nothing | Payload::Json(_) if call.operation.streams_answer() => {
                self.exchange_with_redirects(call, url).await?
            }
            Payload::Nothing | Payload::Json(_) => {
                let request = self
                    .own_request(call, url)?
                    .timeout(self.config.timeouts.call);
                request
                    .send()
                    .await
                    .map_err(|error| self.broken(call, &error))?
            }
        };
        self.take(call, response).await
    }

    /// The upload ends when the answer is there, or when nothing has moved for too long.
    async fn exchange_upload(
        &self,
        call: &Call<'_>,
        url: &Url,
        upload: &FileUpload,
    ) -> Result<Response> {
        let (form, progress) = upload.form().await?;
        let request = self.own_request(call, url)?.multipart(form);
        let sent = tokio::select! {
            sent = request.send() => sent,
            () = progress.stalled(self.idle()) => return Err(self.timed_out(call)),
        };
        sent.map_err(|error| match progress.source_failure() {
            Some(failure) => DittoError::Io(failure),
            None => self.broken(call, &error),
        })
    }

    /// Follows a few redirects. On another host nothing of ours is sent along: its link is signed.
    async fn exchange_with_redirects(&self, call: &Call<'_>, url: &Url) -> Result<Response> {
        let mut request = self.own_request(call, url)?;
        let mut at = url.clone();
        for _ in 0..=MAX_HOPS {
            let answered = tokio::time::timeout(self.idle(), request.send()).await;
            let response = answered
                .map_err(|_| self.timed_out(call))?
                .map_err(|error| self.broken(call, &error))?;
            let Some(next) = redirect(&response, &at)? else {
                return Ok(response);
            };
            let same = next.origin() == at.origin() && at.origin() == url.origin();
            request = if same {
                self.authorized(call, &next)?
            } else {
                self.bare_request(call, &next)?
            };
            at = next;
        }
        Err(DittoError::InvalidResponse(format!(
            "{}: more than {MAX_HOPS} redirects",
            call.operation.name()
        )))
    }

    /// A request to the provider: our query, our key.
    fn own_request(&self, call: &Call<'_>, url: &Url) -> Result<RequestBuilder> {
        self.authorized(call, &self.config.with_query(url, &call.query))
    }

    fn authorized(&self, call: &Call<'_>, url: &Url) -> Result<RequestBuilder> {
        Ok(self
            .bare_request(call, url)?
            .headers(self.config.credentials()?))
    }

    /// A request that tells nothing of whose it is.
    fn bare_request(&self, call: &Call<'_>, url: &Url) -> Result<RequestBuilder> {
        let accept = if call.operation.streams_answer() {
            "application/binary"
        } else {
            "application/json"
        };
        let mut request = self
            .config
            .client()?
            .request(call.operation.method(), url.clone())
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, accept)
            .headers(call.headers.clone());
        if let Payload::Json(body) = &call.payload {
            request = request
                .header(header::CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        Ok(request)
    }

    /// Reads an answer as far as its operation wants it read.
    async fn take(&self, call: &Call<'_>, response: Response) -> Result<Answer> {
        let status = response.status();
        let request_id = text_header(&response, "x-request-id")
            .or_else(|| text_header(&response, "request-id"))
            .map(|id| self.config.masked(&id));
        if !status.is_success() {
            return Err(refusal::read(&self.config, call, response, request_id).await);
        }
        let status = status.as_u16();
        if call.operation.streams_answer() {
            return Ok(Answer {
                status,
                request_id,
                body: Bytes::new(),
                stream: Some(response),
            });
        }
        let body = self.read(call, response).await?;
        Ok(Answer {
            status,
            request_id,
            body,
            stream: None,
        })
    }

    async fn read(&self, call: &Call<'_>, mut response: Response) -> Result<Bytes> {
        let mut body = BytesMut::new();
        loop {
            let chunk = tokio::time::timeout(self.idle(), response.chunk())
                .await
                .map_err(|_| self.timed_out(call))?
                .map_err(|error| self.broken(call, &error))?;
            let Some(chunk) = chunk else {
                return Ok(self.config.masked_bytes(body.freeze()));
            };
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(DittoError::InvalidResponse(format!(
                    "{}: the answer is over {MAX_ANSWER} bytes",
                    call.operation.name()
                )));
            }
            body.extend_from_slice(&chunk);
        }
    }

    /// An exchange that failed on the way, without the URL: its query may hold a key.
    pub(crate) fn broken(&self, call: &Call<'_>, error: &reqwest::Error) -> DittoError {
        if error.is_builder() {
            return DittoError::InvalidRequest(self.config.shown(&causes(error)));
        }
        let stage = match error {
            _ if error.is_connect() => HttpStage::Connect,
            _ if error.is_timeout() => HttpStage::TimedOut,
            _ => HttpStage::Exchange,
        };
        self.unanswered(call, stage, &causes(error))
    }

    pub(crate) fn timed_out(&self, call: &Call<'_>) -> DittoError {
        let idle = self.idle();
        self.unanswered(
            call,
            HttpStage::TimedOut,
            &format!("nothing moved for {idle:?}"),
        )
    }

    fn unanswered(&self, call: &Call<'_>, stage: HttpStage, text: &str) -> DittoError {
        let error = HttpError::new(call.operation.name(), stage, self.config.shown(text));
        let unknown = call.may_have_created(&error.failure());
        DittoError::Http(error.outcome_unknown(unknown))
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

/// Reads a JSON answer; what is wrong with it is told without its text, which may be private.
pub(crate) fn read_json<T: DeserializeOwned>(operation: Operation, body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        DittoError::InvalidResponse(format!(
            "{}: not the JSON we expect: {error}",
            operation.name()
        ))
    })
}

/// Where a redirect leads; none if the answer is no redirect.
fn redirect(response: &Response, at: &Url) -> Result<Option<Url>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let wrong = |why: &str| DittoError::InvalidResponse(format!("file.content: redirect {why}"));
    let place = text_header(response, "location").ok_or_else(|| wrong("without a location"))?;
    let next = at.join(&place).map_err(|_| wrong("to what is no URL"))?;
    match (at.scheme(), next.scheme()) {
        ("https", "https") | ("http", "http" | "https") => Ok(Some(next)),
        ("https", "http") => Err(wrong("from https to http is refused")),
        _ => Err(wrong("to another protocol is refused")),
    }
}

pub(crate) fn text_header(response: &Response, name: &str) -> Option<String> {
    response
        .headers()
        .get(name)?
        .to_str()
        .ok()
        .map(str::to_owned)
}
