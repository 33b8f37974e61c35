//! The object store of a simulated world, as one process sees it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    UploadPart,
};

use super::laws::claim_on_blob;
use super::life::{Life, refused};
use super::world::{Bug, World};

/// Refuses on command, and is never reached by a process that has ended.
#[derive(Debug)]
pub(super) struct SimStore(pub(super) Arc<Life>);

impl fmt::Display for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulated store")
    }
}

async fn asked(life: &Life, what: &str) -> Result<()> {
    life.point(what).await;
    match life.world.per_mille(life.world.weather().store) {
        true => Err(Error::Generic {
            store: "sim",
            source: Box::new(refused("the store")),
        }),
        false => Ok(()),
    }
}

impl World {
    fn keeps(&self, location: &Path) {
        let now = self.now_ms();
        self.written_at
            .lock()
            .unwrap()
            .insert(location.to_string(), now);
    }

    /// Kept in full; unless a bug is wanted, with which half of a result is lost.
    fn kept(&self, location: &Path, payload: PutPayload) -> PutPayload {
        if !self.has(Bug::HalfAResult) || !location.as_ref().contains("/segments/") {
            return payload;
        }
        let mut bytes = Bytes::from(payload).to_vec();
        let half = bytes.len() / 2;
        bytes[half..].fill(b'\n');
        PutPayload::from(bytes)
    }

    /// Its time is the world's.
    fn dated(&self, mut meta: ObjectMeta) -> ObjectMeta {
        let written = self.written_at.lock().unwrap();
        let ms = written
            .get(meta.location.as_ref())
            .copied()
            .unwrap_or_default();
        let ms = u64::try_from(ms).unwrap_or_default();
        meta.last_modified = (SystemTime::UNIX_EPOCH + Duration::from_millis(ms)).into();
        meta
    }
}

#[async_trait]
impl ObjectStore for SimStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let Life { world, .. } = &*self.0;
        asked(&self.0, "a put").await?;
        self.0.note(format_args!("puts {location}"));
        world.keeps(location);
        let payload = world.kept(location, payload);
        let put = world.objects.put_opts(location, payload, options).await;
        self.0.point("a put's answer").await;
        put
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        asked(&self.0, "a streamed put").await?;
        Ok(Box::new(SimUpload {
            life: Arc::clone(&self.0),
            location: location.clone(),
            parts: Vec::new(),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        asked(&self.0, "a get").await?;
        self.0.world.objects.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let life = Arc::clone(&self.0);
        locations
            .then(move |location| {
                let life = Arc::clone(&life);
                async move {
                    let location = location?;
                    asked(&life, "a delete").await?;
                    life.note(format_args!("deletes {location}"));
                    swept(&life.world, location.as_ref());
                    life.world.objects.delete(&location).await?;
                    life.point("a delete's answer").await;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let world = Arc::clone(&self.0.world);
        let listed = world.objects.list(prefix);
        listed.map_ok(move |meta| world.dated(meta)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        asked(&self.0, "a list").await?;
        self.0.world.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        asked(&self.0, "a copy").await?;
        self.0.world.keeps(to);
        self.0.world.objects.copy_opts(from, to, options).await
    }
}

/// A row that can still claim it must not lose it.
fn swept(world: &World, blob: &str) {
    let claim = claim_on_blob(&world.conn.lock().unwrap(), blob);
    if let Some(claim) = claim {
        world.laws().broke(
            "nothing is swept that a row can claim",
            format_args!("{blob}: {claim}"),
        );
    }
}

/// Nothing of it is there before it is complete.
#[derive(Debug)]
struct SimUpload {
    life: Arc<Life>,
    location: Path,
    parts: Vec<Bytes>,
}

#[async_trait]
impl MultipartUpload for SimUpload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        self.parts.push(payload.into());
        let life = Arc::clone(&self.life);
        Box::pin(async move { asked(&life, "a part").await })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let store = SimStore(Arc::clone(&self.life));
        let whole = PutPayload::from_iter(self.parts.drain(..));
        store
            .put_opts(&self.location, whole, PutOptions::default())
            .await
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.clear();
        Ok(())
    }
}
