//! Records by number, in a temporary file.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Records of one length each, by the order in which they came: what must be known of every result and
/// is too much for memory.
#[derive(Debug)]
pub(crate) struct Numbered<const BYTES: usize> {
    out: BufWriter<File>,
    /// The same file: both stand at one place in it.
    file: File,
    count: u64,
    is_read: bool,
}

impl<const BYTES: usize> Numbered<BYTES> {
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        let file = tempfile::tempfile_in(dir)?;
        Ok(Self {
            out: BufWriter::with_capacity(1 << 16, file.try_clone()?),
            file,
            count: 0,
            is_read: false,
        })
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The number of the record.
    pub(crate) fn push(&mut self, record: [u8; BYTES]) -> io::Result<u64> {
        if std::mem::take(&mut self.is_read) {
            self.file.seek(SeekFrom::End(0))?;
        }
        self.out.write_all(&record)?;
        self.count += 1;
        Ok(self.count - 1)
    }

    pub(crate) fn get(&mut self, number: u64) -> io::Result<[u8; BYTES]> {
        if !std::mem::replace(&mut self.is_read, true) {
            self.out.flush()?;
        }
        let mut record = [0; BYTES];
        read_at(&self.file, number * BYTES as u64, &mut record)?;
        Ok(record)
    }
}

/// Reads so many bytes from there on; the file stands behind them then.
pub(crate) fn read_at(mut file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_by_their_numbers_also_between_others() {
        let folder = tempfile::tempdir().unwrap();
        let mut numbered = Numbered::<2>::new(folder.path()).unwrap();
        for n in 0..3 {
            assert_eq!(numbered.push([n, n]).unwrap(), u64::from(n));
        }
        assert_eq!(numbered.get(1).unwrap(), [1, 1]);
        assert_eq!(numbered.push([3, 3]).unwrap(), 3);
        assert_eq!(numbered.get(3).unwrap(), [3, 3]);
        assert_eq!(numbered.get(2).unwrap(), [2, 2]);
        assert_eq!(numbered.count(), 4);
        assert!(numbered.get(4).is_err());
    }
}
