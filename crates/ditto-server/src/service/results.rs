//! Results of a batch while it runs: each row once, a page at a time.
//!
//! A page is made of segments: of a sealed one that the reader has nothing of, the two pieces as they
//! are; of one that it has in part, the lines that it has not; of an open one, what is recorded. The
//! page is settled before its first byte goes out, so that its cursor is known then.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};

use super::Service;
use super::objects::no_such_batch;
pub use crate::model::cursor::Cursor;

use crate::blobs::name;
use crate::catalog::{BatchRow, SealedRow};
use crate::engine::segment_blob;
use crate::error::{Error, Result};
use crate::manifest::{Manifest, Piece};
use crate::model::batch::BatchState;
use crate::model::cursor::Had;

/// Bytes of a page, about: a segment that is sealed comes whole.
const PAGE: u64 = 8 << 20;
/// Of these, bytes that are held in memory: those of open segments.
const HELD: u64 = 1 << 20;
/// Rows of sealed segments read at a time.
const ROWS: u32 = 256;

/// Some results.
#[derive(Debug)]
pub struct ResultPage {
    /// Where the next page begins.
    pub next: Cursor,
    /// Nothing comes behind this page.
    pub ended: bool,
    parts: Vec<Part>,
    service: Service,
}

#[derive(Debug)]
enum Part {
    Held(Bytes),
    Stored(Vec<Piece>),
}

/// A sealed segment, as a row or the manifests know it.
#[derive(Debug, Clone, Copy)]
struct Stored {
    first: u32,
    last: u32,
    epoch: u32,
    answers_bytes: u64,
    errors_bytes: u64,
}

impl ResultPage {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Its lines.
    pub fn stream(self) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
        let blobs = self.service.blobs;
        stream::iter(self.parts).flat_map(move |part| match part {
            Part::Held(bytes) => stream::once(async { Ok(bytes) }).left_stream(),
            Part::Stored(pieces) => blobs.clone().read(pieces).right_stream(),
        })
    }
}

impl Service {
    /// The results that were recorded since `after`, in no order but that of their recording.
    pub async fn results(&self, tenant: &str, id: &str, after: &Cursor) -> Result<ResultPage> {
        let row = self.catalog.batch(tenant, id).await?;
        let row = row.ok_or_else(|| no_such_batch(id))?;
        let mut page = ResultPage {
            next: after.clone(),
            ended: false,
            parts: Vec::new(),
            service: self.clone(),
        };
        let left = match row.state.is_terminal() {
            true => self.add_ended(&row, &mut page).await?,
            false => self.add_running(&row, &mut page).await?,
        };
        page.ended = row.state.is_terminal() && !left;
        Ok(page)
    }

    /// Segments whose rows are there. Always true: there may be more.
    async fn add_running(&self, row: &BatchRow, page: &mut ResultPage) -> Result<bool> {
        if row.state == BatchState::Validating {
            return Ok(true);
        }
        let mut room = PAGE;
        let mut from = page.next.below();
        while room > 0 {
            let rows = self.catalog.sealed_segments(row.key, from, ROWS).await?;
            for sealed in &rows {
                self.add(row, Stored::of_row(sealed), &mut room, page)
                    .await?;
            }
            let Some(last) = rows.last().filter(|_| rows.len() == ROWS as usize) else {
                break;
            };
            from = last.index + 1;
        }
        let recorded = self
            .engine
            .recorded(row.key, &page.next, HELD.min(room))
            .await?;
        for segment in recorded {
            page.next.take_first(segment.index, segment.count);
            page.parts.push(Part::Held(segment.bytes));
        }
        Ok(true)
    }

    /// The rows are gone: the two manifests name the same blobs. Whether there is more behind.
    async fn add_ended(&self, row: &BatchRow, page: &mut ResultPage) -> Result<bool> {
        let mut room = PAGE;
        for stored in self.stored(row).await? {
            if page.next.had(stored.first) == Had::Whole {
                continue;
            }
            if room == 0 {
                return Ok(true);
            }
            self.add(row, stored, &mut room, page).await?;
        }
        Ok(false)
    }

