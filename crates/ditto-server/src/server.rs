//! A server on a data folder: opened, run until told to stop.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::future::Future;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::local::LocalFileSystem;
use tokio::net::TcpListener;

use crate::blobs::Blobs;
use crate::catalog::Catalog;
use crate::catalog::sqlite::SqliteCatalog;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, UpstreamConfig};
use crate::engine::{Around, Engine, Host, Trouble, Workers};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::local::LocalJournal;
use crate::service::Service;
use crate::space::Gauge;
use crate::upstream::Routing;
use crate::upstream::http::HttpUpstream;

/// One server on one data folder.
#[derive(Debug)]
pub struct Server {
    service: Service,
    engine: Engine,
    config: Arc<Config>,
    /// Held for as long as the server lives: a folder has one owner.
    _owner: File,
}

impl Server {
    /// Opens a data folder, making it if there is none. It has one owner at a time; getting it
    /// voids the leases of whoever had it before.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`] if another process has the folder; [`ErrorKind::Invalid`] if the
    /// configuration cannot work; [`ErrorKind::Unavailable`] if the disk refuses.
    pub async fn open(config: Config) -> Result<Self> {
        Self::open_with(config, None).await
    }

    /// As [`open`](Self::open), with a folder of inputs that are read in place; see
    /// [`Service::file_in_place`].
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_in_place(config: Config, inputs: &Path) -> Result<Self> {
        Self::open_with(config, Some(inputs)).await
    }

    async fn open_with(config: Config, inputs: Option<&Path>) -> Result<Self> {
        make_private(&config.data)?;
        let owner = own(&config.data)?;
        let folder = |name: &str| {
            let path = config.data.join(name);
            make_private(&path).map(|()| path)
        };
        let (blob_folder, journal_folder) = (folder("blobs")?, folder("journal")?);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let catalog_path = config.data.join("catalog.db");
        let catalog: Arc<dyn Catalog> = Arc::new(SqliteCatalog::open(&catalog_path, clock)?);
        let mut blobs = local_blobs(&blob_folder)?;
        if let Some(inputs) = inputs {
            blobs = blobs.with_in_place(Arc::new(local_store(inputs)?));
        }
        let journal = Arc::new(LocalJournal::open(&journal_folder));
        let config = Arc::new(config);
        let around = Around {
            catalog: Arc::clone(&catalog),
            blobs: blobs.clone(),
            journal,
            routing: Routing::new(&config)?,
            host: Host::machine(),
            workers: Workers::Alone,
        };
        let engine = Engine::new(Arc::clone(&config), around);
        let service = Service {
            gauge: Gauge::new(config.data.clone()),
            config: Arc::clone(&config),
            catalog,
            blobs,
            engine: engine.clone(),
        };
        Ok(Self {
            service,
            engine,
            config,
            _owner: owner,
        })
    }

    /// What a client may ask, without HTTP.
    pub fn service(&self) -> Service {
        self.service.clone()
    }

    /// Serves HTTP and answers lines until `shutdown`, then drains. Returns whether everything in
    /// flight ended within the grace.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] if the listener is not on loopback and there are no keys.
    pub async fn run(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<bool> {
        let address = listener
            .local_addr()
            .map_err(|e| Error::storage("the listener has no address", e))?;
        crate::http::check_listener(address, &self.config)?;
        let stop = tokio_util::sync::CancellationToken::new();
        let router = crate::http::router(self.service.clone(), Arc::clone(&self.config));
        let served = crate::http::serve(listener, router, stop.clone().cancelled_owned());
        let engine = self.engine.clone();
        let worked = async {
            let clean = engine
                .run(async {
                    shutdown.await;
                    stop.cancel();
                })
                .await;
            // Also when the engine could not start: nobody should wait for HTTP then.
            stop.cancel();
            clean
        };
        let (served, clean) = tokio::join!(served, worked);
        served?;
        clean
    }

    /// Answers lines until `shutdown`, without HTTP: for `run`.
    ///
    /// # Errors
    ///
    /// If the catalog cannot be written.
    pub async fn run_engine(self, shutdown: impl Future<Output = ()> + Send) -> Result<bool> {
        self.engine.run(shutdown).await
    }
}

impl UpstreamConfig {
    /// Whether a server could use this upstream. Nothing is sent.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] with a sentence about the URL or the key.
    pub fn check(&self) -> Result<()> {
        HttpUpstream::new(self, &[], Duration::from_secs(1), 1).map(drop)
    }
}

impl Service {
    /// What stopped a batch and needs a person, if anything.
    pub fn trouble(&self) -> Option<Trouble> {
        self.engine.trouble()
    }
}

/// Blobs in a local folder, durable when a write returns.
pub(crate) fn local_blobs(folder: &Path) -> Result<Blobs> {
    let store = local_store(folder)?.with_fsync(true);
    Ok(Blobs::new(Arc::new(store)).in_folder(folder))
}

fn local_store(folder: &Path) -> Result<LocalFileSystem> {
    LocalFileSystem::new_with_prefix(folder)
        .map_err(|e| Error::storage(format!("open {}", folder.display()), e))
}

fn make_private(folder: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| Error::storage(format!("make the folder {}", folder.display()), e))
}

/// Locks the folder. The lock goes with the process, however it ends.
pub(crate) fn own(folder: &Path) -> Result<File> {
    let path: PathBuf = folder.join("owner.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|e| Error::storage(format!("open {}", path.display()), e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "the data folder {} is in use by another process; nothing was changed: stop that process, or give another folder",
                folder.display()
            ),
        )),
        Err(TryLockError::Error(e)) => Err(Error::storage(format!("lock {}", path.display()), e)),
    }
}
