//! What may go from a data folder without its server: taken away, or only looked at.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::budget::Share;
use crate::catalog::sqlite::SqliteCatalog;
use crate::catalog::{Catalog, DueRows, Keep};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::folder::Tally;
use crate::hold::Hold;
use crate::journal::local::LocalJournal;
use crate::model::litter::Due;
use crate::owner::{Looked, look, own};
use crate::server::local_blobs;
use crate::sweep::{Act, Notice, READERS, Survey, Sweeper};

/// The catalog's file, and the log beside it that may hold its newest rows.
const CATALOG: [&str; 2] = ["catalog.db", "catalog.db-wal"];

/// What went, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Files that were deleted or have expired, and those that nobody sent to their end.
    pub files: Tally,
    /// Blobs of batches that have no result file any more.
    pub batches: Tally,
    /// Parts of uploads that became no file, or that their file is made without.
    pub uploads: Tally,
    /// What crashes left, as far as a row says that it is of no use.
    pub litter: Tally,
    /// What no row knows, older than a day.
    pub unknown: Tally,
    /// What no row knows and is younger: it stays.
    pub young: Tally,
    /// Some of what no row knows, by name.
    pub first_unknown: Vec<String>,
    /// Creates that no repeat can mean any more.
    pub create_rows: u64,
    /// Files that are gone for longer than they are known.
    pub file_rows: u64,
    /// Batches that have ended for longer than they are known.
    pub batch_rows: u64,
    /// Uploads that have ended for longer than they are known.
    pub upload_rows: u64,
}

/// Takes away what may go from a folder that no server uses; `retention` as in
/// [`Config`](crate::Config).
///
/// # Errors
///
/// [`ErrorKind::Missing`] if there is no catalog in it,
/// [`ErrorKind::Conflict`] if a server has it or a
/// backup copies it.
pub async fn collect_garbage(data: &Path, retention: Duration) -> Result<Garbage> {
    require_catalog(data)?;
    let _owner = own(data)?;
    let Some(_pass) = Hold::of(data).pass() else {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "a backup copies {}; nothing was removed: wait for its end and give the command again",
                data.display()
            ),
        ));
    };
    let catalog = SqliteCatalog::open(&data.join(CATALOG[0]), clock())?;
    // The folder is ours alone: nobody is reading what he may not ask for any more.
    let sweeper = sweeper(data, Arc::new(catalog), Duration::ZERO, retention)?;
    // Rows first: those whose bytes go now stay for the next time, and a look before says the same.
    let rows = sweeper.rows().await?;
    let files = sweeper.files().await?;
    let batches = sweeper.batches().await?;
    let uploads = sweeper.uploads().await?;
    let survey = sweeper.survey(Act::All).await?;
    Ok(Garbage {
        files,
        batches,
        uploads,
        ..garbage(survey, rows)
    })
}

/// Looks what [`collect_garbage`] would take away and changes nothing, also beside a running server:
/// then it is what the server's own rounds are about to take.
///
/// # Errors
///
/// [`ErrorKind::Missing`](crate::ErrorKind::Missing) if there is no catalog in it.
pub async fn find_garbage(data: &Path, retention: Duration) -> Result<Garbage> {
    require_catalog(data)?;
    let look = Look::at(data)?;
    let sweeper = sweeper(data, Arc::clone(&look.catalog), look.readers, retention)?;
    let survey = sweeper.survey(Act::Look).await?;
    let rows = sweeper.catalog.due_rows(sweeper.keep).await?;
    Ok(garbage(survey, rows))
}

fn garbage(survey: Survey, rows: DueRows) -> Garbage {
    let due = |due| survey.due.get(&due).copied().unwrap_or_default();
    Garbage {
        files: due(Due::File),
        batches: due(Due::Batch),
        uploads: due(Due::Upload),
        litter: survey.litter,
        unknown: survey.unknown,
        young: survey.young,
        first_unknown: survey.first_unknown,
        create_rows: rows.creates,
        file_rows: rows.files,
        batch_rows: rows.batches,
        upload_rows: rows.uploads,
    }
}

fn sweeper(
    data: &Path,
    catalog: Arc<dyn Catalog>,
    readers: Duration,
    retention: Duration,
) -> Result<Sweeper> {
    Ok(Sweeper {
        catalog,
        blobs: local_blobs(&data.join("blobs"))?,
        journal: Arc::new(LocalJournal::open(&data.join("journal"), Share::new(0))),
        hold: Hold::of(data),
        notice: Notice::of(data),
        keep: Keep {
            bytes: readers,
            rows: retention,
        },
    })
}

/// A catalog to be looked at.
struct Look {
    catalog: Arc<dyn Catalog>,
    /// How long bytes are kept for readers: a folder without a server has none.
    readers: Duration,
    /// What the catalog was copied to: opening it where it is could fold its log into it.
    _copy: Option<TempDir>,
}

impl Look {
    fn at(data: &Path) -> Result<Self> {
        // Held until the copy is made, and not longer: a server that starts then is not refused.
        let owner = look(data)
            .map_err(|e| Error::storage(format!("look who has {}", data.display()), e))?;
        if matches!(owner, Looked::Owned(_)) {
            let catalog = SqliteCatalog::open_beside(&data.join(CATALOG[0]), clock())?;
            return Ok(Self {
                catalog: Arc::new(catalog),
                readers: READERS,
                _copy: None,
            });
        }
        let copy = copy_of_catalog(data).map_err(|e| {
            Error::storage("copy the catalog to a temporary folder, to look into it", e)
        })?;
        drop(owner);
        let catalog = SqliteCatalog::open(&copy.path().join(CATALOG[0]), clock())?;
        Ok(Self {
            catalog: Arc::new(catalog),
            readers: Duration::ZERO,
            _copy: Some(copy),
        })
    }
}

fn copy_of_catalog(data: &Path) -> std::io::Result<TempDir> {
    let copy = tempfile::tempdir()?;
    for name in CATALOG {
        let from = data.join(name);
        if from.exists() {
            std::fs::copy(from, copy.path().join(name))?;
        }
    }
    Ok(copy)
}

fn require_catalog(data: &Path) -> Result<()> {
    let path: PathBuf = data.join(CATALOG[0]);
    if path.exists() {
        return Ok(());
    }
    Err(Error::missing(format!(
        "there is no catalog in {}; nothing was changed: name the folder that the server was started with",
        data.display()
    )))
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}
