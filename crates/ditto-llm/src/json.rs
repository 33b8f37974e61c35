//! JSON that is looked into and not built.

use std::fmt;

use crate::check::Scanner;

/// The bytes are not JSON, or nest deeper than some 1,024 levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotJson;

impl fmt::Display for NotJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not JSON")
    }
}

impl std::error::Error for NotJson {}

/// Walks over one JSON value to its end and checks its grammar. If it is an object, each of its members
/// is told, in order and as often as it stands there: its name as it is meant (`"m\u006fdel"` is
/// `model`) and its value, byte for byte. Whether strings are UTF-8 is not looked at.
///
/// Members are told before the end is seen: what was told counts only if the whole is JSON.
///
/// ```
/// use ditto_llm::json;
///
/// let mut usage = None;
/// json::members(br#"{"id": "a", "usage": {"total_tokens": 7}}"#, |name, value| {
///     if name == b"usage" {
///         usage = Some(value);
///     }
/// })?;
/// assert_eq!(usage, Some(&br#"{"total_tokens": 7}"#[..]));
/// # Ok::<(), json::NotJson>(())
/// ```
///
/// # Errors
///
/// [`NotJson`].
pub fn members<'a>(json: &'a [u8], mut member: impl FnMut(&[u8], &'a [u8])) -> Result<(), NotJson> {
    walk(&mut Scanner::new(json), &mut member).map_err(|_| NotJson)
}

fn walk<'a>(
    scanner: &mut Scanner<'a>,
    member: &mut impl FnMut(&[u8], &'a [u8]),
) -> Result<(), crate::check::NotJson> {
    if scanner.peek()? == b'{' {
        scanner.enter_object()?;
        let mut first = true;
        while let Some(key) = scanner.next_key(first)? {
            first = false;
            let value = scanner.value()?;
            member(&key.name(), value.raw);
        }
    } else {
        scanner.value()?;
    }
    scanner.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(json: &str) -> Result<Vec<(String, &str)>, NotJson> {
        let mut told = Vec::new();
        members(json.as_bytes(), |name, value| {
            let name = String::from_utf8(name.to_vec()).unwrap();
            told.push((name, std::str::from_utf8(value).unwrap()));
        })?;
        Ok(told)
    }

    #[test]
    fn members_are_told_as_they_stand() {
        let json = r#" {"a": 1.0e2 , "\u0061":"\n", "b" : {"a": [ 2 ]}, "c":[]} "#;
        let expected = [
            ("a", "1.0e2"),
            ("a", r#""\n""#),
            ("b", r#"{"a": [ 2 ]}"#),
            ("c", "[]"),
        ];
        assert_eq!(
            told(json).unwrap(),
            expected.map(|(name, value)| (name.to_owned(), value))
        );
    }

    #[test]
    fn what_is_no_object_has_none() {
        for json in ["[{\"a\":1}]", "1", "\"a\"", "null", "{}"] {
            assert_eq!(told(json), Ok(Vec::new()), "{json}");
        }
    }

    #[test]
    fn what_is_no_json_is_told() {
        for json in [
            "",
            " ",
            "{\"a\":1",
            "{\"a\":1}}",
            "{\"a\" 1}",
            "{a:1}",
            "{\"a\":01}",
            "nul",
        ] {
            assert_eq!(told(json), Err(NotJson), "{json}");
        }
    }
}
