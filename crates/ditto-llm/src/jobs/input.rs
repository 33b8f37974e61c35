//! The input of a job: read in one stream, and known again by its bytes.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::error::{JobError, Result};
use crate::jsonl::{Line, LineSplitter};

const BUFFER: usize = 1 << 20;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// What tells one input from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputIdentity {
    /// Where it was when the job was planned.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// xxh3-128 of its bytes, in hex.
    pub xxh3: String,
}

/// An input, open for reading.
#[derive(Debug)]
pub(crate) struct Input {
    path: PathBuf,
    file: File,
    /// Bytes before the first line: they belong to the file, not to a request.
    pub(crate) bom: u64,
}

impl Input {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let failed = |e: &io::Error| JobError::file("cannot read", path, e);
        let file = File::open(path).map_err(|e| failed(&e))?;
        if !file.metadata().map_err(|e| failed(&e))?.is_file() {
            let kind = io::ErrorKind::InvalidInput;
            return Err(failed(&io::Error::new(kind, "not a regular file")));
        }
        let mut start = [0; BOM.len()];
        let bom = match file.read_exact_at(&mut start, 0) {
            Ok(()) if start == BOM => BOM.len() as u64,
            _ => 0,
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            bom,
        })
    }

    pub(crate) fn bytes(&self) -> Result<u64> {
        let metadata = self.file.metadata();
        metadata
            .map(|metadata| metadata.len())
            .map_err(|e| JobError::file("cannot read", &self.path, &e))
    }

    /// Hands over every line and tells what was read.
    pub(crate) fn each_line(
        &self,
        max_line_bytes: u64,
        mut on_line: impl FnMut(&Line<'_>) -> Result<()>,
    ) -> Result<InputIdentity> {
        let longest = usize::try_from(max_line_bytes).unwrap_or(usize::MAX);
        let mut splitter = LineSplitter::new(longest);
        let mut hash = Xxh3::new();
        let mut buffer = vec![0; BUFFER];
        let mut offset = 0;
        loop {
            let length = self.read_at(&mut buffer, offset)?;
            if length == 0 {
                break;
            }
            hash.update(&buffer[..length]);
            offset += length as u64;
            splitter.feed(&buffer[..length], |line| on_line(&line))?;
        }
        splitter.finish(|line| on_line(&line))?;
        Ok(InputIdentity {
            path: self.path.clone(),
            bytes: offset,
            xxh3: format!("{:032x}", hash.digest128()),
        })
    }

    /// Whether more than so many lines are not blank. Reads no further than it takes to know.
    pub(crate) fn has_more_requests_than(&self, count: u64) -> Result<bool> {
        // What a longer line holds does not matter here.
        let mut splitter = LineSplitter::new(BUFFER);
        let mut buffer = vec![0; BUFFER];
        let (mut offset, mut requests) = (0, 0);
        let mut note = |line: Line<'_>| {
            requests += u64::from(!line.is_blank());
            // Not an error: the end of the reading.
            if requests > count { Err(()) } else { Ok(()) }
        };
        loop {
            let length = self.read_at(&mut buffer, offset)?;
            if length == 0 {
                return Ok(splitter.finish(note).is_err());
            }
            offset += length as u64;
            if splitter.feed(&buffer[..length], &mut note).is_err() {
                return Ok(true);
            }
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        loop {
            match self.file.read_at(buffer, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(JobError::file("cannot read", &self.path, &e)),
                Ok(length) => return Ok(length),
            }
        }
    }

    /// The bytes from `offset` on, at most `length` of them.
    pub(crate) fn part(&self, offset: u64, length: u64) -> Part<'_> {
        Part {
            input: self,
            offset,
            left: length,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// A part of an input.
pub(crate) struct Part<'a> {
    input: &'a Input,
    offset: u64,
    left: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let length = self.input.file.read_at(&mut into[..most], self.offset)?;
        self.offset += length as u64;
        self.left -= length as u64;
        Ok(length)
    }
}
