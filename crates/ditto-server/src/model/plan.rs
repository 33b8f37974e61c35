//! Where segments begin: the plan of a batch, one fixed-size entry per segment.
//!
//! A segment is the unit of lease and of result storage. Its size is a compromise: large enough
//! that rows, syncs and blobs are few (a million lines are about a thousand segments), small enough
//! that a small batch is spread over workers, that the last workers end together, and that a crash
//! loses little.

/// Lines of one segment at most. Two bytes hold a place in it.
pub const MAX_LINES: u32 = 1024;
/// Lines below which a segment is not worth its row, its journal and its blob.
pub const MIN_LINES: u32 = 16;
/// Bytes of one segment at most, unless it is one line: what a worker reads at once.
pub const MAX_BYTES: u64 = 4 << 20;
/// A batch is cut into at least about this many segments, so that several workers share it.
const SHARES: u64 = 64;
/// Towards the end a segment takes at most this share of what is left.
const TAPER: u64 = 8;

/// One segment of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Entry {
    /// Number of its first line.
    pub first_line: u64,
    /// Physical lines, blank ones included.
    pub lines: u32,
    /// Requests among them, faulty ones included.
    pub requests: u32,
    /// First byte in the file.
    pub offset: u64,
    /// Bytes up to the end of its last line.
    pub length: u64,
    /// Hash of its lines, checked before anything is sent.
    pub hash: u64,
    /// Where its faults are in the faults blob; only lenient batches have any.
    pub faults_at: u64,
    /// Bytes of them.
    pub faults_length: u32,
    /// How many lines are faulty.
    pub faults: u32,
}

/// Bytes of an encoded entry.
pub const ENTRY_BYTES: usize = 56;

impl Entry {
    /// As stored in the plan blob: little-endian, fields in order.
    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        out[0..8].copy_from_slice(&self.first_line.to_le_bytes());
        out[8..12].copy_from_slice(&self.lines.to_le_bytes());
        out[12..16].copy_from_slice(&self.requests.to_le_bytes());
        out[16..24].copy_from_slice(&self.offset.to_le_bytes());
        out[24..32].copy_from_slice(&self.length.to_le_bytes());
        out[32..40].copy_from_slice(&self.hash.to_le_bytes());
        out[40..48].copy_from_slice(&self.faults_at.to_le_bytes());
        out[48..52].copy_from_slice(&self.faults_length.to_le_bytes());
        out[52..56].copy_from_slice(&self.faults.to_le_bytes());
        out
    }

    /// Whether validation could have written this: what stands here is added up and held in memory.
    pub fn is_plausible(&self) -> bool {
        /// No file is as long.
        const FAR: u64 = 1 << 60;
        let starts = [self.first_line, self.offset, self.length, self.faults_at];
        starts.iter().all(|start| *start < FAR) && self.first_line > 0 && self.lines > 0
    }

    /// Reads what [`Entry::encode`] wrote.
    pub fn decode(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let u32_at = |at: usize| {
            u32::from_le_bytes(
                bytes[at..at + 4]
                    .try_into()
                    .expect("four bytes are four bytes"),
            )
        };
        let u64_at = |at: usize| {
            u64::from_le_bytes(
                bytes[at..at + 8]
                    .try_into()
                    .expect("eight bytes are eight bytes"),
            )
        };
        Self {
            first_line: u64_at(0),
            lines: u32_at(8),
            requests: u32_at(12),
            offset: u64_at(16),
            length: u64_at(24),
            hash: u64_at(32),
            faults_at: u64_at(40),
            faults_length: u32_at(48),
            faults: u32_at(52),
        }
    }
}

/// A line, as far as geometry cares.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// 1-based.
    pub number: u64,
    /// First byte in the file.
    pub start: u64,
    /// First byte behind it.
    pub end: u64,
    /// Blank: it is no request but keeps its number.
    pub blank: bool,
    /// Over the limit on line length: it stands alone and is never read again.
    pub too_long: bool,
}

