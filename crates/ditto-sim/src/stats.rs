//! What a simulator saw: the numbers behind `GET /sim/stats`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::provider::Bill;

/// What a simulator saw since its start or the last reset.
///
/// A request is known by its `Idempotency-Key` header, else by its body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Requests that arrived whole at the endpoints of a model, whatever became of them.
    pub requests: u64,
    /// How many different ones there were.
    pub distinct: u64,
    /// How many different ones arrived more than once.
    pub asked_more_than_once: u64,
    /// Whole, sound answers with status 200: what a provider would be paid for.
    pub answered: u64,
    /// How many different requests were answered.
    pub answered_distinct: u64,
    /// How many different requests were answered more than once: what would be paid twice.
    pub answered_more_than_once: u64,
    /// Answers begun, by status; spoilt ones (cut, garbage, empty) count under 200.
    pub by_status: BTreeMap<u16, u64>,
    /// Faults acted out that have no status of their own: hang, reset, cut, garbage, empty.
    pub by_fault: BTreeMap<String, u64>,
    /// Requests that have arrived and are not yet answered, waiting ones included.
    pub in_flight: u64,
    /// The most there were at once.
    pub peak_in_flight: u64,
    /// Requests that were counted but not remembered, since there were too many different ones.
    pub forgotten: u64,
    /// Requests whose first message was in the cache.
    #[serde(default)]
    pub prefix_hits: u64,
    /// What the provider of batches ran and billed.
    #[serde(default)]
    pub batches: Bill,
}
