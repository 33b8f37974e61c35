//! How much room a folder's disk has, measured at most once a second.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::model::space::Disk;

/// A measurement is used for so long: it costs a call of the system, and an upload asks with each
/// piece that arrives.
const FRESH: Duration = Duration::from_secs(1);

/// Measures one disk. Cheap to clone; clones share what they measured.
#[derive(Debug, Clone)]
pub(crate) struct Gauge {
    folder: PathBuf,
    last: Arc<Mutex<Option<(Instant, Disk)>>>,
}

impl Gauge {
    /// For the disk that this folder is on.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            last: Arc::default(),
        }
    }

    /// The disk as it was less than a second ago.
    pub(crate) async fn disk(&self) -> Result<Disk> {
        if let Some((at, disk)) = *self.last()
            && at.elapsed() < FRESH
        {
            return Ok(disk);
        }
        let folder = self.folder.clone();
        // On a disk of another machine it may take long.
        let measured = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&folder))
            .await
            .map_err(|e| Error::storage("measuring the disk was ended", e))?;
        let facts = measured.map_err(|e| Error::storage("measure the disk", e))?;
        let disk = Disk {
            size: facts.f_blocks.saturating_mul(facts.f_frsize),
            // What everybody may use, without the reserve of root.
            free: facts.f_bavail.saturating_mul(facts.f_frsize),
        };
        *self.last() = Some((Instant::now(), disk));
        Ok(disk)
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<(Instant, Disk)>> {
        // A measurement is whole or not there.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pretends that this is the disk, for as long as the test lasts.
    #[cfg(test)]
    pub(crate) fn pretend(&self, disk: Disk) {
        let long_fresh = Instant::now() + Duration::from_secs(3600);
        *self.last() = Some((long_fresh, disk));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_has_a_size_and_no_more_free_than_that() {
        let gauge = Gauge::new(std::env::temp_dir());
        let disk = gauge.disk().await.unwrap();
        assert!(disk.size > 0 && disk.free <= disk.size, "{disk:?}");
    }

    #[tokio::test]
    async fn within_a_second_it_is_not_measured_again() {
        let gauge = Gauge::new("/nowhere/at/all".into());
        assert!(gauge.disk().await.is_err());
        let disk = Disk { size: 9, free: 3 };
        gauge.pretend(disk);
        assert_eq!(gauge.clone().disk().await.unwrap(), disk);
    }
}
