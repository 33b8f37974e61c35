//! Any bytes as the cursor of a reader of results.

use super::cursor::{Cursor, Had};

/// The first byte says how the rest is read. Even: it is a cursor's text; what is read of it is told in
/// the same words. Odd: it is what a reader gets, six bytes each time. However that comes, what it had
/// it has still, what it gets it has, and its cursor is read back as it was.
///
/// # Panics
///
/// Where that does not hold.
pub fn cursor(script: &[u8]) {
    let Some((mode, rest)) = script.split_first() else {
        return;
    };
    if mode % 2 == 0 {
        told(&String::from_utf8_lossy(rest));
        return;
    }
    let mut cursor = Cursor::default();
    for step in rest.chunks_exact(6) {
        let number = |at: usize| u32::from(step[at]) << 4 | u32::from(step[at + 1] % 16);
        let before = cursor.clone();
        let (first, second) = (number(1), number(3));
        match step[0] % 2 {
            0 => cursor.take_first(first, second),
            _ => cursor.take_whole(first, first + second % 64),
        }
        for index in [first, first + second % 64, number(4), before.below()] {
            assert!(is_more(before.had(index), cursor.had(index)), "of {index}");
        }
        let gets = match step[0] % 2 {
            0 => Had::First(second),
            _ => Had::Whole,
        };
        assert!(is_more(gets, cursor.had(first)), "it gets what it gets");
        assert!(before.below() <= cursor.below());
    }
    let text = cursor.to_string();
    assert_eq!(Cursor::parse(&text), Some(cursor), "{text}");
}

fn told(text: &str) {
    let Some(cursor) = Cursor::parse(text) else {
        return;
    };
    assert!(text.is_empty() || cursor.to_string() == text);
    assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
}

fn is_more(less: Had, more: Had) -> bool {
    match (less, more) {
        (_, Had::Whole) => true,
        (Had::Whole, Had::First(_)) => false,
        (Had::First(less), Had::First(more)) => less <= more,
    }
}
