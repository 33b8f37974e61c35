//! A server on a data folder: opened, run until told to stop.

use std::fs::File;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::local::LocalFileSystem;
use tokio::net::TcpListener;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::backup;
use crate::blobs::Blobs;
use crate::budget::{Budget, Share};
use crate::catalog::Catalog;
use crate::catalog::sqlite::SqliteCatalog;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, TenantKey, UpstreamConfig};
use crate::engine::{Around, Engine, Host, Trouble, Workers};
use crate::error::{Error, ErrorKind, Result};
use crate::http::Tls;
use crate::journal::local::LocalJournal;
use crate::owner::own;
use crate::private::{make_private, make_private_inside};
use crate::service::keys::Keys;
use crate::service::quota::Quotas;
use crate::service::{Access, AtWork, Service};
use crate::space::Gauge;
use crate::spool::SpoolFolder;
use crate::upstream::http::HttpUpstream;
use crate::upstream::{Keep, Routing};

/// One server on one data folder.
#[derive(Debug)]
pub struct Server {
    service: Service,
    engine: Engine,
    tls: Option<Arc<Tls>>,
    /// Held for as long as the server lives: a folder has one owner.
    _owner: File,
}

impl Server {
    /// Opens a data folder, making it if there is none. It has one owner at a time; getting it
    /// voids the leases of whoever had it before.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`] if another process has the folder, or if its catalog is gone, damaged
    /// or of a newer release; [`ErrorKind::Invalid`] if the
    /// configuration cannot work; [`ErrorKind::Unavailable`] if the disk refuses.
    pub async fn open(config: Config) -> Result<Self> {
        Self::open_with(config, None, LocalJournal::open).await
    }

    /// As [`open`](Self::open), with a folder of inputs that are read in place; see
    /// [`Service::file_in_place`].
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_in_place(config: Config, inputs: &Path) -> Result<Self> {
        Self::open_with(config, Some(inputs), LocalJournal::open).await
    }

    /// As [`open`](Self::open), with a journal on this disk and by this clock.
    #[cfg(test)]
    pub(crate) async fn open_on(
        config: Config,
        disk: Box<dyn crate::journal::disk::Disk>,
        clock: Box<dyn crate::clock::Steady>,
    ) -> Result<Self> {
        let journal = |folder: &Path, memory| LocalJournal::on(disk, clock, folder, memory);
        Self::open_with(config, None, journal).await
    }

    async fn open_with(
        config: Config,
        inputs: Option<&Path>,
        journal: impl FnOnce(&Path, Share) -> LocalJournal,
    ) -> Result<Self> {
        let budget = Budget::new(config.limits.memory_bytes)?;
        config.keys.iter().try_for_each(TenantKey::check)?;
        config.tenants.check()?;
        let tls = config.tls.as_ref().map(Tls::open).transpose()?;
        make_private(&config.data)?;
        let owner = own(&config.data)?;
        refuse_orphans(&config.data)?;
        let folder = |name: &str| {
            let path = config.data.join(name);
            make_private_inside(&path).map(|()| path)
        };
        let (blob_folder, journal_folder) = (folder("blobs")?, folder("journal")?);
        let keep = Keep {
            memory: budget.answers.clone(),
            spool: SpoolFolder::new(&config.data),
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let catalog_path = config.data.join("catalog.db");
        let catalog: Arc<dyn Catalog> = Arc::new(SqliteCatalog::open(&catalog_path, clock)?);
        backup::warn_of_original(&config.data);
        let mut blobs = local_blobs(&blob_folder)?;
        if let Some(inputs) = inputs {
            blobs = blobs.with_in_place(Arc::new(local_store(inputs)?));
        }
        let journal = Arc::new(journal(&journal_folder, keep.memory.clone()));
        let keys = Arc::new(Keys::open(&config.keys, &*catalog).await?);
        let tenants = config.tenants.clone();
        let config = Arc::new(config);
        let around = Around {
            catalog: Arc::clone(&catalog),
            blobs: blobs.clone(),
            journal,
            routing: Routing::new(&config, &keep)?,
            keep,
            host: Host::machine(),
            workers: Workers::Alone,
            budget: budget.clone(),
        };
        let engine = Engine::new(Arc::clone(&config), around);
        engine.set_strays_aside().await?;
        let service = Service {
            gauge: Gauge::new(config.data.clone()),
            config,
            catalog,
            blobs,
            engine: engine.clone(),
            uploads: budget.uploads,
            at_work: AtWork::default(),
            keys,
            quotas: Arc::new(Quotas::new(tenants)),
        };
        Ok(Self {
            service,
            engine,
            tls: tls.map(Arc::new),
            _owner: owner,
        })
    }

    /// Whether keys are asked for, and how many there are now.
    pub fn access(&self) -> Access {
        self.service.access()
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
        crate::http::check_listener(address, self.access())?;
        let stop = tokio_util::sync::CancellationToken::new();
        let router = self.router();
        let tls = self.tls.clone();
        // Whoever runs on one thread wants one. They stay until the engine has ended, too: it may have work
        // there that a request began.
        let here = Handle::current();
        let threads = match here.runtime_flavor() {
            RuntimeFlavor::CurrentThread => None,
            _ => Some(crate::http::Threads::start()?),
        };
        let handle = threads.as_ref().map_or(&here, crate::http::Threads::handle);
        let stopped = stop.clone().cancelled_owned();
        let served = crate::http::serve(listener, router, tls, handle, stopped);
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
        let keys = self.service.watch_keys(stop.clone());
        let certificate = async {
            if let Some(tls) = &self.tls {
                tls.watch(stop.clone()).await;
            }
        };
        let (served, clean, (), ()) = tokio::join!(served, worked, keys, certificate);
        // Those of uploads that were cut off with their connections.
        self.engine.cleaned_up().await;
        served?;
        clean
    }

    /// Every route, behind every door.
    pub(crate) fn router(&self) -> axum::Router {
        crate::http::router(self.service.clone())
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
        HttpUpstream::new(self, &[], Duration::from_secs(1), 1, Keep::for_a_look()).map(drop)
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

/// Looks at the catalog of a data folder and at each of its pages, and changes nothing. The version of
/// its schema; `None` if there is no catalog, and nothing beside it that would miss one.
///
/// # Errors
///
/// [`ErrorKind::Conflict`] if it is gone, damaged, newer or foreign, with the sentence that
/// [`Server::open`] would say.
pub fn check_catalog(data: &Path) -> Result<Option<usize>> {
    refuse_orphans(data)?;
    SqliteCatalog::check(&data.join("catalog.db"))
}

/// A catalog that is gone must not be followed by an empty one: everything beside it would belong to
/// nobody, and be swept.
pub(crate) fn refuse_orphans(data: &Path) -> Result<()> {
    let has_any = |name: &str| {
        std::fs::read_dir(data.join(name)).is_ok_and(|mut entries| entries.next().is_some())
    };
    if std::fs::metadata(data.join("catalog.db")).is_ok_and(|found| found.len() > 0) {
        return Ok(());
    }
    let sentence = if data.join(backup::UNFINISHED).exists() {
        format!(
            "{} is a backup that was not finished; nothing was changed: make it again, or name another data folder",
            data.display()
        )
    } else if has_any("blobs") || has_any("journal") {
        format!(
            "the catalog of {} is gone (catalog.db), but there are files and results beside it; nothing was changed and they are safe: put the whole data folder back from a backup, or name another data folder",
            data.display()
        )
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Conflict, sentence))
}
