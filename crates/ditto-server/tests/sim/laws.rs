//! The laws, and the memory that is needed to hold a run against them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rusqlite::Connection;

use crate::journal::PartName;
use crate::model::batch::BatchState;

/// Offences named; a run that has broken one law soon breaks others.
const NAMED: usize = 10;

/// Before a line is sent no answer has waited longer to become durable,
const UNRECORDED_AGE: Duration = Duration::from_secs(1);
/// and no more than this waits in a journal of this world.
const UNRECORDED_BYTES: usize = 4_000;

/// A line by its batch's row number and its own number.
pub(super) type LineKey = (i64, u64);

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Laws {
    broken: Vec<String>,
    /// Lines whose result is in a durable part below any fence.
    recorded: BTreeSet<LineKey>,
    /// Which segment a line is in, as told by its record.
    segments: BTreeMap<LineKey, (i64, u32)>,
    /// How often a segment was leased to be sent.
    leases: BTreeMap<(i64, u32), u32>,
    /// What is appended and not durable, by life and part: when it came, and its size.
    unrecorded: BTreeMap<(u32, PartName), VecDeque<(Duration, usize)>>,
    /// Answers that count against a line's attempts, by line.
    charged: BTreeMap<LineKey, u32>,
    /// How each batch was seen last.
    seen: BTreeMap<String, Seen>,
    pub(super) sent: u64,
    pub(super) sent_again: u64,
    pub(super) replayed: u64,
    pub(super) fenced: u64,
    once: BTreeSet<LineKey>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    state: BatchState,
    completed: i64,
    failed: i64,
}

impl Laws {
    pub(super) fn broke(&mut self, law: &str, how: std::fmt::Arguments<'_>) {
        if self.broken.len() < NAMED {
            self.broken.push(format!("{law}: {how}"));
        }
    }

    pub(super) fn broken(&self) -> &[String] {
        &self.broken
    }

    /// A life sends a line, at this time of its own.
    pub(super) fn sent(&mut self, life: u32, line: LineKey, now: Duration) {
        self.look_at_unrecorded(life, now);
        self.sent += 1;
        self.sent_again += u64::from(!self.once.insert(line));
        if self.recorded.contains(&line) {
            self.broke(
                "a recorded line is never sent again",
                format_args!("line {line:?}"),
            );
        }
    }

    /// What a crash may ask for again is bounded, beside what is in flight.
    fn look_at_unrecorded(&mut self, life: u32, now: Duration) {
        let of_life = self.unrecorded.iter().filter(|((of, _), _)| *of == life);
        let waiting: Vec<_> = of_life.flat_map(|(_, records)| records).copied().collect();
        let oldest = waiting
            .iter()
            .map(|(since, _)| now.saturating_sub(*since))
            .max();
        if let Some(age) = oldest.filter(|age| *age > UNRECORDED_AGE) {
            self.broke(
                "nothing is sent while an answer waits for more than a second",
                format_args!("it has waited for {age:?}"),
            );
        }
        let bytes: usize = waiting.iter().map(|(_, bytes)| bytes).sum();
        if bytes >= UNRECORDED_BYTES {
            self.broke(
                "nothing is sent while too much waits for the disk",
                format_args!("{bytes} bytes wait"),
            );
        }
    }

    pub(super) fn appended(&mut self, life: u32, part: PartName, now: Duration, bytes: usize) {
        let records = self.unrecorded.entry((life, part)).or_default();
        records.push_back((now, bytes));
    }

    /// So many records, the oldest ones of its writer.
    pub(super) fn is_durable(&mut self, life: u32, part: PartName, records: usize) {
        let waiting = self.unrecorded.entry((life, part)).or_default();
        waiting.drain(..records);
    }

    /// A late flush was refused: whoever took the segment over sends its lines.
    pub(super) fn is_fenced(&mut self, life: u32, part: PartName) {
        self.fenced += 1;
        self.unrecorded.remove(&(life, part));
    }

    /// What was not durable may be asked for again from now on.
    pub(super) fn ended(&mut self, life: u32) {
        self.unrecorded.retain(|(of, _), _| *of != life);
    }

    /// An answer that the policy always charges to its line.
    pub(super) fn charged(&mut self, line: LineKey) {
        *self.charged.entry(line).or_default() += 1;
    }

    pub(super) fn leased(&mut self, part: PartName) {
        let segment = (part.segment.batch, part.segment.index);
        *self.leases.entry(segment).or_default() += 1;
    }

    pub(super) fn recorded(&mut self, part: PartName, line: u64) {
        let at = (part.segment.batch, line);
        self.recorded.insert(at);
        self.segments
            .insert(at, (part.segment.batch, part.segment.index));
    }

    /// A writer was told that this is recorded, although its part is fenced.
    pub(super) fn recorded_behind_a_fence(&mut self, part: PartName) {
        self.broke(
            "nothing is recorded after a fence",
            format_args!("part {part}"),
        );
    }

