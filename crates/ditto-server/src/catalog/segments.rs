//! What the catalog keeps of a segment: its lease, its parts and its seal.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DryBatch, LaneMark, ReadyFile, Usage};
use crate::model::batch::Ending;

/// A segment, by its batch's key and its place in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SegmentKey {
    /// The batch's row number, never reused.
    pub(crate) batch: i64,
    /// Place in the plan, from 0.
    pub(crate) index: u32,
}

impl fmt::Display for SegmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.batch, self.index)
    }
}

/// The durable part of one epoch's journal: what a later owner replays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cut {
    /// Whose part.
    pub(crate) epoch: u32,
    /// Bytes of it that count; what lies behind was written after the fence.
    pub(crate) length: u64,
}

/// What a worker holds after a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leased {
    /// Which segment; of a filler run the first.
    pub(crate) key: SegmentKey,
    /// Plan entries covered: 1, or more for a filler run of an ending batch.
    pub(crate) span: u32,
    /// This lease's number; each lease of a segment has a higher one.
    pub(crate) epoch: u32,
    /// Parts below the fence, to be replayed.
    pub(crate) cuts: Vec<Cut>,
    /// An earlier epoch that has not been fenced yet: fence it before replaying anything.
    pub(crate) unfenced: Option<u32>,
    /// Results that were published of it: at least so many are recorded in its parts. Of a segment that
    /// was reopened nothing is promised, and it is 0.
    pub(crate) published: u32,
    /// How long lines of it have been waiting for an upstream that is full, if they have.
    pub(crate) refused_for: Option<Duration>,
}

/// How much a worker wants.
#[derive(Debug, Clone, Default)]
pub(crate) struct Demand {
    /// Segments to be sent, of whatever batch has its turn, at most 64 a call.
    pub(crate) segments: u32,
    /// Batches that have few lines waiting in one of this worker's lanes, or none: each gets its next
    /// segments beside the others, whosever turn it is, first what waits for that lane.
    pub(crate) dry: Vec<DryBatch>,
    /// Segments for these at most, shared out evenly.
    pub(crate) dry_segments: u32,
    /// Runs to be filled, of batches with an ending. They are granted beside the segments, however
    /// many of those there are: a cancel must not wait for another batch to end.
    pub(crate) runs: u32,
    /// Lanes of this worker that are paused, or have lines enough for a while: what waits for them stays
    /// where it is.
    pub(crate) shut: Vec<LaneMark>,
}

/// Settled counts of an open segment, as far as durable. Only ever larger than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Publication {
    /// Which segment.
    pub(crate) key: SegmentKey,
    /// Under which lease.
    pub(crate) epoch: u32,
    /// Durable answers.
    pub(crate) answers: u32,
    /// Durable errors, without those of an ending.
    pub(crate) errors: u32,
}

/// What a renewal brought back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Renewal {
    /// False: the lease was taken by another; drop everything.
    pub(crate) held: bool,
    /// The open segments that are ours, each with the epoch under which it is: what the worker had
    /// open before the call and is not among them belongs to others now.
    pub(crate) owned: Vec<(SegmentKey, u32)>,
    /// Batches of ours that are to end early.
    pub(crate) endings: Vec<(i64, Ending)>,
}

/// A sealed segment's results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// Plan entries covered.
    pub(crate) span: u32,
    /// Lines in the answers piece.
    pub(crate) answers: u32,
    /// Lines in the errors piece.
    pub(crate) errors: u32,
    /// Of these, lines that an ending wrote: OpenAI does not count them as failed.
    pub(crate) ended: u32,
    /// Bytes of the answers piece, at offset 0 of the segment's blob.
    pub(crate) answers_bytes: u64,
    /// Bytes of the errors piece, right behind.
    pub(crate) errors_bytes: u64,
    /// Tokens.
    pub(crate) usage: Usage,
}

/// The results of a batch of one segment, and the two files that they make.
#[derive(Debug, Clone)]
pub(crate) struct SealedWhole {
    /// Its only segment.
    pub(crate) sealed: Sealed,
    /// The answers; `None`: that file would have no lines and is not named.
    pub(crate) output: Option<ReadyFile>,
    /// The errors; likewise.
    pub(crate) errors: Option<ReadyFile>,
}

/// What a seal did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SealOutcome {
    /// Recorded; other segments are still open.
    Sealed,
    /// Recorded, and it was the last: the batch is `finalizing` now.
    Last,
    /// Recorded, and with it the batch has ended.
    Ended,
    /// Owner or epoch no longer match; nothing was changed.
    Fenced,
}

/// A sealed segment's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SealedRow {
    /// Place in the plan.
    pub(crate) index: u32,
    /// The epoch that sealed it, part of its blob's name.
    pub(crate) epoch: u32,
    /// See there.
    pub(crate) sealed: Sealed,
}

/// A segment that was begun and that nobody holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WaitingSegment {
    /// Which.
    pub(crate) key: SegmentKey,
    /// What is recorded of it.
    pub(crate) cuts: Vec<Cut>,
    /// Results that were published of it: there are at least so many below the cuts.
    pub(crate) published: u32,
}

/// An entry of the plan that no segment covers, to be opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Place in the plan.
    pub(crate) index: u32,
    /// Requests that it has.
    pub(crate) requests: u32,
    /// Every earlier lease of it had a lower or this epoch.
    pub(crate) epoch: u32,
    /// Bytes of the journal part of this epoch that count: what was found of its results. 0: none.
    pub(crate) length: u64,
}
