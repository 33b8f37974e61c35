//! The lines of output and error files, byte by byte.
//!
//! An answer's body keeps its JSON text: numbers, order of keys, escapes, unknown fields. Only what
//! would break a line is changed: line breaks between tokens go, and U+2028, U+2029 and U+0085
//! inside strings are escaped, since many readers split there.

use base64::Engine as _;
use serde::Serialize;

/// What names a line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name<'a> {
    /// `batch_req_…`
    pub(crate) id: &'a str,
    /// A JSON string with its quotes, or `null`.
    pub(crate) custom_id: &'a [u8],
}

/// An answer as it goes into `response`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Response<'a> {
    pub(crate) status: u16,
    pub(crate) request_id: &'a str,
    pub(crate) body: ResponseBody<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum ResponseBody<'a> {
    /// JSON, kept as it is.
    Json(&'a [u8]),
    /// Anything else: a JSON string if it is text, else `{"base64": …}`.
    Raw(&'a [u8]),
}

impl ResponseBody<'_> {
    pub(crate) fn length(&self) -> usize {
        match self {
            Self::Json(bytes) | Self::Raw(bytes) => bytes.len(),
        }
    }
}

/// `error` of a line that got no usable answer.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct LineError<'a> {
    pub(crate) code: &'a str,
    pub(crate) message: &'a str,
}

/// Appends one result line, with its line break.
pub(crate) fn write(
    out: &mut Vec<u8>,
    name: Name<'_>,
    response: Option<Response<'_>>,
    error: Option<LineError<'_>>,
) {
    match response {
        None => {
            open(out, name);
            write_unanswered(out, error);
        }
        Some(response) => {
            open_response(out, name, response.status, response.request_id);
            write_body(out, response.body);
            close_response(out, error);
        }
    }
}

/// A line up to the body of its response; behind that body it is ended by [`close_response`].
pub(crate) fn open_response(out: &mut Vec<u8>, name: Name<'_>, status: u16, request_id: &str) {
    open(out, name);
    out.extend_from_slice(b"{\"status_code\":");
    out.extend_from_slice(status.to_string().as_bytes());
    out.extend_from_slice(b",\"request_id\":");
    write_text(out, request_id);
    out.extend_from_slice(b",\"body\":");
}

/// What stands behind the body of a response.
pub(crate) fn close_response(out: &mut Vec<u8>, error: Option<LineError<'_>>) {
    out.push(b'}');
    close(out, error);
}

/// A line up to its response.
pub(crate) fn open(out: &mut Vec<u8>, name: Name<'_>) {
    out.extend_from_slice(b"{\"id\":\"");
    out.extend_from_slice(name.id.as_bytes());
    out.extend_from_slice(b"\",\"custom_id\":");
    write_json(out, name.custom_id);
    out.extend_from_slice(b",\"response\":");
}

/// What [`open`] leaves to be written where there is no response: the same for each line that ends in
/// one way.
pub(crate) fn write_unanswered(out: &mut Vec<u8>, error: Option<LineError<'_>>) {
    out.extend_from_slice(b"null");
    close(out, error);
}

fn close(out: &mut Vec<u8>, error: Option<LineError<'_>>) {
    out.extend_from_slice(b",\"error\":");
    match error {
        None => out.extend_from_slice(b"null"),
        Some(error) => write_value(out, &error),
    }
    out.extend_from_slice(b"}\n");
}

fn write_body(out: &mut Vec<u8>, body: ResponseBody<'_>) {
    match body {
        ResponseBody::Json(json) => write_json(out, json.trim_ascii()),
        ResponseBody::Raw(raw) => match std::str::from_utf8(raw) {
            Ok(text) => write_value(out, text),
            Err(_) => {
                out.extend_from_slice(b"{\"base64\":\"");
                let text = base64::engine::general_purpose::STANDARD.encode(raw);
                out.extend_from_slice(text.as_bytes());
                out.extend_from_slice(b"\"}");
            }
        },
    }
}

/// A text as JSON, fit for a line: mostly a word that needs nothing but its quotes.
fn write_text(out: &mut Vec<u8>, text: &str) {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        write_value(out, text);
    }
}

/// A value of ours as JSON, fit for a line.
pub(crate) fn write_value<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let json = serde_json::to_vec(value).expect("text is always JSON");
    write_json(out, &json);
}

/// JSON text of others, fit for a line and otherwise as it is.
///
/// In JSON a raw line break stands only between tokens and the three separators only in strings,
/// so each can be changed where it is found.
pub(crate) fn write_json(out: &mut Vec<u8>, json: &[u8]) {
    let mut rest = json;
    while let Some(at) = first_suspect(rest) {
        out.extend_from_slice(&rest[..at]);
        let (instead, length): (&[u8], usize) = match &rest[at..] {
            [b'\n' | b'\r', ..] => (b"", 1),
            [0xe2, 0x80, 0xa8, ..] => (b"\\u2028", 3),
            [0xe2, 0x80, 0xa9, ..] => (b"\\u2029", 3),
            [0xc2, 0x85, ..] => (b"\\u0085", 2),
            other => (&other[..1], 1),
        };
        out.extend_from_slice(instead);
        rest = &rest[at + length..];
    }
    out.extend_from_slice(rest);
}

