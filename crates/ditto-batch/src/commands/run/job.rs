//! The job's own folder: what it works on, and how it ended.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ended::{KeptPath, Left, beside};
use super::folder::{self, Held, JOB};
use super::places::{self, Placed};
use super::settings::Settings;
use super::summary::Summary;
use crate::exit;
use crate::failure::{Failure, Result};
use crate::fingerprint::Fingerprint;
use crate::whole_file::{Mark, Readers, WholeFile};

/// Raised when a folder of an older version cannot be read any more.
const VERSION: u32 = 1;

/// A job in its folder.
#[derive(Debug)]
pub(crate) struct Job {
    folder: PathBuf,
    /// The input as this command names it.
    given: PathBuf,
    output: PathBuf,
    errors: PathBuf,
    report: PathBuf,
    known: Known,
    /// It begins with this command.
    fresh: bool,
    /// For as long as this command works on it, no other does.
    _held: Held,
}

/// `job.json`: what must not change from one command to the next.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Known {
    version: u32,
    /// The input as it was when the job began; `None` until it has been looked at.
    pub(crate) input: Option<InputIdentity>,
    model: Option<String>,
    endpoint: Option<String>,
    /// The engine has begun: answers may have been paid for.
    #[serde(default)]
    begun: bool,
    /// What its files on their way are called by.
    #[serde(default)]
    mark: Mark,
    /// Its results that may stand in their places already.
    #[serde(default)]
    placed: Placed,
    /// The summary of a job that has ended.
    pub(crate) ended: Option<Summary>,
    /// Where its files are then.
    #[serde(default)]
    pub(crate) left: Option<Left>,
}

/// What tells one input from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InputIdentity {
    /// As it was given, for people.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// Nanoseconds since the epoch; 0 for stdin.
    pub(crate) modified: i128,
    /// xxh3-128 of the bytes as given (compressed ones compressed), in hex.
    pub(crate) xxh3: String,
}

impl InputIdentity {
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            bytes: self.bytes,
            xxh3: self.xxh3.clone(),
        }
    }
}

impl Job {
    /// The job of this command: a new one, or the one that its folder holds.
    pub(crate) fn open(settings: &Settings) -> Result<Self> {
        if !settings.folder.join(JOB).exists() {
            // What cannot work is said before a folder is made.
            require_input(settings)?;
            places::check_apart(&settings.input, &settings.folder, settings.results())?;
            places::check_free(settings, &Placed::default())?;
        }
        let held = folder::hold(&settings.folder)?;
        let path = settings.folder.join(JOB);
        let fresh = !path.exists();
        let mut job = Self {
            folder: settings.folder.clone(),
            given: settings.input.clone(),
            output: settings.output.clone(),
            errors: settings.errors.clone(),
            report: settings.report.clone(),
            known: Known {
                version: VERSION,
                model: settings.model.clone(),
                endpoint: settings.endpoint.clone(),
                ..Known::default()
            },
            fresh,
            _held: held,
        };
        if !fresh {
            let before = read(&job.folder)?;
            job.refuse_changes(&before)?;
            job.known = before;
        }
        if job.known.ended.is_none() {
            job.take_places(settings)
                .inspect_err(|_| job.discard_unbegun())?;
        }
        Ok(job)
    }

    /// Looks at the places of the results. The mark is written down before anything is called by it.
    fn take_places(&mut self, settings: &Settings) -> Result<()> {
        places::check_apart(&settings.input, &settings.folder, settings.results())?;
        places::check_free(settings, &self.known.placed)?;
        if self.known.mark.is_none() {
            self.known.mark = Mark::new();
            self.save()?;
        }
        places::check_writable(settings.results(), &self.known.mark)
    }

