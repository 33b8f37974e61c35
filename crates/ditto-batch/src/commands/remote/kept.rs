//! What a job's folder keeps for whoever looks at it later: the way to the provider, and where results
//! go. And what a command that works on the job tells the others meanwhile.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::talk::unix_now;
use super::way::Way;
use crate::commands::run::Beside;
use crate::commands::run::ended::{KeptPath, beside};
use crate::exit;
use crate::failure::{Failure, Result};
use crate::whole_file::{Mark, Readers, WholeFile};

const KEPT: &str = "kept.json";
const NOW: &str = "now.json";
const STDIN: &str = "-";

/// The files of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) folder: PathBuf,
    pub(crate) output: PathBuf,
    pub(crate) errors: PathBuf,
    pub(crate) report: PathBuf,
}

/// What is kept.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// As it was named; `-` for stdin.
    pub(crate) input: PathBuf,
    pub(crate) way: Way,
    pub(crate) places: Places,
    /// When the job began, in unix seconds.
    pub(crate) began: i64,
    /// How often a line is sent again.
    pub(crate) retries: u32,
    /// Tokens that the account may have enqueued, if that was said.
    pub(crate) max_enqueued_tokens: Option<u64>,
}

/// How often a line is sent again unless it is said.
const RETRIES: u32 = 3;

#[derive(Serialize, Deserialize)]
struct OnDisk {
    input: KeptPath,
    way: Way,
    output: KeptPath,
    errors: KeptPath,
    report: KeptPath,
    began: i64,
    retries: u32,
    max_enqueued_tokens: Option<u64>,
}

impl Kept {
    /// Of a job that begins now, with everything beside its input.
    pub(crate) fn new(input: PathBuf, beside: Beside) -> Self {
        Self {
            input,
            way: Way::default(),
            places: Places {
                folder: beside.folder,
                output: beside.output,
                errors: beside.errors,
                report: beside.report,
            },
            began: unix_now(),
            retries: RETRIES,
            max_enqueued_tokens: None,
        }
    }

    /// What this folder keeps; nothing if it was made by a program that used the library.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>> {
        let Some(kept) = read::<OnDisk>(&folder.join(KEPT))? else {
            return Ok(None);
        };
        let beside = beside(folder).map_err(|e| Failure::file("cannot read", folder, &e))?;
        Ok(Some(Self {
            input: match kept.input.resolve(Path::new("")) {
                stdin if stdin == Path::new(STDIN) => stdin,
                path => beside.join(path),
            },
            way: kept.way,
            places: Places {
                folder: folder.to_owned(),
                output: kept.output.resolve(&beside),
                errors: kept.errors.resolve(&beside),
                report: kept.report.resolve(&beside),
            },
            began: kept.began,
            retries: kept.retries,
            max_enqueued_tokens: kept.max_enqueued_tokens,
        }))
    }

    /// Keeps it. Only whoever holds the folder may.
    pub(crate) fn write(&self) -> Result<()> {
        let folder = &self.places.folder;
        let beside = beside(folder).map_err(|e| Failure::file("cannot read", folder, &e))?;
        let path = |path: &Path| {
            let whole = std::path::absolute(path).unwrap_or(path.to_owned());
            KeptPath::new(&whole, &beside)
        };
        let kept = OnDisk {
            input: match self.input == Path::new(STDIN) {
                true => KeptPath::new(&self.input, &beside),
                false => path(&self.input),
            },
            way: self.way.clone(),
            output: path(&self.places.output),
            errors: path(&self.places.errors),
            report: path(&self.places.report),
            began: self.began,
            retries: self.retries,
            max_enqueued_tokens: self.max_enqueued_tokens,
        };
        // Only its holder writes in the folder.
        write(&folder.join(KEPT), &Mark::of_job(KEPT), &kept)
    }
}

/// What a command that works on a job is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Now {
    /// When it said so, in unix seconds.
    pub(crate) time: i64,
    /// Lines that have come to their end, of all.
    pub(crate) done: u64,
    pub(crate) total: u64,
    /// Why nothing moves, if nothing does.
    pub(crate) why: Option<String>,
    /// Seconds until its end, from what was seen.
    pub(crate) left_seconds: Option<u64>,
}

impl Now {
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        // Only to be told: what is not there or cannot be read is not told.
        read(&folder.join(NOW)).ok().flatten()
    }

    /// Leaves it in the folder, there whole or as it was; of no use after a crash, so nothing is synced.
    pub(crate) fn write(&self, folder: &Path) {
        let part = folder.join(".tmp-now");
        let json = serde_json::to_vec(self).expect("it is plain data");
        let _ = fs::write(&part, json).and_then(|()| fs::rename(&part, folder.join(NOW)));
    }
}

/// A small JSON file of ours; none if it is not there.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Failure::file("cannot read", path, &e)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| {
        let message = format!("{} is damaged: {e}", path.display());
        Failure::new(exit::CONFLICT, message).hint("nothing was changed; delete it, then try again")
    })
}

/// Writes one, all at once.
pub(super) fn write(path: &Path, mark: &Mark, value: &impl Serialize) -> Result<()> {
    let json = serde_json::to_vec(value).expect("it is plain data");
    WholeFile::begin(path, mark, Readers::Owner)
        .and_then(|mut file| {
            file.write_all(&json)?;
            file.replace()
        })
        .map_err(|e| Failure::file("cannot write", path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_also_after_the_folder_has_moved() {
        let parent = tempfile::tempdir().unwrap();
        let (old, new) = (parent.path().join("a"), parent.path().join("b"));
        fs::create_dir_all(old.join("x.ditto")).unwrap();
        assert!(Kept::read(&old.join("x.ditto")).unwrap().is_none());
        let mut kept = Kept::new(
            old.join("x.jsonl"),
            crate::commands::run::beside(&old.join("x.jsonl")),
        );
        kept.places.errors = PathBuf::from("/elsewhere/errors");
        kept.write().unwrap();
        fs::rename(&old, &new).unwrap();
        let read = Kept::read(&new.join("x.ditto")).unwrap().unwrap();
        let new = new.canonicalize().unwrap();
        assert_eq!(read.places.output, new.join("x.output.jsonl"));
        assert_eq!(read.places.errors, Path::new("/elsewhere/errors"));
        assert_eq!(read.began, kept.began);
        assert_eq!(read.input, new.join("x.jsonl"));
    }
}
