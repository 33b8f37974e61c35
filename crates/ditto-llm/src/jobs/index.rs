//! Where the result of each line is: 24 bytes a line, sorted by line.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use super::class::Class;
use super::error::{JobError, Result};

/// Bytes of a record on disk.
const RECORD: usize = 24;

/// What came of one line in one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) line: u64,
    pub(crate) class: Class,
    /// Where the provider's line is; none if there is none.
    pub(crate) text: Option<Text>,
}

/// A line of a file of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Text {
    /// Which of the shard's files.
    pub(crate) file: u8,
    pub(crate) offset: u64,
    pub(crate) length: u32,
}

/// Stands for no file.
const NO_FILE: u8 = u8::MAX;

impl Record {
    pub(crate) fn write(&self, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        let none = Text {
            file: NO_FILE,
            offset: 0,
            length: 0,
        };
        let text = self.text.unwrap_or(none);
        let mut bytes = [0; RECORD];
        bytes[..8].copy_from_slice(&self.line.to_le_bytes());
        bytes[8..16].copy_from_slice(&text.offset.to_le_bytes());
        bytes[16..20].copy_from_slice(&text.length.to_le_bytes());
        bytes[20] = self.class.to_byte();
        bytes[21] = text.file;
        out.write_all(&bytes)
    }

    fn of_bytes(bytes: &[u8; RECORD]) -> Option<Self> {
        let eight =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let length = u32::from_le_bytes(bytes[16..20].try_into().expect("four bytes"));
        Some(Self {
            line: eight(0),
            class: Class::of_byte(bytes[20])?,
            text: (bytes[21] != NO_FILE).then_some(Text {
                file: bytes[21],
                offset: eight(8),
                length,
            }),
        })
    }
}

/// The records of an index, one after the other.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    file: BufReader<File>,
}

impl Index {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| JobError::file("cannot read", path, &e))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::new(file),
        })
    }

    pub(crate) fn next(&mut self) -> Result<Option<Record>> {
        let mut bytes = [0; RECORD];
        match self.file.read_exact(&mut bytes) {
            Ok(()) => Record::of_bytes(&bytes)
                .map(Some)
                .ok_or_else(|| JobError::damaged(&self.path, "a record has no known class")),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => Err(JobError::file("cannot read", &self.path, &e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_24_bytes_and_come_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.index");
        let text = Text {
            file: 1,
            offset: 1 << 40,
            length: 77,
        };
        let records = [
            Record {
                line: 5,
                class: Class::Ok,
                text: Some(text),
            },
            Record {
                line: u64::MAX,
                class: Class::Missing,
                text: None,
            },
        ];
        let mut bytes = Vec::new();
        records
            .iter()
            .for_each(|record| record.write(&mut bytes).unwrap());
        assert_eq!(bytes.len(), 48);
        std::fs::write(&path, bytes).unwrap();
        let mut index = Index::open(&path).unwrap();
        let back = [
            index.next().unwrap(),
            index.next().unwrap(),
            index.next().unwrap(),
        ];
        assert_eq!(back, [Some(records[0]), Some(records[1]), None]);
    }
}
