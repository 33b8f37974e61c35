//! One life of a simulated process: a runtime of its own, with a clock that only its turns move.

use std::fmt;
use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::journal::SimJournal;
use super::store::SimStore;
use super::upstream::SimUpstream;
use super::world::{World, WorldClock};
use crate::blobs::Blobs;
use crate::budget::Budget;
use crate::catalog::Catalog;
use crate::catalog::sqlite::SqliteCatalog;
use crate::catalog::sqlite::inline::{Gate, Inline};
use crate::clock::Steady;
use crate::config::{Concurrency, Config};
use crate::engine::{Around, Engine, Host, Workers};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Journal;
use crate::service::{AtWork, Service};
use crate::upstream::{Keep, Routing};

/// Requests in flight at once.
const PERMITS: Concurrency = Concurrency::Fixed(8);

/// What a life knows of itself; shared with everything through which it acts on the world.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) number: u32,
    pub(super) world: Arc<World>,
    /// The world's time at this life's beginning, and its own.
    begun: Duration,
    start: tokio::time::Instant,
    dead: AtomicBool,
    died: Notify,
}

impl Life {
    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    pub(super) fn note(&self, event: fmt::Arguments<'_>) {
        self.world.note(format_args!("p{} {event}", self.number));
    }

    pub(super) fn die(&self, at: &str) {
        if !self.dead.swap(true, Ordering::SeqCst) {
            self.note(format_args!("dies at {at}"));
            self.died.notify_waiters();
            self.died.notify_one();
        }
    }

    /// Passed before and after each call that leaves the process: others get a turn here, and a
    /// process may end here. Of one that has ended nothing returns and nothing happens any more.
    pub(super) async fn point(&self, at: &str) {
        self.if_alive().await;
        if self.world.per_mille(self.world.weather().crash) {
            self.die(at);
        }
        self.if_alive().await;
        match self.world.below(8) {
            0 => tokio::time::sleep(Duration::from_micros(self.world.below(4_000))).await,
            1 | 2 => tokio::task::yield_now().await,
            _ => {}
        }
        self.if_alive().await;
    }

    async fn if_alive(&self) {
        if self.is_dead() {
            pending().await
        }
    }
}

/// A storage error of the weather.
pub(super) fn refused(what: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("{what} refuses, as scripted"),
    )
}

#[derive(Debug)]
struct LifeGate(Arc<Life>);

#[async_trait]
impl Gate for LifeGate {
    async fn before(&self) -> Result<()> {
        self.0.point("the catalog").await;
        match self.0.world.per_mille(self.0.world.weather().catalog) {
            true => Err(refused("the catalog")),
            false => Ok(()),
        }
    }

    async fn after(&self) {
        self.0.point("the catalog's answer").await;
    }
}

/// The time of this life, asked within its runtime: that of the world at its beginning, and its own
/// since.
impl Steady for Life {
    fn now(&self) -> Duration {
        self.begun + self.start.elapsed()
    }
}

/// A process that runs.
pub(super) struct Process {
    pub(super) life: Arc<Life>,
    pub(super) service: Service,
    runtime: Option<Runtime>,
    stop: CancellationToken,
    ended: Arc<AtomicBool>,
    journal: Arc<SimJournal>,
}

impl Process {
    /// Starts one on the world's disk. `workers`: whether it may void what others held.
    pub(super) fn start(
        world: &Arc<World>,
        number: u32,
        config: &Arc<Config>,
        workers: Workers,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let start = runtime.block_on(async { tokio::time::Instant::now() });
        let life = Arc::new(Life {
            number,
            world: Arc::clone(world),
            begun: world.now(),
            start,
            dead: AtomicBool::new(false),
            died: Notify::new(),
        });
        life.note(format_args!("begins"));
        let journal = Arc::new(SimJournal::new(Arc::clone(&life)));
        let catalog: Arc<dyn Catalog> = Arc::new(SqliteCatalog::inline(Inline {
            conn: Arc::clone(&world.conn),
            clock: Arc::new(WorldClock(Arc::clone(world))),
            gate: Arc::new(LifeGate(Arc::clone(&life))),
        }));
        let blobs = Blobs::new(Arc::new(SimStore(Arc::clone(&life))));
        let budget = Budget::new(config.limits.memory_bytes).unwrap();
        let around = Around {
            catalog: Arc::clone(&catalog),
            blobs: blobs.clone(),
            journal: Arc::clone(&journal) as Arc<dyn Journal>,
            routing: Routing::only(Arc::new(SimUpstream(Arc::clone(&life))), PERMITS),
            keep: Keep::for_a_look(),
            host: Host::simulated(Arc::clone(&life) as Arc<dyn Steady>),
            workers,
            budget: budget.clone(),
        };
        let engine = Engine::new(Arc::clone(config), around);
        let service = Service {
            // Not asked: a simulated disk has no floor.
            gauge: crate::space::Gauge::new(config.data.clone()),
            config: Arc::clone(config),
            catalog,
            blobs,
            engine: engine.clone(),
            uploads: budget.uploads,
            at_work: AtWork::default(),
            keys: Arc::default(),
            quotas: Arc::default(),
        };
        let (stop, ended) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let (stopped, done) = (stop.clone().cancelled_owned(), Arc::clone(&ended));
        runtime.spawn(async move {
            // A start that the catalog refuses ends the process, as it would a real one.
            let _ = engine.run(stopped).await;
            done.store(true, Ordering::SeqCst);
        });
        Self {
            life,
            service,
            runtime: Some(runtime),
            stop,
            ended,
            journal,
        }
    }

    /// Lets it run until the world's time is this. A process that was frozen finds that much time
    /// gone at once.
    pub(super) fn step(&self, until: Duration) {
        let behind = until.saturating_sub(self.now());
        let frozen = behind > Duration::from_secs(1);
        self.within(async {
            if frozen {
                self.life.note(format_args!("thaws, {behind:?} later"));
                tokio::time::advance(behind).await;
            } else {
                tokio::time::sleep(behind).await;
            }
        });
        self.life.world.reached(self.now());
    }

    /// Runs a client's call in the process; `None` if it did not live to answer, or took too long.
    pub(super) fn call<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        // A runtime's clock is its own: the limit is made inside.
        let patient = async { tokio::time::timeout(Duration::from_secs(60), call).await };
        let answer = self.within(patient)?.ok();
        self.life.world.reached(self.now());
        answer
    }

    fn now(&self) -> Duration {
        self.runtime().block_on(async { self.life.now() })
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().unwrap()
    }

    /// `None`: it died before that was done.
    fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        if self.life.is_dead() {
            return None;
        }
        self.runtime().block_on(async {
            tokio::select! {
                biased;
                () = self.life.died.notified() => None,
                done = work => (!self.life.is_dead()).then_some(done),
            }
        })
    }

    /// SIGTERM.
    pub(super) fn terminate(&self) {
        self.life.note(format_args!("is told to stop"));
        self.stop.cancel();
    }

    /// It is gone, or its engine has come to its end.
    pub(super) fn is_over(&self) -> bool {
        self.life.is_dead() || self.ended.load(Ordering::SeqCst)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Whatever its tasks would still do on their way out happens to nobody.
        self.life.die("its end");
        drop(self.runtime.take());
        self.journal.crash();
    }
}
