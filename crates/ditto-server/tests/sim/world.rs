//! The world that simulated processes share: its time, its chance, its disk, and what it remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use object_store::memory::InMemory;
use rusqlite::Connection;

use super::laws::{Laws, LineKey};
use super::trace::Trace;
use crate::catalog::SegmentKey;
use crate::catalog::sqlite::SqliteCatalog;
use crate::clock::Clock;
use crate::journal::PartName;

/// When every world begins, in milliseconds since the Unix epoch.
const BEGINNING_MS: i64 = 1_800_000_000_000;

/// A bug that is put in on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// A flush that lands after a takeover is taken for recorded.
    LateFlush,
    /// A replay that forgets half of what was recorded, but nothing that was published: that would be
    /// noticed before a line is sent.
    ForgetfulReplay,
    /// The store says that it has kept a result, and has kept half of it.
    HalfAResult,
    /// A count falls.
    FallingCount,
    /// A batch that has ended runs again.
    Revival,
    /// The bytes of an input are deleted while its batch runs.
    SweptInput,
    /// A line is tried more often than the limit says.
    OneTryTooMany,
    /// Lines are sent however much waits for the disk, and for however long.
    OpenGate,
}

/// How often what goes wrong, in one of a thousand calls.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weather {
    /// The process is gone at this point.
    pub(super) crash: u32,
    /// The catalog refuses.
    pub(super) catalog: u32,
    /// The object store refuses.
    pub(super) store: u32,
    /// The journal's disk refuses.
    pub(super) journal: u32,
    /// It takes seconds for a sync.
    pub(super) hang: u32,
    /// A line gets no good answer.
    pub(super) upstream: u32,
    /// The upstream is away altogether.
    pub(super) outage: bool,
}

/// One model of the upstream is away for longer than lines of it are kept in memory.
#[derive(Debug, Clone, Copy)]
struct Away {
    model: u64,
    from: Duration,
    until: Duration,
}

/// The bytes of one journal part on the shared disk.
#[derive(Debug, Default)]
pub(super) struct PartBytes {
    pub(super) written: Vec<u8>,
    /// Of `written`, what a crash cannot take.
    pub(super) synced: usize,
    /// The life that writes it.
    pub(super) life: u32,
}

/// Everything outside of the processes.
#[derive(Debug)]
pub(super) struct World {
    now_us: AtomicU64,
    chance: Mutex<fastrand::Rng>,
    weather: Mutex<Weather>,
    trace: Mutex<Trace>,
    laws: Mutex<Laws>,
    pub(super) bug: Option<Bug>,
    pub(super) conn: Arc<Mutex<Connection>>,
    pub(super) objects: InMemory,
    pub(super) written_at: Mutex<BTreeMap<String, i64>>,
    pub(super) parts: Mutex<BTreeMap<PartName, PartBytes>>,
    /// Parts of which nothing more is recorded. A fence outlives its part: a writer may come as late
    /// as it likes.
    fences: Mutex<BTreeSet<PartName>>,
    away: Option<Away>,
}

impl Away {
    /// In every second world.
    fn by(chance: &mut fastrand::Rng) -> Option<Self> {
        let from = Duration::from_secs(chance.u64(0..30));
        let away = Self {
            model: chance.u64(0..2),
            from,
            until: from + Duration::from_secs(chance.u64(30..90)),
        };
        chance.bool().then_some(away)
    }
}

impl World {
    pub(super) fn new(seed: u64, bug: Option<Bug>) -> Arc<Self> {
        let mut chance = fastrand::Rng::with_seed(seed);
        let away = Away::by(&mut chance);
        Arc::new(Self {
            now_us: AtomicU64::new(0),
            chance: Mutex::new(chance),
            away,
            weather: Mutex::default(),
            trace: Mutex::default(),
            laws: Mutex::default(),
            bug,
            conn: SqliteCatalog::memory().unwrap(),
            objects: InMemory::new(),
            written_at: Mutex::default(),
            parts: Mutex::default(),
            fences: Mutex::default(),
        })
    }

    /// Time since the beginning.
    pub(super) fn now(&self) -> Duration {
        Duration::from_micros(self.now_us.load(Ordering::SeqCst))
    }

    /// A process has come to this time. Processes take turns of some milliseconds, so that one may
    /// be a little behind another; the time that all see does not fall.
    pub(super) fn reached(&self, now: Duration) {
        let us = u64::try_from(now.as_micros()).unwrap();
        self.now_us.fetch_max(us, Ordering::SeqCst);
    }

    pub(super) fn now_ms(&self) -> i64 {
        BEGINNING_MS + i64::try_from(self.now().as_millis()).unwrap()
    }

    pub(super) fn weather(&self) -> Weather {
        *self.weather.lock().unwrap()
    }

    pub(super) fn change_weather(&self, weather: Weather) {
        self.note(format_args!("weather {weather:?}"));
        *self.weather.lock().unwrap() = weather;
    }

    /// Whether the upstream has nobody who answers for this model.
    pub(super) fn is_away(&self, model: &str) -> bool {
        let now = self.now();
        self.away.is_some_and(|away| {
            model == format!("m{}", away.model) && (away.from..away.until).contains(&now)
        })
    }

    /// True so many times in a thousand.
    pub(super) fn per_mille(&self, share: u32) -> bool {
        share > 0 && self.below(1_000) < u64::from(share)
    }

    pub(super) fn below(&self, end: u64) -> u64 {
        self.chance.lock().unwrap().u64(0..end)
    }

    pub(super) fn laws(&self) -> MutexGuard<'_, Laws> {
        self.laws.lock().unwrap()
    }

    /// Where a line id points to: `batch_req_<batch>_<line>`.
    pub(super) fn line(&self, line_id: &str) -> LineKey {
        let (batch, line) = line_id.rsplit_once('_').unwrap();
        let batch = batch.replacen("batch_req_", "batch_", 1);
        let conn = self.conn.lock().unwrap();
        let sql = "SELECT key FROM batches WHERE id = ?1";
        let mut statement = conn.prepare_cached(sql).unwrap();
        let key = statement.query_row([batch], |row| row.get(0)).unwrap();
        (key, line.parse().unwrap())
    }

    /// Results of a segment that clients have been told of.
    pub(super) fn published(&self, segment: SegmentKey) -> usize {
        let conn = self.conn.lock().unwrap();
        let sql = "SELECT published_answers + published_errors FROM segments
            WHERE batch = ?1 AND idx = ?2";
        let mut statement = conn.prepare_cached(sql).unwrap();
        let key = (segment.batch, segment.index);
        let published: u32 = statement.query_row(key, |row| row.get(0)).unwrap();
        published as usize
    }

    /// Something happened. Two runs of a seed must tell the same story.
    pub(super) fn note(&self, event: std::fmt::Arguments<'_>) {
        self.trace.lock().unwrap().add(self.now(), event);
    }

    pub(super) fn fence(&self, part: PartName) {
        self.fences.lock().unwrap().insert(part);
    }

    pub(super) fn is_fenced(&self, part: PartName) -> bool {
        self.fences.lock().unwrap().contains(&part)
    }

    pub(super) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// The hash of the whole story, and its end in words.
    pub(super) fn story(&self) -> (u64, String) {
        self.trace.lock().unwrap().told()
    }
}

/// The catalog's clock.
#[derive(Debug)]
pub(super) struct WorldClock(pub(super) Arc<World>);

impl Clock for WorldClock {
    fn now_ms(&self) -> i64 {
        self.0.now_ms()
    }
}
