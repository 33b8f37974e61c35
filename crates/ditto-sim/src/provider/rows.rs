//! Rows of the output and error files, written by hand like the answers in them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::provider::fault::ProviderFault as Fault;
use crate::provider::mischief::Plight;

/// One row, as the protocol has it.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    /// The JSON token, with its quotes.
    pub(crate) custom_id: &'a str,
    /// Makes the ids of row and request.
    pub(crate) hash: u64,
    pub(crate) nth: u32,
    pub(crate) result: Outcome<'a>,
}

#[derive(Debug)]
pub(crate) enum Outcome<'a> {
    /// The model, or something before it, answered with this status and body.
    Response { status: u16, body: &'a [u8] },
    /// There was no answer.
    Error { code: &'a str, message: &'a str },
}

impl Row<'_> {
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let Self {
            custom_id,
            hash,
            nth,
            result,
        } = self;
        write!(
            out,
            r#"{{"id":"batch_req_sim_{hash:016x}_{nth}","custom_id":{custom_id},"#
        )?;
        match result {
            Outcome::Response { status, body } => {
                write!(
                    out,
                    r#""response":{{"status_code":{status},"request_id":"req_sim_{hash:016x}_{nth}","body":"#
                )?;
                out.write_all(body)?;
                out.write_all(br#"},"error":null}"#)
            }
            Outcome::Error { code, message } => write!(
                out,
                r#""response":null,"error":{{"code":"{code}","message":"{message}"}}}}"#
            ),
        }
    }
}

/// A file of rows; it exists from the first row on.
#[derive(Debug)]
pub(crate) struct RowFile {
    out: Option<BufWriter<File>>,
    bytes: u64,
    path: PathBuf,
    /// Behind each row.
    ending: &'static [u8],
    has_bom: bool,
}

impl RowFile {
    fn new(path: PathBuf, plight: &Plight) -> Self {
        let ending: &[u8] = match (plight.has(Fault::Crlf), plight.has(Fault::BlankLines)) {
            (false, false) => b"\n",
            (true, false) => b"\r\n",
            (false, true) => b"\n\n",
            (true, true) => b"\r\n\r\n",
        };
        Self {
            out: None,
            bytes: 0,
            path,
            ending,
            has_bom: plight.has(Fault::Bom),
        }
    }

    pub(crate) fn push(&mut self, row: &[u8]) -> io::Result<()> {
        self.open()?;
        self.write(row)?;
        self.write(self.ending)
    }

    /// It is there from now on, also without a row.
    pub(crate) fn open(&mut self) -> io::Result<()> {
        if self.out.is_none() {
            let file = File::create(&self.path)?;
            self.out = Some(BufWriter::with_capacity(256 * 1024, file));
            if self.has_bom {
                self.write(b"\xef\xbb\xbf")?;
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(out) = &mut self.out else {
            return Ok(());
        };
        self.bytes += bytes.len() as u64;
        out.write_all(bytes)
    }

    /// The path, if there are rows.
    pub(crate) fn close(mut self) -> io::Result<Option<Written>> {
        let Some(out) = &mut self.out else {
            return Ok(None);
        };
        out.flush()?;
        Ok(Some(Written {
            path: self.path,
            bytes: self.bytes,
        }))
    }
}

/// A file of rows that is finished.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

/// Where the rows of a batch go.
#[derive(Debug)]
pub(crate) struct RowFiles {
    pub(crate) output: RowFile,
    pub(crate) error: RowFile,
}

impl RowFiles {
    pub(crate) fn of(folder: &Path, batch: &str, plight: &Plight) -> Self {
        let file = |kind| RowFile::new(folder.join(format!("{batch}.{kind}")), plight);
        Self {
            output: file("output"),
            error: file("error"),
        }
    }
}
