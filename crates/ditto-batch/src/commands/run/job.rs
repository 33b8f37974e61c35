//! The job's own folder: what it works on, and how it ended.

use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::settings::Settings;
use super::summary::Summary;
use crate::exit;
use crate::failure::{Failure, Result};
use crate::whole_file;

/// Raised when a folder of an older version cannot be read any more.
const VERSION: u32 = 1;

/// A job in its folder.
#[derive(Debug)]
pub(crate) struct Job {
    folder: PathBuf,
    output: PathBuf,
    errors: PathBuf,
    report: PathBuf,
    known: Known,
}

/// `job.json`: what must not change from one command to the next.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Known {
    version: u32,
    /// The input as it was when the job began; `None` until it has been looked at.
    pub(crate) input: Option<InputIdentity>,
    model: Option<String>,
    endpoint: Option<String>,
    output: PathBuf,
    errors: PathBuf,
    /// From now on files at the places of the results are ours.
    #[serde(default)]
    exporting: bool,
    /// The summary of a job that has ended.
    ended: Option<Summary>,
}

/// What tells one input from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InputIdentity {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// Nanoseconds since the epoch; 0 for stdin.
    pub(crate) modified: i128,
    /// xxh3-128 of the bytes as given (compressed ones compressed), in hex.
    pub(crate) xxh3: String,
}

