//! Batches, as clients see them, and every change of their state.

use std::time::Duration;

use rusqlite::named_params;

use super::super::{BatchRow, Cancelled, NewBatch, NewFile, Rows};
use super::files::{self, cut_page};
use super::rows::{self, Life};
use super::runner::Tx;
use super::sql;
use super::tenants::{self, Held};
use crate::error::{Error, Result};
use crate::model::batch::{BatchState, Ending, Event, Step, advance};

/// With what it holds while it is open.
pub(super) fn create(tx: &Tx<'_>, batch: &NewBatch, held: Held) -> Result<BatchRow> {
    let mut options = batch.options.clone();
    // In the transaction that makes the batch: a delete comes before it or after it. The input of a
    // retry is to be made; its id is taken here, so that no blob of it is litter.
    options.input_there = match &batch.retry {
        Some(_) => {
            let (id, tenant) = (batch.input_file_id.clone(), batch.tenant.clone());
            files::create(tx, &NewFile { id, tenant })?;
            true
        }
        None => files::get(tx, &batch.tenant, &batch.input_file_id)?.is_some(),
    };
    let options = serde_json::to_string(&options)
        .map_err(|e| Error::internal(format!("options of {}: {e}", batch.id)))?;
    let params = named_params! {
        ":id": batch.id,
        ":tenant": batch.tenant,
        ":input_file_id": batch.input_file_id,
        ":endpoint": batch.endpoint,
        ":completion_window": batch.completion_window,
        ":metadata": batch.metadata,
        ":options": options,
        ":state": BatchState::Validating.as_str(),
        ":now": tx.now_ms,
        ":expires": batch.expires_after.map(|after| tx.later(after)),
        ":reserved": rows::stored(held.bytes),
        ":lines": rows::stored(held.lines),
        ":retry_of": batch.retry.as_ref().map(|retry| &retry.of),
        ":retry_only": batch.retry.as_ref().map(|retry| rows::classes(&retry.only)),
        ":retry_input": batch.retry.as_ref().map(|retry| &retry.input),
        ":retry_errors": batch.retry.as_ref().map(|retry| &retry.errors),
        ":held_by": batch.validator,
    };
    tenants::hold(tx, &batch.tenant, held)?;
    let row = tx.row(sql::CREATE_BATCH, params, rows::batch)?;
    row.ok_or_else(|| Error::internal("an insert returned no row"))
}

pub(super) fn get(tx: &Tx<'_>, tenant: &str, id: &str) -> Result<Option<BatchRow>> {
    tx.row(
        sql::BATCH,
        named_params! { ":id": id, ":tenant": tenant },
        rows::batch,
    )
}

pub(super) fn by_key(tx: &Tx<'_>, key: i64) -> Result<Option<BatchRow>> {
    tx.row(
        sql::BATCH_BY_KEY,
        named_params! { ":batch": key },
        rows::batch,
    )
}

