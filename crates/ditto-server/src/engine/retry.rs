//! The input of a retry: lines of another batch's input, each at the number that it had there.
//!
//! Lines that are not run again are blank: no requests, but numbers. So a result of the retry carries
//! the line number of the first input, and both can be put together by it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::PathBuf;
use std::time::Duration;

use ditto_llm::jsonl::{Content, Line, LineSplitter};
use ditto_llm::wire::{BatchError, FailureClass, ResultLine};
use futures_util::TryStreamExt;
use tokio_util::sync::CancellationToken;

use super::Inner;
use super::faults::scratch_failed;
use crate::blobs::{Blobs, name};
use crate::catalog::{BatchRow, ReadyFile, Retry};
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{LineIndex, Manifest};

/// As long as other inputs: 30 days.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// A result line has its id and its name beside the answer.
const LINE_SLACK: usize = 1 << 20;

/// What the input of a retry is made of.
struct Making {
    blobs: Blobs,
    retry: Retry,
    /// Of the error file.
    errors: Manifest,
    /// The id of the new file.
    file: String,
    scratch: PathBuf,
    /// Bytes of a result line at most, and of a line of the input.
    limits: (usize, usize),
    given_up: CancellationToken,
}

/// A file that is made.
struct Made {
    bytes: u64,
    lines: u64,
    requests: u64,
    index: LineIndex,
}

impl Inner {
    /// Makes the input of a retry and lists it as a file. `Some`: the batch fails instead.
    ///
    /// If we stop in between, the next owner makes the same file again under the same id.
    pub(crate) async fn make_retry_input(
        &self,
        row: &BatchRow,
        given_up: &CancellationToken,
    ) -> Result<Option<BatchError>> {
        let Some(retry) = row.retry.clone() else {
            return Ok(None);
        };
        let errors = self.catalog.retried_errors(row.key).await?;
        let errors = errors
            .ok_or_else(|| Error::internal(format!("the error file {} is gone", retry.errors)))?;
        let limits = &self.config.limits;
        let making = Making {
            blobs: self.blobs.clone(),
            retry,
            errors: self
                .blobs
                .manifest_of(&errors.id, errors.piece.as_ref())
                .await?,
            file: row.input_file_id.clone(),
            scratch: self.config.data.clone(),
            limits: (limits.answer_bytes * 2 + LINE_SLACK, limits.line_bytes),
            given_up: given_up.clone(),
        };
        let made = self.host.compute(making.make()).await?;
        if made.requests == 0 {
            return Ok(Some(nothing_left(row)));
        }
        let manifest = Manifest::whole(name::data(&row.input_file_id), made.bytes);
        self.blobs
            .put_map(&row.input_file_id, &manifest, &made.index)
            .await?;
        let ready = ReadyFile {
            purpose: "batch".to_owned(),
            filename: format!("{}_retry.jsonl", row.id),
            bytes: made.bytes,
            lines: Some(made.lines),
            expires_after: Some(LIFETIME),
            piece: None,
            within: self.config.tenants.of(&row.tenant).stored_bytes,
            once: None,
        };
        match self.catalog.ready_file(&row.input_file_id, ready).await {
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::Full => Ok(Some(BatchError {
                code: Some("storage_limit_exceeded".to_owned()),
                message: Some(format!("The lines to be retried have no room: {error}")),
                ..BatchError::default()
            })),
            Err(error) => Err(error),
        }
    }

    /// The batch has failed: what was made of its input goes.
    pub(crate) async fn give_up_input(&self, file: &str) -> Result<()> {
        self.blobs.delete_below(&name::file(file)).await?;
        self.catalog.abandon_file(file).await
    }
}

fn nothing_left(row: &BatchRow) -> BatchError {
    BatchError {
        code: Some("nothing_to_retry".to_owned()),
        message: Some(format!(
            "No line of the batch '{}' failed in one of these ways.",
            row.retry.as_ref().map_or("", |retry| &retry.of)
        )),
        ..BatchError::default()
    }
}

