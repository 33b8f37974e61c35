//! API keys: made, ended, and read as a whole by a server that asks for them.

use std::time::Duration;

use rusqlite::{Row, named_params};

use super::super::{
    ENDED_KEYS_KNOWN, Holder, KeyRing, KeyRow, LiveKey, MOST_KEYS, NewKey, Rotated,
};
use super::runner::Tx;
use super::{rows, sql};
use crate::error::{Error, ErrorKind, Result};

/// If we stop before the commit there is no key; after it, one that its owner may not have read: it
/// is listed, and can be revoked.
pub(super) fn create(tx: &Tx<'_>, holder: &Holder, key: &NewKey) -> Result<KeyRow> {
    tx.execute(
        sql::FORGET_KEYS,
        named_params! { ":before": tx.earlier(ENDED_KEYS_KNOWN) },
    )?;
    let live = tx.row(
        sql::COUNT_LIVE_KEYS,
        named_params! { ":now": tx.now_ms },
        |row| rows::count(row, "live"),
    )?;
    if live.unwrap_or_default() >= MOST_KEYS {
        return Err(Error::new(
            ErrorKind::Full,
            format!(
                "there are {MOST_KEYS} keys already; none was made: revoke those that nobody uses"
            ),
        ));
    }
    let params = named_params! {
        ":id": key.id,
        ":tenant": holder.tenant,
        ":label": holder.label,
        ":hash": key.hash,
        ":shown": key.shown,
        ":now": tx.now_ms,
    };
    let row = tx.row(sql::CREATE_KEY, params, |row| read(row, tx.now_ms))?;
    changed(tx)?;
    row.ok_or_else(|| Error::internal("an insert returned no row"))
}

pub(super) fn list(tx: &Tx<'_>) -> Result<Vec<KeyRow>> {
    tx.rows(sql::LIST_KEYS, [], |row| read(row, tx.now_ms))
}

pub(super) fn end(tx: &Tx<'_>, id: &str, grace: Duration) -> Result<Option<KeyRow>> {
    let params = named_params! { ":id": id, ":ends": tx.later(grace) };
    if tx.execute(sql::END_KEY, params)? > 0 {
        changed(tx)?;
    }
    get(tx, id)
}

pub(super) fn rotate(
    tx: &Tx<'_>,
    id: &str,
    key: &NewKey,
    grace: Duration,
) -> Result<Option<Rotated>> {
    if get(tx, id)?.is_none_or(|old| !old.live) {
        return Ok(None);
    }
    let Some(old) = end(tx, id, grace)? else {
        return Ok(None);
    };
    let new = create(tx, &old.holder, key)?;
    Ok(Some(Rotated { old, new }))
}

pub(super) fn ring(tx: &Tx<'_>, known: Option<u64>) -> Result<Option<KeyRing>> {
    let version = tx.row(sql::KEYRING, [], |row| rows::count(row, "version"))?;
    let version = version.ok_or_else(|| Error::internal("the keyring has no row"))?;
    if known == Some(version) {
        return Ok(None);
    }
    let keys = tx.rows(sql::LIVE_KEYS, named_params! { ":now": tx.now_ms }, |row| {
        live(row, tx.now_ms)
    })?;
    Ok(Some(KeyRing { version, keys }))
}

pub(super) fn used(tx: &Tx<'_>, ids: &[String]) -> Result<()> {
    for id in ids {
        tx.execute(sql::USE_KEY, named_params! { ":id": id, ":now": tx.now_ms })?;
    }
    Ok(())
}

fn get(tx: &Tx<'_>, id: &str) -> Result<Option<KeyRow>> {
    tx.row(sql::KEY, named_params! { ":id": id }, |row| {
        read(row, tx.now_ms)
    })
}

fn changed(tx: &Tx<'_>) -> Result<()> {
    tx.execute(sql::CHANGE_KEYRING, [])?;
    Ok(())
}

fn read(row: &Row<'_>, now_ms: i64) -> rusqlite::Result<KeyRow> {
    let ends_ms: Option<i64> = row.get("ends_ms")?;
    Ok(KeyRow {
        id: row.get("id")?,
        holder: Holder {
            tenant: row.get("tenant")?,
            label: row.get("label")?,
        },
        shown: row.get("shown")?,
        live: ends_ms.is_none_or(|ends| ends > now_ms),
        created_at: rows::seconds(row, "created_ms")?.unwrap_or_default(),
        last_used_at: rows::seconds(row, "last_used_ms")?,
        ends_at: rows::seconds(row, "ends_ms")?,
    })
}

fn live(row: &Row<'_>, now_ms: i64) -> rusqlite::Result<LiveKey> {
    let ends_ms: Option<i64> = row.get("ends_ms")?;
    let left = |ends: i64| Duration::from_millis(ends.saturating_sub(now_ms).max(0).unsigned_abs());
    Ok(LiveKey {
        id: row.get("id")?,
        tenant: row.get("tenant")?,
        hash: row.get("hash")?,
        left: ends_ms.map(left),
    })
}
