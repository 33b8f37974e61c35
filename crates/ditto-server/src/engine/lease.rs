//! Leases segments ahead of the slots and opens them: fence, replay, read, check, hand out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use ditto_llm::check::parse_request;
use ditto_llm::jsonl::split_lines;

use super::faults::{self, FaultyLine};
use super::lane::Lane;
use super::result_line::{self, LineError, Name};
use super::seal::SealQueue;
use super::segment::{LineJob, OpenSegment};
use super::settle::settle_ended;
use super::validate::LineHash;
use super::work::Work;
use super::{Inner, Trouble, lock};
use crate::blobs::name;
use crate::catalog::{Cut, Demand, Leased, SegmentKey, Usage};
use crate::clock::boot_time;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Kind, OnDurable, PartName, Record};
use crate::model::plan::{Entry, MAX_BYTES};

/// As `readyz` names it.
const STEP: &str = "opening a segment";
/// Segments open at once in one worker: each may have a journal file.
pub(crate) const OPEN_SEGMENTS: usize = 256;
/// Lines that wait for a slot: below this, more are leased. A slot that is free never waits for a
/// lease, even when a lease takes as long as a slow disk's sync and answers come at once.
pub(crate) const LOW_WATER: usize = 4096;
/// Bytes of segments in memory above which nothing more is leased.
pub(crate) const LOADED_BYTES: u64 = 24 << 20;
/// Of these, kept for batches that have no line waiting.
const SPARE_SEGMENTS: usize = 64;
/// Likewise.
const SPARE_BYTES: u64 = 8 << 20;
/// Segments of one lease, as the catalog allows.
const LEASE_SEGMENTS: u32 = 64;
/// Segments of a lease for a batch that ran dry: turns alternate between the oldest batch and the
/// one with the fewest lines left, so that both get one.
const HUNGRY_SEGMENTS: u32 = 2;
/// What comes back by itself (a lease that ran out, a parked segment) is looked for this often.
const LOOK: Duration = Duration::from_secs(1);
/// A segment that could not be opened is left alone for this long.
const SETBACK: Duration = Duration::from_secs(5);

/// Runs of ending batches filled side by side.
const FILLERS: usize = 2;

/// What is in memory, as far as it decides how much to lease.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stock {
    /// Open segments.
    pub(crate) open: usize,
    /// Their bytes.
    pub(crate) loaded: u64,
    /// Lines that wait for a slot.
    pub(crate) ready: usize,
    /// A batch has no line waiting although it may have more to lease.
    pub(crate) hungry: bool,
}

/// Segments to lease now. Plenty of lines of one batch, or of a lane that is paused, must not keep
/// another batch from its turn: for one that ran dry a little is leased even then, out of a part of
/// the room that is kept for it.
pub(crate) fn wanted(stock: Stock) -> u32 {
    let room = |segments: usize, bytes: u64| {
        let by_bytes = bytes.saturating_sub(stock.loaded).div_ceil(MAX_BYTES);
        by_bytes.min(segments.saturating_sub(stock.open) as u64) as u32
    };
    let plenty = match stock.ready >= LOW_WATER {
        true => 0,
        false => room(OPEN_SEGMENTS - SPARE_SEGMENTS, LOADED_BYTES - SPARE_BYTES),
    };
    match (plenty, stock.hungry) {
        (0, true) => room(OPEN_SEGMENTS, LOADED_BYTES).min(HUNGRY_SEGMENTS),
        (0, false) => 0,
        (some, _) => some.min(LEASE_SEGMENTS),
    }
}