/// Cuts a file into segments while it is read once, knowing only its size in bytes.
#[derive(Debug)]
pub struct Geometry {
    bytes_total: u64,
    requests: u64,
    bytes: u64,
    open: Option<Entry>,
    target: u32,
    alone: bool,
}

impl Geometry {
    /// Geometry of a file of this size.
    pub fn new(bytes_total: u64) -> Self {
        Self {
            bytes_total,
            requests: 0,
            bytes: 0,
            open: None,
            target: 0,
            alone: false,
        }
    }

    /// The segment that must be closed before this line is taken, if any.
    pub fn close_before(&mut self, line: Span) -> Option<Entry> {
        let open = self.open.as_ref()?;
        let full = open.requests >= self.target;
        let too_large = line.end - open.offset > MAX_BYTES;
        let due = self.alone || line.too_long || full || too_large;
        if due { self.open.take() } else { None }
    }

    /// Takes the line into the open segment, or opens one at it. A blank line opens none.
    pub fn take(&mut self, line: Span) {
        self.bytes = line.end;
        if self.open.is_none() {
            if line.blank {
                return;
            }
            self.target = target(self.requests, line.start, line.end, self.bytes_total);
            self.alone = line.too_long;
            self.open = Some(Entry {
                first_line: line.number,
                offset: line.start,
                ..Entry::default()
            });
        }
        let open = self.open.as_mut().expect("opened above");
        open.lines += 1;
        open.length = line.end - open.offset;
        if !line.blank {
            open.requests += 1;
            self.requests += 1;
        }
    }

    /// Whether the line just taken belongs to a segment: a blank one between two belongs to none.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The last segment.
    pub fn finish(&mut self) -> Option<Entry> {
        self.open.take()
    }
}

/// Requests that a segment beginning here should have.
fn target(requests: u64, start: u64, end: u64, bytes_total: u64) -> u32 {
    let seen = (requests + 1).max(1);
    let mean = (end / seen).max(1);
    let left = (bytes_total.saturating_sub(start) / mean).max(1);
    let estimate = requests + left;
    let share = (estimate / SHARES).min(left / TAPER);
    u32::try_from(share)
        .unwrap_or(MAX_LINES)
        .clamp(MIN_LINES, MAX_LINES)
}

/// How the sealed segments of a batch lie on its plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tiling {
    /// Every entry is covered once, by as many lines as it has.
    Whole,
    /// These entries are covered by none, in order; all others as they should be.
    Gaps(Vec<u32>),
    /// An entry is covered twice, or by other lines than it has: a sentence that says which.
    Broken(String),
}

