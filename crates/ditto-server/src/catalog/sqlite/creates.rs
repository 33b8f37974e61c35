//! Creates that may come again: which of them makes something, and which is one that was made.

use rusqlite::named_params;

use super::super::{Created, KEY_LIFETIME, Made, NewBatch, Once, REPEAT_LIFETIME, Route};
use super::runner::Tx;
use super::{batches, sql, tenants};
use crate::error::{Error, ErrorKind, Result};

/// What an earlier create was found to have made, by its id.
#[derive(Debug)]
pub(super) enum Earlier {
    /// It asked for the same.
    Same(String),
    /// It had the same key and asked for something else.
    Other(String),
}

/// Looks and makes in one transaction, and there is one writer: a second create that arrives
/// meanwhile finds the first. If we stop before the commit, neither the batch nor its key is there.
pub(super) fn create(tx: &Tx<'_>, batch: &NewBatch) -> Result<Created> {
    let again = |id: &str| {
        let row = batches::get(tx, &batch.tenant, id)?;
        row.map(Box::new).ok_or_else(|| lost(id))
    };
    let route = route(batch);
    match earlier(tx, route, &batch.tenant, batch.once.as_ref())? {
        Some(Earlier::Same(id)) => return Ok(Created::Again(again(&id)?)),
        Some(Earlier::Other(id)) => return Ok(Created::Mismatch(again(&id)?)),
        None => {}
    }
    let held = match tenants::admit(tx, batch)? {
        Ok(held) => held,
        Err(refusal) => return Ok(Created::Refused(refusal)),
    };
    let row = batches::create(tx, batch, held)?;
    if let Some(once) = &batch.once {
        remember(tx, route, &batch.tenant, once, &row.id)?;
    }
    Ok(Created::New(Box::new(row)))
}

/// Which call makes it: a key means one thing in each.
fn route(batch: &NewBatch) -> Route {
    match batch.retry {
        Some(_) => Route::Retry,
        None => Route::Batches,
    }
}

/// What this create has done already.
pub(super) fn earlier(
    tx: &Tx<'_>,
    route: Route,
    tenant: &str,
    once: Option<&Once>,
) -> Result<Option<Earlier>> {
    let Some(once) = once else {
        return Ok(None);
    };
    match &once.key {
        Some(key) => {
            let made = made(tx, route, tenant, key)?;
            Ok(
                made.map(|made| match made.request_hash == once.request_hash {
                    true => Earlier::Same(made.id),
                    false => Earlier::Other(made.id),
                }),
            )
        }
        None if once.repeated => by_hash(tx, route, tenant, once.request_hash),
        None => Ok(None),
    }
}

/// What a key has made.
pub(super) fn made(tx: &Tx<'_>, route: Route, tenant: &str, key: &str) -> Result<Option<Made>> {
    let params = named_params! {
        ":tenant": tenant, ":route": route.as_str(), ":key": key, ":now": tx.now_ms,
    };
    tx.row(sql::CREATE_BY_KEY, params, |row| {
        Ok(Made {
            id: row.get("made")?,
            request_hash: row.get("request_hash")?,
        })
    })
}

fn by_hash(tx: &Tx<'_>, route: Route, tenant: &str, hash: [u8; 16]) -> Result<Option<Earlier>> {
    let params = named_params! {
        ":tenant": tenant,
        ":route": route.as_str(),
        ":request_hash": hash,
        ":since": tx.earlier(REPEAT_LIFETIME),
    };
    tx.row(sql::CREATE_BY_HASH, params, |row| {
        Ok(Earlier::Same(row.get("made")?))
    })
}

/// Remembers what a request with a key has made, unless the key has made something meanwhile: whoever
/// asked for it first was not heard of before.
pub(super) fn claim(
    tx: &Tx<'_>,
    route: Route,
    tenant: &str,
    once: &Once,
    made: &str,
) -> Result<()> {
    if earlier(tx, route, tenant, Some(once))?.is_some() {
        return Err(Error::new(
            ErrorKind::Busy,
            "another request with this Idempotency-Key was answered a moment ago; nothing was changed \
             by this one: send it again",
        ));
    }
    remember(tx, route, tenant, once, made)
}

/// In the transaction that makes it.
pub(super) fn remember(
    tx: &Tx<'_>,
    route: Route,
    tenant: &str,
    once: &Once,
    made: &str,
) -> Result<()> {
    let lifetime = match once.key {
        Some(_) => KEY_LIFETIME,
        None => REPEAT_LIFETIME,
    };
    let params = named_params! {
        ":tenant": tenant,
        ":route": route.as_str(),
        ":key": once.key,
        ":request_hash": once.request_hash,
        ":made": made,
        ":now": tx.now_ms,
        ":expires": tx.later(lifetime),
    };
    tx.execute(sql::REMEMBER_CREATE, params)?;
    Ok(())
}

fn lost(id: &str) -> Error {
    Error::internal(format!("a create names {id}, which is gone"))
}

pub(super) fn forget(tx: &Tx<'_>, limit: u32) -> Result<u32> {
    let params = named_params! { ":now": tx.now_ms, ":limit": limit };
    let forgotten = tx.execute(sql::FORGET_CREATES, params)?;
    Ok(u32::try_from(forgotten).unwrap_or(u32::MAX))
}
