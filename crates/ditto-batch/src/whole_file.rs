//! Files that are there whole or not at all: written beside their place, synced, then moved in.
//!
//! What is on its way is called by its job's mark, which nobody else uses. If we stop before the end,
//! it is left, and the next try of the same job removes it: no other file is ever touched.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::umask;

/// What one job's parts are called by. Two commands never write under one mark at once: whoever has
/// it holds the job's folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Mark(String);

impl Mark {
    /// One that nobody has had.
    pub(crate) fn new() -> Self {
        // The seed of a hash table is the chance that the standard library has. The mark keeps
        // nobody out: that is what creating the part anew is for.
        Self(format!("{:016x}", RandomState::new().hash_one(())))
    }

    /// The mark of a job that has a name which no other has: a command that is killed is cleaned up after
    /// by the next.
    pub(crate) fn of_job(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// Of a job that began before there were marks.
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Where a file for this place is on its way: beside it, and short however long its name is.
    fn part_of(&self, place: &Path) -> PathBuf {
        let name = place.file_name().unwrap_or_default().as_encoded_bytes();
        let part = format!(".{}-{:016x}.ditto-part", self.0, xxh3_64(name));
        folder_of(place).join(part)
    }
}

/// Who may read a file in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Its owner: prompts and answers of a job that is under way.
    Owner,
    /// Whoever may read the user's other files: results.
    AsUsual,
}

/// A file to be. Dropped before it is finished, it leaves nothing.
#[derive(Debug)]
pub(crate) struct WholeFile {
    file: File,
    part: PathBuf,
    place: PathBuf,
    readers: Readers,
}

impl WholeFile {
    /// A file that will stand at `place`.
    pub(crate) fn begin(place: &Path, mark: &Mark, readers: Readers) -> io::Result<Self> {
        let part = mark.part_of(place);
        // Only ever a file of our own making: what stands there is not written to, nor what a link
        // there leads to.
        let create = || OpenOptions::new().write(true).create_new(true).open(&part);
        let file = match create() {
            // By its name it is ours, of a command that was killed.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&part)?;
                create()?
            }
            made => made?,
        };
        Ok(Self {
            file,
            part,
            place: place.to_owned(),
            readers,
        })
    }

    /// Another handle of it, to sync what was written so far.
    pub(crate) fn another(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Puts it in its place, over whatever stands there.
    pub(crate) fn replace(self) -> io::Result<()> {
        self.settle()?;
        fs::rename(&self.part, &self.place)?;
        sync_folder(&self.place)
    }

    /// Puts it in its place if nothing stands there. False: something does, and was not touched.
    pub(crate) fn place_new(self) -> io::Result<bool> {
        self.settle()?;
        // A link is made only where nothing is; a rename would not ask.
        match fs::hard_link(&self.part, &self.place) {
            Ok(()) => fs::remove_file(&self.part)?,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            // Not every file system has links.
            Err(_) if fs::symlink_metadata(&self.place).is_err() => {
                fs::rename(&self.part, &self.place)?;
            }
            Err(_) => return Ok(false),
        }
        sync_folder(&self.place)?;
        Ok(true)
    }

    fn settle(&self) -> io::Result<()> {
        match self.readers {
            // It was made so.
            Readers::Owner => {}
            Readers::AsUsual => umask::hand_over(&self.file)?,
        }
        self.file.sync_all()
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        // After it was moved in there is nothing to remove; otherwise the next try removes it.
        let _ = fs::remove_file(&self.part);
    }
}

/// The folder that a path is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn sync_folder(place: &Path) -> io::Result<()> {
    File::open(folder_of(place))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(place: &Path, mark: &Mark, text: &str) -> WholeFile {
        let mut file = WholeFile::begin(place, mark, Readers::AsUsual).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn a_file_is_in_its_place_only_when_it_is_whole() {
        let (folder, mark) = (tempfile::tempdir().unwrap(), Mark::new());
        let place = folder.path().join("x");
        let file = write(&place, &mark, "all of it");
        assert!(!place.exists());
        file.replace().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"all of it");
        drop(write(&place, &mark, "given up"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_stands_there_is_not_touched() {
        let (folder, mark) = (tempfile::tempdir().unwrap(), Mark::new());
        let place = folder.path().join("x");
        assert!(write(&place, &mark, "first").place_new().unwrap());
        assert!(!write(&place, &mark, "second").place_new().unwrap());
        assert_eq!(fs::read(&place).unwrap(), b"first");

        let dangling = folder.path().join("link");
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        assert!(!write(&dangling, &mark, "third").place_new().unwrap());
        assert_eq!(fs::read_link(&dangling).unwrap(), Path::new("nowhere"));
    }

    #[test]
    fn what_a_kill_left_is_removed_by_the_same_job() {
        let (folder, mark) = (tempfile::tempdir().unwrap(), Mark::new());
        let place = folder.path().join("x");
        fs::write(mark.part_of(&place), "half a file that is longer").unwrap();
        write(&place, &mark, "whole").replace().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn two_jobs_on_their_way_to_one_place_do_not_meet() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("x");
        let first = write(&place, &Mark::new(), "first");
        drop(write(&place, &Mark::new(), "second"));
        assert!(first.place_new().unwrap());
        assert_eq!(fs::read(&place).unwrap(), b"first");
    }

    #[test]
    fn a_link_in_the_way_leads_nowhere() {
        let (folder, mark) = (tempfile::tempdir().unwrap(), Mark::new());
        let (place, victim) = (folder.path().join("x"), folder.path().join("victim"));
        fs::write(&victim, "theirs").unwrap();
        std::os::unix::fs::symlink(&victim, mark.part_of(&place)).unwrap();
        write(&place, &mark, "ours").replace().unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"theirs");
        assert_eq!(fs::read(&place).unwrap(), b"ours");
    }

    #[test]
    fn a_place_may_have_the_longest_name() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("x".repeat(255));
        assert!(write(&place, &Mark::new(), "text").place_new().unwrap());
    }
}
