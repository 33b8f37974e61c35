//! Files that are read packed.

use std::io::{self, Read};
use std::path::Path;

/// How a file is packed, by the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "gz" => Some(Self::Gzip),
            "zst" => Some(Self::Zstd),
            _ => None,
        }
    }

    pub(crate) fn unpack<'a>(self, packed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        match self {
            Self::Gzip => Ok(Box::new(flate2::read::MultiGzDecoder::new(packed))),
            Self::Zstd => Ok(Box::new(zstd::Decoder::new(packed)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_unpacked_by_its_name() {
        assert_eq!(Compression::of(Path::new("x.jsonl")), None);
        assert_eq!(Compression::of(Path::new("x.gz")), Some(Compression::Gzip));
        let packed = zstd::encode_all(&b"text"[..], 1).unwrap();
        let compression = Compression::of(Path::new("x.jsonl.zst")).unwrap();
        let mut text = String::new();
        let mut unpacked = compression.unpack(&packed[..]).unwrap();
        unpacked.read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
    }
}
