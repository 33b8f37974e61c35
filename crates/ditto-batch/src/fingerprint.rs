//! What tells the bytes of one file from those of any other.

use std::fmt;
use std::io::{self, BufReader, Read};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Read at a time.
const BUFFER: usize = 1 << 20;

/// Length and hash of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    pub(crate) bytes: u64,
    /// xxh3-128, in hex.
    pub(crate) xxh3: String,
}

impl Fingerprint {
    /// Of a small file in memory.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.len() as u64,
            xxh3: format!("{:032x}", xxh3_128(bytes)),
        }
    }

    /// Of all that can be read here.
    pub(crate) fn read(source: impl Read) -> io::Result<Self> {
        let mut source = BufReader::with_capacity(BUFFER, Hashed::new(source));
        io::copy(&mut source, &mut io::sink())?;
        Ok(source.get_ref().fingerprint())
    }
}

/// The fingerprint of bytes that are shown piece by piece.
#[derive(Default)]
pub(crate) struct Sum {
    // Half a kilobyte that would otherwise move with every owner.
    hash: Box<Xxh3>,
    bytes: u64,
}

impl Sum {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Of all that was shown so far.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            bytes: self.bytes,
            xxh3: format!("{:032x}", self.hash.digest128()),
        }
    }
}

/// Reads through, and takes the fingerprint of what passes.
pub(crate) struct Hashed<R> {
    source: R,
    sum: Sum,
}

impl<R: Read> Hashed<R> {
    pub(crate) fn new(source: R) -> Self {
        Self {
            source,
            sum: Sum::default(),
        }
    }

    /// Of all that was read so far.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.sum.fingerprint()
    }
}

impl<R> fmt::Debug for Hashed<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hashed")
            .field("bytes", &self.sum.bytes)
            .finish_non_exhaustive()
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(into)?;
        self.sum.add(&into[..n]);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_in_pieces_has_the_fingerprint_of_the_whole() {
        let mut hashed = Hashed::new(&b"some bytes"[..]);
        hashed.read_exact(&mut [0; 4]).unwrap();
        assert_eq!(hashed.fingerprint(), Fingerprint::of(b"some"));
        io::copy(&mut hashed, &mut io::sink()).unwrap();
        assert_eq!(hashed.fingerprint(), Fingerprint::of(b"some bytes"));
        let read = Fingerprint::read(&b"some bytes"[..]).unwrap();
        assert_eq!(read, Fingerprint::of(b"some bytes"));
    }
}
