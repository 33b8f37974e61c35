//! From key to tenant.

use std::hint::black_box;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret;

use super::error::{Answer, Failure, Problem};
use super::incoming::Incoming;
use crate::config::{Config, TenantKey};

/// Whose files and batches these are, on a server without keys.
const LOCAL: &str = "local";
/// What probes and tools ask; it tells nothing of any tenant.
const OPEN_PATHS: [&str; 3] = ["/healthz", "/readyz", "/openapi.json"];

/// Whose request it is.
#[derive(Debug, Clone)]
pub(super) struct Tenant(Arc<str>);

impl Tenant {
    pub(super) fn name(&self) -> &str {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for Tenant {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            tracing::error!(target: "ditto_server::http", "a route without a tenant");
            Failure::internal()
        })
    }
}

/// The third door: no key, no further, and not a byte of the body is looked at.
pub(super) async fn tenant_of_key(
    State(config): State<Arc<Config>>,
    mut request: Request,
    next: Next,
) -> Response {
    if OPEN_PATHS.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    match tenant(&config.keys, request.headers()) {
        Ok(tenant) => {
            request.extensions_mut().insert(tenant);
            next.run(request).await
        }
        Err(failure) => {
            let (parts, body) = request.into_parts();
            Incoming::new(&parts.headers, body).drain().await;
            failure.into_response()
        }
    }
}

fn tenant(keys: &[TenantKey], headers: &HeaderMap) -> Answer<Tenant> {
    if keys.is_empty() {
        return Ok(Tenant(LOCAL.into()));
    }
    let Some(given) = headers.get(header::AUTHORIZATION).and_then(bearer) else {
        return Err(refused(
            "You didn't provide an API key. Send it as a bearer token: \
             'Authorization: Bearer YOUR_KEY'."
                .to_owned(),
        ));
    };
    match owner(keys, given) {
        Some(key) => Ok(Tenant(key.tenant.as_str().into())),
        None => Err(refused(format!(
            "Incorrect API key provided: {}.",
            masked(given)
        ))),
    }
}

fn refused(message: String) -> Failure {
    Failure::new(Problem::NoKey, message)
        .with_code("invalid_api_key")
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_first_chunk::<7>()?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

/// Looks at every key, so that the time taken does not tell which one is near.
fn owner<'a>(keys: &'a [TenantKey], given: &[u8]) -> Option<&'a TenantKey> {
    let mut found = None;
    for key in keys {
        if same(key.key.expose_secret().as_bytes(), given) {
            found = Some(key);
        }
    }
    found
}

/// Compares in a time that depends on the length of `given` alone.
fn same(key: &[u8], given: &[u8]) -> bool {
    if key.is_empty() {
        return false;
    }
    let mut difference = u8::from(key.len() != given.len());
    for (i, byte) in given.iter().enumerate() {
        difference |= black_box(byte ^ key[i % key.len()]);
    }
    black_box(difference) == 0
}

/// Enough of a key to tell which one it was, and too little to use it.
fn masked(given: &[u8]) -> String {
    let text = String::from_utf8_lossy(given);
    if text.chars().count() < 12 {
        return "***".to_owned();
    }
    text.chars().take(4).chain("***".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Vec<TenantKey> {
        let key = |tenant: &str, key: &str| TenantKey {
            tenant: tenant.to_owned(),
            key: key.to_owned().into(),
        };
        vec![
            key("a", "sk-alpha-0123456789"),
            key("b", "sk-beta-0123456789"),
            key("c", ""),
        ]
    }

    fn tenant_for(authorization: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        tenant(&keys(), &headers).ok().map(|t| t.name().to_owned())
    }

    #[test]
    fn a_key_opens_its_tenant_only() {
        let table = [
            ("Bearer sk-alpha-0123456789", Some("a")),
            ("bearer  sk-beta-0123456789 ", Some("b")),
            ("Bearer sk-alpha-012345678", None),
            ("Bearer sk-alpha-01234567899", None),
            ("Bearer sk-alpha-0123456789sk-alpha-0123456789", None),
            ("Bearer ", None),
            ("Basic sk-alpha-0123456789", None),
            ("sk-alpha-0123456789", None),
        ];
        for (header, expected) in table {
            assert_eq!(tenant_for(header).as_deref(), expected, "{header}");
        }
    }

    #[test]
    fn without_keys_everybody_is_local() {
        assert_eq!(tenant(&[], &HeaderMap::new()).unwrap().name(), "local");
    }

    #[test]
    fn a_wrong_key_is_shown_masked() {
        assert_eq!(masked(b"sk-test-0123456789"), "sk-t***");
        assert_eq!(masked(b"sk-test"), "***");
    }
}
