//! Our scanner beside `serde_json`, on the same line.
//!
//! They agree on what is JSON and on the value of each key that we read. They are meant to differ in
//! four things, each of which is looked at here:
//!
//! - Bytes that are not UTF-8 we pass over; the line is refused for them beside the scan.
//! - We stop at a depth of [`MAX_DEPTH`](crate::check::MAX_DEPTH); `serde_json` does not where it
//!   builds nothing.
//! - A key that holds half of a surrogate pair we keep as it stands, since it is none of ours.
//! - Of a key that stands twice both take the last value; we note beside it that it did.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::check::{Envelope, MAX_DEPTH, Scanner, Value};

/// The bytes are one line.
///
/// # Panics
///
/// Where we and `serde_json` read it differently.
pub fn scanner(line: &[u8]) {
    let mut scanner = Scanner::new(line);
    let ours = scanner.value().and_then(|_| scanner.end()).is_ok();
    let mut envelope = Envelope::default();
    let read = envelope.read(line).is_ok();
    if std::str::from_utf8(line).is_err() {
        return;
    }
    let theirs = serde_json::from_slice::<IgnoredAny>(line).is_ok();
    if theirs && depth(line) > MAX_DEPTH {
        // Empty brackets are not counted, nor are the two objects that are stepped into.
        let deep = depth(line) - MAX_DEPTH;
        assert!(!ours || deep <= 1, "deeper than the limit by {deep}");
        assert!(!read || deep <= 3, "deeper than the limit by {deep}");
        return;
    }
    assert_eq!((ours, read), (theirs, theirs), "ours and theirs");
    if let Ok(pairs) = serde_json::from_slice::<Pairs<'_>>(line) {
        same_line(&envelope, &pairs);
    }
}

fn same_line(envelope: &Envelope<'_>, pairs: &Pairs<'_>) {
    let body = envelope.body.as_ref().and_then(|body| body.value);
    let ours = [
        ("custom_id", envelope.custom_id),
        ("method", envelope.method),
        ("url", envelope.url),
        ("body", body),
    ];
    for (name, value) in ours {
        same(value, pairs, name);
        let twice = pairs.count(name) > 1;
        assert!(!twice || envelope.repeated.is_some(), "{name} stands twice");
    }
    if let Some(body) = &envelope.body
        && let Some(raw) = pairs.last("body")
        && let Ok(pairs) = serde_json::from_str::<Pairs<'_>>(raw)
    {
        same(body.model, &pairs, "model");
        same(body.stream, &pairs, "stream");
        let twice = pairs.count("model") > 1 || pairs.count("stream") > 1;
        assert_eq!(body.repeated.is_some(), twice, "a key of the body");
    }
}

fn same(ours: Option<Value<'_>>, pairs: &Pairs<'_>, name: &str) {
    let theirs = pairs.last(name);
    assert_eq!(ours.map(|value| value.raw), theirs.map(str::as_bytes));
    if let (Some(ours), Some(theirs)) = (ours, theirs) {
        let text = serde_json::from_str::<String>(theirs).ok();
        assert_eq!(
            ours.text().as_deref(),
            text.as_deref(),
            "the text of {name}"
        );
    }
}

/// How deep the brackets of a line go that is JSON.
fn depth(line: &[u8]) -> usize {
    let (mut depth, mut most) = (0_usize, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in line {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        most = most.max(depth);
    }
    most
}

/// An object as it is written: every pair, in order.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl Pairs<'_> {
    fn last(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.get())
    }

    fn count(&self, name: &str) -> usize {
        self.0.iter().filter(|(key, _)| key == name).count()
    }
}

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}
