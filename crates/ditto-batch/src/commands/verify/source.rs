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
    pub(crate) input: Fingerprint,
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
        Ok(Proof {
            report,
            input: self.input.finish()?,
            output: self.output.finish()?,
            errors: self.errors.map(Source::finish).transpose()?,
        })
    }
}

/// One file.
pub(crate) struct Source {
    /// For people: a path, or what it is at a server.
    name: String,
    /// As it is stored.
    raw: Shared,
    /// As it is meant.
    reader: Box<dyn Read>,
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
        let reader = compression
            .unpack(plain.raw.clone())
            .map_err(|e| Failure::file("cannot read", path, &e))?;
        Ok(Self { reader, ..plain })
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
        let raw = Shared(Rc::new(RefCell::new(Hashed::new(Box::new(source)))));
        Self {
            name,
            reader: Box::new(raw.clone()),
            raw,
            failure: None,
        }
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
        match self.reader.read(buffer) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                let kind = error.kind();
                self.failure = Some(unread(&self.name, error));
                Err(kind.into())
            }
            result => result,
        }
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

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}
