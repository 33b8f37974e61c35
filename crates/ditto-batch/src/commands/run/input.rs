//! The job's input: the same bytes from its first command to its last, read in place if that can be.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::job::{InputIdentity, Job, shown};
use super::progress::Progress;
use super::settings::Settings;
use super::watch::interrupted;
use crate::compression::Compression;
use crate::exit;
use crate::failure::{Failure, Result};
use crate::fingerprint::{Fingerprint, Hashed};
use crate::signals::{Signals, Stopped};
use crate::whole_file::{Readers, WholeFile};

/// Read at a time.
const CHUNK: usize = 1 << 20;
/// What the engine knows the input as.
const NAME: &str = "requests.jsonl";
/// The first lines are looked at for their url: room for the longest line that is allowed.
const FIRST_LINES: u64 = 20 << 20;
/// Editors put it before the first line; it is no part of it.
const BOM: &[u8] = b"\xef\xbb\xbf";
/// A signal is heeded this soon while nothing comes in.
const LISTEN: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// The file that the engine reads.
#[derive(Debug)]
pub(crate) struct Input {
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// Its name there.
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// The url of its first line, if that names one.
    pub(crate) endpoint: Option<String>,
}

/// What an input is read by: reading may take long, and ends when it is told to.
pub(crate) struct Reading<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) progress: &'a Progress,
    pub(crate) signals: &'a mut Signals,
}

/// A file that can be read again. A pipe by name has no place for results beside it, and what is
/// read of it is gone.
pub(crate) fn require_lasting(settings: &Settings) -> Result<()> {
    let path = &settings.input;
    let named = ["/dev/stdin", "/dev/fd", "/proc"]
        .iter()
        .any(|place| path.starts_with(place));
    // One that is missing is told so, unless its job has ended.
    let other = std::fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir());
    if settings.is_stdin() || !(named || other) {
        return Ok(());
    }
    Err(
        Failure::usage(format!("{} is no file that lasts", path.display())).hint(
            "nothing was read; for standard input give `-`, as in `COMMAND | ditto-batch run - …`",
        ),
    )
}

