//! Opens leased segments: fence, replay, read, check, and hand the lines to their pools.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use ditto_llm::check::parse_request;
use ditto_llm::jsonl::split_lines;

use super::faults::{self, FaultyLine, fault_line};
use super::hand::InHand;
use super::lines::{LineHash, is_blank, without_bom};
use super::pool::Pool;
use super::prefixes;
use super::seal::SealQueue;
use super::segment::{LineJob, OpenSegment};
use super::settle::settle_ended;
use super::work::Work;
use super::{Inner, Trouble, lock};
use crate::blobs::name;
use crate::catalog::{Cut, Leased, Usage};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Kind, OnDurable, PartName, Record};
use crate::model::plan::Entry;
use crate::upstream::{Offers, Routing};

impl Inner {
    /// Opens one leased segment. If we stop anywhere in here, the lease runs out and the next
    /// owner does the same again.
    pub(crate) async fn open(self: &Arc<Self>, leased: &Leased, in_hand: InHand) -> Result<()> {
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
        let entries = self.plan_entries(&work.row, leased.key.index, 1).await?;
        let [entry] = entries[..] else {
            return Err(Error::internal("one plan entry was read, but not one came"));
        };
        let segment = self.new_segment(leased, entry, work, cuts, in_hand);
        self.replay(&segment).await?;
        nothing_is_gone(&segment, leased.published)?;
        lock(&self.segments).insert(segment.key, Arc::clone(&segment));
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
        in_hand: InHand,
    ) -> Arc<OpenSegment> {
        let name = PartName {
            segment: leased.key,
            epoch: leased.epoch,
        };
        // Also past the share: leases are bounded by it before they are made.
        let loaded = self.budget.segments.overdraw(entry.length);
        let now = self.host.now();
        let refused_since = leased.refused_for.map(|long| now.saturating_sub(long));
        Arc::new_cyclic(|itself| {
            let hook = when_durable(Weak::clone(itself), Arc::clone(&self.seal_queue));
            let part = self.journal.create(name, hook);
            OpenSegment::new(
                (in_hand, loaded),
                leased,
                entry,
                work,
                part,
                cuts,
                refused_since,
            )
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

    /// Reads the segment's lines and hands those that need sending to their pools.
    async fn hand_out(self: &Arc<Self>, segment: &Arc<OpenSegment>) -> Result<()> {
        let faulty = self.faulty_lines(segment).await?;
        let bytes = self.segment_bytes(segment).await?;
        let tenant = &segment.work.row.tenant;
        let front = self.upstreams.now();
        let offers = front.models.offers(&front.routing, tenant).await;
        let inner = Arc::clone(self);
        let work = Arc::clone(&segment.work);
        let segment = Arc::clone(segment);
        // Splitting and parsing 4 MiB takes milliseconds.
        let sort =
            async move { inner.sort_lines(&segment, &bytes, faulty, (&front.routing, &offers)) };
        let runs = self.host.compute(sort).await?;
        for run in runs {
            self.dispatch(&run.pool, run.lines);
            // While they were read an answer may have told that their order matters. Whoever heard it has
            // arranged what waited in its pool by then, and these lines were not among it.
            if !run.in_prefix_order && run.pool.wants_prefixes_together() {
                self.arrange_waiting(&run.pool).await;
            }
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

    /// Lines by pool, in order, or in that of their prefixes; faulty ones and those of an ending batch are settled here.
    fn sort_lines(
        &self,
        segment: &Arc<OpenSegment>,
        bytes: &Bytes,
        mut faulty: BTreeMap<u64, FaultyLine>,
        served: (&Routing, &Offers),
    ) -> Result<Vec<Run>> {
        self.check_hash(segment, bytes)?;
        let mut runs = Runs {
            inner: self,
            served,
            tenant: &segment.work.row.tenant,
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
        let runs = runs.runs.into_iter().map(|(pool, lines)| {
            let in_prefix_order = pool.wants_prefixes_together();
            Run {
                lines: match in_prefix_order {
                    true => prefixes::arrange(lines),
                    false => lines,
                },
                pool,
                in_prefix_order,
            }
        });
        Ok(runs.collect())
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
    async fn faulty_lines(&self, segment: &OpenSegment) -> Result<BTreeMap<u64, FaultyLine>> {
        let entry = &segment.entry;
        if entry.faults == 0 {
            return Ok(BTreeMap::new());
        }
        let range = entry.faults_at..entry.faults_at + u64::from(entry.faults_length);
        let bytes = self
            .blobs
            .range(&name::faults(&segment.work.row.id), range)
            .await?;
        faults::read_run(&bytes)
    }
}

/// What was published was durable. If less than that is there, its lines would be bought again.
fn nothing_is_gone(segment: &OpenSegment, published: u32) -> Result<()> {
    let recorded = segment.recorded();
    if recorded >= published {
        return Ok(());
    }
    Err(Error::internal(format!(
        "{published} results of segment {} were recorded and {recorded} are in its journal; nothing of it is sent again: restore the data folder's `journal` from a backup",
        segment.key
    )))
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

/// Lines of a segment for one pool.
struct Run {
    pool: Arc<Pool>,
    lines: Vec<LineJob>,
    in_prefix_order: bool,
}

/// Lines collected for their pools.
struct Runs<'a> {
    inner: &'a Inner,
    served: (&'a Routing, &'a Offers),
    tenant: &'a str,
    runs: Vec<(Arc<Pool>, Vec<LineJob>)>,
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

    /// Where lines of this model go; `None` if no upstream serves it to the tenant.
    fn run(&mut self, model: &str) -> Option<&mut Vec<LineJob>> {
        let known = self
            .last
            .as_ref()
            .filter(|(last, _)| last == model)
            .map(|(_, at)| *at);
        let at = match known {
            Some(at) => at,
            None => {
                let (routing, offers) = self.served;
                let lanes = &self.inner.lanes;
                let pool = lanes.pool(routing, offers, self.tenant, model)?;
                let at = self.runs.iter().position(|(p, _)| Arc::ptr_eq(p, &pool));
                at.unwrap_or_else(|| {
                    self.runs.push((pool, Vec::new()));
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
