//! The catalog on SQLite: one file, one writer, for one process.
//!
//! This file maps each call to its function; the functions are beside it, one file for each part
//! of the story, the statements in `sql/`, the tables in `schema/`.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::ErrorCode;

use self::runner::Runner;
pub(crate) use self::snapshot::Snapshot;
use self::turns::Turns;
use super::{
    Asked, BatchRow, Cancelled, Catalog, Completion, Created, Cut, Demand, DueRows, FileQuery,
    FileRow, Finish, FinishWork, Gap, Holder, Keep, KeyRing, KeyRow, Leased, Made, Named, NewBatch,
    NewFile, NewKey, NewUpload, Once, PartRow, Publication, PutDown, ReadyFile, ReadyPart, Renewal,
    Rotated, Route, Rows, SealOutcome, Sealed, SealedRow, SealedWhole, SegmentKey, Stored,
    UploadRow, Validated, WaitingSegment,
};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::model::litter::Claim;

mod batches;
mod claims;
mod creates;
mod files;
mod finish;
mod incarnations;
#[cfg(test)]
pub(crate) mod inline;
mod keys;
mod parked;
mod reopen;
mod rows;
mod runner;
mod schema;
mod segments;
mod snapshot;
mod sql;
#[cfg(test)]
pub(crate) mod tally;
mod tenants;
mod turns;
mod uploads;
mod validation;

/// Readers beside the writer: clients that poll do not wait for each other's lists.
const READERS: usize = 2;

/// Files, batches and segments in one SQLite file.
#[derive(Debug)]
pub(crate) struct SqliteCatalog {
    runner: Runner,
    turns: Arc<Mutex<Turns>>,
}

/// What stands where a catalog should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum There {
    /// No file, or an empty one.
    None,
    /// A catalog that its next owner brings up to date.
    Older,
    /// A catalog of this release.
    Newest,
}

impl SqliteCatalog {
    /// Opens or makes the file, with its own threads. The folder is the caller's to protect.
    pub(crate) fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let writer = schema::open_writer(path)?;
        let readers = (0..READERS)
            .map(|_| schema::open_reader(path))
            .collect::<Result<_>>()?;
        let glance = schema::open_reader(path)?;
        Ok(Self::on(Runner::threads(
            writer,
            readers,
            Some(glance),
            &clock,
        )?))
    }

    /// The version of the schema of a catalog whose every page was looked at; `None` if there is no
    /// such file, or an empty one.
    pub(crate) fn check(path: &Path) -> Result<Option<usize>> {
        schema::inspect(path, u64::MAX)
    }

    /// Whether there is a catalog, and one of this release; nothing is changed or read through.
    pub(crate) fn glance(path: &Path) -> Result<There> {
        let version = schema::inspect(path, 0)?;
        Ok(
            version.map_or(There::None, |version| match schema::is_newest(version) {
                true => There::Newest,
                false => There::Older,
            }),
        )
    }

    /// A catalog that another process has open: to be asked, and never changed.
    pub(crate) fn open_beside(path: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        // In the writer's place stands a second reader: what it is told to change, it refuses.
        let [first, second] = [schema::open_beside(path)?, schema::open_beside(path)?];
        Ok(Self::on(Runner::threads(
            first,
            vec![second],
            None,
            &clock,
        )?))
    }

    /// A catalog that another process owns: to be changed a little, in transactions so short that the
    /// owner does not notice (see ADR 10).
    pub(crate) fn open_to_change_beside(path: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let (writer, reader) = (
            schema::open_to_change_beside(path)?,
            schema::open_beside(path)?,
        );
        Ok(Self::on(Runner::threads(
            writer,
            vec![reader],
            None,
            &clock,
        )?))
    }

    /// A catalog that goes with the process and runs on its callers' thread.
    #[cfg(test)]
    pub(crate) fn in_memory(clock: Arc<dyn Clock>) -> Result<Self> {
        Ok(Self::inline(inline::Inline {
            conn: Self::memory()?,
            clock,
            gate: Arc::new(inline::Open),
        }))
    }

    /// As one of several simulated processes.
    #[cfg(test)]
    pub(crate) fn inline(inline: inline::Inline) -> Self {
        Self::on(Runner::Inline(inline))
    }

    /// A database without a file.
    #[cfg(test)]
    pub(crate) fn memory() -> Result<Arc<Mutex<rusqlite::Connection>>> {
        Ok(Arc::new(Mutex::new(schema::open_memory()?)))
    }

    /// What has been asked of its file, by whichever thread.
    #[cfg(test)]
    pub(crate) fn tally(&self) -> &tally::Tally {
        self.runner.tally()
    }

    fn on(runner: Runner) -> Self {
        Self {
            runner,
            turns: Arc::default(),
        }
    }
}

