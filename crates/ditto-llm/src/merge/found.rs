//! Where each result stands, in a temporary file: sixteen bytes a result.

use std::fs::File;
use std::io;
use std::path::Path;

use super::MAX_FILES;
use crate::ids::{Numbered, read_at};
use crate::jsonl::Line;

/// Where a result stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    file: u16,
    offset: u64,
    length: u32,
}

impl Place {
    /// Of the content of a line, without what is around it.
    pub(super) fn of(file: u16, line: &Line<'_>, content: &[u8]) -> Self {
        Self {
            file,
            offset: line.content_start(),
            // A line is read into memory, and no limit of ours is near this.
            length: u32::try_from(content.len()).expect("a line has less than 4 GiB"),
        }
    }
}

/// All results, by number.
#[derive(Debug)]
pub(super) struct Results {
    files: Vec<File>,
    places: Numbered<16>,
}

impl Results {
    pub(super) fn new(dir: &Path) -> io::Result<Self> {
        Ok(Self {
            files: Vec::new(),
            places: Numbered::new(dir)?,
        })
    }

    pub(super) fn file(&mut self, file: File) -> io::Result<u16> {
        if self.files.len() >= MAX_FILES {
            let message = format!("more than {MAX_FILES} files cannot be merged at once");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        self.files.push(file);
        Ok(u16::try_from(self.files.len() - 1).expect("there are few"))
    }

    pub(super) fn count(&self) -> u64 {
        self.places.count()
    }

    pub(super) fn push(&mut self, place: Place, is_answer: bool) -> io::Result<u64> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&place.offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&place.length.to_le_bytes());
        bytes[12..14].copy_from_slice(&place.file.to_le_bytes());
        bytes[14] = u8::from(is_answer);
        self.places.push(bytes)
    }

    /// Where a result stands, and whether it is an answer.
    pub(super) fn get(&mut self, number: u64) -> io::Result<(Place, bool)> {
        let bytes = self.places.get(number)?;
        let place = Place {
            offset: u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")),
            length: u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes")),
            file: u16::from_le_bytes(bytes[12..14].try_into().expect("two bytes")),
        };
        Ok((place, bytes[14] == 1))
    }

    /// The result itself, read again.
    pub(super) fn line(&mut self, number: u64) -> io::Result<Vec<u8>> {
        let (place, _) = self.get(number)?;
        let mut line = vec![0; place.length as usize];
        read_at(
            &self.files[usize::from(place.file)],
            place.offset,
            &mut line,
        )?;
        Ok(line)
    }
}
