//! Connections: how many, and how they end.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Connection;
use super::tls::Tls;
use super::waiting::Waiting;
use crate::error::Result;

/// Connections at once, where the system lets a process open as many files. One that waits for a
/// request has a descriptor and some 10 KiB; one that sends headers or a body, up to 64 KiB of buffers.
pub const CONNECTIONS: usize = 4096;
/// Of the files that a process may have open so many may be connections: the others are journals, blobs
/// and requests to upstreams.
const SHARE_OF_FILES: u64 = 2;
/// How long answers under way may take after a stop.
const GRACE: Duration = Duration::from_secs(25);
/// How soon one that found all places taken by requests looks whether one of them only waits by now.
const PLACE_LOOK: Duration = Duration::from_millis(100);
/// Out of descriptors: others must end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves on these threads until `shutdown` is ready, then lets answers under way end.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Arc<Tls>>,
    threads: &Handle,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let room = Room::new(most_connections());
    serve_in(room, listener, router, tls, threads, shutdown).await
}

async fn serve_in(
    room: Room,
    listener: TcpListener,
    router: Router,
    tls: Option<Arc<Tls>>,
    threads: &Handle,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let connections = TaskTracker::new();
    let (drain, cut) = (CancellationToken::new(), CancellationToken::new());
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, peer, permit) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = room.accept(&listener) => accepted,
        };
        let connection = Connection {
            router: router.clone(),
            peer,
            seat: room.waiting.seat(),
            drain: drain.clone(),
            cut: cut.clone(),
        };
        let tls = tls.clone();
        let answered = async move {
            let Ok(stream) = taken_over(stream) else {
                return;
            };
            // A socket that refuses the option works all the same.
            let _ = stream.set_nodelay(true);
            match tls {
                Some(tls) => connection.serve_tls(&tls, stream).await,
                None => connection.serve(stream).await,
            }
            drop(permit);
        };
        connections.spawn_on(answered, threads);
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

/// The same connection, which wakes the threads that it is answered by.
fn taken_over(stream: TcpStream) -> io::Result<TcpStream> {
    TcpStream::from_std(stream.into_std()?)
}

/// As far as the system lets us.
fn most_connections() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let share = files.map(|files| usize::try_from(files / SHARE_OF_FILES).unwrap_or(usize::MAX));
    share.unwrap_or(CONNECTIONS).clamp(1, CONNECTIONS)
}

/// Places for connections.
struct Room {
    places: Arc<Semaphore>,
    waiting: Arc<Waiting>,
}

impl Room {
    fn new(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            waiting: Arc::default(),
        }
    }

    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
        let (stream, peer) = accept(listener).await;
        (stream, peer, self.place().await)
    }

    /// If all places have requests under way, until one of them has its answer.
    async fn place(&self) -> OwnedSemaphorePermit {
        loop {
            if self.places.available_permits() == 0 {
                self.waiting.send_one_away();
            }
            let place = Arc::clone(&self.places).acquire_owned();
            if let Ok(place) = timeout(PLACE_LOOK, place).await {
                return place.expect("the semaphore is never closed");
            }
        }
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::{Notify, oneshot};

    /// After so long a connection without a request ends by itself.
    const SILENT: Duration = Duration::from_secs(60);

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
        let server = tokio::spawn(async move {
            let threads = Handle::current();
            let told = async { stopped.await.unwrap() };
            serve(listener, router, None, &threads, told).await
        });

        begun.notified().await;
        stop.send(()).unwrap();
        tokio::task::yield_now().await;
        go_on.notify_one();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        server.await.unwrap().unwrap();

        assert!(answer.ends_with("whole"), "{answer}");
    }

    /// Asks on a connection of its own, and reads the answer.
    async fn answer(address: SocketAddr) -> String {
        let mut client = TcpStream::connect(address).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// An answer at once, and one that tells when it has begun and waits until it may go on.
    fn quick_and_slow() -> (Router, Arc<Notify>, Arc<Notify>) {
        let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (handler_begun, handler_go_on) = (begun.clone(), go_on.clone());
        let slow = async move || {
            handler_begun.notify_one();
            handler_go_on.notified().await;
            "slow"
        };
        let router = Router::new()
            .route("/", get(async || "whole"))
            .route("/slow", get(slow));
        (router, begun, go_on)
    }

    /// Connections that have begun to ask and go no further.
    async fn crowd<const N: usize>(address: SocketAddr) -> [TcpStream; N] {
        let connect = async || {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(b"GET / HT").await.unwrap();
            client
        };
        let clients: Vec<_> = futures_util::future::join_all([(); N].map(|()| connect())).await;
        clients.try_into().unwrap()
    }

    #[tokio::test]
    async fn who_keeps_its_connection_after_an_answer_keeps_nobody_out() {
        let (router, begun, go_on) = quick_and_slow();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let threads = Handle::current();
        let forever = std::future::pending();
        let server = serve_in(Room::new(1), listener, router, None, &threads, forever);
        let clients = async {
            let mut kept = TcpStream::connect(address).await.unwrap();
            let request = b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n";
            kept.write_all(request).await.unwrap();
            begun.notified().await;
            let next = answer(address);
            let first = async {
                go_on.notify_one();
                kept.read_exact(&mut [0; 100]).await.unwrap();
            };
            let asked = std::time::Instant::now();
            let (answer, ()) = tokio::join!(next, first);
            assert!(answer.ends_with("whole"), "{answer}");
            assert!(asked.elapsed() < SILENT, "its headers would time out first");
        };
        tokio::select! {
            () = clients => {}
            _ = server => unreachable!("the server runs until it is told to stop"),
        }
    }

    #[tokio::test]
    async fn a_crowd_that_asks_nothing_keeps_nobody_out_and_ends_no_request() {
        let (router, begun, go_on) = quick_and_slow();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let threads = Handle::current();
        let forever = std::future::pending();
        let server = serve_in(Room::new(2), listener, router, None, &threads, forever);
        let clients = async {
            let mut asking = TcpStream::connect(address).await.unwrap();
            let request = b"GET /slow HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            asking.write_all(request).await.unwrap();
            begun.notified().await;
            let mut crowd = crowd::<5>(address).await;
            for _ in 0..3 {
                assert!(answer(address).await.ends_with("whole"));
            }
            go_on.notify_one();
            let mut slow = String::new();
            asking.read_to_string(&mut slow).await.unwrap();
            assert!(slow.ends_with("slow"), "{slow}");
            // Whoever was in the way was sent away.
            let [first, ..] = &mut crowd;
            let _ = first.read_to_string(&mut String::new()).await;
        };
        tokio::select! {
            () = clients => {}
            _ = server => unreachable!("the server runs until it is told to stop"),
        }
    }
}
