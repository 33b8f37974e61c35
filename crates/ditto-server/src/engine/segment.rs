//! An open segment: which of its lines are settled, where, and how far that is durable.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::hand::InHand;
use super::lock;
use super::work::Work;
use crate::budget::Draw;
use crate::catalog::{Cut, Leased, Publication, PutDown, SegmentKey, Until, Usage};
use crate::journal::{Kind, Long, Part, PartName, Place, Record};
use crate::model::plan::Entry;

/// Where a settled line's record is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settled {
    pub(crate) epoch: u32,
    pub(crate) place: Place,
    pub(crate) kind: Kind,
}

/// A segment that this worker holds.
pub(crate) struct OpenSegment {
    pub(crate) key: SegmentKey,
    pub(crate) epoch: u32,
    pub(crate) entry: Entry,
    pub(crate) work: Arc<Work>,
    pub(crate) part: Arc<dyn Part>,
    /// Parts of earlier epochs that were replayed.
    pub(crate) cuts: Vec<Cut>,
    /// Since when lines of it wait for an upstream that is full; they were put down meanwhile.
    pub(crate) refused_since: Option<Duration>,
    progress: Mutex<Progress>,
    /// Its place in hand, and its bytes, which its lines hold.
    _held: (InHand, Draw),
}

#[derive(Debug, Default)]
struct Progress {
    /// By place of the request in the segment.
    lines: Vec<Option<Settled>>,
    /// Places in the order of settling.
    order: Vec<u16>,
    /// Of `order`, those replayed from earlier parts.
    replayed: usize,
    /// Of `order`, those that are durable.
    durable: usize,
    answers: u32,
    errors: u32,
    ended: u32,
    usage: Usage,
    published: (u32, u32),
    /// Somebody else holds it now, or it was given back: nothing more is recorded or sealed.
    closed: bool,
}

/// A segment's results when every line is durable.
#[derive(Debug, Clone)]
pub(crate) struct Results {
    pub(crate) lines: Vec<Settled>,
    pub(crate) order: Vec<u16>,
    pub(crate) usage: Usage,
}

