//! Files that come in parts: from the taking of an id to the file, or to the sweeping of the parts.

use rusqlite::named_params;

use super::super::{
    Asked, Completion, FileRow, NewUpload, Once, PENDING_UPLOADS, PartRow, ReadyFile, ReadyPart,
    Route, UPLOAD_LIFETIME, UploadRow, over_limit, too_many_uploads,
};
use super::creates::{self, Earlier};
use super::files;
use super::rows::{self, stored};
use super::runner::Tx;
use super::{sql, tenants};
use crate::error::{Error, Result};
use crate::model::space::fits;
use crate::model::upload::{PARTS, UploadState, takes};

pub(super) fn create(tx: &Tx<'_>, upload: &NewUpload) -> Result<Asked<UploadRow>> {
    let once = upload.once.as_ref();
    if let Some(asked) = again(tx, Route::Uploads, &upload.tenant, once)? {
        return Ok(asked);
    }
    let params = named_params! { ":tenant": upload.tenant, ":now": tx.now_ms };
    let pending = tx.row(sql::PENDING_UPLOADS, params, |row| row.get::<_, i64>(0))?;
    if pending.unwrap_or_default().unsigned_abs() >= PENDING_UPLOADS {
        return Err(too_many_uploads());
    }
    let row = insert(tx, upload)?;
    if let Some(once) = once {
        creates::remember(tx, Route::Uploads, &upload.tenant, once, &row.id)?;
    }
    Ok(Asked::Done(row))
}

fn insert(tx: &Tx<'_>, upload: &NewUpload) -> Result<UploadRow> {
    let params = named_params! {
        ":id": upload.id,
        ":tenant": upload.tenant,
        ":filename": upload.filename,
        ":purpose": upload.purpose,
        ":bytes": stored(upload.bytes),
        ":file_lifetime_s": upload.file_expires_after.map(|after| stored(after.as_secs())),
        ":now": tx.now_ms,
        ":expires": tx.later(upload.expires_after),
    };
    let row = tx.row(sql::CREATE_UPLOAD, params, rows::upload(tx.now_ms))?;
    row.ok_or_else(|| Error::internal("an insert returned no row"))
}

/// What the same request has done before, if it has.
fn again(
    tx: &Tx<'_>,
    route: Route,
    tenant: &str,
    once: Option<&Once>,
) -> Result<Option<Asked<UploadRow>>> {
    Ok(match creates::earlier(tx, route, tenant, once)? {
        None => None,
        Some(Earlier::Same(id)) => Some(get(tx, tenant, &id)?.map_or(Asked::Missing, Asked::Done)),
        Some(Earlier::Other(id)) => Some(Asked::Mismatch(id)),
    })
}

pub(super) fn get(tx: &Tx<'_>, tenant: &str, id: &str) -> Result<Option<UploadRow>> {
    let params = named_params! { ":id": id, ":tenant": tenant };
    tx.row(sql::UPLOAD, params, rows::upload(tx.now_ms))
}

/// The upload, if it is pending.
fn pending<T>(tx: &Tx<'_>, tenant: &str, id: &str) -> Result<Result<UploadRow, Asked<T>>> {
    Ok(match get(tx, tenant, id)? {
        None => Err(Asked::Missing),
        Some(row) if row.state == UploadState::Pending => Ok(row),
        Some(row) => Err(Asked::Ended(Box::new(row))),
    })
}

pub(super) fn create_part(tx: &Tx<'_>, tenant: &str, upload: &str, id: &str) -> Result<Asked<()>> {
    let row = match pending(tx, tenant, upload)? {
        Ok(row) => row,
        Err(asked) => return Ok(asked),
    };
    let (parts, bytes) = holds(tx, row.key)?;
    if parts >= PARTS {
        return Err(Error::invalid(format!(
            "The upload '{upload}' has {PARTS} parts, which is as many as it may have. Larger parts make \
             fewer of them."
        )));
    }
    if !takes(row.bytes, bytes, 1) {
        return Err(too_much(&row, bytes));
    }
    let params = named_params! { ":id": id, ":upload": row.key, ":now": tx.now_ms };
    tx.execute(sql::CREATE_PART, params)?;
    grow(tx, row.key, 1, 0)?;
    Ok(Asked::Done(()))
}

/// Rows of parts, and bytes of those that are ready.
fn holds(tx: &Tx<'_>, upload: i64) -> Result<(u32, u64)> {
    let params = named_params! { ":upload": upload };
    let holds = tx.row(sql::UPLOAD_HOLDS, params, |row| {
        Ok((row.get("parts")?, rows::count(row, "part_bytes")?))
    })?;
    Ok(holds.unwrap_or_default())
}