/// The first byte with which something may begin that breaks a line. Where there is none, as in most
/// answers, no byte is looked at by itself.
fn first_suspect(json: &[u8]) -> Option<usize> {
    // Four comparisons, which a processor makes for many bytes at once; a `matches!` becomes a table.
    let is_suspect = |&b: &u8| (b == b'\n') | (b == b'\r') | (b == 0xe2) | (b == 0xc2);
    let (blocks, _) = json.as_chunks::<32>();
    let is_clean =
        |block: &&[u8; 32]| !block.iter().fold(false, |any, byte| any | is_suspect(byte));
    let clean = 32 * blocks.iter().take_while(is_clean).count();
    let found = json[clean..].iter().position(is_suspect)?;
    Some(clean + found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: Name<'_> = Name {
        id: "batch_req_b_1",
        custom_id: b"\"a\"",
    };

    fn line(response: Option<Response<'_>>, error: Option<LineError<'_>>) -> String {
        let mut out = Vec::new();
        write(&mut out, NAME, response, error);
        String::from_utf8(out).unwrap()
    }

    fn answer(status: u16, body: ResponseBody<'_>) -> Option<Response<'_>> {
        Some(Response {
            status,
            request_id: "req_1",
            body,
        })
    }

    #[test]
    fn an_answer_keeps_its_text_and_loses_its_line_breaks() {
        let body = "{\n  \"n\": 1.50e+3,\r\n \"s\": \"caf\u{e9} \u{4f60}\\n\"\n}".as_bytes();
        assert_eq!(
            line(answer(200, ResponseBody::Json(body)), None),
            "{\"id\":\"batch_req_b_1\",\"custom_id\":\"a\",\"response\":{\"status_code\":200,\"request_id\":\"req_1\",\"body\":{  \"n\": 1.50e+3, \"s\": \"caf\u{e9} \u{4f60}\\n\"}},\"error\":null}\n"
        );
    }

    #[test]
    fn separators_that_break_lines_elsewhere_are_escaped() {
        let body = "{\"s\":\"a\u{2028}b\u{2029}c\u{85}d\u{2014}e\u{a0}\"}";
        let line = line(answer(200, ResponseBody::Json(body.as_bytes())), None);
        assert!(
            line.contains("a\\u2028b\\u2029c\\u0085d\u{2014}e\u{a0}"),
            "{line}"
        );
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        let original: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(read["response"]["body"], original);
    }

    #[test]
    fn a_separator_is_found_wherever_it_stands() {
        for at in 0..100 {
            let (before, behind) = ("x".repeat(at), "y".repeat(100 - at));
            let body = format!("\"{before}\u{2028}{behind}\"");
            let mut out = Vec::new();
            write_json(&mut out, body.as_bytes());
            let expected = format!("\"{before}\\u2028{behind}\"");
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_not_json_is_kept_as_text_or_base64() {
        assert!(
            line(answer(502, ResponseBody::Raw(b"<b>bad\n")), None)
                .contains(r#""body":"<b>bad\n""#)
        );
        assert!(
            line(answer(200, ResponseBody::Raw(b"\xff\x00")), None)
                .contains(r#"{"base64":"/wA="}"#)
        );
    }

    #[test]
    fn a_line_without_an_answer_says_why() {
        let error = LineError {
            code: "upstream_timeout",
            message: "no answer in 600 s",
        };
        assert_eq!(
            line(None, Some(error)),
            "{\"id\":\"batch_req_b_1\",\"custom_id\":\"a\",\"response\":null,\"error\":{\"code\":\"upstream_timeout\",\"message\":\"no answer in 600 s\"}}\n"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_makes_one_line_that_says_the_same(text: String, status in 200u16..600) {
            let body = serde_json::to_string_pretty(&serde_json::json!({"a": [text], "b": null})).unwrap();
            let line = line(answer(status, ResponseBody::Json(body.as_bytes())), None);
            proptest::prop_assert_eq!(line.matches('\n').count(), 1);
            let breaks_elsewhere = line.contains(['\u{2028}', '\u{2029}', '\u{85}']);
            proptest::prop_assert!(!breaks_elsewhere);
            let read: serde_json::Value = serde_json::from_str(&line).unwrap();
            proptest::prop_assert_eq!(&read["response"]["body"]["a"][0], &serde_json::json!(text));
        }
    }
}
