//! Files: from the taking of an id to the sweeping of the bytes.

use std::time::Duration;

use rusqlite::{Row, named_params};

use super::super::{
    CURSOR_LIFETIME, FileQuery, FileRow, NewFile, Order, ReadyFile, Route, Rows, over_limit,
};
use super::rows::{self, stored};
use super::runner::Tx;
use super::{batches, creates, sql, tenants, uploads};
use crate::error::{Error, Result};
use crate::model::space::fits;

/// An upload that takes longer than this was given up by its client.
pub(super) const PENDING_LIFETIME: Duration = Duration::from_secs(24 * 3600);

pub(super) fn create(tx: &Tx<'_>, file: &NewFile) -> Result<()> {
    let params = named_params! { ":id": file.id, ":tenant": file.tenant, ":now": tx.now_ms };
    tx.execute(sql::CREATE_FILE, params)?;
    Ok(())
}

pub(super) fn ready(tx: &Tx<'_>, id: &str, file: &ReadyFile) -> Result<FileRow> {
    let params = named_params! {
        ":id": id,
        ":purpose": file.purpose,
        ":filename": file.filename,
        ":bytes": stored(file.bytes),
        ":lines": file.lines.map(stored),
        ":now": tx.now_ms,
        ":expires": file.expires_after.map(|after| tx.later(after)),
        ":piece_blob": file.piece.as_ref().map(|piece| &piece.blob),
        ":piece_offset": file.piece.as_ref().map(|piece| stored(piece.offset)),
    };
    let row = tx.row(sql::READY_FILE, params, rows::file)?;
    let row = row
        .ok_or_else(|| Error::missing(format!("the upload of {id} was given up; send it again")))?;
    if let Some(limit) = file.within {
        let held = tenants::of(tx, &row.tenant)?.sum();
        if !fits(held, row.bytes, limit) {
            // An error takes the whole change back.
            return Err(over_limit(held, row.bytes, limit));
        }
    }
    if let Some(once) = &file.once {
        creates::claim(tx, Route::Files, &row.tenant, once, &row.id)?;
    }
    tenants::file_came(tx, &row.tenant, row.bytes)?;
    Ok(row)
}

fn charged(row: &Row<'_>) -> rusqlite::Result<(String, u64)> {
    Ok((row.get("tenant")?, rows::count(row, "bytes")?))
}

pub(super) fn abandon(tx: &Tx<'_>, id: &str) -> Result<()> {
    tx.execute(sql::ABANDON_FILE, named_params! { ":id": id })?;
    Ok(())
}

pub(super) fn get(tx: &Tx<'_>, tenant: &str, id: &str) -> Result<Option<FileRow>> {
    let params = named_params! { ":id": id, ":tenant": tenant, ":now": tx.now_ms };
    tx.row(sql::FILE, params, rows::file)
}

/// Of a batch that was made while its input was there the bytes are kept, so its row is enough.
pub(super) fn input(tx: &Tx<'_>, batch: i64) -> Result<Option<FileRow>> {
    let Some(batch) = batches::by_key(tx, batch)? else {
        return Ok(None);
    };
    let (tenant, id) = (&batch.tenant, &batch.input_file_id);
    if batch.options.input_there {
        let params = named_params! { ":id": id, ":tenant": tenant };
        return tx.row(sql::KEPT_FILE, params, rows::file);
    }
    get(tx, tenant, id)
}

pub(super) fn retried_errors(tx: &Tx<'_>, batch: i64) -> Result<Option<FileRow>> {
    let Some(batch) = batches::by_key(tx, batch)? else {
        return Ok(None);
    };
    let id = batch.retry.map(|retry| retry.errors);
    let params = named_params! { ":id": id, ":tenant": batch.tenant };
    tx.row(sql::KEPT_FILE, params, rows::file)
}

