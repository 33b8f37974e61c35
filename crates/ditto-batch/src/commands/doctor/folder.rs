//! A data folder: space, rights, owner, catalog, and how long a record takes.

use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ditto_server::Owner;

use super::finding::Finding;
use crate::exit;
use crate::failure::Failure;
use crate::printer::grouped;

const MIB: u64 = 1 << 20;
/// Below this the journal stalls at the next burst.
const TOO_LITTLE: u64 = 64 * MIB;
/// Below this it does at the next large upload.
const LITTLE: u64 = 1024 * MIB;
/// Likewise, of files: a batch has one for each thousand lines, and 256 journal parts.
const TOO_FEW_FILES: u64 = 300;
const FEW_FILES: u64 = 10_000;
/// An answer is recorded after one sync; slower, and a kill may repeat more of them.
const SLOW_SYNC: Duration = Duration::from_millis(50);
/// Enough to see past one hiccup, few enough to be over at once.
const SYNCS: usize = 7;

/// All that is looked at; nothing in the folder is changed.
pub(super) fn look(data: &Path) -> Vec<Finding> {
    let mut findings = vec![match room(data) {
        Ok(room) => judge_room(room),
        Err(e) => refused("space", "cannot ask for free space", &e),
    }];
    if !data.exists() {
        let said = format!("{} is not there yet; `serve` makes it", data.display());
        findings.push(Finding::ok("folder", said));
        return findings;
    }
    findings.push(match rights(data) {
        Ok(rights) => judge_rights(data, rights),
        Err(e) => refused("rights", "cannot look at the folder", &e),
    });
    findings.push(match ditto_server::owner(data) {
        Ok(owner) => judge_owner(owner),
        Err(e) => refused("owner", "cannot look at its lock", &e),
    });
    findings.push(judge_catalog(ditto_server::check_catalog(data)));
    findings.push(match syncs(data) {
        Ok(times) => judge_syncs(times, in_memory(data)),
        Err(e) => refused("sync", "a file cannot be written and synced", &e),
    });
    findings
}

fn refused(check: &str, what: &str, error: &io::Error) -> Finding {
    let failure = Failure::io(what, error);
    Finding::bad(
        check,
        exit::LOCAL_IO,
        failure.message,
        "let this user read and write the data folder, or name another with --data",
    )
}

/// Free and all, in bytes and files. A file system that counts no files has 0 of them.
#[derive(Debug, Clone, Copy)]
struct Room {
    free: u64,
    free_files: u64,
    all_files: u64,
}

fn room(data: &Path) -> io::Result<Room> {
    let found = rustix::fs::statvfs(nearest(data))?;
    Ok(Room {
        free: found.f_bavail.saturating_mul(found.f_frsize),
        free_files: found.f_favail,
        all_files: found.f_files,
    })
}

