//! The job's input: the same bytes from its first command to its last, read in place if that can be.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use xxhash_rust::xxh3::Xxh3;

use super::job::{InputIdentity, Job, shown};
use super::progress::Progress;
use super::settings::Settings;
use crate::compression::Compression;
use crate::exit;
use crate::failure::{Failure, Result};
use crate::fingerprint::{Fingerprint, Hashed};
use crate::whole_file::WholeFile;

/// Read at a time.
const CHUNK: usize = 1 << 20;
/// What the engine knows the input as.
const NAME: &str = "requests.jsonl";
/// The first lines are looked at for their url: room for the longest line that is allowed.
const FIRST_LINES: u64 = 20 << 20;

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

/// Makes sure that the input is what it was, and spools it if it cannot be read in place.
pub(crate) fn prepare(job: &mut Job, settings: &Settings, progress: &Progress) -> Result<Input> {
    let compressed = Compression::of(&settings.input);
    let path = if settings.is_stdin() || compressed.is_some() {
        spool(job, settings, compressed, progress)?
    } else {
        recognise(job, &settings.input, progress)?;
        settings.input.clone()
    };
    describe(job, &path)
}

/// For a job that has ended: its summary is about this input only. One that is gone is no other.
pub(crate) fn still_the_same(
    job: &mut Job,
    settings: &Settings,
    progress: &Progress,
) -> Result<()> {
    if settings.is_stdin() || !settings.input.exists() {
        return Ok(());
    }
    recognise(job, &settings.input, progress)
}

/// A file in place: the same as when the job began, by size and time, else by its bytes.
fn recognise(job: &mut Job, path: &Path, progress: &Progress) -> Result<()> {
    let failed = |e: io::Error| Failure::file("cannot read", path, &e);
    let mut now = look(path).map_err(failed)?;
    if let Some(before) = job.input()
        && (before.bytes, before.modified) == (now.bytes, now.modified)
    {
        return Ok(());
    }
    progress.say(&format!("reading {}", path.display()));
    now.xxh3 = digest(&mut File::open(path).map_err(failed)?).map_err(failed)?;
    if let Some(before) = job.input()
        && before.xxh3 != now.xxh3
    {
        return Err(changed(job, before, &now));
    }
    job.set_input(now)
}

fn changed(job: &Job, before: &InputIdentity, now: &InputIdentity) -> Failure {
    if file_name(&before.path) != file_name(&now.path) {
        return Failure::new(
            exit::CONFLICT,
            format!("the folder {} belongs to the job of {}", job.folder().display(), before.path),
        )
        .hint("nothing was changed; rename one of the two inputs, so that their results have names of their own");
    }
    let what = if before.bytes == now.bytes {
        "its bytes are others".to_owned()
    } else {
        format!("it had {} bytes and has {} now", before.bytes, now.bytes)
    };
    Failure::new(
        exit::CONFLICT,
        format!(
            "the input {} changed since this job began: {what}",
            now.path
        ),
    )
    .hint(format!(
        "nothing was sent and nothing is lost; put the original back, or delete {} to begin anew",
        job.folder().display()
    ))
}

fn file_name(path: &str) -> Option<&std::ffi::OsStr> {
    Path::new(path).file_name()
}

/// stdin or a compressed file, written out into the job's folder.
fn spool(
    job: &mut Job,
    settings: &Settings,
    compression: Option<Compression>,
    progress: &Progress,
) -> Result<PathBuf> {
    let spool = job.spool();
    let failed = |e: io::Error| Failure::file("cannot read", &settings.input, &e);
    let mut now = match settings.is_stdin() {
        true => InputIdentity {
            path: shown(&settings.input),
            bytes: 0,
            modified: 0,
            xxh3: String::new(),
        },
        false => look(&settings.input).map_err(failed)?,
    };
    let unchanged = job.input().is_some_and(|before| {
        !settings.is_stdin() && (before.bytes, before.modified) == (now.bytes, now.modified)
    });
    if unchanged && spool.exists() {
        return Ok(spool);
    }
    progress.say("spooling the input");
    let source: Box<dyn Read> = match settings.is_stdin() {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(&settings.input).map_err(failed)?),
    };
    let mut source = Hashed::new(source);
    let temporary = write_spool(job, &mut source, compression, settings)?;
    // What a decoder leaves unread belongs to the identity too.
    io::copy(&mut source, &mut io::sink()).map_err(failed)?;
    Fingerprint {
        bytes: now.bytes,
        xxh3: now.xxh3,
    } = source.fingerprint();
    if let Some(before) = job.input()
        && before.xxh3 != now.xxh3
    {
        return Err(changed(job, before, &now));
    }
    temporary
        .replace()
        .map_err(|e| Failure::file("cannot write", &spool, &e))?;
    job.set_input(now)?;
    Ok(spool)
}

fn write_spool(
    job: &Job,
    source: &mut Hashed<Box<dyn Read>>,
    compression: Option<Compression>,
    settings: &Settings,
) -> Result<WholeFile> {
    let folder = job.folder();
    let mut out = WholeFile::begin(&job.spool())
        .map_err(|e| Failure::file("cannot write into", folder, &e))?;
    let mut reader: Box<dyn Read + '_> = match compression {
        None => Box::new(&mut *source),
        Some(compression) => compression
            .unpack(&mut *source)
            .map_err(|e| Failure::file("cannot read", &settings.input, &e))?,
    };
    let mut chunk = vec![0; CHUNK];
    loop {
        let n = match reader.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Failure::file("cannot read", &settings.input, &e)),
        };
        out.write_all(&chunk[..n])
            .map_err(|e| Failure::file("cannot write into", folder, &e))?;
    }
    drop(reader);
    Ok(out)
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

/// xxh3-128 of what is left of a file, in hex.
pub(crate) fn digest(file: &mut File) -> io::Result<String> {
    let mut hash = Box::new(Xxh3::new());
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(format!("{:032x}", hash.digest128())),
            n => hash.update(&chunk[..n]),
        }
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
    while reader.read_until(b'\n', &mut line)? > 0 {
        if let Ok(Line { url: Some(url) }) = serde_json::from_slice(&line) {
            return Ok(Some(url.into_owned()));
        }
        line.clear();
    }
    Ok(None)
}
