//! Which bytes of a file a `Range` asks for.

use std::ops::Range;

/// What to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// 200.
    Whole,
    /// 206; never empty.
    Part(Range<u64>),
    /// 416.
    Nothing,
}

/// Reads `Range` and `If-Range` against a file of this length and validator. What is not
/// understood, and more than one range, is answered with the whole file, as the standard has it.
pub(super) fn wanted(
    range: Option<&str>,
    if_range: Option<&str>,
    etag: &str,
    length: u64,
) -> Wanted {
    // A date never matches: an id's bytes never change, so we send none.
    if if_range.is_some_and(|validator| validator.trim() != etag) {
        return Wanted::Whole;
    }
    range
        .and_then(parse)
        .map_or(Wanted::Whole, |asked| asked.within(length))
}

#[derive(Debug, Clone, Copy)]
enum Asked {
    From(u64),
    FromTo(u64, u64),
    Last(u64),
}

fn parse(range: &str) -> Option<Asked> {
    let (unit, range) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    match (number(first)?, number(last)?) {
        (Some(first), Some(last)) => (first <= last).then_some(Asked::FromTo(first, last)),
        (Some(first), None) => Some(Asked::From(first)),
        (None, Some(last)) => Some(Asked::Last(last)),
        (None, None) => None,
    }
}

/// `Some(None)`: left out. Digits past what fits mean "past every file".
fn number(digits: &str) -> Option<Option<u64>> {
    if digits.is_empty() {
        return Some(None);
    }
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(Some(digits.parse().unwrap_or(u64::MAX)))
}

impl Asked {
    fn within(self, length: u64) -> Wanted {
        let (start, end) = match self {
            Self::From(first) => (first, length),
            Self::FromTo(first, last) => (first, last.saturating_add(1).min(length)),
            Self::Last(count) => (length.saturating_sub(count), length),
        };
        if start < end {
            Wanted::Part(start..end)
        } else {
            Wanted::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_the_standard_reads_them() {
        use Wanted::{Nothing, Part, Whole};
        let table = [
            ("bytes=0-", Part(0..10)),
            ("bytes=3-", Part(3..10)),
            ("bytes=3-5", Part(3..6)),
            ("bytes=0-0", Part(0..1)),
            ("bytes=9-9", Part(9..10)),
            ("bytes=3-99", Part(3..10)),
            ("bytes=3-99999999999999999999999", Part(3..10)),
            ("bytes=-4", Part(6..10)),
            ("bytes=-99", Part(0..10)),
            ("BYTES=3-5", Part(3..6)),
            ("bytes=10-", Nothing),
            ("bytes=99-100", Nothing),
            ("bytes=99999999999999999999999-", Nothing),
            ("bytes=-0", Nothing),
            ("bytes=5-3", Whole),
            ("bytes=-", Whole),
            ("bytes=", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=0-1,3-4", Whole),
            ("lines=0-1", Whole),
            ("0-1", Whole),
        ];
        for (range, expected) in table {
            assert_eq!(wanted(Some(range), None, "\"e\"", 10), expected, "{range}");
        }
        assert_eq!(wanted(None, None, "\"e\"", 10), Whole);
    }

    #[test]
    fn an_empty_file_has_no_ranges() {
        assert_eq!(wanted(Some("bytes=0-"), None, "\"e\"", 0), Wanted::Nothing);
        assert_eq!(wanted(Some("bytes=-5"), None, "\"e\"", 0), Wanted::Nothing);
    }

    #[test]
    fn a_part_is_given_only_of_the_file_that_the_client_knows() {
        let asked = |if_range| wanted(Some("bytes=3-"), Some(if_range), "\"e\"", 10);
        assert_eq!(asked("\"e\""), Wanted::Part(3..10));
        for other in ["\"f\"", "W/\"e\"", "e", "Sun, 22 Nov 2026 10:00:00 GMT", ""] {
            assert_eq!(asked(other), Wanted::Whole, "{other}");
        }
    }
}
