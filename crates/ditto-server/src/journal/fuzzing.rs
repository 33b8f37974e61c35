//! Any bytes as a part that is read after a crash.

use super::record::{self, HEAD, Kind, MAGIC, Record};
use super::scan::{Whole, scan};
use super::{PartName, Place};
use crate::catalog::{SegmentKey, Usage};

const NAME: PartName = PartName {
    segment: SegmentKey { batch: 1, index: 0 },
    epoch: 1,
};
/// Bytes of a script that make one record: line, ordinal, kind, a count, and how long its payload is.
const HEAD_SCRIPT: usize = 6;

/// The first byte says how the rest is read. Even: it is the part itself. Odd: it tells which records
/// to write and what then happens to them, since no bytes that come by chance have a checksum that
/// holds. Either way only whole records come out, one behind the other from the start; of a part that is
/// cut, those before the cut; and of one that was damaged, those before the damage, unchanged.
///
/// # Panics
///
/// Where that does not hold.
pub fn journal(script: &[u8]) {
    let Some((mode, rest)) = script.split_first() else {
        return;
    };
    if mode % 2 == 0 {
        holds(rest, usize::from(*mode));
        return;
    }
    let mut script = rest;
    let damage = [byte(&mut script), byte(&mut script), byte(&mut script)];
    let (written, bytes) = write(script);
    assert_eq!(holds(&bytes, usize::from(damage[0])), written);
    let (harmed, untouched) = harm(bytes, damage);
    let found = holds(&harmed, usize::from(damage[1]));
    let ends = written
        .iter()
        .take_while(|(_, place)| end(place) <= untouched as u64);
    let kept = ends.count();
    assert!(found.len() <= written.len(), "no record comes from damage");
    assert_eq!(found[..kept], written[..kept], "what is before it stays");
}

/// What holds of every part, whoever wrote it; its records.
fn holds(part: &[u8], cut: usize) -> Vec<(Record, Place)> {
    let Ok(Whole { records, length }) = scan(part, NAME) else {
        assert!(part.len() >= MAGIC.len() && !part.starts_with(MAGIC));
        return Vec::new();
    };
    let mut at = MAGIC.len() as u64;
    for (_, place) in &records {
        assert_eq!(place.offset, at + HEAD as u64, "one behind the other");
        at = end(place);
    }
    let expected = if part.starts_with(MAGIC) { at } else { 0 };
    assert_eq!(length, expected);
    assert!(length <= part.len() as u64);

    let cut = cut * part.len() / 255;
    let shorter = scan(&part[..cut], NAME).map_or_else(|_| Vec::new(), |whole| whole.records);
    let before: Vec<_> = records
        .iter()
        .take_while(|(_, place)| end(place) <= cut as u64)
        .copied()
        .collect();
    assert_eq!(shorter, before, "a cut takes what is behind it and no more");
    records
}

fn end(place: &Place) -> u64 {
    place.offset + u64::from(place.length)
}

/// A part with the records that the script tells of.
fn write(mut script: &[u8]) -> (Vec<(Record, Place)>, Vec<u8>) {
    let (mut records, mut bytes) = (Vec::new(), MAGIC.to_vec());
    while let Some((head, rest)) = script.split_first_chunk::<HEAD_SCRIPT>() {
        let (payload, rest) = rest.split_at(usize::from(head[5]).min(rest.len()));
        script = rest;
        let record = Record {
            line: u64::from_le_bytes([head[0], head[1], 0, 0, head[0], 0, 0, head[1]]),
            ordinal: u16::from_le_bytes([head[1], head[2]]),
            kind: [Kind::Answer, Kind::Error, Kind::Ended][usize::from(head[3] % 3)],
            usage: Usage {
                input: u64::from(head[4]) << 24,
                ..Usage::default()
            },
        };
        let place = Place {
            offset: (bytes.len() + HEAD) as u64,
            length: u32::try_from(payload.len()).expect("at most 255"),
        };
        record::encode(&mut bytes, &record, payload);
        records.push((record, place));
    }
    (records, bytes)
}

/// A part after something has happened to it, and how many bytes from its start are as they were.
fn harm(mut bytes: Vec<u8>, [what, at, with]: [u8; 3]) -> (Vec<u8>, usize) {
    let at = (usize::from(at) * bytes.len() / 256).min(bytes.len() - 1);
    let untouched = match what % 5 {
        0 => {
            bytes[at] ^= 1 << (with % 8);
            at
        }
        1 => {
            bytes[at..].fill(0);
            at
        }
        2 => {
            bytes.truncate(at);
            at
        }
        3 => {
            bytes.remove(at);
            at
        }
        _ => {
            let whole = bytes.len();
            bytes.extend(std::iter::repeat_n(with, 100));
            whole
        }
    };
    (bytes, untouched)
}

fn byte(script: &mut &[u8]) -> u8 {
    let Some((first, rest)) = script.split_first() else {
        return 0;
    };
    *script = rest;
    *first
}
