//! A file that is coming in, in one request.

use std::time::Duration;

use ditto_llm::wire::FileObject;

use super::intake::{Intake, Most};
use super::keyed::Keyed;
use super::objects::file_object;
use super::pending::Pending;
use super::{FileDescription, Service};
use crate::blobs::name;
use crate::catalog::{NewFile, ReadyFile, Route};
use crate::error::Result;
use crate::id;
use crate::manifest::{Lines, Manifest};

/// Input files live as long as OpenAI's: 30 days.
const INPUT_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// A file that is coming in. Dropped before [`finish`](Self::finish), it leaves nothing behind.
#[derive(Debug)]
pub struct Upload {
    // In this order they are dropped: first what is being written, then what was, then the place
    // at work under its key.
    intake: Intake,
    /// `None`: its key has made a file before, and its bytes are only compared.
    file: Option<(Pending, String)>,
    keyed: Option<Keyed>,
    service: Service,
    tenant: String,
}

impl Service {
    /// Begins a file whose bytes are about to come; nothing is visible until
    /// [`Upload::finish`]. The id is in the catalog before the first byte is stored.
    ///
    /// [`ErrorKind::NoSpace`](crate::ErrorKind::NoSpace) if the disk has no room for new files,
    /// [`ErrorKind::Full`](crate::ErrorKind::Full) if the tenant has as many bytes as it may.
    pub async fn upload(&self, tenant: &str) -> Result<Upload> {
        self.upload_under(tenant, None).await
    }

    /// The same under a key of the client's own: while it is remembered, the same file under the same
    /// key is the file that was made, and is not kept twice. Whoever comes second waits for the first.
    pub async fn upload_under(&self, tenant: &str, key: Option<String>) -> Result<Upload> {
        let keyed = self.keyed(tenant, Route::Files, key).await?;
        let known = keyed.as_ref().is_some_and(Keyed::has_made);
        let (mut intake, file) = if known {
            (Intake::nowhere(self, self.most_of_file()), None)
        } else {
            let (intake, file) = self.new_file(tenant).await?;
            (intake, Some(file))
        };
        if keyed.is_some() {
            intake = intake.hashed();
        }
        Ok(Upload {
            intake,
            file,
            keyed,
            service: self.clone(),
            tenant: tenant.to_owned(),
        })
    }

    async fn new_file(&self, tenant: &str) -> Result<(Intake, (Pending, String))> {
        self.require_space().await?;
        let allowance = self.allowance(tenant).await?;
        let id = id::file();
        let pending = Pending::file(self, &id);
        let new = NewFile {
            id: id.clone(),
            tenant: tenant.to_owned(),
        };
        self.catalog.create_file(new).await?;
        let most = self.most_of_file();
        let blob = name::data(&id);
        let intake = Intake::to(self, &blob, most, allowance, Lines::of_file()).await?;
        Ok((intake, (pending, id)))
    }

    fn most_of_file(&self) -> Most {
        Most {
            bytes: self.config.limits.file_bytes,
            noun: "file",
            param: "file",
        }
    }
}

impl Upload {
    /// The next bytes. Past the limit on file size:
    /// [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge); and as [`Service::upload`] if the room has
    /// gone meanwhile.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.intake.write(bytes).await
    }

    /// Bytes so far.
    pub fn written(&self) -> u64 {
        self.intake.bytes()
    }

    /// Makes the file durable, then visible; or finds the one that its key has made.
    ///
    /// If we stop between the two, the pending row and its blobs are litter that the sweeper takes.
    pub async fn finish(self, description: FileDescription) -> Result<FileObject> {
        let Self {
            intake,
            file,
            keyed,
            service,
            tenant,
        } = self;
        let taken = intake.finish().await?;
        let asked = (
            &description.filename,
            &description.purpose,
            description.expires_after.map(|after| after.as_secs()),
        );
        let once = keyed.as_ref().map(|keyed| keyed.once(&asked, &taken));
        let Some((pending, id)) = file else {
            let made = Keyed::made(keyed.as_ref(), once.as_ref())?;
            return service.file(&tenant, made).await;
        };
        let manifest = Manifest::whole(name::data(&id), taken.bytes);
        let index = taken.lines.index();
        service.blobs.put_map(&id, &manifest, index).await?;
        let ready = ReadyFile {
            expires_after: lifetime(&description),
            purpose: description.purpose,
            filename: description.filename,
            bytes: taken.bytes,
            lines: Some(taken.lines.count()),
            piece: None,
            within: service.config.tenants.of(&tenant).stored_bytes,
            once,
        };
        let handed = pending.hand_over();
        match service.catalog.ready_file(&id, ready).await {
            Ok(row) => Ok(file_object(&row)),
            Err(error) => Err(handed.refused(error).await?),
        }
    }

    /// Gives the file up: its bytes go at once.
    pub async fn abandon(self) -> Result<()> {
        drop(self.intake);
        match self.file {
            Some((pending, _)) => pending.give_up().await,
            None => Ok(()),
        }
    }
}

/// As asked for; an input lives as long as OpenAI's.
pub(super) fn lifetime(file: &FileDescription) -> Option<Duration> {
    match file.purpose.as_str() {
        "batch" => Some(file.expires_after.unwrap_or(INPUT_LIFETIME)),
        _ => file.expires_after,
    }
}
