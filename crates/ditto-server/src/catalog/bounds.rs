//! How much a tenant, and all of them, may have stored.

use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// When space may have come back: files are deleted by people, and expire by the day.
pub(crate) const SPACE_RETRY: Duration = Duration::from_secs(60);

/// Bounds on a new batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// What its tenant may have, files and what is set aside together.
    pub(crate) tenant: Option<u64>,
    /// Batches that its tenant may have open, with this one.
    pub(crate) open_batches: Option<u64>,
    /// Lines that these may have together.
    pub(crate) enqueued_lines: Option<u64>,
    /// What may be set aside for open batches of all tenants.
    pub(crate) promised: Option<u64>,
}

/// What a tenant has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Of files that can be read.
    pub(crate) bytes: u64,
    /// Set aside for open batches.
    pub(crate) reserved: u64,
    /// Batches that have not ended.
    pub(crate) open_batches: u64,
    /// Lines of their files, as far as they were counted when the batches were made.
    pub(crate) enqueued_lines: u64,
}

impl Stored {
    /// Both together.
    pub(crate) fn sum(self) -> u64 {
        self.bytes.saturating_add(self.reserved)
    }
}

/// Why a batch was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its tenant would have more than it may.
    Tenant {
        /// What it has.
        held: u64,
        /// What would be set aside.
        asked: u64,
        /// What it may have.
        limit: u64,
    },
    /// Its tenant has as many batches open as it may.
    Batches {
        /// What it may have.
        limit: u64,
    },
    /// Its tenant would have more lines in open batches than it may.
    Lines {
        /// What it has.
        held: u64,
        /// Lines of the file.
        asked: u64,
        /// What it may have.
        limit: u64,
    },
    /// More would be set aside than there is room for.
    Promised {
        /// What is set aside.
        held: u64,
        /// What would be, in addition.
        asked: u64,
    },
}

/// The sentence for a tenant that has too much.
pub(crate) fn over_limit(held: u64, asked: u64, limit: u64) -> Error {
    Error::new(
        ErrorKind::Full,
        format!(
            "This needs {asked} bytes of storage; {held} of the {limit} bytes that this key may use \
             are taken by its files and set aside for its open batches. Nothing was changed, and open \
             batches go on. Delete files that are no longer needed, or wait until they expire or a \
             batch ends, then send this again."
        ),
    )
    .with_code("storage_limit_exceeded")
    .with_retry_after(SPACE_RETRY)
}

/// The sentence for a tenant that has as many batches open as it may.
pub(crate) fn too_many_batches(limit: u64) -> Error {
    Error::new(
        ErrorKind::Full,
        format!(
            "This key has {limit} batches open, as many as it may have at once. Nothing was made, and \
             open batches go on. Wait until one of them ends, or cancel one, then send this again."
        ),
    )
    .with_code("open_batches_limit_exceeded")
    .with_retry_after(SPACE_RETRY)
}

/// The sentence for a tenant whose open batches have as many lines as they may.
pub(crate) fn too_many_lines(held: u64, asked: u64, limit: u64) -> Error {
    let what_then = match asked > limit {
        true => "It never fits: split the file.",
        false => "Wait until one of the open batches ends, or cancel one, then send this again.",
    };
    Error::new(
        ErrorKind::Full,
        format!(
            "This file has {asked} lines; of the {limit} lines that this key may have in open batches \
             {held} are taken. Nothing was made, and open batches go on. {what_then}"
        ),
    )
    .with_code("enqueued_lines_limit_exceeded")
    .with_retry_after(SPACE_RETRY)
}
