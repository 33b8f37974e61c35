//! A file is made of the parts of an upload: a manifest is written, and no bytes are moved.

use std::collections::BTreeMap;
use std::pin::pin;

use ditto_llm::wire::UploadObject;
use futures_util::TryStreamExt;

use super::Service;
use super::first_line::FirstLine;
use super::keyed::Keyed;
use super::objects::{no_such_upload, not_pending, unfit};
use super::pending::Pending;
use crate::blobs::name;
use crate::catalog::{Asked, Completion, NewFile, Once, PartRow, Route, UploadRow};
use crate::error::{Error, Result};
use crate::id;
use crate::manifest::{Entries, Joined, Manifest};
use crate::model::upload::{UploadState, fit};

const COMPLETE: &str = "complete";
/// The place in which a tenant's files are read for their md5. No client's key is empty.
const DIGEST: &str = "";

/// What makes a file of an upload.
#[derive(Debug, Clone)]
pub struct CompleteRequest {
    /// Its parts, in the order of the file.
    pub part_ids: Vec<String>,
    /// What the md5 of the file must be, if the client says so.
    pub md5: Option<[u8; 16]>,
    /// How the same request, sent again, is known.
    pub once: Option<Once>,
}

/// A file made of parts, as it will be.
struct Whole {
    manifest: Manifest,
    lines: Joined,
}

impl Service {
    /// Makes a file of the parts of an upload, in this order. To complete what was completed with the
    /// same parts gives the upload as it is now, if they have the md5 that is said this time.
    pub async fn complete_upload(
        &self,
        tenant: &str,
        id: &str,
        request: CompleteRequest,
    ) -> Result<UploadObject> {
        let once = request.once.clone().filter(|once| once.key.is_some());
        let key = once.as_ref().and_then(|once| once.key.clone());
        let keyed = self.keyed(tenant, Route::Complete, key).await?;
        if keyed.as_ref().is_some_and(Keyed::has_made) {
            let made = Keyed::made(keyed.as_ref(), once.as_ref())?;
            let row = self.catalog.upload(tenant, made).await?;
            return self
                .upload_as_it_is(row.ok_or_else(|| no_such_upload(made))?)
                .await;
        }
        let row = self.catalog.upload(tenant, id).await?;
        let upload = row.ok_or_else(|| no_such_upload(id))?;
        if upload.state != UploadState::Pending {
            let CompleteRequest { part_ids, md5, .. } = request;
            return self.completed_before(upload, &part_ids, md5).await;
        }
        let whole = self.join(&upload, &request.part_ids).await?;
        self.look_at(&upload, &whole.manifest, request.md5).await?;
        self.make_file(&upload, request.part_ids, whole, once).await
    }

    /// The answer to a completion of what has ended.
    async fn completed_before(
        &self,
        upload: UploadRow,
        part_ids: &[String],
        md5: Option<[u8; 16]>,
    ) -> Result<UploadObject> {
        let mut parts = self.catalog.parts(upload.key).await?;
        parts.retain(|part| part.place.is_some());
        parts.sort_by_key(|part| part.place);
        let same = parts.iter().map(|part| &part.id).eq(part_ids);
        if upload.state == UploadState::Completed && same {
            self.look_again(&upload, md5).await?;
            return self.upload_as_it_is(upload).await;
        }
        Err(not_pending(COMPLETE, &upload))
    }

    /// Refuses an md5 that the file of a completed upload does not have. No md5 was kept: the bytes are read
    /// once more, as long as they are there.
    async fn look_again(&self, upload: &UploadRow, md5: Option<[u8; 16]>) -> Result<()> {
        let (Some(_), Some(file)) = (md5, &upload.file_id) else {
            return Ok(());
        };
        let Some(file) = self.catalog.file(&upload.tenant, file).await? else {
            return Ok(());
        };
        let manifest = self
            .blobs
            .manifest_of(&file.id, file.piece.as_ref())
            .await?;
        self.look_at(upload, &manifest, md5).await
    }

