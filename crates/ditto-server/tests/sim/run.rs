//! One seed from its beginning to its end: a storm, then calm weather in which all must end well.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::job::{Job, TENANT, unaccounted};
use super::life::Process;
use super::world::{Bug, Weather, World};
use crate::config::{Config, UpstreamConfig};
use crate::engine::Workers;
use crate::model::batch::BatchState;

/// Turns of the processes. What happens between two of them is seen in one order.
const TURN: Duration = Duration::from_millis(50);
/// How long it storms.
const STORM: Duration = Duration::from_secs(90);
/// In calm weather everything ends within this: leases that run out, pauses, patience.
const CALM: Duration = Duration::from_secs(2 * 3600);
/// Attempts of a line.
const ATTEMPTS: u32 = 3;

/// Of a batch that does not end: what keeps it.
const UNSEALED: &str = "SELECT group_concat(batch || '-' || idx || ' ' || state || ' owner ' ||
    coalesce(owner, 'none') || ' epoch ' || epoch || ' unfenced ' || coalesce(unfenced, 'none') ||
    ' cuts ' || cuts, '; ') FROM segments WHERE state <> 'sealed'";

/// What a run has come to.
#[derive(Debug)]
pub(super) struct Ended {
    /// Of every event in its order.
    pub(super) story: u64,
    pub(super) broken: Vec<String>,
    /// The last events in words.
    pub(super) words: String,
    pub(super) tally: Tally,
}

/// What a run was made of.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) batches: u32,
    pub(super) crashes: u32,
    pub(super) freezes: u32,
    pub(super) sent: u64,
    pub(super) sent_again: u64,
    /// Takeovers that found something recorded.
    pub(super) replayed: u64,
    /// Turns in which segments waited for a lane, held by nobody.
    pub(super) parked: u32,
    /// Flushes that came after a takeover.
    pub(super) fenced: u64,
    pub(super) completed: u32,
    pub(super) cancelled: u32,
    pub(super) expired: u32,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.batches += other.batches;
        self.crashes += other.crashes;
        self.freezes += other.freezes;
        self.sent += other.sent;
        self.sent_again += other.sent_again;
        self.replayed += other.replayed;
        self.parked += other.parked;
        self.fenced += other.fenced;
        self.completed += other.completed;
        self.cancelled += other.cancelled;
        self.expired += other.expired;
    }
}

/// A place for a process.
#[derive(Default)]
struct Slot {
    process: Option<Process>,
    /// Down or frozen from then,
    away_from: Duration,
    /// until then.
    away_until: Duration,
}

impl Slot {
    fn is_away(&self, now: Duration) -> bool {
        self.away_from <= now && now < self.away_until
    }
}

struct Run {
    world: Arc<World>,
    config: Arc<Config>,
    workers: Workers,
    slots: Vec<Slot>,
    lives: u32,
    /// By the input's file id, which is in the batch's row.
    jobs: BTreeMap<String, Job>,
    checked: BTreeMap<String, bool>,
    to_submit: u64,
    tally: Tally,
    _scratch: tempfile::TempDir,
}

/// Runs a seed; with a bug if one is wanted.
pub(super) fn run(seed: u64, bug: Option<Bug>) -> Ended {
    let mut run = Run::of_seed(seed, bug, None);
    run.storm();
    run.calm();
    run.end()
}

/// Two processes; the first is frozen with lines in flight and records on their way to its disk,
/// for longer than its lease, and polled again when the other has taken over.
pub(super) fn frozen(seed: u64) -> Ended {
    let mut run = Run::of_seed(seed, None, Some(2));
    run.turn(TURN);
    run.submit(Job::plain(300), None);
    let recorded = |run: &Run| run.world.laws().recorded_lines();
    while recorded(&run) < 20 {
        run.turn(TURN);
    }
    let full_disk = Weather {
        journal: 1_000,
        ..Weather::default()
    };
    run.world.change_weather(full_disk);
    run.turn(TURN);
    run.turn(TURN);
    run.slots[0].away_from = run.world.now();
    run.slots[0].away_until = run.world.now() + Duration::from_secs(50);
    run.tally.freezes += 1;
    run.turn(TURN);
    run.calm();
    run.end()
}