fn too_much(upload: &UploadRow, held: u64) -> Error {
    Error::invalid(format!(
        "The parts of the upload '{}' have {held} bytes already, and it was created for {}. Complete it \
         with those that are needed, or cancel it.",
        upload.id, upload.bytes
    ))
}

fn grow(tx: &Tx<'_>, upload: i64, parts: i64, bytes: i64) -> Result<()> {
    let params = named_params! { ":upload": upload, ":parts": parts, ":bytes": bytes };
    tx.execute(sql::GROW_UPLOAD, params)?;
    Ok(())
}

pub(super) fn ready_part(
    tx: &Tx<'_>,
    tenant: &str,
    id: &str,
    part: &ReadyPart,
) -> Result<Asked<PartRow>> {
    let params = named_params! { ":id": id, ":tenant": tenant };
    let upload = tx.row(sql::PART, params, |row| row.get::<_, String>("upload_id"))?;
    let Some(upload) = upload else {
        return Ok(Asked::Missing);
    };
    let row = match pending(tx, tenant, &upload)? {
        Ok(row) => row,
        Err(asked) => return Ok(asked),
    };
    admit_part(tx, &row, part)?;
    let params = named_params! {
        ":id": id,
        ":bytes": stored(part.bytes),
        ":breaks": stored(part.breaks),
        ":ends_line": part.ends_line,
        ":index_bytes": stored(part.index_bytes),
        ":now": tx.now_ms,
    };
    if tx.execute(sql::READY_PART, params)? == 0 {
        return Ok(Asked::Missing);
    }
    if let Some(once) = &part.once {
        creates::claim(tx, Route::Parts, tenant, once, id)?;
    }
    grow(tx, row.key, 0, stored(part.bytes))?;
    tenants::file_came(tx, tenant, part.bytes)?;
    Ok(get_part(tx, tenant, id)?.map_or(Asked::Missing, Asked::Done))
}

/// An error if the part is more than its upload or its tenant may have.
fn admit_part(tx: &Tx<'_>, upload: &UploadRow, part: &ReadyPart) -> Result<()> {
    let (_, held) = holds(tx, upload.key)?;
    if !takes(upload.bytes, held, part.bytes) {
        return Err(too_much(upload, held));
    }
    let Some(limit) = part.within else {
        return Ok(());
    };
    let held = tenants::of(tx, &upload.tenant)?.sum();
    match fits(held, part.bytes, limit) {
        true => Ok(()),
        false => Err(over_limit(held, part.bytes, limit)),
    }
}

pub(super) fn get_part(tx: &Tx<'_>, tenant: &str, id: &str) -> Result<Option<PartRow>> {
    let params = named_params! { ":id": id, ":tenant": tenant };
    let part = tx.row(sql::PART, params, |row| {
        let ready = row.get::<_, String>("state")? != "pending";
        Ok((ready, rows::part(row)?))
    })?;
    Ok(part.and_then(|(ready, part)| ready.then_some(part)))
}

pub(super) fn abandon_part(tx: &Tx<'_>, id: &str) -> Result<()> {
    let params = named_params! { ":id": id };
    let upload = tx.row(sql::ABANDON_PART, params, |row| row.get::<_, i64>("upload"))?;
    match upload {
        Some(upload) => grow(tx, upload, -1, 0),
        None => Ok(()),
    }
}

pub(super) fn parts(tx: &Tx<'_>, upload: i64) -> Result<Vec<PartRow>> {
    tx.rows(sql::PARTS, named_params! { ":upload": upload }, rows::part)
}

/// One transaction: the file is ready, its parts are its own, the others nobody's, and the upload is
/// over. If we stop before the commit, nothing of it is so, and the same can be asked again.
pub(super) fn complete(
    tx: &Tx<'_>,
    tenant: &str,
    id: &str,
    completion: &Completion,
) -> Result<Asked<UploadRow>> {
    let upload = match pending(tx, tenant, id)? {
        Ok(upload) => upload,
        Err(asked) => return Ok(asked),
    };
    choose(tx, &upload, &completion.parts)?;
    let row = end(
        tx,
        &upload,
        UploadState::Completed,
        Some(&completion.file_id),
    )?;
    become_file(tx, &upload, completion)?;
    if let Some(once) = &completion.once {
        creates::claim(tx, Route::Complete, tenant, once, id)?;
    }
    Ok(Asked::Done(row))
}

