//! The files of the provider: their bytes in a temporary folder, what is told of them in memory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::envelope::Complaint;
use crate::provider::clock::At;

/// One file.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) id: String,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) filename: String,
    pub(crate) purpose: String,
    pub(crate) created: At,
    pub(crate) expires_after: Option<u64>,
    /// A result, whose content comes with all the faults of results.
    pub(crate) is_result: bool,
    /// Its content is not to be had before.
    pub(crate) held_until: Option<At>,
}

/// All files. The folder is made when the first one comes, and goes with this.
#[derive(Debug, Default)]
pub(crate) struct Store {
    folder: Option<TempDir>,
    files: BTreeMap<String, Stored>,
    made: u64,
}

/// More would be a loop in the client, and each takes memory.
const MAX_FILES: usize = 100_000;

impl Store {
    pub(crate) fn folder(&mut self, within: Option<&Path>) -> io::Result<PathBuf> {
        if self.folder.is_none() {
            let mut builder = tempfile::Builder::new();
            let builder = builder.prefix("ditto-sim-");
            self.folder = Some(match within {
                Some(within) => builder.tempdir_in(within)?,
                None => builder.tempdir()?,
            });
        }
        let folder = self.folder.as_ref().expect("it was made above");
        Ok(folder.path().to_owned())
    }

    pub(crate) fn next_id(&mut self) -> String {
        self.made += 1;
        format!("file-sim-{:06}", self.made)
    }

    pub(crate) fn put(&mut self, file: Stored) -> Result<(), Complaint> {
        if self.files.len() >= MAX_FILES {
            let message = format!("The simulator keeps {MAX_FILES} files; delete some.");
            return Err(Complaint::invalid(message));
        }
        self.files.insert(file.id.clone(), file);
        Ok(())
    }

    pub(crate) fn find(&self, id: &str) -> Option<&Stored> {
        self.files.get(id)
    }

    pub(crate) fn get(&self, id: &str) -> Result<&Stored, Complaint> {
        self.find(id).ok_or_else(|| unknown(id))
    }

    /// Takes a file out of all lists. Its bytes stay while a batch may still read them.
    pub(crate) fn delete(&mut self, id: &str) -> Result<(), Complaint> {
        self.files.remove(id).map(drop).ok_or_else(|| unknown(id))
    }

    /// In the order in which they came.
    pub(crate) fn all(&self) -> impl DoubleEndedIterator<Item = &Stored> {
        self.files.values()
    }
}

fn unknown(id: &str) -> Complaint {
    let message = format!("No such File object: {id}");
    Complaint::invalid(message)
        .with_param("id")
        .with_status(404)
}
