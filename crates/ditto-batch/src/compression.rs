//! Files that are read packed.

use std::io::{self, BufRead, BufReader, Read};
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

    /// What is packed in it; nothing at all is nothing packed. Bytes that are not whole give an
    /// [`InvalidData`](io::ErrorKind::InvalidData) with a sentence.
    pub(crate) fn unpack<'a>(self, packed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        let mut packed = BufReader::new(packed);
        if packed.fill_buf()?.is_empty() {
            return Ok(Box::new(io::empty()));
        }
        let reader: Box<dyn Read + 'a> = match self {
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            Self::Zstd => Box::new(zstd::Decoder::with_buffer(packed)?),
        };
        let packing = self;
        Ok(Box::new(Unpacked { reader, packing }))
    }
}

/// Tells bytes that cannot be unpacked from bytes that cannot be read.
struct Unpacked<'a> {
    reader: Box<dyn Read + 'a>,
    packing: Compression,
}

impl Read for Unpacked<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.reader.read(into).map_err(|e| self.packing.damaged(e))
    }
}

impl Compression {
    /// Errors of reading come with the system's number or with an error of our own inside.
    fn damaged(self, error: io::Error) -> io::Error {
        use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
        let of_the_packer = matches!(
            error.kind(),
            InvalidData | InvalidInput | Other | UnexpectedEof
        );
        if !of_the_packer || error.raw_os_error().is_some() || is_ours(&error) {
            return error;
        }
        let name = match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        };
        let sentence = match error.kind() {
            UnexpectedEof => format!("the {name} data in it is cut short"),
            _ => format!("it is no {name} file, or a damaged one"),
        };
        io::Error::new(InvalidData, sentence)
    }
}

fn is_ours(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<crate::signals::Stopped>())
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

    fn unpacked(name: &str, packed: &[u8]) -> io::Result<String> {
        let compression = Compression::of(Path::new(name)).unwrap();
        let mut text = String::new();
        compression.unpack(packed)?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn nothing_is_nothing_packed() {
        for name in ["x.gz", "x.zst"] {
            assert_eq!(unpacked(name, b"").unwrap(), "");
        }
    }

    #[test]
    fn bytes_that_are_not_whole_are_said_to_be_so() {
        let zstd = zstd::encode_all(&b"text"[..], 1).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut gzip, b"text").unwrap();
        let gzip = gzip.finish().unwrap();
        for (name, packed) in [("x.gz", gzip), ("x.zst", zstd)] {
            for cut in 1..packed.len() {
                let error = unpacked(name, &packed[..cut]).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{name} {cut}");
            }
            assert_eq!(unpacked(name, &packed).unwrap(), "text");
            let plain = unpacked(name, b"{\"plain\":true}\n").unwrap_err();
            assert_eq!(plain.kind(), io::ErrorKind::InvalidData);
            assert!(plain.to_string().contains("it is no "), "{plain}");
        }
    }
}
