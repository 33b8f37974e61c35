//! Rows of the output and error files, written by hand like the answers in them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

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
    path: PathBuf,
    out: Option<BufWriter<File>>,
    pub(crate) bytes: u64,
}

impl RowFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            out: None,
            bytes: 0,
        }
    }

    pub(crate) fn push(&mut self, row: &[u8]) -> io::Result<()> {
        let out = match &mut self.out {
            Some(out) => out,
            none => none.insert(BufWriter::with_capacity(
                256 * 1024,
                File::create(&self.path)?,
            )),
        };
        self.bytes += row.len() as u64;
        out.write_all(row)
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
    pub(crate) fn of(folder: &Path, batch: &str) -> Self {
        Self {
            output: RowFile::new(folder.join(format!("{batch}.output"))),
            error: RowFile::new(folder.join(format!("{batch}.error"))),
        }
    }
}
