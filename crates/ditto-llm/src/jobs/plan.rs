//! What a job is about and how it is cut: small files in its folder, written once each.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::error::{JobError, JobErrorKind, Result};
use super::input::InputIdentity;
use crate::check::{BareIds, Fill};
use crate::profiles::Profile;

/// Raised when a folder of an older version cannot be read any more.
pub(crate) const VERSION: u32 = 1;

pub(crate) const PLAN: &str = "plan.json";

/// What a job is about. It does not change after the first pass over the input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    /// Of the format.
    pub version: u32,
    /// What the batches of this job are known by at the provider.
    pub key: String,
    /// The provider's profile as it was then.
    pub profile: Profile,
    /// The input as it was then.
    pub input: InputIdentity,
    /// Where the requests go, as the input spells it.
    pub endpoint: String,
    /// The completion window.
    pub window: String,
    /// The model of bodies that name none.
    pub model: Option<String>,
    /// Physical lines.
    pub lines: u64,
    /// Lines that are not blank.
    pub requests: u64,
    /// Lines that were refused and are not sent.
    pub withheld: u64,
    /// The first of the reasons, with the lines that have it.
    pub withheld_for: BTreeMap<String, u64>,
    /// Prompt tokens of all shards, about.
    pub tokens: u64,
    /// How many lines name each model, for the first hundred of them.
    pub models: BTreeMap<String, u64>,
    /// Whether any line goes out under another `custom_id`.
    pub renames: bool,
    /// What keeps the names of bare bodies apart from ids of the input.
    pub bare_suffix: String,
    /// Only so many of the input's requests were to be taken, and `lines` ends with the last of them.
    #[serde(default)]
    pub limit: Option<u64>,
}

impl Plan {
    /// What was supplied where a line lacked it.
    pub(crate) fn fill(&self) -> Fill {
        Fill {
            model: self.model.clone(),
            endpoint: Some(self.endpoint.clone()),
            bare: Some(BareIds {
                suffix: self.bare_suffix.clone(),
            }),
        }
    }

    /// Whether this line of the input is one of the job's.
    pub(crate) fn takes(&self, line: u64) -> bool {
        self.limit.is_none() || line <= self.lines
    }

    pub(crate) fn save(&self, folder: &Path) -> Result<()> {
        write_json(&folder.join(PLAN), self)
    }

    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(PLAN);
        let version: Versioned = read_json(&path)?;
        if version.version != VERSION {
            return Err(JobError::new(
                JobErrorKind::Conflict,
                format!("{} is not of this version", path.display()),
            )
            .hint("nothing was changed; open the job with the version that began it"));
        }
        read_json(&path)
    }
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// One pass over lines that are still to be answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Counted from 1.
    pub number: u32,
    /// In the order of their first lines.
    pub shards: Vec<Shard>,
}

/// Lines of the input that become one batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Counted from 1 over all rounds.
    pub number: u32,
    /// The round it belongs to.
    pub round: u32,
    /// The model of its lines; none where a batch may have several.
    pub model: Option<String>,
    /// Its first line in the input.
    pub first_line: u64,
    /// Its last one.
    pub last_line: u64,
    /// How many lines it has.
    pub lines: u64,
    /// Their bytes in the input.
    pub bytes: u64,
    /// Runs of consecutive lines that it consists of.
    pub runs: u64,
    /// Prompt tokens, about.
    pub tokens: u64,
    /// Sum of the hashes of its lines, in hex.
    pub hash: String,
    /// How its lines go out.
    pub form: Form,
    /// It goes first and alone, to see whether the provider answers such lines at all.
    pub canary: bool,
}

/// How the lines of a shard go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Read from the input, byte for byte.
    AsItIs,
    /// Copied first: they are scattered, or spelled otherwise for the provider.
    Copied,
    /// Copied with other `custom_id`s, which are turned back afterwards.
    Renamed,
}

impl Round {
    pub(crate) fn path(folder: &Path, number: u32) -> PathBuf {
        folder.join(format!("round-{number:04}.json"))
    }

    pub(crate) fn save(&self, folder: &Path) -> Result<()> {
        write_json(&Self::path(folder, self.number), self)
    }

    /// All rounds that were planned whole.
    pub(crate) fn load_all(folder: &Path) -> Result<Vec<Self>> {
        let mut rounds = Vec::new();
        for number in 1.. {
            let path = Self::path(folder, number);
            if !path.exists() {
                break;
            }
            rounds.push(read_json(&path)?);
        }
        Ok(rounds)
    }
}

impl Shard {
    /// The file of its runs.
    pub(crate) fn runs_path(folder: &Path, number: u32) -> PathBuf {
        folder.join("shards").join(format!("{number:06}.runs"))
    }

    /// Its lines as they go out, where they had to be copied.
    pub(crate) fn spool_path(&self, folder: &Path) -> PathBuf {
        let name = format!("{:06}.jsonl", self.number);
        folder.join("shards").join(name)
    }

    /// What came of each of its lines.
    pub(crate) fn index_path(&self, folder: &Path) -> PathBuf {
        let name = format!("{:06}.index", self.number);
        folder.join("shards").join(name)
    }

    /// A file that the provider gave for it.
    pub(crate) fn raw_path(&self, folder: &Path, which: &str) -> PathBuf {
        let name = format!("{:06}.{which}.jsonl", self.number);
        folder.join("raw").join(name)
    }
}

/// Writes a small file, all at once: it is there whole and durable, or as it was before.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let json = serde_json::to_vec_pretty(value).expect("plans are plain data");
    write_whole(path, |out| out.write_all(&json))
}

/// As [`write_json`], with anything in it.
pub(crate) fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let all = || {
        let mut part = NamedTempFile::new_in(folder)?;
        {
            let mut out = std::io::BufWriter::with_capacity(1 << 16, &mut part);
            write(&mut out)?;
            out.flush()?;
        }
        part.as_file().sync_all()?;
        part.persist(path).map_err(|e| e.error)?;
        std::fs::File::open(folder)?.sync_all()
    };
    all().map_err(|e| JobError::file("cannot write", path, &e))
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(|e| JobError::file("cannot read", path, &e))?;
    serde_json::from_slice(&bytes).map_err(|e| JobError::damaged(path, e))
}