impl Inner {
    /// Duty: keeps enough lines waiting for the slots.
    pub(crate) async fn lease_segments(self: Arc<Self>) {
        while !self.stop.is_cancelled() {
            let arrived = self.work_arrived();
            if let Some(demand) = self.demand() {
                match self.catalog.lease(&self.incarnation, demand).await {
                    Ok(leased) if !leased.is_empty() => {
                        self.open_all(leased);
                        continue;
                    }
                    Ok(_) => {}
                    Err(error) => tracing::error!(%error, "leasing failed; trying again"),
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = arrived => {}
                // Another process may have ended a batch that none of ours is open of.
                () = tokio::time::sleep(LOOK) => self.fillable.store(true, Ordering::Release),
            }
        }
    }

    /// How much to lease now; `None`: there is enough.
    fn demand(&self) -> Option<Demand> {
        let now = boot_time();
        if self.journal.stalled().is_some() || !self.may_send(now) {
            return None;
        }
        let demand = Demand {
            segments: self.segments_wanted(now),
            runs: self.runs_wanted(),
        };
        (demand.segments + demand.runs > 0).then_some(demand)
    }

    /// Runs are filled a few at a time beside everything else, whatever the stock of lines.
    fn runs_wanted(&self) -> u32 {
        let room = FILLERS.saturating_sub(self.filling.load(Ordering::Acquire));
        if room == 0 || !self.fillable.swap(false, Ordering::AcqRel) {
            return 0;
        }
        u32::try_from(room).unwrap_or(1)
    }

    fn segments_wanted(&self, now: Duration) -> u32 {
        if self.opening.load(Ordering::Acquire) > 0 {
            return 0;
        }
        let stock = Stock {
            open: lock(&self.segments).len(),
            loaded: self.loaded.load(Ordering::Acquire),
            ready: self
                .lanes
                .ready()
                .saturating_sub(self.lanes.waiting_for_pauses(now)),
            hungry: self.lanes.hungry.load(Ordering::Acquire),
        };
        let segments = wanted(stock);
        if segments > 0 {
            self.lanes.hungry.store(false, Ordering::Release);
        }
        segments
    }

    fn open_all(self: &Arc<Self>, leased: Vec<Leased>) {
        for one in leased {
            let inner = Arc::clone(self);
            let is_run = one.span > 1;
            self.under_way(is_run).fetch_add(1, Ordering::AcqRel);
            self.tasks.spawn(async move {
                // Runs have a count of their own: a long one must not keep lines from being leased.
                let permit = match is_run {
                    true => None,
                    false => Some(inner.openers.acquire().await),
                };
                match inner.open(&one).await {
                    Ok(()) => inner.storage_works(STEP),
                    Err(error) => inner.could_not_open(&one, &error).await,
                }
                drop(permit);
                // Where one run was there may be another.
                inner.fillable.fetch_or(is_run, Ordering::AcqRel);
                if inner.under_way(is_run).fetch_sub(1, Ordering::AcqRel) == 1 || is_run {
                    inner.wake();
                }
            });
        }
    }

    /// Leases that are not open yet: runs to be filled, or segments.
    fn under_way(&self, is_run: bool) -> &AtomicUsize {
        if is_run { &self.filling } else { &self.opening }
    }

    async fn could_not_open(&self, leased: &Leased, error: &Error) {
        tracing::error!(segment = %leased.key, %error, "a segment could not be opened; it is tried again");
        if error.kind() == ErrorKind::Unavailable {
            self.storage_refused(STEP, error);
        }
        if let Some(segment) = self.forget(leased.key, leased.epoch) {
            segment.close();
        }
        let cut = Cut {
            epoch: leased.epoch,
            length: 0,
        };
        if let Err(error) = self
            .catalog
            .park(&self.incarnation, leased.key, cut, SETBACK)
            .await
        {
            tracing::error!(segment = %leased.key, %error, "it could not be given back either; its lease will run out");
        }
    }

    /// Opens one leased segment. If we stop anywhere in here, the lease runs out and the next
    /// owner does the same again.
    pub(crate) async fn open(self: &Arc<Self>, leased: &Leased) -> Result<()> {
        let work = self.work(leased.key.batch).await?;
        if leased.span > 1 {
            // A filler run: the batch is ending, even if no renewal has said so yet.
            self.learn_ending(&work).await?;
        }
        let Some(cuts) = self.fence(leased).await? else {
            return Ok(());
        };
        if let Some(ending) = work.ending()
            && cuts.is_empty()
        {
            return self.fill(leased, &work, ending).await;
        }
        let entries = self.plan_entries(&work.row.id, leased.key.index, 1).await?;
        let [entry] = entries[..] else {
            return Err(Error::internal("one plan entry was read, but not one came"));
        };
        let segment = self.new_segment(leased, entry, work, cuts);
        self.replay(&segment).await?;
        lock(&self.segments).insert(segment.key, Arc::clone(&segment));
        self.loaded.fetch_add(entry.length, Ordering::AcqRel);
        if segment.is_whole() {
            self.seal_queue.push(segment);
            return Ok(());
        }
        self.hand_out(&segment).await
    }

    /// The parts to replay. An earlier owner's part is cut first: what it adds from now on does not
    /// count. `None`: we were fenced ourselves.
    async fn fence(&self, leased: &Leased) -> Result<Option<Vec<Cut>>> {
        let mut cuts = leased.cuts.clone();
        let Some(epoch) = leased.unfenced else {
            return Ok(Some(cuts));
        };
        let length = self
            .journal
            .cut(PartName {
                segment: leased.key,
                epoch,
            })
            .await?;
        let cut = Cut { epoch, length };
        let ours = self
            .catalog
            .fence(&self.incarnation, leased.key, leased.epoch, cut)
            .await?;
        if !ours {
            return Ok(None);
        }
        if length > 0 {
            cuts.push(cut);
        }
        Ok(Some(cuts))
    }

    fn new_segment(
        &self,
        leased: &Leased,
        entry: Entry,
        work: Arc<Work>,
        cuts: Vec<Cut>,
    ) -> Arc<OpenSegment> {
        let name = PartName {
            segment: leased.key,
            epoch: leased.epoch,
        };
        Arc::new_cyclic(|itself| {
            let hook = when_durable(Weak::clone(itself), Arc::clone(&self.seal_queue));
            let part = self.journal.create(name, hook);
            OpenSegment::new(leased.key, leased.epoch, entry, work, part, cuts)
        })
    }

    async fn replay(&self, segment: &OpenSegment) -> Result<()> {
        for cut in &segment.cuts {
            let name = PartName {
                segment: segment.key,
                epoch: cut.epoch,
            };
            for (record, place) in self.journal.replay(name, cut.length).await? {
                segment.replay(cut.epoch, &record, place);
            }
        }
        Ok(())
    }

    /// Reads the segment's lines and hands those that need sending to their lanes.
    async fn hand_out(self: &Arc<Self>, segment: &Arc<OpenSegment>) -> Result<()> {
        let faulty = self.faulty_lines(segment).await?;
        let bytes = self.segment_bytes(segment).await?;
        let inner = Arc::clone(self);
        let work = Arc::clone(&segment.work);
        let segment = Arc::clone(segment);
        // Splitting and parsing 4 MiB takes milliseconds: not on a thread that serves sockets.
        let runs = tokio::task::spawn_blocking(move || inner.sort_lines(&segment, &bytes, faulty))
            .await
            .map_err(|e| Error::storage("opening a segment was ended", e))??;
        for (lane, lines) in runs {
            self.dispatch(&lane, lines);
        }
        // The ending may have emptied the lanes while these lines were on their way to them.
        if work.ending().is_some() {
            self.end_waiting_lines(work.row.key);
        }
        Ok(())
    }

    /// The segment's bytes; nothing if no line of it will be sent.
    async fn segment_bytes(&self, segment: &OpenSegment) -> Result<Bytes> {
        let entry = &segment.entry;
        if self.is_over_long(entry) {
            return Ok(Bytes::new());
        }
        let range = entry.offset..entry.offset + entry.length;
        let manifest = &segment.work.manifest;
        self.blobs
            .slice(manifest, range)
            .await
            .inspect_err(|error| {
                self.input_is_gone(segment, error);
            })
    }

    /// A line over the limit, alone in its segment: it is named, never read again.
    pub(crate) fn is_over_long(&self, entry: &Entry) -> bool {
        let limit = self.config.limits.line_bytes as u64;
        entry.requests == 1 && entry.faults == 1 && entry.length > limit
    }

    /// Lines by lane, in order; faulty ones and those of an ending batch are settled here.
    fn sort_lines(
        &self,
        segment: &Arc<OpenSegment>,
        bytes: &Bytes,
        mut faulty: HashMap<u64, FaultyLine>,
    ) -> Result<Vec<(Arc<Lane>, Vec<LineJob>)>> {
        self.check_hash(segment, bytes)?;
        let mut runs = Runs {
            inner: self,
            runs: Vec::new(),
            last: None,
        };
        let mut ordinal = 0u16;
        let first = segment.entry.first_line;
        if bytes.is_empty() {
            if let Some(fault) = faulty.remove(&first) {
                settle_fault(segment, 0, first, &fault, None);
            }
            return Ok(Vec::new());
        }
        for (number, line) in (first..).zip(split_lines(bytes)) {
            let line = without_bom(line, number);
            if is_blank(line) {
                continue;
            }
            let place = ordinal;
            ordinal = ordinal.saturating_add(1);
            if segment.is_settled(place) {
                continue;
            }
            match faulty.remove(&number) {
                Some(fault) => settle_fault(segment, place, number, &fault, Some(line)),
                None => runs.take(segment, place, number, line, bytes)?,
            }
        }
        if u32::from(ordinal) != segment.entry.requests {
            return Err(Error::internal(format!(
                "segment {} has {ordinal} requests where its plan has {}",
                segment.key, segment.entry.requests
            )));
        }
        Ok(runs.runs)
    }

    fn check_hash(&self, segment: &OpenSegment, bytes: &Bytes) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut hash = LineHash::default();
        for (number, line) in (segment.entry.first_line..).zip(split_lines(bytes)) {
            hash.line(without_bom(line, number));
        }
        if hash.finish() == segment.entry.hash {
            return Ok(());
        }
        let last = segment.entry.first_line + u64::from(segment.entry.lines) - 1;
        let error = Error::new(
            ErrorKind::Conflict,
            format!(
                "the input changed after it was checked (lines {} to {last}); answers so far are kept and nothing of these lines was sent: put the original file back and run again, or start a new job for the new one",
                segment.entry.first_line
            ),
        );
        self.input_is_gone(segment, &error);
        Err(error)
    }

