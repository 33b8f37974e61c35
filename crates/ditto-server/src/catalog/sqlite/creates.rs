//! Creates that may come again: which of them makes a batch, and which is one that was made.

use rusqlite::named_params;

use super::super::{BatchRow, Created, KEY_LIFETIME, NewBatch, Once, REPEAT_LIFETIME};
use super::runner::Tx;
use super::{batches, rows, sql, tenants};
use crate::error::Result;

/// Looks and makes in one transaction, and there is one writer: a second create that arrives
/// meanwhile finds the first. If we stop before the commit, neither the batch nor its key is there.
pub(super) fn create(tx: &Tx<'_>, batch: &NewBatch) -> Result<Created> {
    if let Some(once) = &batch.once
        && let Some(earlier) = earlier(tx, &batch.tenant, once)?
    {
        return Ok(earlier);
    }
    let held = match tenants::admit(tx, batch)? {
        Ok(held) => held,
        Err(refusal) => return Ok(Created::Refused(refusal)),
    };
    let row = batches::create(tx, batch, held)?;
    if let Some(once) = &batch.once {
        remember(tx, &row, once)?;
    }
    Ok(Created::New(Box::new(row)))
}

/// What this create has done already.
fn earlier(tx: &Tx<'_>, tenant: &str, once: &Once) -> Result<Option<Created>> {
    match &once.key {
        Some(key) => by_key(tx, tenant, key, once.request_hash),
        None if once.repeated => by_hash(tx, tenant, once.request_hash),
        None => Ok(None),
    }
}

fn by_key(tx: &Tx<'_>, tenant: &str, key: &str, hash: [u8; 16]) -> Result<Option<Created>> {
    let params = named_params! { ":tenant": tenant, ":key": key, ":now": tx.now_ms };
    tx.row(sql::CREATE_BY_KEY, params, |row| {
        let same = row.get::<_, [u8; 16]>("request_hash")? == hash;
        let batch = Box::new(rows::batch(row)?);
        Ok(if same {
            Created::Again(batch)
        } else {
            Created::Mismatch(batch)
        })
    })
}

fn by_hash(tx: &Tx<'_>, tenant: &str, hash: [u8; 16]) -> Result<Option<Created>> {
    let since = tx.earlier(REPEAT_LIFETIME);
    let params = named_params! { ":tenant": tenant, ":request_hash": hash, ":since": since };
    tx.row(sql::CREATE_BY_HASH, params, |row| {
        Ok(Created::Again(Box::new(rows::batch(row)?)))
    })
}

fn remember(tx: &Tx<'_>, batch: &BatchRow, once: &Once) -> Result<()> {
    let lifetime = match once.key {
        Some(_) => KEY_LIFETIME,
        None => REPEAT_LIFETIME,
    };
    let params = named_params! {
        ":batch": batch.key,
        ":tenant": batch.tenant,
        ":key": once.key,
        ":request_hash": once.request_hash,
        ":now": tx.now_ms,
        ":expires": tx.later(lifetime),
    };
    tx.execute(sql::REMEMBER_CREATE, params)?;
    Ok(())
}

pub(super) fn forget(tx: &Tx<'_>, limit: u32) -> Result<u32> {
    let params = named_params! { ":now": tx.now_ms, ":limit": limit };
    let forgotten = tx.execute(sql::FORGET_CREATES, params)?;
    Ok(u32::try_from(forgotten).unwrap_or(u32::MAX))
}
