//! What is looked at of a batch input before a batch is made: its name and its first line, as at
//! OpenAI.

use crate::error::{Error, Result};

/// A first line is read up to here; a longer one is left to validation.
pub(crate) const MAX_FIRST_LINE: usize = 1 << 20;

const NOT_JSONL: &str = "Invalid file format for Batch API. Must be .jsonl";

/// An error unless a file of this name may be a batch input. A name without an extension says nothing
/// against it: SDKs that are given bytes and no name send `upload`.
pub(crate) fn check_extension(filename: &str) -> Result<()> {
    let may_be_jsonl = filename
        .rsplit_once('.')
        .is_none_or(|(_, extension)| extension.eq_ignore_ascii_case("jsonl"));
    if may_be_jsonl {
        return Ok(());
    }
    Err(Error::invalid(NOT_JSONL))
}

/// The first line that is not blank.
#[derive(Debug, Default)]
pub(crate) struct FirstLine {
    bytes: Vec<u8>,
    state: Reading,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Reading {
    #[default]
    Begun,
    Whole,
    TooLong,
}

impl FirstLine {
    pub(crate) fn feed(&mut self, mut chunk: &[u8]) {
        while self.state == Reading::Begun && !chunk.is_empty() {
            let (line, rest, ended) = match memchr::memchr(b'\n', chunk) {
                Some(at) => (&chunk[..at], &chunk[at + 1..], true),
                None => (chunk, &[][..], false),
            };
            chunk = rest;
            if self.bytes.len() + line.len() > MAX_FIRST_LINE {
                self.bytes = Vec::new();
                self.state = Reading::TooLong;
                return;
            }
            self.bytes.extend_from_slice(line);
            if ended && self.content().is_empty() {
                self.bytes.clear();
            } else if ended {
                self.state = Reading::Whole;
            }
        }
    }

    /// No more bytes come.
    pub(crate) fn end(&mut self) {
        if self.state == Reading::Begun {
            self.state = Reading::Whole;
        }
    }

    /// Nothing that follows changes what is said of it.
    pub(crate) fn is_known(&self) -> bool {
        self.state != Reading::Begun
    }

    fn content(&self) -> &[u8] {
        self.bytes
            .strip_prefix(b"\xEF\xBB\xBF")
            .unwrap_or(&self.bytes)
            .trim_ascii()
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.state == Reading::TooLong {
            return Ok(());
        }
        let problem = if self.content().is_empty() {
            "the file is empty"
        } else if serde_json::from_slice::<serde::de::IgnoredAny>(self.content()).is_err() {
            "the first line is not valid JSON"
        } else {
            return Ok(());
        };
        Err(Error::invalid(format!("{NOT_JSONL}: {problem}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(chunks: &[&[u8]]) -> bool {
        let mut line = FirstLine::default();
        for chunk in chunks {
            line.feed(chunk);
        }
        line.end();
        line.check().is_ok()
    }

    #[test]
    fn the_first_line_with_anything_on_it_must_be_json() {
        let good: [&[&[u8]]; 6] = [
            &[b"{}"],
            &[b"{\"a\"", b":1}\n", b"nonsense"],
            &[b"\xEF\xBB\xBF{}\r\n"],
            &[b"\n", b" \t\r\n{}", b"\n"],
            &[b"[1]\n"],
            &[b"\"", &[b'x'; MAX_FIRST_LINE]],
        ];
        let bad: [&[&[u8]]; 6] = [
            &[],
            &[b""],
            &[b"\n \r\n"],
            &[b"id,text\n{}"],
            &[b"{\n}"],
            &[b"\xEF\xBB\xBF"],
        ];
        for chunks in good {
            assert!(verdict(chunks), "{:?}", chunks.first());
        }
        for chunks in bad {
            assert!(!verdict(chunks), "{chunks:?}");
        }
    }
}
