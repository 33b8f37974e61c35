//! The append-only record of results of open segments.
//!
//! A part belongs to one (segment, epoch) and has one writer. What is in a part below the fence
//! counts; what a late writer adds behind it does not. A record counts only when it is durable.
//!
//! Each promise written here is also a function of [`contract`], which every implementation runs.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use crate::catalog::SegmentKey;
use crate::error::Result;
use crate::folder::{Found, Pages};

#[cfg(test)]
pub(crate) mod contract;
pub(crate) mod disk;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
#[cfg(test)]
pub(crate) mod hanging;
pub(crate) mod local;
pub(crate) mod record;
pub(crate) mod scan;

pub(crate) use record::{Kind, Record};

/// The part that one lease of a segment writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartName {
    pub(crate) segment: SegmentKey,
    pub(crate) epoch: u32,
}

impl PartName {
    /// Reads what `Display` wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (segment, epoch) = text.split_once('.')?;
        let (batch, index) = segment.split_once('-')?;
        let name = Self {
            segment: SegmentKey {
                batch: batch.parse().ok()?,
                index: index.parse().ok()?,
            },
            epoch: epoch.parse().ok()?,
        };
        // Spelled otherwise it is another name, and not one of ours.
        (name.to_string() == text).then_some(name)
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.segment, self.epoch)
    }
}

/// Where a record's payload is in its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) length: u32,
}

/// A payload that is too large to hold: it is made when its record is written.
pub(crate) trait Long: fmt::Debug + Send + Sync {
    /// Its bytes.
    fn length(&self) -> u32;
    /// Writes all of it, the same bytes however often it is asked.
    fn write_to(&self, out: &mut dyn io::Write) -> io::Result<()>;
}

/// Told how many records of a part are durable, in the order they were appended. Called from the
/// journal's own threads: it must be quick and must not wait.
pub(crate) type OnDurable = Box<dyn Fn(usize) + Send + Sync>;

/// Records of results, part by part.
#[async_trait]
pub(crate) trait Journal: fmt::Debug + Send + Sync {
    /// A new part, which must not exist yet.
    fn create(&self, name: PartName, on_durable: OnDurable) -> Arc<dyn Part>;
    /// Waits until there is room: what is appended but not durable is bounded in bytes and in age, so
    /// that a crash repeats little. Returns at once while there is.
    async fn room(&self);
    /// Fences an earlier epoch's part and returns the bytes of it that are whole records, all of
    /// them durable; 0 if there is no such part. From then on its writer records nothing more: what
    /// it had not recorded yet is dropped, its hook hears of nothing behind the cut, and
    /// [`Part::flushed`] tells no more than it. The caller writes this cut into the catalog
    /// before it replays anything.
    async fn cut(&self, name: PartName) -> Result<u64>;
    /// The records of a part up to the cut, in the order they were appended. A part shorter than
    /// its cut is an error: something recorded is gone.
    async fn replay(&self, name: PartName, cut: u64) -> Result<Vec<(Record, Place)>>;
    /// Bytes of a part, for sealing.
    async fn read(&self, name: PartName, range: Range<u64>) -> Result<Bytes>;
    /// The segment is sealed or given up: these parts go. What is already gone is no error.
    async fn remove(&self, parts: &[PartName]) -> Result<()>;
    /// Puts these parts where no lease will find them, and keeps their bytes.
    async fn set_aside(&self, parts: &[PartName]) -> Result<()>;
    /// Everything that is stored, by its name: parts, and whatever else is there but what was set
    /// aside. Of parts whose leases came before this call none is missing.
    fn found(&self) -> Pages;
    /// Deletes something that was found; what is already gone is no error.
    async fn discard(&self, found: &Found) -> Result<()>;
    /// What time it is for what stores the parts.
    async fn now(&self) -> Result<SystemTime>;
    /// Why nothing can be recorded at the moment, if that is so.
    fn stalled(&self) -> Option<String>;
}

/// A part that is being written.
#[async_trait]
pub(crate) trait Part: fmt::Debug + Send + Sync {
    /// Appends a record; it will be durable soon, together with all that arrive meanwhile. Of a
    /// part that was fenced it is dropped: whoever fenced it sends the line.
    fn append(&self, record: &Record, payload: &[u8]) -> Place;
    /// Appends a record whose payload is not held. It is the same record that [`append`](Self::append)
    /// makes of the same bytes; they are asked for when it is written, and let go once it is durable.
    fn append_long(&self, record: &Record, payload: Arc<dyn Long>) -> Place;
    /// Nothing more will come for now: makes what was appended durable as soon as possible.
    fn hurry(&self);
    /// Waits until everything appended so far is durable, or the part is fenced; the durable length.
    async fn flushed(&self) -> u64;
}
