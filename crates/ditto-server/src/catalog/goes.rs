//! What is kept for a while, and what an object in a store belongs to.

use std::time::Duration;

use super::SegmentKey;

/// How long things stay after their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keep {
    /// Bytes that cannot be asked for any more, for whoever is reading them.
    pub(crate) bytes: Duration,
    /// Rows whose bytes are gone, as list cursors and to be asked about.
    pub(crate) rows: Duration,
}

/// What the name of an object says it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// A file, by its id.
    File(String),
    /// A part of an upload, by both ids.
    UploadPart {
        /// The upload's.
        upload: String,
        /// Its own.
        part: String,
    },
    /// A batch as a whole, by its id.
    Batch(String),
    /// One seal of a segment.
    Blob {
        /// The batch's id.
        batch: String,
        /// Place in the plan.
        index: u32,
        /// Who sealed it.
        epoch: u32,
    },
    /// What one lease of a segment wrote. Keys are counted up: a catalog that was put back from an
    /// older copy leases the same name again, and must not find the part of another history there.
    Part {
        /// Which segment.
        segment: SegmentKey,
        /// Under which lease.
        epoch: u32,
    },
}

/// Rows that a sweep would forget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DueRows {
    /// Creates that no repeat can mean any more.
    pub(crate) creates: u64,
    /// Files whose bytes are gone.
    pub(crate) files: u64,
    /// Batches that have ended, without bytes.
    pub(crate) batches: u64,
    /// Uploads that have ended, without bytes.
    pub(crate) uploads: u64,
}
