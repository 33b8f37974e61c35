//! The results of a batch that has ended, as the provider gives them.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::error::{JobError, Result};
use super::join;
use super::plan::Shard;
use super::run::{Event, Runner, blocking};
use super::state::{End, RawFile, RawKind, State, Step};
use super::turn::{self, Verdict};

impl<F: FnMut(&Event<'_>)> Runner<'_, F> {
    pub(super) async fn fetch(&mut self, number: u32) -> Result<()> {
        let shard = self.shard(number);
        let State::Ended { batch, end, .. } = self.job.ledger.state(number).clone() else {
            return Ok(());
        };
        let mut raw = Vec::new();
        let mut lines = 0;
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
                    return Err(JobError::provider(
                        "a file of results is gone at the provider",
                        error,
                    ));
                }
                Err(error) => return self.weather(number, "cannot download results", error),
            }
            self.heard(number);
            let (file, has) = blocking(move || look_at(&path, kind)).await?;
            raw.push(file);
            lines += has;
        }
        if lines < shard.lines
            && end.status == "completed"
            && self.may_grow(&shard, &batch, &end).await?
        {
            return Ok(());
        }
        if !end.faults.is_empty() {
            let path = shard.raw_path(&self.job.folder, RawKind::Faults.name());
            join::write_faults(&self.job.folder, &shard, &path, &end.faults)?;
            raw.push(look_at(&path, RawKind::Faults)?.0);
        }
        self.step(&shard, Step::Fetched { raw })
    }

    /// The files have fewer lines than the shard although all are done: they may not be whole yet.
    async fn may_grow(&mut self, shard: &Shard, batch: &str, end: &End) -> Result<bool> {
        let now = self.now();
        if !self.still_disagrees(shard.number, now) {
            return Ok(false);
        }
        if let Ok(answer) = self.provider.batches.retrieve(batch).await
            && let Verdict::Ended(anew) | Verdict::LookAgain(anew) =
                turn::judge(&answer.batch, &self.job.plan.profile, now)
            && anew != *end
        {
            self.step(shard, Step::EndedAnew { end: anew })?;
        }
        let pause = turn::second_download_pause(&self.job.plan.profile);
        self.rest(shard.number, pause);
        Ok(true)
    }
}

/// Length, hash and number of lines of a file.
fn look_at(path: &Path, kind: RawKind) -> Result<(RawFile, u64)> {
    let failed = |e: &std::io::Error| JobError::file("cannot read", path, e);
    let mut file = File::open(path).map_err(|e| failed(&e))?;
    let (mut hash, mut buffer) = (Xxh3::new(), vec![0; 1 << 20]);
    let (mut bytes, mut lines, mut last) = (0, 0, b'\n');
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                let read = &buffer[..length];
                hash.update(read);
                bytes += length as u64;
                lines += memchr::memchr_iter(b'\n', read).count() as u64;
                last = read[length - 1];
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(failed(&e)),
        }
    }
    let xxh3 = format!("{:032x}", hash.digest128());
    Ok((
        RawFile { kind, bytes, xxh3 },
        lines + u64::from(last != b'\n'),
    ))
}