    fn input_is_gone(&self, segment: &OpenSegment, error: &Error) {
        let sentence = format!("batch {}: {error}", segment.work.row.id);
        self.meet_trouble(Trouble {
            sentence,
            input_changed: true,
        });
    }

    /// The faults that validation left in a lenient batch, by line.
    async fn faulty_lines(&self, segment: &OpenSegment) -> Result<HashMap<u64, FaultyLine>> {
        let entry = &segment.entry;
        if entry.faults == 0 {
            return Ok(HashMap::new());
        }
        let range = entry.faults_at..entry.faults_at + u64::from(entry.faults_length);
        let bytes = self
            .blobs
            .range(&name::faults(&segment.work.row.id), range)
            .await?;
        faults::read_run(&bytes)
    }

    /// Takes a segment out of the books, unless a later lease of it stands there by now.
    pub(crate) fn forget(&self, key: SegmentKey, epoch: u32) -> Option<Arc<OpenSegment>> {
        let mut segments = lock(&self.segments);
        segments
            .get(&key)
            .filter(|segment| segment.epoch == epoch)?;
        let segment = segments.remove(&key)?;
        self.loaded
            .fetch_sub(segment.entry.length, Ordering::AcqRel);
        Some(segment)
    }

    /// Gives every open segment back, with all that was recorded.
    pub(crate) async fn release_segments(&self) {
        let open: Vec<_> = lock(&self.segments).values().cloned().collect();
        // A disk that refuses must not hold up the stop: what is not flushed by then was never
        // recorded, and the next owner fences the segment.
        let patience = tokio::time::Instant::now() + SETBACK;
        drop(self.lanes.take(|_| true));
        for segment in open {
            if !segment.close() {
                continue; // It is being sealed; if that does not end well, it is fenced later.
            }
            let flushed = tokio::time::timeout_at(patience, segment.part.flushed()).await;
            let Ok(length) = flushed else { continue };
            let cut = Cut {
                epoch: segment.epoch,
                length,
            };
            let pause = Duration::ZERO;
            if let Err(error) = self
                .catalog
                .park(&self.incarnation, segment.key, cut, pause)
                .await
            {
                tracing::warn!(segment = %segment.key, %error, "not given back; the next owner fences it");
            }
            self.forget(segment.key, segment.epoch);
        }
    }
}

