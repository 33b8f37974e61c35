//! Where statements run: one writer thread with group commit, and a few readers that it never
//! blocks; or everything inline on the caller, so that a simulated run is one thread.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Params, Row};
use tokio::sync::{mpsc, oneshot};

#[cfg(test)]
use super::inline::Inline;
#[cfg(test)]
use super::tally::{Counted, Tally};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// Commands that wait for a thread. Callers beyond it wait for a place: a slow disk slows them
/// down instead of filling memory.
const QUEUE: usize = 1_024;
/// Commands in one transaction, so that the first of them is not kept waiting for long.
const GROUP: usize = 256;

/// What a command works with.
#[derive(Debug)]
pub(super) struct Tx<'a> {
    /// Inside a transaction. Nobody else's, so that no statement runs past the tally.
    conn: &'a Connection,
    /// The time of day of the whole transaction.
    pub(super) now_ms: i64,
    #[cfg(test)]
    tally: Option<&'a Tally>,
}

impl<'a> Tx<'a> {
    /// On a connection that is not a runner's.
    pub(super) fn on(conn: &'a Connection, now_ms: i64) -> Self {
        Self {
            conn,
            now_ms,
            #[cfg(test)]
            tally: None,
        }
    }

    #[cfg(not(test))]
    fn statement(&self, sql: &str) -> rusqlite::Result<rusqlite::CachedStatement<'a>> {
        self.conn.prepare_cached(sql)
    }

    #[cfg(test)]
    fn statement(&self, sql: &str) -> rusqlite::Result<Counted<'a>> {
        Ok(Counted::new(self.conn.prepare_cached(sql)?, self.tally))
    }

    /// Runs a statement; how many rows it changed.
    pub(super) fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        Ok(self.statement(sql)?.execute(params)?)
    }

    /// The first row of an answer.
    pub(super) fn row<T>(
        &self,
        sql: &str,
        params: impl Params,
        map: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        Ok(self.statement(sql)?.query_row(params, map).optional()?)
    }

    /// All rows of an answer.
    pub(super) fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        map: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let mut statement = self.statement(sql)?;
        let rows = statement.query_map(params, map)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// This long from now, in milliseconds.
    pub(super) fn later(&self, duration: Duration) -> i64 {
        let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        self.now_ms.saturating_add(ms)
    }

    /// How long this time ago, given in milliseconds; nothing if it is to come.
    pub(super) fn since(&self, ms: i64) -> Duration {
        let ms = self.now_ms.saturating_sub(ms);
        Duration::from_millis(u64::try_from(ms).unwrap_or_default())
    }

    /// This long before now, in milliseconds.
    pub(super) fn earlier(&self, duration: Duration) -> i64 {
        let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        self.now_ms.saturating_sub(ms)
    }
}

/// Tells the caller, once the commit has succeeded (or not: why).
type Answer = Box<dyn FnOnce(Option<&rusqlite::Error>) + Send>;
/// Runs (unless there is no transaction) and keeps its result back until the commit.
type Command = Box<dyn FnOnce(Option<&Tx<'_>>) -> Answer + Send>;

/// The two forms.
#[derive(Debug)]
pub(super) enum Runner {
    /// Own threads.
    Threads(Threads),
    /// On the caller, one transaction a call: for simulated runs.
    #[cfg(test)]
    Inline(Inline),
}

/// One writer, some readers; joined when dropped, after what is queued has run.
#[derive(Debug)]
pub(super) struct Threads {
    writer: Worker,
    readers: Vec<Worker>,
    next_reader: AtomicUsize,
    /// A reader for whoever wants a row and finds it free.
    glance: Option<Mutex<Session>>,
    #[cfg(test)]
    tally: Arc<Tally>,
}

#[derive(Debug)]
struct Worker {
    /// `None` only while it is being dropped.
    queue: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl Runner {
    /// Starts a thread for each connection but the one for glances.
    pub(super) fn threads(
        writer: Connection,
        readers: Vec<Connection>,
        glance: Option<Connection>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self> {
        #[cfg(test)]
        let tally = Arc::<Tally>::default();
        let session = |conn, side| Session {
            conn,
            clock: Arc::clone(clock),
            side,
            #[cfg(test)]
            tally: Arc::clone(&tally),
        };
        let readers = readers
            .into_iter()
            .map(|conn| Worker::start("catalog-reader", session(conn, Side::Reader)))
            .collect::<Result<_>>()?;
        let writer = Worker::start("catalog-writer", session(writer, Side::Writer))?;
        Ok(Self::Threads(Threads {
            writer,
            readers,
            next_reader: AtomicUsize::new(0),
            glance: glance.map(|conn| Mutex::new(session(conn, Side::Reader))),
            #[cfg(test)]
            tally,
        }))
    }

    /// What its threads run.
    #[cfg(test)]
    pub(super) fn tally(&self) -> &Tally {
        match self {
            Self::Threads(threads) => &threads.tally,
            Self::Inline(_) => panic!("statements are counted where they run as shipped"),
        }
    }

    /// Runs a change; durable when this returns. If it fails, nothing of it stays.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match self {
            Self::Threads(threads) => threads.writer.call(change).await,
            #[cfg(test)]
            Self::Inline(inline) => inline.call(change).await,
        }
    }

    /// Runs a question on one snapshot, which holds every change that has returned.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match self {
            Self::Threads(threads) => {
                let turn = threads.next_reader.fetch_add(1, Ordering::Relaxed);
                threads.readers[turn % threads.readers.len()]
                    .call(question)
                    .await
            }
            #[cfg(test)]
            Self::Inline(inline) => inline.call(question).await,
        }
    }

    /// The same for a row or two by their key: on the caller's own thread, where that is free. On a busy
    /// machine a thread that is woken for it waits longer for a processor than the answer takes. A disk
    /// that stands still holds up one caller's thread, never two.
    pub(super) async fn glance<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if let Self::Threads(threads) = self
            && let Some(glance) = &threads.glance
        {
            match glance.try_lock() {
                Ok(session) => return session.glance(question),
                Err(TryLockError::Poisoned(session)) => {
                    return session.into_inner().glance(question);
                }
                Err(TryLockError::WouldBlock) => {}
            }
        }
        self.read(question).await
    }
}