    /// Where the engine keeps what is in progress.
    pub(crate) fn data_folder(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// A job whose answers so far are gone does not begin anew by itself: all would be bought again.
    pub(crate) fn require_recorded(&self) -> Result<()> {
        let data = self.data_folder();
        if !self.known.begun || data.exists() {
            return Ok(());
        }
        Err(Failure::new(
            exit::CONFLICT,
            format!(
                "{} is gone: it held what this job has recorded so far",
                data.display()
            ),
        )
        .hint(format!(
            "nothing was sent; put it back, or delete {} to begin anew and pay for every line again",
            self.folder.display()
        )))
    }

    /// Its data folder is there. Written down before anything is sent.
    pub(crate) fn begin(&mut self) -> Result<()> {
        if self.known.begun {
            return Ok(());
        }
        self.known.begun = true;
        self.save()
    }

    /// Where an input is kept that cannot be read in place.
    pub(crate) fn spool(&self) -> PathBuf {
        self.folder.join("input.jsonl")
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn mark(&self) -> &Mark {
        &self.known.mark
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
            if !places::holds(path, &file.xxh3) {
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
        summary.output.path = shown(&self.output);
        summary.errors.path = shown(&self.errors);
        summary.input.path = shown(&self.given);
        Ok(Some(summary))
    }

    /// These answers are about to stand in their place: from now on what is there with these bytes
    /// is ours.
    pub(crate) fn will_place_output(&mut self, xxh3: &str) -> Result<()> {
        self.known.placed.output = Some(xxh3.to_owned());
        self.save()
    }

    /// The same of the errors.
    pub(crate) fn will_place_errors(&mut self, xxh3: &str) -> Result<()> {
        self.known.placed.errors = Some(xxh3.to_owned());
        self.save()
    }

    /// Writes the report, then marks the job as ended. If we stop between the two, the next command
    /// exports the same results again.
    pub(crate) fn end(&mut self, summary: &Summary) -> Result<()> {
        let report = &self.report;
        if !places::is_free(report) && !places::is_report_of(report, &self.known.placed) {
            return Err(places::not_ours(report));
        }
        let json = serde_json::to_string_pretty(summary).expect("a summary is plain data");
        self.write(report, json.as_bytes(), Readers::AsUsual)?;
        self.known.ended = Some(summary.clone());
        self.known.left = Some(self.left(Fingerprint::of(json.as_bytes()))?);
        self.save()
    }

    /// Where the files are, for a look from anywhere.
    fn left(&self, report_file: Fingerprint) -> Result<Left> {
        let beside =
            beside(&self.folder).map_err(|e| Failure::file("cannot read", &self.folder, &e))?;
        let kept = |path: &Path| places::whole(path).map(|whole| KeptPath::new(&whole, &beside));
        Ok(Left {
            input: match self.given == Path::new("-") {
                true => None,
                false => Some(kept(&self.given)?),
            },
            output: kept(&self.output)?,
            errors: kept(&self.errors)?,
            report: kept(&self.report)?,
            report_file,
        })
    }

    /// The input was refused: nothing was sent and there is nothing to resume. A mended file under
    /// the same name is a job of its own.
    pub(crate) fn discard(&self) {
        // What cannot be removed is found by the next command, which says so.
        let _ = std::fs::remove_dir_all(&self.folder);
    }

    /// As [`discard`](Self::discard), if the job began with this command and the engine has not
    /// begun: after that there may be answers.
    pub(crate) fn discard_unbegun(&self) {
        if self.fresh && !self.data_folder().exists() {
            self.discard();
        }
    }

    fn save(&self) -> Result<()> {
        let json = serde_json::to_string_pretty(&self.known).expect("a job is plain data");
        self.write(&self.folder.join(JOB), json.as_bytes(), Readers::Owner)
    }

    /// A small file, all at once.
    fn write(&self, path: &Path, bytes: &[u8], readers: Readers) -> Result<()> {
        WholeFile::begin(path, self.mark(), readers)
            .and_then(|mut file| {
                file.write_all(bytes)?;
                file.replace()
            })
            .map_err(|e| Failure::file("cannot write", path, &e))
    }

    /// Options that change requests must be the same.
    fn refuse_changes(&self, before: &Known) -> Result<()> {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        let pairs = [
            ("--model", text(&before.model), text(&self.known.model)),
            (
                "--endpoint",
                text(&before.endpoint),
                text(&self.known.endpoint),
            ),
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

/// What the folder of a job knows.
pub(crate) fn read(folder: &Path) -> Result<Known> {
    let path = folder.join(JOB);
    let bytes = std::fs::read(&path).map_err(|e| Failure::file("cannot read", &path, &e))?;
    let foreign = || {
        Failure::new(
            exit::CONFLICT,
            format!("{} is not a job of this version", path.display()),
        )
        .hint(format!(
            "nothing was changed; move {} away to begin anew",
            folder.display()
        ))
    };
    let known: Known = serde_json::from_slice(&bytes).map_err(|_| foreign())?;
    if known.version == VERSION {
        Ok(known)
    } else {
        Err(foreign())
    }
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

/// A path for people; a name that is no UTF-8 is shown as well as it can be.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}
