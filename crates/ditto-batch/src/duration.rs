//! Times as they are typed.

use std::time::Duration;

const SPELLING: &str = "a time such as 90s, 10m, 2h or 1d";

/// `90s`, `10m`, `2h`, `1d`, or seconds.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(SPELLING.to_owned()),
    };
    let count: u64 = digits.parse().map_err(|_| SPELLING.to_owned())?;
    if count == 0 {
        return Err("a time above zero".to_owned());
    }
    Ok(Duration::from_secs(count.saturating_mul(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(parse("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("2h"), Ok(Duration::from_secs(7200)));
        for wrong in ["", "h", "-1s", "0s", "5 m", "1w"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