/// The error line of a faulty line.
pub(crate) fn fault_line(line_id: &str, custom_id: &[u8], fault: &FaultyLine) -> Vec<u8> {
    let mut out = Vec::new();
    let error = LineError {
        code: &fault.code,
        message: &fault.message,
    };
    result_line::write(
        &mut out,
        Name {
            id: line_id,
            custom_id,
        },
        None,
        Some(error),
    );
    out
}

fn settle_fault(
    segment: &OpenSegment,
    ordinal: u16,
    number: u64,
    fault: &FaultyLine,
    line: Option<&[u8]>,
) {
    let custom_id = fault_custom_id(segment, fault, number, line);
    let out = fault_line(&segment.work.line_id(number), custom_id.as_bytes(), fault);
    let record = Record {
        line: number,
        ordinal,
        kind: Kind::Error,
        usage: Usage::default(),
    };
    segment.settle(&record, &out);
}

/// A faulty line's own id, if it can be read; of a duplicate that only showed at the end of
/// validation it is read off the line now.
fn fault_custom_id(
    segment: &OpenSegment,
    fault: &FaultyLine,
    number: u64,
    line: Option<&[u8]>,
) -> String {
    if let Some(known) = &fault.custom_id {
        return known.get().to_owned();
    }
    line.and_then(|line| parse_request(line, number, &segment.work.fill))
        .map_or_else(
            || "null".to_owned(),
            |request| request.custom_id.into_owned(),
        )
}

