//! One connection of a client, from its first byte to its end.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::held::held;
use super::peer::Peer;
use super::socket::Socket;
use super::tls::Tls;
use super::waiting::Seat;

/// A client that takes longer for its headers is holding the connection, not using it. Counts for
/// the idle time between requests too.
const HEADERS: Duration = Duration::from_secs(60);
/// Of one request. OpenAI's clients send about fifteen.
const MOST_HEADERS: usize = 100;
/// Bytes of these, with the first line. Proxies take 8 to 64 KiB.
const HEADER_BYTES: usize = 32 << 10;
/// Bytes that are read or written at once, and so what a connection may hold of memory.
const BUFFER: usize = 64 << 10;

/// What a connection is served with.
pub(super) struct Connection {
    pub(super) router: Router,
    pub(super) peer: SocketAddr,
    pub(super) seat: Seat,
    /// End after the answer under way.
    pub(super) drain: CancellationToken,
    /// End now.
    pub(super) cut: CancellationToken,
}

impl Connection {
    /// As [`serve`](Self::serve), once the client has made itself understood.
    pub(super) async fn serve_tls(self, tls: &Tls, stream: TcpStream) {
        let shaken = tokio::select! {
            biased;
            () = self.seat.sent_away() => None,
            () = self.drain.cancelled() => None,
            shaken = tls.accept(stream) => Some(shaken),
        };
        match shaken {
            Some(Ok(stream)) => return self.serve(stream).await,
            Some(Err(error)) => {
                tracing::debug!(target: "ditto_server::http", %error, "a handshake failed");
            }
            None => {}
        }
        self.seat.leave();
    }

    pub(super) async fn serve<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request| self.answer(request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .max_headers(MOST_HEADERS)
            .max_header_size(HEADER_BYTES)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(Socket::new(stream)), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.seat.sent_away() => Ok(()),
            () = self.drain.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    () = self.cut.cancelled() => Ok(()),
                }
            }
        };
        self.seat.leave();
        if let Err(error) = ended {
            // Clients come and go; what they missed, they ask again.
            tracing::debug!(target: "ditto_server::http", %error, "a connection broke");
        }
    }

    async fn answer(&self, request: hyper::Request<Incoming>) -> hyper::Result<Response> {
        let Some(busy) = self.seat.rise() else {
            // Its place was given away a moment ago; it ends before anything is done.
            return std::future::pending().await;
        };
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(Peer(self.peer.ip()));
        let router = TowerToHyperService::new(self.router.clone());
        let Ok(response) = router.call(request).await;
        Ok(response.map(|body| held(body, busy)))
    }
}
