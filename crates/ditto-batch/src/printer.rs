//! How things are said: data on stdout, talk on stderr. Commands are handed both, so that a test can
//! read them; nothing else in this crate prints.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;

/// A line for people. If nobody reads it any more, the work goes on all the same.
pub(crate) fn say(err: &mut dyn Write, line: impl Display) {
    let _ = writeln!(err, "{line}").and_then(|()| err.flush());
}

/// One JSON object on a line, for programs.
pub(crate) fn show(out: &mut dyn Write, object: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, object)?;
    writeln!(out)
}

/// `1 fault`, `12,345 faults`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(count))
}

/// `12,345`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `999 B`, `1.2 GB`: in powers of a thousand, as disks are sold and as settings are written.
pub(crate) fn sized(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 999.95 && unit + 1 < units.len() {
        size /= 1000.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{size:.1} {}", units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_makes_them_short() {
        let table = [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (999_960, "1.0 MB"),
            (1_234_000_000, "1.2 GB"),
            (5_000_000_000_000_000, "5000.0 TB"),
        ];
        for (bytes, text) in table {
            assert_eq!(sized(bytes), text);
        }
    }

    #[test]
    fn numbers_are_grouped_and_nouns_agree() {
        assert_eq!(counted(1, "fault"), "1 fault");
        assert_eq!(counted(0, "fault"), "0 faults");
        assert_eq!(counted(1_234_567, "fault"), "1,234,567 faults");
    }
}
