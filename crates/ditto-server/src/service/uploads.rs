//! Files that come in parts: begun, given parts, given up. What makes a file of them is in `complete`.

use ditto_llm::wire::{UploadObject, UploadPartObject};

use super::intake::{Intake, Most, Taken};
use super::keyed::Keyed;
use super::objects::{
    file_object, key_reused, no_such_upload, not_pending, part_object, upload_object,
};
use super::pending::Pending;
use super::upload::lifetime;
use super::{FileDescription, Service};
use crate::blobs::name;
use crate::catalog::{Asked, NewUpload, Once, ReadyPart, Route, UploadRow};
use crate::error::{Error, Result};
use crate::id;
use crate::manifest::Lines;
use crate::model::upload::{PART_BYTES, UploadState};

const ADD_A_PART: &str = "add a part to";
const CANCEL: &str = "cancel";

/// A file that is to come in parts.
#[derive(Debug, Clone)]
pub struct UploadRequest {
    /// The file that it will be.
    pub file: FileDescription,
    /// What its parts will have together.
    pub bytes: u64,
    /// How the same request, sent again, is known.
    pub once: Option<Once>,
}

/// A part that is coming in. Dropped before [`finish`](Self::finish), it leaves nothing behind.
#[derive(Debug)]
pub struct PartUpload {
    // In this order they are dropped: see `Upload`.
    intake: Intake,
    /// `None`: its key has made a part before, and its bytes are only compared.
    part: Option<(Pending, String)>,
    keyed: Option<Keyed>,
    to: Place,
}

/// Where a part goes.
#[derive(Debug)]
struct Place {
    service: Service,
    tenant: String,
    upload: String,
}

impl Service {
    /// Begins a file that comes in parts: one row. The same request again
    /// ([`UploadRequest::once`]) gets the upload as it is now.
    pub async fn create_upload(
        &self,
        tenant: &str,
        request: UploadRequest,
    ) -> Result<UploadObject> {
        if !self.comes_again(tenant, request.once.as_ref()).await? {
            self.require_space().await?;
            self.require_allowance(tenant, request.bytes).await?;
        }
        let new = NewUpload {
            id: id::upload(),
            tenant: tenant.to_owned(),
            bytes: request.bytes,
            expires_after: self.config.limits.upload_lifetime,
            file_expires_after: lifetime(&request.file),
            filename: request.file.filename,
            purpose: request.file.purpose,
            once: request.once,
        };
        let asked = self.catalog.create_upload(new).await?;
        self.answer(Route::Uploads, "create", "", asked).await
    }

    /// A create that comes again needs no room.
    async fn comes_again(&self, tenant: &str, once: Option<&Once>) -> Result<bool> {
        let Some(key) = once.and_then(|once| once.key.as_deref()) else {
            return Ok(false);
        };
        let made = self.catalog.made(tenant, Route::Uploads, key).await?;
        Ok(made.is_some())
    }

    /// Gives an upload up: its parts go. One that was cancelled before is as it is.
    pub async fn cancel_upload(
        &self,
        tenant: &str,
        id: &str,
        once: Option<Once>,
    ) -> Result<UploadObject> {
        let once = once.filter(|once| once.key.is_some());
        let asked = self.catalog.cancel_upload(tenant, id, once).await?;
        self.answer(Route::Cancel, CANCEL, id, asked).await
    }

    /// The object, or why there is none; `verb` is what was asked for.
    pub(super) async fn answer(
        &self,
        route: Route,
        verb: &str,
        id: &str,
        asked: Asked<UploadRow>,
    ) -> Result<UploadObject> {
        match asked {
            Asked::Done(row) => self.upload_as_it_is(row).await,
            Asked::Ended(row) => Err(not_pending(verb, &row)),
            Asked::Mismatch(made) => Err(key_reused(route, &made)),
            Asked::Missing => Err(no_such_upload(id)),
        }
    }

    /// With its file, as far as that is still there.
    pub(super) async fn upload_as_it_is(&self, row: UploadRow) -> Result<UploadObject> {
        let file = match &row.file_id {
            Some(id) => self.catalog.file(&row.tenant, id).await?,
            None => None,
        };
        Ok(upload_object(&row, file.as_ref().map(file_object)))
    }