pub(super) fn list(
    tx: &Tx<'_>,
    tenant: &str,
    limit: u32,
    after: Option<&str>,
) -> Result<Option<Rows<BatchRow>>> {
    let (created, seq) = match after {
        None => (i64::MAX, i64::MAX),
        Some(after) => {
            let params = named_params! { ":id": after, ":tenant": tenant };
            let cursor = tx.row(sql::BATCH_CURSOR, params, |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
            let Some(cursor) = cursor else {
                return Ok(None);
            };
            cursor
        }
    };
    let params = named_params! {
        ":tenant": tenant, ":created": created, ":seq": seq, ":limit": i64::from(limit) + 1,
    };
    let page = tx.rows(sql::LIST_BATCHES, params, rows::batch)?;
    Ok(Some(cut_page(page, limit)))
}

pub(super) fn cancel(tx: &Tx<'_>, tenant: &str, id: &str) -> Result<Cancelled> {
    let Some(row) = get(tx, tenant, id)? else {
        return Ok(Cancelled::Missing);
    };
    match advance(row.state, row.ending, Event::Cancel) {
        Step::Refuse => Ok(Cancelled::Refused(Box::new(row))),
        Step::Stay => Ok(Cancelled::Done(Box::new(row))),
        Step::To(state, ending) => {
            end_early(tx, row.key, state, ending)?;
            let row = by_key(tx, row.key)?.unwrap_or(row);
            Ok(Cancelled::Done(Box::new(row)))
        }
    }
}

pub(super) fn expire_due(tx: &Tx<'_>) -> Result<u32> {
    let due = tx.rows(
        sql::DUE_BATCHES,
        named_params! { ":now": tx.now_ms },
        rows::life,
    )?;
    let mut expired = 0;
    for life in due {
        if let Step::To(state, ending) = advance(life.state, life.ending, Event::Expire) {
            end_early(tx, life.key, state, ending)?;
            expired += 1;
        }
    }
    Ok(expired)
}

fn end_early(tx: &Tx<'_>, key: i64, state: BatchState, ending: Option<Ending>) -> Result<()> {
    set_state(tx, key, state, ending)?;
    tx.execute(
        sql::UNPARK_BATCH,
        named_params! { ":batch": key, ":now": tx.now_ms },
    )?;
    Ok(())
}

/// Moves a batch on, if the table of its life allows it. What it is now, or `None`: nothing changed.
pub(super) fn step(tx: &Tx<'_>, life: &Life, event: Event) -> Result<Option<Life>> {
    match advance(life.state, life.ending, event) {
        Step::To(state, ending) => {
            set_state(tx, life.key, state, ending)?;
            Ok(Some(Life {
                key: life.key,
                state,
                ending,
            }))
        }
        Step::Stay | Step::Refuse => Ok(None),
    }
}

/// Writes a state that the table of a batch's life gave, and the time of it.
pub(super) fn set_state(
    tx: &Tx<'_>,
    key: i64,
    state: BatchState,
    ending: Option<Ending>,
) -> Result<()> {
    let params = named_params! {
        ":batch": key,
        ":state": state.as_str(),
        ":ending": ending.map(Ending::as_str),
        ":now": tx.now_ms,
    };
    tx.execute(sql::ADVANCE_BATCH, params)?;
    if state.is_terminal() {
        tenants::release(tx, key)?;
    }
    Ok(())
}

/// The life of a batch that this incarnation validates or finishes.
pub(super) fn held(tx: &Tx<'_>, incarnation: &str, key: i64) -> Result<Option<Life>> {
    let life = tx.row(sql::BATCH_LIFE, named_params! { ":batch": key }, |row| {
        Ok((rows::life(row)?, row.get::<_, Option<String>>("held_by")?))
    })?;
    Ok(life
        .filter(|(_, by)| by.as_deref() == Some(incarnation))
        .map(|(life, _)| life))
}

/// No longer held, by us.
pub(super) fn release(tx: &Tx<'_>, incarnation: &str, key: i64) -> Result<()> {
    let params = named_params! { ":batch": key, ":incarnation": incarnation };
    tx.execute(sql::RELEASE_BATCH, params)?;
    Ok(())
}

pub(super) fn sweepable(tx: &Tx<'_>, after: i64, limit: u32) -> Result<Vec<BatchRow>> {
    tx.rows(
        sql::SWEEPABLE_BATCHES,
        named_params! { ":after": after, ":limit": limit },
        rows::batch,
    )
}

pub(super) fn swept(tx: &Tx<'_>, batch: i64) -> Result<()> {
    tx.execute(sql::SWEEP_BATCH, named_params! { ":batch": batch })?;
    Ok(())
}

pub(super) fn forget(tx: &Tx<'_>, ended: Duration, limit: u32) -> Result<u32> {
    let params = named_params! { ":before": tx.earlier(ended), ":limit": limit };
    let forgotten = tx.execute(sql::FORGET_BATCHES, params)?;
    Ok(u32::try_from(forgotten).unwrap_or(u32::MAX))
}

pub(super) fn open(tx: &Tx<'_>) -> Result<u64> {
    let open = tx.row(sql::OPEN_BATCHES, [], |row| row.get::<_, i64>(0))?;
    Ok(open.unwrap_or_default().unsigned_abs())
}