/// Who cancels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Canceller {
    /// A client of the process that works on the batch.
    Client,
    /// A client of another process: only the catalog knows of it.
    Elsewhere,
}

/// A batch is cancelled while the lines of another are sent; how long after it nothing of it is
/// untouched any more.
pub(super) fn filled(seed: u64, canceller: Canceller) -> Duration {
    let mut run = Run::of_seed(seed, None, Some(1));
    run.turn(TURN);
    run.submit(Job::plain(8_000), None);
    run.submit(Job::plain(8_000), None);
    // Of two alike the older one is sent first.
    let begun =
        "SELECT count(*) + coalesce(sum(completed > 0), 0) FROM batches WHERE state = 'running'";
    while run.number(begun) < 2 + 1 {
        run.turn(TURN);
    }
    // Not in step with what looks once a second.
    run.turn(TURN * u32::try_from(run.world.below(20)).unwrap());
    let cancelled = run.world.now();
    match canceller {
        Canceller::Client => run.cancel(),
        Canceller::Elsewhere => run.cancel_elsewhere(),
    }
    let sql = "SELECT count(*) FROM batches WHERE ending IS NOT NULL AND cursor < plan_segments";
    let cursors = run.one(
        "SELECT group_concat(format('%d of %d, done %d', cursor, plan_segments, done_segments), '; ')
        FROM batches",
    );
    assert!(
        run.number(sql) == 1,
        "nothing is left to be filled: {cursors:?}"
    );
    while run.number(sql) > 0 {
        run.turn(TURN);
    }
    run.world.now() - cancelled
}

impl Run {
    fn of_seed(seed: u64, bug: Option<Bug>, processes: Option<u64>) -> Self {
        fastrand::seed(seed);
        crate::id::seeded::seed(seed);
        let world = World::new(seed, bug);
        let processes = processes.unwrap_or_else(|| 1 + world.below(3));
        Self::new(world, processes)
    }

