//! Copies of a data folder, taken beside its running server.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::place::Place;
use crate::blobs::name::batch_of_first_seal;
use crate::catalog::sqlite::Snapshot;
use crate::error::{Error, ErrorKind, Result};
use crate::hold::{Held, Hold};
use crate::journal::PartName;
use crate::owner::owner;

mod place;

/// The catalog of a backup that is not whole yet; a server refuses a folder that has it.
pub(crate) const UNFINISHED: &str = "catalog.snapshot";

/// What a backup says of itself.
const MANIFEST: &str = "backup.json";

/// Where the bytes of blobs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bytes {
    /// Hard links, where both folders are on one file system; else copies. A blob is written once,
    /// under a name of its own, and never changed, so that nobody sees the other's doing. What the
    /// disk damages is damaged in both.
    Shared,
    /// Copies.
    Copied,
}

/// What a backup holds; `backup.json` in it says the same.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Backup {
    /// Seconds since the epoch, by the clock of the catalog: all that was recorded by then is there.
    pub taken_at: i64,
    /// The release that made it.
    pub version: String,
    /// The folder it was taken of.
    pub origin: PathBuf,
    /// Files, uploaded and named as results.
    pub files: u64,
    /// Uploads in parts: pending ones, and those that are files.
    #[serde(default)]
    pub uploads: u64,
    /// Batches with blobs.
    pub batches: u64,
    /// Of these, batches that have not ended: whoever serves the copy goes on with them.
    pub open_batches: u64,
    /// Journal parts of open segments.
    pub journal_parts: u64,
    /// Blobs.
    pub blobs: u64,
    /// Of these, how many share their bytes with the original.
    pub shared_blobs: u64,
    /// Length of all files.
    pub bytes: u64,
}

/// Copies the data folder `data` into `dest`, which is not there yet or empty. The server on `data`
/// may run meanwhile, or not.
///
/// Nothing goes away in `data` as long as this runs (see `hold.rs`), so the order is enough: first the
/// catalog, as it is at one moment; then each journal part and blob that it names. A part may have
/// grown since: replay checks each record. What the catalog of that moment does not know stays
/// behind: a key that it will give again must not find the part of another batch.
///
/// If we stop here, `DEST.partial` is left, without a `catalog.db` before it is whole, so that no
/// server takes it for a data folder; the next backup to `DEST` begins anew in its place.
///
/// # Errors
///
/// [`ErrorKind::Missing`] if `data` is no data folder; [`ErrorKind::Conflict`] if something stands at
/// `dest`, if another backup runs there or of `data`, or if the catalog is damaged;
/// [`ErrorKind::Unavailable`] if a disk refuses. `data` is not changed in any case, and nothing is left at `dest`.
pub fn backup(data: &Path, dest: &Path, bytes: Bytes) -> Result<Backup> {
    check_source(data)?;
    // Without a slash at its end, behind which `.partial` would be a name of its own.
    let dest: &Path = &dest.components().collect::<PathBuf>();
    check_place(data, dest)?;
    let place = Place::take(dest)?;
    // Another backup may have ended there before the place was ours.
    check_place(data, dest).inspect_err(|_| place.clear())?;
    let made = make(data, &place, bytes).map_err(|error| {
        place.clear();
        Error::new(
            error.kind(),
            format!(
                "{}; {} was not changed and no backup is left",
                error.message(),
                data.display()
            ),
        )
    })?;
    place.leave()?;
    Ok(made)
}

fn make(data: &Path, place: &Place, bytes: Bytes) -> Result<Backup> {
    let held = Hold::of(data).take()?;
    let backup = fill(data, &place.partial, bytes, held)?;
    place.put_in_place()?;
    Ok(backup)
}

/// Says so in the log if this folder is a backup whose original is being served: both would send the
/// lines that were open then. To look at the copy beside it is not forbidden.
pub(crate) fn warn_of_original(data: &Path) {
    let json = fs::read(data.join(MANIFEST)).unwrap_or_default();
    let Ok(backup) = serde_json::from_slice::<Backup>(&json) else {
        return;
    };
    // The original may be gone, or on another machine.
    if let Ok(Some(_)) = owner(&backup.origin) {
        tracing::warn!(
            original = %backup.origin.display(),
            "this folder is a backup of one that is in use: lines that were open when it was taken are sent twice and paid twice unless one of the two servers is stopped"
        );
    }
}