#[async_trait]
impl Catalog for SqliteCatalog {
    async fn create_file(&self, file: NewFile) -> Result<()> {
        self.runner.write(move |tx| files::create(tx, &file)).await
    }

    async fn ready_file(&self, id: &str, file: ReadyFile) -> Result<FileRow> {
        let id = id.to_owned();
        self.runner
            .write(move |tx| files::ready(tx, &id, &file))
            .await
    }

    async fn abandon_file(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.runner.write(move |tx| files::abandon(tx, &id)).await
    }

    async fn file(&self, tenant: &str, id: &str) -> Result<Option<FileRow>> {
        let (tenant, id) = (tenant.to_owned(), id.to_owned());
        self.runner
            .glance(move |tx| files::get(tx, &tenant, &id))
            .await
    }

    async fn files(&self, tenant: &str, query: FileQuery) -> Result<Option<Rows<FileRow>>> {
        let tenant = tenant.to_owned();
        self.runner
            .read(move |tx| files::list(tx, &tenant, &query))
            .await
    }

    async fn delete_file(&self, tenant: &str, id: &str) -> Result<bool> {
        let (tenant, id) = (tenant.to_owned(), id.to_owned());
        self.runner
            .write(move |tx| files::delete(tx, &tenant, &id))
            .await
    }

    async fn made(&self, tenant: &str, route: Route, key: &str) -> Result<Option<Made>> {
        let (tenant, key) = (tenant.to_owned(), key.to_owned());
        self.runner
            .glance(move |tx| creates::made(tx, route, &tenant, &key))
            .await
    }

    async fn create_upload(&self, upload: NewUpload) -> Result<Asked<UploadRow>> {
        self.runner
            .write(move |tx| uploads::create(tx, &upload))
            .await
    }

    async fn upload(&self, tenant: &str, id: &str) -> Result<Option<UploadRow>> {
        let (tenant, id) = (tenant.to_owned(), id.to_owned());
        self.runner
            .glance(move |tx| uploads::get(tx, &tenant, &id))
            .await
    }

    async fn create_part(&self, tenant: &str, upload: &str, id: &str) -> Result<Asked<()>> {
        let (tenant, upload, id) = (tenant.to_owned(), upload.to_owned(), id.to_owned());
        self.runner
            .write(move |tx| uploads::create_part(tx, &tenant, &upload, &id))
            .await
    }

    async fn ready_part(&self, tenant: &str, id: &str, part: ReadyPart) -> Result<Asked<PartRow>> {
        let (tenant, id) = (tenant.to_owned(), id.to_owned());
        self.runner
            .write(move |tx| uploads::ready_part(tx, &tenant, &id, &part))
            .await
    }

    async fn abandon_part(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.runner
            .write(move |tx| uploads::abandon_part(tx, &id))
            .await
    }

    async fn part(&self, tenant: &str, id: &str) -> Result<Option<PartRow>> {
        let (tenant, id) = (tenant.to_owned(), id.to_owned());
        self.runner
            .glance(move |tx| uploads::get_part(tx, &tenant, &id))
            .await
    }

    async fn parts(&self, upload: i64) -> Result<Vec<PartRow>> {
        self.runner.read(move |tx| uploads::parts(tx, upload)).await
    }

    async fn complete_upload(
        &self,
        tenant: &str,
        id: &str,
        completion: Completion,
    ) -> Result<Asked<UploadRow>> {
        let (tenant, id) = (tenant.to_owned(), id.to_owned());
        self.runner
            .write(move |tx| uploads::complete(tx, &tenant, &id, &completion))
            .await
    }

    async fn cancel_upload(
        &self,
        tenant: &str,
        id: &str,
        once: Option<Once>,
    ) -> Result<Asked<UploadRow>> {
        let (tenant, id) = (tenant.to_owned(), id.to_owned());
        self.runner
            .write(move |tx| uploads::cancel(tx, &tenant, &id, once.as_ref()))
            .await
    }

    async fn stored(&self, tenant: &str) -> Result<Stored> {
        let tenant = tenant.to_owned();
        self.runner.read(move |tx| tenants::of(tx, &tenant)).await
    }

