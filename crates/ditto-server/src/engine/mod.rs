//! The engine: takes batches from `validating` to their two files.
//!
//! One duty per file, in the order a line meets them: [`validate`], [`lease`], [`dispatch`],
//! [`settle`], [`seal`], [`finish`]; beside them [`renew`] (the lease, publishing, endings) and
//! [`sweep`]; [`ending`], [`filler`] and [`park`] are their unusual turns. What it works on: [`work`] (a batch), [`segment`], [`pool`] (lines that wait), [`lane`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::blobs::Blobs;
use crate::budget::Budget;
use crate::catalog::{BatchRow, Catalog, SegmentKey};
use crate::config::{Config, UpstreamConfig};
use crate::error::Result;
use crate::id;
use crate::journal::Journal;
use crate::sweep::Sweeper;
use crate::upstream::{Keep, Routing};

mod answer;
mod dispatch;
mod dry;
mod ending;
mod faults;
mod filler;
mod finish;
mod hand;
mod host;
mod lane;
mod lanes;
mod lease;
mod lines;
mod litter;
mod loads;
mod long_line;
mod open;
mod park;
mod pool;
mod prefixes;
mod queue;
mod recorded;
mod renew;
mod reopen;
mod result_line;
mod retries;
mod retry;
mod seal;
mod segment;
mod settle;
mod stuck;
mod sweep;
#[cfg(test)]
mod tests;
mod upstreams;
mod validate;
mod work;

pub use lane::LaneReport;

use hand::Hand;
pub(crate) use host::Host;
use lanes::Lanes;
use seal::SealQueue;
use segment::OpenSegment;
use stuck::{BrokenBatches, Stuck};
use upstreams::Upstreams;
use work::Works;
pub(crate) use work::segment_blob;

/// How long a lease runs unless renewed; it is renewed each second.
const LEASE: Duration = Duration::from_secs(30);
/// Segments sealed side by side: enough to share a disk's syncs. What they hold has a share of its own.
const SEALERS: usize = 16;
/// Segments being opened side by side: each reads up to 4 MiB.
const OPENERS: usize = 4;
/// How long a stop waits for clean-ups of uploads that it has cut off.
const CLEAN_UP_GRACE: Duration = Duration::from_secs(5);
/// Answers in spool files that are read side by side: what they need meanwhile is bounded, and two
/// keep two processors busy.
const SPOOL_READERS: usize = 2;

/// A worker, cheap to clone.
#[derive(Clone)]
pub(crate) struct Engine(Arc<Inner>);

/// What an engine works with, whoever made it.
#[derive(Debug, Clone)]
pub(crate) struct Around {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) blobs: Blobs,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) routing: Routing,
    /// Where answers of later upstreams are kept while they arrive.
    pub(crate) keep: Keep,
    pub(crate) host: Host,
    pub(crate) workers: Workers,
    pub(crate) budget: Budget,
}

/// How many workers there may be on one catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workers {
    /// This one, by a lock on the folder: whoever held leases before is gone.
    Alone,
    /// Any number: a lease is over when its time is.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "with a catalog that several machines reach")
    )]
    Several,
}

pub(crate) struct Inner {
    config: Arc<Config>,
    catalog: Arc<dyn Catalog>,
    blobs: Blobs,
    journal: Arc<dyn Journal>,
    /// There may be journal parts that nobody needs: a crash or a backup has left them.
    litter: AtomicBool,
    upstreams: Upstreams,
    host: Host,
    workers: Workers,
    budget: Budget,
    sweeper: Sweeper,
    incarnation: String,
    lanes: Lanes,
    works: Works,
    /// Open segments, at most [`lease::OPEN_SEGMENTS`].
    segments: Mutex<BTreeMap<SegmentKey, Arc<OpenSegment>>>,
    seal_queue: Arc<SealQueue>,
    /// Batches being validated here.
    validating: Mutex<BTreeSet<i64>>,
    /// Turns to validate: none before we run and none once we stop.
    validators: Arc<Semaphore>,
    /// Batches that were made as ours, and not taken up yet: no more than there are turns.
    handed_over: Mutex<VecDeque<(OwnedSemaphorePermit, BatchRow)>>,
    /// Batches whose files are being named here.
    finishing: Mutex<BTreeSet<i64>>,
    /// What we have leased and not done with.
    hand: Hand,
    /// A lease is asked for, and its answer may be under way.
    leasing: AtomicBool,
    /// Leases asked for whose segments are not open yet.
    opening: AtomicUsize,
    /// Runs of ending batches being filled.
    filling: AtomicUsize,
    /// There may be such runs.
    fillable: AtomicBool,
    openers: Semaphore,
    sealers: Semaphore,
    spool_readers: Semaphore,
    /// Milliseconds since boot up to which our lease runs for sure.
    leased_until_ms: AtomicU64,
    /// An ending should be brought now, not with the next renewal.
    renew_now: Notify,
    changes: watch::Sender<u64>,
    trouble: Mutex<Option<Trouble>>,
    /// What the catalog or the blob store last refused, by step, until that step works again.
    refused: Mutex<BTreeMap<&'static str, String>>,
    stuck: Stuck,
    broken: BrokenBatches,
    tasks: TaskTracker,
    /// The slots of all lanes. A slot ends when its line is settled.
    slots: TaskTracker,
    /// Nothing new begins.
    stop: CancellationToken,
    /// What is still in flight is cut off.
    cut_off: CancellationToken,
}

