//! How a client says that it has sent a request before: by a key of its own, in a header or in a JSON
//! body, or by the count of the official SDKs' retries.

use axum::http::{HeaderMap, HeaderName};

use super::error::{Answer, Failure};
use super::json::Object;
use crate::service::Once;

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// The same in a body: for clients that cannot set a header.
const FIELD: &str = "idempotency_key";
/// The official SDKs count here how often they have sent a request before.
const RETRY_COUNT: HeaderName = HeaderName::from_static("x-stainless-retry-count");
/// It goes into a row.
const MAX_KEY: usize = 255;

/// What tells a request with this body from another one. The key is taken out of the body: it is no
/// part of what the request means.
pub(super) fn once(headers: &HeaderMap, body: &mut Object) -> Answer<Once> {
    once_about("", headers, body)
}

/// The same for a request that is about this object, which its body does not name.
pub(super) fn once_about(about: &str, headers: &HeaderMap, body: &mut Object) -> Answer<Once> {
    let key = one_of(header_key(headers)?, body_key(body)?)?;
    Ok(Once {
        key,
        request_hash: body.fingerprint(about),
        repeated: is_repeat(headers),
    })
}

/// What the client calls this request, in its header.
pub(super) fn header_key(headers: &HeaderMap) -> Answer<Option<String>> {
    let mut given = headers.get_all(HEADER).iter();
    let Some(key) = given.next() else {
        return Ok(None);
    };
    match key.to_str() {
        Ok(key) if is_good(key) && given.next().is_none() => Ok(Some(key.to_owned())),
        _ => Err(bad_key(
            "'Idempotency-Key' header: expected one key",
            "Idempotency-Key",
        )),
    }
}

fn body_key(body: &mut Object) -> Answer<Option<String>> {
    match body.optional_text(FIELD)? {
        Some(key) if !is_good(&key) => Err(bad_key("'idempotency_key': expected a key", FIELD)),
        key => Ok(key),
    }
}

fn is_good(key: &str) -> bool {
    (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
}

fn bad_key(what: &str, param: &'static str) -> Failure {
    Failure::invalid(format!(
        "Invalid {what} of 1 to {MAX_KEY} visible ASCII characters."
    ))
    .with_param(param)
    .with_code("invalid_value")
}

fn one_of(header: Option<String>, body: Option<String>) -> Answer<Option<String>> {
    match (header, body) {
        (Some(header), Some(body)) if header != body => Err(Failure::invalid(
            "The 'Idempotency-Key' header and 'idempotency_key' in the body differ: send one of them, \
             or the same twice.",
        )
        .with_param(FIELD)
        .with_code("invalid_value")),
        (header, body) => Ok(header.or(body)),
    }
}

/// An official SDK sends a request again whose answer it did not get.
fn is_repeat(headers: &HeaderMap) -> bool {
    headers
        .get(RETRY_COUNT)
        .and_then(|count| count.to_str().ok()?.parse::<u32>().ok())
        .is_some_and(|count| count >= 1)
}
