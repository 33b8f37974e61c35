//! The input of a job over a provider: a file that stays, unpacked if it has to be.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::commands::check::input::open;
use crate::compression::Compression;
use crate::failure::{Failure, Result};

/// The input itself, or what came by stdin or was packed, in the job's folder.
pub(super) fn regular(input: &Path, folder: &Path) -> Result<PathBuf> {
    if input != Path::new("-") && Compression::of(input).is_none() {
        // The job is run from anywhere.
        return fs::canonicalize(input).map_err(|e| Failure::file("cannot read", input, &e));
    }
    let mut source = open(input)?;
    let place = folder.join("input.jsonl");
    let failed = |e: &io::Error| Failure::file("cannot write", &place, e);
    fs::create_dir_all(folder).map_err(|e| failed(&e))?;
    let mut part = NamedTempFile::new_in(folder).map_err(|e| failed(&e))?;
    io::copy(&mut source, &mut part).map_err(|e| Failure::input(input, &e))?;
    part.as_file().sync_all().map_err(|e| failed(&e))?;
    part.persist(&place).map_err(|e| failed(&e.error))?;
    fs::canonicalize(&place).map_err(|e| failed(&e))
}
