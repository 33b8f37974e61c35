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
#[derive(Debug, Default)]
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

    /// Of bytes of which nobody knows what will stand before them: whether they begin a line is not
    /// told, and line numbers are counted as if they began line 1.
    pub(crate) fn of_part() -> Self {
        Self::default()
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

    /// Line breaks so far.
    pub(crate) fn breaks(&self) -> u64 {
        self.breaks
    }

    /// Whether the last byte is a line break.
    pub(crate) fn ends_line(&self) -> bool {
        self.at_start
    }

    /// Physical lines, if this is a whole file.
    pub(crate) fn count(&self) -> u64 {
        self.breaks + u64::from(!self.at_start)
    }

    pub(crate) fn index(&self) -> &LineIndex {
        &self.index
    }
}

/// The lines of a file whose parts are put one behind the other. A line may go over many of them.
#[derive(Debug)]
pub(crate) struct Joined {
    bytes: u64,
    breaks: u64,
    at_start: bool,
    index: LineIndex,
}

impl Default for Joined {
    fn default() -> Self {
        Self {
            bytes: 0,
            breaks: 0,
            at_start: true,
            index: LineIndex::default(),
        }
    }
}

impl Joined {
    /// The next part, as [`Lines::of_part`] told of it. It is not empty.
    pub(crate) fn add(
        &mut self,
        bytes: u64,
        breaks: u64,
        ends_line: bool,
        index: Entries,
    ) -> Result<()> {
        if self.at_start {
            self.index.put(self.breaks + 1, self.bytes);
        }
        for entry in index {
            let (line, offset) = entry?;
            self.index.put(self.breaks + line, self.bytes + offset);
        }
        self.bytes += bytes;
        self.breaks += breaks;
        self.at_start = ends_line;
        Ok(())
    }

    /// Physical lines.
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

    fn joined(parts: &[&[u8]]) -> (u64, Vec<(u64, u64)>) {
        let mut joined = Joined::default();
        for part in parts {
            let mut lines = Lines::of_part();
            lines.feed(part);
            let stored = Bytes::copy_from_slice(lines.index().encoded());
            let bytes = part.len() as u64;
            let (breaks, ends_line) = (lines.breaks(), lines.ends_line());
            joined
                .add(bytes, breaks, ends_line, Entries::of(stored))
                .unwrap();
        }
        (joined.count(), entries(joined.index()))
    }

    #[test]
    fn parts_are_joined_in_the_middle_of_a_line_or_between_two() {
        assert_eq!(joined(&[b"a\n", b"b\n"]), (2, vec![(1, 0), (2, 2)]));
        assert_eq!(
            joined(&[b"a\nb", b"b\nc"]),
            (3, vec![(1, 0), (2, 2), (3, 5)])
        );
        assert_eq!(joined(&[b"a", b"a", b"a"]), (1, vec![(1, 0)]));
        assert_eq!(joined(&[b"a", b"\n", b"\n"]), (2, vec![(1, 0), (2, 2)]));
    }

    proptest::proptest! {
        #[test]
        fn however_a_file_is_cut_its_lines_are_those_of_the_whole(
            text in "[a\n]{1,400}",
            cuts in proptest::collection::vec(1usize..60, 1..20),
        ) {
            let (mut rest, mut parts) = (text.as_bytes(), Vec::new());
            for cut in cuts {
                let (part, behind) = rest.split_at(cut.min(rest.len()));
                parts.push(part);
                rest = behind;
            }
            parts.push(rest);
            parts.retain(|part| !part.is_empty());
            let (count, index) = joined(&parts);
            proptest::prop_assert_eq!(count, lines_of(&[text.as_bytes()]).0);
            // Each entry is the start of its line, and none is far from the one before.
            let starts: Vec<u64> = std::iter::once(0)
                .chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at as u64 + 1))
                .collect();
            let mut before = 0;
            for (line, offset) in index {
                proptest::prop_assert_eq!(starts[usize::try_from(line).unwrap() - 1], offset);
                proptest::prop_assert!(line > before && line - before <= LINES_APART + 1);
                before = line;
            }
            proptest::prop_assert!(count < before + LINES_APART + 1);
        }
    }
}
