//! Files that are there whole or not at all: written beside their place, synced, then moved in. If we
//! stop before that, a part of a fixed name is left, which the next try writes over.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::umask;

/// A file to be. Dropped before it is finished, it leaves nothing.
#[derive(Debug)]
pub(crate) struct WholeFile {
    file: File,
    part: PathBuf,
    place: PathBuf,
}

impl WholeFile {
    /// A file that will stand at `place`.
    pub(crate) fn begin(place: &Path) -> io::Result<Self> {
        let part = part_of(place);
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .open(&part)?;
        Ok(Self {
            file,
            part,
            place: place.to_owned(),
        })
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
        umask::hand_over(&self.file)?;
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
        // After it was moved in there is nothing to remove; otherwise the next try writes over it.
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

fn part_of(place: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(place.file_name().unwrap_or_default());
    name.push(".ditto-part");
    folder_of(place).join(name)
}

fn sync_folder(place: &Path) -> io::Result<()> {
    File::open(folder_of(place))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(place: &Path, text: &str) -> WholeFile {
        let mut file = WholeFile::begin(place).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn a_file_is_in_its_place_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("x");
        let file = write(&place, "all of it");
        assert!(!place.exists());
        file.replace().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"all of it");
        drop(write(&place, "given up"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_stands_there_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("x");
        assert!(write(&place, "first").place_new().unwrap());
        assert!(!write(&place, "second").place_new().unwrap());
        assert_eq!(fs::read(&place).unwrap(), b"first");

        let dangling = folder.path().join("link");
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        assert!(!write(&dangling, "third").place_new().unwrap());
        assert_eq!(fs::read_link(&dangling).unwrap(), Path::new("nowhere"));
    }

    #[test]
    fn what_a_kill_left_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("x");
        fs::write(part_of(&place), "half a file that is longer").unwrap();
        write(&place, "whole").replace().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
