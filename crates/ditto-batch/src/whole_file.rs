//! Files that are there whole or not at all: written beside their place, synced, then renamed. If we
//! stop before the rename, a `.ditto-` file is left as litter and the place is as it was.

use std::fs::File;
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::umask;

/// A file to be written that will stand at `path`.
pub(crate) fn begin(path: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".ditto-")
        .tempfile_in(folder_of(path))
}

/// Puts it in its place, for the user to read.
pub(crate) fn finish(file: NamedTempFile, path: &Path) -> io::Result<()> {
    umask::hand_over(file.as_file())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    File::open(folder_of(path))?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_is_in_its_place_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let mut file = begin(&path).unwrap();
        file.write_all(b"all of it").unwrap();
        assert!(!path.exists());
        finish(file, &path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"all of it");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_without_a_folder_stands_in_this_one() {
        assert_eq!(folder_of(Path::new("x")), Path::new("."));
        assert_eq!(folder_of(Path::new("a/x")), Path::new("a"));
    }
}
