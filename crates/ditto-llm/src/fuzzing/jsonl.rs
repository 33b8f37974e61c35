//! Any bytes as a stream of lines.

use std::convert::Infallible;

use super::{byte, chunks};
use crate::jsonl::{Content, Line, LineSplitter, split_lines};

/// A line that can be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    number: u64,
    start: u64,
    end: u64,
    /// `None`: too long.
    bytes: Option<Vec<u8>>,
}

/// Three bytes say how the rest is cut and how long a line may be; the rest is the stream. However it
/// is cut, its lines are the same; they tile it; and each holds what stands between two line feeds.
///
/// # Panics
///
/// Where that does not hold.
pub fn jsonl(mut script: &[u8]) {
    let (most, seed, limit) = (byte(&mut script), byte(&mut script), byte(&mut script));
    let (stream, limit) = (script, usize::from(limit));
    let whole = split([stream].into_iter(), limit);
    assert_eq!(split(chunks(stream, most, seed), limit), whole);

    let mut at = 0;
    for (number, (line, raw)) in (1..).zip(whole.iter().zip(split_at_line_feeds(stream))) {
        assert_eq!((line.number, line.start), (number, at));
        at = line.end;
        let content = content(raw, number);
        let fits = content.len() <= limit;
        assert_eq!(line.bytes.as_deref(), fits.then_some(content));
        assert_eq!(line.end - line.start, raw.len() as u64);
    }
    assert_eq!(at, stream.len() as u64, "the lines tile the stream");
    assert_eq!(whole.len(), split_lines(stream).count());
}

fn split<'a>(chunks: impl Iterator<Item = &'a [u8]>, limit: usize) -> Vec<Kept> {
    let mut lines = Vec::new();
    let mut keep = |line: Line<'_>| {
        let bytes = match line.content {
            Content::Bytes(bytes) => Some(bytes.to_vec()),
            Content::TooLong => None,
        };
        lines.push(Kept {
            number: line.number,
            start: line.start,
            end: line.end,
            bytes,
        });
        Ok::<_, Infallible>(())
    };
    let mut splitter = LineSplitter::new(limit);
    let Ok(()) = chunks
        .into_iter()
        .try_for_each(|chunk| splitter.feed(chunk, &mut keep));
    let Ok(()) = splitter.finish(&mut keep);
    lines
}

/// The plainest way there is, line feeds kept.
fn split_at_line_feeds(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    stream.split_inclusive(|byte| *byte == b'\n')
}

fn content(raw: &[u8], number: u64) -> &[u8] {
    let raw = raw.strip_suffix(b"\n").unwrap_or(raw);
    let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
    match number {
        1 => raw.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(raw),
        _ => raw,
    }
}
