//! The results of a batch that has ended, as the provider gives them.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use serde::de::IgnoredAny;
use xxhash_rust::xxh3::Xxh3;

use super::error::{JobError, Result};
use super::join::{self, LONGEST_LINE};
use super::plan::Shard;
use super::run::{Event, Runner, blocking};
use super::state::{End, RawFile, RawKind, State, Step};
use super::turn::{self, Verdict};
use crate::jsonl::{Content, Line, LineSplitter};

impl<F: FnMut(&Event<'_>)> Runner<'_, F> {
    pub(super) async fn fetch(&mut self, number: u32) -> Result<()> {
        let shard = self.shard(number);
        let State::Ended { batch, end, .. } = self.job.ledger.state(number).clone() else {
            return Ok(());
        };
        let mut raw = Vec::new();
        let (mut lines, mut is_cut) = (0, false);
        for (kind, file) in [
            (RawKind::Output, &end.output_file),
            (RawKind::Errors, &end.error_file),
        ] {
            let Some(file) = file else { continue };
            let path = shard.raw_path(&self.job.folder, kind.name());
            match self.provider.files.download_to(file, &path).await {
                Ok(_) => {}
                Err(error) if error.status() == Some(404) => {
                    let now = self.now();
                    if self.still_disagrees(number, now) {
                        let pause = turn::second_look_pause(&self.job.plan.profile);
                        self.rest(number, pause);
                        return Ok(());
                    }
                    if !turn::lost_them(&end, now) {
                        self.refused(&shard, &format!("a file of results is gone: {error}"));
                        self.leave(number);
                        return Ok(());
                    }
                    (self.observer)(&Event::Weather {
                        what: "the provider has lost results, whose lines go out again",
                        error: &error,
                    });
                    continue;
                }
                Err(error) => return self.weather(number, "cannot download results", error),
            }
            self.heard(number);
            let looked = blocking(move || look_at(&path, kind)).await?;
            raw.push(looked.raw);
            lines += looked.lines;
            is_cut |= looked.is_cut;
        }
        let lacks = lines < turn::lines_due(&end, shard.lines);
        if (lacks || is_cut) && self.may_grow(&shard, &batch, &end).await? {
            return Ok(());
        }
        if !end.faults.is_empty() {
            let path = shard.raw_path(&self.job.folder, RawKind::Faults.name());
            join::write_faults(&self.job.folder, &shard, &path, &end.faults)?;
            raw.push(look_at(&path, RawKind::Faults)?.raw);
        }
        self.step(&shard, Step::Fetched { raw })
    }

    /// The files have fewer lines than they should: they may not be whole yet.
    async fn may_grow(&mut self, shard: &Shard, batch: &str, end: &End) -> Result<bool> {
        let now = self.now();
        if !self.still_disagrees(shard.number, now) {
            return Ok(false);
        }
        if let Ok(answer) = self.provider.batches.retrieve(batch).await
            && let Verdict::Ended(anew) | Verdict::LookAgain(anew) =
                turn::judge(&answer.batch, &self.job.plan.profile, now)
        {
            let anew = End { at: end.at, ..anew };
            if anew != *end {
                self.step(shard, Step::EndedAnew { end: anew })?;
            }
        }
        let pause = turn::second_download_pause(&self.job.plan.profile);
        self.rest(shard.number, pause);
        Ok(true)
    }
}

/// A file of results as it came.
struct Looked {
    raw: RawFile,
    /// Lines that are not blank.
    lines: u64,
    /// It ends within a line, although its length was as told.
    is_cut: bool,
}

fn look_at(path: &Path, kind: RawKind) -> Result<Looked> {
    let failed = |e: &std::io::Error| JobError::file("cannot read", path, e);
    let mut file = File::open(path).map_err(|e| failed(&e))?;
    let (mut hash, mut buffer) = (Xxh3::new(), vec![0; 1 << 20]);
    let (mut bytes, mut lines, mut is_cut) = (0, 0, false);
    let mut splitter = LineSplitter::new(LONGEST_LINE);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                hash.update(&buffer[..length]);
                bytes += length as u64;
                splitter.feed(&buffer[..length], |line| {
                    lines += u64::from(!line.is_blank());
                    Ok::<_, JobError>(())
                })?;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(failed(&e)),
        }
    }
    splitter.finish(|line| {
        is_cut = !is_whole(&line);
        lines += u64::from(!line.is_blank() && !is_cut);
        Ok::<_, JobError>(())
    })?;
    let xxh3 = format!("{:032x}", hash.digest128());
    Ok(Looked {
        raw: RawFile { kind, bytes, xxh3 },
        lines,
        is_cut,
    })
}

/// Whether a line is one although no line feed follows: some write none behind the last.
fn is_whole(line: &Line<'_>) -> bool {
    match line.content {
        Content::Bytes(bytes) => {
            line.is_blank() || serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
        }
        Content::TooLong => false,
    }
}
