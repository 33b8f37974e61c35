//! The bytes of a shard on their way out: held against the plan, and copied where they must change.

use std::io::{BufReader, Read, Write};
use std::path::Path;

use super::error::{JobError, JobErrorKind, Result};
use super::input::{Input, InputIdentity};
use super::outgoing::{Request, hash_of, stand_in};
use super::plan::{Form, Plan, Shard, write_whole};
use super::runs::{Run, Runs};
use crate::jsonl::split_lines;

/// Where the bytes to be uploaded are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outgoing {
    /// In these places of the input, as (offset, bytes).
    Input(Vec<(u64, u64)>),
    /// In the shard's own copy.
    Copy,
}

/// Reads every line of the shard, makes sure that it is the one that was planned, and copies it if
/// it has to change. If we stop here, nothing was sent, and the copy is made anew.
pub(crate) fn prepare(plan: &Plan, shard: &Shard, folder: &Path) -> Result<Outgoing> {
    let input = Input::open(&plan.input.path)?;
    if shard.form == Form::AsItIs {
        let mut parts = Vec::new();
        let mut hash = 0u128;
        each_line(&input, shard, folder, |number, line| {
            hash = hash.wrapping_add(hash_of(line, number));
            Ok(())
        })?;
        require_planned(plan, shard, hash)?;
        let mut runs = Runs::open(&Shard::runs_path(folder, shard.number))?;
        while let Some(run) = runs.next()? {
            parts.push((run.offset, run.bytes));
        }
        return Ok(Outgoing::Input(parts));
    }
    let path = shard.spool_path(folder);
    let mut hash = 0u128;
    let mut copied = Ok(());
    write_whole(&path, |out| {
        copied = copy(plan, shard, folder, &input, &mut hash, out);
        Ok(())
    })?;
    copied?;
    require_planned(plan, shard, hash)?;
    Ok(Outgoing::Copy)
}

fn copy(
    plan: &Plan,
    shard: &Shard,
    folder: &Path,
    input: &Input,
    hash: &mut u128,
    out: &mut dyn Write,
) -> Result<()> {
    let fill = plan.fill();
    let url = plan.profile.spelled(&plan.endpoint);
    let mut text = Vec::new();
    each_line(input, shard, folder, |number, line| {
        *hash = hash.wrapping_add(hash_of(line, number));
        let request = Request::read(line, &fill).ok_or_else(|| changed(plan))?;
        let name = match (shard.form, &request.custom_id) {
            (Form::Renamed, _) | (_, None) => stand_in(number),
            (_, Some(id)) => id.to_string(),
        };
        text.clear();
        request.write(&name, &url, &mut text);
        out.write_all(&text)
            .map_err(|e| JobError::file("cannot write", &shard.spool_path(folder), &e))
    })
}

fn require_planned(plan: &Plan, shard: &Shard, hash: u128) -> Result<()> {
    match format!("{hash:032x}") == shard.hash {
        true => Ok(()),
        false => Err(changed(plan)),
    }
}

/// The input is not what it was when it was planned.
pub(crate) fn changed(plan: &Plan) -> JobError {
    JobError::new(
        JobErrorKind::Conflict,
        format!("{} has changed since the job began", plan.input.path.display()),
    )
    .hint(
        "nothing of the change was sent and all results are kept; put the old file back, or move the \
         job's folder away to begin anew",
    )
}

/// What was read to its end is what was planned.
pub(crate) fn require_unchanged(plan: &Plan, read: &InputIdentity) -> Result<()> {
    match (read.bytes, &read.xxh3) == (plan.input.bytes, &plan.input.xxh3) {
        true => Ok(()),
        false => Err(changed(plan)),
    }
}

/// Every line of a shard with its number in the input.
pub(crate) fn each_line(
    input: &Input,
    shard: &Shard,
    folder: &Path,
    mut on_line: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut runs = Runs::open(&Shard::runs_path(folder, shard.number))?;
    while let Some(run) = runs.next()? {
        each_line_of(input, &run, &mut on_line)?;
    }
    Ok(())
}

fn each_line_of(
    input: &Input,
    run: &Run,
    on_line: &mut impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut part = BufReader::with_capacity(1 << 18, input.part(run.offset, run.bytes));
    let mut line = Vec::new();
    for number in run.first_line..=run.last_line() {
        line.clear();
        // Not past the run: an input that changed may have no line feed for a long while.
        let mut one = part.by_ref().take(run.bytes);
        std::io::BufRead::read_until(&mut one, b'\n', &mut line)
            .map_err(|e| JobError::file("cannot read", input.path(), &e))?;
        on_line(number, split_lines(&line).next().unwrap_or_default())?;
    }
    Ok(())
}
