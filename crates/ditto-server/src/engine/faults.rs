//! The faulty lines of a lenient batch: collected in a scratch file while the input is read,
//! written in order of lines behind it. Memory does not grow with their number.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};
use std::iter::Peekable;
use std::path::Path;

use ditto_llm::check::Fault;
use ditto_llm::ids::Duplicates;
use ditto_llm::jsonl::split_lines;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::result_line::{self, LineError, Name};
use crate::blobs::BlobWriter;
use crate::error::{Error, Result};
use crate::model::plan::Entry;

/// A faulty line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FaultyLine {
    pub(crate) line: u64,
    /// JSON string with its quotes, if the line shows one.
    pub(crate) custom_id: Option<Box<RawValue>>,
    pub(crate) code: String,
    pub(crate) message: String,
}

impl FaultyLine {
    pub(crate) fn new(fault: &Fault, custom_id: Option<String>) -> Self {
        Self {
            line: fault.line.unwrap_or_default(),
            custom_id: custom_id.and_then(|id| RawValue::from_string(id).ok()),
            code: fault.code.as_str().to_owned(),
            message: fault.message.clone(),
        }
    }

    /// A line whose model nobody serves.
    pub(crate) fn unknown_model(line: u64, custom_id: &[u8], model: &str) -> Self {
        let custom_id = std::str::from_utf8(custom_id).ok();
        Self {
            line,
            custom_id: custom_id.and_then(|id| RawValue::from_string(id.to_owned()).ok()),
            code: "model_not_found".to_owned(),
            message: format!("The provided model '{model}' is not supported by the Batch API."),
        }
    }
}

/// The error line of a faulty line.
pub(crate) fn fault_line(line_id: &str, custom_id: &[u8], fault: &FaultyLine) -> Vec<u8> {
    let mut out = Vec::new();
    let error = LineError {
        code: &fault.code,
        message: &fault.message,
    };
    result_line::write(
        &mut out,
        Name {
            id: line_id,
            custom_id,
        },
        None,
        Some(error),
    );
    out
}

/// Reads one segment's run of the faults blob, by line.
pub(crate) fn read_run(bytes: &[u8]) -> Result<BTreeMap<u64, FaultyLine>> {
    split_lines(bytes)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let fault: FaultyLine = serde_json::from_slice(line)
                .map_err(|e| Error::storage("the faults of a batch are damaged", e))?;
            Ok((fault.line, fault))
        })
        .collect()
}

/// Faults as they are found, in order of lines.
#[derive(Debug)]
pub(crate) struct FaultSpool {
    file: BufWriter<std::fs::File>,
    count: u64,
}

impl FaultSpool {
    pub(crate) fn new(scratch: &Path) -> io::Result<Self> {
        Ok(Self {
            file: BufWriter::new(tempfile::tempfile_in(scratch)?),
            count: 0,
        })
    }

    pub(crate) fn push(&mut self, fault: &FaultyLine) -> io::Result<()> {
        self.count += 1;
        serde_json::to_writer(&mut self.file, fault)?;
        self.file.write_all(b"\n")
    }

    /// All faults in order of lines, with the duplicates that only showed at the end. A line has
    /// one: its own comes before that of a duplicate.
    pub(crate) fn in_order(self, late: Peekable<Duplicates>) -> Result<InOrder> {
        let mut file = self
            .file
            .into_inner()
            .map_err(|e| scratch_failed(e.into_error()))?;
        file.rewind().map_err(scratch_failed)?;
        let own = Spooled {
            reader: BufReader::new(file),
        };
        Ok(InOrder {
            own: own.peekable(),
            late: LateFaults(late).peekable(),
        })
    }
}

struct Spooled {
    reader: BufReader<std::fs::File>,
}

impl Iterator for Spooled {
    type Item = Result<FaultyLine>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        match self.reader.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_slice(&line).map_err(|e| scratch_failed(e.into()))),
            Err(error) => Some(Err(scratch_failed(error))),
        }
    }
}

struct LateFaults(Peekable<Duplicates>);

impl Iterator for LateFaults {
    type Item = Result<FaultyLine>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.0.next()?;
        Some(match found {
            Ok((line, first)) => Ok(FaultyLine::new(&Fault::late_duplicate(line, first), None)),
            Err(error) => Err(scratch_failed(error)),
        })
    }
}

/// Faults of a whole file in order of lines.
pub(crate) struct InOrder {
    own: Peekable<Spooled>,
    late: Peekable<LateFaults>,
}

impl Iterator for InOrder {
    type Item = Result<FaultyLine>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = |next: Option<&Result<FaultyLine>>| match next {
            None => u64::MAX,
            Some(Ok(fault)) => fault.line,
            Some(Err(_)) => 0,
        };
        let (own, late) = (line(self.own.peek()), line(self.late.peek()));
        if own == late && own != u64::MAX {
            self.late.next();
        }
        if own <= late {
            self.own.next()
        } else {
            self.late.next()
        }
    }
}

/// Writes the faults blob, each segment's faults in one run; the entries learn where theirs is.
pub(crate) async fn place(
    entries: &mut [Entry],
    faults: InOrder,
    blob: &mut BlobWriter,
) -> Result<()> {
    let mut faults = faults.peekable();
    for entry in entries {
        let end = entry.first_line + u64::from(entry.lines);
        entry.faults_at = blob.written();
        while let Some(fault) = faults.next_if(|next| next.as_ref().map_or(true, |f| f.line < end))
        {
            let mut line = serde_json::to_vec(&fault?).expect("a fault is plain data");
            line.push(b'\n');
            blob.write(&line).await?;
            entry.faults += 1;
        }
        entry.faults_length = u32::try_from(blob.written() - entry.faults_at)
            .map_err(|_| Error::internal("the faults of one segment are larger than 4 GiB"))?;
    }
    Ok(())
}

pub(crate) fn scratch_failed(error: io::Error) -> Error {
    Error::storage("the scratch space of validation failed", error)
}
