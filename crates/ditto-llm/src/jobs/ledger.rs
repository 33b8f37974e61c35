//! The ledger of a job: each step of each shard, durable before anything follows from it.
//!
//! One line of JSON a step, appended and synced. A line that a crash cut off says something that
//! nothing was done about yet: it is taken away when the ledger is opened.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{JobError, JobErrorKind, Result};
use super::state::{State, Step};

pub(crate) const LEDGER: &str = "ledger.jsonl";

/// A ledger of more is no job's: a job of a billion lines at five thousand a shard has two million
/// steps of less than a kilobyte.
const MAX_BYTES: u64 = 4 << 30;

/// The ledger, open for appending.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    file: File,
    known: Known,
    /// An append failed: what is on disk is not known, so nothing more may be done.
    broken: bool,
}

/// What a ledger says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    states: BTreeMap<u32, State>,
    /// Batches of a shard that have failed before anything ran, or were given up; the shard goes on under
    /// a new key.
    spent: BTreeMap<u32, Vec<String>>,
    /// Files of a shard that were uploaded.
    uploaded: BTreeMap<u32, Vec<String>>,
    learned: Learned,
    reopened: Option<Reopened>,
    reasons: BTreeMap<String, u64>,
}

/// Reasons for which batches have failed that are told apart: a provider may put a number into each.
const MAX_REASONS: usize = 20;

/// What was learned of the provider's limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Learned {
    /// Tokens that may be enqueued.
    pub(crate) max_enqueued_tokens: Option<u64>,
    /// Lines of a batch.
    #[serde(default)]
    pub(crate) max_lines: Option<u64>,
}

/// The job had ended, and was asked to send lines that have failed once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reopened {
    /// Shards from this one on came after it: what lines may cost is counted anew.
    pub(crate) from_shard: u32,
    /// And rounds.
    pub(crate) from_round: u32,
    /// Also lines that the provider has refused.
    pub(crate) refused_too: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Entry {
    Step {
        shard: u32,
        #[serde(flatten)]
        step: Step,
    },
    Learned {
        learned: Learned,
    },
    Reopened {
        reopened: Reopened,
    },
}

impl Known {
    /// What the ledger in this folder says at the moment; nothing is changed, and who writes it may
    /// go on.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(LEDGER);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            // Planned, and not yet run.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(JobError::file("cannot read", &path, &e)),
        };
        Self::of(&bytes[..whole_lines(&bytes)], &path)
    }

    fn of(bytes: &[u8], path: &Path) -> Result<Self> {
        let mut known = Self::default();
        for (line, number) in crate::jsonl::split_lines(bytes).zip(1..) {
            let damaged = |why: String| JobError::damaged(path, format!("line {number}: {why}"));
            let entry: Entry = serde_json::from_slice(line).map_err(|e| damaged(e.to_string()))?;
            match entry {
                Entry::Step { shard, step } => {
                    let state = known.state(shard).clone();
                    let after = state
                        .after(&step)
                        .map_err(|e| damaged(format!("shard {shard}: {e}")))?;
                    known.hear(&step);
                    known.take(shard, after);
                }
                Entry::Learned { learned } => known.learned = learned,
                Entry::Reopened { reopened } => known.reopened = Some(reopened),
            }
        }
        Ok(known)
    }

    /// How far a shard is.
    pub(crate) fn state(&self, shard: u32) -> &State {
        self.states.get(&shard).unwrap_or(&State::Planned)
    }

    /// Notes why batches have failed as a whole.
    fn hear(&mut self, step: &Step) {
        let why = match step {
            Step::Full { why } => Some(why.as_str()),
            Step::Ended { end } => end.failed_for(),
            _ => None,
        };
        let Some(why) = why else { return };
        if self.reasons.contains_key(why) || self.reasons.len() < MAX_REASONS {
            *self.reasons.entry(why.to_owned()).or_default() += 1;
        }
    }

    fn take(&mut self, shard: u32, after: State) {
        let before = self.states.insert(shard, after);
        match (before, self.state(shard)) {
            (Some(State::Open { batch, .. }), State::Uploaded { .. } | State::Stuck { .. }) => {
                self.spent.entry(shard).or_default().push(batch);
            }
            (Some(State::Uploading), State::Uploaded { file }) => {
                let file = file.clone();
                self.uploaded.entry(shard).or_default().push(file);
            }
            _ => {}
        }
    }
}

/// How many bytes at the beginning are whole lines.
fn whole_lines(bytes: &[u8]) -> usize {
    memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1)
}