    async fn stored(&self, row: &BatchRow) -> Result<Vec<Stored>> {
        let mut segments = BTreeMap::new();
        for (file, is_output) in [(&row.output_file_id, true), (&row.error_file_id, false)] {
            let Some(file) = file else { continue };
            let Some(found) = self.catalog.file(&row.tenant, file).await? else {
                return Err(Error::missing(format!(
                    "The results of the batch cannot be listed: its file '{file}' was deleted or has expired."
                )));
            };
            let manifest = self.blobs.manifest_of(file, found.piece.as_ref()).await?;
            add_manifest(&mut segments, &row.id, &manifest, is_output)?;
        }
        Ok(with_ends(segments))
    }

    /// What the reader has not of this segment.
    async fn add(
        &self,
        row: &BatchRow,
        stored: Stored,
        room: &mut u64,
        page: &mut ResultPage,
    ) -> Result<()> {
        let Had::First(had) = page.next.had(stored.first) else {
            return Ok(());
        };
        if *room == 0 {
            return Ok(());
        }
        let blob = segment_blob(row, stored.first, stored.epoch);
        let length = stored.answers_bytes + stored.errors_bytes;
        // Before a byte goes out: a page that breaks off, or that goes on behind a hole, would be taken
        // for whole.
        self.blobs.check(&[piece(&blob, 0, length)], 1).await?;
        let pieces = match had {
            0 => vec![piece(&blob, 0, length)],
            had => self.rest(&blob, length, had).await?,
        };
        *room = room.saturating_sub(pieces.iter().map(|piece| piece.length).sum());
        page.parts.push(Part::Stored(pieces));
        page.next.take_whole(stored.first, stored.last);
        Ok(())
    }

    /// The lines of a blob behind the first so many in the order of settling, which stands behind
    /// the lines: for each, its place among the numbers of the segment's lines.
    async fn rest(&self, blob: &str, length: u64, had: u32) -> Result<Vec<Piece>> {
        let order = length..length + 2 * u64::from(had);
        let order = self.blobs.range(blob, order).await?;
        let (places, _) = order.as_chunks::<2>();
        let mut lines = self.lines(blob, length).await?;
        let mut by_number: Vec<_> = (0..lines.len()).collect();
        by_number.sort_by_key(|at| lines[*at].0);
        for place in places {
            let place = usize::from(u16::from_le_bytes(*place));
            if let Some(at) = by_number.get(place) {
                lines[*at].2 = 0;
            }
        }
        let left = lines.iter().filter(|(_, _, length)| *length > 0);
        Ok(left
            .map(|(_, at, length)| piece(blob, *at, *length))
            .collect())
    }

    /// Number, begin and length of each line of a blob.
    async fn lines(&self, blob: &str, length: u64) -> Result<Vec<(u64, u64, u64)>> {
        let mut lines = Lines::default();
        let mut chunks = std::pin::pin!(self.blobs.read(vec![piece(blob, 0, length)]));
        while let Some(chunk) = chunks.try_next().await? {
            lines.feed(&chunk);
        }
        match lines.broken {
            true => Err(Error::internal(format!(
                "{blob} has a line without its number"
            ))),
            false => Ok(lines.found),
        }
    }
}

/// The lines of a blob as it goes by, of each only its beginning: there its number stands.
#[derive(Debug, Default)]
struct Lines {
    found: Vec<(u64, u64, u64)>,
    broken: bool,
    head: Vec<u8>,
    begin: u64,
    at: u64,
}

/// An id is shorter.
const HEAD: usize = 256;

impl Lines {
    fn feed(&mut self, chunk: &[u8]) {
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            let room = HEAD - self.head.len();
            self.head.extend_from_slice(&part[..part.len().min(room)]);
            self.at += part.len() as u64;
            if part.ends_with(b"\n") {
                match number(&self.head) {
                    Some(number) => self.found.push((number, self.begin, self.at - self.begin)),
                    None => self.broken = true,
                }
                self.head.clear();
                self.begin = self.at;
            }
        }
    }
}

