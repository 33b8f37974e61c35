//! A service over a real catalog and a real store, both counted, and nobody who works on its batches.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, UploadPart,
};
use tempfile::TempDir;

use crate::blobs::{Blobs, name};
use crate::budget::Budget;
use crate::catalog::sqlite::SqliteCatalog;
use crate::catalog::{
    Catalog, Cut, Demand, Leased, NewFile, PutDown, ReadyFile, Sealed, Until, Usage, Validated,
};
use crate::clock::SystemClock;
use crate::config::{Config, UpstreamConfig};
use crate::engine::{Around, Engine, Host, Workers};
use crate::error::Result;
use crate::journal::local::LocalJournal;
use crate::manifest::{LineIndex, Manifest};
use crate::model::plan::MAX_LINES;
use crate::model::space::Disk;
use crate::service::{AtWork, BatchRequest, Service};
use crate::space::Gauge;
use crate::spool::SpoolFolder;
use crate::upstream::{Keep, Routing};

pub(super) const TENANT: &str = "tenant";
const WORKER: &str = "inc_worker";
const LEASE: Duration = Duration::from_secs(600);
const LINE_BYTES: u64 = 200;

/// What a call cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    /// Of SQL, of the writer and the readers, also those that begin and end a transaction.
    pub(super) statements: u64,
    /// Of SQLite's machine, in all of them.
    pub(super) steps: u64,
    /// Calls to the object store, each part of a streamed write included.
    pub(super) blobs: u64,
}

pub(super) struct Desk {
    pub(super) service: Service,
    pub(super) catalog: Arc<SqliteCatalog>,
    blob_calls: Arc<AtomicU64>,
    _data: TempDir,
}

impl Desk {
    /// As shipped, with every bound set that a create may be held against.
    pub(super) async fn open() -> Self {
        let data = tempfile::tempdir().unwrap();
        let upstream = UpstreamConfig::new("nobody", "http://127.0.0.1:1");
        let mut config = Config::new(data.path(), vec![upstream]);
        config.tenants.everyone.stored_bytes = Some(1 << 50);
        let path = data.path().join("catalog.db");
        let catalog = Arc::new(SqliteCatalog::open(&path, Arc::new(SystemClock)).unwrap());
        let blob_calls = Arc::<AtomicU64>::default();
        let store = CountingStore {
            store: LocalFileSystem::new_with_prefix(data.path()).unwrap(),
            calls: Arc::clone(&blob_calls),
        };
        let service = service(
            config,
            Arc::clone(&catalog) as _,
            Blobs::new(Arc::new(store)),
        );
        catalog.register(WORKER, LEASE).await.unwrap();
        Self {
            service,
            catalog,
            blob_calls,
            _data: data,
        }
    }

    /// What was asked of catalog and store from the beginning of this to its end.
    pub(super) async fn cost<T>(&self, call: impl Future<Output = Result<T>>) -> (T, Cost) {
        let before = self.spent();
        let answer = call.await.unwrap();
        let after = self.spent();
        let cost = Cost {
            statements: after.statements - before.statements,
            steps: after.steps - before.steps,
            blobs: after.blobs - before.blobs,
        };
        (answer, cost)
    }

    fn spent(&self) -> Cost {
        let tally = self.catalog.tally();
        Cost {
            statements: tally.statements(),
            steps: tally.steps(),
            blobs: self.blob_calls.load(Ordering::SeqCst),
        }
    }

    /// The row and the manifest of a file of so many lines. There are no bytes: who read it would
    /// fail, after a call that is counted.
    pub(super) async fn file(&self, lines: u64) -> String {
        let id = crate::id::file();
        let new = NewFile {
            id: id.clone(),
            tenant: TENANT.to_owned(),
        };
        self.catalog.create_file(new).await.unwrap();
        let bytes = lines * LINE_BYTES;
        let (manifest, index) = (
            Manifest::whole(name::data(&id), bytes),
            LineIndex::default(),
        );
        let blobs = &self.service.blobs;
        blobs.put_map(&id, &manifest, &index).await.unwrap();
        let ready = ReadyFile {
            purpose: "batch".to_owned(),
            filename: "in.jsonl".to_owned(),
            bytes,
            lines: Some(lines),
            expires_after: None,
            piece: None,
            within: None,
            once: None,
        };
        self.catalog.ready_file(&id, ready).await.unwrap();
        id
    }

    /// A batch over such a file, which nobody has looked at yet.
    pub(super) async fn batch(&self, lines: u64) -> String {
        let request = request(self.file(lines).await);
        self.service.create_batch(TENANT, request).await.unwrap().id
    }

    /// The key of the oldest batch that nobody has looked at, held to be read.
    pub(super) async fn validating(&self) -> i64 {
        let held = self.catalog.lease_validation(WORKER).await.unwrap();
        held.unwrap().key
    }

