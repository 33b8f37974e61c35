//! Rows of JSONL for the commands that only read and write them: line by line, in flat memory.

pub(crate) mod outlet;
pub(crate) mod request;

use std::io::{self, Read};
use std::path::Path;

use ditto_llm::jsonl::{Line, LineSplitter};

use super::check::input::open;
use crate::exit;
use crate::failure::{Failure, Result};

/// Longer lines are nobody's: an answer of a hundred megabytes is one too.
pub(crate) const MAX_LINE_BYTES: usize = 128 << 20;

const READ_BUFFER: usize = 1 << 20;

/// Hands over each line of an input: a path, `-` for stdin, or a packed file.
pub(crate) fn each_row(path: &Path, on_line: impl FnMut(&Line<'_>) -> Result<()>) -> Result<()> {
    each_row_of(&mut *open(path)?, path, on_line)
}

/// The same of what was opened from `path`.
pub(crate) fn each_row_of(
    reader: &mut dyn Read,
    path: &Path,
    mut on_line: impl FnMut(&Line<'_>) -> Result<()>,
) -> Result<()> {
    let mut splitter = LineSplitter::new(MAX_LINE_BYTES);
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return splitter.finish(|line| on_line(&line)),
            Ok(length) => splitter.feed(&buffer[..length], |line| on_line(&line))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::input(path, &error)),
        }
    }
}

/// A line that a command cannot work with.
pub(crate) fn refused(path: &Path, line: u64, why: &str) -> Failure {
    let message = format!("{}, line {line}: {why}", path.display());
    Failure::new(exit::REFUSED, message)
        .hint("nothing was kept; `ditto-batch check` names what is wrong with each line")
}

/// What a line is too long for.
pub(crate) fn too_long(path: &Path, line: u64) -> Failure {
    refused(
        path,
        line,
        &format!("it has more than {MAX_LINE_BYTES} bytes"),
    )
}