/// What the caller has looked at may have changed meanwhile: then nothing is done.
fn choose(tx: &Tx<'_>, upload: &UploadRow, parts: &[String]) -> Result<()> {
    let mut sum = 0;
    for (id, place) in parts.iter().zip(0u32..) {
        let params = named_params! { ":id": id, ":upload": upload.key, ":place": place };
        let bytes = tx.row(sql::CHOOSE_PART, params, |row| rows::count(row, "bytes"))?;
        sum += bytes.ok_or_else(|| {
            Error::invalid(format!("The upload '{}' has no part '{id}'.", upload.id))
        })?;
    }
    if sum != upload.bytes {
        return Err(Error::internal(format!(
            "the parts of {} have {sum} bytes and not {}",
            upload.id, upload.bytes
        )));
    }
    tx.execute(sql::LEAVE_PARTS, named_params! { ":upload": upload.key })?;
    Ok(())
}

fn become_file(tx: &Tx<'_>, upload: &UploadRow, completion: &Completion) -> Result<FileRow> {
    let file = ReadyFile {
        purpose: upload.purpose.clone(),
        filename: upload.filename.clone(),
        bytes: upload.bytes,
        lines: Some(completion.lines),
        expires_after: upload.file_expires_after,
        // Its parts were let in.
        piece: None,
        within: None,
        once: None,
    };
    let row = files::ready(tx, &completion.file_id, &file)?;
    let params = named_params! { ":id": row.id, ":upload": upload.id };
    tx.execute(sql::LINK_UPLOAD, params)?;
    Ok(row)
}

/// Ends a pending upload: what its parts have is no longer its tenant's.
fn end(
    tx: &Tx<'_>,
    upload: &UploadRow,
    state: UploadState,
    file: Option<&str>,
) -> Result<UploadRow> {
    let charged = (upload.tenant.clone(), holds(tx, upload.key)?.1);
    tenants::file_went(tx, &charged)?;
    let ended = match state {
        UploadState::Expired => upload.expires_at.saturating_mul(1_000),
        UploadState::Pending | UploadState::Completed | UploadState::Cancelled => tx.now_ms,
    };
    let params = named_params! {
        ":upload": upload.key,
        ":state": state.as_str(),
        ":ended": ended,
        ":file_id": file,
    };
    let row = tx.row(sql::END_UPLOAD, params, rows::upload(tx.now_ms))?;
    row.ok_or_else(|| Error::internal(format!("the upload {} is not pending", upload.id)))
}

pub(super) fn cancel(
    tx: &Tx<'_>,
    tenant: &str,
    id: &str,
    once: Option<&Once>,
) -> Result<Asked<UploadRow>> {
    if let Some(asked) = again(tx, Route::Cancel, tenant, once)? {
        return Ok(asked);
    }
    let row = match pending(tx, tenant, id)? {
        Ok(upload) => end(tx, &upload, UploadState::Cancelled, None)?,
        // Asked for twice, it is as it should be.
        Err(Asked::Ended(row)) if row.state == UploadState::Cancelled => *row,
        Err(asked) => return Ok(asked),
    };
    if let Some(once) = once {
        creates::remember(tx, Route::Cancel, tenant, once, id)?;
    }
    Ok(Asked::Done(row))
}

/// A change, although it reads: whatever time has ended is ended here, so that a late part finds it so.
pub(super) fn sweepable(tx: &Tx<'_>, limit: u32) -> Result<Vec<UploadRow>> {
    let params = named_params! { ":now": tx.now_ms, ":limit": limit };
    for due in tx.rows(sql::DUE_UPLOADS, params, rows::upload(tx.now_ms))? {
        end(tx, &due, UploadState::Expired, None)?;
    }
    let params = named_params! { ":limit": limit };
    tx.rows(sql::SWEEPABLE_UPLOADS, params, rows::upload(tx.now_ms))
}

pub(super) fn swept(tx: &Tx<'_>, id: &str) -> Result<()> {
    let params = named_params! { ":id": id };
    let upload = tx.row(sql::SWEEP_UPLOAD, params, |row| row.get::<_, i64>("key"))?;
    if let Some(upload) = upload {
        tx.execute(sql::DROP_PARTS, named_params! { ":upload": upload })?;
    }
    Ok(())
}

pub(super) fn sweepable_parts(tx: &Tx<'_>, limit: u32) -> Result<Vec<(String, String)>> {
    let params = named_params! { ":limit": limit };
    tx.rows(sql::SWEEPABLE_PARTS, params, |row| {
        Ok((row.get("upload")?, row.get("id")?))
    })
}

/// Uploads that ended before this are known to nobody any more.
pub(super) fn forgotten_before(tx: &Tx<'_>) -> i64 {
    tx.earlier(UPLOAD_LIFETIME)
}

pub(super) fn forget(tx: &Tx<'_>, limit: u32) -> Result<u32> {
    let params = named_params! { ":before": forgotten_before(tx), ":limit": limit };
    let forgotten = tx.execute(sql::FORGET_UPLOADS, params)?;
    Ok(u32::try_from(forgotten).unwrap_or(u32::MAX))
}
