//! What each tenant has stored and open and what is set aside for it, kept by deltas.

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
            open_batches: rows::count(row, "open_batches")?,
            enqueued_lines: rows::count(row, "enqueued_lines")?,
        })
    })?;
    Ok(charged.unwrap_or_default())
}

/// What all have.
pub(super) fn of_everyone(tx: &Tx<'_>) -> Result<Stored> {
    of(tx, EVERYONE)
}

/// What is added to a tenant's counts, or taken off them.
#[derive(Debug, Default)]
struct Charge {
    stored: i64,
    reserved: i64,
    batches: i64,
    lines: i64,
}

/// A file of this size has become readable.
pub(super) fn file_came(tx: &Tx<'_>, tenant: &str, bytes: u64) -> Result<()> {
    let stored = stored(bytes);
    charge(
        tx,
        tenant,
        &Charge {
            stored,
            ..Charge::default()
        },
    )
}

/// And is no longer.
pub(super) fn file_went(tx: &Tx<'_>, (tenant, bytes): &(String, u64)) -> Result<()> {
    let stored = -stored(*bytes);
    charge(
        tx,
        tenant,
        &Charge {
            stored,
            ..Charge::default()
        },
    )
}

/// What an open batch holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// Set aside for it.
    pub(super) bytes: u64,
    /// Of its input, where they were counted.
    pub(super) lines: u64,
}

/// A batch is open from here on.
pub(super) fn hold(tx: &Tx<'_>, tenant: &str, held: Held) -> Result<()> {
    let opened = Charge {
        stored: 0,
        reserved: stored(held.bytes),
        batches: 1,
        lines: stored(held.lines),
    };
    charge(tx, tenant, &opened)
}

/// The batch has ended: what it held is given back, once.
pub(super) fn release(tx: &Tx<'_>, batch: i64) -> Result<()> {
    let params = named_params! { ":batch": batch };
    let held = tx.row(sql::RESERVATION, params, |row| {
        let ended = Charge {
            stored: 0,
            reserved: -row.get::<_, i64>("reserved_bytes")?,
            batches: -1,
            lines: -row.get::<_, i64>("enqueued_lines")?,
        };
        Ok((row.get::<_, String>("tenant")?, ended))
    })?;
    if let Some((tenant, ended)) = held {
        charge(tx, &tenant, &ended)?;
        tx.execute(sql::DROP_RESERVATION, params)?;
    }
    Ok(())
}

fn charge(tx: &Tx<'_>, tenant: &str, charge: &Charge) -> Result<()> {
    for name in [tenant, EVERYONE] {
        let params = named_params! {
            ":name": name,
            ":stored": charge.stored,
            ":reserved": charge.reserved,
            ":batches": charge.batches,
            ":lines": charge.lines,
        };
        tx.execute(sql::CHARGE, params)?;
    }
    Ok(())
}

/// What a new batch would hold; or why it may not be made.
pub(super) fn admit(tx: &Tx<'_>, batch: &NewBatch) -> Result<Result<Held, Refusal>> {
    let params = named_params! {
        ":id": batch.input_file_id, ":tenant": batch.tenant, ":now": tx.now_ms,
    };
    let input = tx.row(sql::FILE, params, rows::file)?;
    let lines = batch.lines.or(input.and_then(|file| file.lines));
    let lines = lines.unwrap_or_default();
    let asked = Held {
        bytes: reservation(lines),
        lines,
    };
    let has = of(tx, &batch.tenant)?;
    let all = of_everyone(tx)?.reserved;
    Ok(match refusal(batch.bounds, asked, has, all) {
        Some(refusal) => Err(refusal),
        None => Ok(asked),
    })
}

/// What does not fit, in the order in which a client can do something about it.
fn refusal(bounds: Bounds, asked: Held, has: Stored, promised: u64) -> Option<Refusal> {
    let over = |held, asked, limit: Option<u64>| limit.filter(|limit| !fits(held, asked, *limit));
    if let Some(limit) = over(has.open_batches, 1, bounds.open_batches) {
        return Some(Refusal::Batches { limit });
    }
    let (held, lines) = (has.enqueued_lines, asked.lines);
    if let Some(limit) = over(held, lines, bounds.enqueued_lines) {
        return Some(Refusal::Lines {
            held,
            asked: lines,
            limit,
        });
    }
    let (held, bytes) = (has.sum(), asked.bytes);
    if let Some(limit) = over(held, bytes, bounds.tenant) {
        return Some(Refusal::Tenant {
            held,
            asked: bytes,
            limit,
        });
    }
    // Where there is no room at all, a batch without a line is refused too.
    over(promised, bytes.max(1), bounds.promised).map(|_| Refusal::Promised {
        held: promised,
        asked: bytes,
    })
}