/// What stops a batch and needs a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What happened, what is safe, what to do.
    pub sentence: String,
    /// The input is not what it was when it was validated.
    pub input_changed: bool,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("incarnation", &self.0.incarnation)
            .finish_non_exhaustive()
    }
}

impl Engine {
    pub(crate) fn new(config: Arc<Config>, around: Around) -> Self {
        let Around {
            catalog,
            blobs,
            journal,
            routing,
            keep,
            host,
            workers,
            budget,
        } = around;
        Self(Arc::new(Inner {
            upstreams: Upstreams::new(routing, keep),
            host,
            workers,
            budget,
            litter: AtomicBool::new(true),
            sweeper: sweep::sweeper(&config, &catalog, &blobs, &journal),
            config,
            catalog,
            blobs,
            journal,
            incarnation: id::incarnation(),
            lanes: Lanes::default(),
            works: Works::default(),
            segments: Mutex::default(),
            seal_queue: Arc::default(),
            validating: Mutex::default(),
            validators: Arc::new(Semaphore::new(0)),
            handed_over: Mutex::default(),
            finishing: Mutex::default(),
            hand: Hand::default(),
            leasing: AtomicBool::new(false),
            opening: AtomicUsize::new(0),
            filling: AtomicUsize::new(0),
            fillable: AtomicBool::new(true),
            openers: Semaphore::new(OPENERS),
            sealers: Semaphore::new(SEALERS),
            spool_readers: Semaphore::new(SPOOL_READERS),
            leased_until_ms: AtomicU64::new(0),
            renew_now: Notify::new(),
            changes: watch::Sender::new(0),
            trouble: Mutex::new(None),
            refused: Mutex::default(),
            stuck: Stuck::default(),
            broken: BrokenBatches::default(),
            tasks: TaskTracker::new(),
            slots: TaskTracker::new(),
            stop: CancellationToken::new(),
            cut_off: CancellationToken::new(),
        }))
    }

    /// Makes the journal fit the catalog. To be done before [`run`](Self::run).
    pub(crate) async fn set_strays_aside(&self) -> Result<()> {
        self.0.sweeper.set_strays_aside().await
    }

    /// Works until `shutdown`, then drains: nothing new is sent, what is in flight may finish
    /// within the grace, everything recorded is flushed, leases are given back.
    ///
    /// Returns whether the drain was complete within the grace.
    pub(crate) async fn run(&self, shutdown: impl Future<Output = ()>) -> Result<bool> {
        let inner = &self.0;
        inner.register().await?;
        inner.validators.add_permits(validate::VALIDATORS);
        for duty in [
            self.duty("validate", Inner::validate_batches),
            self.duty("lease", Inner::lease_segments),
            self.duty("seal", Inner::seal_segments),
            self.duty("finish", Inner::finish_batches),
            self.duty("renew", Inner::renew_lease),
            self.duty("loads", Inner::watch_loads),
            self.duty("sweep", Inner::sweep),
            self.duty("clean", Inner::clean),
        ] {
            inner.tasks.spawn(duty);
        }
        shutdown.await;
        let clean = inner.drain().await;
        inner.catalog.deregister(&inner.incarnation).await?;
        Ok(clean)
    }

