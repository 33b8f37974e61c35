//! Segments that are put down: what they wait for.

use std::fmt;
use std::time::Duration;

use super::Cut;

/// Names a lane in the catalog: the upstream by its name and the model, so that it means the same
/// after a restart and to every worker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LaneMark(String);

impl LaneMark {
    /// The mark of a lane. A name of an upstream has no line break, so that no two lanes have one mark.
    pub(crate) fn new(upstream: &str, model: &str) -> Self {
        Self(format!("{upstream}\n{model}"))
    }

    /// As stored.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LaneMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.replace('\n', "/"))
    }
}

/// A batch that has no line waiting, or few.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DryBatch {
    /// Its key.
    pub(crate) batch: i64,
    /// In this lane; `None`: it has just begun.
    pub(crate) lane: Option<LaneMark>,
}

/// When a segment that is put down comes back. An ending brings each back at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Until {
    /// With the next lease: it is released.
    NextLease,
    /// When this long is over.
    After(Duration),
    /// With the next lease of a worker whose lane of this mark is not shut.
    Open(LaneMark),
}

/// A segment that its owner puts down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PutDown {
    /// The owner's epoch and the durable length of its part.
    pub(crate) cut: Cut,
    /// When it comes back.
    pub(crate) until: Until,
    /// Durable answers and errors, without those of an ending: published with it. Fewer than were
    /// published before change nothing.
    pub(crate) counts: (u32, u32),
    /// How long lines of it have been waiting for an upstream that is full: told with the next lease, so
    /// that this wait ends however often they are put down.
    pub(crate) refused_for: Option<Duration>,
}

impl PutDown {
    /// With nothing new to publish.
    pub(crate) fn new(cut: Cut, until: Until) -> Self {
        Self {
            cut,
            until,
            counts: (0, 0),
            refused_for: None,
        }
    }
}
