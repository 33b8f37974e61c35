//! Why a job stopped: what happened, what is safe, what to do next.

use std::fmt;
use std::io;
use std::path::Path;

use crate::error::DittoError;

/// The result of what a job does.
pub type Result<T, E = JobError> = std::result::Result<T, E>;

/// Why a job stopped. What it had recorded is kept; a job that is opened again goes on there.
#[derive(Debug)]
pub struct JobError(Box<Why>);

/// In a box, so that results stay small.
#[derive(Debug)]
struct Why {
    kind: JobErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<DittoError>,
}

/// Of a disk that is full.
const MAKE_SPACE: &str = "nothing recorded is lost; make space, then run again";

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobErrorKind {
    /// The input, or what the provider says of it, is wrong; nothing was bought for it.
    Refused,
    /// No such file or job.
    Missing,
    /// Key, quota or rights.
    NotAllowed,
    /// Something changed, is in use, or must be decided by a person.
    Conflict,
    /// The provider or the way to it is away; run again.
    Away,
    /// The local disk refuses.
    LocalIo,
    /// Something that should not happen.
    Unexpected,
}

impl JobError {
    pub(crate) fn new(kind: JobErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Why {
            kind,
            message: message.into(),
            hint: None,
            source: None,
        }))
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// `what` could not be done to a file: "cannot read".
    pub(crate) fn file(what: &str, path: &Path, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => JobErrorKind::Missing,
            _ => JobErrorKind::LocalIo,
        };
        let failed = Self::new(kind, format!("{what} {}: {error}", path.display()));
        match is_full(error) {
            true => failed.hint(MAKE_SPACE),
            false => failed,
        }
    }

    /// A file of the job's own that is not what the job wrote.
    pub(crate) fn damaged(path: &Path, why: impl fmt::Display) -> Self {
        Self::new(
            JobErrorKind::Conflict,
            format!("{} is damaged: {why}", path.display()),
        )
        .hint("nothing was sent; move the job's folder away to begin anew, batches at the provider stay")
    }

    /// The provider said no to a call, for good.
    pub(crate) fn provider(what: &str, error: DittoError) -> Self {
        let (kind, hint) = match error.status() {
            Some(401..=403) => (
                JobErrorKind::NotAllowed,
                "nothing was bought by this call; check the key, then run again",
            ),
            Some(429) => (
                JobErrorKind::NotAllowed,
                "nothing was bought by this call; look at the account's quota, then run again",
            ),
            Some(400 | 404) if names_model(&error) => (
                JobErrorKind::Refused,
                "nothing was bought by this call; name a model of the provider's in a new input",
            ),
            Some(404 | 405 | 410 | 501) => (
                JobErrorKind::Missing,
                "nothing was bought by this call; the address may be wrong, or there are no batches here",
            ),
            Some(400..=499) => (
                JobErrorKind::Refused,
                "nothing was bought by this call; mend what it names, then run again",
            ),
            Some(_) => (JobErrorKind::Away, "nothing recorded is lost; run again"),
            None => match &error {
                DittoError::Io(error) if is_full(error) => (JobErrorKind::LocalIo, MAKE_SPACE),
                DittoError::Io(_) => (JobErrorKind::LocalIo, "nothing recorded is lost; run again"),
                DittoError::Http(_) | DittoError::Incomplete { .. } => {
                    (JobErrorKind::Away, "nothing recorded is lost; run again")
                }
                DittoError::InvalidResponse(_) => (
                    JobErrorKind::Away,
                    "nothing recorded is lost; look at the address, something else than the API answers \
                     there, then run again",
                ),
                _ => (
                    JobErrorKind::Unexpected,
                    "nothing recorded is lost; run again",
                ),
            },
        };
        let mut stopped = Self::new(kind, what).hint(hint);
        stopped.0.source = Some(error);
        stopped
    }

    /// What to do about it.
    #[must_use]
    pub fn kind(&self) -> JobErrorKind {
        self.0.kind
    }

    /// What is safe and what to do next, if there is more to say.
    #[must_use]
    pub fn what_next(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

fn names_model(error: &DittoError) -> bool {
    matches!(error, DittoError::Api { code: Some(code), .. } if code.contains("model"))
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let Some(source) = &self.0.source {
            // Its own hint is about the call; ours is about the job.
            let text = source.to_string();
            write!(f, ": {}", text.lines().next().unwrap_or_default())?;
        }
        Ok(())
    }
}

impl std::error::Error for JobError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}