impl Ledger {
    /// Opens the ledger in this folder, or begins one.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(LEDGER);
        let failed = |e: &io::Error| JobError::file("cannot open", &path, e);
        let existed = path.exists();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| failed(&e))?;
        if !existed {
            // The name must last before the first step does.
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(|e| failed(&e))?;
        }
        if file.metadata().map_err(|e| failed(&e))?.len() > MAX_BYTES {
            return Err(JobError::damaged(&path, "it is larger than any job's"));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| failed(&e))?;
        let whole = whole_lines(&bytes);
        if whole < bytes.len() {
            let cut = || -> io::Result<()> {
                file.set_len(whole as u64)?;
                file.sync_all()
            };
            cut().map_err(|e| failed(&e))?;
        }
        file.seek(SeekFrom::End(0)).map_err(|e| failed(&e))?;
        let known = Known::of(&bytes[..whole], &path)?;
        Ok(Self {
            path,
            file,
            known,
            broken: false,
        })
    }

    /// How far a shard is.
    pub(crate) fn state(&self, shard: u32) -> &State {
        self.known.state(shard)
    }

    pub(crate) fn learned(&self) -> Learned {
        self.known.learned
    }

    /// What the provider said of batches that failed as a whole, with how many.
    pub(crate) fn reasons(&self) -> &BTreeMap<String, u64> {
        &self.known.reasons
    }

    /// The last time that the job was opened anew, if it ever was.
    pub(crate) fn reopened(&self) -> Option<Reopened> {
        self.known.reopened
    }

    /// Takes a step. When this returns, it will be remembered whatever happens.
    pub(crate) fn step(&mut self, shard: u32, step: Step) -> Result<()> {
        let after =
            self.state(shard).clone().after(&step).map_err(|e| {
                JobError::new(JobErrorKind::Unexpected, format!("shard {shard}: {e}"))
            })?;
        let entry = Entry::Step { shard, step };
        self.append(&entry)?;
        if let Entry::Step { step, .. } = &entry {
            self.known.hear(step);
        }
        self.known.take(shard, after);
        Ok(())
    }

    /// Batches of the shard that have failed before anything ran, or were given up.
    pub(crate) fn spent(&self, shard: u32) -> &[String] {
        self.known.spent.get(&shard).map_or(&[], Vec::as_slice)
    }

    /// Files of the shard that were uploaded.
    pub(crate) fn uploaded(&self, shard: u32) -> &[String] {
        self.known.uploaded.get(&shard).map_or(&[], Vec::as_slice)
    }

    /// Keeps what was learned.
    pub(crate) fn learn(&mut self, learned: Learned) -> Result<()> {
        self.append(&Entry::Learned { learned })?;
        self.known.learned = learned;
        Ok(())
    }

    /// The job goes on after its end.
    pub(crate) fn reopen(&mut self, reopened: Reopened) -> Result<()> {
        self.append(&Entry::Reopened { reopened })?;
        self.known.reopened = Some(reopened);
        Ok(())
    }

    fn append(&mut self, entry: &Entry) -> Result<()> {
        if self.broken {
            return Err(JobError::new(
                JobErrorKind::LocalIo,
                format!("{} could not be written before", self.path.display()),
            )
            .hint("nothing recorded is lost; open the job again"));
        }
        let mut line = serde_json::to_vec(entry).expect("entries are plain data");
        line.push(b'\n');
        // A part of the line may be there: only opening the ledger anew finds out.
        self.broken = true;
        self.file
            .write_all(&line)
            .and_then(|()| self.file.sync_data())
            .map_err(|e| {
                JobError::file("cannot write", &self.path, &e)
                    .hint("nothing recorded is lost; make space, then run again")
            })?;
        self.broken = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk() -> Vec<(u32, Step)> {
        vec![
            (1, Step::Upload),
            (1, Step::Uploaded { file: "f1".into() }),
            (2, Step::Upload),
            (1, Step::Create { at: 7 }),
            (2, Step::Uploaded { file: "f2".into() }),
            (
                1,
                Step::Created {
                    batch: "b1".into(),
                    at: 8,
                },
            ),
        ]
    }

    fn names(ledger: &Ledger) -> [&'static str; 2] {
        [1, 2].map(|shard| ledger.state(shard).name())
    }

    #[test]
    fn a_ledger_opens_as_it_was_left() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        for (shard, step) in walk() {
            ledger.step(shard, step).unwrap();
        }
        let learned = Learned {
            max_enqueued_tokens: Some(9),
            max_lines: Some(7),
        };
        ledger.learn(learned).unwrap();
        drop(ledger);
        let ledger = Ledger::open(folder.path()).unwrap();
        assert_eq!(names(&ledger), ["open", "uploaded"]);
        assert_eq!(ledger.learned(), learned);
        assert_eq!(ledger.state(3), &State::Planned);
    }

    #[test]
    fn a_ledger_cut_off_anywhere_opens_as_it_was_after_its_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        let mut whole = vec![(0, names(&ledger))];
        for (shard, step) in walk() {
            ledger.step(shard, step).unwrap();
            let length = std::fs::metadata(&ledger.path).unwrap().len();
            whole.push((length, names(&ledger)));
        }
        let bytes = std::fs::read(&ledger.path).unwrap();
        drop(ledger);
        for cut in 0..=bytes.len() {
            std::fs::write(folder.path().join(LEDGER), &bytes[..cut]).unwrap();
            let ledger = Ledger::open(folder.path()).unwrap();
            let (length, expected) = whole.iter().rfind(|(at, _)| *at <= cut as u64).unwrap();
            assert_eq!(&names(&ledger), expected, "cut at {cut}");
            // And goes on there.
            assert_eq!(std::fs::metadata(&ledger.path).unwrap().len(), *length);
        }
    }

    #[test]
    fn a_ledger_goes_on_behind_a_line_that_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(LEDGER), "{\"shard\":1,\"st").unwrap();
        Ledger::open(folder.path())
            .unwrap()
            .step(1, Step::Upload)
            .unwrap();
        assert_eq!(
            Ledger::open(folder.path()).unwrap().state(1),
            &State::Uploading
        );
    }

    #[test]
    fn a_ledger_that_says_what_cannot_be_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LEDGER);
        for (text, named) in [
            (
                "{\"shard\":1,\"step\":\"create\",\"at\":1}\n",
                "line 1: shard 1: `create` cannot follow",
            ),
            ("{}\n", "line 1"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Ledger::open(folder.path()).unwrap_err();
            assert_eq!(error.kind(), JobErrorKind::Conflict);
            assert!(error.to_string().contains(named), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn an_impossible_step_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        let error = ledger.step(1, Step::Create { at: 1 }).unwrap_err();
        assert_eq!(error.kind(), JobErrorKind::Unexpected);
        assert_eq!(std::fs::metadata(&ledger.path).unwrap().len(), 0);
    }
}