/// Holds the sealed segments of a batch against its plan.
///
/// `sealed` are (index, span, lines) in order of index; `requests` are those of the plan's entries.
pub fn tiling(sealed: &[(u32, u32, u64)], requests: &[u32]) -> Tiling {
    let mut gaps = Vec::new();
    let mut next = 0u32;
    for &(index, span, lines) in sealed {
        if index < next {
            return Tiling::Broken(format!("segment {index} is covered twice"));
        }
        gaps.extend(next..index);
        let end = index.saturating_add(span);
        let Some(covered) = requests.get(index as usize..end as usize) else {
            return Tiling::Broken(format!("segment {index} covers more than the plan has"));
        };
        let planned: u64 = covered.iter().map(|r| u64::from(*r)).sum();
        if planned != lines {
            return Tiling::Broken(format!(
                "segment {index} has {lines} lines where the plan has {planned}"
            ));
        }
        next = end;
    }
    gaps.extend(next..u32::try_from(requests.len()).unwrap_or(u32::MAX));
    match gaps.is_empty() {
        true => Tiling::Whole,
        false => Tiling::Gaps(gaps),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(lengths: &[u64]) -> Vec<Entry> {
        let mut geometry = Geometry::new(lengths.iter().sum());
        let mut entries = Vec::new();
        let mut start = 0;
        for (at, length) in lengths.iter().enumerate() {
            let line = Span {
                number: at as u64 + 1,
                start,
                end: start + length,
                blank: *length == 1,
                too_long: *length > 10_000_000,
            };
            entries.extend(geometry.close_before(line));
            geometry.take(line);
            start += length;
        }
        entries.extend(geometry.finish());
        entries
    }

    #[test]
    fn ten_lines_are_one_segment() {
        let entries = cut(&[600; 10]);
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].requests, 10);
        assert_eq!(entries[0].length, 6000);
    }

    #[test]
    fn a_million_lines_are_about_a_thousand_segments_that_shrink_at_the_end() {
        let entries = cut(&vec![600; 1_000_000]);
        assert!((970..1200).contains(&entries.len()), "{}", entries.len());
        assert_eq!(entries[500].requests, MAX_LINES);
        assert!(entries.last().unwrap().requests <= MIN_LINES);
    }

    #[test]
    fn no_segment_is_over_four_mebibytes_unless_it_is_one_line() {
        let entries = cut(&[600, 3_000_000, 3_000_000, 600, 20_000_000, 600]);
        assert!(
            entries
                .iter()
                .all(|e| e.length <= MAX_BYTES || e.requests == 1)
        );
        let alone = entries.iter().find(|e| e.length == 20_000_000).unwrap();
        assert_eq!((alone.first_line, alone.requests), (5, 1));
    }

    #[test]
    fn blank_lines_keep_their_numbers_and_are_no_requests() {
        let entries = cut(&[1, 1, 600, 1, 600, 1]);
        assert_eq!(entries.len(), 1);
        assert_eq!(
            (entries[0].first_line, entries[0].lines, entries[0].requests),
            (3, 4, 2)
        );
    }

    #[test]
    fn an_entry_is_read_back_as_written() {
        let entry = Entry {
            first_line: 1,
            lines: 2,
            requests: 3,
            offset: 4,
            length: 5,
            hash: u64::MAX,
            faults_at: 7,
            faults_length: 8,
            faults: 9,
        };
        assert_eq!(Entry::decode(&entry.encode()), entry);
    }

    #[test]
    fn a_gap_an_overlap_and_a_wrong_sum_are_told_apart() {
        let plan = [10, 10, 5];
        assert_eq!(tiling(&[(0, 1, 10), (1, 2, 15)], &plan), Tiling::Whole);
        for (sealed, missing) in [
            (&[(0, 1, 10), (2, 1, 5)][..], &[1][..]),
            (&[(1, 1, 10)], &[0, 2]),
            (&[(0, 1, 10)], &[1, 2]),
            (&[], &[0, 1, 2]),
        ] {
            assert_eq!(tiling(sealed, &plan), Tiling::Gaps(missing.to_vec()));
        }
        for (sealed, says) in [
            (
                &[(0, 1, 9), (1, 2, 15)][..],
                "0 has 9 lines where the plan has 10",
            ),
            (&[(0, 2, 20), (1, 2, 15)], "1 is covered twice"),
            (&[(0, 1, 10), (1, 3, 15)], "1 covers more"),
            // A gap beside it makes it no better.
            (&[(1, 1, 9)], "1 has 9 lines"),
        ] {
            let Tiling::Broken(fault) = tiling(sealed, &plan) else {
                panic!("{sealed:?} was let through");
            };
            assert!(fault.contains(says), "{fault}");
        }
    }

    proptest::proptest! {
        #[test]
        fn segments_hold_every_request_once(
            lengths in proptest::collection::vec(1u64..300_000, 1..400)
        ) {
            let entries = cut(&lengths);
            let requests: u64 = entries.iter().map(|e| u64::from(e.requests)).sum();
            let expected = lengths.iter().filter(|l| **l > 1).count() as u64;
            proptest::prop_assert_eq!(requests, expected);
            let ordered = entries.windows(2).all(|w| {
                w[0].offset + w[0].length <= w[1].offset
                    && w[0].first_line + u64::from(w[0].lines) <= w[1].first_line
            });
            proptest::prop_assert!(ordered);
        }
    }
}
