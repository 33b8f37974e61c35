//! Folders that only their owner may read: prompts and answers are in them.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use crate::error::{Error, Result};

/// What is in a data folder of ours from its first moments on.
const OURS: [&str; 2] = ["owner.lock", "catalog.db"];
/// What a new disk has in its uppermost folder.
const OF_THE_DISK: &str = "lost+found";
/// Whatever lets others in.
const OTHERS: u32 = 0o077;

/// Makes a data folder of mode 0700, or closes one that is empty or ours. One with other things in it
/// is refused as it is: whoever opened it to others may count on that.
pub(crate) fn make_private(data: &Path) -> Result<()> {
    make(data)?;
    if is_open(data)? && !is_ours(data).map_err(|e| failed("read", data, e))? {
        return Err(Error::invalid(format!(
            "other users may look into the folder {}, and it holds things that are not ours; nothing was changed: name an empty folder for data, or close this one (chmod 700)",
            data.display()
        )));
    }
    close(data)
}

/// The same for a folder inside of one that is private.
pub(crate) fn make_private_inside(folder: &Path) -> Result<()> {
    make(folder)?;
    close(folder)
}

fn make(folder: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|e| failed("make", folder, e))
}

fn is_open(folder: &Path) -> Result<bool> {
    let there = fs::metadata(folder).map_err(|e| failed("look at", folder, e))?;
    Ok(there.permissions().mode() & OTHERS != 0)
}

fn close(folder: &Path) -> Result<()> {
    if !is_open(folder)? {
        return Ok(());
    }
    fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(|e| {
        let what = format!(
            "other users may look into the folder {} and it cannot be closed to them; nothing was changed: name a folder inside of it, which is made so",
            folder.display()
        );
        Error::storage(what, e)
    })
}

fn failed(what: &str, folder: &Path, error: io::Error) -> Error {
    Error::storage(format!("{what} the folder {}", folder.display()), error)
}

fn is_ours(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        if entry?.file_name() != OF_THE_DISK {
            return Ok(OURS.iter().any(|name| folder.join(name).exists()));
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn open_to_others(path: &Path) {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_folder_is_made_for_its_owner_only() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        make_private(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700);
        open_to_others(&folder);
        fs::write(folder.join("blob"), "").unwrap();
        make_private_inside(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700);
    }

    #[test]
    fn an_empty_folder_and_one_of_ours_are_closed() {
        for there in [
            None,
            Some("owner.lock"),
            Some("catalog.db"),
            Some("lost+found"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            if let Some(name) = there {
                fs::write(folder.path().join(name), "").unwrap();
            }
            open_to_others(folder.path());
            make_private(folder.path()).unwrap();
            assert_eq!(mode(folder.path()), 0o700, "{there:?}");
        }
    }

    #[test]
    fn a_folder_of_other_things_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("theirs"), "").unwrap();
        open_to_others(folder.path());
        let error = make_private(folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(mode(folder.path()), 0o755);
    }
}