pub(super) fn list(tx: &Tx<'_>, tenant: &str, query: &FileQuery) -> Result<Option<Rows<FileRow>>> {
    let (created, seq) = match (&query.after, query.order) {
        (None, Order::Asc) => (i64::MIN, i64::MIN),
        (None, Order::Desc) => (i64::MAX, i64::MAX),
        (Some(after), _) => {
            let params = named_params! { ":id": after, ":tenant": tenant };
            let cursor = tx.row(sql::FILE_CURSOR, params, |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
            let Some(cursor) = cursor else {
                return Ok(None);
            };
            cursor
        }
    };
    let limit = i64::from(query.limit);
    let page = match &query.purpose {
        None => {
            let statement = match query.order {
                Order::Asc => sql::LIST_FILES_ASC,
                Order::Desc => sql::LIST_FILES_DESC,
            };
            let params = named_params! {
                ":tenant": tenant, ":now": tx.now_ms,
                ":created": created, ":seq": seq, ":limit": limit + 1,
            };
            tx.rows(statement, params, rows::file)?
        }
        Some(purpose) => {
            let statement = match query.order {
                Order::Asc => sql::LIST_FILES_OF_PURPOSE_ASC,
                Order::Desc => sql::LIST_FILES_OF_PURPOSE_DESC,
            };
            let params = named_params! {
                ":tenant": tenant, ":purpose": purpose, ":now": tx.now_ms,
                ":created": created, ":seq": seq, ":limit": limit + 1,
            };
            tx.rows(statement, params, rows::file)?
        }
    };
    Ok(Some(cut_page(page, query.limit)))
}

/// One row more than asked for was read, to know whether there is one.
pub(super) fn cut_page<T>(mut rows: Vec<T>, limit: u32) -> Rows<T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    Rows { rows, has_more }
}

pub(super) fn delete(tx: &Tx<'_>, tenant: &str, id: &str) -> Result<bool> {
    let params = named_params! { ":id": id, ":tenant": tenant, ":now": tx.now_ms };
    let deleted = tx.row(sql::DELETE_FILE, params, charged)?;
    if let Some(file) = &deleted {
        tenants::file_went(tx, file)?;
    }
    Ok(deleted.is_some())
}

/// A change, although it reads: see `give_up_pending.sql`.
pub(super) fn sweepable(tx: &Tx<'_>, unreadable: Duration, limit: u32) -> Result<Vec<FileRow>> {
    let before = tx.earlier(PENDING_LIFETIME);
    tx.execute(sql::GIVE_UP_PENDING, named_params! { ":before": before })?;
    let params = named_params! { ":before": tx.earlier(unreadable), ":limit": limit };
    tx.rows(sql::SWEEPABLE_FILES, params, rows::file)
}

pub(super) fn swept(tx: &Tx<'_>, id: &str) -> Result<()> {
    let params = named_params! { ":id": id, ":now": tx.now_ms };
    let expired = tx.row(sql::EXPIRE_FILE, params, charged)?;
    if let Some(file) = &expired {
        tenants::file_went(tx, file)?;
    }
    let swept = tx.row(sql::SWEEP_FILE, named_params! { ":id": id }, |row| {
        Ok((
            row.get::<_, Option<i64>>("batch")?,
            row.get::<_, Option<String>>("upload")?,
        ))
    })?;
    let (batch, upload) = swept.unwrap_or_default();
    if let Some(batch) = batch {
        tx.execute(sql::DROP_RESULT, named_params! { ":batch": batch })?;
    }
    match upload {
        Some(upload) => uploads::swept(tx, &upload),
        None => Ok(()),
    }
}

/// Files that went before this are no cursors any more.
pub(super) fn forgotten_before(tx: &Tx<'_>, unreadable: Duration) -> i64 {
    tx.earlier(unreadable.max(CURSOR_LIFETIME))
}

pub(super) fn forget(tx: &Tx<'_>, unreadable: Duration, limit: u32) -> Result<u32> {
    let params = named_params! {
        ":before": forgotten_before(tx, unreadable), ":limit": limit,
    };
    let forgotten = tx.execute(sql::FORGET_FILES, params)?;
    Ok(u32::try_from(forgotten).unwrap_or(u32::MAX))
}
