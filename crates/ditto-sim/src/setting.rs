//! How settings are spelt: spans of time, sizes, and what is said of a bad one.

use std::time::Duration;

/// A setting that cannot be read; the message carries the value and the spelling that would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadSetting(String);

impl BadSetting {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl std::fmt::Display for BadSetting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadSetting {}

/// No wait is longer: past a day a typing mistake is likelier than a wish.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Reads `20ms`, `1.5s`, `300us`, `2m`, `1h` or a bare `0`.
pub(crate) fn span(text: &str) -> Result<Duration, BadSetting> {
    let bad = || {
        BadSetting::new(format!(
            "`{text}` is no span of time; write 20ms, 1.5s or 2m"
        ))
    };
    let (number, unit) = split_unit(text);
    let number: f64 = number.parse().map_err(|_| bad())?;
    let seconds = match unit {
        "us" | "µs" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        "" if number == 0.0 => 0.0,
        _ => return Err(bad()),
    };
    match Duration::try_from_secs_f64(seconds) {
        Ok(span) if span <= LONGEST => Ok(span),
        _ => Err(BadSetting::new(format!(
            "`{text}` is out of range; a span is at most 24h"
        ))),
    }
}

/// Reads `200mb`, `64kb`, `1gb`, `512b` or a bare number of bytes.
pub(crate) fn bytes(text: &str) -> Result<u64, BadSetting> {
    let bad = || BadSetting::new(format!("`{text}` is no size; write 512, 64kb or 200mb"));
    let (number, unit) = split_unit(text);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let scale = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(bad()),
    };
    number.checked_mul(scale).ok_or_else(bad)
}

/// Writes a span as [`span`] reads it, exactly, in the largest unit without a fraction.
pub(crate) fn spell_span(span: Duration) -> String {
    let us = span.as_micros();
    if us == 0 {
        "0".into()
    } else if us.is_multiple_of(1_000_000) {
        format!("{}s", us / 1_000_000)
    } else if us.is_multiple_of(1_000) {
        format!("{}ms", us / 1_000)
    } else {
        format!("{us}us")
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    text.split_at(digits)
}

/// Lets a type with `FromStr` and `Display` stand in a config file as the text of its flag.
macro_rules! spelt_in_serde {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = $crate::BadSetting;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(setting: $type) -> Self {
                setting.to_string()
            }
        }
    };
}
pub(crate) use spelt_in_serde;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_back_as_they_are_spelt() {
        for text in ["0", "20ms", "3s", "1500us", "90s"] {
            assert_eq!(spell_span(span(text).unwrap()), text);
        }
        assert_eq!(span("1.5s").unwrap(), Duration::from_millis(1500));
    }

    #[test]
    fn a_bad_span_or_size_is_refused_with_its_text() {
        for text in ["", "20", "ms", "-1s", "9days", "99h", "1e9s"] {
            let error = span(text).unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
        assert!(bytes("2tb").is_err());
        assert_eq!(bytes("200mb").unwrap(), 200_000_000);
    }
}
