//! A job that has ended, as its folder tells it to whoever looks later: where its files are, and what
//! they are.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::job;
use super::summary::Summary;
use crate::exit;
use crate::failure::{Failure, Result};
use crate::fingerprint::Fingerprint;

/// What a job notes down when it ends, so that its files are found without being named.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Left {
    /// `None` for standard input, which is kept nowhere.
    pub(crate) input: Option<KeptPath>,
    pub(crate) output: KeptPath,
    pub(crate) errors: KeptPath,
    pub(crate) report: KeptPath,
    /// The report as it was written.
    pub(crate) report_file: Fingerprint,
}

/// A path as a folder keeps it: in relation to the folder that it is in itself, if it can be, so that
/// both may move together. Bytes where it is not text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum KeptPath {
    Text(String),
    Bytes(Vec<u8>),
}

impl KeptPath {
    pub(crate) fn new(path: &Path, beside: &Path) -> Self {
        let path = path.strip_prefix(beside).unwrap_or(path);
        match path.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes(path.as_os_str().as_bytes().to_owned()),
        }
    }

    pub(crate) fn resolve(self, beside: &Path) -> PathBuf {
        let path = match self {
            Self::Text(text) => OsString::from(text),
            Self::Bytes(bytes) => OsString::from_vec(bytes),
        };
        beside.join(path)
    }
}

/// A job that has ended.
#[derive(Debug)]
pub(crate) struct EndedJob {
    pub(crate) summary: Summary,
    pub(crate) input: PathBuf,
    pub(crate) output: PathBuf,
    pub(crate) errors: PathBuf,
    pub(crate) report: PathBuf,
    pub(crate) report_file: Fingerprint,
}

impl EndedJob {
    /// The job in this folder. One that has not ended is exit 10.
    pub(crate) fn find(folder: &Path) -> Result<Self> {
        let known = job::read(folder).map_err(|failure| match failure.exit {
            exit::NOT_FOUND => no_job(folder),
            _ => failure,
        })?;
        let summary = known.ended.ok_or_else(|| not_ended(folder))?;
        let left = known.left.ok_or_else(|| not_noted(folder))?;
        let input = left.input.ok_or_else(|| from_stdin(folder))?;
        let beside = beside(folder).map_err(|e| Failure::file("cannot read", folder, &e))?;
        Ok(Self {
            summary,
            input: input.resolve(&beside),
            output: left.output.resolve(&beside),
            errors: left.errors.resolve(&beside),
            report: left.report.resolve(&beside),
            report_file: left.report_file,
        })
    }
}

/// The folder that a job's folder is in.
pub(crate) fn beside(folder: &Path) -> io::Result<PathBuf> {
    let whole = folder.canonicalize()?;
    Ok(whole.parent().unwrap_or(&whole).to_owned())
}

fn no_job(folder: &Path) -> Failure {
    Failure::new(
        exit::NOT_FOUND,
        format!("{} is not the folder of a job: it has neither job.json nor plan.json", folder.display()),
    )
    .hint("`ditto-batch run X.jsonl` makes the folder X.ditto; or name the files: ditto-batch verify INPUT OUTPUT ERRORS")
}

pub(crate) fn not_ended(folder: &Path) -> Failure {
    Failure::new(
        exit::NOT_FINISHED,
        format!("the job in {} has not ended yet", folder.display()),
    )
    .hint("give its `ditto-batch run` command again, which goes on, and verify once it has ended")
}

fn not_noted(folder: &Path) -> Failure {
    Failure::new(
        exit::CONFLICT,
        format!(
            "the job in {} is of a version that did not note where its files are",
            folder.display()
        ),
    )
    .hint("name them: ditto-batch verify INPUT OUTPUT ERRORS --report REPORT")
}

fn from_stdin(folder: &Path) -> Failure {
    Failure::new(
        exit::NOT_FOUND,
        format!(
            "the input of the job in {} came by standard input and is kept nowhere",
            folder.display()
        ),
    )
    .hint("give it once more: ditto-batch verify - OUTPUT ERRORS --report REPORT < INPUT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_beside_the_job_moves_with_it_and_another_stays() {
        let (old, new) = (Path::new("/old/place"), Path::new("/new"));
        let moved = KeptPath::new(Path::new("/old/place/x.jsonl"), old);
        assert_eq!(moved.resolve(new), Path::new("/new/x.jsonl"));
        let elsewhere = KeptPath::new(Path::new("/results/x"), old);
        assert_eq!(elsewhere.resolve(new), Path::new("/results/x"));
    }

    #[test]
    fn a_path_that_is_no_text_is_kept_to_the_byte() {
        let path = PathBuf::from(OsString::from_vec(b"/a/\xFF.jsonl".to_vec()));
        let json = serde_json::to_string(&KeptPath::new(&path, Path::new("/b"))).unwrap();
        let kept: KeptPath = serde_json::from_str(&json).unwrap();
        assert_eq!(kept.resolve(Path::new("/b")), path);
    }
}
