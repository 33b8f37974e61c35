//! A running simulator: its address, its connections and its end.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{self, Handle, Runtime};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::capacity::Capacity;
use crate::config::SimConfig;
use crate::faults::Faults;
use crate::provider::ProviderFaults;
use crate::service::{Reset, World};
use crate::stats::Stats;

/// A running simulator. It stops when it is dropped, or with [`Sim::stop`], which waits for it;
/// either way open requests are not answered any more.
#[derive(Debug)]
pub struct Sim {
    addr: SocketAddr,
    world: Arc<World>,
    /// Dropping it tells the accepting loops to end.
    stop: watch::Sender<()>,
    running: Running,
}

#[derive(Debug)]
enum Running {
    Task(JoinHandle<()>),
    Threads(Vec<std::thread::JoinHandle<()>>),
}

/// Enough for any client here; more would only meet the limit of open files.
const MAX_CONNECTIONS: usize = 10_000;
/// How long to wait when a connection cannot be accepted, mostly for want of open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// What a client still sends after its answer is taken for so long.
const FAREWELL: Duration = Duration::from_secs(5);
/// Below the range from which the system gives ports to clients, so that none is in the way.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const PORT_TRIES: usize = 200;

impl Sim {
    /// Binds and starts to answer.
    ///
    /// Without `threads` in the config it runs on the caller's tokio runtime, and must be called
    /// inside one; with it, anywhere.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound, no runtime is there, no thread can be had, or
    /// `tokens_per_second` is not more than 0.
    pub fn start(config: SimConfig) -> io::Result<Self> {
        if config
            .tokens_per_second
            .is_some_and(|speed| speed.is_nan() || speed <= 0.0)
        {
            let message = "tokens per second must be more than 0; leave it out for no limit";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let listener = match config.listen {
            Some(addr) => TcpListener::bind(addr)?,
            None => bind_free_port()?,
        };
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let threads = config.threads;
        let world = Arc::new(World::new(config));
        let (stop, stopped) = watch::channel(());
        let running = match threads {
            None => on_callers_runtime(listener, &world, stopped)?,
            Some(threads) => on_own_threads(threads.max(1), &listener, &world, &stopped)?,
        };
        Ok(Self {
            addr,
            world,
            stop,
            running,
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What a client takes as its base URL: `http://127.0.0.1:PORT/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// What it has seen so far; the same as `GET /sim/stats`. Batches that are due are run before that,
    /// here and now.
    pub fn stats(&self) -> Stats {
        self.world.stats()
    }

    /// Forgets what it has seen; the same as `POST /sim/reset`. Scripts and shares begin anew.
    pub fn reset(&self) {
        self.world.reset();
    }

    /// How often the request with this `Idempotency-Key` arrived.
    pub fn asked(&self, idempotency_key: &str) -> u32 {
        self.world.asked(idempotency_key)
    }

    /// Another capacity from now on; no limit if none. What is worked on goes on, and what waits comes in
    /// as there is room.
    pub fn set_capacity(&self, capacity: Option<Capacity>) {
        self.world.set_capacity(capacity);
    }

    /// Other shares of requests that go wrong, for those whose turn comes from now on. Rows of batches
    /// keep those of the config.
    pub fn set_faults(&self, faults: Faults) {
        self.world.set_faults(faults);
    }

    /// Gives the provider of batches other faults from now on, and counts them anew. Batches that
    /// are there keep theirs.
    pub fn set_provider_faults(&self, faults: ProviderFaults) {
        self.world.set_provider_faults(faults);
    }

    /// Lets so much time pass for the provider of batches, at once: its batches are then where they
    /// would be after a wait of that length.
    pub fn advance(&self, span: Duration) {
        self.world.advance(span);
    }

    /// Stops listening, drops all connections, and returns when that is done.
    pub async fn stop(self) {
        let Self { stop, running, .. } = self;
        drop(stop);
        // A task or thread that panicked has ended too.
        match running {
            Running::Task(task) => drop(task.await),
            Running::Threads(threads) => {
                let join = || threads.into_iter().for_each(|thread| drop(thread.join()));
                drop(tokio::task::spawn_blocking(join).await);
            }
        }
    }
}

fn bind_free_port() -> io::Result<TcpListener> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..PORT_TRIES {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, fastrand::u16(PORTS))) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn on_callers_runtime(
    listener: TcpListener,
    world: &Arc<World>,
    stopped: watch::Receiver<()>,
) -> io::Result<Running> {
    let runtime = Handle::try_current().map_err(|_| {
        io::Error::other("no tokio runtime here; start the simulator in one, or set `threads`")
    })?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    Ok(Running::Task(runtime.spawn(accept(
        listener,
        Arc::clone(world),
        stopped,
    ))))
}

/// Each thread has a runtime of its own and takes connections from the same socket: nothing then
/// wakes across threads.
fn on_own_threads(
    threads: usize,
    listener: &TcpListener,
    world: &Arc<World>,
    stopped: &watch::Receiver<()>,
) -> io::Result<Running> {
    let start = |number| {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (listener, world) = (listener.try_clone()?, Arc::clone(world));
        let stopped = stopped.clone();
        let run = move || accept_on(&runtime, listener, world, stopped);
        std::thread::Builder::new()
            .name(format!("sim-{number}"))
            .spawn(run)
    };
    Ok(Running::Threads(
        (0..threads).map(start).collect::<io::Result<_>>()?,
    ))
}

fn accept_on(
    runtime: &Runtime,
    listener: TcpListener,
    world: Arc<World>,
    stopped: watch::Receiver<()>,
) {
    runtime.block_on(async {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => accept(listener, world, stopped).await,
            Err(error) => tracing::error!(%error, "the simulator cannot listen"),
        }
    });
}

/// Takes connections until it is told to stop; its connections end with it.
async fn accept(
    listener: tokio::net::TcpListener,
    world: Arc<World>,
    mut stopped: watch::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Nothing is ever sent: it resolves when the sender is dropped.
            _ = stopped.changed() => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(talk(stream, Arc::clone(&world)));
                }
                Err(error) => {
                    tracing::warn!(%error, "the simulator could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// One connection, to its end.
async fn talk(stream: TcpStream, world: Arc<World>) {
    // Without it small answers wait for acknowledgements; where it cannot be set, they do.
    drop(stream.set_nodelay(true));
    let service = service_fn(move |request| Arc::clone(&world).serve(request));
    // Head and body of a small answer fit into one buffer: that is cheaper to send than two.
    let mut http = http1::Builder::new();
    let mut connection = http
        .writev(false)
        .serve_connection(TokioIo::new(stream), service);
    let ended = (&mut connection).await;
    let stream = connection.into_parts().io.into_inner();
    let wants_reset = |error: &hyper::Error| {
        std::error::Error::source(error).is_some_and(|source| source.is::<Reset>())
    };
    match ended {
        // With no time to linger the socket is closed by a reset.
        Err(error) if wants_reset(&error) => drop(stream.set_zero_linger()),
        _ => farewell(stream).await,
    }
}

/// Takes what the client still sends of a request that was refused, for a while: a socket that is closed
/// with bytes unread is reset, and a reset may overtake the answer.
async fn farewell(mut stream: TcpStream) {
    let mut unread = vec![0; 64 * 1024];
    let to_the_end = async {
        drop(stream.shutdown().await);
        while let Ok(1..) = stream.read(&mut unread).await {}
    };
    drop(tokio::time::timeout(FAREWELL, to_the_end).await);
}