    async fn stored_by_all(&self) -> Result<Stored> {
        self.runner.read(tenants::of_everyone).await
    }

    async fn sweepable_files(&self, unreadable: Duration, limit: u32) -> Result<Vec<FileRow>> {
        self.runner
            .write(move |tx| files::sweepable(tx, unreadable, limit))
            .await
    }

    async fn file_swept(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.runner.write(move |tx| files::swept(tx, &id)).await
    }

    async fn sweepable_batches(&self, after: i64, limit: u32) -> Result<Vec<BatchRow>> {
        self.runner
            .read(move |tx| batches::sweepable(tx, after, limit))
            .await
    }

    async fn batch_swept(&self, batch: i64) -> Result<()> {
        self.runner.write(move |tx| batches::swept(tx, batch)).await
    }

    async fn sweepable_uploads(&self, limit: u32) -> Result<Vec<UploadRow>> {
        self.runner
            .write(move |tx| uploads::sweepable(tx, limit))
            .await
    }

    async fn upload_swept(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.runner.write(move |tx| uploads::swept(tx, &id)).await
    }

    async fn sweepable_parts(&self, limit: u32) -> Result<Vec<(String, String)>> {
        self.runner
            .read(move |tx| uploads::sweepable_parts(tx, limit))
            .await
    }

    async fn forget_creates(&self, limit: u32) -> Result<u32> {
        self.runner
            .write(move |tx| creates::forget(tx, limit))
            .await
    }

    async fn forget_files(&self, unreadable: Duration, limit: u32) -> Result<u32> {
        self.runner
            .write(move |tx| files::forget(tx, unreadable, limit))
            .await
    }

    async fn forget_batches(&self, ended: Duration, limit: u32) -> Result<u32> {
        self.runner
            .write(move |tx| batches::forget(tx, ended, limit))
            .await
    }

    async fn forget_uploads(&self, limit: u32) -> Result<u32> {
        self.runner
            .write(move |tx| uploads::forget(tx, limit))
            .await
    }

    async fn claims(&self, names: Vec<Named>, keep: Keep) -> Result<Vec<Claim>> {
        self.runner
            .read(move |tx| claims::of(tx, &names, keep))
            .await
    }

    async fn due_rows(&self, keep: Keep) -> Result<DueRows> {
        self.runner.read(move |tx| claims::due_rows(tx, keep)).await
    }

    async fn create_batch(&self, batch: NewBatch) -> Result<Created> {
        self.runner
            .write(move |tx| creates::create(tx, &batch))
            .await
    }

    async fn batch(&self, tenant: &str, id: &str) -> Result<Option<BatchRow>> {
        let (tenant, id) = (tenant.to_owned(), id.to_owned());
        self.runner
            .glance(move |tx| batches::get(tx, &tenant, &id))
            .await
    }

