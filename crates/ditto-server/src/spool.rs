//! Spool files: answers that are too large to be held while they arrive and until they are recorded.
//!
//! A spool file has no name, so that it is gone with the process, however that ends.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

/// Written at a time: few calls, and little held by each of many answers.
const STEP: usize = 256 * 1024;
/// How long to leave a disk alone that refused a write.
const PAUSE: Duration = Duration::from_millis(500);

/// The folder of spool files.
#[derive(Debug, Clone)]
pub(crate) struct SpoolFolder(PathBuf);

/// An answer that is still arriving.
#[derive(Debug)]
pub(crate) struct Spooling {
    folder: SpoolFolder,
    file: Option<Arc<File>>,
    /// Not written yet.
    step: BytesMut,
    written: u64,
}

/// An answer that arrived whole.
#[derive(Debug, Clone)]
pub(crate) struct Spooled {
    file: Arc<File>,
    length: u64,
}

impl SpoolFolder {
    /// Spool files in this folder, which exists.
    pub(crate) fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// A file that begins with this.
    pub(crate) fn begin(&self, start: BytesMut) -> Spooling {
        Spooling {
            folder: self.clone(),
            file: None,
            step: start,
            written: 0,
        }
    }
}

impl Spooling {
    /// Bytes so far.
    pub(crate) fn length(&self) -> u64 {
        self.written + self.step.len() as u64
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.step.extend_from_slice(bytes);
        if self.step.len() >= STEP {
            self.flush().await;
        }
    }

    pub(crate) async fn finish(mut self) -> Spooled {
        self.flush().await;
        Spooled {
            file: self.file.expect("a flush makes the file"),
            length: self.written,
        }
    }

    /// A disk that refuses is asked again until it takes the bytes, or until whoever waits for the
    /// answer gives it up: an answer that was paid for is not thrown away for a moment's want of
    /// space.
    async fn flush(&mut self) {
        let bytes = std::mem::take(&mut self.step).freeze();
        loop {
            match self.try_flush(bytes.clone()).await {
                Ok(file) => {
                    self.file = Some(file);
                    self.written += bytes.len() as u64;
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, folder = %self.folder.0.display(), "an answer cannot be spooled; it is tried again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn try_flush(&self, bytes: Bytes) -> io::Result<Arc<File>> {
        let (folder, file, at) = (self.folder.clone(), self.file.clone(), self.written);
        let write = move || {
            let file = match file {
                Some(file) => file,
                None => Arc::new(tempfile::tempfile_in(folder.0)?),
            };
            file.write_all_at(&bytes, at)?;
            Ok(file)
        };
        tokio::task::spawn_blocking(write)
            .await
            .map_err(io::Error::other)?
    }
}

impl Spooled {
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Reads all of it; any number of readers may do so.
    pub(crate) fn reader(&self) -> SpoolReader<'_> {
        self.range(0..self.length)
    }

    /// Reads these bytes of it.
    pub(crate) fn range(&self, range: Range<u64>) -> SpoolReader<'_> {
        SpoolReader {
            file: &self.file,
            left: range,
        }
    }

    /// Its first bytes, at most so many.
    pub(crate) fn head(&self, bytes: usize) -> io::Result<Bytes> {
        let length = self.length.min(bytes as u64) as usize;
        let mut head = vec![0; length];
        self.file.read_exact_at(&mut head, 0)?;
        Ok(head.into())
    }
}

/// Reads a stretch of a spool file.
#[derive(Debug)]
pub(crate) struct SpoolReader<'a> {
    file: &'a File,
    left: Range<u64>,
}

impl io::Read for SpoolReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.end.saturating_sub(self.left.start);
        let some = (buffer.len() as u64).min(left) as usize;
        let read = self.file.read_at(&mut buffer[..some], self.left.start)?;
        if read == 0 && some > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left.start += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test]
    async fn what_was_spooled_is_read_back_and_leaves_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..3 * STEP + 17).map(|i| (i % 251) as u8).collect();
        let mut spooling = SpoolFolder::new(folder.path()).begin(BytesMut::from(&content[..5]));
        for chunk in content[5..].chunks(70_001) {
            spooling.write(chunk).await;
        }
        assert_eq!(spooling.length(), content.len() as u64);
        let spooled = spooling.finish().await;
        let mut read = Vec::new();
        spooled.reader().read_to_end(&mut read).unwrap();
        assert!(read == content);
        assert_eq!(spooled.head(9).unwrap(), content[..9]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
