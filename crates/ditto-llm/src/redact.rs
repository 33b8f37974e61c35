//! Taking secrets out of texts before anyone reads them.

use std::borrow::Cow;

use memchr::memmem;
use serde_json::Value;

/// What stands where a secret was.
pub const MASK: &str = "***";

/// Shorter keys are placeholders such as `x`, `EMPTY` or `ollama`: no secret, and replacing them
/// would garble every text they occur in by chance.
const SHORTEST_SECRET: usize = 8;

/// Replaces every occurrence of `secret` in `text`.
///
/// A secret of fewer than eight bytes is taken for a placeholder and left alone.
///
/// ```
/// use ditto_llm::redact::mask;
///
/// assert_eq!(mask("bad key sk-canary-1", "sk-canary-1"), "bad key ***");
/// assert_eq!(mask("box", "x"), "box");
/// ```
pub fn mask<'a>(text: &'a str, secret: &str) -> Cow<'a, str> {
    if secret.len() < SHORTEST_SECRET || !text.contains(secret) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace(secret, MASK))
}

/// Replaces every occurrence of `secret` in bytes that need not be UTF-8, as [`mask`] does.
pub fn mask_bytes<'a>(bytes: &'a [u8], secret: &[u8]) -> Cow<'a, [u8]> {
    if secret.len() < SHORTEST_SECRET {
        return Cow::Borrowed(bytes);
    }
    let finder = memmem::Finder::new(secret);
    let mut masked = Vec::new();
    let mut from = 0;
    while let Some(at) = finder.find(&bytes[from..]) {
        masked.extend_from_slice(&bytes[from..from + at]);
        masked.extend_from_slice(MASK.as_bytes());
        from += at + secret.len();
    }
    if from == 0 {
        return Cow::Borrowed(bytes);
    }
    masked.extend_from_slice(&bytes[from..]);
    Cow::Owned(masked)
}

/// A value for a log: what its key calls a secret is replaced at any depth, and so is a text that
/// is a credential by its looks (`Bearer …`, `Basic …`, `sk-…`).
///
/// ```
/// use ditto_llm::redact::mask_value;
/// use serde_json::json;
///
/// let logged = mask_value(&json!({"priority": 1, "hook": {"api_key": "abc"}}));
/// assert_eq!(logged, json!({"priority": 1, "hook": {"api_key": "***"}}));
/// ```
pub fn mask_value(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| {
                let shown = if is_secret_name(key) {
                    Value::from(MASK)
                } else {
                    mask_value(value)
                };
                (key.clone(), shown)
            })
            .collect(),
        Value::Array(list) => list.iter().map(mask_value).collect(),
        Value::String(text) if is_credential(text) => Value::from(MASK),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// Rather a text too many than a key in the log.
fn is_credential(text: &str) -> bool {
    let text = text.trim_start().to_ascii_lowercase();
    text.contains("bearer ") || text.starts_with("basic ") || text.starts_with("sk-")
}

/// Whether a key, header or parameter of this name holds a secret.
pub fn is_secret_name(name: &str) -> bool {
    const WHOLE: [&str; 4] = ["key", "auth", "pwd", "sig"];
    const WORDS: [&str; 13] = [
        "accesskey",
        "apikey",
        "authorization",
        "bearer",
        "credential",
        "cookie",
        "passphrase",
        "password",
        "passwd",
        "privatekey",
        "secret",
        "signature",
        "subscriptionkey",
    ];
    let plain: String = name
        .to_ascii_lowercase()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    // Not every `…token…` is secret: `max_tokens` is a count.
    let whole = WHOLE.contains(&plain.as_str()) || plain.ends_with("token");
    whole || WORDS.iter().any(|word| plain.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_occurrence_goes_and_the_rest_stays() {
        let secret = b"sk-canary-77";
        assert_eq!(
            mask_bytes(b"\xff sk-canary-77,sk-canary-77!", secret).as_ref(),
            b"\xff ***,***!"
        );
        assert!(matches!(
            mask_bytes(b"nothing here", secret),
            Cow::Borrowed(_)
        ));
        assert!(matches!(
            mask("nothing here", "sk-canary-77"),
            Cow::Borrowed(_)
        ));
    }

    #[test]
    fn an_empty_or_short_secret_changes_nothing() {
        for secret in ["", "x", "EMPTY", "ollama"] {
            assert_eq!(mask("x EMPTY ollama", secret), "x EMPTY ollama");
            assert_eq!(
                mask_bytes(b"x EMPTY ollama", secret.as_bytes()).as_ref(),
                b"x EMPTY ollama"
            );
        }
    }

    #[test]
    fn a_text_that_is_a_credential_is_masked_whatever_its_key() {
        let value = serde_json::json!({"headers": ["Authorization: Bearer abc", "x-team: blue"],
            "hook": "bearer abc", "other": "sk-abc", "prefix": "Basic YTpi", "mode": "basic"});
        let masked = serde_json::json!({"headers": ["***", "x-team: blue"],
            "hook": "***", "other": "***", "prefix": "***", "mode": "basic"});
        assert_eq!(mask_value(&value), masked);
    }

    #[test]
    fn names_of_secrets_are_known_in_any_spelling() {
        for name in [
            "api_key",
            "X-Api-Key",
            "apiKey",
            "Authorization",
            "access_token",
            "hmac-secret",
            "Ocp-Apim-Subscription-Key",
            "private_key",
            "x-access-key",
            "passphrase",
            "auth",
            "sig",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["max_tokens", "model", "priority", "key_count", "author"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
