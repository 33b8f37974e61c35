//! What each tenant has stored and what is set aside for it, kept by deltas.

use rusqlite::named_params;

use super::super::{Bounds, NewBatch, Refusal, Stored};
use super::rows::{self, stored};
use super::runner::Tx;
use super::sql;
use crate::error::Result;
use crate::model::space::{fits, reservation};

/// The row of all tenants together: no tenant is called that.
const EVERYONE: &str = "";

/// What this tenant has.
pub(super) fn of(tx: &Tx<'_>, tenant: &str) -> Result<Stored> {
    let charged = tx.row(sql::CHARGED, named_params! { ":name": tenant }, |row| {
        Ok(Stored {
            bytes: rows::count(row, "stored_bytes")?,
            reserved: rows::count(row, "reserved_bytes")?,
        })
    })?;
    Ok(charged.unwrap_or_default())
}

/// What all have.
pub(super) fn of_everyone(tx: &Tx<'_>) -> Result<Stored> {
    of(tx, EVERYONE)
}

/// A file of this size has become readable.
pub(super) fn file_came(tx: &Tx<'_>, tenant: &str, bytes: u64) -> Result<()> {
    charge(tx, tenant, stored(bytes), 0)
}

/// And is no longer.
pub(super) fn file_went(tx: &Tx<'_>, (tenant, bytes): &(String, u64)) -> Result<()> {
    charge(tx, tenant, -stored(*bytes), 0)
}

/// So much is set aside for a batch.
pub(super) fn reserve(tx: &Tx<'_>, tenant: &str, bytes: u64) -> Result<()> {
    charge(tx, tenant, 0, stored(bytes))
}

/// The batch has ended: what was set aside for it is given back, once.
pub(super) fn release(tx: &Tx<'_>, batch: i64) -> Result<()> {
    let params = named_params! { ":batch": batch };
    let reserved = tx.row(sql::RESERVATION, params, |row| {
        Ok((
            row.get::<_, String>("tenant")?,
            row.get::<_, i64>("reserved_bytes")?,
        ))
    })?;
    if let Some((tenant, bytes)) = reserved {
        charge(tx, &tenant, 0, -bytes)?;
        tx.execute(sql::DROP_RESERVATION, params)?;
    }
    Ok(())
}

fn charge(tx: &Tx<'_>, tenant: &str, stored: i64, reserved: i64) -> Result<()> {
    for name in [tenant, EVERYONE] {
        let params = named_params! { ":name": name, ":stored": stored, ":reserved": reserved };
        tx.execute(sql::CHARGE, params)?;
    }
    Ok(())
}

/// What has to be set aside for a new batch; or why it may not be made.
pub(super) fn admit(tx: &Tx<'_>, batch: &NewBatch) -> Result<Result<u64, Refusal>> {
    let params = named_params! {
        ":id": batch.input_file_id, ":tenant": batch.tenant, ":now": tx.now_ms,
    };
    let input = tx.row(sql::FILE, params, rows::file)?;
    let lines = batch.lines.or(input.and_then(|file| file.lines));
    let asked = reservation(lines.unwrap_or_default());
    let Bounds { tenant, promised } = batch.bounds;
    if let Some(limit) = tenant {
        let held = of(tx, &batch.tenant)?.sum();
        if !fits(held, asked, limit) {
            return Ok(Err(Refusal::Tenant { held, asked, limit }));
        }
    }
    if let Some(limit) = promised {
        let held = of_everyone(tx)?.reserved;
        // Where there is no room at all, a batch without a line is refused too.
        if !fits(held, asked.max(1), limit) {
            return Ok(Err(Refusal::Promised { held, asked }));
        }
    }
    Ok(Ok(asked))
}
