//! Fillers: what an ending left untouched becomes error lines, in a stream, many plan entries at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ditto_llm::check::parse_request;
use ditto_llm::jsonl::split_lines;

use super::Inner;
use super::faults::{self, FaultyLine, fault_line};
use super::lines::{is_blank, without_bom};
use super::result_line::{self, LineError, Name};
use super::work::{Work, segment_blob};
use crate::blobs::name;
use crate::catalog::{Leased, Sealed, Usage};
use crate::error::Result;
use crate::model::batch::Ending;
use crate::model::plan::Entry;

/// About as long as an error line.
const AROUND: usize = 220;

impl Inner {
    /// Writes the error lines of plan entries that nobody has touched, and seals them as one. It
    /// needs no journal: the same bytes come out each time.
    pub(crate) async fn fill(
        self: &Arc<Self>,
        leased: &Leased,
        work: &Arc<Work>,
        ending: Ending,
    ) -> Result<()> {
        let entries = self
            .plan_entries(&work.row, leased.key.index, leased.span)
            .await?;
        let blob = segment_blob(&work.row, leased.key.index, leased.epoch);
        let mut sealed = Sealed {
            span: leased.span,
            answers: 0,
            errors: 0,
            ended: 0,
            answers_bytes: 0,
            errors_bytes: 0,
            usage: Usage::default(),
        };
        let mut writer = self.blobs.writer(&blob).await?;
        for entry in entries {
            let filled = self.filled(work, entry, ending).await?;
            sealed.errors += filled.errors;
            sealed.ended += filled.ended;
            sealed.errors_bytes += filled.lines.len() as u64;
            writer.write(&filled.lines).await?;
        }
        let order: Vec<u8> = (0..sealed.errors)
            .flat_map(|place| (place as u16).to_le_bytes())
            .collect();
        writer.write(&order).await?;
        writer.finish().await?;
        self.catalog
            .seal(&self.incarnation, leased.key, leased.epoch, sealed)
            .await?;
        self.wake();
        self.announce();
        Ok(())
    }

    /// One entry's error lines.
    async fn filled(
        self: &Arc<Self>,
        work: &Arc<Work>,
        entry: Entry,
        ending: Ending,
    ) -> Result<Filled> {
        let faulty = self.faults_of(work, &entry).await?;
        if self.is_over_long(&entry) {
            return Ok(over_long(work, &faulty));
        }
        let range = entry.offset..entry.offset + entry.length;
        let bytes = self.blobs.slice(&work.manifest, range).await?;
        let work = Arc::clone(work);
        // Parsing 4 MiB takes milliseconds, and there may be thousands of such entries.
        let fill = async move { Ok(fill_lines(&work, entry, &bytes, faulty, ending)) };
        self.host.compute(fill).await
    }

    async fn faults_of(&self, work: &Work, entry: &Entry) -> Result<BTreeMap<u64, FaultyLine>> {
        if entry.faults == 0 {
            return Ok(BTreeMap::new());
        }
        let range = entry.faults_at..entry.faults_at + u64::from(entry.faults_length);
        faults::read_run(&self.blobs.range(&name::faults(&work.row.id), range).await?)
    }
}

/// The error lines of a plan entry.
#[derive(Debug, Default)]
struct Filled {
    lines: Vec<u8>,
    errors: u32,
    /// Of these, what the ending wrote.
    ended: u32,
}

impl Filled {
    fn end(&mut self, name: Name<'_>, unanswered: &[u8]) {
        self.errors += 1;
        self.ended += 1;
        result_line::open(&mut self.lines, name);
        self.lines.extend_from_slice(unanswered);
    }

    fn fault(&mut self, line_id: &str, custom_id: &[u8], fault: &FaultyLine) {
        self.errors += 1;
        self.lines.extend(fault_line(line_id, custom_id, fault));
    }
}

/// Of a line over the limit, alone in its entry: its fault names it.
fn over_long(work: &Work, faulty: &BTreeMap<u64, FaultyLine>) -> Filled {
    let mut filled = Filled::default();
    for fault in faulty.values() {
        let custom_id = fault.custom_id.as_ref().map_or("null", |id| id.get());
        filled.fault(&work.line_id(fault.line), custom_id.as_bytes(), fault);
    }
    filled
}

/// A line that is faulty in itself keeps its own fault.
fn fill_lines(
    work: &Work,
    entry: Entry,
    bytes: &Bytes,
    mut faulty: BTreeMap<u64, FaultyLine>,
    ending: Ending,
) -> Filled {
    let (code, message) = ending.error();
    // Made once: of each line only the names are its own.
    let mut unanswered = Vec::new();
    result_line::write_unanswered(&mut unanswered, Some(LineError { code, message }));
    let mut filled = Filled {
        lines: Vec::with_capacity(entry.requests as usize * AROUND),
        ..Filled::default()
    };
    for (number, line) in (entry.first_line..).zip(split_lines(bytes)) {
        let line = without_bom(line, number);
        if is_blank(line) {
            continue;
        }
        let request = parse_request(line, number, &work.fill);
        let own = request.as_ref().map_or("null", |r| &*r.custom_id);
        let line_id = work.line_id(number);
        if let Some(fault) = faulty.remove(&number) {
            let custom_id = fault.custom_id.as_ref().map_or(own, |id| id.get());
            filled.fault(&line_id, custom_id.as_bytes(), &fault);
            continue;
        }
        let name = Name {
            id: &line_id,
            custom_id: own.as_bytes(),
        };
        filled.end(name, &unanswered);
    }
    filled
}
