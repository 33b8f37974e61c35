//! Writes the results where the user wants them: whole files or none.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use ditto_server::{Progress as BatchProgress, Service};
use futures_util::TryStreamExt;
use xxhash_rust::xxh3::Xxh3;

use super::input::digest;
use super::job::{Job, shown};
use super::places;
use super::settings::Settings;
use super::summary::{ResultFile, Summary, exit_of};
use super::watch::TENANT;
use crate::exit;
use crate::failure::{Failure, Result};
use crate::whole_file::WholeFile;

/// Written at a time.
const BUFFER: usize = 1 << 20;

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
    let output = write(service, batch.output_file_id.as_deref(), &settings.output).await?;
    let errors = write(service, batch.error_file_id.as_deref(), &settings.errors).await?;
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

/// One result file, counted and hashed on its way.
async fn write(service: &Service, id: Option<&str>, path: &Path) -> Result<ResultFile> {
    let failed = |e: std::io::Error| Failure::file("cannot write", path, &e);
    let file = WholeFile::begin(path).map_err(failed)?;
    let mut out = std::io::BufWriter::with_capacity(BUFFER, file);
    let mut hash = Box::new(Xxh3::new());
    let mut written = ResultFile {
        path: shown(path),
        lines: 0,
        bytes: 0,
        xxh3: String::new(),
    };
    if let Some(id) = id {
        let content = service.content(TENANT, id).await?;
        let size = content.file.bytes.unwrap_or_default();
        let mut chunks = std::pin::pin!(content.stream(0..size));
        while let Some(chunk) = chunks.try_next().await? {
            hash.update(&chunk);
            written.bytes += chunk.len() as u64;
            written.lines += chunk.iter().filter(|b| **b == b'\n').count() as u64;
            out.write_all(&chunk).map_err(failed)?;
        }
    }
    let file = out.into_inner().map_err(|e| failed(e.into_error()))?;
    written.xxh3 = format!("{:032x}", hash.digest128());
    // What stands there is ours only if it is the same to the byte: of a command that was stopped
    // on its way.
    if !file.place_new().map_err(failed)? && !holds(path, &written.xxh3) {
        return Err(places::not_ours(path));
    }
    Ok(written)
}

fn holds(path: &Path, xxh3: &str) -> bool {
    let there = std::fs::File::open(path).and_then(|mut file| digest(&mut file));
    there.is_ok_and(|there| there == xxh3)
}
