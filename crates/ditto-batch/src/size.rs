//! Sizes as they are typed: `200mb`, `64kb`, `1gb` or a bare number of bytes.

/// Reads a size of at least one byte.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let at = lower
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(lower.len());
    let (digits, unit) = lower.split_at(at);
    let factor = match unit.trim_start() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => 0,
    };
    let size = digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    size.filter(|size| *size > 0)
        .ok_or_else(|| format!("`{text}` is no size; write 200mb, 64kb or a number of bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_or_is_a_number_of_bytes() {
        for (text, size) in [
            ("7", 7),
            ("64kb", 64_000),
            ("200MB", 200_000_000),
            ("1 gb", 1_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(size));
        }
        for text in ["", "0", "mb", "1.5mb", "-1", "7 lines", "99999999999gb"] {
            assert!(
                parse(text)
                    .unwrap_err()
                    .starts_with(&format!("`{text}` is no size"))
            );
        }
    }
}
