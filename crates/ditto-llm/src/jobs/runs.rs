//! The lines of a shard: runs of consecutive lines of the input, in a small file of their own.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use super::error::{JobError, Result};

/// Bytes of a run on disk.
const RUN: usize = 32;

/// Runs kept in memory before they are written: a thousand shards may be open at once.
const MAX_KEPT: usize = 128;

/// Consecutive lines of the input, none of them blank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first_line: u64,
    pub(crate) lines: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl Run {
    pub(crate) fn last_line(&self) -> u64 {
        self.first_line + self.lines - 1
    }

    /// Takes the line in if it is the next one.
    fn extend(&mut self, line: &Self) -> bool {
        let next = line.first_line == self.first_line + self.lines
            && line.offset == self.offset + self.bytes;
        if next {
            self.lines += line.lines;
            self.bytes += line.bytes;
        }
        next
    }

    fn to_bytes(self) -> [u8; RUN] {
        let mut bytes = [0; RUN];
        for (place, value) in
            bytes
                .chunks_exact_mut(8)
                .zip([self.first_line, self.lines, self.offset, self.bytes])
        {
            place.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    fn of_bytes(bytes: &[u8; RUN]) -> Self {
        let at = |index: usize| {
            let value = bytes[index * 8..][..8].try_into().expect("eight bytes");
            u64::from_le_bytes(value)
        };
        Self {
            first_line: at(0),
            lines: at(1),
            offset: at(2),
            bytes: at(3),
        }
    }
}

/// Writes the runs of one shard. The file is open only while something is written to it.
#[derive(Debug)]
pub(crate) struct RunWriter {
    path: PathBuf,
    kept: Vec<u8>,
    last: Option<Run>,
    pub(crate) count: u64,
}

impl RunWriter {
    /// Begins the file anew: what a plan that was broken off left there is not ours.
    pub(crate) fn create(path: PathBuf) -> Result<Self> {
        File::create(&path).map_err(|e| JobError::file("cannot write", &path, &e))?;
        Ok(Self {
            path,
            kept: Vec::new(),
            last: None,
            count: 0,
        })
    }

    pub(crate) fn push(&mut self, line: Run) -> Result<()> {
        if self.last.as_mut().is_some_and(|last| last.extend(&line)) {
            return Ok(());
        }
        self.count += 1;
        if let Some(whole) = self.last.replace(line) {
            self.kept.extend_from_slice(&whole.to_bytes());
        }
        if self.kept.len() >= MAX_KEPT * RUN {
            return self.flush(false);
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        if let Some(whole) = self.last.take() {
            self.kept.extend_from_slice(&whole.to_bytes());
        }
        self.flush(true)
    }

    fn flush(&mut self, durable: bool) -> Result<()> {
        let append = || -> io::Result<()> {
            let mut file = OpenOptions::new().append(true).open(&self.path)?;
            file.write_all(&self.kept)?;
            if durable { file.sync_all() } else { Ok(()) }
        };
        append().map_err(|e| JobError::file("cannot write", &self.path, &e))?;
        self.kept.clear();
        Ok(())
    }
}

/// Puts the runs of a shard behind those of another, which all come before them; how many there are then.
/// All are held in memory: for shards of few lines.
pub(crate) fn append(first: &Path, next: &Path) -> Result<u64> {
    let mut all = Vec::new();
    for path in [first, next] {
        let mut runs = Runs::open(path)?;
        while let Some(run) = runs.next()? {
            all.push(run);
        }
    }
    let mut writer = RunWriter::create(first.to_owned())?;
    all.into_iter().try_for_each(|run| writer.push(run))?;
    let count = writer.count;
    writer.finish()?;
    std::fs::remove_file(next).map_err(|e| JobError::file("cannot remove", next, &e))?;
    Ok(count)
}

/// The runs belong to the shard that this path is for.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().unwrap_or(Path::new("."));
    std::fs::rename(from, to)
        .and_then(|()| File::open(folder)?.sync_all())
        .map_err(|e| JobError::file("cannot write", to, &e))
}

/// The runs of a shard, in the order of the input.
#[derive(Debug)]
pub(crate) struct Runs {
    path: PathBuf,
    file: BufReader<File>,
}

impl Runs {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| JobError::file("cannot read", path, &e))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::new(file),
        })
    }

    pub(crate) fn next(&mut self) -> Result<Option<Run>> {
        let mut bytes = [0; RUN];
        match self.file.read_exact(&mut bytes) {
            Ok(()) => Ok(Some(Run::of_bytes(&bytes))),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => Err(JobError::file("cannot read", &self.path, &e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u64, offset: u64) -> Run {
        Run {
            first_line: number,
            lines: 1,
            offset,
            bytes: 10,
        }
    }

    #[test]
    fn lines_that_follow_each_other_are_one_run_and_all_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.runs");
        let mut writer = RunWriter::create(path.clone()).unwrap();
        let mut expected = Vec::new();
        for start in (1..=1000).map(|n| n * 4) {
            writer.push(line(start, start * 10)).unwrap();
            writer.push(line(start + 1, start * 10 + 10)).unwrap();
            expected.push(Run {
                lines: 2,
                bytes: 20,
                ..line(start, start * 10)
            });
        }
        assert_eq!(writer.count, 1000);
        writer.finish().unwrap();
        let mut runs = Runs::open(&path).unwrap();
        let mut seen = Vec::new();
        while let Some(run) = runs.next().unwrap() {
            seen.push(run);
        }
        assert_eq!(seen, expected);
        assert_eq!(seen[0].last_line(), 5);
    }
}