/// Lines collected for their lanes.
struct Runs<'a> {
    inner: &'a Inner,
    runs: Vec<(Arc<Lane>, Vec<LineJob>)>,
    /// Neighbours mostly name the same model.
    last: Option<(String, usize)>,
}

impl Runs<'_> {
    fn take(
        &mut self,
        segment: &Arc<OpenSegment>,
        ordinal: u16,
        number: u64,
        line: &[u8],
        bytes: &Bytes,
    ) -> Result<()> {
        let work = &segment.work;
        let request = parse_request(line, number, &work.fill).ok_or_else(|| {
            Error::internal(format!("line {number} passed the check but is no request"))
        })?;
        let custom_id = shared(bytes, request.custom_id.as_bytes());
        if let Some(ending) = work.ending() {
            settle_ended(segment, ordinal, number, &custom_id, ending);
            return Ok(());
        }
        let Some(run) = self.run(&request.model) else {
            let fault = FaultyLine::unknown_model(number, &custom_id, &request.model);
            settle_fault(segment, ordinal, number, &fault, None);
            return Ok(());
        };
        let body = match request.body {
            std::borrow::Cow::Borrowed(body) => bytes.slice_ref(body),
            std::borrow::Cow::Owned(body) => Bytes::from(body),
        };
        run.push(LineJob::new(segment, ordinal, number, custom_id, body));
        Ok(())
    }

    /// Where lines of this model go; `None` if no upstream serves it.
    fn run(&mut self, model: &str) -> Option<&mut Vec<LineJob>> {
        let known = self
            .last
            .as_ref()
            .filter(|(last, _)| last == model)
            .map(|(_, at)| *at);
        let at = match known {
            Some(at) => at,
            None => {
                let lane = self.inner.lanes.lane(&self.inner.routing, model)?;
                let at = self.runs.iter().position(|(l, _)| Arc::ptr_eq(l, &lane));
                at.unwrap_or_else(|| {
                    self.runs.push((lane, Vec::new()));
                    self.runs.len() - 1
                })
            }
        };
        if known.is_none() {
            self.last = Some((model.to_owned(), at));
        }
        Some(&mut self.runs[at].1)
    }
}

/// A slice of `bytes` without a copy, where `part` is one.
fn shared(bytes: &Bytes, part: &[u8]) -> Bytes {
    let all = bytes.as_ptr_range();
    let own = part.as_ptr_range();
    if own.start >= all.start && own.end <= all.end {
        bytes.slice_ref(part)
    } else {
        Bytes::copy_from_slice(part)
    }
}

/// No request, but a number. It must be what the check takes for blank, or places would shift.
pub(crate) fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

/// The first line of a file without its byte order mark.
pub(crate) fn without_bom(line: &[u8], number: u64) -> &[u8] {
    match number {
        1 => line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line),
        _ => line,
    }
}

/// Told by the journal how many records are durable; a whole segment goes to be sealed.
///
/// It holds the segment weakly: the segment holds its part, and the part holds this.
fn when_durable(segment: Weak<OpenSegment>, queue: Arc<SealQueue>) -> OnDurable {
    Box::new(move |records| {
        if let Some(segment) = segment.upgrade()
            && segment.durable(records)
        {
            queue.push(segment);
        }
    })
}