    async fn batches(
        &self,
        tenant: &str,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Option<Rows<BatchRow>>> {
        let (tenant, after) = (tenant.to_owned(), after.map(str::to_owned));
        self.runner
            .read(move |tx| batches::list(tx, &tenant, limit, after.as_deref()))
            .await
    }

    async fn cancel_batch(&self, tenant: &str, id: &str) -> Result<Cancelled> {
        let (tenant, id) = (tenant.to_owned(), id.to_owned());
        self.runner
            .write(move |tx| batches::cancel(tx, &tenant, &id))
            .await
    }

    async fn register(&self, incarnation: &str, lease: Duration) -> Result<()> {
        let incarnation = incarnation.to_owned();
        self.runner
            .write(move |tx| incarnations::register(tx, &incarnation, lease))
            .await
    }

    async fn void_other_leases(&self, incarnation: &str) -> Result<()> {
        let incarnation = incarnation.to_owned();
        self.runner
            .write(move |tx| incarnations::void_others(tx, &incarnation))
            .await
    }

    async fn renew(
        &self,
        incarnation: &str,
        lease: Duration,
        publications: &[Publication],
    ) -> Result<Renewal> {
        let (incarnation, publications) = (incarnation.to_owned(), publications.to_vec());
        self.runner
            .write(move |tx| incarnations::renew(tx, &incarnation, lease, &publications))
            .await
    }

    async fn deregister(&self, incarnation: &str) -> Result<()> {
        let incarnation = incarnation.to_owned();
        self.runner
            .write(move |tx| incarnations::forget(tx, &incarnation))
            .await
    }

    async fn lease_validation(&self, incarnation: &str) -> Result<Option<BatchRow>> {
        let incarnation = incarnation.to_owned();
        self.runner
            .write(move |tx| validation::lease(tx, &incarnation))
            .await
    }

    async fn validated(&self, incarnation: &str, batch: i64, found: Validated) -> Result<bool> {
        let incarnation = incarnation.to_owned();
        self.runner
            .write(move |tx| validation::validated(tx, &incarnation, batch, &found))
            .await
    }

    async fn input(&self, batch: i64) -> Result<Option<FileRow>> {
        self.runner.read(move |tx| files::input(tx, batch)).await
    }

    async fn retried_errors(&self, batch: i64) -> Result<Option<FileRow>> {
        self.runner
            .read(move |tx| files::retried_errors(tx, batch))
            .await
    }

    async fn refuse_batch(&self, incarnation: &str, batch: i64, errors: String) -> Result<bool> {
        let incarnation = incarnation.to_owned();
        self.runner
            .write(move |tx| validation::refuse(tx, &incarnation, batch, &errors))
            .await
    }

    async fn lease(&self, incarnation: &str, demand: Demand) -> Result<Vec<Leased>> {
        let (incarnation, turns) = (incarnation.to_owned(), Arc::clone(&self.turns));
        self.runner
            .write(move |tx| {
                // Whatever a panic left there only decides who is next.
                let mut turns = turns.lock().unwrap_or_else(PoisonError::into_inner);
                segments::lease(tx, &mut turns, &incarnation, &demand)
            })
            .await
    }

    async fn leased_batch(&self, batch: i64) -> Result<Option<BatchRow>> {
        self.runner.read(move |tx| batches::by_key(tx, batch)).await
    }

    async fn fence(
        &self,
        incarnation: &str,
        key: SegmentKey,
        epoch: u32,
        cut: Cut,
    ) -> Result<bool> {
        let incarnation = incarnation.to_owned();
        self.runner
            .write(move |tx| segments::fence(tx, &incarnation, key, epoch, cut))
            .await
    }

    async fn park(&self, incarnation: &str, key: SegmentKey, put_down: PutDown) -> Result<bool> {
        let incarnation = incarnation.to_owned();
        self.runner
            .write(move |tx| parked::park(tx, &incarnation, key, &put_down))
            .await
    }

    async fn let_go(&self, incarnation: &str, key: SegmentKey, epoch: u32) -> Result<()> {
        let incarnation = incarnation.to_owned();
        self.runner
            .write(move |tx| segments::let_go(tx, &incarnation, key, epoch))
            .await
    }

    async fn seal(
        &self,
        incarnation: &str,
        key: SegmentKey,
        epoch: u32,
        sealed: Sealed,
    ) -> Result<SealOutcome> {
        let incarnation = incarnation.to_owned();
        self.runner
            .write(move |tx| segments::seal(tx, &incarnation, key, epoch, &sealed))
            .await
    }

    async fn seal_whole(
        &self,
        incarnation: &str,
        key: SegmentKey,
        epoch: u32,
        whole: SealedWhole,
    ) -> Result<SealOutcome> {
        let incarnation = incarnation.to_owned();
        self.runner
            .write(move |tx| finish::seal_whole(tx, &incarnation, key, epoch, whole))
            .await
    }

    async fn lease_finish(&self, incarnation: &str) -> Result<Option<FinishWork>> {
        let incarnation = incarnation.to_owned();
        self.runner
            .write(move |tx| finish::lease(tx, &incarnation))
            .await
    }

    async fn sealed_segments(&self, batch: i64, from: u32, limit: u32) -> Result<Vec<SealedRow>> {
        self.runner
            .read(move |tx| segments::sealed(tx, batch, from, limit))
            .await
    }

    async fn waiting_segments(&self, batch: i64) -> Result<Vec<WaitingSegment>> {
        self.runner
            .read(move |tx| segments::waiting(tx, batch))
            .await
    }

    async fn reopen(&self, incarnation: &str, batch: i64, gaps: Vec<Gap>) -> Result<bool> {
        let incarnation = incarnation.to_owned();
        self.runner
            .write(move |tx| reopen::reopen(tx, &incarnation, batch, &gaps))
            .await
    }

    async fn finish(&self, incarnation: &str, batch: i64, finish: Finish) -> Result<bool> {
        let incarnation = incarnation.to_owned();
        self.runner
            .write(move |tx| finish::finish(tx, &incarnation, batch, &finish))
            .await
    }

    async fn expire_due(&self) -> Result<u32> {
        self.runner.write(batches::expire_due).await
    }

    async fn create_key(&self, holder: Holder, key: NewKey) -> Result<KeyRow> {
        self.runner
            .write(move |tx| keys::create(tx, &holder, &key))
            .await
    }

    async fn keys(&self) -> Result<Vec<KeyRow>> {
        self.runner.read(keys::list).await
    }

    async fn end_key(&self, id: &str, grace: Duration) -> Result<Option<KeyRow>> {
        let id = id.to_owned();
        self.runner.write(move |tx| keys::end(tx, &id, grace)).await
    }

    async fn rotate_key(&self, id: &str, key: NewKey, grace: Duration) -> Result<Option<Rotated>> {
        let id = id.to_owned();
        self.runner
            .write(move |tx| keys::rotate(tx, &id, &key, grace))
            .await
    }

    async fn key_ring(&self, known: Option<u64>) -> Result<Option<KeyRing>> {
        self.runner.read(move |tx| keys::ring(tx, known)).await
    }

    async fn keys_used(&self, ids: &[String]) -> Result<()> {
        let ids = ids.to_vec();
        self.runner.write(move |tx| keys::used(tx, &ids)).await
    }

    async fn open_batches(&self) -> Result<u64> {
        self.runner.read(batches::open).await
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            // Waiting does not mend it. Without a source, so that a client is told the sentence.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::new(
                ErrorKind::Unavailable,
                format!(
                    "the catalog is damaged ({error}); what was recorded stays: stop the server and put the data folder back from a backup"
                ),
            ),
            _ => Self::storage("the catalog failed", error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use futures_util::future::join_all;

    use super::super::{BatchOptions, Bounds, DryBatch, LaneMark, Until, Usage};
    use super::*;
    use crate::clock::{ManualClock, SystemClock};
    use crate::model::batch::BatchState;

    const LEASE: Duration = Duration::from_secs(600);

    fn new_batch(id: &str) -> NewBatch {
        NewBatch {
            id: id.to_owned(),
            tenant: "tenant".to_owned(),
            input_file_id: "file-input".to_owned(),
            endpoint: "/v1/chat/completions".to_owned(),
            completion_window: "24h".to_owned(),
            expires_after: None,
            metadata: None,
            options: BatchOptions::default(),
            retry: None,
            lines: None,
            once: None,
            bounds: Bounds::default(),
            validator: None,
        }
    }

    fn open(folder: &Path) -> SqliteCatalog {
        SqliteCatalog::open(&folder.join("catalog.db"), Arc::new(SystemClock)).unwrap()
    }

    fn sealed(leased: &Leased) -> Sealed {
        Sealed {
            span: leased.span,
            answers: 1_000,
            errors: 0,
            ended: 0,
            answers_bytes: 1 << 20,
            errors_bytes: 0,
            usage: Usage::default(),
        }
    }

    async fn running(catalog: &SqliteCatalog, segments: u32) -> i64 {
        catalog.register("inc", LEASE).await.unwrap();
        let created = catalog.create_batch(new_batch("batch_1")).await.unwrap();
        let Created::New(made) = created else {
            panic!("not made")
        };
        let key = made.key;
        catalog.lease_validation("inc").await.unwrap().unwrap();
        let total = u64::from(segments) * 1_000;
        let found = Validated {
            total,
            segments,
            only: None,
            model: None,
            bare_suffix: None,
        };
        assert!(catalog.validated("inc", key, found).await.unwrap());
        key
    }

    /// Prints, but asserts no time: disks differ.
    #[tokio::test]
    async fn ten_thousand_segments_are_leased_and_sealed_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = open(folder.path());
        let key = running(&catalog, 10_000).await;
        let begin = Instant::now();
        loop {
            let leased = catalog
                .lease(
                    "inc",
                    Demand {
                        segments: 64,
                        ..Demand::default()
                    },
                )
                .await
                .unwrap();
            if leased.is_empty() {
                break;
            }
            let seals = leased
                .iter()
                .map(|l| catalog.seal("inc", l.key, l.epoch, sealed(l)));
            join_all(seals).await.into_iter().for_each(|outcome| {
                outcome.unwrap();
            });
        }
        println!(
            "10,000 lease + seal, groups of 64, on disk: {:?}",
            begin.elapsed()
        );
        let row = catalog.leased_batch(key).await.unwrap().unwrap();
        assert_eq!(
            (row.state, row.completed),
            (BatchState::Finalizing, 10_000_000)
        );
    }

    #[tokio::test]
    async fn what_a_call_returned_is_there_after_the_catalog_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = open(folder.path());
        let key = running(&catalog, 2).await;
        let leased = catalog
            .lease(
                "inc",
                Demand {
                    segments: 1,
                    ..Demand::default()
                },
            )
            .await
            .unwrap();
        catalog
            .seal("inc", leased[0].key, leased[0].epoch, sealed(&leased[0]))
            .await
            .unwrap();
        let before = catalog.leased_batch(key).await.unwrap();
        drop(catalog);

        let catalog = open(folder.path());
        assert_eq!(catalog.leased_batch(key).await.unwrap(), before);
        let leased = catalog
            .lease(
                "inc",
                Demand {
                    segments: 9,
                    ..Demand::default()
                },
            )
            .await
            .unwrap();
        assert_eq!(leased.iter().map(|l| l.key.index).collect::<Vec<_>>(), [1]);
    }