impl Making {
    async fn make(self) -> Result<Made> {
        let mut wanted = self.wanted().await?;
        let manifest = self.blobs.manifest(&self.retry.input).await?;
        let mut writer = self.blobs.writer(&name::data(&self.file)).await?;
        let mut splitter = LineSplitter::new(self.limits.1);
        let mut picked = Picked {
            next: wanted.next()?,
            ..Picked::default()
        };
        let mut chunks = std::pin::pin!(self.blobs.read(manifest.slice(0..manifest.bytes())));
        while picked.next.is_some()
            && let Some(chunk) = chunks.try_next().await?
        {
            self.stopped()?;
            splitter.feed(&chunk, |line| picked.line(&line, &mut wanted))?;
            writer.write(&std::mem::take(&mut picked.out)).await?;
        }
        splitter.finish(|line| picked.line(&line, &mut wanted))?;
        writer.write(&picked.out).await?;
        Ok(Made {
            bytes: writer.finish().await?,
            lines: picked.lines,
            requests: picked.requests,
            index: picked.index,
        })
    }

    /// The numbers of the lines that are run again, in order.
    async fn wanted(&self) -> Result<Numbers> {
        let mut numbers =
            BufWriter::new(tempfile::tempfile_in(&self.scratch).map_err(scratch_failed)?);
        let manifest = &self.errors;
        let mut splitter = LineSplitter::new(self.limits.0);
        let mut take = |line: Line<'_>| {
            if let Content::Bytes(bytes) = line.content
                && let Some(number) = self.number(bytes)
            {
                numbers
                    .write_all(&number.to_le_bytes())
                    .map_err(scratch_failed)?;
            }
            Ok::<_, Error>(())
        };
        let mut chunks = std::pin::pin!(self.blobs.read(manifest.slice(0..manifest.bytes())));
        while let Some(chunk) = chunks.try_next().await? {
            self.stopped()?;
            splitter.feed(&chunk, &mut take)?;
        }
        splitter.finish(&mut take)?;
        let mut file = numbers
            .into_inner()
            .map_err(|e| scratch_failed(e.into_error()))?;
        file.rewind().map_err(scratch_failed)?;
        Ok(Numbers(BufReader::new(file)))
    }

    /// The line that this error line is about, if it is to be run again.
    fn number(&self, line: &[u8]) -> Option<u64> {
        let line: ResultLine = serde_json::from_slice(line).ok()?;
        let class = FailureClass::of(&line)?;
        let (_, number) = line.id.as_deref()?.rsplit_once('_')?;
        number
            .parse()
            .ok()
            .filter(|_| self.retry.only.contains(&class))
    }

    fn stopped(&self) -> Result<()> {
        match self.given_up.is_cancelled() {
            true => Err(Error::new(ErrorKind::Unavailable, "the server is stopping")),
            false => Ok(()),
        }
    }
}

/// Numbers in a scratch file: memory does not grow with them.
struct Numbers(BufReader<File>);

impl Numbers {
    fn next(&mut self) -> Result<Option<u64>> {
        let mut bytes = [0; 8];
        match self.0.read_exact(&mut bytes) {
            Ok(()) => Ok(Some(u64::from_le_bytes(bytes))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(scratch_failed(error)),
        }
    }
}

/// What was picked of an input so far.
#[derive(Default)]
struct Picked {
    /// The next line to be picked.
    next: Option<u64>,
    out: Vec<u8>,
    /// Bytes before `out`.
    before: u64,
    lines: u64,
    requests: u64,
    index: LineIndex,
}

impl Picked {
    /// Keeps the line, or a blank one in its place; behind the last that is wanted nothing.
    fn line(&mut self, line: &Line<'_>, wanted: &mut Numbers) -> Result<()> {
        let Some(next) = self.next else {
            return Ok(());
        };
        let at = self.before;
        self.index.line(line.number, at);
        let length = self.out.len();
        if line.number == next {
            if let Content::Bytes(bytes) = line.content {
                self.out.extend_from_slice(bytes);
                self.requests += 1;
            }
            self.next = wanted.next()?;
        }
        self.out.push(b'\n');
        self.before += (self.out.len() - length) as u64;
        self.lines += 1;
        Ok(())
    }
}