impl Worker {
    fn start(name: &str, session: Session) -> Result<Self> {
        let (queue, commands) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&session, commands))
            .map_err(|e| Error::storage("could not start a thread for the catalog", e))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    async fn call<T: Send + 'static>(
        &self,
        command: impl FnOnce(&Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let command: Command = Box::new(move |tx| {
            let result = tx.map_or_else(|| Err(stopped()), |tx| in_savepoint(tx, command));
            let began = tx.is_some();
            Box::new(move |failure| {
                // Nobody listens if the caller has gone; the change stands all the same.
                let _ = reply.send(match failure {
                    // Its own error says more than that of the commit.
                    Some(e) if result.is_ok() || !began => Err(not_committed(e)),
                    _ => result,
                });
            })
        });
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(command).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was reported when it happened, to the caller it concerned.
            let _ = thread.join();
        }
    }
}

/// What a thread works with.
#[derive(Debug)]
struct Session {
    conn: Connection,
    clock: Arc<dyn Clock>,
    side: Side,
    #[cfg(test)]
    tally: Arc<Tally>,
}

/// What a thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Writer,
    Reader,
}

impl Session {
    /// How its transactions begin. A reader's snapshot is of the first question in it.
    fn begin(&self) -> &'static str {
        match self.side {
            Side::Writer => "BEGIN IMMEDIATE",
            Side::Reader => "BEGIN DEFERRED",
        }
    }

    /// Inside the transaction that has begun, or is about to.
    fn tx(&self) -> Tx<'_> {
        Tx {
            #[cfg(test)]
            tally: Some(&self.tally),
            ..Tx::on(&self.conn, self.clock.now_ms())
        }
    }

    /// A question by itself, on one snapshot.
    fn glance<T>(&self, question: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        self.close();
        self.turn(self.begin())?;
        let answer = question(&self.tx());
        // It has changed nothing: what it was told stands, however this ends.
        if self.turn("COMMIT").is_err() {
            self.close();
        }
        answer
    }

    /// Ends a transaction that a failure, or a panic of the question before, has left.
    fn close(&self) {
        if !self.conn.is_autocommit() {
            // Its failure would change nothing: the next BEGIN fails and says so.
            let _ = self.turn("ROLLBACK");
        }
    }

    /// Begins or ends a transaction.
    fn turn(&self, sql: &str) -> rusqlite::Result<()> {
        #[cfg(test)]
        self.tally.add(0);
        self.conn.execute_batch(sql)
    }
}

/// A thread's whole life. If the process dies here, no caller of the open transaction has been
/// answered and nothing of it stays.
fn work(session: &Session, mut commands: mpsc::Receiver<Command>) {
    while let Some(first) = commands.blocking_recv() {
        let mut answers = Vec::new();
        let outcome = match session.side {
            Side::Writer => {
                let mut arrived = std::iter::from_fn(|| commands.try_recv().ok());
                group(session, first, &mut arrived, &mut answers)
            }
            Side::Reader => {
                // A question that is asked once the snapshot is taken may follow a change that the
                // snapshot does not have, and that has returned.
                let asked: Vec<_> = std::iter::from_fn(|| commands.try_recv().ok())
                    .take(GROUP - 1)
                    .collect();
                let mut asked = asked.into_iter();
                let outcome = group(session, first, &mut asked, &mut answers);
                answers.extend(asked.map(|question| question(None)));
                outcome
            }
        };
        if outcome.is_err() {
            session.close();
        }
        for answer in answers {
            answer(outcome.as_ref().err());
        }
    }
}

