//! The end of a batch: its two result files are reserved, then named or given up.

use rusqlite::{Row, named_params};

use super::super::{Finish, FinishWork, ReadyFile, SealOutcome, Sealed, SealedWhole, SegmentKey};
use super::rows::{self, Life};
use super::runner::Tx;
use super::{batches, files, incarnations, segments, sql};
use crate::error::{Error, Result};
use crate::id;
use crate::model::batch::{Event, Step, advance};

/// Every result file has this purpose, as at OpenAI.
const PURPOSE: &str = "batch_output";

/// The two files that were reserved by the last seal.
struct Reserved {
    output: String,
    errors: String,
}

/// With the last seal: `finalizing`, and two ids by which blobs may be named from now on. They are
/// there already if it was the last of those that were opened again.
pub(super) fn begin(tx: &Tx<'_>, life: &Life) -> Result<()> {
    match advance(life.state, life.ending, Event::LastSeal) {
        Step::To(state, ending) => batches::set_state(tx, life.key, state, ending)?,
        Step::Stay => return Ok(()),
        Step::Refuse => {
            return Err(Error::internal(format!(
                "batch {} has sealed its last segment as {}",
                life.key,
                life.state.as_str()
            )));
        }
    }
    let reserved = Reserved {
        output: id::file(),
        errors: id::file(),
    };
    for id in [&reserved.output, &reserved.errors] {
        tx.execute(
            sql::RESERVE_FILE,
            named_params! { ":id": id, ":batch": life.key, ":now": tx.now_ms },
        )?;
    }
    let params = named_params! {
        ":batch": life.key, ":output": reserved.output, ":errors": reserved.errors,
    };
    tx.execute(sql::RESERVE_RESULTS, params)?;
    Ok(())
}

/// Seal and end in one: nothing can come in between, so there is no lease to finish and no state to be
/// found half done.
pub(super) fn seal_whole(
    tx: &Tx<'_>,
    incarnation: &str,
    key: SegmentKey,
    epoch: u32,
    whole: SealedWhole,
) -> Result<SealOutcome> {
    let outcome = segments::seal(tx, incarnation, key, epoch, &whole.sealed)?;
    if outcome != SealOutcome::Last || epoch > 1 || !is_whole(tx, key, &whole.sealed)? {
        return Ok(outcome);
    }
    let params = named_params! { ":batch": key.batch, ":incarnation": incarnation };
    tx.execute(sql::HOLD_BATCH, params)?;
    let SealedWhole { output, errors, .. } = whole;
    match finish(
        tx,
        incarnation,
        key.batch,
        &Finish::Whole { output, errors },
    )? {
        true => Ok(SealOutcome::Ended),
        false => Err(Error::internal(format!(
            "batch {} was finalizing and could not end",
            key.batch
        ))),
    }
}

/// Whether these are all the lines of a batch.
fn is_whole(tx: &Tx<'_>, key: SegmentKey, sealed: &Sealed) -> Result<bool> {
    let batch = batches::by_key(tx, key.batch)?;
    let lines = u64::from(sealed.answers) + u64::from(sealed.errors);
    Ok(batch.is_some_and(|batch| (batch.segments, batch.total) == (1, lines)))
}

pub(super) fn lease(tx: &Tx<'_>, incarnation: &str) -> Result<Option<FinishWork>> {
    if !incarnations::is_live(tx, incarnation)? {
        return Ok(None);
    }
    let params = named_params! { ":incarnation": incarnation, ":now": tx.now_ms };
    if let Some(work) = tx.row(sql::LEASE_FINISH, params, work)? {
        return Ok(Some(work));
    }
    let params = named_params! { ":incarnation": incarnation };
    tx.row(sql::HELD_FINISH, params, work)
}

fn work(row: &Row<'_>) -> rusqlite::Result<FinishWork> {
    Ok(FinishWork {
        batch: rows::batch(row)?,
        segments: row.get("plan_segments")?,
        output_file_id: row.get("reserved_output_id")?,
        error_file_id: row.get("reserved_error_id")?,
        reopened: row.get("reopened")?,
    })
}

/// If we stop before the commit, the lease runs out and another makes the same two files again
/// under the same ids; after it, the batch has ended and nothing is left to do.
pub(super) fn finish(tx: &Tx<'_>, incarnation: &str, batch: i64, finish: &Finish) -> Result<bool> {
    let Some(life) = batches::held(tx, incarnation, batch)? else {
        return Ok(false);
    };
    let (output, errors) = match finish {
        Finish::Whole { output, errors } => {
            if batches::step(tx, &life, Event::Named)?.is_none() {
                return Ok(false);
            }
            (output, errors)
        }
        Finish::Broken {
            errors,
            output,
            error_lines,
        } => {
            if !fail(tx, &life, errors)? {
                return Ok(false);
            }
            (output, error_lines)
        }
    };
    true_counts(tx, batch)?;
    name_results(tx, batch, output.as_ref(), errors.as_ref())?;
    tx.execute(sql::DROP_SEGMENTS, named_params! { ":batch": batch })?;
    Ok(true)
}

/// What clients read agrees with the two files, whatever was counted before.
fn true_counts(tx: &Tx<'_>, batch: i64) -> Result<()> {
    let sealed = segments::sum(tx, batch)?;
    let params = named_params! {
        ":batch": batch,
        ":answers": rows::stored(sealed.answers),
        ":errors": rows::stored(sealed.errors),
    };
    if tx.execute(sql::TRUE_COUNTS, params)? > 0 {
        tracing::error!(
            batch,
            "the counts of a batch were wrong; they are those of its files now"
        );
    }
    Ok(())
}

fn fail(tx: &Tx<'_>, life: &Life, errors: &str) -> Result<bool> {
    let Step::To(state, ending) = advance(life.state, life.ending, Event::Broken) else {
        return Ok(false);
    };
    batches::set_state(tx, life.key, state, ending)?;
    tx.execute(
        sql::SET_ERRORS,
        named_params! { ":batch": life.key, ":errors": errors },
    )?;
    Ok(true)
}

fn name_results(
    tx: &Tx<'_>,
    batch: i64,
    output: Option<&ReadyFile>,
    errors: Option<&ReadyFile>,
) -> Result<()> {
    let reserved = tx.row(
        sql::BATCH_BY_KEY,
        named_params! { ":batch": batch },
        |row| {
            Ok(Reserved {
                output: row.get("reserved_output_id")?,
                errors: row.get("reserved_error_id")?,
            })
        },
    )?;
    let reserved = reserved.ok_or_else(|| Error::internal(format!("batch {batch} is gone")))?;
    let output = name_result(tx, batch, reserved.output, output)?;
    let errors = name_result(tx, batch, reserved.errors, errors)?;
    let params = named_params! {
        ":batch": batch,
        ":files_left": i64::from(output.is_some()) + i64::from(errors.is_some()),
        ":output": output,
        ":errors": errors,
    };
    tx.execute(sql::NAME_RESULTS, params)?;
    Ok(())
}

/// The id, if there is such a file.
fn name_result(
    tx: &Tx<'_>,
    batch: i64,
    id: String,
    file: Option<&ReadyFile>,
) -> Result<Option<String>> {
    match file {
        Some(file) => {
            let file = ReadyFile {
                purpose: PURPOSE.to_owned(),
                ..file.clone()
            };
            files::ready(tx, &id, &file)?;
            Ok(Some(id))
        }
        None => {
            tx.execute(
                sql::GIVE_UP_RESULT,
                named_params! { ":id": id, ":batch": batch },
            )?;
            Ok(None)
        }
    }
}
