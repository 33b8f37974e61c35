//! Whether new work is let in: room on the disk, and what a tenant may have.
//!
//! Running work is never asked. Its room is what the floor keeps free, and results that a batch was
//! let in for are always taken.

use super::Service;
use crate::catalog::{Bounds, Refusal, SPACE_RETRY, over_limit, too_many_batches, too_many_lines};
use crate::error::{Error, ErrorKind, Result};
use crate::model::space::{Disk, fits, spare};

/// What a file that is coming in may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    /// What its tenant had left when it began.
    left: u64,
    /// What its tenant may have in all.
    pub(super) limit: u64,
}

impl Service {
    /// What a new batch may reach. The catalog decides: a create that comes again needs no room.
    pub(super) async fn bounds(&self, tenant: &str) -> Result<Bounds> {
        let floor = self.config.space;
        let promised = if floor.is_none() {
            None
        } else {
            let disk = self.gauge.disk().await?;
            Some(spare(disk, floor, 0).unwrap_or(0))
        };
        let limits = self.config.tenants.of(tenant);
        Ok(Bounds {
            tenant: limits.stored_bytes,
            open_batches: limits.open_batches,
            enqueued_lines: limits.enqueued_lines,
            promised,
        })
    }

    /// An error if the disk has no room for anything new.
    pub(super) async fn require_space(&self) -> Result<()> {
        let floor = self.config.space;
        if floor.is_none() {
            return Ok(());
        }
        let disk = self.gauge.disk().await?;
        let promised = self.catalog.stored_by_all().await?.reserved;
        match spare(disk, floor, promised) {
            Some(_) => Ok(()),
            None => Err(self.no_space(disk, promised)),
        }
    }

    /// Why new files and batches are refused at the moment, although work goes on and everything can
    /// be read.
    pub async fn refusing(&self) -> Option<String> {
        let refused = self.require_space().await.err()?;
        Some(refused.message().to_owned())
    }

    /// An error if an upload that has `before` bytes may not have `more`. What is promised is not asked
    /// for with each piece that comes in.
    pub(super) async fn require_room(
        &self,
        allowance: Option<Allowance>,
        before: u64,
        more: u64,
    ) -> Result<()> {
        let floor = self.config.space;
        if !floor.is_none() {
            let disk = self.gauge.disk().await?;
            if spare(disk, floor, 0).is_none() {
                return Err(self.no_space(disk, 0));
            }
        }
        match allowance {
            Some(Allowance { left, limit }) if !fits(before, more, left) => {
                Err(over_limit(limit - left, before + more, limit))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Bytes that a new file of this tenant may have; an error if there are none.
    pub(super) async fn allowance(&self, tenant: &str) -> Result<Option<Allowance>> {
        let Some(limit) = self.config.tenants.of(tenant).stored_bytes else {
            return Ok(None);
        };
        let held = self.catalog.stored(tenant).await?.sum();
        match limit.checked_sub(held) {
            None | Some(0) => Err(over_limit(held, 1, limit)),
            Some(left) => Ok(Some(Allowance { left, limit })),
        }
    }

    /// An error if a tenant may not have so much more.
    pub(super) async fn require_allowance(&self, tenant: &str, more: u64) -> Result<()> {
        let Some(limit) = self.config.tenants.of(tenant).stored_bytes else {
            return Ok(());
        };
        let held = self.catalog.stored(tenant).await?.sum();
        match fits(held, more, limit) {
            true => Ok(()),
            false => Err(over_limit(held, more, limit)),
        }
    }

    pub(super) async fn refused(&self, refusal: Refusal) -> Error {
        match refusal {
            Refusal::Tenant { held, asked, limit } => over_limit(held, asked, limit),
            Refusal::Batches { limit } => too_many_batches(limit),
            Refusal::Lines { held, asked, limit } => too_many_lines(held, asked, limit),
            Refusal::Promised { held, asked } => match self.gauge.disk().await {
                Ok(disk) => self.no_space(disk, held.saturating_add(asked)),
                Err(error) => error,
            },
        }
    }

    fn no_space(&self, disk: Disk, promised: u64) -> Error {
        let floor = self.config.space.of(disk.size);
        Error::new(
            ErrorKind::NoSpace,
            format!(
                "The server is short of disk space: {} free, {} set aside for open batches, and {} are \
                 kept for running work. New files and batches are refused until there is more; running \
                 batches go on, and everything can be read. Delete files that are no longer needed (their \
                 bytes go within about an hour) or ask the operator to make room, then send this again.",
                spoken(disk.free),
                spoken(promised),
                spoken(floor)
            ),
        )
        .with_code("insufficient_storage")
        .with_retry_after(SPACE_RETRY)
    }
}

/// `3.2 GB`, `512.0 MB`.
fn spoken(bytes: u64) -> String {
    let (unit, size) = match bytes {
        0..1_000_000_000 => ("MB", 1e6),
        _ => ("GB", 1e9),
    };
    format!("{:.1} {unit}", bytes as f64 / size)
}
