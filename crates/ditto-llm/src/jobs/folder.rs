//! The job's folder: read by its owner only, and held by one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::error::{JobError, JobErrorKind, Result};
use super::plan::PLAN;

const LOCK: &str = "job.lock";

/// A folder that no other process works in. It is let go with the process, however that ends.
#[derive(Debug)]
pub(crate) struct Held {
    lock: File,
}

impl Drop for Held {
    fn drop(&mut self) {
        // Only what is told to others; one that stays is of a process that is not there any more.
        let _ = self.lock.set_len(0);
    }
}

/// Makes the folder if there is none, and holds it. One with other things in it is left alone.
pub(crate) fn begin(folder: &Path) -> Result<Held> {
    let failed = |e: &std::io::Error| JobError::file("cannot make the job's folder", folder, e);
    let make = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
    make(folder).map_err(|e| failed(&e))?;
    if !folder.join(PLAN).exists() {
        refuse_foreign(folder)?;
    }
    let held = hold(folder)?;
    for part in ["shards", "raw"] {
        make(&folder.join(part)).map_err(|e| failed(&e))?;
    }
    Ok(held)
}

/// Takes back what a plan has made that came to nothing, as whoever holds the folder. Whoever opened
/// the lock meanwhile finds that it is not there any more.
pub(crate) fn discard(folder: &Path) {
    // What cannot be removed is litter, and the next plan writes over it.
    for part in ["shards", "raw"] {
        let _ = fs::remove_dir_all(folder.join(part));
    }
    for file in [super::WITHHELD, super::WITHHELD_INDEX, LOCK] {
        let _ = fs::remove_file(folder.join(file));
    }
    let _ = fs::remove_dir(folder);
}

/// Holds the folder of a job that was planned.
pub(crate) fn hold(folder: &Path) -> Result<Held> {
    let path = folder.join(LOCK);
    let failed = |e: &std::io::Error| JobError::file("cannot open", &path, e);
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|e| failed(&e))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(in_use(folder, &mut lock)),
        Err(TryLockError::Error(e)) => return Err(JobError::file("cannot lock", &path, &e)),
    }
    // Its holder may have removed it while we were waiting to open it: another one would not meet us.
    let inode = |metadata: io::Result<fs::Metadata>| metadata.ok().map(|there| there.ino());
    if inode(fs::symlink_metadata(&path)) != inode(lock.metadata()) {
        return Err(in_use(folder, &mut lock));
    }
    // Only to be told to others: the lock itself is the system's, and goes with the process.
    let tell = |lock: &mut File| -> std::io::Result<()> {
        lock.set_len(0)?;
        writeln!(lock, "process {} on {}", std::process::id(), host())
    };
    tell(&mut lock).map_err(|e| JobError::file("cannot write", &path, &e))?;
    Ok(Held { lock })
}

fn in_use(folder: &Path, lock: &mut File) -> JobError {
    let mut holder = String::new();
    let holder = match lock.take(200).read_to_string(&mut holder) {
        Ok(_) if !holder.trim().is_empty() => holder.trim(),
        _ => "another process",
    };
    JobError::new(
        JobErrorKind::Conflict,
        format!("{holder} works on the job in {}", folder.display()),
    )
    .hint("nothing was changed; wait until it has ended or stop it, then run again")
}

/// Who holds the folder at the moment, as far as can be seen without taking the lock: another command
/// could want it at that moment. Of a process on another machine it is only known that it said so.
pub(crate) fn holder(folder: &Path) -> Option<String> {
    let lock = folder.join(LOCK);
    let text = fs::read_to_string(&lock).ok()?;
    let holder = text.trim();
    let (process, host) = holder.strip_prefix("process ")?.split_once(" on ")?;
    if host != self::host() {
        return Some(holder.to_owned());
    }
    let lock = lock.canonicalize().ok()?;
    let mut files = fs::read_dir(format!("/proc/{process}/fd")).ok()?.flatten();
    let holds = files.any(|file| fs::read_link(file.path()).is_ok_and(|path| path == lock));
    holds.then(|| holder.to_owned())
}

fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "this machine".to_owned(),
        name => name.to_owned(),
    }
}

/// A folder that is no job's is not made one. What a plan that was broken off left is ours.
fn refuse_foreign(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(|e| JobError::file("cannot read", folder, &e))?;
    let ours = [
        LOCK,
        "shards",
        "raw",
        super::WITHHELD,
        super::WITHHELD_INDEX,
        "input.jsonl",
    ];
    for entry in entries {
        let entry = entry.map_err(|e| JobError::file("cannot read", folder, &e))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !ours.contains(&&*name) && !name.starts_with("round-") && !name.starts_with(".tmp") {
            return Err(JobError::new(
                JobErrorKind::Conflict,
                format!(
                    "{} is there already and is no such job's folder",
                    folder.display()
                ),
            )
            .hint("nothing was changed; move it away, or name another folder"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_once_and_says_by_whom() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("x.ditto");
        let held = begin(&folder).unwrap();
        let error = hold(&folder).unwrap_err();
        assert_eq!(error.kind(), JobErrorKind::Conflict);
        let holder = format!("process {} on ", std::process::id());
        assert!(error.to_string().contains(&holder), "{error}");
        assert!(super::holder(&folder).unwrap().starts_with(&holder));
        drop(held);
        assert_eq!(super::holder(&folder), None);
        begin(&folder).unwrap();
    }

    #[test]
    fn a_process_that_died_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join(LOCK);
        // As one leaves it that was killed, under an id that another process has by now.
        fs::write(
            &lock,
            format!("process {} on {}\n", std::process::id(), host()),
        )
        .unwrap();
        assert_eq!(holder(folder.path()), None);
    }

    #[test]
    fn a_folder_with_other_things_in_it_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("job.json"), "").unwrap();
        assert_eq!(
            begin(folder.path()).unwrap_err().kind(),
            JobErrorKind::Conflict
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
