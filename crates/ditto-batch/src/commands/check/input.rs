//! An input as the user names it: a path, stdin, or a compressed file.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use crate::compression::Compression;
use crate::failure::{Failure, Result};

/// Opens `path` for reading: `-` is stdin; what ends in `.gz` or `.zst` is unpacked on the way.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Read>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let failed = |error: io::Error| Failure::input(path, &error);
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    match Compression::of(path) {
        Some(compression) => compression.unpack(file).map_err(failed),
        None => Ok(Box::new(file)),
    }
}