    #[tokio::test]
    async fn a_hundred_workers_never_lease_the_same_segment() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = open(folder.path());
        running(&catalog, 250).await;
        let names: Vec<_> = (0..100).map(|n| format!("inc_{n}")).collect();
        join_all(names.iter().map(|name| catalog.register(name, LEASE))).await;
        let leases = names.iter().map(|name| {
            catalog.lease(
                name,
                Demand {
                    segments: 3,
                    ..Demand::default()
                },
            )
        });
        let leased = join_all(leases).await.into_iter().flat_map(Result::unwrap);
        let mut indexes: Vec<_> = leased.map(|l| l.key.index).collect();
        indexes.sort_unstable();
        assert_eq!(indexes, (0..250).collect::<Vec<_>>());
    }

    /// What of a batch is kept by deltas, and the same by counting.
    const BY_DELTAS: &str = "SELECT format('%d %d %d %d %d %d', cursor, done_segments,
        open_segments, parked_segments, open_runs, completed) FROM batches WHERE key = ?1";
    const BY_SCAN: &str = "SELECT format('%d %d %d %d %d %d', coalesce(max(idx + span), 0),
        coalesce(sum(span) FILTER (WHERE state = 'sealed'), 0),
        count(*) FILTER (WHERE state = 'open'), count(*) FILTER (WHERE state = 'parked'),
        count(*) FILTER (WHERE state <> 'sealed' AND filler),
        coalesce(sum(iif(state = 'sealed', answers, published_answers)), 0))
        FROM segments WHERE batch = ?1";

    async fn counts(catalog: &SqliteCatalog, sql: &'static str, key: i64) -> String {
        catalog
            .runner
            .read(move |tx| tx.row(sql, [key], |row| row.get(0)))
            .await
            .unwrap()
            .unwrap()
    }

    fn any_dry(batch: i64) -> DryBatch {
        let lane = (batch != 1).then(|| any_lane(0));
        DryBatch { batch, lane }
    }

    fn any_lane(n: u8) -> LaneMark {
        LaneMark::new("upstream", &n.to_string())
    }

    /// One random thing that one of three workers does with a segment it holds or has lost.
    async fn one_step(
        catalog: &SqliteCatalog,
        clock: &ManualClock,
        chance: &mut fastrand::Rng,
        held: &mut Vec<(String, Leased)>,
    ) {
        let worker = format!("inc_{}", chance.u8(0..3));
        let any = (!held.is_empty()).then(|| chance.usize(0..held.len()));
        match (chance.u8(0..10), any) {
            (0..=2, _) => {
                catalog.renew(&worker, LEASE, &[]).await.unwrap();
                let demand = Demand {
                    segments: chance.u32(0..5),
                    dry: (0..chance.i64(0..3)).map(any_dry).collect(),
                    dry_segments: chance.u32(0..3),
                    runs: chance.u32(0..3),
                    shut: (0..chance.u8(0..3)).map(any_lane).collect(),
                };
                let leased = catalog.lease(&worker, demand).await.unwrap();
                held.extend(leased.into_iter().map(|leased| (worker.clone(), leased)));
            }
            (3, _) => clock.advance(LEASE * chance.u32(0..2)),
            (4..=5, Some(any)) => {
                let (owner, leased) = &held[any];
                let answers = chance.u32(0..500);
                let Leased { key, epoch, .. } = *leased;
                let publication = Publication {
                    key,
                    epoch,
                    answers,
                    errors: 0,
                };
                catalog.renew(owner, LEASE, &[publication]).await.unwrap();
            }
            (6, Some(any)) => {
                let (owner, leased) = held.swap_remove(any);
                let cut = Cut {
                    epoch: leased.epoch,
                    length: 5,
                };
                let until = match chance.u8(0..3) {
                    0 => Until::NextLease,
                    1 => Until::After(LEASE),
                    _ => Until::Open(any_lane(chance.u8(0..3))),
                };
                let put_down = PutDown {
                    cut,
                    until,
                    counts: (chance.u32(0..500), 0),
                    refused_for: None,
                };
                catalog.park(&owner, leased.key, put_down).await.unwrap();
            }
            (7..=9, Some(any)) => {
                let (owner, leased) = held.swap_remove(any);
                catalog
                    .seal(&owner, leased.key, leased.epoch, sealed(&leased))
                    .await
                    .unwrap();
            }
            _ => {}
        }
    }

    /// What tenants have by deltas, and the same by counting.
    const STORED_BY_DELTAS: &str = "SELECT group_concat(format('%s %d %d %d %d', name,
        stored_bytes, reserved_bytes, open_batches, enqueued_lines), '; ' ORDER BY name)
        FROM tenants WHERE ?1 = 0";
    const STORED_BY_SCAN: &str = "WITH held (name, bytes, reserved, batches, lines) AS (
            SELECT tenant, bytes, 0, 0, 0 FROM files WHERE state = 'ready'
            UNION ALL
            SELECT u.tenant, p.bytes, 0, 0, 0 FROM upload_parts p JOIN uploads u ON u.key = p.upload
            WHERE u.state = 'pending' AND p.state = 'ready'
            UNION ALL
            SELECT b.tenant, 0, 300 * coalesce(f.lines, 0), 1, coalesce(f.lines, 0)
            FROM batches b LEFT JOIN files f ON f.id = b.input_file_id
                AND json_extract(b.options, '$.input_there')
            WHERE b.state = 'validating'
        ), sums AS (
            SELECT name, sum(bytes) AS b, sum(reserved) AS r, sum(batches) AS n, sum(lines) AS l
            FROM held GROUP BY name
            UNION ALL
            SELECT '', sum(bytes), sum(reserved), sum(batches), sum(lines) FROM held
        )
        SELECT group_concat(format('%s %d %d %d %d', t.name, b, r, n, l), '; ' ORDER BY t.name)
        FROM tenants t LEFT JOIN sums USING (name) WHERE ?1 = 0";

    /// One random thing that a tenant does with one of its uploads.
    async fn one_call_of_an_upload(
        catalog: &SqliteCatalog,
        tenant: &str,
        chance: &mut fastrand::Rng,
    ) {
        let id = format!("upload_{tenant}-{}", chance.u8(0..6));
        let part = format!("part_of_{id}-{}", chance.u8(0..3));
        let file = format!("file-of-{id}");
        match chance.u8(0..5) {
            0 => {
                let new = NewUpload {
                    id,
                    tenant: tenant.to_owned(),
                    filename: "in.jsonl".to_owned(),
                    purpose: "batch".to_owned(),
                    bytes: 10,
                    expires_after: LEASE,
                    file_expires_after: chance.bool().then_some(LEASE),
                    once: None,
                };
                // Its id may be taken, here and below.
                let _ = catalog.create_upload(new).await;
            }
            1..=2 => {
                let _ = catalog.create_part(tenant, &id, &part).await;
                let ready = ReadyPart {
                    bytes: chance.u64(5..15),
                    breaks: 0,
                    ends_line: false,
                    index_bytes: 0,
                    within: chance.bool().then_some(3_000),
                    once: None,
                };
                let _ = catalog.ready_part(tenant, &part, ready).await;
            }
            3 => {
                let new = NewFile {
                    id: file.clone(),
                    tenant: tenant.to_owned(),
                };
                let _ = catalog.create_file(new).await;
                let completion = Completion {
                    parts: vec![part],
                    file_id: file,
                    lines: 1,
                    once: None,
                };
                let _ = catalog.complete_upload(tenant, &id, completion).await;
            }
            _ => drop(catalog.cancel_upload(tenant, &id, None).await.unwrap()),
        }
    }

    /// One random thing that one of two tenants does with one of its files or batches.
    async fn one_call(catalog: &SqliteCatalog, clock: &ManualClock, chance: &mut fastrand::Rng) {
        let tenant = ["tenant", "other"][chance.usize(0..2)];
        // Neighbours of the two that are often the same, so that calls meet.
        let file = format!("file-{tenant}-{}", chance.u8(0..9));
        let batch = format!("batch_{tenant}-{}", chance.u8(0..40));
        match chance.u8(0..11) {
            8..=10 => one_call_of_an_upload(catalog, tenant, chance).await,
            0..=1 => {
                let new = NewFile {
                    id: file.clone(),
                    tenant: tenant.to_owned(),
                };
                // Its id may be taken.
                let _ = catalog.create_file(new).await;
                let bytes = chance.u64(1..1_000);
                let ready = ReadyFile {
                    purpose: "batch".to_owned(),
                    filename: "in.jsonl".to_owned(),
                    bytes,
                    lines: Some(bytes / 10),
                    expires_after: chance.bool().then_some(LEASE),
                    piece: None,
                    within: chance.bool().then_some(3_000),
                    once: None,
                };
                // It may be ready, or too large.
                let _ = catalog.ready_file(&file, ready).await;
            }
            2 => drop(catalog.delete_file(tenant, &file).await.unwrap()),
            3 => {
                clock.advance(LEASE / 4);
                for file in catalog.sweepable_files(Duration::ZERO, 2).await.unwrap() {
                    catalog.file_swept(&file.id).await.unwrap();
                }
                for upload in catalog.sweepable_uploads(2).await.unwrap() {
                    catalog.upload_swept(&upload.id).await.unwrap();
                }
            }
            4..=5 => {
                let new = NewBatch {
                    tenant: tenant.to_owned(),
                    input_file_id: file,
                    bounds: Bounds {
                        tenant: Some(50_000),
                        promised: Some(60_000),
                        open_batches: chance.bool().then_some(12),
                        enqueued_lines: chance.bool().then_some(150),
                    },
                    ..new_batch(&batch)
                };
                // Its id may be taken.
                let _ = catalog.create_batch(new).await;
            }
            _ => drop(catalog.cancel_batch(tenant, &batch).await.unwrap()),
        }
    }

    #[tokio::test]
    async fn what_tenants_have_by_deltas_is_what_a_scan_finds_whatever_happens() {
        for seed in 0..20 {
            let clock = ManualClock::at(1_700_000_000_000);
            let catalog = SqliteCatalog::in_memory(Arc::new(clock.clone())).unwrap();
            let mut chance = fastrand::Rng::with_seed(seed);
            for _ in 0..400 {
                one_call(&catalog, &clock, &mut chance).await;
            }
            let by_deltas = counts(&catalog, STORED_BY_DELTAS, 0).await;
            let by_scan = counts(&catalog, STORED_BY_SCAN, 0).await;
            assert_eq!(by_deltas, by_scan, "seed {seed}");
            assert!(by_deltas.contains("; tenant "), "{by_deltas}");
        }
    }

    #[tokio::test]
    async fn counts_kept_by_deltas_are_those_of_a_scan_whatever_happens() {
        for seed in 0..20 {
            let clock = ManualClock::at(1_700_000_000_000);
            let catalog = SqliteCatalog::in_memory(Arc::new(clock.clone())).unwrap();
            let mut chance = fastrand::Rng::with_seed(seed);
            for worker in 0..3 {
                catalog
                    .register(&format!("inc_{worker}"), LEASE)
                    .await
                    .unwrap();
            }
            let key = running(&catalog, 600).await;
            let (mut held, mut told) = (Vec::new(), 0);
            for step in 0..400 {
                if step == 200 {
                    catalog.cancel_batch("tenant", "batch_1").await.unwrap();
                }
                one_step(&catalog, &clock, &mut chance, &mut held).await;
                let completed = catalog.leased_batch(key).await.unwrap().unwrap().completed;
                assert!(completed >= told, "seed {seed}: {completed} after {told}");
                told = completed;
            }
            let by_deltas = counts(&catalog, BY_DELTAS, key).await;
            assert_eq!(
                by_deltas,
                counts(&catalog, BY_SCAN, key).await,
                "seed {seed}"
            );
        }
    }
}
