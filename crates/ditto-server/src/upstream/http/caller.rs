//! Who sends lines over HTTP, one after the other, on a connection of its own.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;

use super::connection::Connection;
use super::connector::Connector;
use super::heads::Heads;
use super::spares::Spares;
use super::{Failure, root_cause};
use crate::model::allowance::{Allowance, Left, parse_reset};
use crate::upstream::{self, Caller, Keep, Reply};

/// A connection without a request is closed after this long: servers and what stands before them
/// forget silent ones.
pub(super) const IDLE: Duration = Duration::from_secs(90);
/// The longest wait that an upstream may name: longer, and a probe now and then costs nothing.
const RETRY_AFTER_CAP: Duration = Duration::from_secs(600);

/// What all callers of an upstream go by.
pub(super) struct Terms {
    pub(super) heads: Heads,
    pub(super) connector: Connector,
    /// From the connection to the end of the answer.
    pub(super) timeout: Duration,
    pub(super) answer_bytes: usize,
    pub(super) keep: Keep,
    /// Of the callers that there are.
    pub(super) spares: Mutex<Weak<Spares>>,
}

/// One caller of an upstream.
pub(super) struct HttpCaller {
    terms: Arc<Terms>,
    /// A connection on which nothing is under way. One that is in use is not here: whoever gives up
    /// waiting for an answer drops it.
    kept: Option<Connection>,
    spares: Arc<Spares>,
}

impl Drop for HttpCaller {
    fn drop(&mut self) {
        if let Some(kept) = self.kept.take() {
            self.spares.put(kept);
        }
    }
}

impl HttpCaller {
    pub(super) fn new(terms: Arc<Terms>) -> Self {
        Self {
            spares: terms.spares(),
            terms,
            kept: None,
        }
    }

    async fn ask(&mut self, line: upstream::Request<'_>) -> Result<Reply, Failure> {
        let request = self.terms.heads.request(line)?;
        let (mut connection, response) = self.sent(request).await?;
        let reply = self.terms.reply(&mut connection, response).await?;
        if let Reply::Answer { .. } = reply {
            self.kept = Some(connection);
        }
        Ok(reply)
    }

    /// Sends the request on a connection that is there, or else on a new one: also if one that is
    /// there turns out to be closed before anything was sent on it. What may have reached the
    /// upstream is not sent twice.
    async fn sent(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Connection, Response<Incoming>), Failure> {
        while let Some(mut connection) = self.kept.take().or_else(|| self.spares.take()) {
            if !connection.is_usable().await {
                continue;
            }
            match connection.send(request).await {
                Ok(response) => return Ok((connection, response)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        // On the heap: it is rare, and as a part of every line's future it would be moved with each.
        let mut connection = Box::pin(self.terms.connector.connect()).await?;
        match connection.send(request).await {
            Ok(response) => Ok((connection, response)),
            Err(error) => Err(error.into_error().into()),
        }
    }
}

#[async_trait]
impl Caller for HttpCaller {
    async fn send(&mut self, line: upstream::Request<'_>) -> Reply {
        match tokio::time::timeout(self.terms.timeout, self.ask(line)).await {
            Err(_) => Reply::Timeout,
            Ok(Ok(reply)) => reply,
            Ok(Err(failure)) => Reply::Unreachable {
                reason: root_cause(&*failure),
            },
        }
    }

    async fn rest(&mut self) {
        self.spares.look();
        if let Some(kept) = &mut self.kept {
            // Whichever comes first, the connection is of no use after it.
            let _ = tokio::time::timeout(IDLE, kept.closed()).await;
            self.kept = None;
        }
    }
}

impl Terms {
    fn spares(&self) -> Arc<Spares> {
        let mut known = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        known.upgrade().unwrap_or_else(|| {
            let spares = Arc::default();
            *known = Arc::downgrade(&spares);
            spares
        })
    }

    async fn reply(
        &self,
        connection: &mut Connection,
        response: Response<Incoming>,
    ) -> Result<Reply, Failure> {
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        let request_id = text(&head.headers, "x-request-id").map(str::to_owned);
        // A date is a wait from now on, however long the body takes.
        let retry_after = retry_after(&head.headers);
        let allowance = allowance(&head.headers);
        let body = self.keep.read(body, self.answer_bytes);
        Ok(match connection.working(body).await? {
            Ok(body) => Reply::Answer {
                status,
                body,
                retry_after,
                allowance,
                request_id,
            },
            Err(head) => Reply::TooLarge {
                status,
                head,
                request_id,
            },
        })
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// What may still be sent, as far as both of what is left and until when are told.
fn allowance(headers: &HeaderMap) -> Allowance {
    let left = |remaining: &str, reset: &str| {
        Some(Left {
            count: text(headers, remaining)?.trim().parse().ok()?,
            resets_in: parse_reset(text(headers, reset)?)?,
        })
    };
    Allowance {
        requests: left(
            "x-ratelimit-remaining-requests",
            "x-ratelimit-reset-requests",
        ),
        tokens: left("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a date in `Retry-After` is held against this machine's time, and only as a wait"
)]
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let (ms, seconds) = (
        text(headers, "retry-after-ms"),
        text(headers, "retry-after"),
    );
    if ms.is_none() && seconds.is_none() {
        return None;
    }
    let now = SystemTime::now();
    ditto_llm::retry::parse_retry_after(ms, seconds, now).map(|wait| wait.min(RETRY_AFTER_CAP))
}