impl Reading<'_> {
    /// Makes sure that the input is what it was, and spools it if it cannot be read in place.
    pub(crate) fn prepare(&mut self, job: &mut Job) -> Result<Input> {
        let compressed = Compression::of(&self.settings.input);
        let path = if self.settings.is_stdin() || compressed.is_some() {
            self.spool(job, compressed)?
        } else {
            self.recognise(job)?;
            self.settings.input.clone()
        };
        describe(job, &path)
    }

    /// For a job that has ended: its summary is about this input only. A file that is gone is no
    /// other; standard input has to come again, to be known.
    pub(crate) fn still_the_same(&mut self, job: &mut Job) -> Result<()> {
        if self.settings.is_stdin() {
            self.progress.say("reading standard input");
            let now = self.drain(self.stdin()?)?;
            return self.refuse_another(job, &now);
        }
        self.unchanged(job)
    }

    /// What the engine read is what the file holds: nothing was added behind it, say, after the
    /// lines were counted.
    pub(crate) fn unchanged(&mut self, job: &mut Job) -> Result<()> {
        // What was spooled from standard input is ours, and is nowhere else.
        if self.settings.is_stdin() || !self.settings.input.exists() {
            return Ok(());
        }
        self.recognise(job)
    }

    /// The same as when the job began, by size and time, else by its bytes.
    fn recognise(&mut self, job: &mut Job) -> Result<()> {
        let path = &self.settings.input;
        let mut now = look(path).map_err(|e| Failure::input(path, &e))?;
        if let Some(before) = job.input()
            && (before.bytes, before.modified) == (now.bytes, now.modified)
        {
            return Ok(());
        }
        self.progress.say(&format!("reading {}", path.display()));
        let file = File::open(path).map_err(|e| Failure::input(path, &e))?;
        let read = self.drain(file)?;
        now.xxh3 = read.xxh3;
        self.refuse_another(job, &now)?;
        job.set_input(now)
    }

    fn refuse_another(&self, job: &Job, now: &InputIdentity) -> Result<()> {
        match job.input() {
            Some(before) if before.xxh3 != now.xxh3 => Err(changed(job, before, now)),
            Some(_) | None => Ok(()),
        }
    }

    fn stdin(&self) -> Result<File> {
        let stdin = io::stdin().as_fd().try_clone_to_owned();
        stdin.map(File::from).map_err(|e| self.unreadable(&e))
    }

    /// Reads to the end, for the hash alone.
    fn drain(&mut self, file: File) -> Result<InputIdentity> {
        let signals = &mut *self.signals;
        let read = Fingerprint::read(Listening { file, signals });
        let read = read.map_err(|e| self.unreadable(&e))?;
        Ok(identity(&self.settings.input, read))
    }

    fn unreadable(&self, error: &io::Error) -> Failure {
        let stopped = error.get_ref().and_then(|e| e.downcast_ref::<Stopped>());
        match stopped {
            Some(Stopped(signal)) => interrupted(*signal),
            None => Failure::input(&self.settings.input, error),
        }
    }

    /// stdin or a compressed file, written out into the job's folder.
    fn spool(&mut self, job: &mut Job, compression: Option<Compression>) -> Result<PathBuf> {
        let spool = job.spool();
        let path = &self.settings.input;
        let seen = match self.settings.is_stdin() {
            true => None,
            false => Some(look(path).map_err(|e| self.unreadable(&e))?),
        };
        let unchanged = job.input().zip(seen.as_ref()).is_some_and(|(before, now)| {
            (before.bytes, before.modified) == (now.bytes, now.modified)
        });
        if unchanged && spool.exists() {
            return Ok(spool);
        }
        self.progress.say("spooling the input");
        let file = match self.settings.is_stdin() {
            true => self.stdin()?,
            false => File::open(path).map_err(|e| self.unreadable(&e))?,
        };
        let (temporary, mut now) = self.unpack(job, file, compression)?;
        now.modified = seen.map_or(0, |seen| seen.modified);
        self.refuse_another(job, &now)?;
        temporary
            .replace()
            .map_err(|e| Failure::file("cannot write", &spool, &e))?;
        job.set_input(now)?;
        Ok(spool)
    }

    /// Writes out what the file holds, and tells what it is.
    fn unpack(
        &mut self,
        job: &Job,
        file: File,
        compression: Option<Compression>,
    ) -> Result<(WholeFile, InputIdentity)> {
        let unwritable = |e: &io::Error| Failure::file("cannot write into", job.folder(), e);
        let mut out = WholeFile::begin(&job.spool(), job.mark(), Readers::Owner)
            .map_err(|e| unwritable(&e))?;
        let signals = &mut *self.signals;
        let mut source = Hashed::new(Listening { file, signals });
        let mut write_failed = None;
        let write = |bytes: &[u8]| {
            out.write_all(bytes).map_err(|e| {
                let kind = e.kind();
                write_failed = Some(e);
                kind.into()
            })
        };
        let read = match compression {
            None => each_chunk(&mut source, write),
            Some(compression) => compression
                .unpack(&mut source)
                .and_then(|mut unpacked| each_chunk(&mut unpacked, write)),
        };
        // What a decoder leaves unread belongs to the identity too.
        let read = read.and_then(|()| each_chunk(&mut source, |_| Ok(())));
        let identity = identity(&self.settings.input, source.fingerprint());
        match (read, write_failed) {
            (Ok(()), _) => Ok((out, identity)),
            (Err(_), Some(failed)) => Err(unwritable(&failed)),
            (Err(failed), None) => Err(self.unreadable(&failed)),
        }
    }
}

