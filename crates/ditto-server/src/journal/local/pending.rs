//! What is appended to a part and not written yet.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use super::super::Long;
use super::super::disk::Disk;
use super::super::record::{self, Record};
use crate::budget::{Draw, Share};

/// Of a payload that is not held, what is written at a time.
pub(super) const STEP_BYTES: usize = 256 * 1024;

/// What is appended and not written yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) bytes: Vec<u8>,
    /// Records whose payload is not held, by their place in `bytes`.
    pub(super) long: Vec<LongRecord>,
    pub(super) records: usize,
    /// Bytes of all of them in the file.
    pub(super) length: u64,
    /// When the first of them was appended; `None` if there is none.
    pub(super) since: Option<Duration>,
    pub(super) held: Draw,
}

#[derive(Debug)]
pub(super) struct LongRecord {
    /// Behind so many of the bytes that are held.
    pub(super) at: usize,
    pub(super) record: Record,
    pub(super) payload: Arc<dyn Long>,
}

impl Pending {
    pub(super) fn none(memory: &Share) -> Self {
        Self {
            bytes: Vec::new(),
            long: Vec::new(),
            records: 0,
            length: 0,
            since: None,
            held: memory.nothing(),
        }
    }

    /// What was appended later goes behind.
    pub(super) fn append(&mut self, mut later: Self) {
        let behind = self.bytes.len();
        self.bytes.append(&mut later.bytes);
        self.long
            .extend(later.long.into_iter().map(|long| LongRecord {
                at: behind + long.at,
                ..long
            }));
        self.records += later.records;
        self.length += later.length;
        self.since = self.since.or(later.since);
        self.held.overgrow(later.held.bytes());
    }

    /// Writes all of it there, in the order it was appended.
    pub(super) fn write(&self, disk: &dyn Disk, file: &File, mut at: u64) -> io::Result<()> {
        let mut written = 0;
        for long in &self.long {
            let held = &self.bytes[written..long.at];
            if !held.is_empty() {
                disk.write(file, held, at)?;
            }
            written = long.at;
            at += held.len() as u64;
            at += long.write(disk, file, at)?;
        }
        match &self.bytes[written..] {
            [] => Ok(()),
            held => disk.write(file, held, at),
        }
    }
}

impl LongRecord {
    /// Writes the payload and then its head, which needs the checksum. Returns their length.
    fn write(&self, disk: &dyn Disk, file: &File, at: u64) -> io::Result<u64> {
        let length = self.payload.length();
        let mut steps = Steps {
            disk,
            file,
            at: at + record::HEAD as u64,
            head: record::Head::new(&self.record, length),
        };
        let mut buffered = io::BufWriter::with_capacity(STEP_BYTES, &mut steps);
        self.payload.write_to(&mut buffered)?;
        buffered.flush()?;
        drop(buffered);
        let end = at + record::HEAD as u64 + u64::from(length);
        if steps.at != end {
            let wrong = "a payload had another length than it said; its line is tried again";
            return Err(io::Error::other(wrong));
        }
        disk.write(file, &steps.head.finish(), at)?;
        Ok(end - at)
    }
}

/// Writes a payload step by step and sums it on the way.
struct Steps<'a> {
    disk: &'a dyn Disk,
    file: &'a File,
    at: u64,
    head: record::Head,
}

impl Write for Steps<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.write(self.file, bytes, self.at)?;
        self.head.payload(bytes);
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
