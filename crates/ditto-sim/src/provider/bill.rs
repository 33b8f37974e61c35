//! What the provider would be paid for, and what it was asked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stats::Stats;

/// What the provider of batches ran and billed, and what it was asked.
///
/// A line is billed when the model has answered it, whatever becomes of the answer afterwards. Two
/// lines are the same if their bodies are, byte for byte.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bill {
    /// Lines that were worked on.
    pub lines_run: u64,
    /// Lines that the model answered: what is paid.
    pub billed: u64,
    /// How many different ones those were.
    pub billed_distinct: u64,
    /// How many different ones were answered more than once: what is paid twice.
    pub billed_more_than_once: u64,
    /// Tokens of the prompts that were billed.
    pub prompt_tokens: u64,
    /// Tokens of the answers that were billed.
    pub completion_tokens: u64,
    /// Calls that arrived, by name: `upload`, `create`, `retrieve`, `list`, `content`, `cancel` …
    pub calls: BTreeMap<String, u64>,
    /// Faults of the provider that struck, by name.
    pub faults: BTreeMap<String, u64>,
    /// Calls that brought a key to the other host, where it has no business.
    pub keys_leaked: u64,
    /// Files that are there.
    pub files: u64,
    /// Every batch, oldest first.
    pub batches: Vec<BatchBill>,
    /// The same summed up by each key of their metadata and each of its values.
    pub by_metadata: BTreeMap<String, BTreeMap<String, MetadataBill>>,
}

/// One batch on the bill.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchBill {
    /// Its id.
    pub id: String,
    /// Where it really is, in the words of the protocol, whatever its clients are told.
    pub status: String,
    /// The file it reads.
    pub input_file_id: String,
    /// What its client called it.
    pub metadata: BTreeMap<String, String>,
    /// Lines of its input; 0 until they are checked.
    pub total: u64,
    /// Lines that were worked on.
    pub lines_run: u64,
    /// Lines that the model answered.
    pub billed: u64,
}

/// The batches that carry one value of a metadata key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataBill {
    /// How many there are.
    pub batches: u64,
    /// Lines of theirs that the model answered.
    pub billed: u64,
}

impl Bill {
    /// The batches and their lines by the value of this metadata key; those without it are left out.
    pub fn by_metadata(&self, key: &str) -> BTreeMap<String, MetadataBill> {
        self.by_metadata.get(key).cloned().unwrap_or_default()
    }

    /// Puts a batch on the bill.
    pub(super) fn add(&mut self, batch: BatchBill) {
        for (key, value) in &batch.metadata {
            let values = self.by_metadata.entry(key.clone()).or_default();
            let sum = values.entry(value.clone()).or_default();
            sum.batches += 1;
            sum.billed += batch.billed;
        }
        self.batches.push(batch);
    }

    /// Takes the counts that a ledger of lines tells.
    pub(super) fn count(&mut self, lines: &Stats) {
        self.lines_run = lines.requests;
        self.billed = lines.answered;
        self.billed_distinct = lines.answered_distinct;
        self.billed_more_than_once = lines.answered_more_than_once;
    }
}