fn check_source(data: &Path) -> Result<()> {
    let job = |folder: &Path| folder.join("job.json").exists();
    if job(data) || (data.ends_with("data") && job(folder_of(data))) {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "{} is the folder of a job, whose input stays where it is and would not be in the backup; nothing was copied: copy the job's folder together with its input while no `run` works on it",
                data.display()
            ),
        ));
    }
    if data.join("catalog.db").exists() {
        return Ok(());
    }
    Err(Error::missing(format!(
        "{} is no data folder: there is no catalog.db in it; name the folder of the server with --data",
        data.display()
    )))
}

/// An empty folder is as good as none. Inside of the original it would copy itself.
fn check_place(data: &Path, dest: &Path) -> Result<()> {
    let refused = |why: &str| {
        let said = format!(
            "{} {why}; nothing was copied: give a place where nothing is",
            dest.display()
        );
        Error::new(ErrorKind::Conflict, said)
    };
    if dest.file_name().is_none() {
        return Err(refused("has no name of its own"));
    }
    let real = |path: &Path| fs::canonicalize(path).map_err(|e| failed("find", path, e));
    if real(folder_of(dest))?.starts_with(real(data)?) {
        return Err(refused("is inside of the folder to be copied"));
    }
    let empty = match fs::read_dir(dest) {
        Ok(mut entries) => entries.next().is_none(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => fs::symlink_metadata(dest).is_err(),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => false,
        Err(e) => return Err(failed("read", dest, e)),
    };
    match empty {
        true => Ok(()),
        false => Err(refused("is there and not an empty folder")),
    }
}

fn fill(data: &Path, partial: &Path, bytes: Bytes, held: Held) -> Result<Backup> {
    let snapshot = Snapshot::take(&data.join("catalog.db"), &partial.join(UNFINISHED))?;
    let mut copy = Copy {
        snapshot,
        bytes,
        backup: Backup {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            origin: fs::canonicalize(data).unwrap_or_else(|_| data.to_owned()),
            ..Backup::default()
        },
    };
    copy.journal(&data.join("journal"), &partial.join("journal"))?;
    copy.blobs(&data.join("blobs"), &partial.join("blobs"))?;
    drop(held);
    copy.finish(partial)
}

/// A backup on its way.
struct Copy {
    snapshot: Snapshot,
    bytes: Bytes,
    backup: Backup,
}

impl Copy {
    /// Parts are still written to, so they are copied, as far as they reach now.
    fn journal(&mut self, from: &Path, to: &Path) -> Result<()> {
        make_folder(to)?;
        for entry in entries(from)? {
            let entry = entry?;
            let Some(part) = entry.to_str().and_then(PartName::parse) else {
                continue;
            };
            if self.snapshot.needs_part(part.segment, part.epoch)? {
                self.backup.bytes += copy_file(&from.join(&entry), &to.join(&entry))?;
                self.backup.journal_parts += 1;
            }
        }
        sync_folder(to)
    }

    /// `files/ID`, `uploads/ID`, `batches/ID` and the first seal beside it, as far as the snapshot knows them.
    fn blobs(&mut self, from: &Path, to: &Path) -> Result<()> {
        make_folder(to)?;
        for kind in entries(from)? {
            let kind = kind?;
            let (from, to) = (from.join(&kind), to.join(&kind));
            make_folder(&to)?;
            for id in entries(&from)? {
                let id = id?;
                if !self.wants(&kind, &id)? {
                    continue;
                }
                let (from, to) = (from.join(&id), to.join(&id));
                match kind == "uploads" {
                    true => self.parts(&from, &to)?,
                    false => self.tree(from, to)?,
                }
            }
            sync_folder(&to)?;
        }
        sync_folder(to)
    }

    /// The parts of an upload that were whole at the moment of the snapshot: others are still being
    /// written, or given up.
    fn parts(&mut self, from: &Path, to: &Path) -> Result<()> {
        make_folder(to)?;
        for part in entries(from)? {
            let part = part?;
            if self.snapshot.needs_upload_part(&part.to_string_lossy())? {
                self.tree(from.join(&part), to.join(&part))?;
            }
        }
        sync_folder(to)
    }

    fn wants(&mut self, kind: &OsString, id: &OsString) -> Result<bool> {
        let id = id.to_string_lossy();
        let (wanted, count) = match kind.to_str() {
            Some("files") => (self.snapshot.has_file(&id)?, &mut self.backup.files),
            Some("uploads") => (self.snapshot.has_upload(&id)?, &mut self.backup.uploads),
            Some("batches") => {
                let batch = batch_of_first_seal(&id).unwrap_or(&id);
                (self.snapshot.has_batch(batch)?, &mut self.backup.batches)
            }
            // Of a kind that this release does not know: kept.
            Some(_) | None => return Ok(true),
        };
        *count += u64::from(wanted);
        Ok(wanted)
    }

    /// A blob, or a folder with all that is in it.
    fn tree(&mut self, from: PathBuf, to: PathBuf) -> Result<()> {
        let mut left = VecDeque::from([(from, to)]);
        while let Some((from, to)) = left.pop_front() {
            if !is_folder(&from)? {
                self.blob(&from, &to)?;
                continue;
            }
            make_folder(&to)?;
            for entry in entries(&from)? {
                let entry = entry?;
                let (from, to) = (from.join(&entry), to.join(&entry));
                if is_folder(&from)? {
                    left.push_back((from, to));
                } else if !is_staged(&entry) {
                    self.blob(&from, &to)?;
                }
            }
            sync_folder(&to)?;
        }
        Ok(())
    }

    fn blob(&mut self, from: &Path, to: &Path) -> Result<()> {
        self.backup.blobs += 1;
        // Another file system, or one without links: then it is copied.
        if self.bytes == Bytes::Shared && fs::hard_link(from, to).is_ok() {
            let found = fs::metadata(to).map_err(|e| failed("look at", to, e))?;
            self.backup.bytes += found.len();
            self.backup.shared_blobs += 1;
            return Ok(());
        }
        self.backup.bytes += copy_file(from, to)?;
        Ok(())
    }

    /// The last step but one makes it a data folder, when everything in it is durable.
    fn finish(mut self, partial: &Path) -> Result<Backup> {
        self.backup.taken_at = self.snapshot.taken_at();
        self.backup.open_batches = self.snapshot.open_batches()?;
        let unfinished = partial.join(UNFINISHED);
        drop(self.snapshot);
        let catalog = File::open(&unfinished).and_then(|file| {
            file.sync_all()?;
            file.metadata()
        });
        self.backup.bytes += catalog.map_err(|e| failed("sync", &unfinished, e))?.len();
        let manifest = partial.join(MANIFEST);
        let json = serde_json::to_vec_pretty(&self.backup).expect("a backup is plain data");
        write_new(&manifest, &mut json.as_slice()).map_err(|e| failed("write", &manifest, e))?;
        let catalog = partial.join("catalog.db");
        fs::rename(&unfinished, &catalog).map_err(|e| failed("put in place", &catalog, e))?;
        sync_folder(partial)?;
        Ok(self.backup)
    }
}

/// The store writes a blob beside its place first, under its name and a number.
fn is_staged(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    name.rsplit_once('#')
        .is_some_and(|(_, number)| number.bytes().all(|b| b.is_ascii_digit()))
}

/// The names in a folder, one after the other; none if it is not there.
fn entries(folder: &Path) -> Result<impl Iterator<Item = Result<OsString>>> {
    let read = match fs::read_dir(folder) {
        Ok(read) => Some(read),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(failed("read", folder, e)),
    };
    let folder = folder.to_owned();
    Ok(read.into_iter().flatten().map(move |entry| {
        let entry = entry.map_err(|e| failed("read", &folder, e))?;
        Ok(entry.file_name())
    }))
}

fn is_folder(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(found.is_dir()),
        // An upload that was given up, or a blob on its way, a moment ago.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(failed("look at", path, e)),
    }
}

fn make_folder(folder: &Path) -> Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .map_err(|e| failed("make the folder", folder, e))
}

fn copy_file(from: &Path, to: &Path) -> Result<u64> {
    let mut source = File::open(from).map_err(|e| failed("read", from, e))?;
    write_new(to, &mut source).map_err(|e| failed(&format!("copy {} to", from.display()), to, e))
}

/// A new durable file that only its owner may read; its length.
fn write_new(place: &Path, source: &mut impl io::Read) -> io::Result<u64> {
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(place)?;
    let length = io::copy(source, &mut file)?;
    file.sync_all()?;
    Ok(length)
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| failed("sync", folder, e))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    }
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    Error::storage(format!("cannot {what} {}", path.display()), error)
}