/// The folder, or the one that it would be made in.
fn nearest(data: &Path) -> PathBuf {
    let there = data.ancestors().find(|folder| folder.exists());
    match there {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

fn judge_room(room: Room) -> Finding {
    let files = match room.all_files {
        0 => String::new(),
        _ => format!(" and {} files", grouped(room.free_files)),
    };
    let said = format!("{} MiB{files} free", grouped(room.free / MIB));
    let few = |limit| room.all_files > 0 && room.free_files < limit;
    if room.free < TOO_LITTLE || few(TOO_FEW_FILES) {
        let hint = "make room: what cannot be recorded is not sent";
        return Finding::bad("space", exit::LOCAL_IO, said, hint);
    }
    if room.free < LITTLE || few(FEW_FILES) {
        let hint = "make room before a large batch: it needs its input and its answers once each";
        return Finding::warn("space", said, hint);
    }
    Finding::ok("space", said)
}

/// What a folder's mode says, and whose it is.
#[derive(Debug, Clone, Copy)]
struct Rights {
    folder: bool,
    mode: u32,
    owner: u32,
    us: u32,
}

fn rights(data: &Path) -> io::Result<Rights> {
    let found = std::fs::metadata(data)?;
    Ok(Rights {
        folder: found.is_dir(),
        mode: found.permissions().mode() & 0o777,
        owner: found.uid(),
        us: rustix::process::geteuid().as_raw(),
    })
}

fn judge_rights(data: &Path, rights: Rights) -> Finding {
    let check = "rights";
    let Rights {
        mode, owner, us, ..
    } = rights;
    if !rights.folder {
        let said = format!("{} is no folder", data.display());
        return Finding::bad(check, exit::LOCAL_IO, said, "name a folder with --data");
    }
    if us != 0 && (owner != us || mode & 0o700 != 0o700) {
        return Finding::bad(
            check,
            exit::LOCAL_IO,
            format!("the folder is of user {owner} with mode {mode:04o}, and this is user {us}"),
            "run as its user, or give the folder to this one",
        );
    }
    if mode & 0o077 != 0 {
        return Finding::warn(
            check,
            format!("mode {mode:04o} lets others look in: prompts and answers are there"),
            format!("chmod 700 {}", data.display()),
        );
    }
    Finding::ok(check, format!("mode {mode:04o}, for its user alone"))
}

fn judge_owner(owner: Option<Owner>) -> Finding {
    let said = match owner {
        None => "no process has the folder open".to_owned(),
        Some(Owner { pid: Some(pid), .. }) => {
            format!("in use by process {pid}; a second server is refused")
        }
        Some(Owner { pid: None, .. }) => {
            "in use by another process; a second server is refused".to_owned()
        }
    };
    Finding::ok("owner", said)
}

fn judge_catalog(found: ditto_server::Result<Option<usize>>) -> Finding {
    match found {
        Ok(None) => Finding::ok("catalog", "none yet; `serve` makes it"),
        Ok(Some(version)) => {
            Finding::ok("catalog", format!("schema {version}, every page is sound"))
        }
        Err(error) => {
            let failure = Failure::from(error);
            let hint = "see `Backup and restore` in the guide to your own server";
            Finding::bad("catalog", failure.exit, failure.message, hint)
        }
    }
}

/// Writes a page and syncs it, a few times, in a file without a name: a kill leaves nothing.
fn syncs(data: &Path) -> io::Result<Vec<Duration>> {
    let mut file = tempfile::tempfile_in(data)?;
    (0..SYNCS)
        .map(|_| {
            file.write_all(&[0; 4096])?;
            let began = Instant::now();
            file.sync_data()?;
            Ok(began.elapsed())
        })
        .collect()
}

#[cfg(target_os = "linux")]
fn in_memory(data: &Path) -> bool {
    /// What Linux calls a file system in memory.
    const TMPFS: u64 = 0x0102_1994;
    rustix::fs::statfs(data).is_ok_and(|found| found.f_type as u64 == TMPFS)
}

/// Elsewhere nobody tells.
#[cfg(not(target_os = "linux"))]
fn in_memory(_: &Path) -> bool {
    false
}

fn judge_syncs(mut times: Vec<Duration>, in_memory: bool) -> Finding {
    times.sort();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let said = format!(
        "a record is on the disk after {:.1} ms",
        median.as_secs_f64() * 1e3
    );
    if in_memory {
        return Finding::warn(
            "sync",
            "the folder is in memory: nothing of it survives a restart of the machine",
            "name a folder on a disk with --data",
        );
    }
    if median >= SLOW_SYNC {
        let hint = "answers are held up by this much now and then; a faster disk helps";
        return Finding::warn("sync", said, hint);
    }
    Finding::ok("sync", said)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict::{Bad, Ok as Fine, Warn};
    use super::*;

    #[test]
    fn little_room_is_a_warning_and_hardly_any_is_bad() {
        let room = |free_mib, free_files, all_files| Room {
            free: free_mib * MIB,
            free_files,
            all_files,
        };
        let table = [
            (room(5_000, 1_000_000, 2_000_000), Fine),
            // A file system that does not count files.
            (room(5_000, 0, 0), Fine),
            (room(1_000, 1_000_000, 2_000_000), Warn),
            (room(5_000, 9_000, 2_000_000), Warn),
            (room(63, 1_000_000, 2_000_000), Bad),
            (room(5_000, 299, 2_000_000), Bad),
        ];
        for (room, verdict) in table {
            assert_eq!(judge_room(room).verdict, verdict, "{room:?}");
        }
        assert_eq!(judge_room(room(63, 0, 0)).exit, exit::LOCAL_IO);
    }

    #[test]
    fn a_folder_is_for_its_user_alone() {
        let rights = |mode, owner, us| Rights {
            folder: true,
            mode,
            owner,
            us,
        };
        let table = [
            (rights(0o700, 7, 7), Fine),
            (rights(0o700, 7, 0), Fine),
            (rights(0o755, 7, 7), Warn),
            (rights(0o770, 7, 7), Warn),
            (rights(0o500, 7, 7), Bad),
            (rights(0o777, 8, 7), Bad),
            (
                Rights {
                    folder: false,
                    ..rights(0o700, 7, 7)
                },
                Bad,
            ),
        ];
        for (rights, verdict) in table {
            let finding = judge_rights(Path::new("d"), rights);
            assert_eq!(finding.verdict, verdict, "{rights:?}");
        }
    }

    #[test]
    fn a_slow_disk_and_a_disk_that_is_none_are_warned_of() {
        let times = |ms: u64| [ms, 1, 200].map(Duration::from_millis).to_vec();
        let table = [
            (times(3), false, Fine),
            (times(50), false, Warn),
            (times(3), true, Warn),
        ];
        for (times, in_memory, verdict) in table {
            assert_eq!(judge_syncs(times, in_memory).verdict, verdict);
        }
    }

    #[test]
    fn a_damaged_catalog_is_a_conflict() {
        let error = ditto_server::Error::new(ditto_server::ErrorKind::Conflict, "damaged");
        let finding = judge_catalog(Err(error));
        assert_eq!((finding.verdict, finding.exit), (Bad, exit::CONFLICT));
    }

    #[test]
    fn a_folder_is_looked_at_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let findings = look(folder.path());
        assert!(findings.iter().all(|f| f.verdict != Bad), "{findings:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let missing = folder.path().join("a/b");
        assert_eq!(look(&missing).len(), 2);
        assert!(!missing.exists());
    }
}
