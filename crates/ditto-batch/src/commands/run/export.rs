//! Writes the results where the user wants them: whole files or none.

mod behind;

use std::path::Path;
use std::time::Instant;

use ditto_server::{Progress as BatchProgress, Service};
use futures_util::TryStreamExt;

use self::behind::Behind;
use super::job::{Job, shown};
use super::places;
use super::settings::Settings;
use super::summary::{ResultFile, Summary, exit_of};
use super::watch::TENANT;
use crate::exit;
use crate::failure::{Failure, Result};
use crate::fingerprint::{Fingerprint, Sum};
use crate::whole_file::{Readers, WholeFile};

/// Both files and the report. If we stop anywhere in here, the same command does it again: the
/// results stay in the job's folder until the job is marked as ended.
pub(crate) async fn results(
    service: &Service,
    ended: &BatchProgress,
    job: &mut Job,
    settings: &Settings,
    started: Instant,
) -> Result<Summary> {
    let batch = &ended.batch;
    let part = Part::begin(&settings.output, job)?;
    let (part, output) = part.fill(service, batch.output_file_id.as_deref()).await?;
    job.will_place_output(&output.xxh3)?;
    part.place(&output)?;
    let part = Part::begin(&settings.errors, job)?;
    let (part, errors) = part.fill(service, batch.error_file_id.as_deref()).await?;
    job.will_place_errors(&errors.xxh3)?;
    part.place(&errors)?;
    let total = batch
        .request_counts
        .as_ref()
        .map_or(0, |counts| counts.total);
    if output.lines + errors.lines != total {
        return Err(Failure::new(
            exit::UNEXPECTED,
            format!(
                "{} answers and {} errors do not make the {total} lines of the input",
                output.lines, errors.lines
            ),
        )
        .hint("this is a bug of ours: keep the job's folder and report it"));
    }
    let usage = batch.usage.unwrap_or_default();
    let summary = Summary {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        exit: exit_of(errors.lines),
        status: batch.status.as_str().to_owned(),
        total,
        answered: output.lines,
        failed: errors.lines,
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        total_tokens: usage.total_tokens,
        seconds: started.elapsed().as_secs_f64(),
        input: job.input().cloned().ok_or_else(|| {
            Failure::new(
                exit::UNEXPECTED,
                "the job ended without having seen its input",
            )
        })?,
        output,
        errors,
    };
    job.end(&summary)?;
    Ok(summary)
}

/// What was in progress is in the result files now.
pub(crate) fn drop_data(job: &Job) {
    // What cannot be removed only takes space.
    let _ = std::fs::remove_dir_all(job.data_folder());
    let _ = std::fs::remove_file(job.spool());
}

/// A result file on its way to its place.
struct Part<'a> {
    file: WholeFile,
    place: &'a Path,
}

impl<'a> Part<'a> {
    fn begin(place: &'a Path, job: &Job) -> Result<Self> {
        let file = WholeFile::begin(place, job.mark(), Readers::AsUsual);
        file.map(|file| Self { file, place })
            .map_err(|e| cannot_write(place, &e))
    }

    /// Writes what the batch left, counted and hashed on its way.
    async fn fill(self, service: &Service, id: Option<&str>) -> Result<(Self, ResultFile)> {
        let Self { file, place } = self;
        let mut out = Behind::new(file);
        let (mut sum, mut lines) = (Sum::default(), 0);
        if let Some(id) = id {
            let content = service.content(TENANT, id).await?;
            let size = content.file.bytes.unwrap_or_default();
            let mut chunks = std::pin::pin!(content.stream(0..size));
            while let Some(chunk) = chunks.try_next().await? {
                let written = out.write(chunk.clone()).await;
                written.map_err(|e| cannot_write(place, &e))?;
                sum.add(&chunk);
                lines += chunk.iter().filter(|b| **b == b'\n').count() as u64;
            }
        }
        let file = out.finish().await.map_err(|e| cannot_write(place, &e))?;
        let Fingerprint { bytes, xxh3 } = sum.fingerprint();
        let written = ResultFile {
            path: shown(place),
            lines,
            bytes,
            xxh3,
        };
        Ok((Self { file, place }, written))
    }

    /// What stands there is ours only if it is the same to the byte: of a command that was stopped
    /// on its way.
    fn place(self, written: &ResultFile) -> Result<()> {
        let placed = self.file.place_new();
        let placed = placed.map_err(|e| cannot_write(self.place, &e))?;
        if placed || places::holds(self.place, &written.xxh3) {
            Ok(())
        } else {
            Err(places::not_ours(self.place))
        }
    }
}

fn cannot_write(place: &Path, error: &std::io::Error) -> Failure {
    Failure::file("cannot write", place, error)
}
