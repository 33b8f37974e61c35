//! Where lines are sent: OpenAI-compatible endpoints, and which of them serves a model.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::budget::Draw;
use crate::error::Result;
use crate::model::allowance::Allowance;
use crate::spool::Spooled;

pub(crate) mod address;
pub(crate) mod arriving;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod models;
mod probe;
pub(crate) mod routing;

pub(crate) use arriving::Keep;
pub(crate) use models::Models;
pub use probe::Probed;
pub(crate) use routing::{Offers, Route, Routing};

/// One line on its way.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// The batch's endpoint, for instance `/v1/chat/completions`. It is on the server's list, so a
    /// line can choose neither host nor path.
    pub(crate) endpoint: &'a str,
    /// The body, byte for byte as in the file.
    pub(crate) body: Bytes,
    /// Ours for the line, sent as `Idempotency-Key` and `X-Request-Id`.
    pub(crate) line_id: &'a str,
}

/// What came back.
#[derive(Debug)]
pub(crate) enum Reply {
    /// An answer, read to its end.
    Answer {
        status: u16,
        body: Content,
        retry_after: Option<Duration>,
        /// What it says that may still be sent.
        allowance: Allowance,
        request_id: Option<String>,
    },
    /// An answer over the limit, and its first bytes.
    TooLarge {
        status: u16,
        head: Bytes,
        request_id: Option<String>,
    },
    /// No answer in time.
    Timeout,
    /// No connection, or one that was lost before the answer was whole.
    Unreachable { reason: String },
}

impl Reply {
    /// What it says that may still be sent.
    pub(crate) fn allowance(&self) -> Allowance {
        match self {
            Self::Answer { allowance, .. } => *allowance,
            Self::TooLarge { .. } | Self::Timeout | Self::Unreachable { .. } => {
                Allowance::default()
            }
        }
    }
}

/// An answer's body.
#[derive(Debug)]
pub(crate) enum Content {
    /// In memory, which is drawn for it.
    Held { bytes: Bytes, _draw: Draw },
    /// In a spool file.
    Spooled(Spooled),
}

/// An OpenAI-compatible endpoint.
#[async_trait]
pub(crate) trait Upstream: fmt::Debug + Send + Sync {
    /// As configured; shown in lanes and logs.
    fn name(&self) -> &str;
    /// Who sends lines to it: each slot has one.
    fn caller(&self) -> Box<dyn Caller>;
    /// Its list of models, as it gives it.
    async fn models(&self) -> Result<Vec<serde_json::Value>>;
    /// What it says of its load, if it does.
    async fn load(&self) -> Option<load::Said> {
        None
    }
    /// What must never stand in a result: the key, if there is one.
    fn secret(&self) -> Option<&str>;
}

/// Sends lines to an upstream, one after the other.
#[async_trait]
pub(crate) trait Caller: Send {
    /// Sends one line and reads its answer. Never an error: every way of not answering is a reply.
    async fn send(&mut self, request: Request<'_>) -> Reply;
    /// For the time without a line to send: looks after what is kept for the next one, and ends
    /// when there is nothing to look after. It may be dropped at any time.
    async fn rest(&mut self) {}
}
