//! From key to tenant, and whether the tenant may ask now.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::{Answer, Failure, Problem};
use super::held::held;
use super::incoming::Incoming;
use super::key_life::KeyLife;
use super::paced::paced;
use crate::service::Service;
use crate::service::keys::Pass;
use crate::service::quota::{Kind, Quotas, Ticket};

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

    /// The right to one more download; for as long as it is kept.
    pub(super) fn download(&self, service: &Service) -> Answer<Ticket> {
        Ok(service.quotas.begin(&self.0, Kind::Download)?)
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

/// The third door: no key, or too much asked with it, no further, and not a byte of the body is looked
/// at.
pub(super) async fn tenant_of_key(
    State(service): State<Service>,
    request: Request,
    next: Next,
) -> Response {
    if OPEN_PATHS.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    match enter(&service, request.headers()) {
        Ok(Entered {
            tenant,
            key,
            place,
            upload,
        }) => {
            let request = at_pace(request, &service.quotas, &tenant);
            let mut request = request.map(|body| key.sent(body));
            request.extensions_mut().insert(tenant);
            let response = key.answer(request, next).await;
            // Until here an upload comes in.
            drop(upload);
            response.map(|body| held(key.answered(body), place))
        }
        Err(failure) => {
            let (parts, body) = request.into_parts();
            Incoming::new(&parts.headers, body).drain().await;
            failure.into_response()
        }
    }
}

/// A request that may come now.
struct Entered {
    tenant: Tenant,
    key: KeyLife,
    /// Among those of its tenant, until its answer has gone out.
    place: Ticket,
    /// The right to be an upload, if it is one.
    upload: Option<Ticket>,
}

fn enter(service: &Service, headers: &HeaderMap) -> Answer<Entered> {
    let (tenant, key) = tenant(service, headers)?;
    service.quotas.request(&tenant.0)?;
    let place = service.quotas.begin(&tenant.0, Kind::Request)?;
    let upload = match is_form(headers) {
        true => Some(service.quotas.begin(&tenant.0, Kind::Upload)?),
        false => None,
    };
    Ok(Entered {
        tenant,
        key,
        place,
        upload,
    })
}

/// Files, and nothing else, come as forms.
fn is_form(headers: &HeaderMap) -> bool {
    let given = headers.get(header::CONTENT_TYPE);
    given.is_some_and(|given| {
        let start = given.as_bytes().first_chunk::<10>();
        start.is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/"))
    })
}

fn at_pace(request: Request, quotas: &Arc<Quotas>, tenant: &Tenant) -> Request {
    match quotas.has_pace(tenant.name()) {
        true => request.map(|body| paced(body, Arc::clone(quotas), Arc::clone(&tenant.0))),
        false => request,
    }
}

fn tenant(service: &Service, headers: &HeaderMap) -> Answer<(Tenant, KeyLife)> {
    if !service.keys.asked_for() {
        return Ok((Tenant(LOCAL.into()), KeyLife::endless()));
    }
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let given = all.next().and_then(bearer);
    // Of two, a proxy in front may have looked at the other.
    if all.next().is_some() {
        return Err(refused(
            "You provided more than one 'Authorization' header. Send one.",
        ));
    }
    let Some(given) = given else {
        return Err(refused(
            "You didn't provide an API key. Send it as a bearer token: \
             'Authorization: Bearer YOUR_KEY'.",
        ));
    };
    match service.keys.pass(given) {
        Some(Pass { tenant, ended }) => Ok((Tenant(tenant), KeyLife::until(ended))),
        None => Err(refused(format!(
            "Incorrect API key provided: {}.",
            masked(given)
        ))),
    }
}

/// The refusal of a key, or of what came without one.
pub(super) fn refused(message: impl Into<String>) -> Failure {
    Failure::new(Problem::NoKey, message)
        .with_code("invalid_api_key")
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_first_chunk::<7>()?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
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

    #[test]
    fn a_bearer_token_is_read_with_the_space_around_it() {
        let table: [(&str, Option<&[u8]>); 6] = [
            ("Bearer sk-alpha", Some(b"sk-alpha")),
            ("bearer  sk-alpha ", Some(b"sk-alpha")),
            ("Bearer sk-alpha sk-beta", Some(b"sk-alpha sk-beta")),
            ("Bearer ", None),
            ("Basic sk-alpha", None),
            ("sk-alpha", None),
        ];
        for (header, expected) in table {
            assert_eq!(bearer(&header.parse().unwrap()), expected, "{header}");
        }
    }

    #[test]
    fn a_wrong_key_is_shown_masked() {
        assert_eq!(masked(b"sk-test-0123456789"), "sk-t***");
        assert_eq!(masked(b"sk-test"), "***");
    }
}