    /// As the validation leaves a batch that it has read, without its plan: who read that would fail.
    pub(super) async fn validated(&self, lines: u64) -> String {
        let id = self.batch(lines).await;
        let key = self.validating().await;
        let found = Validated {
            total: lines,
            segments: u32::try_from(lines.div_ceil(u64::from(MAX_LINES))).unwrap(),
            only: None,
            model: Some("m".to_owned()),
            bare_suffix: None,
        };
        let validated = self.catalog.validated(WORKER, key, found);
        assert!(validated.await.unwrap());
        id
    }

    pub(super) async fn lease(&self, segments: u32) -> Vec<Leased> {
        let demand = Demand {
            segments,
            ..Demand::default()
        };
        self.catalog.lease(WORKER, demand).await.unwrap()
    }

    pub(super) async fn seal(&self, leased: &Leased) {
        let sealed = Sealed {
            span: 1,
            answers: MAX_LINES,
            errors: 0,
            ended: 0,
            answers_bytes: 1,
            errors_bytes: 0,
            usage: Usage::default(),
        };
        let seal = self.catalog.seal(WORKER, leased.key, leased.epoch, sealed);
        seal.await.unwrap();
    }

    pub(super) async fn park(&self, leased: &Leased) {
        let cut = Cut {
            epoch: leased.epoch,
            length: 0,
        };
        let park = self
            .catalog
            .park(WORKER, leased.key, PutDown::new(cut, Until::After(LEASE)));
        assert!(park.await.unwrap());
    }
}

pub(super) fn request(input_file_id: String) -> BatchRequest {
    BatchRequest {
        input_file_id,
        endpoint: "/v1/chat/completions".to_owned(),
        completion_window: "24h".to_owned(),
        ..BatchRequest::default()
    }
}

/// Its engine is told of everything and does not run: what is counted is the call's own.
fn service(config: Config, catalog: Arc<dyn Catalog>, blobs: Blobs) -> Service {
    let budget = Budget::new(config.limits.memory_bytes).unwrap();
    let keep = Keep {
        memory: budget.answers.clone(),
        spool: SpoolFolder::new(&config.data),
    };
    let journal = LocalJournal::open(&config.data.join("journal"), keep.memory.clone());
    let gauge = Gauge::new(config.data.clone());
    // Room for what is set aside for ten million lines, whatever disk the test runs on.
    gauge.pretend(Disk {
        size: 1 << 50,
        free: 1 << 49,
    });
    let config = Arc::new(config);
    let around = Around {
        catalog: Arc::clone(&catalog),
        blobs: blobs.clone(),
        journal: Arc::new(journal),
        routing: Routing::new(&config, &keep).unwrap(),
        keep,
        host: Host::machine(),
        workers: Workers::Alone,
        budget: budget.clone(),
    };
    Service {
        at_work: AtWork::default(),
        keys: Arc::default(),
        quotas: Arc::default(),
        engine: Engine::new(Arc::clone(&config), around),
        config,
        catalog,
        blobs,
        gauge,
        uploads: budget.uploads,
    }
}

/// A local store whose every call is counted.
#[derive(Debug)]
struct CountingStore {
    store: LocalFileSystem,
    calls: Arc<AtomicU64>,
}

impl CountingStore {
    fn called(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
    }
}

impl fmt::Display for CountingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, counted", self.store)
    }
}

type Stored<T> = object_store::Result<T>;

#[async_trait]
impl ObjectStore for CountingStore {
    async fn put_opts(&self, at: &Path, payload: PutPayload, how: PutOptions) -> Stored<PutResult> {
        self.called();
        self.store.put_opts(at, payload, how).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        how: PutMultipartOptions,
    ) -> Stored<Box<dyn MultipartUpload>> {
        self.called();
        Ok(Box::new(CountingUpload {
            upload: self.store.put_multipart_opts(at, how).await?,
            calls: Arc::clone(&self.calls),
        }))
    }

    async fn get_opts(&self, at: &Path, how: GetOptions) -> Stored<GetResult> {
        self.called();
        self.store.get_opts(at, how).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[std::ops::Range<u64>]) -> Stored<Vec<Bytes>> {
        self.called();
        self.store.get_ranges(at, ranges).await
    }

    fn delete_stream(
        &self,
        at: BoxStream<'static, Stored<Path>>,
    ) -> BoxStream<'static, Stored<Path>> {
        let calls = Arc::clone(&self.calls);
        let counted = at.inspect(move |_| {
            calls.fetch_add(1, Ordering::SeqCst);
        });
        self.store.delete_stream(counted.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Stored<ObjectMeta>> {
        self.called();
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Stored<ListResult> {
        self.called();
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, how: CopyOptions) -> Stored<()> {
        self.called();
        self.store.copy_opts(from, to, how).await
    }
}

/// Each part of it is a call, too.
#[derive(Debug)]
struct CountingUpload {
    upload: Box<dyn MultipartUpload>,
    calls: Arc<AtomicU64>,
}

#[async_trait]
impl MultipartUpload for CountingUpload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.upload.put_part(part)
    }

    async fn complete(&mut self) -> Stored<PutResult> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.upload.complete().await
    }

    async fn abort(&mut self) -> Stored<()> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.upload.abort().await
    }
}
