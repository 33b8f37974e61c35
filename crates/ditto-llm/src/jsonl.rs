//! Lines of a JSONL stream, without I/O: feed bytes, take lines with their number and span.
//!
//! A line ends at byte `0x0A` and nowhere else. U+2028, U+2029 and U+0085 are legal inside JSON
//! strings, and readers that split there break files that are in order.
//!
//! ```
//! use std::convert::Infallible;
//! use ditto_llm::jsonl::LineSplitter;
//!
//! let mut splitter = LineSplitter::new(1024);
//! let mut seen = Vec::new();
//! for chunk in [&b"{\"a\":1}\n{\"b\""[..], b":2}"] {
//!     splitter.feed(chunk, |line| {
//!         seen.push((line.number, line.start, line.end));
//!         Ok::<_, Infallible>(())
//!     })?;
//! }
//! splitter.finish(|line| {
//!     seen.push((line.number, line.start, line.end));
//!     Ok::<_, Infallible>(())
//! })?;
//! assert_eq!(seen, [(1, 0, 8), (2, 8, 15)]);
//! # Ok::<(), Infallible>(())
//! ```

use memchr::memchr;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// What a line may carry beyond its content: a BOM in front and a carriage return behind. A
/// broken line is kept up to the limit and this much, so that where chunks end changes nothing.
const TRIMMINGS: usize = BOM.len() + 1;

/// Cuts a stream of chunks into lines. A line that lies whole in one chunk is borrowed from it;
/// only a line broken by the end of a chunk is copied, and never more of it than the limit.
#[derive(Debug)]
pub struct LineSplitter {
    max_line_bytes: usize,
    /// Lines already handed out.
    lines: u64,
    /// Where the line at hand begins in the stream.
    start: u64,
    /// Bytes seen of the line at hand in earlier chunks; more than `carried` once it is too long.
    pending: u64,
    carried: Vec<u8>,
}

/// One physical line. The lines of a stream tile it: each begins where the one before ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Counted from 1; blank lines count.
    pub number: u64,
    /// Byte offset of the first byte. A BOM belongs to line 1.
    pub start: u64,
    /// Byte offset just past the line feed, or the end of the stream.
    pub end: u64,
    /// What the line holds.
    pub content: Content<'a>,
}

/// The bytes of a line, unless there were too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// Without the line feed, one carriage return before it, and a BOM at the start of line 1.
    Bytes(&'a [u8]),
    /// The line is over the limit; its bytes were not kept.
    TooLong,
}

impl Line<'_> {
    /// Where its content begins in the stream.
    pub(crate) fn content_start(&self) -> u64 {
        let Content::Bytes(bytes) = self.content else {
            return self.start;
        };
        // A BOM stands before the first line; what ends a line is no more than two bytes.
        let around = self.end - self.start - bytes.len() as u64;
        self.start + if around >= 3 { 3 } else { 0 }
    }

    /// Whether the line holds only spaces, tabs and carriage returns: no request, but a number.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        match self.content {
            Content::Bytes(bytes) => bytes.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r')),
            Content::TooLong => false,
        }
    }
}

impl LineSplitter {
    /// A splitter at the start of a stream. A line whose content has more than `max_line_bytes`
    /// bytes comes out as [`Content::TooLong`].
    #[must_use]
    pub fn new(max_line_bytes: usize) -> Self {
        Self {
            max_line_bytes,
            lines: 0,
            start: 0,
            pending: 0,
            carried: Vec::new(),
        }
    }

    /// Hands every line that ends in `chunk` to `on_line`.
    ///
    /// # Errors
    ///
    /// Those of `on_line`. The rest of the chunk is then lost, so the splitter is of no more use.
    pub fn feed<E>(
        &mut self,
        chunk: &[u8],
        mut on_line: impl FnMut(Line<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = chunk;
        if self.pending > 0 {
            let Some(at) = memchr(b'\n', rest) else {
                self.carry(rest);
                return Ok(());
            };
            self.carry(&rest[..at]);
            self.hand_over_carried(1, &mut on_line)?;
            rest = &rest[at + 1..];
        }
        while let Some(at) = memchr(b'\n', rest) {
            self.hand_over(&rest[..at], at as u64, 1, &mut on_line)?;
            rest = &rest[at + 1..];
        }
        self.carry(rest);
        Ok(())
    }

    /// Hands over the last line if the stream did not end in a line feed.
    ///
    /// # Errors
    ///
    /// Those of `on_line`.
    pub fn finish<E>(
        &mut self,
        mut on_line: impl FnMut(Line<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.pending == 0 {
            return Ok(());
        }
        self.hand_over_carried(0, &mut on_line)
    }

    fn carry(&mut self, bytes: &[u8]) {
        let most = self.max_line_bytes.saturating_add(TRIMMINGS);
        let room = most.saturating_sub(self.carried.len());
        self.carried
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.pending += bytes.len() as u64;
    }

    fn hand_over_carried<E>(
        &mut self,
        terminator: u64,
        on_line: &mut impl FnMut(Line<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let carried = std::mem::take(&mut self.carried);
        let result = self.hand_over(&carried, self.pending, terminator, on_line);
        self.carried = carried;
        self.carried.clear();
        self.pending = 0;
        result
    }

    /// `raw` is the line as far as it was kept, `length` how long it really is.
    fn hand_over<E>(
        &mut self,
        raw: &[u8],
        length: u64,
        terminator: u64,
        on_line: &mut impl FnMut(Line<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.lines += 1;
        let start = self.start;
        self.start += length + terminator;
        let content = match trimmed(raw, self.lines) {
            bytes if bytes.len() > self.max_line_bytes || raw.len() as u64 != length => {
                Content::TooLong
            }
            bytes => Content::Bytes(bytes),
        };
        on_line(Line {
            number: self.lines,
            start,
            end: self.start,
            content,
        })
    }
}

/// Lines of a buffer that starts at the start of a line: without line feed and without one
/// carriage return before it. Who calls knows the number of the first, and counts.
pub fn split_lines(whole: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = whole;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (line, after) = match memchr(b'\n', rest) {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest, &[][..]),
        };
        rest = after;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    })
}

/// `raw` without what belongs to the file rather than to the line.
pub(crate) fn trimmed(raw: &[u8], number: u64) -> &[u8] {
    let raw = if number == 1 {
        raw.strip_prefix(BOM).unwrap_or(raw)
    } else {
        raw
    };
    raw.strip_suffix(b"\r").unwrap_or(raw)
}

#[cfg(test)]
mod tests;
