//! Validation: the lease on a batch whose file is being read, and its two outcomes.

use rusqlite::named_params;

use super::super::{BatchRow, Validated};
use super::runner::Tx;
use super::{batches, finish, incarnations, rows, sql};
use crate::error::Result;
use crate::model::batch::Event;

pub(super) fn lease(tx: &Tx<'_>, incarnation: &str) -> Result<Option<BatchRow>> {
    if !incarnations::is_live(tx, incarnation)? {
        return Ok(None);
    }
    let params = named_params! { ":incarnation": incarnation, ":now": tx.now_ms };
    if let Some(row) = tx.row(sql::LEASE_VALIDATION, params, rows::batch)? {
        return Ok(Some(row));
    }
    let params = named_params! { ":incarnation": incarnation };
    tx.row(sql::HELD_VALIDATION, params, rows::batch)
}

pub(super) fn validated(
    tx: &Tx<'_>,
    incarnation: &str,
    batch: i64,
    found: &Validated,
) -> Result<bool> {
    let Some(life) = batches::held(tx, incarnation, batch)? else {
        return Ok(false);
    };
    batches::release(tx, incarnation, batch)?;
    let Some(life) = batches::step(tx, &life, Event::Validated)? else {
        return Ok(false);
    };
    let params = named_params! {
        ":batch": batch,
        ":total": rows::stored(found.total),
        ":segments": found.segments,
        ":only_first_line": found.only.map(|only| rows::stored(only.first_line)),
        ":only_lines": found.only.map(|only| only.lines),
        ":only_offset": found.only.map(|only| rows::stored(only.offset)),
        ":only_length": found.only.map(|only| rows::stored(only.length)),
        ":only_hash": found.only.map(|only| only.hash.cast_signed()),
        ":model": found.model,
        ":bare_suffix": found.bare_suffix,
    };
    tx.execute(sql::SET_PLAN, params)?;
    if found.segments == 0 {
        // Only blank lines: there is no segment whose seal could be the last.
        finish::begin(tx, &life)?;
    }
    Ok(true)
}

pub(super) fn refuse(tx: &Tx<'_>, incarnation: &str, batch: i64, errors: &str) -> Result<bool> {
    let Some(life) = batches::held(tx, incarnation, batch)? else {
        return Ok(false);
    };
    batches::release(tx, incarnation, batch)?;
    if batches::step(tx, &life, Event::Refused)?.is_none() {
        return Ok(false);
    }
    tx.execute(
        sql::SET_ERRORS,
        named_params! { ":batch": batch, ":errors": errors },
    )?;
    Ok(true)
}
