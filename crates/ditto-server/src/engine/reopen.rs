//! Segments that nothing covers, found at the end of their batch: what is there of their results is
//! kept, the rest is sent again.
//!
//! This is not a part of any plan: a row of the catalog was lost. It is said in the log, and done once
//! in the life of a batch.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use ditto_llm::jsonl::{Content, LineSplitter};
use ditto_llm::wire::ResultLine;
use futures_util::{StreamExt, TryStreamExt};

use super::work::{line_id_prefix, segment_blob};
use super::{Inner, answer};
use crate::blobs::name;
use crate::catalog::{FinishWork, Gap, Named, SegmentKey, Usage};
use crate::error::Result;
use crate::journal::{Kind, Part, PartName, Record};
use crate::manifest::Piece;
use crate::model::batch::Ending;
use crate::model::plan::Entry;
use crate::sweep::names;

/// A result line holds an answer, its id and its custom_id.
const LINE_SLACK: usize = 1 << 20;

/// What was found of the segments that are missing, by place in the plan.
#[derive(Debug, Default)]
struct Remains {
    parts: BTreeMap<u32, BTreeSet<u32>>,
    /// Blobs with their lengths, by epoch.
    blobs: BTreeMap<u32, BTreeMap<u32, u64>>,
}

/// A result in a blob.
struct Kept {
    number: u64,
    kind: Kind,
    usage: Usage,
    range: Range<u64>,
}

/// A part into which the results of a segment are gathered.
struct Gathered<'a> {
    inner: &'a Inner,
    part: Arc<dyn Part>,
    /// The ids of the batch's lines begin so.
    prefix: String,
    entry: Entry,
    seen: BTreeSet<u16>,
}

impl Inner {
    /// Opens these entries again. What is found of their results goes into a new journal part first,
    /// so that no line whose answer is there is sent. If we stop before the catalog knows, the next
    /// owner finds that part as well.
    pub(crate) async fn reopen(&self, work: &FinishWork, missing: &[u32]) -> Result<()> {
        let id = &work.batch.id;
        tracing::error!(
            batch = id,
            segments = ?missing.iter().take(20).collect::<Vec<_>>(),
            count = missing.len(),
            "segments are missing from the catalog: what is found of their results is kept, the rest is sent again"
        );
        let remains = self.remains(work, missing).await?;
        let mut gaps = Vec::with_capacity(missing.len());
        for &index in missing {
            let entries = self.plan_entries(&work.batch, index, 1).await?;
            gaps.push(self.gather(work, index, entries[0], &remains).await?);
        }
        let ours = self
            .catalog
            .reopen(&self.incarnation, work.batch.key, gaps)
            .await?;
        if ours {
            self.wake();
            self.announce();
        }
        Ok(())
    }

    async fn remains(&self, work: &FinishWork, missing: &[u32]) -> Result<Remains> {
        let missing: BTreeSet<_> = missing.iter().copied().collect();
        let mut remains = Remains::default();
        let mut pages = self.journal.found();
        while let Some(page) = pages.try_next().await? {
            for found in page {
                if let Some(Named::Part { segment, epoch }) = names::of_part(&found.path)
                    && segment.batch == work.batch.key
                    && missing.contains(&segment.index)
                {
                    let epochs = remains.parts.entry(segment.index).or_default();
                    epochs.insert(epoch);
                }
            }
        }
        let first = self
            .blobs
            .found_at(&name::first_seal(&work.batch.id))
            .await?;
        let below = self.blobs.found_below(&name::segments(&work.batch.id))?;
        let mut pages = first.chain(below);
        while let Some(page) = pages.try_next().await? {
            for found in page {
                if let Some(Named::Blob { index, epoch, .. }) = names::of_blob(&found.path)
                    && missing.contains(&index)
                    && names::is_whole(&found.path)
                {
                    let blobs = remains.blobs.entry(index).or_default();
                    blobs.insert(epoch, found.bytes);
                }
            }
        }
        Ok(remains)
    }

    async fn gather(
        &self,
        work: &FinishWork,
        index: u32,
        entry: Entry,
        remains: &Remains,
    ) -> Result<Gap> {
        let segment = SegmentKey {
            batch: work.batch.key,
            index,
        };
        let (parts, blobs) = (remains.parts.get(&index), remains.blobs.get(&index));
        let newest = |epochs: Option<u32>| epochs.unwrap_or(0);
        let newest = newest(parts.and_then(|parts| parts.last().copied()))
            .max(newest(blobs.and_then(|blobs| blobs.keys().last().copied())));
        let mut gap = Gap {
            index,
            requests: entry.requests,
            epoch: newest,
            length: 0,
        };
        if newest == 0 {
            return Ok(gap);
        }
        gap.epoch += 1;
        let name = PartName {
            segment,
            epoch: gap.epoch,
        };
        let mut gathered = Gathered {
            inner: self,
            part: self.journal.create(name, Box::new(|_| {})),
            prefix: line_id_prefix(&work.batch.id),
            entry,
            seen: BTreeSet::new(),
        };
        for &epoch in parts.into_iter().flatten() {
            gathered.take_part(PartName { segment, epoch }).await?;
        }
        for (&epoch, &length) in blobs.into_iter().flatten() {
            let blob = segment_blob(&work.batch, index, epoch);
            gathered.take_blob(&blob, length).await?;
        }
        let found = gathered.seen.len();
        gap.length = gathered.part.flushed().await;
        tracing::warn!(%segment, found, of = entry.requests, "a missing segment is opened again");
        Ok(gap)
    }
}

