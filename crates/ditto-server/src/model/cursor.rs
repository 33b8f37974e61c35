//! How far a reader of partial results has come.
//!
//! Results of a segment come in the order in which they were settled, and that order stays: through a
//! takeover, through the seal, to the end. So a number for each segment says which of its results the
//! reader has, and segments that it has whole are told as ranges.

use std::collections::BTreeMap;
use std::fmt;

/// Longer is no cursor of ours. Of 256 open and 768 parked segments each takes up to 13 characters, and
/// as many ranges between them up to 16, where a batch has millions of segments. The server takes 32 KiB
/// of headers, with the first line.
const MAX_CHARS: usize = 30 * 1024;

/// What a reader has of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Had {
    /// So many results, the first ones; maybe none.
    First(u32),
    /// All of them.
    Whole,
}

/// What a reader has of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    /// All segments below this one.
    below: u32,
    /// Of those behind it, ranges that it has whole: first and last.
    whole: BTreeMap<u32, u32>,
    /// And those that it has in part.
    partly: BTreeMap<u32, u32>,
}

impl Cursor {
    /// The first segment that is not had whole: nothing before it needs to be looked at.
    pub fn below(&self) -> u32 {
        self.below
    }

    /// What is had of this segment.
    pub fn had(&self, index: u32) -> Had {
        let in_range = self.whole.range(..=index).next_back();
        if index < self.below || in_range.is_some_and(|(_, last)| index <= *last) {
            return Had::Whole;
        }
        Had::First(self.partly.get(&index).copied().unwrap_or_default())
    }

    /// The reader gets the first so many results of a segment.
    pub fn take_first(&mut self, index: u32, count: u32) {
        if count > 0 && self.had(index) != Had::Whole {
            let had = self.partly.entry(index).or_default();
            *had = count.max(*had);
        }
    }

    /// The reader gets all of these segments.
    pub fn take_whole(&mut self, first: u32, last: u32) {
        let (mut first, mut last) = (first, last.max(first));
        while let Some((&start, &end)) = self.whole.range(..=last.saturating_add(1)).next_back() {
            if end.saturating_add(1) < first {
                break;
            }
            first = first.min(start);
            last = last.max(end);
            self.whole.remove(&start);
        }
        self.partly
            .retain(|index, _| !(first..=last).contains(index));
        if first <= self.below {
            self.below = self.below.max(last.saturating_add(1));
        } else {
            self.whole.insert(first, last);
        }
    }

    /// Reads what `Display` wrote; an empty text is the start.
    pub fn parse(text: &str) -> Option<Self> {
        let mut cursor = Self::default();
        if text.is_empty() {
            return Some(cursor);
        }
        if text.len() > MAX_CHARS {
            return None;
        }
        let mut words = text.strip_prefix('r')?.split('_');
        cursor.below = words.next()?.parse().ok()?;
        for word in words {
            if let Some((first, last)) = word.split_once('-') {
                let (first, last) = (first.parse().ok()?, last.parse().ok()?);
                cursor.whole.insert(first, last);
            } else {
                let (index, count) = word.split_once('.')?;
                cursor
                    .partly
                    .insert(index.parse().ok()?, count.parse().ok()?);
            }
        }
        // Spelled otherwise it is not one of ours.
        (cursor.to_string() == text && cursor.is_tidy()).then_some(cursor)
    }

    /// No segment is told twice, and nothing that could be told shorter.
    fn is_tidy(&self) -> bool {
        let mut next = self.below;
        for (&first, &last) in &self.whole {
            // A range that begins right behind another is the same range.
            if first <= next || last < first || last == u32::MAX {
                return false;
            }
            next = last + 1;
        }
        let partly = self.partly.iter();
        partly.clone().all(|(index, count)| {
            *count > 0 && *index >= self.below && self.had(*index) != Had::Whole
        })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.below)?;
        for (first, last) in &self.whole {
            write!(f, "_{first}-{last}")?;
        }
        for (index, count) in &self.partly {
            write!(f, "_{index}.{count}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_had_and_told_short() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.to_string(), "r0");
        cursor.take_first(2, 7);
        cursor.take_whole(4, 6);
        assert_eq!(cursor.to_string(), "r0_4-6_2.7");
        assert_eq!(cursor.had(2), Had::First(7));
        assert_eq!(cursor.had(3), Had::First(0));
        assert_eq!(cursor.had(5), Had::Whole);
        cursor.take_whole(3, 3);
        assert_eq!(cursor.to_string(), "r0_3-6_2.7");
        cursor.take_first(2, 5);
        assert_eq!(cursor.had(2), Had::First(7), "it never goes back");
        cursor.take_whole(0, 2);
        assert_eq!(cursor.to_string(), "r7");
        assert_eq!(cursor.below(), 7);
    }

    #[test]
    fn a_text_that_is_no_cursor_is_refused() {
        for text in [
            "0",
            "r",
            "rx",
            "r0_",
            "r0_1",
            "r0_2-1",
            "r3_1-2",
            "r0_0-3",
            "r0_1.0",
            "r5_3.1",
            "r0_1-3_2.1",
            "r0_1-2_3-4",
            "r00",
            "r0_4-6_2.7_1.1",
            "r0_1-4294967295",
            "batch_1",
        ] {
            assert_eq!(Cursor::parse(text), None, "{text}");
        }
        assert_eq!(Cursor::parse(""), Some(Cursor::default()));
    }

    proptest::proptest! {
        #[test]
        fn a_cursor_is_read_back_as_written_and_has_what_was_taken(
            taken in proptest::collection::vec((0u32..60, 0u32..4, 0u32..9), 0..40)
        ) {
            let mut cursor = Cursor::default();
            let mut had = [0u32; 70];
            for (index, span, count) in taken {
                if count == 0 {
                    cursor.take_whole(index, index + span);
                    had[index as usize..=(index + span) as usize].fill(u32::MAX);
                } else {
                    cursor.take_first(index, count);
                    had[index as usize] = had[index as usize].max(count);
                }
            }
            proptest::prop_assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor.clone()));
            for (index, had) in (0..).zip(had) {
                let expected = match had {
                    u32::MAX => Had::Whole,
                    count => Had::First(count),
                };
                proptest::prop_assert_eq!(cursor.had(index), expected);
            }
        }
    }
}
