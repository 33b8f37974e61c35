//! Names, streamed writes and ranged reads of blobs, over any object store.
//!
//! A write is durable when it returns (the local store syncs the file and its folder). Names are
//! made from ids that are already in the catalog, so that whatever a crash leaves can be told from
//! what a row still claims.

use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use tokio::task::JoinSet;

use crate::error::{Error, GONE, Result};
use crate::folder::{self, Found, PAGE, Pages, Syncs, Tally};
use crate::manifest::{self, LineIndex, Manifest, Piece};

/// Bytes read at a time: large enough for few calls, small enough that a hundred readers are cheap.
pub(crate) const CHUNK: u64 = 1 << 20;
/// Bytes per part of a streamed write, and as many as it holds. S3 refuses parts under 5 MiB except the
/// last.
pub(crate) const PART: usize = 5 << 20;
/// Bytes written at a time to a folder, while the next are collected: they stay in the processor's cache.
const STEP: usize = 1 << 20;
/// Chunks of a file that are read before they are asked for: one is read while the one before it is sent.
const AHEAD: usize = 2;
/// Pieces under this name are read from the folder of an input that `run` reads in place.
const IN_PLACE: &str = "in-place/";

/// The blobs of one deployment.
#[derive(Debug, Clone)]
pub(crate) struct Blobs {
    store: Arc<dyn ObjectStore>,
    /// Where a local store is: what it had staged when it was killed, it lists to nobody.
    folder: Option<PathBuf>,
    /// Of what is written whole there.
    syncs: Arc<Syncs>,
    in_place: Option<Arc<dyn ObjectStore>>,
}

/// Where the time of a store without a folder is read off.
const CLOCK: &str = "clock";

/// The name of a blob, from the ids of what it belongs to.
pub(crate) mod name {
    /// The bytes of an uploaded file.
    pub(crate) fn data(file: &str) -> String {
        format!("files/{file}/data")
    }

    /// The manifest and line index of a file.
    pub(crate) fn map(file: &str) -> String {
        format!("files/{file}/map")
    }

    /// All blobs of a file.
    pub(crate) fn file(file: &str) -> String {
        format!("files/{file}")
    }

    /// The bytes of a part of an upload, with the index of its lines behind them.
    pub(crate) fn part_data(upload: &str, part: &str) -> String {
        format!("{}/data", self::part(upload, part))
    }

    /// All blobs of a part of an upload.
    pub(crate) fn part(upload: &str, part: &str) -> String {
        format!("{}/{part}", self::upload(upload))
    }

    /// All blobs of an upload.
    pub(crate) fn upload(upload: &str) -> String {
        format!("uploads/{upload}")
    }

    /// The plan of a batch.
    pub(crate) fn plan(batch: &str) -> String {
        format!("batches/{batch}/plan")
    }

    /// The faulty lines of a lenient batch.
    pub(crate) fn faults(batch: &str) -> String {
        format!("batches/{batch}/faults")
    }

    /// A sealed segment: answers, errors and settle order.
    pub(crate) fn segment(batch: &str, index: u32, epoch: u32) -> String {
        format!("{}/{index}.{epoch}", segments(batch))
    }

    /// The same under the first lease of a batch whose plan is in its row. It has no folder of its own:
    /// a folder costs more than so small a blob.
    pub(crate) fn first_seal(batch: &str) -> String {
        format!("batches/{batch}.1")
    }

    /// Whose first seal a name in the folder of batches is.
    pub(crate) fn batch_of_first_seal(name: &str) -> Option<&str> {
        name.strip_suffix(".1")
    }

    /// All sealed segments of a batch, but one of [`first_seal`].
    pub(crate) fn segments(batch: &str) -> String {
        format!("batches/{batch}/segments")
    }

    /// All blobs of a batch.
    pub(crate) fn batch(batch: &str) -> String {
        format!("batches/{batch}")
    }

    /// An input that stays where it is.
    pub(crate) fn in_place(file_name: &str) -> String {
        format!("{}{file_name}", super::IN_PLACE)
    }
}