impl Job {
    /// The job of this command: a new one, or the one that its folder holds.
    pub(crate) fn open(settings: &Settings) -> Result<Self> {
        let path = settings.folder.join("job.json");
        let resumed = path.exists();
        if !resumed {
            refuse_to_overwrite([&settings.output, &settings.errors, &settings.report])?;
            require_input(settings)?;
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&settings.folder)
                .map_err(|e| Failure::file("cannot make the job's folder", &settings.folder, &e))?;
        }
        let mut job = Self {
            folder: settings.folder.clone(),
            output: settings.output.clone(),
            errors: settings.errors.clone(),
            report: settings.report.clone(),
            known: Known {
                version: VERSION,
                model: settings.model.clone(),
                endpoint: settings.endpoint.clone(),
                output: place(&settings.output, &settings.folder)?,
                errors: place(&settings.errors, &settings.folder)?,
                ..Known::default()
            },
        };
        if resumed {
            let before = job.read(&path)?;
            job.refuse_changes(&before)?;
            job.known = before;
        }
        Ok(job)
    }

    /// Where the engine keeps what is in progress.
    pub(crate) fn data_folder(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Where an input is kept that cannot be read in place.
    pub(crate) fn spool(&self) -> PathBuf {
        self.folder.join("input.jsonl")
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn input(&self) -> Option<&InputIdentity> {
        self.known.input.as_ref()
    }

    /// From now on the job is about this input.
    pub(crate) fn set_input(&mut self, input: InputIdentity) -> Result<()> {
        self.known.input = Some(input);
        self.save()
    }

    /// The summary of a job that has ended, if its results are still there.
    pub(crate) fn ended(&self) -> Result<Option<Summary>> {
        let Some(summary) = &self.known.ended else {
            return Ok(None);
        };
        let files = [
            (&self.output, &summary.output),
            (&self.errors, &summary.errors),
        ];
        for (path, file) in files {
            let there = std::fs::metadata(path).map(|m| m.len());
            if there.as_ref().ok() != Some(&file.bytes) {
                return Err(Failure::new(
                    exit::CONFLICT,
                    format!(
                        "this job has ended, but {} is not the file that it wrote",
                        path.display()
                    ),
                )
                .hint(format!(
                    "nothing was changed; to run it anew, move its results away and delete {}",
                    self.folder.display()
                )));
            }
        }
        let mut summary = summary.clone();
        summary.output.path.clone_from(&self.output);
        summary.errors.path.clone_from(&self.errors);
        Ok(Some(summary))
    }

    /// Results are about to be written. What came to stand in their places while the job ran is not
    /// ours and is not touched.
    pub(crate) fn begin_export(&mut self) -> Result<()> {
        if self.known.exporting {
            return Ok(());
        }
        refuse_to_overwrite([&self.output, &self.errors, &self.report])?;
        self.known.exporting = true;
        self.save()
    }

    /// Writes the report, then marks the job as ended. If we stop between the two, the next command
    /// exports the same results again.
    pub(crate) fn end(&mut self, summary: &Summary) -> Result<()> {
        let report = serde_json::to_string_pretty(summary).expect("a summary is plain data");
        write_whole(&self.report, report.as_bytes())?;
        self.known.ended = Some(summary.clone());
        self.save()
    }

    fn save(&self) -> Result<()> {
        let json = serde_json::to_string_pretty(&self.known).expect("a job is plain data");
        write_whole(&self.folder.join("job.json"), json.as_bytes())
    }

    fn read(&self, path: &Path) -> Result<Known> {
        let bytes = std::fs::read(path).map_err(|e| Failure::file("cannot read", path, &e))?;
        let foreign = || {
            Failure::new(
                exit::CONFLICT,
                format!("{} is not a job of this version", path.display()),
            )
            .hint(format!(
                "nothing was changed; move {} away to begin anew",
                self.folder.display()
            ))
        };
        let known: Known = serde_json::from_slice(&bytes).map_err(|_| foreign())?;
        if known.version == VERSION {
            Ok(known)
        } else {
            Err(foreign())
        }
    }

    /// Options that change requests or where results go must be the same.
    fn refuse_changes(&self, before: &Known) -> Result<()> {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        let shown = |path: &Path| path.display().to_string();
        let pairs = [
            ("--model", text(&before.model), text(&self.known.model)),
            (
                "--endpoint",
                text(&before.endpoint),
                text(&self.known.endpoint),
            ),
            ("--output", shown(&before.output), shown(&self.known.output)),
            ("--errors", shown(&before.errors), shown(&self.known.errors)),
        ];
        for (option, before, now) in pairs {
            if before != now {
                return Err(Failure::new(
                    exit::CONFLICT,
                    format!("{option} was {before} when this job began and is {now} now"),
                )
                .hint(format!(
                    "nothing was sent and nothing is lost; give the option as before, or delete {} to begin anew",
                    self.folder.display()
                )));
            }
        }
        Ok(())
    }
}

/// Where a result goes, as seen from the job's folder: the same from wherever the command is given,
/// also after the folder and its neighbours were moved together.
fn place(path: &Path, job_folder: &Path) -> Result<PathBuf> {
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|e| Failure::file("cannot tell the place of", path, &e))
    };
    let (path, folder) = (absolute(path)?, absolute(job_folder)?);
    let beside = folder
        .parent()
        .and_then(|home| path.strip_prefix(home).ok());
    Ok(beside.map(Path::to_owned).unwrap_or(path))
}

fn require_input(settings: &Settings) -> Result<()> {
    if settings.is_stdin() {
        return Ok(());
    }
    let path = &settings.input;
    let there = std::fs::metadata(path).map_err(|e| Failure::file("cannot read", path, &e))?;
    if there.is_dir() {
        return Err(
            Failure::new(exit::LOCAL_IO, format!("{} is a folder", path.display()))
                .hint("give a JSONL file of requests"),
        );
    }
    File::open(path).map_err(|e| Failure::file("cannot read", path, &e))?;
    Ok(())
}

fn refuse_to_overwrite(places: [&PathBuf; 3]) -> Result<()> {
    for path in places {
        if path.exists() {
            return Err(Failure::new(
                exit::CONFLICT,
                format!("{} is there already and was not written by this job", path.display()),
            )
            .hint("nothing was changed and nothing is lost; move it away and run the same command again, or begin with other names (-o, -e)"));
        }
    }
    Ok(())
}

/// A small file, all at once.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    whole_file::begin(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            whole_file::finish(file, path)
        })
        .map_err(|e| Failure::file("cannot write", path, &e))
}
