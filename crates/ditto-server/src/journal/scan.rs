//! Reads a part from its start: which records are whole, and where their payloads are.
//!
//! It streams: a part may hold a thousand long answers, and what is needed of them is their place.

use std::io::{ErrorKind as Io, Read};

use super::record::{self, HEAD, MAGIC};
use super::{PartName, Place, Record};
use crate::error::{Error, Result};

/// Payloads are read and summed in pieces of this size.
const PIECE: usize = 64 * 1024;

/// What a part holds.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    /// Its whole records in the order they were appended.
    pub(crate) records: Vec<(Record, Place)>,
    /// The bytes up to the last of them; 0 if there is none.
    pub(crate) length: u64,
}

/// All whole records of a part; the first that is torn ends it.
pub(crate) fn scan(mut part: impl Read, name: PartName) -> Result<Whole> {
    let failed = |e: std::io::Error| Error::storage(format!("read journal part {name}"), e);
    let mut whole = Whole::default();
    let mut magic = [0; MAGIC.len()];
    if !fill(&mut part, &mut magic).map_err(failed)? {
        return Ok(whole);
    }
    if &magic != MAGIC {
        // A crash can leave a file longer than what was written to it, full of zeros.
        if magic == [0; MAGIC.len()] {
            return Ok(whole);
        }
        return Err(another_version(name));
    }
    let mut at = MAGIC.len() as u64;
    whole.length = at;
    let mut piece = vec![0; PIECE];
    while let Some((record, length)) = next(&mut part, &mut piece).map_err(failed)? {
        let offset = at + HEAD as u64;
        whole.records.push((record, Place { offset, length }));
        at = offset + u64::from(length);
        whole.length = at;
    }
    Ok(whole)
}

/// The next record if all of it is there and its checksum holds, and the length of its payload.
fn next(part: &mut impl Read, piece: &mut [u8]) -> std::io::Result<Option<(Record, u32)>> {
    let mut head = [0; HEAD];
    if !fill(part, &mut head)? {
        return Ok(None);
    }
    let Some(mut expected) = record::expect(&head) else {
        return Ok(None);
    };
    let mut left = expected.length as usize;
    while left > 0 {
        let some = left.min(piece.len());
        if !fill(part, &mut piece[..some])? {
            return Ok(None);
        }
        expected.payload(&piece[..some]);
        left -= some;
    }
    let length = expected.length;
    Ok(expected.record().map(|record| (record, length)))
}

/// Fills the buffer. False: the part ended before it was full.
fn fill(part: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<bool> {
    match part.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == Io::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

fn another_version(name: PartName) -> Error {
    Error::internal(format!(
        "journal part {name} was written by another version; nothing was changed: start the version that wrote it, or move the file away to have its lines asked again"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{SegmentKey, Usage};
    use crate::journal::Kind;

    const NAME: PartName = PartName {
        segment: SegmentKey { batch: 1, index: 0 },
        epoch: 1,
    };

    fn part(payloads: &[&[u8]]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for (line, payload) in (1..).zip(payloads) {
            let record = Record {
                line,
                ordinal: line as u16,
                kind: Kind::Answer,
                usage: Usage::default(),
            };
            record::encode(&mut bytes, &record, payload);
        }
        bytes
    }

    fn places(bytes: &[u8]) -> (Vec<Vec<u8>>, u64) {
        let whole = scan(bytes, NAME).unwrap();
        let payload = |place: &Place| {
            let start = place.offset as usize;
            bytes[start..start + place.length as usize].to_vec()
        };
        let payloads = whole.records.iter().map(|(_, place)| payload(place));
        (payloads.collect(), whole.length)
    }

    #[test]
    fn payloads_longer_than_a_piece_are_found_where_they_are() {
        let long = vec![b'x'; 3 * PIECE + 7];
        let bytes = part(&[b"short", &long, b"", b"last"]);
        let expected: Vec<Vec<u8>> = vec![b"short".into(), long, b"".into(), b"last".into()];
        assert_eq!(places(&bytes), (expected, bytes.len() as u64));
    }

    #[test]
    fn a_part_torn_anywhere_ends_with_its_last_whole_record() {
        let bytes = part(&[b"first", b"second"]);
        let one = part(&[b"first"]).len();
        for length in 0..=bytes.len() {
            let (payloads, whole) = places(&bytes[..length]);
            let expected = match length {
                _ if length < MAGIC.len() => (0, 0),
                _ if length < one => (0, MAGIC.len()),
                _ if length < bytes.len() => (1, one),
                _ => (2, bytes.len()),
            };
            assert_eq!(
                (payloads.len(), whole as usize),
                expected,
                "cut at {length}"
            );
        }
    }

    #[test]
    fn zeros_behind_the_last_record_and_instead_of_a_part_are_nothing() {
        let mut bytes = part(&[b"first"]);
        let whole = bytes.len() as u64;
        bytes.extend([0; 5_000]);
        assert_eq!(places(&bytes), (vec![b"first".to_vec()], whole));
        assert_eq!(places(&[0; 5_000]), (vec![], 0));
    }

    #[test]
    fn a_part_of_another_version_is_refused_in_a_sentence() {
        let error = scan(&b"DTTOJNL9 and more"[..], NAME).unwrap_err();
        assert!(error.message().contains("another version"), "{error}");
    }
}
