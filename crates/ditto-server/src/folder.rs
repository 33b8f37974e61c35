//! A local folder of bytes: walked page by page, with the file system's own time.

use std::fs::{DirEntry, ReadDir};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};

use crate::error::{Error, Result};

mod durable;

pub(crate) use durable::{SharedSync, Syncs};

/// Names held at a time, however many there are.
pub(crate) const PAGE: usize = 256;

/// Something that was found in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its place below the store.
    pub(crate) path: PathBuf,
    /// Size.
    pub(crate) bytes: u64,
    /// When it was written, by the store's own clock.
    pub(crate) modified: SystemTime,
}

/// What was found, a page at a time. What comes or goes meanwhile may be there or not.
pub(crate) type Pages = BoxStream<'static, Result<Vec<Found>>>;

/// So many objects of so many bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub objects: u64,
    /// Their sizes together.
    pub bytes: u64,
}

impl Tally {
    /// Counts one more.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }

    /// Counts these too.
    pub(crate) fn join(&mut self, other: Self) {
        self.objects += other.objects;
        self.bytes += other.bytes;
    }
}

/// Every file below `root` that is in or below `part` of it; none if there is no such folder. Links
/// are not followed.
pub(crate) fn pages(root: &Path, part: &str) -> Pages {
    let walk = Walk {
        root: root.to_owned(),
        begin: Some(root.join(part)),
        open: Vec::new(),
    };
    stream::try_unfold(walk, |mut walk| async move {
        let page = tokio::task::spawn_blocking(move || walk.page().map(|page| (page, walk)))
            .await
            .map_err(|e| Error::storage("looking through a folder was ended", e))?;
        let (page, walk) = page.map_err(|e| Error::storage("look through a folder", e))?;
        Ok((!page.is_empty()).then_some((page, walk)))
    })
    .boxed()
}

/// The time of the file system that this folder is on, by a file that nobody sees.
pub(crate) async fn now(root: &Path) -> Result<SystemTime> {
    let root = root.to_owned();
    let asked = move || tempfile::tempfile_in(&root)?.metadata()?.modified();
    tokio::task::spawn_blocking(asked)
        .await
        .map_err(|e| Error::storage("asking for the time was ended", e))?
        .map_err(|e| Error::storage("ask the file system for its time", e))
}

/// Writes a file whole and durably; folders that are not there are made.
pub(crate) async fn write(
    root: &Path,
    file: &str,
    content: Bytes,
    syncs: &Arc<Syncs>,
) -> Result<()> {
    let (path, syncs) = (root.join(file), Arc::clone(syncs));
    let written = tokio::task::spawn_blocking(move || syncs.write(&path, &content))
        .await
        .map_err(|e| Error::storage("writing a file was ended", e))?;
    written.map_err(|e| Error::storage(format!("write {file}"), e))
}

/// Removes one file; one that has gone is no error.
pub(crate) async fn remove(root: &Path, file: &Path) -> Result<()> {
    let path = root.join(file);
    let name = path.display().to_string();
    let removed = tokio::task::spawn_blocking(move || gone(std::fs::remove_file(path)))
        .await
        .map_err(|e| Error::storage("removing a file was ended", e))?;
    removed.map_err(|e| Error::storage(format!("remove {name}"), e))
}

/// Removes a folder with what is left in it; one that has gone is no error.
pub(crate) async fn remove_all(root: &Path, part: &str) -> Result<()> {
    let path = root.join(part);
    let name = path.display().to_string();
    let removed = tokio::task::spawn_blocking(move || gone(std::fs::remove_dir_all(path)))
        .await
        .map_err(|e| Error::storage("removing a folder was ended", e))?;
    removed.map_err(|e| Error::storage(format!("remove {name}"), e))
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Where a walk is: one open folder a level.
struct Walk {
    root: PathBuf,
    begin: Option<PathBuf>,
    open: Vec<ReadDir>,
}

impl Walk {
    /// The next page; an empty one is the end.
    fn page(&mut self) -> io::Result<Vec<Found>> {
        if let Some(begin) = self.begin.take() {
            self.enter(&begin)?;
        }
        let mut page = Vec::new();
        while page.len() < PAGE
            && let Some(folder) = self.open.last_mut()
        {
            match folder.next() {
                None => drop(self.open.pop()),
                Some(entry) => page.extend(self.look(&entry?)?),
            }
        }
        Ok(page)
    }

    fn enter(&mut self, folder: &Path) -> io::Result<()> {
        match std::fs::read_dir(folder) {
            Ok(entries) => self.open.push(entries),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn look(&mut self, entry: &DirEntry) -> io::Result<Option<Found>> {
        let facts = match entry.metadata() {
            // It has gone since the folder was read.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            facts => facts?,
        };
        let path = entry.path();
        if facts.is_dir() {
            self.enter(&path)?;
            return Ok(None);
        }
        Ok(Some(Found {
            path: path.strip_prefix(&self.root).unwrap_or(&path).to_owned(),
            bytes: facts.len(),
            modified: facts.modified()?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use futures_util::TryStreamExt;

    use super::*;

    async fn walked(root: &Path, part: &str) -> Vec<Vec<Found>> {
        pages(root, part).try_collect().await.unwrap()
    }

    #[tokio::test]
    async fn every_file_is_found_once_and_a_page_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let expected: BTreeSet<_> = (0..600).map(|n| format!("{}/{n}#1", n % 7)).collect();
        for name in &expected {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "four").unwrap();
        }
        let pages = walked(folder.path(), "").await;
        assert!(pages.len() > 2 && pages.iter().all(|page| page.len() <= PAGE));
        let found: Vec<_> = pages.into_iter().flatten().collect();
        assert!(found.iter().all(|found| found.bytes == 4));
        let names: Vec<_> = found.iter().map(|f| f.path.to_str().unwrap()).collect();
        assert_eq!(names.len(), 600);
        assert_eq!(
            names
                .iter()
                .map(|n| (*n).to_owned())
                .collect::<BTreeSet<_>>(),
            expected
        );
    }

    #[tokio::test]
    async fn a_part_is_named_from_the_root_and_one_that_is_not_there_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        std::fs::write(folder.path().join("a/b"), "").unwrap();
        let found = walked(folder.path(), "a").await.concat();
        assert_eq!(found[0].path, Path::new("a/b"));
        assert_eq!(walked(folder.path(), "b").await.len(), 0);
    }

    #[tokio::test]
    async fn the_time_is_that_of_a_file_written_now_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let now = now(folder.path()).await.unwrap();
        let file = folder.path().join("later");
        std::fs::write(&file, "").unwrap();
        assert!(now <= std::fs::metadata(file).unwrap().modified().unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