impl Gathered<'_> {
    /// What this part has recorded, if it is of this batch: a number alone could be of another one,
    /// of before a restore.
    async fn take_part(&mut self, name: PartName) -> Result<()> {
        let journal = &self.inner.journal;
        let cut = journal.cut(name).await?;
        for (record, place) in journal.replay(name, cut).await? {
            let range = place.offset..place.offset + u64::from(place.length);
            let payload = journal.read(name, range).await?;
            let id = format!("{{\"id\":\"{}{}\"", self.prefix, record.line);
            if payload.starts_with(id.as_bytes()) {
                self.take(&record, &payload).await;
            }
        }
        Ok(())
    }

    /// What a seal of this segment has written, if it is whole: each of its requests once.
    async fn take_blob(&mut self, blob: &str, length: u64) -> Result<()> {
        let order = 2 * u64::from(self.entry.requests);
        let Some(results) = length.checked_sub(order) else {
            return Ok(());
        };
        let Some(kept) = self.read_blob(blob, results).await? else {
            tracing::warn!(
                blob,
                "not a whole segment of one lease: nothing is taken from it"
            );
            return Ok(());
        };
        // In the order of settling, so that what a reader has of them stays the first part.
        let order = self.inner.blobs.range(blob, results..length).await?;
        for place in order.as_chunks::<2>().0 {
            let ordinal = u16::from_le_bytes(*place);
            let Some(result) = kept.get(usize::from(ordinal)) else {
                continue;
            };
            let payload = self.inner.blobs.range(blob, result.range.clone()).await?;
            let record = Record {
                line: result.number,
                ordinal,
                kind: result.kind,
                usage: result.usage,
            };
            self.take(&record, &payload).await;
        }
        Ok(())
    }

    /// Its results by line; `None` if they are not those of this segment.
    async fn read_blob(&self, blob: &str, length: u64) -> Result<Option<Vec<Kept>>> {
        let limit = self.inner.config.limits.answer_bytes * 2 + LINE_SLACK;
        let mut splitter = LineSplitter::new(limit);
        let mut kept = Vec::new();
        let mut whole = true;
        let mut on_line = |line: ditto_llm::jsonl::Line<'_>| {
            let result = match line.content {
                Content::Bytes(bytes) => self.read_line(bytes, line.start..line.end),
                Content::TooLong => None,
            };
            whole &= result.is_some();
            kept.extend(result);
            Ok::<_, std::convert::Infallible>(())
        };
        let piece = Piece {
            blob: blob.to_owned(),
            offset: 0,
            length,
        };
        let mut chunks = std::pin::pin!(self.inner.blobs.read(vec![piece]));
        while let Some(chunk) = chunks.try_next().await? {
            let Ok(()) = splitter.feed(&chunk, &mut on_line);
        }
        let Ok(()) = splitter.finish(&mut on_line);
        kept.sort_by_key(|result| result.number);
        let once = kept.windows(2).all(|pair| pair[0].number < pair[1].number);
        let all = kept.len() == self.entry.requests as usize;
        Ok((whole && once && all).then_some(kept))
    }

    fn read_line(&self, line: &[u8], range: Range<u64>) -> Option<Kept> {
        let result: ResultLine = serde_json::from_slice(line).ok()?;
        let number = result.id.as_deref()?.strip_prefix(&self.prefix)?;
        let number = number.parse().ok().filter(|number| self.has(*number))?;
        let body = result.response.as_ref().and_then(|r| r.body.as_deref());
        Some(Kept {
            number,
            kind: kind(&result),
            usage: body.map_or_else(Usage::default, |body| {
                answer::read(body.get().as_bytes()).usage
            }),
            range,
        })
    }

    fn has(&self, line: u64) -> bool {
        let first = self.entry.first_line;
        (first..first + u64::from(self.entry.lines)).contains(&line)
    }

    /// The first result of a line wins, as in every replay.
    async fn take(&mut self, record: &Record, payload: &Bytes) {
        let is_ours = self.has(record.line) && u32::from(record.ordinal) < self.entry.requests;
        if is_ours && self.seen.insert(record.ordinal) {
            self.inner.journal.room().await;
            self.part.append(record, payload);
        }
    }
}

/// Where a result line belongs, as it was decided when it was settled.
fn kind(result: &ResultLine) -> Kind {
    let code = result
        .error
        .as_ref()
        .and_then(|error| error.code.as_deref());
    let status = result.response.as_ref().map_or(0, |r| r.status_code);
    match (&result.error, status) {
        (None, 200..=299) => Kind::Answer,
        _ if [Ending::Cancelled, Ending::Expired]
            .iter()
            .any(|ending| code == Some(ending.error().0)) =>
        {
            Kind::Ended
        }
        _ => Kind::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_goes_back_where_it_came_from() {
        for (line, expected) in [
            (
                r#"{"response":{"status_code":200,"body":{}},"error":null}"#,
                Kind::Answer,
            ),
            (
                r#"{"response":{"status_code":200,"body":"x"},"error":{"code":"answer_not_json"}}"#,
                Kind::Error,
            ),
            (
                r#"{"response":{"status_code":400,"body":{}},"error":null}"#,
                Kind::Error,
            ),
            (
                r#"{"response":null,"error":{"code":"upstream_timeout"}}"#,
                Kind::Error,
            ),
            (
                r#"{"response":null,"error":{"code":"batch_expired"}}"#,
                Kind::Ended,
            ),
            (
                r#"{"response":null,"error":{"code":"batch_cancelled"}}"#,
                Kind::Ended,
            ),
        ] {
            assert_eq!(
                kind(&serde_json::from_str(line).unwrap()),
                expected,
                "{line}"
            );
        }
    }
}
