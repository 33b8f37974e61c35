//! Seals segments: results in line order, as one blob of two pieces and the order of settling.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::finish::files_of_one;
use super::segment::{OpenSegment, Results, Settled};
use super::work::segment_blob;
use super::{Inner, lock};
use crate::blobs::CHUNK;
use crate::catalog::{SealOutcome, Sealed, SealedRow, SealedWhole};
use crate::error::Result;
use crate::journal::{Kind, PartName, Place};

/// Parts and blobs up to this size are handled whole in memory, larger ones line by line.
const WHOLE: u64 = 4 << 20;
/// What a segment's journal and blob hold beside its results: heads and the order of settling.
const SLACK: u64 = 64 << 10;
/// As `readyz` names it.
const STEP: &str = "sealing a segment";
/// How long a store is left alone that refused a seal.
const SETBACK: Duration = Duration::from_secs(1);

/// Segments whose lines are all settled and durable; bounded by the open ones.
#[derive(Debug, Default)]
pub(crate) struct SealQueue {
    segments: Mutex<VecDeque<Arc<OpenSegment>>>,
    arrived: Notify,
}

impl SealQueue {
    pub(crate) fn push(&self, segment: Arc<OpenSegment>) {
        lock(&self.segments).push_back(segment);
        self.arrived.notify_waiters();
    }
}

impl Inner {
    /// Duty: seals what is whole, a few segments side by side.
    pub(crate) async fn seal_segments(self: Arc<Self>) {
        while !self.stop.is_cancelled() {
            let arrived = self.seal_queue.arrived.notified();
            let next = lock(&self.seal_queue.segments).pop_front();
            let Some(segment) = next else {
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => {}
                    () = arrived => {}
                }
                continue;
            };
            let inner = Arc::clone(&self);
            self.tasks.spawn(async move {
                let permit = inner.sealers.acquire().await;
                let most = 2 * (segment.settled_bytes() + SLACK).min(WHOLE);
                let memory = inner.budget.seals.draw(most).await;
                inner.seal(&segment).await;
                drop((memory, permit));
            });
        }
    }

    /// Seals one segment, again and again until the store takes it or we stop. If we stop in
    /// between, the journal is replayed by the next owner, whose blob has another epoch in its name.
    async fn seal(&self, segment: &Arc<OpenSegment>) {
        if !segment.close() {
            return;
        }
        loop {
            match self.try_seal(segment).await {
                Ok(outcome) => {
                    self.storage_works(STEP);
                    self.sealed(segment, outcome).await;
                    return;
                }
                // Its results are safe in the journal.
                Err(error) => self.storage_refused(STEP, &error),
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(SETBACK) => {}
            }
        }
    }

    async fn try_seal(&self, segment: &OpenSegment) -> Result<SealOutcome> {
        let Some(results) = segment.results() else {
            return Err(crate::error::Error::internal(
                "a segment was sealed before it was whole",
            ));
        };
        let blob = segment_blob(&segment.work.row, segment.key.index, segment.epoch);
        let sealed = self.write_pieces(segment, &results, &blob).await?;
        let (key, epoch) = (segment.key, segment.epoch);
        let batch = &segment.work.row;
        if batch.segments > 1 {
            let seal = self.catalog.seal(&self.incarnation, key, epoch, sealed);
            return seal.await;
        }
        let row = SealedRow {
            index: key.index,
            epoch,
            sealed,
        };
        let (output, errors) = files_of_one(batch, row);
        let whole = SealedWhole {
            sealed,
            output,
            errors,
        };
        self.catalog
            .seal_whole(&self.incarnation, key, epoch, whole)
            .await
    }

    async fn sealed(&self, segment: &OpenSegment, outcome: SealOutcome) {
        self.forget(segment.key, segment.epoch);
        match outcome {
            SealOutcome::Sealed | SealOutcome::Last => {
                self.remove_parts(&segment.parts()).await;
            }
            SealOutcome::Ended => {
                tracing::info!(batch = segment.work.row.id, "batch ended");
                self.batch_has_ended(segment.key.batch);
                // Whoever waits for the batch need not wait for this.
                self.announce();
                self.remove_parts(&segment.parts()).await;
            }
            SealOutcome::Fenced => {
                tracing::warn!(segment = %segment.key, "another worker holds this segment; its results stand");
            }
        }
        self.wake();
        self.announce();
    }

    /// Answers, errors, order of settling, in one blob that is synced once.
    async fn write_pieces(
        &self,
        segment: &OpenSegment,
        results: &Results,
        blob: &str,
    ) -> Result<Sealed> {
        let sealed = measure(results);
        let size = sealed.answers_bytes + sealed.errors_bytes;
        let payloads = Payloads::new(self, segment, results).await?;
        if size <= WHOLE {
            let mut whole = Vec::with_capacity(size as usize + 2 * results.order.len());
            for line in in_file_order(&results.lines) {
                let range = range(line.place);
                whole.extend_from_slice(&payloads.get(line.epoch, range).await?);
            }
            whole.extend(results.order.iter().flat_map(|place| place.to_le_bytes()));
            self.blobs.put(blob, Bytes::from(whole)).await?;
            return Ok(sealed);
        }
        let mut writer = self.blobs.writer(blob).await?;
        for line in in_file_order(&results.lines) {
            for stretch in stretches(line.place) {
                writer
                    .write(&payloads.get(line.epoch, stretch).await?)
                    .await?;
            }
        }
        let order: Vec<u8> = results
            .order
            .iter()
            .flat_map(|place| place.to_le_bytes())
            .collect();
        writer.write(&order).await?;
        writer.finish().await?;
        Ok(sealed)
    }
}

