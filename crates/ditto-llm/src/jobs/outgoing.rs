//! A line as it goes out, and what it weighs.

use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::check::{Envelope, Fill, Kind, inputs_in, with_model};
use crate::profiles::Profile;

/// Bytes of a request for one token of its prompt, about: providers count tokens, we cannot.
const BYTES_A_TOKEN: u64 = 4;

/// A line that the check found good.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// The `custom_id` unescaped; none where the line has no text for one.
    pub(crate) custom_id: Option<Cow<'a, str>>,
    pub(crate) model: Cow<'a, str>,
    body: Cow<'a, [u8]>,
    pub(crate) embedding_inputs: u64,
    pub(crate) tokens: u64,
    /// It names everything itself: method, url, model, and a `custom_id`.
    complete: bool,
}

impl<'a> Request<'a> {
    /// Reads a line whose only faults, if any, are about its `custom_id`.
    pub(crate) fn read(line: &'a [u8], fill: &Fill) -> Option<Self> {
        let mut envelope = Envelope::default();
        envelope.read(line).ok()?;
        let bare = envelope.is_bare();
        let body = match bare {
            true => &envelope.whole,
            false => envelope.body.as_ref()?,
        };
        let value = body.value.filter(|value| value.kind == Kind::Object)?;
        let (model, outgoing, own_model) = match (body.model, &fill.model) {
            (Some(model), _) => (model.text()?, Cow::Borrowed(value.raw), true),
            (None, Some(model)) => (
                Cow::Owned(model.clone()),
                Cow::Owned(with_model(value, model)),
                false,
            ),
            (None, None) => return None,
        };
        let custom_id = envelope
            .custom_id
            .filter(|id| id.kind == Kind::String)
            .and_then(|id| id.text());
        let names_itself = envelope.method.is_some() && envelope.url.is_some();
        Some(Self {
            complete: !bare && own_model && names_itself && custom_id.is_some(),
            custom_id,
            model,
            embedding_inputs: body.input.map_or(0, inputs_in),
            tokens: estimated_tokens(outgoing.len()),
            body: outgoing,
        })
    }

    /// Whether the line may go out as it stands in the input.
    pub(crate) fn goes_as_it_is(&self, profile: &Profile) -> bool {
        let id = self.custom_id.as_deref();
        self.complete && id.is_some_and(|id| profile.takes_custom_id(id))
    }

    /// The line as it goes out under another name.
    pub(crate) fn write(&self, custom_id: &str, url: &str, out: &mut Vec<u8>) {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        out.extend_from_slice(b"{\"custom_id\":");
        out.extend_from_slice(text(custom_id).as_bytes());
        out.extend_from_slice(b",\"method\":\"POST\",\"url\":");
        out.extend_from_slice(text(url).as_bytes());
        out.extend_from_slice(b",\"body\":");
        out.extend_from_slice(&self.body);
        out.extend_from_slice(b"}\n");
    }
}

/// Prompt tokens of a body of so many bytes, about.
#[must_use]
pub fn estimated_tokens(body_bytes: usize) -> u64 {
    (body_bytes as u64).div_ceil(BYTES_A_TOKEN)
}

/// The name that a line has at a provider where its own cannot be used.
pub(crate) fn stand_in(line: u64) -> String {
    format!("line-{line}")
}

/// The line that [`stand_in`] named.
pub(crate) fn line_of(stand_in: &str) -> Option<u64> {
    let digits = stand_in.strip_prefix("line-")?;
    let line = digits.parse().ok()?;
    // `line-+1` and `line-01` are other names.
    (self::stand_in(line) == stand_in).then_some(line)
}

/// What tells that a line is still the one that was planned. The hashes of a shard's lines are
/// added up, so that shards can be put together.
pub(crate) fn hash_of(line: &[u8], number: u64) -> u128 {
    xxh3_128_with_seed(line, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"custom_id":"a/1","method":"POST","url":"/v1/x","body":{"model":"m","input":["x","y"]}}"#;

    fn written(line: &str, fill: &Fill) -> String {
        let mut out = Vec::new();
        let request = Request::read(line.as_bytes(), fill).unwrap();
        request.write("line-7", "/v4/x", &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_that_names_everything_goes_as_it_is_if_its_id_is_taken() {
        let request = Request::read(LINE.as_bytes(), &Fill::default()).unwrap();
        assert!(request.goes_as_it_is(&Profile::default()));
        assert_eq!((request.embedding_inputs, &*request.model), (2, "m"));
        let portable = Profile {
            custom_ids: crate::profiles::CustomIds::Portable,
            ..Profile::default()
        };
        assert!(!request.goes_as_it_is(&portable));
    }

    #[test]
    fn a_changed_line_keeps_its_body_byte_for_byte() {
        let line = r#"{"url":"/v1/x","custom_id":7,"body":{"model":"m", "n":1.0e0,"é":"\u00e9"}}"#;
        assert_eq!(
            written(line, &Fill::default()),
            concat!(
                r#"{"custom_id":"line-7","method":"POST","url":"/v4/x","#,
                r#""body":{"model":"m", "n":1.0e0,"é":"\u00e9"}}"#,
                "\n"
            ),
        );
    }

    #[test]
    fn what_a_line_lacks_is_filled_in() {
        let fill = Fill {
            model: Some("m".into()),
            ..Fill::default()
        };
        let expected = r#"{"custom_id":"line-7","method":"POST","url":"/v4/x","body":{"model":"m","input":1}}"#;
        assert_eq!(written(r#"{"input":1}"#, &fill).trim_end(), expected);
        assert!(Request::read(br#"{"input":1}"#, &Fill::default()).is_none());
    }

    #[test]
    fn a_stand_in_leads_back_to_its_line_and_nothing_else_does() {
        assert_eq!(line_of(&stand_in(120_001)), Some(120_001));
        for other in ["line-", "line-01", "line-+1", "line-x", "1", "line-1-2"] {
            assert_eq!(line_of(other), None, "{other}");
        }
    }
}