/// Runs what is there in one transaction: one fsync for all that arrived during the last one.
fn group(
    session: &Session,
    first: Command,
    others: &mut impl Iterator<Item = Command>,
    answers: &mut Vec<Answer>,
) -> Result<(), rusqlite::Error> {
    let tx = session.tx();
    if let Err(e) = session.turn(session.begin()) {
        // Not run at all: its savepoint would be a transaction of its own.
        answers.push(first(None));
        return Err(e);
    }
    let mut next = Some(first);
    while let Some(command) = next {
        answers.push(command(Some(&tx)));
        if session.conn.is_autocommit() {
            // A full disk, for one, undoes the whole transaction and not only a savepoint.
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT),
                Some("the transaction was given up for another change in it".to_owned()),
            ));
        }
        next = if answers.len() < GROUP {
            others.next()
        } else {
            None
        };
    }
    session.turn("COMMIT")
}

fn in_savepoint<T>(tx: &Tx<'_>, command: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
    tx.execute("SAVEPOINT command", [])?;
    let result = command(tx);
    if tx.conn.is_autocommit() {
        return result;
    }
    if result.is_err() {
        tx.execute("ROLLBACK TO command", [])?;
    }
    tx.execute("RELEASE command", [])?;
    result
}

fn not_committed(error: &rusqlite::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("the catalog could not keep the change: {error}; it is safe to try again"),
    )
}