    /// A duty that runs until the engine stops.
    fn duty<F>(
        &self,
        name: &'static str,
        work: fn(Arc<Inner>) -> F,
    ) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            work(inner).await;
            tracing::debug!(duty = name, "duty ended");
        })
    }

    /// There may be something to do: a batch was made.
    pub(crate) fn wake(&self) {
        self.0.wake();
    }

    pub(crate) fn incarnation(&self) -> &str {
        &self.0.incarnation
    }

    /// The right to validate a batch at once; `None` while as many are validated as may be, or before
    /// and after this engine runs.
    pub(crate) fn turn_to_validate(&self) -> Option<OwnedSemaphorePermit> {
        self.0.turn_to_validate()
    }

    /// Validates a batch that was made as ours.
    pub(crate) fn validate(&self, turn: OwnedSemaphorePermit, batch: BatchRow) {
        lock(&self.0.handed_over).push_back((turn, batch));
        self.0.wake();
    }

    /// A batch was cancelled: its ending is brought at once.
    pub(crate) fn wake_for_ending(&self) {
        self.0.wake_for_ending();
    }

    /// Resolves when something may have changed.
    pub(crate) async fn changed(&self) {
        let mut changes = self.0.changes.subscribe();
        // The sender lives as long as the engine, which we hold.
        let _ = changes.changed().await;
    }

    pub(crate) fn lanes(&self) -> Vec<LaneReport> {
        self.0.lanes.report(self.0.host.now())
    }

    /// Those that have had lines of this batch, while it runs here.
    pub(crate) fn lanes_of(&self, batch: i64) -> Vec<LaneReport> {
        let work = self.0.works.get(batch);
        let pools = work.map(|work| work.pools()).unwrap_or_default();
        let lanes = pools.iter().flat_map(|pool| pool.lanes().to_vec());
        lanes.map(|lane| lane.report(self.0.host.now())).collect()
    }

    /// Why nothing can be recorded at the moment.
    pub(crate) fn stalled(&self) -> Option<String> {
        self.0
            .journal
            .stalled()
            .or_else(|| lock(&self.0.refused).values().next().cloned())
    }

    /// Why batches stand still, each reason once.
    pub(crate) fn stuck(&self) -> Vec<String> {
        self.0.stuck.reasons()
    }

    /// Batches whose results do not cover their input, in a sentence.
    pub(crate) fn broken(&self) -> Option<String> {
        self.0.broken.sentence()
    }

    /// What needs a person.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        lock(&self.0.trouble).clone()
    }

    pub(crate) async fn models(&self, tenant: &str) -> Result<Vec<serde_json::Value>> {
        let front = self.0.upstreams.now();
        front.models.list(&front.routing, tenant).await
    }

    /// Lines go to these upstreams from now on.
    pub(crate) async fn reload(&self, upstreams: &[UpstreamConfig]) -> Result<()> {
        self.0.reload(upstreams).await
    }

    /// Runs a clean-up that a stop waits for.
    pub(crate) fn clean_up(&self, work: impl Future<Output = Result<()>> + Send + 'static) {
        if tokio::runtime::Handle::try_current().is_err() {
            return; // No runtime is left: the sweeper takes it after a day.
        }
        self.0.tasks.spawn(async move {
            if let Err(error) = work.await {
                tracing::warn!(%error, "a clean-up failed; the sweeper takes it later");
            }
        });
    }
}

impl Engine {
    /// Waits a while for clean-ups that were begun since [`run`](Self::run) ended; what they leave the
    /// sweeper takes later.
    pub(crate) async fn cleaned_up(&self) {
        // If it never ran, nothing is waited for.
        if self.0.tasks.is_closed() {
            let _ = tokio::time::timeout(CLEAN_UP_GRACE, self.0.tasks.wait()).await;
        }
    }
}

impl Inner {
    async fn register(&self) -> Result<()> {
        let sent = self.host.now();
        self.catalog.register(&self.incarnation, LEASE).await?;
        if self.workers == Workers::Alone {
            self.catalog.void_other_leases(&self.incarnation).await?;
        }
        self.lease_runs_from(sent);
        Ok(())
    }

    /// The lease is counted from the moment its renewal was sent.
    fn lease_runs_from(&self, sent: Duration) {
        let until = (sent + LEASE).as_millis();
        self.leased_until_ms
            .store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Past half of its lease a worker sends nothing new.
    fn may_send(&self, now: Duration) -> bool {
        let until = Duration::from_millis(self.leased_until_ms.load(Ordering::Acquire));
        now + LEASE / 2 < until
    }

    fn wake(&self) {
        self.lanes.needs.ran_low.notify_waiters();
    }

    /// Batches are ending: their lines are not sent any more, and what is untouched can be filled.
    fn wake_for_ending(&self) {
        self.fillable.store(true, Ordering::Release);
        self.renew_now.notify_one();
        self.lanes.needs.hungry.store(true, Ordering::Release);
        self.wake();
    }

    /// Resolves when something may have to be leased, validated or finished. To be made before
    /// looking, so that nothing arrives unseen in between.
    fn work_arrived(&self) -> tokio::sync::futures::Notified<'_> {
        self.lanes.needs.ran_low.notified()
    }

    fn announce(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Stops leasing, lets what is in flight finish within the grace, and gives everything back.
    async fn drain(&self) -> bool {
        self.stop.cancel();
        self.validators.close();
        self.lanes.wake_all();
        self.tasks.close();
        self.slots.close();
        let grace = self.config.sending.grace;
        let clean = tokio::time::timeout(grace, self.slots.wait()).await.is_ok();
        self.cut_off.cancel();
        self.slots.wait().await;
        self.release_segments().await;
        self.tasks.wait().await;
        clean
    }

    /// Storage refused a step that is tried again until it works; until then `readyz` says so.
    fn storage_refused(&self, step: &'static str, error: &crate::error::Error) {
        tracing::error!(step, %error, "storage refused; what is recorded is safe and it is tried again");
        let reason = format!(
            "{step} failed ({error}); nothing recorded is lost and work goes on by itself when storage is back"
        );
        lock(&self.refused).insert(step, reason);
        self.announce();
    }

    fn storage_works(&self, step: &'static str) {
        if lock(&self.refused).remove(step).is_some() {
            tracing::info!(step, "storage works again");
        }
    }

    fn meet_trouble(&self, trouble: Trouble) {
        tracing::error!(sentence = trouble.sentence, "a batch needs a person");
        *lock(&self.trouble) = Some(trouble);
        self.announce();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("no thread panics while it holds this lock")
}
