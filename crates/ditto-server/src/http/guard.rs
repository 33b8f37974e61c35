//! Keeps web pages away from a server without keys.
//!
//! A page that the user looks at can make the browser ask `127.0.0.1`. It gives itself away: its
//! requests carry an `Origin`, or, if its own name was made to point here, a `Host` that is no
//! loopback name.

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::error::{Answer, Failure, Problem};
use super::incoming::Incoming;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::service::{Access, Service};

/// Without keys everybody who can connect may do everything, so only this machine may connect.
pub(crate) fn check_listener(address: SocketAddr, access: Access) -> Result<()> {
    if access == Access::Open && !address.ip().is_loopback() {
        return Err(Error::invalid(format!(
            "{address} can be reached from other machines, and the server has no keys: give it \
             keys (`ditto-batch keys create`, or --api-key-file), or let it listen on 127.0.0.1"
        )));
    }
    Ok(())
}

/// The second door.
pub(super) async fn refuse_web_pages(
    State(service): State<Service>,
    request: Request,
    next: Next,
) -> Response {
    let listed = listed_origin(&service.config, request.headers());
    if !service.keys.asked_for()
        && let Err(failure) = check(&request, listed.is_some())
    {
        let (parts, body) = request.into_parts();
        Incoming::new(&parts.headers, body).drain().await;
        return failure.into_response();
    }
    let Some(origin) = listed else {
        return next.run(request).await;
    };
    let mut response = if request.method() == Method::OPTIONS {
        preflight()
    } else {
        next.run(request).await
    };
    allow(&mut response, origin);
    response
}

/// The request's `Origin`, if the operator listed it.
fn listed_origin(config: &Config, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    config
        .origins
        .iter()
        .any(|listed| listed.as_bytes() == origin.as_bytes())
        .then(|| origin.clone())
}

fn check(request: &Request, origin_is_listed: bool) -> Answer<()> {
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) && !origin_is_listed {
        return Err(Failure::new(
            Problem::Forbidden,
            "Web pages may not use this server. To let one, list its origin with --origin.",
        )
        .with_code("origin_not_allowed"));
    }
    let hosts = headers
        .get_all(header::HOST)
        .iter()
        .map(HeaderValue::as_bytes);
    let hosts: Vec<&[u8]> = hosts
        .chain(request.uri().authority().map(|a| a.as_str().as_bytes()))
        .collect();
    if hosts.is_empty() || !hosts.into_iter().all(is_loopback_name) {
        return Err(Failure::new(
            Problem::Forbidden,
            "Without keys this server answers only to localhost, 127.0.0.1 and [::1]. Ask it by \
             one of these names, or give it keys (`ditto-batch keys create`, or --api-key-file).",
        )
        .with_code("host_not_allowed"));
    }
    Ok(())
}

/// `localhost`, 127.0.0.0/8 or `[::1]`, with any port.
fn is_loopback_name(host: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(host) else {
        return false;
    };
    if authority.as_str().contains('@') {
        return false;
    }
    let name = authority.host();
    if let Some(v6) = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
        return v6
            .parse()
            .is_ok_and(|address: Ipv6Addr| address.is_loopback());
    }
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse()
            .is_ok_and(|address: Ipv4Addr| address.is_loopback())
}

fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    let methods = HeaderValue::from_static("GET, HEAD, POST, DELETE");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    // A star would leave out `Authorization`; OpenAI's client sends many `x-stainless-*` besides.
    let names = "authorization, content-type, ditto-extensions, range, if-range, idempotency-key, x-stainless-arch, \
                 x-stainless-lang, x-stainless-os, x-stainless-package-version, \
                 x-stainless-retry-count, x-stainless-runtime, x-stainless-runtime-version, \
                 x-stainless-timeout";
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(names),
    );
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static("600"),
    );
    response
}

fn allow(response: &mut Response, origin: HeaderValue) {
    const EXPOSED: HeaderName = header::ACCESS_CONTROL_EXPOSE_HEADERS;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    let names = "x-request-id, retry-after, x-should-retry, etag, content-range, accept-ranges";
    headers.insert(EXPOSED, HeaderValue::from_static(names));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_are_told_from_all_others() {
        let good = [
            "localhost",
            "LOCALHOST",
            "localhost:8650",
            "127.0.0.1",
            "127.0.0.1:1",
            "127.8.9.1:80",
            "[::1]",
            "[::1]:8650",
        ];
        let bad = [
            "",
            "example.com",
            "localhost.example.com",
            "localhost@example.com",
            "10.0.0.1",
            "127.0.0.1.nip.io",
            "0.0.0.0",
            "[::]",
            "[::2]:80",
            "localhost:80:80",
            "127.1",
            "2130706433",
            "local host",
        ];
        for host in good {
            assert!(is_loopback_name(host.as_bytes()), "{host}");
        }
        for host in bad {
            assert!(!is_loopback_name(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn a_server_without_keys_refuses_to_listen_to_other_machines() {
        let local = "127.0.0.1:8650".parse().unwrap();
        let everywhere = "0.0.0.0:8650".parse().unwrap();
        assert!(check_listener(local, Access::Open).is_ok());
        assert!(check_listener(everywhere, Access::Open).is_err());
        let nobody = Access::Keys {
            keys: 0,
            tenants: 0,
        };
        assert!(check_listener(everywhere, nobody).is_ok());
    }
}