impl Stored {
    fn of_row(row: &SealedRow) -> Self {
        Self {
            first: row.index,
            last: row.index + row.sealed.span.max(1) - 1,
            epoch: row.epoch,
            answers_bytes: row.sealed.answers_bytes,
            errors_bytes: row.sealed.errors_bytes,
        }
    }
}

fn piece(blob: &str, offset: u64, length: u64) -> Piece {
    Piece {
        blob: blob.to_owned(),
        offset,
        length,
    }
}

/// `{"id":"batch_req_<batch>_<line>",…`
fn number(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(b"{\"id\":\"batch_req_")?;
    let id = &rest[..memchr::memchr(b'"', rest)?];
    let digits = &id[memchr::memrchr(b'_', id)? + 1..];
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Index and epoch of a sealed segment, by the name of its blob.
fn place(blob: &str, batch: &str) -> Option<(u32, u32)> {
    if blob == name::first_seal(batch) {
        return Some((0, 1));
    }
    let (index, epoch) = blob.rsplit('/').next()?.split_once('.')?;
    Some((index.parse().ok()?, epoch.parse().ok()?))
}

/// The segments that one of the two files is made of.
fn add_manifest(
    segments: &mut BTreeMap<u32, Stored>,
    batch: &str,
    manifest: &Manifest,
    is_output: bool,
) -> Result<()> {
    for piece in &manifest.pieces {
        let Some((first, epoch)) = place(&piece.blob, batch) else {
            return Err(Error::internal(format!("{} is no segment", piece.blob)));
        };
        let stored = segments.entry(first).or_insert(Stored {
            first,
            last: first,
            epoch,
            answers_bytes: 0,
            errors_bytes: 0,
        });
        match is_output {
            true => stored.answers_bytes = piece.length,
            false => stored.errors_bytes = piece.length,
        }
    }
    Ok(())
}

/// A segment ends before the next begins. Where the last ends nobody has to know.
fn with_ends(segments: BTreeMap<u32, Stored>) -> Vec<Stored> {
    let mut all: Vec<_> = segments.into_values().collect();
    for at in 1..all.len() {
        all[at - 1].last = all[at].first - 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lines_number_is_read_off_its_beginning() {
        let line = br#"{"id":"batch_req_a_b_17","custom_id":"x_9"}"#;
        assert_eq!(number(line), Some(17));
        assert_eq!(number(br#"{"id":"chatcmpl-1","custom_id":"x"}"#), None);
    }

    #[test]
    fn lines_are_found_wherever_chunks_end() {
        let text = br#"{"id":"batch_req_a_7","body":"xxxxxxxxxxxxxxxxxx"}
{"id":"batch_req_a_12"}
"#;
        for size in [1, 2, 7, 30, text.len()] {
            let mut lines = Lines::default();
            text.chunks(size).for_each(|chunk| lines.feed(chunk));
            assert_eq!(lines.found, [(7, 0, 51), (12, 51, 24)], "{size}");
        }
    }

    #[test]
    fn segments_are_put_together_from_both_files_and_end_before_the_next() {
        let mut segments = BTreeMap::new();
        let mut output = Manifest::default();
        output.push("batches/b/segments/0.1", 0, 10);
        output.push("batches/b/segments/5.2", 0, 7);
        let mut errors = Manifest::default();
        errors.push("batches/b/segments/0.1", 10, 3);
        errors.push("batches/b/segments/1.1", 0, 9);
        add_manifest(&mut segments, "batch_1", &output, true).unwrap();
        add_manifest(&mut segments, "batch_1", &errors, false).unwrap();
        let told: Vec<_> = with_ends(segments)
            .iter()
            .map(|s| (s.first, s.last, s.epoch, s.answers_bytes, s.errors_bytes))
            .collect();
        assert_eq!(told, [(0, 0, 1, 10, 3), (1, 4, 1, 0, 9), (5, 5, 2, 7, 0)]);
    }
}
