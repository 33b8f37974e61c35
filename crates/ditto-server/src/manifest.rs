//! A file's content as a list of pieces, and the sparse index of its lines.
//!
//! Uploads in one go, uploads in parts, results in thousands of pieces and inputs read in place
//! are one thing: a manifest. It is stored as the file's `map` blob, with the index behind it.

use std::ops::Range;

use bytes::{Buf, BufMut, Bytes, BytesMut};

pub(crate) use self::index::{Entries, Joined, LineIndex, Lines};
use crate::error::{Error, GONE, Result};

mod index;

/// First bytes of a map blob; the last digit is its version.
const MAGIC: &[u8; 8] = b"DTTOMAP1";

/// Bytes of a blob that are a part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Name in the store.
    pub(crate) blob: String,
    /// First byte within the blob.
    pub(crate) offset: u64,
    /// Bytes.
    pub(crate) length: u64,
}

/// A file's content, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The pieces, in order; none is empty.
    pub(crate) pieces: Vec<Piece>,
}

impl Manifest {
    /// A file that is one whole blob.
    pub(crate) fn whole(blob: impl Into<String>, length: u64) -> Self {
        Self {
            pieces: vec![Piece {
                blob: blob.into(),
                offset: 0,
                length,
            }],
        }
    }

    /// Adds a piece, unless it is empty.
    pub(crate) fn push(&mut self, blob: impl Into<String>, offset: u64, length: u64) {
        if length > 0 {
            self.pieces.push(Piece {
                blob: blob.into(),
                offset,
                length,
            });
        }
    }

    /// Size of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.pieces.iter().map(|p| p.length).sum()
    }

    /// The pieces that hold these bytes of the file, cut to them.
    pub(crate) fn slice(&self, range: Range<u64>) -> Vec<Piece> {
        let mut at = 0;
        let mut out = Vec::new();
        for piece in &self.pieces {
            let (start, end) = (at, at + piece.length);
            at = end;
            if end <= range.start {
                continue;
            }
            if start >= range.end {
                break;
            }
            let from = range.start.max(start) - start;
            let to = range.end.min(end) - start;
            out.push(Piece {
                blob: piece.blob.clone(),
                offset: piece.offset + from,
                length: to - from,
            });
        }
        out
    }
}

/// The content of a map blob.
pub(crate) fn encode(manifest: &Manifest, index: &LineIndex) -> Bytes {
    let index = index.encoded();
    let mut out = BytesMut::with_capacity(64 + manifest.pieces.len() * 64 + index.len());
    out.put_slice(MAGIC);
    put_varint(&mut out, manifest.pieces.len() as u64);
    for piece in &manifest.pieces {
        put_varint(&mut out, piece.blob.len() as u64);
        out.put_slice(piece.blob.as_bytes());
        put_varint(&mut out, piece.offset);
        put_varint(&mut out, piece.length);
    }
    out.put_slice(index);
    out.freeze()
}

fn damaged() -> Error {
    Error::internal(
        "a file's map blob is damaged; the file's bytes are untouched: restore the blob from a backup or upload the file again",
    )
    .with_code(GONE)
}

/// Reads a map blob: the manifest, and the index as (line, offset) pairs.
pub(crate) fn decode(mut map: Bytes) -> Result<(Manifest, Vec<(u64, u64)>)> {
    if map.len() < MAGIC.len() || &map[..MAGIC.len()] != MAGIC {
        return Err(damaged());
    }
    map.advance(MAGIC.len());
    let count = take_varint(&mut map).ok_or_else(damaged)?;
    let mut manifest = Manifest::default();
    // What is added up later is known to fit.
    let mut total = 0u64;
    for _ in 0..count {
        let length = take_varint(&mut map).ok_or_else(damaged)?;
        let length = usize::try_from(length).map_err(|_| damaged())?;
        if length > map.len() {
            return Err(damaged());
        }
        let blob = String::from_utf8(map.split_to(length).to_vec()).map_err(|_| damaged())?;
        let offset = take_varint(&mut map).ok_or_else(damaged)?;
        let length = take_varint(&mut map).ok_or_else(damaged)?;
        let end = offset.checked_add(length).ok_or_else(damaged)?;
        total = end.checked_add(total).ok_or_else(damaged)?;
        manifest.push(blob, offset, length);
    }
    let index = Entries::of(map).collect::<Result<_>>()?;
    Ok((manifest, index))
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value as u8) | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn take_varint(from: &mut Bytes) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        if !from.has_remaining() {
            return None;
        }
        let byte = from.get_u8();
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three_pieces() -> Manifest {
        let mut manifest = Manifest::default();
        manifest.push("a", 0, 10);
        manifest.push("b", 5, 20);
        manifest.push("empty", 0, 0);
        manifest.push("c", 0, 1);
        manifest
    }

    #[test]
    fn a_slice_is_cut_at_both_ends() {
        let pieces = three_pieces().slice(8..12);
        assert_eq!(
            pieces,
            [
                Piece {
                    blob: "a".into(),
                    offset: 8,
                    length: 2
                },
                Piece {
                    blob: "b".into(),
                    offset: 5,
                    length: 2
                },
            ]
        );
    }

    #[test]
    fn every_slice_has_the_length_asked_for() {
        let manifest = three_pieces();
        let total = manifest.bytes();
        assert_eq!(total, 31);
        for start in 0..total {
            for end in start..=total {
                let sum: u64 = manifest.slice(start..end).iter().map(|p| p.length).sum();
                assert_eq!(sum, end - start);
            }
        }
    }

    #[test]
    fn a_map_is_read_back_as_written() {
        let mut index = LineIndex::default();
        for number in 1..=100 {
            index.line(number, (number - 1) * 5_000);
        }
        let (manifest, pairs) = decode(encode(&three_pieces(), &index)).unwrap();
        assert_eq!(manifest, three_pieces());
        assert_eq!(pairs[..3], [(1, 0), (15, 70_000), (29, 140_000)]);
    }

    #[test]
    fn a_map_cut_anywhere_is_an_error_or_a_shorter_index_but_never_a_panic() {
        let mut index = LineIndex::default();
        index.line(1, 0);
        index.line(300, 1 << 40);
        let whole = encode(&three_pieces(), &index);
        for length in 0..whole.len() {
            let _ = decode(whole.slice(..length)).map(|(manifest, _)| manifest.bytes());
        }
        assert!(decode(Bytes::from_static(b"something else")).is_err());
    }

    proptest::proptest! {
        #[test]
        fn a_map_of_any_bytes_is_an_error_or_a_manifest_that_can_be_added_up(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)
        ) {
            let map = [&MAGIC[..], &bytes].concat();
            if let Ok((manifest, _)) = decode(Bytes::from(map)) {
                let total = manifest.bytes();
                manifest.slice(0..total);
            }
        }
    }
}