/// Reads in large pieces, to the end.
fn each_chunk(
    source: &mut dyn Read,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match source.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(n) => take(&chunk[..n])?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn changed(job: &Job, before: &InputIdentity, now: &InputIdentity) -> Failure {
    let folder = job.folder().display();
    if file_name(&before.path) != file_name(&now.path) {
        return Failure::new(
            exit::CONFLICT,
            format!("the folder {folder} belongs to the job of {}", before.path),
        )
        .hint("nothing was changed; rename one of the two inputs, so that their results have names of their own");
    }
    let what = if before.bytes == now.bytes {
        "its bytes are others".to_owned()
    } else {
        format!("it had {} bytes and has {} now", before.bytes, now.bytes)
    };
    let (name, instead) = match now.path.as_str() {
        "-" => (
            "standard input",
            "write the other into a file, to be a job of its own",
        ),
        path => (path, "put the original back and give the command again"),
    };
    Failure::new(
        exit::CONFLICT,
        format!("the input {name} changed since this job began: {what}"),
    )
    .hint(format!(
        "what was answered is kept; {instead}, or move the results away and delete {folder} to begin anew"
    ))
}

fn file_name(path: &str) -> Option<&std::ffi::OsStr> {
    Path::new(path).file_name()
}

fn look(path: &Path) -> io::Result<InputIdentity> {
    let there = std::fs::metadata(path)?;
    let modified = there
        .modified()?
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Ok(InputIdentity {
        path: shown(path),
        bytes: there.len(),
        modified: i128::try_from(modified.as_nanos()).unwrap_or_default(),
        xxh3: String::new(),
    })
}

/// Stops at a signal, also while nothing comes.
struct Listening<'a> {
    file: File,
    signals: &'a mut Signals,
}

impl Listening<'_> {
    fn wait(&mut self) -> io::Result<()> {
        loop {
            if let Some(signal) = self.signals.said() {
                return Err(io::Error::other(Stopped(signal)));
            }
            let mut ready = [PollFd::new(&self.file, PollFlags::IN)];
            match poll(&mut ready, Some(&LISTEN)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl Read for Listening<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.wait()?;
        self.file.read(into)
    }
}

/// What has passed.
fn identity(path: &Path, read: Fingerprint) -> InputIdentity {
    InputIdentity {
        path: shown(path),
        bytes: read.bytes,
        modified: 0,
        xxh3: read.xxh3,
    }
}

/// Links the input into the job's folder, so that the engine reads it in place under a plain name,
/// whatever its own is.
fn describe(job: &Job, path: &Path) -> Result<Input> {
    let failed = |e: io::Error| Failure::file("cannot read", path, &e);
    let whole = path.canonicalize().map_err(failed)?;
    let folder = job.folder().join("input");
    let link = folder.join(NAME);
    let made = std::fs::create_dir_all(&folder).and_then(|()| {
        match std::fs::remove_file(&link) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
        std::os::unix::fs::symlink(&whole, &link)
    });
    made.map_err(|e| Failure::file("cannot write into", &folder, &e))?;
    Ok(Input {
        folder,
        name: NAME.to_owned(),
        bytes: std::fs::metadata(&whole).map_err(failed)?.len(),
        endpoint: first_url(&whole).map_err(failed)?,
    })
}

/// The url of the first line that names one among the first bytes of the file.
fn first_url(path: &Path) -> io::Result<Option<String>> {
    #[derive(serde::Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        url: Option<std::borrow::Cow<'a, str>>,
    }
    let mut reader = BufReader::with_capacity(CHUNK, File::open(path)?).take(FIRST_LINES);
    let mut line = Vec::new();
    if reader.fill_buf()?.starts_with(BOM) {
        reader.consume(BOM.len());
    }
    while reader.read_until(b'\n', &mut line)? > 0 {
        if let Ok(Line { url: Some(url) }) = serde_json::from_slice(&line) {
            return Ok(Some(url.into_owned()));
        }
        line.clear();
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_url_of(text: &[u8]) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        std::fs::write(&path, text).unwrap();
        first_url(&path).unwrap()
    }

    #[test]
    fn the_url_of_the_first_line_that_names_one_is_the_jobs() {
        let responses = Some("/v1/responses".to_owned());
        let line = br#"{"url":"/v1/responses"}"#;
        assert_eq!(first_url_of(line), responses);
        assert_eq!(first_url_of(&[BOM, line].concat()), responses);
        assert_eq!(first_url_of(&[b"{}\n\n", &line[..]].concat()), responses);
        assert_eq!(first_url_of(BOM), None);
    }
}
