//! One request and its answer: an id, a line in the log, and an answer even if we panic.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use super::error::Failure;
use super::peer::{Peer, client};
use crate::config::Config;
use crate::id;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The outermost door. The log gets the route, not the path: ids are the tenant's, and whatever else
/// stands in a path is the client's to write.
pub(super) async fn envelope(
    State(config): State<Arc<Config>>,
    request: Request,
    next: Next,
) -> Response {
    let client = client_of(&request, &config);
    let id = id::request();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let begun = Instant::now();
    // The panic's own message has already gone to the panic hook.
    let mut response = AssertUnwindSafe(next.run(request))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Failure::internal().into_response());
    tracing::info!(
        target: "ditto_server::http",
        request_id = %id,
        client,
        %method,
        route = route.as_ref().map_or("-", MatchedPath::as_str),
        status = response.status().as_u16(),
        elapsed_ms = begun.elapsed().as_secs_f64() * 1e3,
        "answered"
    );
    let id = HeaderValue::try_from(id).expect("our ids are ASCII");
    response.headers_mut().insert(X_REQUEST_ID, id);
    response
}

/// The client's address; `-` for one that is not on a connection.
fn client_of(request: &Request, config: &Config) -> String {
    let peer = request.extensions().get::<Peer>();
    let client = peer.map(|peer| client(peer.0, request.headers(), &config.trusted_proxies));
    client.map_or_else(|| "-".to_owned(), |client| client.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    async fn broken() -> &'static str {
        panic!("a bug")
    }

    #[tokio::test]
    async fn a_panic_is_answered_in_the_envelope() {
        let config = Arc::new(Config::new("", Vec::new()));
        let router = Router::new()
            .route("/", get(broken))
            .layer(from_fn_with_state(config, envelope));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let threads = tokio::runtime::Handle::current();
        let forever = std::future::pending();
        let server = super::super::serve(listener, router, None, &threads, forever);
        let client = async {
            let mut client = TcpStream::connect(address).await.unwrap();
            let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            client.write_all(request).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let answer = tokio::select! {
            answer = client => answer,
            _ = server => unreachable!("the server runs until it is told to stop"),
        };
        assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
        assert!(answer.contains("x-request-id: req_"), "{answer}");
        assert!(answer.contains("\"type\":\"server_error\""), "{answer}");
        assert!(!answer.contains("a bug"), "{answer}");
    }
}