impl fmt::Debug for OpenSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenSegment")
            .field("key", &self.key)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl OpenSegment {
    pub(crate) fn new(
        held: (InHand, Draw),
        leased: &Leased,
        entry: Entry,
        work: Arc<Work>,
        part: Arc<dyn Part>,
        cuts: Vec<Cut>,
        refused_since: Option<Duration>,
    ) -> Self {
        let lines = vec![None; entry.requests as usize];
        Self {
            key: leased.key,
            epoch: leased.epoch,
            entry,
            work,
            part,
            cuts,
            refused_since,
            _held: held,
            progress: Mutex::new(Progress {
                lines,
                ..Progress::default()
            }),
        }
    }

    /// A record of an earlier epoch. The first one of a line wins.
    pub(crate) fn replay(&self, epoch: u32, record: &Record, place: Place) {
        let mut progress = lock(&self.progress);
        if progress.note(
            record,
            Settled {
                epoch,
                place,
                kind: record.kind,
            },
        ) {
            progress.replayed += 1;
            progress.durable += 1;
            progress.count(record.kind);
        }
    }

    /// Whether this line needs no sending.
    pub(crate) fn is_settled(&self, ordinal: u16) -> bool {
        lock(&self.progress)
            .lines
            .get(usize::from(ordinal))
            .is_none_or(Option::is_some)
    }

    /// Lines without a final outcome.
    pub(crate) fn unsettled(&self) -> usize {
        let progress = lock(&self.progress);
        progress.lines.len() - progress.order.len()
    }

    /// Records a line's final outcome.
    pub(crate) fn settle(&self, record: &Record, payload: &[u8]) {
        self.append(record, |part| part.append(record, payload));
    }

    /// The same with a result that is not held.
    pub(crate) fn settle_long(&self, record: &Record, payload: Arc<dyn Long>) {
        self.append(record, |part| part.append_long(record, payload));
    }

    /// Its place in the journal and in the order of settling are taken under one lock, so that both
    /// have the same order.
    fn append(&self, record: &Record, append: impl FnOnce(&dyn Part) -> Place) {
        let mut progress = lock(&self.progress);
        let open = progress
            .lines
            .get(usize::from(record.ordinal))
            .is_some_and(Option::is_none);
        if progress.closed || !open {
            return;
        }
        let place = append(self.part.as_ref());
        progress.note(
            record,
            Settled {
                epoch: self.epoch,
                place,
                kind: record.kind,
            },
        );
        if progress.order.len() == progress.lines.len() {
            self.part.hurry();
        }
    }

    /// This many records of our part are durable. True if with them the segment is whole.
    pub(crate) fn durable(&self, records: usize) -> bool {
        let mut progress = lock(&self.progress);
        let until = (progress.replayed + records).min(progress.order.len());
        while progress.durable < until {
            let ordinal = usize::from(progress.order[progress.durable]);
            let settled = progress.lines[ordinal].expect("a line in the order is settled");
            progress.durable += 1;
            progress.count(settled.kind);
        }
        !progress.closed && progress.is_whole()
    }

    /// Where the durable results are, but the first so many, in the order of settling.
    pub(crate) fn recorded_from(&self, had: u32) -> Vec<Settled> {
        let progress = lock(&self.progress);
        let order = progress.order.iter().take(progress.durable);
        let new = order.skip(had as usize);
        new.filter_map(|ordinal| progress.lines[usize::from(*ordinal)])
            .collect()
    }

    /// Durable results, without those of an ending.
    pub(crate) fn recorded(&self) -> u32 {
        let progress = lock(&self.progress);
        progress.answers + progress.errors
    }

    /// Whether every line is settled and durable already, before anything is sent.
    pub(crate) fn is_whole(&self) -> bool {
        lock(&self.progress).is_whole()
    }

    /// What to publish, if it is more than was published before.
    pub(crate) fn publication(&self) -> Option<Publication> {
        let progress = lock(&self.progress);
        let now = (progress.answers, progress.errors);
        if progress.closed || progress.published == now {
            return None;
        }
        Some(Publication {
            key: self.key,
            epoch: self.epoch,
            answers: now.0,
            errors: now.1,
        })
    }

    /// What its owner gives back with so many durable bytes of its part.
    pub(crate) fn put_down(&self, length: u64, until: Until) -> PutDown {
        let progress = lock(&self.progress);
        PutDown {
            cut: Cut {
                epoch: self.epoch,
                length,
            },
            until,
            counts: (progress.answers, progress.errors),
            refused_for: None,
        }
    }

    /// The catalog has taken this publication.
    pub(crate) fn published(&self, publication: &Publication) {
        lock(&self.progress).published = (publication.answers, publication.errors);
    }

    /// Nothing more is recorded: the segment was given back, lost, or is being sealed. False if it
    /// was closed before.
    pub(crate) fn close(&self) -> bool {
        !std::mem::replace(&mut lock(&self.progress).closed, true)
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.progress).closed
    }

    /// Bytes of all results so far.
    pub(crate) fn settled_bytes(&self) -> u64 {
        let progress = lock(&self.progress);
        let settled = progress.lines.iter().flatten();
        settled.map(|line| u64::from(line.place.length)).sum()
    }

    /// The results, once whole.
    pub(crate) fn results(&self) -> Option<Results> {
        let progress = lock(&self.progress);
        Some(Results {
            lines: progress.lines.iter().copied().collect::<Option<_>>()?,
            order: progress.order.clone(),
            usage: progress.usage,
        })
    }

    /// Every part of the segment, ours last.
    pub(crate) fn parts(&self) -> Vec<PartName> {
        let epochs = self.cuts.iter().map(|cut| cut.epoch).chain([self.epoch]);
        epochs
            .map(|epoch| PartName {
                segment: self.key,
                epoch,
            })
            .collect()
    }
}

impl Progress {
    fn note(&mut self, record: &Record, settled: Settled) -> bool {
        let Some(line @ None) = self.lines.get_mut(usize::from(record.ordinal)) else {
            return false;
        };
        *line = Some(settled);
        self.order.push(record.ordinal);
        self.usage.add(&record.usage);
        true
    }

    fn count(&mut self, kind: Kind) {
        match kind {
            Kind::Answer => self.answers += 1,
            Kind::Error => self.errors += 1,
            Kind::Ended => self.ended += 1,
        }
    }

    fn is_whole(&self) -> bool {
        self.durable == self.lines.len()
    }
}

/// One line on its way through the lanes.
#[derive(Debug)]
pub(crate) struct LineJob {
    pub(crate) segment: Arc<OpenSegment>,
    /// Place of the request in its segment.
    pub(crate) ordinal: u16,
    /// Physical line, from 1.
    pub(crate) number: u64,
    /// JSON string with its quotes.
    pub(crate) custom_id: Bytes,
    pub(crate) body: Bytes,
    /// Sendings charged to the line.
    pub(crate) charged: u32,
    /// Sendings of any kind.
    pub(crate) tries: u32,
    /// Since when it waits without being charged.
    pub(crate) waiting_since: Option<Duration>,
    /// Times it went back unsent because its lane was taken to be at fault.
    pub(crate) put_backs: u32,
    /// Its next sending costs nothing of the lane's budget for retries.
    pub(crate) retry_is_free: bool,
}

impl LineJob {
    /// A line that has not been sent yet.
    pub(crate) fn new(
        segment: &Arc<OpenSegment>,
        ordinal: u16,
        number: u64,
        custom_id: Bytes,
        body: Bytes,
    ) -> Self {
        Self {
            segment: Arc::clone(segment),
            ordinal,
            number,
            custom_id,
            body,
            charged: 0,
            tries: 0,
            waiting_since: segment.refused_since,
            put_backs: 0,
            retry_is_free: true,
        }
    }
}