impl Blobs {
    /// Blobs in this store.
    pub(crate) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self {
            store,
            folder: None,
            syncs: Arc::default(),
            in_place: None,
        }
    }

    /// The store is local, and this is its folder.
    #[must_use]
    pub(crate) fn in_folder(mut self, folder: &FsPath) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Lets manifests name files of another store, which are only ever read.
    #[must_use]
    pub(crate) fn with_in_place(mut self, store: Arc<dyn ObjectStore>) -> Self {
        self.in_place = Some(store);
        self
    }

    fn locate(&self, blob: &str) -> Result<(&dyn ObjectStore, Path)> {
        let parse = |name: &str| {
            Path::parse(name).map_err(|e| Error::internal(format!("blob name {name:?}: {e}")))
        };
        match (blob.strip_prefix(IN_PLACE), &self.in_place) {
            (Some(name), Some(store)) => Ok((store.as_ref(), parse(name)?)),
            _ => Ok((self.store.as_ref(), parse(blob)?)),
        }
    }

    /// Writes a small blob whole.
    pub(crate) async fn put(&self, blob: &str, content: Bytes) -> Result<()> {
        let (store, path) = self.locate(blob)?;
        if let Some(folder) = &self.folder {
            return folder::write(folder, path.as_ref(), content, &self.syncs).await;
        }
        store.put(&path, PutPayload::from(content)).await?;
        Ok(())
    }

    /// Begins a blob of unknown size. Nothing is visible until [`BlobWriter::finish`].
    pub(crate) async fn writer(&self, blob: &str) -> Result<BlobWriter> {
        let (store, path) = self.locate(blob)?;
        let upload = store.put_multipart(&path).await?;
        Ok(BlobWriter {
            upload: Some(upload),
            step: if self.folder.is_some() { STEP } else { PART },
            part: BytesMut::new(),
            on_its_way: JoinSet::new(),
            sent: 0,
            written: 0,
        })
    }

    /// Syncs that blobs written whole took so far.
    #[cfg(test)]
    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.count()
    }

    /// Reads a small blob whole.
    pub(crate) async fn get(&self, blob: &str) -> Result<Bytes> {
        let (store, path) = self.locate(blob)?;
        Ok(store.get(&path).await?.bytes().await?)
    }

    /// Reads a part of a blob.
    pub(crate) async fn range(&self, blob: &str, range: Range<u64>) -> Result<Bytes> {
        let (store, path) = self.locate(blob)?;
        let needed = range.end;
        match store.get_range(&path, range).await {
            Ok(bytes) => Ok(bytes),
            // What is not there does not come by itself, as storage that fails does.
            Err(error) => match store.head(&path).await {
                Ok(there) if there.size < needed => Err(too_short(&path, there.size, needed)),
                _ => Err(error.into()),
            },
        }
    }

    /// Writes a file's manifest and index.
    pub(crate) async fn put_map(
        &self,
        file: &str,
        manifest: &Manifest,
        index: &LineIndex,
    ) -> Result<()> {
        self.put(&name::map(file), manifest::encode(manifest, index))
            .await
    }

    /// The manifest of a file whose row may know its only piece.
    pub(crate) async fn manifest_of(&self, file: &str, only: Option<&Piece>) -> Result<Manifest> {
        match only {
            Some(piece) => Ok(Manifest {
                pieces: vec![piece.clone()],
            }),
            None => self.manifest(file).await,
        }
    }

    /// Reads a file's manifest off its map.
    pub(crate) async fn manifest(&self, file: &str) -> Result<Manifest> {
        Ok(manifest::decode(self.get(&name::map(file)).await?)?.0)
    }

    /// These bytes of a file, whole in memory.
    pub(crate) async fn slice(&self, manifest: &Manifest, range: Range<u64>) -> Result<Bytes> {
        let pieces = manifest.slice(range.clone());
        if let [piece] = pieces.as_slice() {
            return self
                .range(&piece.blob, piece.offset..piece.offset + piece.length)
                .await;
        }
        let length = usize::try_from(range.end - range.start)
            .map_err(|_| Error::internal("a slice of a file larger than memory was asked for"))?;
        let mut whole = BytesMut::with_capacity(length);
        let mut chunks = std::pin::pin!(self.read(pieces));
        while let Some(chunk) = chunks.try_next().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    /// Whether these pieces are there in their full length, as far as looking at so many blobs tells.
    pub(crate) async fn check(&self, pieces: &[Piece], most: usize) -> Result<()> {
        let mut blobs: Vec<(&str, u64)> = Vec::new();
        for piece in pieces {
            let end = piece.offset + piece.length;
            match blobs.last_mut() {
                Some((blob, needed)) if *blob == piece.blob => *needed = end.max(*needed),
                _ => blobs.push((&piece.blob, end)),
            }
        }
        for (blob, needed) in blobs.into_iter().take(most) {
            let (store, path) = self.locate(blob)?;
            let size = store.head(&path).await?.size;
            if size < needed {
                return Err(too_short(&path, size, needed));
            }
        }
        Ok(())
    }

    /// Streams pieces in order, about a megabyte at a time.
    pub(crate) fn read(
        &self,
        pieces: Vec<Piece>,
    ) -> impl Stream<Item = Result<Bytes>> + Send + use<> {
        let blobs = self.clone();
        let ranges = pieces.into_iter().flat_map(|piece| {
            let end = piece.offset + piece.length;
            (piece.offset..end)
                .step_by(CHUNK as usize)
                .map(move |start| (piece.blob.clone(), start..end.min(start + CHUNK)))
        });
        let reads = stream::iter(ranges).map(move |(blob, range)| {
            let blobs = blobs.clone();
            async move { blobs.range(&blob, range).await }
        });
        reads.buffered(AHEAD)
    }

    /// What is stored below a prefix, also what a crash left half written.
    pub(crate) fn found_below(&self, prefix: &str) -> Result<Pages> {
        if let Some(folder) = &self.folder {
            return Ok(folder::pages(folder, prefix));
        }
        let path = Path::parse(prefix)
            .map_err(|e| Error::internal(format!("blob name {prefix:?}: {e}")))?;
        let found = self.store.list(Some(&path)).map_ok(|meta| Found {
            path: PathBuf::from(meta.location.to_string()),
            bytes: meta.size,
            modified: meta.last_modified.into(),
        });
        let pages = found.try_chunks(PAGE).map_err(|e| Error::from(e.1));
        Ok(pages.boxed())
    }

    /// One object, if it is there, as a page.
    pub(crate) async fn found_at(&self, blob: &str) -> Result<Pages> {
        let page = self.found(blob).await?.into_iter().collect();
        Ok(stream::once(async { Ok(page) }).boxed())
    }

    async fn found(&self, blob: &str) -> Result<Option<Found>> {
        let (store, path) = self.locate(blob)?;
        match store.head(&path).await {
            Ok(meta) => Ok(Some(Found {
                path: PathBuf::from(blob),
                bytes: meta.size,
                modified: meta.last_modified.into(),
            })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes one object; what is already gone is no error.
    pub(crate) async fn remove(&self, found: &Found) -> Result<()> {
        if let Some(folder) = &self.folder {
            return folder::remove(folder, &found.path).await;
        }
        let location = Path::from(found.path.to_string_lossy().as_ref());
        match self.store.delete(&location).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes the object of this name; one that is gone is no error.
    pub(crate) async fn delete_at(&self, blob: &str) -> Result<Tally> {
        let mut gone = Tally::default();
        if let Some(found) = self.found(blob).await? {
            self.remove(&found).await?;
            gone.add(found.bytes);
        }
        Ok(gone)
    }

    /// Deletes every object below a prefix; what is already gone is no error.
    pub(crate) async fn delete_below(&self, prefix: &str) -> Result<Tally> {
        let mut gone = Tally::default();
        let mut pages = self.found_below(prefix)?;
        while let Some(page) = pages.try_next().await? {
            for found in page {
                self.remove(&found).await?;
                gone.add(found.bytes);
            }
        }
        if let Some(folder) = &self.folder {
            folder::remove_all(folder, prefix).await?;
        }
        Ok(gone)
    }

    /// What time it is for the store.
    pub(crate) async fn now(&self) -> Result<SystemTime> {
        if let Some(folder) = &self.folder {
            return folder::now(folder).await;
        }
        let clock = Path::from(CLOCK);
        self.store.put(&clock, PutPayload::new()).await?;
        let now = self.store.head(&clock).await?.last_modified;
        self.store.delete(&clock).await?;
        Ok(now.into())
    }
}

/// A blob being written. Dropped before [`finish`](Self::finish), nothing becomes visible, and the
/// local store removes what it had staged.
#[derive(Debug)]
pub(crate) struct BlobWriter {
    upload: Option<Box<dyn MultipartUpload>>,
    /// How long a part is.
    step: usize,
    part: BytesMut,
    /// The part before it, if that is still being written.
    on_its_way: JoinSet<object_store::Result<()>>,
    /// Bytes of parts since nothing was on its way.
    sent: usize,
    written: u64,
}

impl BlobWriter {
    /// Appends bytes; memory held stays about [`PART`], and after as many bytes there is none for a moment.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.part.extend_from_slice(bytes);
        self.written += bytes.len() as u64;
        if self.part.len() >= self.step {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        self.settle().await?;
        // More of it will come, and chunks may reach beyond the step as this one did.
        let next = match self.part.len() >= self.step {
            true => BytesMut::with_capacity(self.part.len()),
            false => BytesMut::new(),
        };
        let part = std::mem::replace(&mut self.part, next).freeze();
        self.sent += part.len();
        let upload = self.upload.as_mut().expect("present until finish takes it");
        self.on_its_way
            .spawn(upload.put_part(PutPayload::from(part)));
        if self.sent >= PART {
            self.settle().await?;
            // Whoever has to wait for memory now has none.
            (self.sent, self.part) = (0, BytesMut::new());
        }
        Ok(())
    }

    /// Waits for the part that is on its way.
    async fn settle(&mut self) -> Result<()> {
        while let Some(put) = self.on_its_way.join_next().await {
            put.map_err(|e| Error::storage("writing a blob was ended", e))??;
        }
        Ok(())
    }

    /// Bytes in memory, at most.
    pub(crate) fn held(&self) -> usize {
        self.sent + self.part.len()
    }

    /// Bytes so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Makes the blob durable and visible.
    pub(crate) async fn finish(mut self) -> Result<u64> {
        if !self.part.is_empty() || self.written == 0 {
            self.flush().await?;
        }
        self.settle().await?;
        let mut upload = self.upload.take().expect("finish is called once");
        upload.complete().await?;
        Ok(self.written)
    }
}

fn too_short(path: &Path, size: u64, needed: u64) -> Error {
    Error::internal(format!(
        "the blob {path} has {size} bytes where {needed} were written; nothing else was touched: restore the data folder's `blobs` from a backup"
    ))
    .with_code(GONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    #[tokio::test]
    async fn a_streamed_write_is_read_back_in_pieces() {
        let blobs = Blobs::new(Arc::new(InMemory::new()));
        let content: Vec<u8> = (0..3 * CHUNK + 17).map(|i| (i % 251) as u8).collect();
        let mut writer = blobs.writer("a").await.unwrap();
        for chunk in content.chunks(700_001) {
            writer.write(chunk).await.unwrap();
        }
        assert_eq!(writer.finish().await.unwrap(), content.len() as u64);

        let manifest = Manifest::whole("a", content.len() as u64);
        let read: Vec<Bytes> = blobs
            .read(manifest.slice(5..content.len() as u64))
            .try_collect()
            .await
            .unwrap();
        assert_eq!(read.concat(), content[5..]);
    }

    #[tokio::test]
    async fn an_empty_blob_can_be_written() {
        let blobs = Blobs::new(Arc::new(InMemory::new()));
        blobs.writer("empty").await.unwrap().finish().await.unwrap();
        assert_eq!(blobs.get("empty").await.unwrap().len(), 0);
    }
}
