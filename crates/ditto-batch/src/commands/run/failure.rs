//! What ends a job before its end: what happened, what is safe, what to do next.

use std::fmt::Display;
use std::io::Write;
use std::path::Path;

use ditto_server::{Error, ErrorKind};

use crate::exit;

/// A job that did not come to its end.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: u8,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub(crate) fn new(exit: u8, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The local disk said no.
    pub(crate) fn io(what: impl Display, path: &Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let message = format!("{what} {}: {error}", path.display());
        match error.kind() {
            Io::NotFound => Self::new(exit::NOT_FOUND, message),
            Io::StorageFull | Io::QuotaExceeded => Self::new(exit::LOCAL_IO, message)
                .hint("nothing recorded is lost; make space and run the same command again"),
            _ => Self::new(exit::LOCAL_IO, message),
        }
    }

    /// The engine said no.
    pub(crate) fn server(error: Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::Invalid | ErrorKind::TooLarge => exit::REFUSED,
            ErrorKind::Missing => exit::NOT_FOUND,
            ErrorKind::Conflict => exit::CONFLICT,
            ErrorKind::Busy | ErrorKind::Unavailable => exit::LOCAL_IO,
            _ => exit::UNEXPECTED,
        };
        Self::new(exit, error.to_string())
    }

    pub(crate) fn print(&self, json: bool, out: &mut dyn Write) {
        if json {
            let value = serde_json::json!({
                "exit": self.exit,
                "error": self.message,
                "hint": self.hint,
            });
            // A closed pipe: nobody is left to tell.
            let _ = writeln!(out, "{value}");
        }
        let mut err = std::io::stderr();
        let _ = writeln!(err, "error: {}", self.message);
        if let Some(hint) = &self.hint {
            let _ = writeln!(err, "hint: {hint}");
        }
    }
}
