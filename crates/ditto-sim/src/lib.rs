//! An OpenAI-compatible upstream for demos, tests and benches. It answers without a model, and it
//! misbehaves on request: slowly, at capacity, at a rate, with any status, with a hang, a reset or half an
//! answer. What it was asked it counts, so that a test can prove that nothing was asked twice.
//!
//! ```no_run
//! # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
//! use ditto_sim::{Sim, SimConfig};
//!
//! let sim = Sim::start(SimConfig {
//!     latency: "lognormal:20ms:0.5".parse()?,
//!     capacity: Some("37:429".parse()?),
//!     faults: "429:0.05,hang:0.001".parse()?,
//!     seed: 7,
//!     ..SimConfig::default()
//! })?;
//! let upstream = sim.base_url(); // http://127.0.0.1:PORT/v1
//! // ... ask it ...
//! assert_eq!(sim.stats().answered_more_than_once, 0);
//! sim.stop().await;
//! # Ok(()) }
//! ```
//!
//! The parts: [`SimConfig`] says how it behaves on the whole; a *script* says how it behaves towards
//! one request (see [`Script`] for the words); [`ProviderConfig`] says how it behaves as a provider
//! of batches; [`Stats`] is what it saw.
//!
//! It is a provider of batches too: `/v1/files` and `/v1/batches`, with a bill in
//! [`Stats::batches`]. Its time is [`Sim::advance`]d at will, and it misbehaves in all the ways of
//! [`ProviderFault`].
//!
//! It is not a model and checks no key. On disk it holds the files of batches, in a temporary folder
//! that goes with it.

mod address;
mod answer;
mod ask;
mod body;
mod capacity;
mod chance;
mod config;
mod course;
mod cues;
mod envelope;
mod faults;
mod file_body;
mod labels;
mod latency;
mod ledger;
mod models;
mod prefix_cache;
mod provider;
mod rate_limit;
mod reply;
mod script;
mod server;
mod service;
mod setting;
mod spoken;
mod stats;
mod tally;

pub use capacity::{Beyond, Capacity};
pub use config::SimConfig;
pub use faults::{Fault, Faults};
pub use latency::Latency;
pub use provider::{
    BatchBill, Bill, MetadataBill, Pace, ProviderConfig, ProviderFault, ProviderFaults,
};
pub use rate_limit::RateLimits;
pub use script::Script;
pub use server::Sim;
pub use setting::BadSetting;
pub use stats::Stats;
