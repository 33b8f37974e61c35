//! How a client says that it has sent a request before: by a key of its own, in a header or in the
//! body, or by the count of the official SDKs' retries.

use axum::http::{HeaderMap, HeaderName};

use super::error::{Answer, Failure};
use super::json::Object;
use super::multipart::{Part, twice};
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

/// What the client calls the request of a form.
#[derive(Debug)]
pub(super) struct FormKey {
    header: Option<String>,
    field: Option<String>,
    /// The bytes have begun, under a key or under none.
    settled: bool,
}

impl FormKey {
    pub(super) fn of(headers: &HeaderMap) -> Answer<Self> {
        Ok(Self {
            header: header_key(headers)?,
            field: None,
            settled: false,
        })
    }

    /// Whether it is this field of the form that names it.
    pub(super) fn is_in(name: &str) -> bool {
        name == FIELD
    }

    /// Reads the field. Behind the bytes it comes too late to say anything new.
    pub(super) async fn read(&mut self, part: &mut Part<'_>) -> Answer<()> {
        let key = checked(part.text(FIELD).await?)?;
        if self.field.is_some() {
            return Err(twice(FIELD));
        }
        self.field = Some(key);
        if self.settled && self.header.is_none() {
            return Err(Failure::invalid(
                "'idempotency_key' stands behind the bytes, which begin under their key: let it stand \
                 before them, or send it as the 'Idempotency-Key' header.",
            )
            .with_param(FIELD)
            .with_code("invalid_value"));
        }
        one_of(self.header.clone(), self.field.clone()).map(drop)
    }

    /// The key that the bytes come under, which begin now.
    pub(super) fn settle(&mut self) -> Option<String> {
        self.settled = true;
        self.header.clone().or_else(|| self.field.clone())
    }
}

/// What the client calls this request, in its header.
fn header_key(headers: &HeaderMap) -> Answer<Option<String>> {
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
    body.optional_text(FIELD)?.map(checked).transpose()
}

fn checked(key: String) -> Answer<String> {
    match is_good(&key) {
        true => Ok(key),
        false => Err(bad_key("'idempotency_key': expected a key", FIELD)),
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
