//! Bytes that are coming in: to a blob, while their lines are counted and they are held to their
//! limits.

use std::fmt;

use xxhash_rust::xxh3::Xxh3;

use super::Service;
use super::room::Allowance;
use crate::blobs::{BlobWriter, PART};
use crate::budget::Draw;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::Lines;

/// Not drawn for: a connection's own buffers are as large, and a small file waits for no large one.
const SMALL_BYTES: usize = 64 * 1024;

/// What may come in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    pub(super) bytes: u64,
    /// `file` or `part`, for the sentence past it.
    pub(super) noun: &'static str,
    /// The part of the form.
    pub(super) param: &'static str,
}

/// Bytes that are coming in. Dropped before [`finish`](Self::finish), they are in no blob.
pub(super) struct Intake {
    service: Service,
    /// `None`: they are looked at and not kept.
    writer: Option<BlobWriter>,
    /// Memory for the part of a blob that is coming in.
    part: Option<Draw>,
    most: Most,
    /// What their tenant had left when they began.
    allowance: Option<Allowance>,
    bytes: u64,
    lines: Lines,
    /// Where it is asked whether the same has come before.
    hash: Option<Box<Xxh3>>,
}

/// What came in.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) bytes: u64,
    pub(super) lines: Lines,
    /// Of all bytes, if they were hashed.
    pub(super) hash: Option<u128>,
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake")
            .field("bytes", &self.bytes)
            .field("most", &self.most)
            .field("kept", &self.writer.is_some())
            .finish_non_exhaustive()
    }
}

impl Intake {
    /// Bytes for this blob, whose name is in the catalog.
    pub(super) async fn to(
        service: &Service,
        blob: &str,
        most: Most,
        allowance: Option<Allowance>,
        lines: Lines,
    ) -> Result<Self> {
        Ok(Self {
            writer: Some(service.blobs.writer(blob).await?),
            allowance,
            lines,
            ..Self::nowhere(service, most)
        })
    }

    /// Bytes that were kept before.
    pub(super) fn nowhere(service: &Service, most: Most) -> Self {
        Self {
            service: service.clone(),
            writer: None,
            part: None,
            most,
            allowance: None,
            bytes: 0,
            lines: Lines::default(),
            hash: None,
        }
    }

    /// With a hash of all of them.
    pub(super) fn hashed(mut self) -> Self {
        self.hash = Some(Box::default());
        self
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next bytes; an error past the limit, or if the room has gone meanwhile.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let more = bytes.len() as u64;
        self.refuse_oversize(more)?;
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
        if self.writer.is_some() {
            self.service
                .require_room(self.allowance, self.bytes, more)
                .await?;
            self.lines.feed(bytes);
            self.keep(bytes).await?;
        }
        self.bytes += more;
        Ok(())
    }

    fn refuse_oversize(&self, more: u64) -> Result<()> {
        let Most { bytes, noun, param } = self.most;
        if self.bytes + more <= bytes {
            return Ok(());
        }
        Err(too_large(noun, param, bytes))
    }

    async fn keep(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
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

    /// Puts the index of their lines behind them, into the same blob; its size. They are all there.
    pub(super) async fn append_index(&mut self) -> Result<u64> {
        let index = self.lines.index().encoded().to_vec();
        self.keep(&index).await?;
        Ok(index.len() as u64)
    }

    /// Makes them durable.
    pub(super) async fn finish(mut self) -> Result<Taken> {
        if let Some(writer) = self.writer.take() {
            writer.finish().await?;
        }
        Ok(Taken {
            bytes: self.bytes,
            lines: self.lines,
            hash: self.hash.map(|hash| hash.digest128()),
        })
    }
}

/// The sentence for what is over its limit.
pub(crate) fn too_large(noun: &str, param: &'static str, limit: u64) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!("The {noun} is larger than the limit of {limit} bytes."),
    )
    .with_code("file_too_large")
    .with_param(param)
}