    /// What the file will be, if the parts make it up.
    async fn join(&self, upload: &UploadRow, part_ids: &[String]) -> Result<Whole> {
        let rows = self.catalog.parts(upload.key).await?;
        let parts: BTreeMap<&str, &PartRow> =
            rows.iter().map(|part| (part.id.as_str(), part)).collect();
        let size = |id: &str| parts.get(id).map(|part| part.bytes);
        fit(upload.bytes, part_ids, size).map_err(|why| unfit(upload, why))?;
        let mut whole = Whole {
            manifest: Manifest::default(),
            lines: Joined::default(),
        };
        for part in part_ids.iter().filter_map(|id| parts.get(id.as_str())) {
            let blob = name::part_data(&upload.id, &part.id);
            let end = part.bytes + part.index_bytes;
            let index = match part.index_bytes {
                0 => Entries::default(),
                _ => Entries::of(self.blobs.range(&blob, part.bytes..end).await?),
            };
            whole
                .lines
                .add(part.bytes, part.breaks, part.ends_line, index)?;
            whole.manifest.push(blob, 0, part.bytes);
        }
        Ok(whole)
    }

    /// Reads what has to be looked at before this may be a file: the first line of a batch input, or
    /// everything if there is an md5, since parts come in any order.
    async fn look_at(
        &self,
        upload: &UploadRow,
        manifest: &Manifest,
        md5: Option<[u8; 16]>,
    ) -> Result<()> {
        // One file of a tenant after the other: to ask costs little, and to read 10 GB does not.
        let _alone = match md5 {
            Some(_) => Some(
                self.at_work
                    .wait(&upload.tenant, Route::Complete, DIGEST)
                    .await,
            ),
            None => None,
        };
        let is_input = upload.purpose == "batch";
        let mut first_line = FirstLine::default();
        let mut digest = md5.map(|expected| (expected, md5::Context::new()));
        let mut chunks = pin!(self.blobs.read(manifest.pieces.clone()));
        while digest.is_some() || (is_input && !first_line.is_known()) {
            let Some(chunk) = chunks.try_next().await? else {
                break;
            };
            first_line.feed(&chunk);
            if let Some((_, context)) = &mut digest {
                context.consume(&chunk);
            }
        }
        first_line.end();
        if is_input {
            first_line.check()?;
        }
        match digest {
            Some((expected, context)) => check_md5(upload.state, expected, context.finalize().0),
            None => Ok(()),
        }
    }

    /// A pending file of its own for each try, so that two at once do not write over each other's
    /// manifest; of them the catalog takes one.
    ///
    /// If we stop behind the manifest, the upload is pending as before, and can be completed again; the
    /// pending file is litter that the sweeper takes.
    async fn make_file(
        &self,
        upload: &UploadRow,
        parts: Vec<String>,
        whole: Whole,
        once: Option<Once>,
    ) -> Result<UploadObject> {
        let file_id = id::file();
        let pending = Pending::file(self, &file_id);
        let new = NewFile {
            id: file_id.clone(),
            tenant: upload.tenant.clone(),
        };
        self.catalog.create_file(new).await?;
        let Whole { manifest, lines } = whole;
        self.blobs
            .put_map(&file_id, &manifest, lines.index())
            .await?;
        let completion = Completion {
            parts: parts.clone(),
            file_id,
            lines: lines.count(),
            once,
        };
        let (tenant, id) = (&upload.tenant, &upload.id);
        let handed = pending.hand_over();
        match self.catalog.complete_upload(tenant, id, completion).await {
            Ok(Asked::Done(row)) => self.upload_as_it_is(row).await,
            Ok(Asked::Ended(row)) => {
                handed.give_up().await?;
                // The bytes of these parts were read a moment ago.
                self.completed_before(*row, &parts, None).await
            }
            Ok(Asked::Mismatch(_) | Asked::Missing) => {
                handed.give_up().await?;
                Err(no_such_upload(id))
            }
            Err(error) => Err(handed.refused(error).await?),
        }
    }
}

fn check_md5(state: UploadState, expected: [u8; 16], found: [u8; 16]) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    let next = match state {
        UploadState::Completed => "the upload is completed, with the file that they have made",
        UploadState::Pending | UploadState::Cancelled | UploadState::Expired => {
            "the upload can be completed with the right parts"
        }
    };
    let hex = |digest: [u8; 16]| format!("{:032x}", u128::from_be_bytes(digest));
    Err(Error::invalid(format!(
        "The md5 of these parts in this order is {}, and not {}. Nothing was changed: {next}.",
        hex(found),
        hex(expected)
    ))
    .with_param("md5")
    .with_code("checksum_mismatch"))
}
