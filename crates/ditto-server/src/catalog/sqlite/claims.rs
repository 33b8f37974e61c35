//! Whose an object is, by its name, and which rows nobody needs any more.

use rusqlite::{Row, named_params};

use super::super::{DueRows, Keep, Named, SegmentKey};
use super::runner::Tx;
use super::{files, rows, sql, uploads};
use crate::error::{Error, Result};
use crate::model::litter::{
    Claim, Due, Owner, PartUse, Segment, UploadOwner, of_batch, of_blob, of_part, of_upload_part,
};

/// One lookup by key for each name; the caller asks in pages.
pub(super) fn of(tx: &Tx<'_>, names: &[Named], keep: Keep) -> Result<Vec<Claim>> {
    names.iter().map(|name| claim(tx, name, keep)).collect()
}

fn claim(tx: &Tx<'_>, name: &Named, keep: Keep) -> Result<Claim> {
    match name {
        Named::File(id) => file(tx, id, keep),
        Named::UploadPart { upload, part } => upload_part(tx, upload, part, keep),
        Named::Batch(id) => Ok(of_batch(batch(tx, id, 0, keep)?.0)),
        Named::Blob {
            batch: id,
            index,
            epoch,
        } => {
            let (owner, segment) = batch(tx, id, *index, keep)?;
            Ok(of_blob(owner, segment, *epoch))
        }
        Named::Part { segment, epoch } => part(tx, *segment, *epoch),
    }
}

fn file(tx: &Tx<'_>, id: &str, keep: Keep) -> Result<Claim> {
    let params = named_params! {
        ":id": id,
        ":before": tx.earlier(keep.bytes),
        ":pending_before": tx.earlier(files::PENDING_LIFETIME),
    };
    let claim: Option<String> = tx.row(sql::CLAIM_FILE, params, |row| row.get("claim"))?;
    match claim.as_deref() {
        None => Ok(Claim::Unknown),
        Some("held") => Ok(Claim::Held),
        Some("litter") => Ok(Claim::Litter),
        Some("due") => Ok(Claim::Due(Due::File)),
        Some(other) => Err(unexpected(other)),
    }
}

fn upload_part(tx: &Tx<'_>, upload: &str, part: &str, keep: Keep) -> Result<Claim> {
    let params = named_params! { ":id": upload, ":part": part, ":now": tx.now_ms };
    let found = tx.row(sql::CLAIM_UPLOAD_PART, params, |row| {
        Ok((
            row.get::<_, String>("owner")?,
            row.get::<_, Option<String>>("file_id")?,
            row.get::<_, Option<String>>("part")?,
        ))
    })?;
    let Some((owner, file_id, part)) = found else {
        return Ok(of_upload_part(UploadOwner::Missing, None));
    };
    let owner = match (owner.as_str(), file_id) {
        ("pending", _) => UploadOwner::Pending,
        ("ended", _) => UploadOwner::Ended,
        ("swept", _) => UploadOwner::Swept,
        ("completed", Some(id)) => UploadOwner::File(file(tx, &id, keep)?),
        (other, _) => return Err(unexpected(other)),
    };
    let part = part.map(|state| match state.as_str() {
        "chosen" => PartUse::Chosen,
        _ => PartUse::Other,
    });
    Ok(of_upload_part(owner, part))
}

fn batch(tx: &Tx<'_>, id: &str, index: u32, keep: Keep) -> Result<(Owner, Option<Segment>)> {
    let before = tx.earlier(keep.bytes);
    let params = named_params! { ":id": id, ":idx": index, ":before": before };
    owner(tx.row(sql::CLAIM_BATCH, params, facts)?)
}

/// Whose a journal part is.
pub(super) fn part(tx: &Tx<'_>, key: SegmentKey, epoch: u32) -> Result<Claim> {
    let params = named_params! { ":batch": key.batch, ":idx": key.index };
    let (owner, segment) = owner(tx.row(sql::CLAIM_PART, params, facts)?)?;
    Ok(of_part(owner, segment, epoch))
}

fn facts(row: &Row<'_>) -> rusqlite::Result<(String, Option<Segment>)> {
    let sealed: Option<bool> = row.get("sealed")?;
    let epoch: Option<u32> = row.get("epoch")?;
    let segment = sealed.zip(epoch);
    let segment = segment.map(|(sealed, epoch)| Segment { sealed, epoch });
    Ok((row.get("owner")?, segment))
}

fn owner(facts: Option<(String, Option<Segment>)>) -> Result<(Owner, Option<Segment>)> {
    let Some((owner, segment)) = facts else {
        return Ok((Owner::Missing, None));
    };
    let owner = match owner.as_str() {
        "open" => Owner::Open,
        "gap" => Owner::Gap,
        "ended" => Owner::Ended,
        "due" => Owner::Due,
        "swept" => Owner::Swept,
        other => return Err(unexpected(other)),
    };
    Ok((owner, segment))
}

fn unexpected(word: &str) -> Error {
    Error::internal(format!("a claim is said to be {word:?}"))
}

pub(super) fn due_rows(tx: &Tx<'_>, keep: Keep) -> Result<DueRows> {
    let params = named_params! {
        ":now": tx.now_ms,
        ":before": tx.earlier(keep.rows),
        ":files_before": files::forgotten_before(tx, keep.rows),
        ":uploads_before": uploads::forgotten_before(tx),
    };
    let due = tx.row(sql::DUE_ROWS, params, |row| {
        Ok(DueRows {
            creates: rows::count(row, "creates")?,
            files: rows::count(row, "files")?,
            batches: rows::count(row, "batches")?,
            uploads: rows::count(row, "uploads")?,
        })
    })?;
    Ok(due.unwrap_or_default())
}
