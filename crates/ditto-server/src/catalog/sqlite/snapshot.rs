//! A copy of the catalog as it is at one moment, taken beside its running owner, and what a backup
//! asks of it.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, named_params};

use super::super::SegmentKey;
use super::runner::Tx;
use super::{batches, claims, schema, sql};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::model::litter::Claim;

/// All pages in one step: one read transaction, which the owner does not wait for and which does
/// not begin again when the owner writes.
const ALL_PAGES: i32 = -1;

/// A snapshot in a file of its own.
#[derive(Debug)]
pub(crate) struct Snapshot {
    conn: Connection,
    now_ms: i64,
}

impl Snapshot {
    /// Copies the catalog at `from` into a new file. The copy is read through once: a damaged
    /// catalog is no backup.
    pub(crate) fn take(from: &Path, to: &Path) -> Result<Self> {
        schema::inspect(from, 0)?;
        let source = schema::open_reader(from)?;
        // Made by us first, so that nobody else may read it.
        OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(to)
            .map_err(|e| Error::storage(format!("make {}", to.display()), e))?;
        let mut conn = Connection::open(to)?;
        let step = Backup::new(&source, &mut conn)?.step(ALL_PAGES)?;
        if step != StepResult::Done {
            return Err(Error::storage(
                format!("copy {}", from.display()),
                "its owner kept it locked",
            ));
        }
        let now_ms = SystemClock.now_ms();
        // One file, without a log beside it; the server goes back to a log by itself.
        conn.pragma_update(None, "journal_mode", "delete")?;
        schema::check_pages(&conn, to)?;
        Ok(Self { conn, now_ms })
    }

    /// When it was taken, in seconds since the epoch.
    pub(crate) fn taken_at(&self) -> i64 {
        self.now_ms / 1000
    }

    /// Whether this journal part holds results that nothing else holds.
    pub(crate) fn needs_part(&self, key: SegmentKey, epoch: u32) -> Result<bool> {
        Ok(claims::part(&self.tx(), key, epoch)? == Claim::Held)
    }

    /// Whether this file has bytes that somebody may still read.
    pub(crate) fn has_file(&self, id: &str) -> Result<bool> {
        self.has(sql::FILE_HAS_BYTES, id)
    }

    /// Whether this upload has parts that somebody may still need.
    pub(crate) fn has_upload(&self, id: &str) -> Result<bool> {
        let params = named_params! { ":id": id, ":now": self.now_ms };
        let found = self
            .tx()
            .row(sql::UPLOAD_HAS_PARTS, params, |row| row.get::<_, bool>(0))?;
        Ok(found.unwrap_or(false))
    }

    /// Whether this part of such an upload is whole, and of use.
    pub(crate) fn needs_upload_part(&self, id: &str) -> Result<bool> {
        self.has(sql::PART_IS_NEEDED, id)
    }

    /// Whether this batch has blobs that somebody may still read.
    pub(crate) fn has_batch(&self, id: &str) -> Result<bool> {
        self.has(sql::BATCH_HAS_BLOBS, id)
    }

    /// Batches that will go on when the copy is served.
    pub(crate) fn open_batches(&self) -> Result<u64> {
        batches::open(&self.tx())
    }

    fn has(&self, sql: &str, id: &str) -> Result<bool> {
        let found = self.tx().row(sql, named_params! { ":id": id }, |row| {
            row.get::<_, bool>(0)
        })?;
        Ok(found.unwrap_or(false))
    }

    fn tx(&self) -> Tx<'_> {
        Tx::on(&self.conn, self.now_ms)
    }
}