    /// Begins a part whose bytes are about to come; it is none before [`PartUpload::finish`]. Under a key
    /// as [`Service::upload_under`].
    pub async fn upload_part(
        &self,
        tenant: &str,
        upload: &str,
        key: Option<String>,
    ) -> Result<PartUpload> {
        let keyed = self.keyed(tenant, Route::Parts, key).await?;
        let known = keyed.as_ref().is_some_and(Keyed::has_made);
        let (mut intake, part) = if known {
            (Intake::nowhere(self, MOST), None)
        } else {
            let (intake, part) = self.new_part(tenant, upload).await?;
            (intake, Some(part))
        };
        if keyed.is_some() {
            intake = intake.hashed();
        }
        let to = Place {
            service: self.clone(),
            tenant: tenant.to_owned(),
            upload: upload.to_owned(),
        };
        Ok(PartUpload {
            intake,
            part,
            keyed,
            to,
        })
    }

    async fn new_part(&self, tenant: &str, upload: &str) -> Result<(Intake, (Pending, String))> {
        self.require_space().await?;
        let allowance = self.allowance(tenant).await?;
        let id = id::part();
        let pending = Pending::part(self, upload, &id);
        let refused = match self.catalog.create_part(tenant, upload, &id).await? {
            Asked::Done(()) => None,
            Asked::Ended(row) => Some(not_pending(ADD_A_PART, &row)),
            Asked::Mismatch(_) | Asked::Missing => Some(no_such_upload(upload)),
        };
        if let Some(refused) = refused {
            pending.came_to_nothing();
            return Err(refused);
        }
        let blob = name::part_data(upload, &id);
        let intake = Intake::to(self, &blob, MOST, allowance, Lines::of_part()).await?;
        Ok((intake, (pending, id)))
    }
}

const MOST: Most = Most {
    bytes: PART_BYTES,
    noun: "part",
    param: "data",
};

impl PartUpload {
    /// The next bytes. Past the limit on a part: [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge).
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.intake.write(bytes).await
    }

    /// Makes the part durable, then a part of its upload; or finds the one that its key has made.
    ///
    /// If we stop between the two, its row is pending and its blob goes with the upload's end.
    pub async fn finish(self) -> Result<UploadPartObject> {
        let Self {
            mut intake,
            part,
            keyed,
            to,
        } = self;
        if intake.bytes() == 0 {
            return Err(Error::invalid("The part 'data' is empty.").with_param("data"));
        }
        let index_bytes = intake.append_index().await?;
        let taken = match intake.finish().await {
            Ok(taken) => taken,
            Err(error) => return Err(to.why(error).await?),
        };
        let once = keyed.as_ref().map(|keyed| keyed.once(&to.upload, &taken));
        let Some((pending, id)) = part else {
            return to.made_before(keyed.as_ref(), once.as_ref()).await;
        };
        to.hand_over(pending, &id, ready(&taken, index_bytes, once))
            .await
    }
}

fn ready(taken: &Taken, index_bytes: u64, once: Option<Once>) -> ReadyPart {
    ReadyPart {
        bytes: taken.bytes,
        breaks: taken.lines.breaks(),
        ends_line: taken.lines.ends_line(),
        index_bytes,
        within: None,
        once,
    }
}

impl Place {
    /// What its key has made, if it is still there.
    async fn made_before(
        &self,
        keyed: Option<&Keyed>,
        once: Option<&Once>,
    ) -> Result<UploadPartObject> {
        let made = Keyed::made(keyed, once)?;
        let row = self.service.catalog.part(&self.tenant, made).await?;
        row.map(|row| part_object(&row))
            .ok_or_else(|| no_such_upload(&self.upload))
    }

    async fn hand_over(
        &self,
        pending: Pending,
        id: &str,
        part: ReadyPart,
    ) -> Result<UploadPartObject> {
        let part = ReadyPart {
            within: self.service.config.tenants.of(&self.tenant).stored_bytes,
            ..part
        };
        let handed = pending.hand_over();
        let asked = self
            .service
            .catalog
            .ready_part(&self.tenant, id, part)
            .await;
        let refused = match asked {
            Ok(Asked::Done(row)) => return Ok(part_object(&row)),
            Ok(Asked::Ended(row)) => not_pending(ADD_A_PART, &row),
            Ok(Asked::Mismatch(_) | Asked::Missing) => no_such_upload(&self.upload),
            Err(error) => error,
        };
        Err(handed.refused(refused).await?)
    }

    /// Where an upload ends while a part is being written, the sweeper may take the part from under the
    /// writer: then that it has ended is what the client should hear.
    async fn why(&self, error: Error) -> Result<Error> {
        let row = self
            .service
            .catalog
            .upload(&self.tenant, &self.upload)
            .await?;
        Ok(match row {
            Some(row) if row.state != UploadState::Pending => not_pending(ADD_A_PART, &row),
            Some(_) => error,
            None => no_such_upload(&self.upload),
        })
    }
}