fn stopped() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the catalog has stopped; start the server again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn folder() -> (tempfile::TempDir, Connection, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.db");
        let writer = Connection::open(&path).unwrap();
        writer.pragma_update(None, "journal_mode", "wal").unwrap();
        writer
            .execute_batch("CREATE TABLE t (x INTEGER PRIMARY KEY)")
            .unwrap();
        (folder, writer, Connection::open(&path).unwrap())
    }

    fn runner(writer: Connection, reader: Connection) -> Arc<Runner> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Arc::new(Runner::threads(writer, vec![reader], None, &clock).unwrap())
    }

    async fn insert(runner: &Runner, x: i64) -> Result<usize> {
        runner
            .write(move |tx| tx.execute("INSERT INTO t VALUES (?)", [x]))
            .await
    }

    async fn all(runner: &Runner) -> Vec<i64> {
        runner
            .read(|tx| tx.rows("SELECT x FROM t ORDER BY x", [], |row| row.get(0)))
            .await
            .unwrap()
    }

    /// Holds the writer inside a transaction until the sender is used or dropped.
    #[expect(clippy::disallowed_methods, reason = "the test awaits what it spawns")]
    async fn hold(runner: &Arc<Runner>) -> (std::sync::mpsc::SyncSender<()>, JoinWrite) {
        let (go, wait) = std::sync::mpsc::sync_channel::<()>(1);
        let (begun, begins) = oneshot::channel();
        let runner = Arc::clone(runner);
        let held = tokio::spawn(async move {
            let change = move |_: &Tx<'_>| {
                let _ = begun.send(());
                let _ = wait.recv();
                Ok(())
            };
            runner.write(change).await
        });
        begins.await.unwrap();
        (go, held)
    }

    type JoinWrite = tokio::task::JoinHandle<Result<()>>;

    #[tokio::test]
    async fn a_change_that_fails_takes_back_only_itself() {
        let (_folder, writer, reader) = folder();
        let runner = runner(writer, reader);
        let (go, held) = hold(&runner).await;
        let half = runner.write(|tx| {
            tx.execute("INSERT INTO t VALUES (3)", [])?;
            tx.execute("INSERT INTO t VALUES (1)", [])
        });
        // All four are in the queue of one transaction before it goes on.
        let (a, b, c, ()) = tokio::join!(insert(&runner, 1), half, insert(&runner, 2), async {
            drop(go)
        });
        assert!(a.is_ok() && c.is_ok());
        assert!(b.unwrap_err().message().contains("UNIQUE"));
        held.await.unwrap().unwrap();
        assert_eq!(all(&runner).await, [1, 2]);
    }

    #[tokio::test]
    async fn what_arrives_during_a_transaction_shares_the_next() {
        let (_folder, writer, reader) = folder();
        let runner = runner(writer, reader);
        let (go, held) = hold(&runner).await;
        let times = (0..50).map(|_| runner.write(|tx| Ok(tx.now_ms)));
        let times = futures_util::future::join_all(times);
        let (times, ()) = tokio::join!(times, async { drop(go) });
        held.await.unwrap().unwrap();
        let times: std::collections::BTreeSet<_> = times.into_iter().map(Result::unwrap).collect();
        assert_eq!(times.len(), 1, "one transaction has one time");
    }

    #[tokio::test]
    async fn a_reader_does_not_wait_for_the_writer() {
        let (_folder, writer, reader) = folder();
        let runner = runner(writer, reader);
        insert(&runner, 1).await.unwrap();
        let (go, held) = hold(&runner).await;
        assert_eq!(all(&runner).await, [1]);
        drop(go);
        held.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_glance_sees_what_has_returned_waits_for_nobody_and_is_free_for_the_next() {
        let (folder, writer, reader) = folder();
        let third = Connection::open(folder.path().join("t.db")).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let runner = Arc::new(Runner::threads(writer, vec![reader], Some(third), &clock).unwrap());
        let last = || {
            let sql = "SELECT max(x) FROM t";
            runner.glance(move |tx| tx.row(sql, [], |row| row.get::<_, i64>(0)))
        };
        insert(&runner, 1).await.unwrap();
        assert_eq!(last().await.unwrap(), Some(1));
        insert(&runner, 2).await.unwrap();
        let (go, held) = hold(&runner).await;
        assert_eq!(last().await.unwrap(), Some(2));
        drop(go);
        held.await.unwrap().unwrap();

        let wrong = runner.glance(|tx| tx.row("SELECT y FROM t", [], |row| row.get::<_, i64>(0)));
        assert!(wrong.await.is_err());
        insert(&runner, 3).await.unwrap();
        assert_eq!(last().await.unwrap(), Some(3));

        let (go, wait) = std::sync::mpsc::channel::<()>();
        let (taken, is_taken) = std::sync::mpsc::channel();
        let theirs = Arc::clone(&runner);
        let busy = std::thread::spawn(move || {
            let Runner::Threads(threads) = &*theirs else {
                panic!("it runs as shipped")
            };
            let _busy = threads.glance.as_ref().unwrap().lock().unwrap();
            taken.send(()).unwrap();
            let _ = wait.recv();
        });
        is_taken.recv().unwrap();
        assert_eq!(last().await.unwrap(), Some(3), "by a reader");
        drop(go);
        busy.join().unwrap();
    }

    /// Whoever has created a batch and asks for it next must not be told that there is none.
    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "the test awaits what it spawns")]
    async fn a_question_sees_what_had_returned_before_it_was_asked() {
        let (_folder, writer, reader) = folder();
        let runner = runner(writer, reader);
        let (go, wait) = std::sync::mpsc::sync_channel::<()>(1);
        let (begun, begins) = oneshot::channel();
        let asking = Arc::clone(&runner);
        let long = tokio::spawn(async move {
            let question = move |tx: &Tx<'_>| {
                let found = tx.row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0));
                let _ = begun.send(());
                let _ = wait.recv();
                found
            };
            asking.read(question).await
        });
        begins.await.unwrap();
        insert(&runner, 1).await.unwrap();
        let (found, ()) = tokio::join!(all(&runner), async { drop(go) });
        assert_eq!(found, [1]);
        assert_eq!(long.await.unwrap().unwrap(), Some(0), "asked before");
    }

    #[tokio::test]
    async fn a_transaction_that_sqlite_gave_up_is_told_to_everyone_in_it() {
        let (_folder, writer, reader) = folder();
        let runner = runner(writer, reader);
        let (go, held) = hold(&runner).await;
        let gives_up = runner.write(|tx| tx.execute("ROLLBACK", []));
        let (a, b, ()) = tokio::join!(insert(&runner, 1), gives_up, async { drop(go) });
        assert!(held.await.unwrap().is_err());
        assert!(a.is_err() && b.is_err());
        assert_eq!(all(&runner).await, Vec::<i64>::new());
        insert(&runner, 2).await.unwrap();
        assert_eq!(all(&runner).await, [2]);
    }

    #[tokio::test]
    async fn dropping_it_runs_what_is_queued_and_lets_the_file_go() {
        let (folder, writer, reader) = folder();
        let runner = runner(writer, reader);
        for x in 0..10 {
            insert(&runner, x).await.unwrap();
        }
        drop(runner);
        // The last connection to close folds the log into the file and removes it.
        assert!(!folder.path().join("t.db-wal").exists());
    }
}
