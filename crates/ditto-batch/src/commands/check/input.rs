//! An input as the user names it: a path, stdin, or a compressed file.

use std::{
    fmt,
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use crate::exit;

/// Why a command could not do its work, and the exit code for that.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: u8,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn usage(message: String, hint: String) -> Self {
        Self {
            exit: exit::USAGE,
            message,
            hint: Some(hint),
        }
    }

    /// `what` could not be done: "cannot read requests.jsonl".
    pub(crate) fn io(what: impl fmt::Display, error: &io::Error) -> Self {
        let exit = match error.kind() {
            io::ErrorKind::NotFound => exit::NOT_FOUND,
            _ => exit::LOCAL_IO,
        };
        Self {
            exit,
            message: format!("{what}: {}", reason(error)),
            hint: None,
        }
    }

    pub(crate) fn reading(path: &Path, error: &io::Error) -> Self {
        Self::io(format_args!("cannot read {}", path.display()), error)
    }

    /// Says it on stderr and gives the exit code.
    pub(crate) fn report(&self, err: &mut dyn Write) -> u8 {
        // With stderr closed too, the exit code is all that is left to say.
        let _ = writeln!(err, "error: {}", self.message);
        if let Some(hint) = &self.hint {
            let _ = writeln!(err, "hint: {hint}");
        }
        self.exit
    }
}

/// The system's words without its number, which helps nobody.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => error.kind().to_string(),
    }
}

/// Opens `path` for reading: `-` is stdin; what ends in `.gz` or `.zst` is unpacked on the way.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Read>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let failed = |error: io::Error| Failure::reading(path, &error);
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => Ok(Box::new(flate2::read::MultiGzDecoder::new(file))),
        Some("zst") => Ok(Box::new(zstd::Decoder::new(file).map_err(failed)?)),
        _ => Ok(Box::new(file)),
    }
}

/// `1 fault`, `12,345 faults`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(count))
}

/// `12,345`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
