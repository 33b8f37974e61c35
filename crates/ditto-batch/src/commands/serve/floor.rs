//! How much of the disk new work leaves free, as it is written: `10 %`, `5 GB`.

use ditto_server::model::space::Floor;

use super::config_file::Bounds;
use crate::failure::{Failure, Result};

/// As a bound is spelled.
const SPELLING: &str = "a share such as \"10 %\", or bytes such as \"5 GB\" or \"500 MB\"";

/// One bound, before it is known what others there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    Percent(u8),
    Bytes(u64),
}

/// What the config file says; nothing, as shipped.
pub(super) fn of(bounds: Option<&Bounds>) -> Result<Floor> {
    let written = match bounds {
        None => return Ok(Floor::SHIPPED),
        Some(Bounds::One(bound)) => std::slice::from_ref(bound),
        Some(Bounds::Several(bounds)) => bounds.as_slice(),
    };
    let mut floor = Floor::NONE;
    for text in written {
        let bound = parse(text)
            .ok_or_else(|| Failure::usage(format!("[space] free: {text:?} is not {SPELLING}")))?;
        let twice = match bound {
            Bound::Percent(percent) => floor.percent.replace(percent).is_some(),
            Bound::Bytes(bytes) => floor.bytes.replace(bytes).is_some(),
        };
        if twice {
            return Err(Failure::usage(
                "[space] free: one share and one number of bytes at most; the smaller counts",
            ));
        }
    }
    Ok(floor)
}

fn parse(text: &str) -> Option<Bound> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let count: u64 = digits.parse().ok()?;
    let scale = match text[digits.len()..].trim() {
        "%" => {
            let percent = u8::try_from(count).ok().filter(|percent| *percent <= 100)?;
            return Some(Bound::Percent(percent));
        }
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    Some(Bound::Bytes(count.checked_mul(scale)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_as_they_are_written() {
        let table = [
            ("10 %", Some(Bound::Percent(10))),
            ("10%", Some(Bound::Percent(10))),
            ("5 GB", Some(Bound::Bytes(5_000_000_000))),
            ("500MB", Some(Bound::Bytes(500_000_000))),
            ("0 GB", Some(Bound::Bytes(0))),
            ("101 %", None),
            ("5", None),
            ("5 GiB", None),
            ("-1 GB", None),
            ("GB", None),
            ("", None),
            ("99999999999 TB", None),
        ];
        for (text, bound) in table {
            assert_eq!(parse(text), bound, "{text:?}");
        }
    }

    #[test]
    fn several_are_one_floor_and_none_is_as_shipped() {
        let several = |bounds: &[&str]| {
            let bounds = bounds.iter().map(|bound| (*bound).to_owned()).collect();
            of(Some(&Bounds::Several(bounds)))
        };
        assert_eq!(of(None).unwrap(), Floor::SHIPPED);
        assert_eq!(several(&["10 %", "5 GB"]).unwrap(), Floor::SHIPPED);
        assert_eq!(several(&[]).unwrap(), Floor::NONE);
        let one = of(Some(&Bounds::One("1 TB".to_owned()))).unwrap();
        assert_eq!((one.percent, one.bytes), (None, Some(1_000_000_000_000)));
        for wrong in [&["10 %", "20 %"][..], &["much"]] {
            assert_eq!(several(wrong).unwrap_err().exit, 2, "{wrong:?}");
        }
    }
}
