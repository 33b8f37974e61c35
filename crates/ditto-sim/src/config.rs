//! How a simulator behaves on the whole.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::capacity::Capacity;
use crate::faults::Faults;
use crate::latency::Latency;
use crate::provider::ProviderConfig;
use crate::rate_limit::RateLimits;

/// How a simulator behaves on the whole. The default answers every request at once and well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimConfig {
    /// Where to listen; a free loopback port below 32768 if none.
    pub listen: Option<SocketAddr>,
    /// How long each answer takes.
    pub latency: Latency,
    /// Requests at once; no limit if none.
    pub capacity: Option<Capacity>,
    /// How many requests and tokens may come in a time; any number if none.
    pub limits: RateLimits,
    /// First messages that are remembered: one that comes again is told as `cached_tokens`.
    pub prefix_cache: usize,
    /// How fast one answer is written: its completion tokens, divided by this, come on top of the
    /// latency, in seconds.
    pub tokens_per_second: Option<f64>,
    /// Shares of requests that go wrong.
    pub faults: Faults,
    /// Where all chance comes from.
    pub seed: u64,
    /// Pad answers to about this many bytes, for benches.
    pub answer_bytes: Option<u64>,
    /// What `GET /v1/models` lists. Requests may name any model.
    pub models: Vec<String>,
    /// `Retry-After` of 429 and 503 faults and of 429 over a limit, in seconds; not sent if none. (A request refused for
    /// capacity always gets one: this, or one second.)
    pub retry_after_secs: Option<u32>,
    /// Run on this many threads of its own, each with its own runtime; on the caller's tokio runtime
    /// if none.
    pub threads: Option<usize>,
    /// How the provider of batches behaves.
    pub provider: ProviderConfig,
}

impl SimConfig {
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let seconds = self.retry_after_secs?;
        Some(Duration::from_secs(seconds.into()))
    }
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            listen: None,
            latency: Latency::ZERO,
            capacity: None,
            limits: RateLimits::default(),
            prefix_cache: 0,
            tokens_per_second: None,
            faults: Faults::default(),
            seed: 0,
            answer_bytes: None,
            models: ["demo-small", "demo-large", "demo-embedding"]
                .map(String::from)
                .to_vec(),
            retry_after_secs: None,
            threads: None,
            provider: ProviderConfig::default(),
        }
    }
}
