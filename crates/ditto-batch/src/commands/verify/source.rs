//! The files of a proof: where they are read from, what passed, and which of them could not be read.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;

use ditto_llm::DittoError;
use ditto_llm::verify::{Files, VerifyReport, verify};

use crate::compression::Compression;
use crate::failure::{Failure, Result};
use crate::fingerprint::{Fingerprint, Hashed};

/// The files of one batch, not yet read.
pub(crate) struct Sources {
    pub(crate) input: Source,
    pub(crate) output: Source,
    pub(crate) errors: Option<Source>,
}

/// What reading them gave.
#[derive(Debug)]
pub(crate) struct Proof {
    pub(crate) report: VerifyReport,
    /// As it is stored.
    pub(crate) input: Fingerprint,
    /// As it is meant, if it is stored packed.
    pub(crate) unpacked_input: Option<Fingerprint>,
    pub(crate) output: Fingerprint,
    /// `None` if there was no error file.
    pub(crate) errors: Option<Fingerprint>,
}

impl Sources {
    /// Reads each of them once, from its start to its end.
    pub(crate) fn prove(mut self) -> Result<Proof> {
        let files = Files {
            input: &mut self.input,
            output: &mut self.output,
            errors: self.errors.as_mut().map(|errors| errors as &mut dyn Read),
        };
        let result = verify(files, &std::env::temp_dir());
        let report = result.map_err(|error| {
            let all = [
                Some(&mut self.input),
                Some(&mut self.output),
                self.errors.as_mut(),
            ];
            let unread = all
                .into_iter()
                .flatten()
                .find_map(|source| source.failure.take());
            unread.unwrap_or_else(|| Failure::io("cannot keep the ids in a temporary file", &error))
        })?;
        let unpacked_input = self.input.unpacked()?;
        Ok(Proof {
            report,
            input: self.input.finish()?,
            unpacked_input,
            output: self.output.finish()?,
            errors: self.errors.map(Source::finish).transpose()?,
        })
    }
}

impl Proof {
    /// The input as the one who said this has read it: jobs at a provider unpack theirs first.
    pub(crate) fn input_like(&self, said: &Fingerprint) -> &Fingerprint {
        let unpacked = self.unpacked_input.as_ref();
        unpacked
            .filter(|unpacked| *unpacked == said)
            .unwrap_or(&self.input)
    }
}

/// One file.
pub(crate) struct Source {
    /// For people: a path, or what it is at a server.
    name: String,
    /// As it is stored.
    raw: Shared,
    /// As it is meant.
    meant: Shared,
    is_packed: bool,
    /// Lines that are still to be read, if not all are.
    lines_left: Option<u64>,
    /// Why it could not be read.
    failure: Option<Failure>,
}

impl Source {
    /// A file or `-` for stdin, unpacked on the way if its name says that it is packed.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::new("standard input".to_owned(), io::stdin().lock()));
        }
        let plain = Self::open_plain(path)?;
        let Some(compression) = Compression::of(path) else {
            return Ok(plain);
        };
        let unpacked = compression
            .unpack(plain.raw.clone())
            .map_err(|e| Failure::file("cannot read", path, &e))?;
        Ok(Self {
            meant: Shared::new(unpacked),
            is_packed: true,
            ..plain
        })
    }

    /// A file as it is, whatever its name says.
    pub(crate) fn open_plain(path: &Path) -> Result<Self> {
        let failed = |error: io::Error| Failure::file("cannot read", path, &error);
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        Ok(Self::new(path.display().to_string(), file))
    }

    pub(crate) fn new(name: String, source: impl Read + 'static) -> Self {
        let raw = Shared::new(Box::new(source));
        Self {
            name,
            meant: raw.clone(),
            raw,
            is_packed: false,
            lines_left: None,
            failure: None,
        }
    }

    /// Only so many of its lines are read as lines; its fingerprint is that of the whole file.
    pub(crate) fn first_lines(self, lines: Option<u64>) -> Self {
        Self {
            lines_left: lines,
            ..self
        }
    }

    /// The fingerprint of the file as it is meant, if that is not how it is stored.
    fn unpacked(&mut self) -> Result<Option<Fingerprint>> {
        if !self.is_packed {
            return Ok(None);
        }
        io::copy(&mut self.meant, &mut io::sink()).map_err(|e| unread(&self.name, e))?;
        Ok(Some(self.meant.0.borrow().fingerprint()))
    }

    /// The fingerprint of the file as it is stored. What an unpacker left unread belongs to it.
    fn finish(mut self) -> Result<Fingerprint> {
        let name = std::mem::take(&mut self.name);
        io::copy(&mut self.raw, &mut io::sink()).map_err(|e| unread(&name, e))?;
        Ok(self.raw.0.borrow().fingerprint())
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.lines_left == Some(0) {
            return Ok(0);
        }
        match self.meant.read(buffer) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                let kind = error.kind();
                self.failure = Some(unread(&self.name, error));
                Err(kind.into())
            }
            Ok(length) => Ok(self.within_lines(&buffer[..length])),
            result => result,
        }
    }
}

impl Source {
    /// How much of what was read belongs to lines that are to be read.
    fn within_lines(&mut self, read: &[u8]) -> usize {
        let Some(left) = &mut self.lines_left else {
            return read.len();
        };
        for (at, _) in read.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            *left -= 1;
            if *left == 0 {
                return at + 1;
            }
        }
        read.len()
    }
}

fn unread(name: &str, error: io::Error) -> Failure {
    let what = format!("cannot read {name}");
    match error.downcast::<DittoError>() {
        Ok(error) => {
            let failure = Failure::from(error);
            Failure {
                message: format!("{what}: {}", failure.message),
                ..failure
            }
        }
        Err(error) => Failure::io(what, &error),
    }
}

/// The bytes as stored, read by an unpacker, and by us for what it leaves.
#[derive(Clone)]
struct Shared(Rc<RefCell<Hashed<Box<dyn Read>>>>);

impl Shared {
    fn new(source: Box<dyn Read>) -> Self {
        Self(Rc::new(RefCell::new(Hashed::new(source))))
    }
}

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}
