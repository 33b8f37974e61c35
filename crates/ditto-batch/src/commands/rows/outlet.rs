//! Where rows go: stdout, or a file that is there whole or not at all.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::exit;
use crate::failure::{Failure, Result};
use crate::whole_file::{Mark, Readers, WholeFile};

const BUFFER: usize = 1 << 18;

/// Where rows go.
pub(crate) enum Outlet<'a> {
    Stdout(BufWriter<&'a mut dyn Write>),
    File {
        file: BufWriter<WholeFile>,
        path: PathBuf,
    },
}

impl<'a> Outlet<'a> {
    /// A file if one is named. Nothing that stands there is overwritten.
    pub(crate) fn new(path: Option<&Path>, out: &'a mut dyn Write) -> Result<Self> {
        match path {
            Some(path) => Self::file(path),
            None => Ok(Self::Stdout(BufWriter::with_capacity(BUFFER, out))),
        }
    }

    pub(crate) fn file(path: &Path) -> Result<Self> {
        if std::fs::symlink_metadata(path).is_ok() {
            return Err(taken(path));
        }
        let file = WholeFile::begin(path, &Mark::new(), Readers::AsUsual)
            .map_err(|e| Failure::file("cannot write", path, &e))?;
        Ok(Self::File {
            file: BufWriter::with_capacity(BUFFER, file),
            path: path.to_owned(),
        })
    }

    /// A row and its end.
    pub(crate) fn row(&mut self, row: &[u8]) -> Result<()> {
        let written = self.write_all(row).and_then(|()| self.write_all(b"\n"));
        written.map_err(|e| self.failed(&e))
    }

    /// A failure to write, as one sentence.
    pub(crate) fn failed(&self, error: &io::Error) -> Failure {
        match self {
            Self::Stdout(_) => Failure::io("cannot write the rows", error),
            Self::File { path, .. } => Failure::file("cannot write", path, error),
        }
    }

    /// Puts the file into its place.
    pub(crate) fn finish(self) -> Result<()> {
        match self {
            Self::Stdout(mut out) => out
                .flush()
                .map_err(|e| Failure::io("cannot write the rows", &e)),
            Self::File { file, path } => {
                let failed = |e: &io::Error| Failure::file("cannot write", &path, e);
                let file = file.into_inner().map_err(|e| failed(e.error()))?;
                match file.place_new().map_err(|e| failed(&e))? {
                    true => Ok(()),
                    false => Err(taken(&path)),
                }
            }
        }
    }
}

impl Write for Outlet<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::File { file, .. } => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File { file, .. } => file.flush(),
        }
    }
}

fn taken(path: &Path) -> Failure {
    Failure::new(
        exit::CONFLICT,
        format!("{} is there already", path.display()),
    )
    .hint("it was not touched; move it away, or name another place")
}
