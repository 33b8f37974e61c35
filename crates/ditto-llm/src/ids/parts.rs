//! Records in parts that spill to disk.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

/// Few enough for their buffers (2 MiB) and file handles, many enough that a part of ten million
/// records is sorted in 5 MB.
pub(crate) const PARTS: usize = 64;

/// Bytes that a part holds in memory before it becomes a file.
const BUFFER: usize = 32 << 10;

const RECORD: usize = 24;

/// Records sorted at once, 8 MiB; a larger part is read several times.
const MAX_SORTED: u64 = 1 << 18;

/// A hash, and a number that comes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record {
    pub(crate) key: u128,
    pub(crate) number: u64,
}

/// Records in [`PARTS`] parts. Small parts stay in memory; larger ones go to temporary files that
/// have no name and are gone with the process.
#[derive(Debug)]
pub(crate) struct Parts {
    dir: PathBuf,
    parts: Vec<Part>,
}

#[derive(Debug, Default)]
struct Part {
    file: Option<File>,
    buffer: Vec<u8>,
    records: u64,
}

impl Parts {
    pub(crate) fn new(dir: &Path) -> Self {
        let parts = std::iter::repeat_with(Part::default).take(PARTS).collect();
        Self {
            dir: dir.to_owned(),
            parts,
        }
    }

    /// Puts the record where all records of the same key are.
    pub(crate) fn push_by_key(&mut self, record: Record) -> io::Result<()> {
        let part = (record.key >> (128 - PARTS.ilog2())) as usize;
        self.push(part, record)
    }

    pub(crate) fn push(&mut self, part: usize, record: Record) -> io::Result<()> {
        let part = &mut self.parts[part];
        part.buffer.extend_from_slice(&record.key.to_le_bytes());
        part.buffer.extend_from_slice(&record.number.to_le_bytes());
        part.records += 1;
        if part.buffer.len() + RECORD > BUFFER {
            part.flush(&self.dir)?;
        }
        Ok(())
    }

    /// Every record of a part, in the order they came.
    pub(crate) fn for_each(
        &mut self,
        part: usize,
        mut on_record: impl FnMut(Record),
    ) -> io::Result<()> {
        let part = &mut self.parts[part];
        if let Some(file) = &mut part.file {
            file.rewind()?;
            let mut block = vec![0; BUFFER / RECORD * RECORD];
            let mut left = part.records * RECORD as u64 - part.buffer.len() as u64;
            while left > 0 {
                let length = left.min(block.len() as u64) as usize;
                file.read_exact(&mut block[..length])?;
                records(&block[..length]).for_each(&mut on_record);
                left -= length as u64;
            }
        }
        records(&part.buffer).for_each(on_record);
        Ok(())
    }

    /// The passes that a part is read in, so that the distinct keys of each fit into memory.
    pub(crate) fn passes(&self, part: usize) -> impl Iterator<Item = Pass> + use<> {
        let of = self.parts[part].records.div_ceil(MAX_SORTED);
        (0..of).map(move |number| Pass { number, of })
    }

    /// The records of one pass, in the order they came; all records of a key are in the same one.
    pub(crate) fn for_each_in_pass(
        &mut self,
        part: usize,
        pass: Pass,
        mut on_record: impl FnMut(Record),
    ) -> io::Result<()> {
        self.for_each(part, |record| {
            // The high bits of the key chose the part; the low ones choose the pass.
            if record.key as u64 % pass.of == pass.number {
                on_record(record);
            }
        })
    }

    /// The records of a part in groups of one key each, sorted by number within a group.
    pub(crate) fn for_each_group(
        &mut self,
        part: usize,
        mut on_group: impl FnMut(&[Record]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut sorted = Vec::new();
        for pass in self.passes(part) {
            sorted.clear();
            self.for_each_in_pass(part, pass, |record| sorted.push(record))?;
            sorted.sort_unstable();
            for group in sorted.chunk_by(|a, b| a.key == b.key) {
                on_group(group)?;
            }
        }
        Ok(())
    }
}

/// One of the passes over a part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass {
    number: u64,
    of: u64,
}

impl Part {
    fn flush(&mut self, dir: &Path) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(dir)?),
        };
        file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

fn records(bytes: &[u8]) -> impl Iterator<Item = Record> + '_ {
    bytes.chunks_exact(RECORD).map(|record| {
        let (key, number) = record.split_at(16);
        Record {
            key: u128::from_le_bytes(key.try_into().expect("a record is 24 bytes")),
            number: u64::from_le_bytes(number.try_into().expect("a record is 24 bytes")),
        }
    })
}
