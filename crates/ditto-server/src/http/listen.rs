//! Connections: how many, how long, and how they end.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::Result;

/// Connections at once; further ones wait in the listener's queue. Each costs a descriptor and up
/// to about half a megabyte of buffers.
const CONNECTIONS: usize = 512;
/// A client that takes longer for its headers is holding the connection, not using it. Counts for
/// the idle time between requests too.
const HEADERS: Duration = Duration::from_secs(60);
/// How long answers under way may take after a stop.
const GRACE: Duration = Duration::from_secs(25);
/// Out of descriptors: others must end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` is ready, then lets answers under way end.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let connections = TaskTracker::new();
    let (drain, cut) = (CancellationToken::new(), CancellationToken::new());
    let mut shutdown = pin!(shutdown);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let (stream, permit) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let connection = Connection {
            router: router.clone(),
            drain: drain.clone(),
            cut: cut.clone(),
        };
        connections.spawn(async move {
            connection.serve(stream).await;
            drop(permit);
        });
    }
    drop(listener);
    drain.cancel();
    connections.close();
    if timeout(GRACE, connections.wait()).await.is_err() {
        tracing::warn!(target: "ditto_server::http", open = connections.len(), "grace is over");
        cut.cancel();
        connections.wait().await;
    }
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, OwnedSemaphorePermit) {
    let permit = room
        .clone()
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(target: "ditto_server::http", %error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

struct Connection {
    router: Router,
    /// End after the answer under way.
    drain: CancellationToken,
    /// End now.
    cut: CancellationToken,
}

impl Connection {
    async fn serve(self, stream: TcpStream) {
        // A socket that refuses the option works all the same.
        let _ = stream.set_nodelay(true);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(self.router));
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.drain.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    () = self.cut.cancelled() => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            // Clients come and go; what they missed, they ask again.
            tracing::debug!(target: "ditto_server::http", %error, "a connection broke");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::{Notify, oneshot};

    async fn ask(listener: &TcpListener) -> TcpStream {
        let mut stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .unwrap();
        stream
    }

    #[expect(clippy::disallowed_methods, reason = "the test awaits what it spawns")]
    #[tokio::test]
    async fn an_answer_under_way_is_let_finish() {
        let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (handler_begun, handler_go_on) = (begun.clone(), go_on.clone());
        let router = Router::new().route(
            "/",
            get(async move || {
                handler_begun.notify_one();
                handler_go_on.notified().await;
                "whole"
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = ask(&listener).await;
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, router, async { stopped.await.unwrap() }));

        begun.notified().await;
        stop.send(()).unwrap();
        tokio::task::yield_now().await;
        go_on.notify_one();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        server.await.unwrap().unwrap();

        assert!(answer.ends_with("whole"), "{answer}");
    }
}