/// Answers first, then errors, each in line order.
fn in_file_order(lines: &[Settled]) -> impl Iterator<Item = &Settled> {
    let answers = lines.iter().filter(|line| line.kind == Kind::Answer);
    answers.chain(lines.iter().filter(|line| line.kind != Kind::Answer))
}

fn measure(results: &Results) -> Sealed {
    let mut sealed = Sealed {
        span: 1,
        answers: 0,
        errors: 0,
        ended: 0,
        answers_bytes: 0,
        errors_bytes: 0,
        usage: results.usage,
    };
    for line in &results.lines {
        let bytes = u64::from(line.place.length);
        match line.kind {
            Kind::Answer => {
                sealed.answers += 1;
                sealed.answers_bytes += bytes;
            }
            Kind::Error | Kind::Ended => {
                sealed.errors += 1;
                sealed.ended += u32::from(line.kind == Kind::Ended);
                sealed.errors_bytes += bytes;
            }
        }
    }
    sealed
}

/// Reads payloads back from the journal: small parts whole, of large ones a line at a time.
struct Payloads<'a> {
    inner: &'a Inner,
    segment: &'a OpenSegment,
    whole: BTreeMap<u32, Bytes>,
}

impl<'a> Payloads<'a> {
    async fn new(inner: &'a Inner, segment: &'a OpenSegment, results: &Results) -> Result<Self> {
        let mut ends: BTreeMap<u32, u64> = BTreeMap::new();
        for line in &results.lines {
            let end = line.place.offset + u64::from(line.place.length);
            let known = ends.entry(line.epoch).or_default();
            *known = end.max(*known);
        }
        let mut whole = BTreeMap::new();
        for (epoch, end) in ends {
            if end <= WHOLE {
                let part = PartName {
                    segment: segment.key,
                    epoch,
                };
                whole.insert(epoch, inner.journal.read(part, 0..end).await?);
            }
        }
        Ok(Self {
            inner,
            segment,
            whole,
        })
    }

    async fn get(&self, epoch: u32, range: Range<u64>) -> Result<Bytes> {
        if let Some(whole) = self.whole.get(&epoch) {
            return Ok(whole.slice(range.start as usize..range.end as usize));
        }
        let part = PartName {
            segment: self.segment.key,
            epoch,
        };
        self.inner.journal.read(part, range).await
    }
}

fn range(place: Place) -> Range<u64> {
    place.offset..place.offset + u64::from(place.length)
}

/// A payload in stretches that can be held.
fn stretches(place: Place) -> impl Iterator<Item = Range<u64>> {
    let Range { start, end } = range(place);
    let starts = (start..end).step_by(CHUNK as usize);
    starts.map(move |start| start..end.min(start + CHUNK))
}
