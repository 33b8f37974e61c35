//! What the lines of a segment are, for the plan that is written and the worker that reads it: both
//! must see the same bytes in the same lines.

use xxhash_rust::xxh3::Xxh3;

/// The hash of a segment's lines: of each line's bytes without its ending, so that the plan and
/// the reader need not agree on more than what a line is.
#[derive(Default)]
pub(crate) struct LineHash(Box<Xxh3>);

impl LineHash {
    pub(crate) fn line(&mut self, line: &[u8]) {
        self.0.update(line);
        self.0.update(b"\n");
    }

    pub(crate) fn finish(&self) -> u64 {
        self.0.digest()
    }

    /// The hash so far; the next line begins another.
    pub(crate) fn take(&mut self) -> u64 {
        let hash = self.0.digest();
        self.0.reset();
        hash
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
