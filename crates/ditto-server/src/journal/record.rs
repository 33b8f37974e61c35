//! One record of a journal part: which line, where it goes, its tokens, and the finished line.

use crate::catalog::Usage;

/// First bytes of a part; the last digit is its version.
pub(crate) const MAGIC: &[u8; 8] = b"DTTOJNL1";
/// Bytes before a record's payload.
pub(crate) const HEAD: usize = 44;
/// A longer payload is not a payload but damage: answers are limited far below.
const MAX_PAYLOAD: u32 = 1 << 30;

/// Where a settled line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The output file.
    Answer,
    /// The error file.
    Error,
    /// The error file, by a cancel or an expiry: not counted as failed.
    Ended,
}

/// What a record says beside its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// Number of the line in its file.
    pub(crate) line: u64,
    /// Place of the request in its segment.
    pub(crate) ordinal: u16,
    /// Where it goes.
    pub(crate) kind: Kind,
    /// What it cost.
    pub(crate) usage: Usage,
}

/// Why a buffer ends before its last byte.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Torn {
    /// Fewer bytes than the record says, or a checksum that does not match.
    At(usize),
}

/// Appends one record: length, checksum over all behind it, head, payload.
pub(crate) fn encode(out: &mut Vec<u8>, record: &Record, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("answers are limited far below 4 GiB");
    let mut head = Head::new(record, length);
    head.payload(payload);
    out.extend_from_slice(&head.finish());
    out.extend_from_slice(payload);
}

/// The head of a record whose payload goes by piece by piece.
#[derive(Debug)]
pub(crate) struct Head {
    bytes: [u8; HEAD],
    hasher: crc32fast::Hasher,
}

impl Head {
    pub(crate) fn new(record: &Record, length: u32) -> Self {
        let mut bytes = [0; HEAD];
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes[8..16].copy_from_slice(&record.line.to_le_bytes());
        bytes[16..18].copy_from_slice(&record.ordinal.to_le_bytes());
        bytes[18] = match record.kind {
            Kind::Answer => 0,
            Kind::Error => 1,
            Kind::Ended => 2,
        };
        let usage = &record.usage;
        let counts = [
            usage.input,
            usage.cached,
            usage.output,
            usage.reasoning,
            usage.total,
        ];
        for (place, count) in bytes[24..].chunks_exact_mut(4).zip(counts) {
            place.copy_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
        }
        let mut hasher = hasher(length);
        hasher.update(&bytes[8..]);
        Self { bytes, hasher }
    }

    /// The next bytes of the payload.
    pub(crate) fn payload(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The head, once all of the payload was shown.
    pub(crate) fn finish(mut self) -> [u8; HEAD] {
        self.bytes[4..8].copy_from_slice(&self.hasher.finalize().to_le_bytes());
        self.bytes
    }
}

/// The next record of `bytes` and where its payload is; `None` at the end.
#[cfg(test)]
pub(crate) fn decode(
    bytes: &[u8],
    at: usize,
) -> Result<Option<(Record, std::ops::Range<usize>)>, Torn> {
    if at == bytes.len() {
        return Ok(None);
    }
    let torn = Torn::At(at);
    let head = bytes[at..].first_chunk().ok_or(torn)?;
    let mut expected = expect(head).ok_or(torn)?;
    let payload = at + HEAD..at + HEAD + expected.length as usize;
    expected.payload(bytes.get(payload.clone()).ok_or(torn)?);
    let record = expected.record().ok_or(torn)?;
    Ok(Some((record, payload)))
}

/// A record whose head was read, while its payload is.
#[derive(Debug)]
pub(crate) struct Expected {
    record: Record,
    /// Bytes of the payload.
    pub(crate) length: u32,
    sum: u32,
    hasher: crc32fast::Hasher,
}

/// Reads the head of a record; `None` if it cannot be one.
pub(crate) fn expect(head: &[u8; HEAD]) -> Option<Expected> {
    let u32_at = |i: usize| u32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
    let length = u32_at(0);
    if length > MAX_PAYLOAD {
        return None;
    }
    let kind = match head[18] {
        0 => Kind::Answer,
        1 => Kind::Error,
        2 => Kind::Ended,
        _ => return None,
    };
    let record = Record {
        line: u64::from(u32_at(8)) | u64::from(u32_at(12)) << 32,
        ordinal: u16::from_le_bytes([head[16], head[17]]),
        kind,
        usage: Usage {
            input: u32_at(24).into(),
            cached: u32_at(28).into(),
            output: u32_at(32).into(),
            reasoning: u32_at(36).into(),
            total: u32_at(40).into(),
        },
    };
    let mut hasher = hasher(length);
    hasher.update(&head[8..]);
    Some(Expected {
        record,
        length,
        sum: u32_at(4),
        hasher,
    })
}

impl Expected {
    /// The next bytes of the payload.
    pub(crate) fn payload(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The record, once all of the payload was shown; `None` if the checksum does not hold.
    pub(crate) fn record(self) -> Option<Record> {
        (self.hasher.finalize() == self.sum).then_some(self.record)
    }
}

/// Over the length too: a run of zeros, which a crash can leave, must not look like a record.
fn hasher(length: u32) -> crc32fast::Hasher {
    let mut hasher = crc32fast::Hasher::new_with_initial(0x4454_544f);
    hasher.update(&length.to_le_bytes());
    hasher
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(line: u64) -> Record {
        Record {
            line,
            ordinal: 7,
            kind: Kind::Error,
            usage: Usage {
                input: 1,
                cached: 2,
                output: 3,
                reasoning: 4,
                total: 5,
            },
        }
    }

    #[test]
    fn a_record_is_read_back_as_written() {
        let mut bytes = Vec::new();
        encode(&mut bytes, &record(u64::MAX - 1), b"{}\n");
        encode(&mut bytes, &record(2), b"");
        let (first, payload) = decode(&bytes, 0).unwrap().unwrap();
        assert_eq!(
            (first, &bytes[payload.clone()]),
            (record(u64::MAX - 1), &b"{}\n"[..])
        );
        let (second, payload) = decode(&bytes, payload.end).unwrap().unwrap();
        assert_eq!(second, record(2));
        assert_eq!(decode(&bytes, payload.end), Ok(None));
    }

    #[test]
    fn a_tail_cut_anywhere_is_torn() {
        let mut bytes = Vec::new();
        encode(&mut bytes, &record(1), b"an answer");
        for length in 1..bytes.len() {
            assert_eq!(
                decode(&bytes[..length], 0),
                Err(Torn::At(0)),
                "cut at {length}"
            );
        }
        assert_eq!(
            decode(&[0; 200], 0),
            Err(Torn::At(0)),
            "zeros are no record"
        );
    }

    #[test]
    fn any_flipped_bit_is_seen() {
        let mut bytes = Vec::new();
        encode(&mut bytes, &record(1), b"an answer");
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged, 0).is_err(), "bit {bit}");
        }
    }
}
