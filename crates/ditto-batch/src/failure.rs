//! Why a command could not do its work: what happened, what is safe, what to do next.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

use ditto_llm::DittoError;
use ditto_server::ErrorKind;

use crate::exit;
use crate::printer::{say, show};

/// Of a disk that is full. Only jobs write files of any size, and what a job recorded is kept.
pub(crate) const MAKE_SPACE: &str =
    "nothing recorded is lost; make space and run the same command again";

/// Of an answer that is none of the API's: a page for people, a proxy's word.
const NOT_THE_API: &str = "look at the address: something else than the API answers there";

/// The end of a command before its work was done.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: u8,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub(crate) fn new(exit: u8, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hint: None,
        }
    }

    /// The command line or a setting is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(exit::USAGE, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// `what` could not be done: "cannot write the report".
    pub(crate) fn io(what: impl Display, error: &io::Error) -> Self {
        let exit = match error.kind() {
            io::ErrorKind::NotFound => exit::NOT_FOUND,
            _ => exit::LOCAL_IO,
        };
        Self::new(exit, format!("{what}: {}", reason(error)))
    }

    /// `what` could not be done to a file: "cannot read".
    pub(crate) fn file(what: &str, path: &Path, error: &io::Error) -> Self {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        let failure = Self::io(format_args!("{what} {}", path.display()), error);
        match error.kind() {
            StorageFull | QuotaExceeded => failure.hint(MAKE_SPACE),
            _ => failure,
        }
    }

    /// An input could not be read. What it holds may be at fault, and not the disk.
    pub(crate) fn input(path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::new(
                exit::REFUSED,
                format!("cannot unpack {}: {error}", path.display()),
            )
            .hint("nothing was sent; pack it anew, or take `.gz` or `.zst` off its name if it is not packed"),
            _ => Self::file("cannot read", path, error),
        }
    }

    /// The server refuses its settings.
    pub(crate) fn of_settings(error: ditto_server::Error) -> Self {
        let failure = Self::from(error);
        match failure.exit {
            exit::REFUSED => Self {
                exit: exit::USAGE,
                ..failure
            },
            _ => failure,
        }
    }

    /// A data folder could not be opened, with settings that were found to be good: what is there is
    /// damaged, or of another program or release.
    pub(crate) fn of_opening(error: ditto_server::Error) -> Self {
        let failure = Self::from(error);
        match failure.exit {
            exit::REFUSED => Self {
                exit: exit::LOCAL_IO,
                ..failure
            },
            _ => failure,
        }
    }

    /// Says it on stderr and gives the exit code.
    pub(crate) fn report(&self, err: &mut dyn Write) -> u8 {
        say(err, format_args!("error: {}", self.message));
        if let Some(hint) = &self.hint {
            say(err, format_args!("hint: {hint}"));
        }
        self.exit
    }

    /// The same for programs.
    pub(crate) fn report_json(&self, out: &mut dyn Write) {
        let value = serde_json::json!({
            "exit": self.exit,
            "error": self.message,
            "hint": self.hint,
        });
        // A closed pipe: nobody is left to tell, and the exit code says it too.
        let _ = show(out, &value);
    }
}

/// The engine said no.
impl From<ditto_server::Error> for Failure {
    fn from(error: ditto_server::Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::Invalid | ErrorKind::TooLarge => exit::REFUSED,
            ErrorKind::Missing => exit::NOT_FOUND,
            ErrorKind::Conflict => exit::CONFLICT,
            ErrorKind::Busy | ErrorKind::Unavailable | ErrorKind::NoSpace => exit::LOCAL_IO,
            ErrorKind::Full => exit::NOT_ALLOWED,
            _ => exit::UNEXPECTED,
        };
        Self::new(exit, error.message())
    }
}

/// A server, or the way to it, said no.
impl From<DittoError> for Failure {
    fn from(error: DittoError) -> Self {
        let failure = Self::new(exit_of(&error), error.to_string());
        match error {
            DittoError::InvalidResponse(_) => failure.hint(NOT_THE_API),
            _ => failure,
        }
    }
}

fn exit_of(error: &DittoError) -> u8 {
    match error {
        DittoError::Api { status, .. } => exit_of_status(*status),
        DittoError::Http(_) | DittoError::Incomplete { .. } | DittoError::InvalidResponse(_) => {
            exit::AWAY
        }
        DittoError::Io(error) if error.kind() == io::ErrorKind::NotFound => exit::NOT_FOUND,
        DittoError::Io(_) => exit::LOCAL_IO,
        DittoError::InvalidRequest(_) | DittoError::InvalidConfig(_) => exit::USAGE,
        DittoError::WaitedTooLong { .. } => exit::NOT_FINISHED,
        _ => exit::UNEXPECTED,
    }
}

fn exit_of_status(status: u16) -> u8 {
    match status {
        401..=403 | 429 => exit::NOT_ALLOWED,
        404 | 410 => exit::NOT_FOUND,
        409 => exit::CONFLICT,
        408 | 500.. => exit::AWAY,
        _ => exit::REFUSED,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_sentence_and_a_hint_on_its_own_line() {
        let mut err = Vec::new();
        let failure = Failure::usage("no such thing").hint("give another");
        assert_eq!(failure.report(&mut err), exit::USAGE);
        assert_eq!(err, b"error: no such thing\nhint: give another\n");
    }

    #[test]
    fn a_failure_for_programs_is_one_object() {
        let mut out = Vec::new();
        Failure::new(exit::AWAY, "gone").report_json(&mut out);
        assert_eq!(out, b"{\"error\":\"gone\",\"exit\":6,\"hint\":null}\n");
    }

    #[test]
    fn a_file_that_is_not_there_is_told_from_a_disk_that_refuses() {
        let said = |kind: io::ErrorKind| {
            let failure = Failure::file("cannot read", Path::new("x"), &kind.into());
            (failure.exit, failure.message)
        };
        assert_eq!(
            said(io::ErrorKind::NotFound),
            (
                exit::NOT_FOUND,
                "cannot read x: entity not found".to_owned()
            )
        );
        assert_eq!(said(io::ErrorKind::PermissionDenied).0, exit::LOCAL_IO);
    }

    #[test]
    fn what_the_engine_refuses_is_the_input_a_setting_or_what_it_finds() {
        let error = || ditto_server::Error::invalid("wrong");
        assert_eq!(Failure::from(error()).exit, exit::REFUSED);
        assert_eq!(Failure::of_settings(error()).exit, exit::USAGE);
        assert_eq!(Failure::of_opening(error()).exit, exit::LOCAL_IO);
    }
}
