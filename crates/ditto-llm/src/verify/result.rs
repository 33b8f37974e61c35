//! A line of an output or error file, as far as the proof looks at it.

use std::borrow::Cow;

use crate::check::{Kind, NotJson, Scanner, Value};

/// The parts of a result line that say whose it is and how it went.
#[derive(Debug, Default)]
pub(crate) struct ResultParts<'a> {
    id: Option<Value<'a>>,
    custom_id: Option<Value<'a>>,
    error: Option<Value<'a>>,
    status_code: Option<Value<'a>>,
    body: Option<Value<'a>>,
}

/// The codes of requests that were not sent, or not to their end, because their batch ended first.
const OVERTAKEN: [&str; 2] = ["batch_cancelled", "batch_expired"];

/// Our own result id, `batch_req_<batch>_<line>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LineId {
    pub(super) batch: String,
    pub(super) line: u64,
}

impl<'a> ResultParts<'a> {
    /// Reads a line; `None` if it is not one JSON object in UTF-8.
    pub(crate) fn read(line: &'a [u8]) -> Option<Self> {
        std::str::from_utf8(line).ok()?;
        let mut parts = Self::default();
        parts.read_object(line).ok()?;
        Some(parts)
    }

    fn read_object(&mut self, line: &'a [u8]) -> Result<(), NotJson> {
        let mut scanner = Scanner::new(line);
        scanner.enter_object()?;
        let mut first = true;
        while let Some(key) = scanner.next_key(first)? {
            first = false;
            match key.name().as_ref() {
                b"id" => self.id = Some(scanner.value()?),
                b"custom_id" => self.custom_id = Some(scanner.value()?),
                b"error" => self.error = Some(scanner.value()?),
                b"response" => self.read_response(&mut scanner)?,
                _ => drop(scanner.value()?),
            }
        }
        scanner.end()
    }

    fn read_response(&mut self, scanner: &mut Scanner<'a>) -> Result<(), NotJson> {
        if scanner.peek()? != b'{' {
            return scanner.value().map(drop);
        }
        scanner.enter_object()?;
        let mut first = true;
        while let Some(key) = scanner.next_key(first)? {
            first = false;
            let value = scanner.value()?;
            match key.name().as_ref() {
                b"status_code" => self.status_code = Some(value),
                b"body" => self.body = Some(value),
                _ => {}
            }
        }
        Ok(())
    }

    /// Our id, if that is what the line carries.
    pub(super) fn line_id(&self) -> Option<LineId> {
        let id = self.id?.text()?;
        let (batch, line) = id.strip_prefix("batch_req_")?.rsplit_once('_')?;
        let line = line.parse().ok()?;
        Some(LineId {
            batch: batch.to_owned(),
            line,
        })
    }

    pub(crate) fn custom_id(&self) -> Option<Cow<'a, str>> {
        self.custom_id?.text()
    }

    /// Whether the request was answered: an HTTP status of success, a body that is not empty, and
    /// no error beside it.
    pub(crate) fn is_answer(&self) -> bool {
        let no_error = self.error.is_none_or(|error| error.kind == Kind::Null);
        let success = self.status_code.is_some_and(|status| {
            let digits = std::str::from_utf8(status.raw).unwrap_or_default();
            digits
                .parse()
                .is_ok_and(|status: u16| (200..300).contains(&status))
        });
        no_error && success && self.body.is_some_and(has_content)
    }

    /// Whether the batch ended before the request did.
    pub(super) fn is_unfinished(&self) -> bool {
        let code = self.error.and_then(code_of);
        code.is_some_and(|code| OVERTAKEN.contains(&code.as_ref()))
    }
}

fn code_of(error: Value<'_>) -> Option<Cow<'_, str>> {
    if error.kind != Kind::Object {
        return None;
    }
    let mut scanner = Scanner::new(error.raw);
    scanner.enter_object().ok()?;
    let mut first = true;
    while let Some(key) = scanner.next_key(first).ok()? {
        first = false;
        let value = scanner.value().ok()?;
        if key.name().as_ref() == b"code" {
            return value.text();
        }
    }
    None
}

fn has_content(body: Value<'_>) -> bool {
    match body.kind {
        Kind::Null => false,
        Kind::Object => body
            .raw
            .iter()
            .any(|b| !matches!(b, b'{' | b'}') && !b.is_ascii_whitespace()),
        Kind::Array | Kind::String | Kind::Number | Kind::True | Kind::False => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_answer(line: &str) -> bool {
        ResultParts::read(line.as_bytes()).unwrap().is_answer()
    }

    #[test]
    fn answer_is_a_success_with_a_body_and_no_error() {
        assert!(is_answer(
            r#"{"response":{"status_code":200,"body":{"id":"x"}},"error":null}"#
        ));
        assert!(is_answer(
            r#"{"response":{"status_code":200,"body":{"id":"x"}}}"#
        ));
        for failed in [
            r#"{"response":{"status_code":200,"body":{ }},"error":null}"#,
            r#"{"response":{"status_code":200},"error":null}"#,
            r#"{"response":{"status_code":400,"body":{"error":{}}},"error":null}"#,
            r#"{"response":{"status_code":0,"request_id":"","body":{}},"error":null}"#,
            r#"{"response":null,"error":{"code":"batch_expired"}}"#,
            r#"{"response":{"status_code":200,"body":{"id":"x"}},"error":{"code":"x"}}"#,
            r#"{"custom_id":"a"}"#,
        ] {
            assert!(!is_answer(failed), "{failed}");
        }
    }

    #[test]
    fn only_what_the_end_of_a_batch_overtook_is_unfinished() {
        let is_unfinished =
            |line: &str| ResultParts::read(line.as_bytes()).unwrap().is_unfinished();
        for code in ["batch_cancelled", "batch_expired"] {
            let error = format!(r#"{{"error":{{"message":{{"code":1}},"code":"{code}"}}}}"#);
            assert!(is_unfinished(&error), "{code}");
        }
        for other in [
            r#"{"error":{"code":"upstream_timeout"}}"#,
            r#"{"error":{"message":"batch_expired"}}"#,
            r#"{"error":"batch_expired"}"#,
            r#"{"error":null,"code":"batch_expired"}"#,
        ] {
            assert!(!is_unfinished(other), "{other}");
        }
    }

    #[test]
    fn line_id_is_the_last_number_of_our_ids_only() {
        let of = |id: &str| {
            let line = serde_json::json!({ "id": id }).to_string();
            ResultParts::read(line.as_bytes())
                .unwrap()
                .line_id()
                .map(|id| (id.batch, id.line))
        };
        assert_eq!(of("batch_req_abc_17"), Some(("abc".to_owned(), 17)));
        assert_eq!(of("batch_req_a_b_17"), Some(("a_b".to_owned(), 17)));
        assert_eq!(of("batch_req_67cb6e0a"), None);
        assert_eq!(of("batch_req_abc_x1"), None);
        assert_eq!(of("chatcmpl_1_2"), None);
    }

    #[test]
    fn line_that_is_not_one_json_object_is_not_read() {
        for line in [
            &b"{\"id\":1} {}"[..],
            b"[]",
            b"{",
            b"",
            b"{\"id\":\"\xFF\"}",
        ] {
            assert!(ResultParts::read(line).is_none());
        }
    }
}
