//! Ends batches early, by cancel or expiry: what waits is given up, what is in flight gets a grace,
//! and lines that were never leased are written by fillers, in a stream.

use std::sync::Arc;

use ditto_llm::check::parse_request;
use ditto_llm::jsonl::split_lines;

use super::Inner;
use super::faults::{self, fault_line};
use super::lines::{is_blank, without_bom};
use super::settle::ended_line;
use super::work::Work;
use crate::blobs::name;
use crate::catalog::{Leased, Sealed, Usage};
use crate::error::Result;
use crate::model::batch::Ending;
use crate::model::plan::Entry;

impl Inner {
    /// An ending was brought by a renewal.
    pub(crate) fn end_batch(self: &Arc<Self>, batch: i64, ending: Ending) {
        let Some(work) = self.works.get(batch) else {
            return;
        };
        if !work.end(ending) {
            return;
        }
        tracing::info!(
            batch = work.row.id,
            ending = ending.as_str(),
            "batch is ending"
        );
        self.end_waiting_lines(batch);
        let (grace, stop) = (self.config.sending.grace, self.stop.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = tokio::time::sleep(grace) => work.cut_off.cancel(),
                () = stop.cancelled() => {}
            }
        });
    }

    /// Asks the catalog how the batch is ending, ahead of the next renewal.
    pub(crate) async fn learn_ending(self: &Arc<Self>, work: &Work) -> Result<()> {
        if work.ending().is_none()
            && let Some(row) = self.catalog.leased_batch(work.row.key).await?
            && let Some(ending) = row.ending
        {
            self.end_batch(row.key, ending);
        }
        Ok(())
    }

    /// Lines of the batch that wait in a lane are not sent any more.
    pub(crate) fn end_waiting_lines(&self, batch: i64) {
        for job in self.lanes.take(|job| job.segment.key.batch == batch) {
            self.cut_off(&job);
        }
    }

    /// Writes the error lines of plan entries that nobody has touched, and seals them as one. It
    /// needs no journal: the same bytes come out each time.
    pub(crate) async fn fill(&self, leased: &Leased, work: &Work, ending: Ending) -> Result<()> {
        let entries = self
            .plan_entries(&work.row.id, leased.key.index, leased.span)
            .await?;
        let blob = name::segment(&work.row.id, leased.key.index, leased.epoch);
        let mut filled = Filled::default();
        let mut writer = self.blobs.writer(&blob).await?;
        for entry in &entries {
            let lines = self.filler_lines(work, entry, ending, &mut filled).await?;
            filled.bytes += lines.len() as u64;
            writer.write(&lines).await?;
        }
        let order: Vec<u8> = (0..filled.errors)
            .flat_map(|place| (place as u16).to_le_bytes())
            .collect();
        writer.write(&order).await?;
        writer.finish().await?;
        let sealed = Sealed {
            span: leased.span,
            answers: 0,
            errors: filled.errors,
            ended: filled.ended,
            answers_bytes: 0,
            errors_bytes: filled.bytes,
            usage: Usage::default(),
        };
        self.catalog
            .seal(&self.incarnation, leased.key, leased.epoch, sealed)
            .await?;
        self.wake();
        self.announce();
        Ok(())
    }

    /// One entry's error lines. A line that is faulty in itself keeps its own fault.
    async fn filler_lines(
        &self,
        work: &Work,
        entry: &Entry,
        ending: Ending,
        filled: &mut Filled,
    ) -> Result<Vec<u8>> {
        let mut faulty = std::collections::BTreeMap::new();
        if entry.faults > 0 {
            let range = entry.faults_at..entry.faults_at + u64::from(entry.faults_length);
            faulty =
                faults::read_run(&self.blobs.range(&name::faults(&work.row.id), range).await?)?;
        }
        let mut out = Vec::with_capacity(entry.requests as usize * 200);
        if self.is_over_long(entry) {
            for fault in faulty.values() {
                let custom_id = fault.custom_id.as_ref().map_or("null", |id| id.get());
                out = fault_line(&work.line_id(fault.line), custom_id.as_bytes(), fault);
                filled.errors += 1;
            }
            return Ok(out);
        }
        let range = entry.offset..entry.offset + entry.length;
        let bytes = self.blobs.slice(&work.manifest, range).await?;
        for (number, line) in (entry.first_line..).zip(split_lines(&bytes)) {
            let line = without_bom(line, number);
            if is_blank(line) {
                continue;
            }
            let request = parse_request(line, number, &work.fill);
            let own = request
                .as_ref()
                .map_or("null", |request| &request.custom_id);
            filled.errors += 1;
            match faulty.remove(&number) {
                Some(fault) => {
                    let custom_id = fault.custom_id.as_ref().map_or(own, |id| id.get());
                    out.extend(fault_line(
                        &work.line_id(number),
                        custom_id.as_bytes(),
                        &fault,
                    ));
                }
                None => {
                    filled.ended += 1;
                    out.extend(ended_line(&work.line_id(number), own.as_bytes(), ending));
                }
            }
        }
        Ok(out)
    }
}

/// What a filler has written so far.
#[derive(Debug, Default)]
struct Filled {
    errors: u32,
    ended: u32,
    bytes: u64,
}
