//! A file that is coming in: streamed to a blob while its lines are counted and indexed.

use std::time::Duration;

use ditto_llm::wire::FileObject;

use super::objects::file_object;
use super::room::Allowance;
use super::{FileDescription, Service};
use crate::blobs::{BlobWriter, PART, name};
use crate::budget::Draw;
use crate::catalog::{NewFile, ReadyFile};
use crate::error::{Error, ErrorKind, Result};
use crate::id;
use crate::manifest::{LineIndex, Manifest};

/// Input files live as long as OpenAI's: 30 days.
const INPUT_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// Not drawn for: a connection's own buffers are as large, and a small file waits for no large one.
const SMALL_BYTES: usize = 64 * 1024;

/// A file that is coming in. Dropped before [`finish`](Self::finish), it leaves nothing behind.
#[derive(Debug)]
pub struct Upload {
    service: Service,
    id: String,
    writer: Option<BlobWriter>,
    /// Memory for the part that is coming in.
    part: Option<Draw>,
    index: LineIndex,
    lines: u64,
    at_line_start: bool,
    /// What its tenant lets it have.
    allowance: Option<Allowance>,
}

impl Service {
    /// Begins a file whose bytes are about to come; nothing is visible until
    /// [`Upload::finish`]. The id is in the catalog before the first byte is stored.
    ///
    /// [`ErrorKind::NoSpace`] if the disk has no room for new files, [`ErrorKind::Full`] if the
    /// tenant has as many bytes as it may.
    pub async fn upload(&self, tenant: &str) -> Result<Upload> {
        self.require_space().await?;
        let allowance = self.allowance(tenant).await?;
        let id = id::file();
        self.catalog
            .create_file(NewFile {
                id: id.clone(),
                tenant: tenant.to_owned(),
            })
            .await?;
        let writer = self.blobs.writer(&name::data(&id)).await?;
        Ok(Upload {
            service: self.clone(),
            id,
            writer: Some(writer),
            part: None,
            index: LineIndex::default(),
            lines: 0,
            at_line_start: true,
            allowance,
        })
    }
}

impl Upload {
    /// The next bytes. Past the limit on file size: [`ErrorKind::TooLarge`]; and as
    /// [`Service::upload`] if the room has gone meanwhile.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let limit = self.service.config.limits.file_bytes;
        let writer = self.writer.as_mut().expect("present until finish takes it");
        let before = writer.written();
        if before + bytes.len() as u64 > limit {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("The file is larger than the limit of {limit} bytes."),
            )
            .with_code("file_too_large")
            .with_param("file"));
        }
        let more = bytes.len() as u64;
        self.service
            .require_room(self.allowance, before, more)
            .await?;
        self.count_lines(before, bytes);
        self.write_part(bytes).await
    }

    async fn write_part(&mut self, bytes: &[u8]) -> Result<()> {
        let writer = self.writer.as_mut().expect("present until finish takes it");
        // Nothing of the share is held while it is waited for.
        if self.part.is_none() && writer.held() + bytes.len() > SMALL_BYTES {
            self.part = Some(self.service.uploads.draw(PART as u64).await);
        }
        writer.write(bytes).await?;
        if writer.held() == 0 {
            self.part = None;
        }
        Ok(())
    }

    /// Each byte is seen once, here.
    fn count_lines(&mut self, before: u64, bytes: &[u8]) {
        if self.at_line_start && !bytes.is_empty() {
            self.lines += 1;
            self.index.line(self.lines, before);
            self.at_line_start = false;
        }
        for at in memchr::memchr_iter(b'\n', bytes) {
            if at + 1 < bytes.len() {
                self.lines += 1;
                self.index.line(self.lines, before + at as u64 + 1);
            } else {
                self.at_line_start = true;
            }
        }
    }

    /// Bytes so far.
    pub fn written(&self) -> u64 {
        self.writer.as_ref().map_or(0, BlobWriter::written)
    }

    /// Makes the file durable, then visible.
    ///
    /// If we stop between the two, the pending row and its blobs are litter that the sweeper takes.
    pub async fn finish(mut self, description: FileDescription) -> Result<FileObject> {
        let writer = self.writer.take().expect("finish is called once");
        let bytes = writer.finish().await?;
        let manifest = Manifest::whole(name::data(&self.id), bytes);
        self.service
            .blobs
            .put_map(&self.id, &manifest, &self.index)
            .await?;
        let lifetime = match description.purpose.as_str() {
            "batch" => Some(description.expires_after.unwrap_or(INPUT_LIFETIME)),
            _ => description.expires_after,
        };
        let ready = ReadyFile {
            purpose: description.purpose,
            filename: description.filename,
            bytes,
            lines: Some(self.lines),
            expires_after: lifetime,
            within: self.allowance.map(|allowance| allowance.limit),
        };
        // From here on a drop gives nothing up: the row may be ready before we hear of it.
        let id = std::mem::take(&mut self.id);
        match self.service.catalog.ready_file(&id, ready).await {
            Ok(row) => Ok(file_object(&row)),
            Err(error) => {
                if error.kind() == ErrorKind::Full {
                    self.service.give_up(&id).await?;
                }
                Err(error)
            }
        }
    }

    /// Gives the file up: its bytes go at once.
    pub async fn abandon(mut self) -> Result<()> {
        drop(self.writer.take());
        let id = std::mem::take(&mut self.id);
        self.service.give_up(&id).await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.id.is_empty() {
            return;
        }
        // A client that went away. The engine's task set owns the clean-up, so that a stop waits for it.
        let (service, id) = (self.service.clone(), std::mem::take(&mut self.id));
        drop(self.writer.take());
        let engine = service.engine.clone();
        engine.clean_up(async move { service.give_up(&id).await });
    }
}

impl Service {
    async fn give_up(&self, id: &str) -> Result<()> {
        self.blobs.delete_below(&name::file(id)).await?;
        self.catalog.abandon_file(id).await
    }
}
