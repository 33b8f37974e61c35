//! Where the lines of a file start, and the lines of bytes that come in.

use bytes::{Buf, Bytes, BytesMut};

use super::{damaged, put_varint, take_varint};
use crate::error::Result;

/// One entry every [`LINES_APART`] lines or [`BYTES_APART`] bytes, whichever comes first: enough to
/// find a line by reading one chunk, small enough (about 4 bytes an entry) to stay in memory while
/// a file of any size is uploaded.
#[derive(Debug, Default)]
pub(crate) struct LineIndex {
    /// Pairs of differences to the entry before, each a LEB128 number.
    deltas: BytesMut,
    last: Option<(u64, u64)>,
}

const LINES_APART: u64 = 16;
const BYTES_APART: u64 = 64 * 1024;

impl LineIndex {
    /// Tells the index where a line starts; it keeps what it needs. Lines come in order.
    pub(crate) fn line(&mut self, number: u64, offset: u64) {
        if let Some((line, at)) = self.last
            && number - line < LINES_APART
            && offset - at < BYTES_APART
        {
            return;
        }
        self.put(number, offset);
    }

    fn put(&mut self, number: u64, offset: u64) {
        let (line, at) = self.last.unwrap_or_default();
        put_varint(&mut self.deltas, number - line);
        put_varint(&mut self.deltas, offset - at);
        self.last = Some((number, offset));
    }

    /// As it is stored.
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.deltas
    }
}

/// The entries of an index that was stored, one after the other.
#[derive(Debug)]
pub(crate) struct Entries {
    rest: Bytes,
    last: (u64, u64),
}

impl Entries {
    pub(crate) fn of(index: Bytes) -> Self {
        Self {
            rest: index,
            last: (0, 0),
        }
    }

    fn entry(&mut self) -> Option<(u64, u64)> {
        let (lines, bytes) = (take_varint(&mut self.rest)?, take_varint(&mut self.rest)?);
        let (line, at) = self.last;
        self.last = (line.checked_add(lines)?, at.checked_add(bytes)?);
        Some(self.last)
    }
}

impl Iterator for Entries {
    type Item = Result<(u64, u64)>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.rest.has_remaining() {
            return None;
        }
        let entry = self.entry();
        if entry.is_none() {
            self.rest.clear();
        }
        Some(entry.ok_or_else(damaged))
    }
}

/// The lines of bytes that come in. Each byte is seen once, here.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    bytes: u64,
    breaks: u64,
    /// What comes next begins a line, as far as is known.
    at_start: bool,
    index: LineIndex,
}

impl Lines {
    /// Of a file from its first byte on.
    pub(crate) fn of_file() -> Self {
        Self {
            at_start: true,
            ..Self::default()
        }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if self.at_start && !bytes.is_empty() {
            self.index.line(self.breaks + 1, self.bytes);
            self.at_start = false;
        }
        for at in memchr::memchr_iter(b'\n', bytes) {
            self.breaks += 1;
            if at + 1 < bytes.len() {
                self.index.line(self.breaks + 1, self.bytes + at as u64 + 1);
            } else {
                self.at_start = true;
            }
        }
        self.bytes += bytes.len() as u64;
    }

    /// Physical lines, if this is a whole file.
    pub(crate) fn count(&self) -> u64 {
        self.breaks + u64::from(!self.at_start)
    }

    pub(crate) fn index(&self) -> &LineIndex {
        &self.index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(index: &LineIndex) -> Vec<(u64, u64)> {
        let stored = Bytes::copy_from_slice(index.encoded());
        Entries::of(stored).collect::<Result<_>>().unwrap()
    }

    fn lines_of(chunks: &[&[u8]]) -> (u64, Vec<(u64, u64)>) {
        let mut lines = Lines::of_file();
        chunks.iter().for_each(|chunk| lines.feed(chunk));
        (lines.count(), entries(lines.index()))
    }

    #[test]
    fn lines_are_counted_wherever_the_bytes_are_cut() {
        let table: [(&[&[u8]], u64); 7] = [
            (&[], 0),
            (&[b""], 0),
            (&[b"a"], 1),
            (&[b"a\n", b"", b"b"], 2),
            (&[b"a", b"\n", b"b", b"\n"], 2),
            (&[b"\n\n"], 2),
            (&[b"\n", b"\n", b"x"], 3),
        ];
        for (chunks, count) in table {
            assert_eq!(lines_of(chunks).0, count, "{chunks:?}");
        }
    }

    #[test]
    fn every_sixteenth_line_is_in_the_index_and_each_that_is_far_from_the_one_before() {
        let short = b"x\n".repeat(40);
        assert_eq!(lines_of(&[&short]).1, [(1, 0), (17, 32), (33, 64)]);
        let long = [&[b'x'; 70_000][..], b"\n"].concat().repeat(3);
        assert_eq!(lines_of(&[&long]).1, [(1, 0), (2, 70_001), (3, 140_002)]);
    }
}