    /// Counts do not fall, and what has ended has ended.
    pub(super) fn look_at_rows(&mut self, conn: &Connection) {
        let mut statement = conn
            .prepare_cached("SELECT id, state, completed, failed, total FROM batches ORDER BY key")
            .unwrap();
        let rows: Vec<(String, String, i64, i64, i64)> = statement
            .query_map([], |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                ))
            })
            .unwrap()
            .map(Result::unwrap)
            .collect();
        for (id, state, completed, failed, total) in rows {
            let now = Seen {
                state: BatchState::parse(&state).unwrap(),
                completed,
                failed,
            };
            self.look_at(&id, now, total);
        }
    }

    fn look_at(&mut self, id: &str, now: Seen, total: i64) {
        let before = self.seen.insert(id.to_owned(), now).unwrap_or(now);
        if now.completed < before.completed || now.failed < before.failed {
            self.broke(
                "counts never fall",
                format_args!("{id}: {before:?}, then {now:?}"),
            );
        }
        if now.completed + now.failed > total {
            self.broke(
                "counts never exceed the total",
                format_args!("{id}: {now:?} of {total}"),
            );
        }
        if before.state.is_terminal() && now.state != before.state {
            self.broke(
                "what has ended has ended",
                format_args!("{id}: {before:?}, then {now:?}"),
            );
        }
    }

    pub(super) fn recorded_lines(&self) -> usize {
        self.recorded.len()
    }

    pub(super) fn ended_as(&self, state: BatchState) -> u32 {
        let ended = self.seen.values().filter(|seen| seen.state == state);
        u32::try_from(ended.count()).unwrap()
    }

    /// Between two leases of its segment a line is charged at most so often.
    pub(super) fn look_at_attempts(&mut self, limit: u32) {
        let too_often: Vec<_> = self
            .charged
            .iter()
            .filter_map(|(line, charged)| {
                let segment = self.segments.get(line)?;
                let leases = self.leases.get(segment).copied().unwrap_or(1);
                (*charged > limit * leases).then_some((*line, *charged, leases))
            })
            .collect();
        for (line, charged, leases) in too_often {
            self.broke(
                "attempts stay within the limit",
                format_args!("line {line:?}: {charged} answers were charged in {leases} leases"),
            );
        }
    }
}

/// Whether a row can still claim this blob, and which.
pub(super) fn claim_on_blob(conn: &Connection, blob: &str) -> Option<String> {
    let mut parts = blob.split('/');
    match (parts.next()?, parts.next()?) {
        ("files", id) => claim_on_file(conn, id),
        ("batches", id) => match (parts.next(), id.strip_suffix(".1")) {
            (None, Some(id)) => claim_on_batch(conn, id, Some("segments"), Some("0.1")),
            (what, _) => claim_on_batch(conn, id, what, parts.next()),
        },
        _ => None,
    }
}

fn claim_on_file(conn: &Connection, id: &str) -> Option<String> {
    let state = text(conn, "SELECT state FROM files WHERE id = ?1", id)?;
    let in_use = "SELECT id FROM batches WHERE input_file_id = ?1
        AND state IN ('validating', 'running', 'finalizing')";
    match (state.as_str(), text(conn, in_use, id)) {
        (_, Some(batch)) => Some(format!("it is the input of {batch}")),
        ("ready", None) => Some(format!("file {id} is ready")),
        _ => None,
    }
}

fn claim_on_batch(
    conn: &Connection,
    id: &str,
    what: Option<&str>,
    name: Option<&str>,
) -> Option<String> {
    let state = text(conn, "SELECT state FROM batches WHERE id = ?1", id)?;
    let state = BatchState::parse(&state).unwrap();
    if !state.is_terminal() {
        return match (what, name.and_then(|name| name.split_once('.'))) {
            (Some("segments"), Some((index, epoch))) => claim_on_segment(conn, id, index, epoch),
            _ => Some(format!("{id} is {}", state.as_str())),
        };
    }
    let left = "SELECT id FROM files
        WHERE batch = (SELECT key FROM batches WHERE id = ?1) AND state = 'ready'";
    let file = text(conn, left, id)?;
    // Which of the batch's blobs the file names is in its manifest; a plan is in none.
    (what == Some("segments")).then(|| format!("result file {file} of {id} is ready"))
}

fn claim_on_segment(conn: &Connection, id: &str, index: &str, epoch: &str) -> Option<String> {
    let sql = "SELECT s.epoch FROM segments s JOIN batches b ON b.key = s.batch
        WHERE b.id = ?1 AND s.idx = ?2";
    let now: Option<i64> = conn
        .query_row(sql, (id, index.parse::<i64>().unwrap()), |row| row.get(0))
        .ok();
    let epoch: i64 = epoch.parse().unwrap();
    (now? <= epoch).then(|| format!("segment {index} of {id} is at epoch {epoch}"))
}

/// Whether a segment that is not sealed can still claim this part.
pub(super) fn claim_on_part(conn: &Connection, part: PartName) -> Option<String> {
    let sql = "SELECT s.epoch, s.unfenced, s.cuts FROM segments s JOIN batches b ON b.key = s.batch
        WHERE s.batch = ?1 AND s.idx = ?2 AND s.state IN ('open', 'parked')";
    let key = (part.segment.batch, part.segment.index);
    let (epoch, unfenced, cuts): (u32, Option<u32>, String) = conn
        .query_row(sql, key, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .ok()?;
    let cuts: Vec<crate::catalog::Cut> = serde_json::from_str(&cuts).unwrap();
    let claimed = epoch == part.epoch
        || unfenced == Some(part.epoch)
        || cuts.iter().any(|cut| cut.epoch == part.epoch);
    claimed.then(|| format!("segment {} is open", part.segment))
}

fn text(conn: &Connection, sql: &str, param: &str) -> Option<String> {
    conn.query_row(sql, [param], |row| row.get(0)).ok()
}