    fn new(world: Arc<World>, processes: u64) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let mut config = Config::new(
            scratch.path(),
            vec![UpstreamConfig::new("sim", "http://sim")],
        );
        config.sending.attempts = ATTEMPTS + if world.has(Bug::OneTryTooMany) { 3 } else { 0 };
        config.sending.patience = Duration::from_secs(120);
        config.sending.grace = Duration::from_secs(1 + world.below(8));
        config.limits.line_bytes = 2_000;
        config.space = crate::model::space::Floor::NONE;
        config.mixed_models = Some(true);
        let workers = if processes == 1 {
            Workers::Alone
        } else {
            Workers::Several
        };
        Self {
            config: Arc::new(config),
            workers,
            slots: (0..processes).map(|_| Slot::default()).collect(),
            lives: 0,
            jobs: BTreeMap::new(),
            checked: BTreeMap::new(),
            to_submit: 1 + world.below(5),
            tally: Tally::default(),
            world,
            _scratch: scratch,
        }
    }

    fn storm(&mut self) {
        let end = STORM + Duration::from_secs(self.world.below(60));
        let crashes = self.world.below(3);
        while self.world.now() < end {
            if self.world.below(40) == 0 {
                self.turn_weather(crashes);
            }
            self.something_happens();
            self.turn(TURN);
        }
    }

    /// Each kind of trouble comes and goes, so that work is done between.
    fn turn_weather(&self, crashes: u64) {
        let world = &self.world;
        let or_none = |share: u32| if world.below(3) == 0 { share } else { 0 };
        let weather = Weather {
            crash: or_none(u32::try_from(crashes).unwrap()),
            catalog: or_none(40),
            store: or_none(60),
            journal: or_none(150),
            hang: or_none(100),
            upstream: [20, 100, 400][world.below(3) as usize],
            outage: world.below(6) == 0,
        };
        world.change_weather(weather);
    }

    fn something_happens(&mut self) {
        match self.world.below(200) {
            0..4 if self.to_submit > 0 => self.submit_any(),
            4 => self.cancel(),
            5 => self.freeze(),
            6 => self.terminate(),
            7 => self.delete_input(),
            _ => {}
        }
        if self.world.has(Bug::FallingCount) {
            self.sabotage("UPDATE batches SET completed = completed - 1 WHERE state = 'running' AND completed > 3");
        }
        if self.world.has(Bug::Revival) {
            self.sabotage(
                "UPDATE batches SET state = 'running' WHERE state IN ('completed', 'cancelled')",
            );
        }
        if self.world.has(Bug::SweptInput) {
            self.sweep_an_input();
        }
    }

    fn sabotage(&self, sql: &str) {
        self.world.conn.lock().unwrap().execute(sql, []).unwrap();
    }

    fn sweep_an_input(&self) {
        let input = self.one("SELECT input_file_id FROM batches WHERE state = 'running'");
        if let (Some(process), Some(input)) = (self.awake(), input) {
            let blobs = process.service.blobs.clone();
            process.call(async move { blobs.delete_below(&format!("files/{input}")).await });
        }
    }

    /// A process that runs and is not frozen.
    fn awake(&self) -> Option<&Process> {
        let now = self.world.now();
        let awake = |slot: &&Slot| slot.process.is_some() && !slot.is_away(now);
        self.slots.iter().find(awake)?.process.as_ref()
    }

    fn one(&self, sql: &str) -> Option<String> {
        let conn = self.world.conn.lock().unwrap();
        conn.query_row(sql, [], |row| row.get(0)).ok()
    }

    fn number(&self, sql: &str) -> u32 {
        let conn = self.world.conn.lock().unwrap();
        conn.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    fn submit_any(&mut self) {
        let job = Job::make(&self.world);
        let deadline = self
            .world
            .per_mille(450)
            .then(|| Duration::from_secs(1 + self.world.below(40)));
        self.submit(job, deadline);
    }

    fn submit(&mut self, job: Job, deadline: Option<Duration>) {
        let Some(process) = self.awake() else { return };
        let made = process.call(job.submit(&process.service, deadline));
        if let Some(Ok(id)) = made {
            self.world
                .note(format_args!("made {id} of {} lines", job.numbers.len()));
            let input = self.one(&format!(
                "SELECT input_file_id FROM batches WHERE id = '{id}'"
            ));
            self.jobs.insert(input.unwrap(), job);
            self.to_submit = self.to_submit.saturating_sub(1);
            self.tally.batches += 1;
        }
    }

    fn cancel(&self) {
        let sql =
            "SELECT id FROM batches WHERE state IN ('validating', 'running') ORDER BY key DESC";
        if let (Some(process), Some(id)) = (self.awake(), self.one(sql)) {
            self.world.note(format_args!("cancels {id}"));
            process.call(process.service.cancel_batch(TENANT, &id));
        }
    }

    fn cancel_elsewhere(&self) {
        let id = self.one("SELECT id FROM batches ORDER BY key DESC");
        let process = self.awake().unwrap();
        let catalog = &process.service.catalog;
        process.call(catalog.cancel_batch(TENANT, &id.unwrap()));
    }

    fn delete_input(&self) {
        let sql =
            "SELECT id FROM files WHERE state = 'ready' AND purpose = 'batch' ORDER BY seq DESC";
        if let (Some(process), Some(id)) = (self.awake(), self.one(sql)) {
            process.call(process.service.delete_file(TENANT, &id));
        }
    }

    fn freeze(&mut self) {
        let place = self.world.below(self.slots.len() as u64) as usize;
        let until = self.world.now() + Duration::from_secs(2 + self.world.below(60));
        if self.slots[place].process.is_some() && self.world.weather().crash == 0 {
            self.world.note(format_args!("freezes {place}"));
            // Half of them with a disk that refuses just before: then there are records to be written
            // when it thaws, and its segments are others' by then.
            if self.world.below(2) == 0 {
                self.world.change_weather(Weather {
                    journal: 900,
                    ..self.world.weather()
                });
            }
            self.slots[place].away_from = self.world.now() + 3 * TURN;
            self.slots[place].away_until = until;
            self.tally.freezes += 1;
        }
    }

    fn terminate(&self) {
        if let Some(process) = self.awake() {
            process.terminate();
        }
    }

    /// Every process has its turn, and the laws are looked at.
    fn turn(&mut self, long: Duration) {
        let until = self.world.now() + long;
        for place in 0..self.slots.len() {
            self.turn_of(place, until);
        }
        self.world.reached(until);
        let conn = self.world.conn.lock().unwrap();
        self.world.laws().look_at_rows(&conn);
        drop(conn);
        let parked =
            "SELECT EXISTS (SELECT 1 FROM segments WHERE state = 'parked' AND waits_for <> '')";
        self.tally.parked += self.number(parked);
        self.check_what_has_ended();
    }

    fn turn_of(&mut self, place: usize, until: Duration) {
        let slot = &mut self.slots[place];
        if slot.is_away(until) {
            return;
        }
        let Some(process) = &slot.process else {
            self.lives += 1;
            let begun = Process::start(&self.world, self.lives, &self.config, self.workers);
            self.slots[place].process = Some(begun);
            return;
        };
        process.step(until);
        if process.is_over() {
            slot.process = None;
            slot.away_from = until;
            slot.away_until = until + Duration::from_millis(self.world.below(3_000));
            self.tally.crashes += 1;
        }
    }

    fn check_what_has_ended(&mut self) {
        let ended = {
            let conn = self.world.conn.lock().unwrap();
            let mut statement = conn
                .prepare_cached("SELECT id, input_file_id, state FROM batches ORDER BY key")
                .unwrap();
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
            let rows: Vec<(String, String, String)> = rows.unwrap().map(Result::unwrap).collect();
            rows
        };
        for (id, input, state) in ended {
            if !BatchState::parse(&state).unwrap().is_terminal() || self.checked.contains_key(&id) {
                continue;
            }
            let Some(process) = self.awake() else { return };
            // A create whose answer was lost has made a batch that the client does not know.
            let Some(job) = self.jobs.get(&input) else {
                continue;
            };
            if let Some(Ok(fault)) = process.call(unaccounted(&process.service, &id, job)) {
                if let Some(fault) = fault {
                    let how = format_args!("{id} is {state}: {fault}");
                    self.world.laws().broke("conservation", how);
                }
                self.checked.insert(id, true);
            }
        }
    }

    fn calm(&mut self) {
        self.world.change_weather(Weather::default());
        let end = self.world.now() + CALM;
        let open = "SELECT id FROM batches WHERE state IN ('validating', 'running', 'finalizing')";
        while self.one(open).is_some() && self.world.laws().broken().is_empty() {
            if self.world.now() > end {
                let id = self.one(open);
                let segments = self.one(UNSEALED);
                let how = format_args!("{id:?} does not: {segments:?}");
                self.world.laws().broke("everything ends", how);
                break;
            }
            self.turn(4 * TURN);
        }
        // Now what has ended is looked at, and the sweeper has its rounds.
        for _ in 0..75 {
            self.turn(18 * TURN);
        }
        self.world.laws().look_at_attempts(ATTEMPTS);
    }

    fn end(mut self) -> Ended {
        self.slots.clear();
        let (story, words) = self.world.story();
        let laws = self.world.laws();
        Ended {
            story,
            words,
            broken: laws.broken().to_vec(),
            tally: Tally {
                sent: laws.sent,
                sent_again: laws.sent_again,
                replayed: laws.replayed,
                fenced: laws.fenced,
                completed: laws.ended_as(BatchState::Completed),
                cancelled: laws.ended_as(BatchState::Cancelled),
                expired: laws.ended_as(BatchState::Expired),
                ..self.tally
            },
        }
    }
}
