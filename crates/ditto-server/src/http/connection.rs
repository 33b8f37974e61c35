//! One connection of a client, from its first byte to its end.

use std::net::SocketAddr;
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
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
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
/// What a client still sends of a request that was refused is taken for so long.
const FAREWELL: Duration = Duration::from_secs(30);
/// Or until it is silent for so long.
const SILENCE: Duration = Duration::from_secs(2);

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
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .max_headers(MOST_HEADERS)
            .max_header_size(HEADER_BYTES)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(Socket::new(stream)), service);
        let ended = tokio::select! {
            ended = &mut connection => Some(ended),
            () = self.seat.sent_away() => None,
            () = self.drain.cancelled() => {
                std::pin::Pin::new(&mut connection).graceful_shutdown();
                tokio::select! {
                    ended = &mut connection => Some(ended),
                    () = self.cut.cancelled() => None,
                }
            }
        };
        if let Some(Err(error)) = &ended {
            // Clients come and go; what they missed, they ask again.
            tracing::debug!(target: "ditto_server::http", %error, "a connection broke");
        }
        if ended.is_some_and(|ended| is_answered(&ended)) {
            let stream = connection.into_parts().io.into_inner();
            self.seat.goes_first();
            tokio::select! {
                () = farewell(stream) => {}
                () = self.seat.sent_away() => {}
                () = self.drain.cancelled() => {}
            }
        }
        self.seat.leave();
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

/// All that there was to answer has been, be it by hyper's own refusal. One that breaks off an answer has to
/// look broken.
fn is_answered(ended: &hyper::Result<()>) -> bool {
    ended
        .as_ref()
        .map_or_else(hyper::Error::is_parse, |()| true)
}

/// Lets a client that is still sending its request read the answer.
///
/// A socket that is closed with bytes unread is reset, and a reset ends what the client sends before it
/// reads: it would see a broken connection, not the refusal, and send the whole file again.
async fn farewell(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut unread = vec![0; BUFFER];
    let to_the_end =
        async { while let Ok(Ok(1..)) = timeout(SILENCE, stream.read(&mut unread)).await {} };
    // A client that goes on for ever is reset after all.
    let _ = timeout(FAREWELL, to_the_end).await;
}
