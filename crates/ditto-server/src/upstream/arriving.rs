//! An answer on its way in: held while it is small, in a spool file once it is large or memory is
//! short. It never waits for memory, so that no answer that was paid for is held up by another.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;

use super::Content;
use crate::budget::{Draw, Share};
use crate::spool::{SpoolFolder, Spooling};

/// Held of an answer at most. Nearly every answer of a model is far smaller.
const HELD_BYTES: usize = 1 << 20;
/// Held of an answer however short memory is: a file for a few kilobytes would cost more than they.
const SMALL_BYTES: usize = 64 * 1024;
/// Kept of an answer over the limit.
const HEAD_BYTES: usize = 64 * 1024;

/// Where answers are kept.
#[derive(Debug, Clone)]
pub(crate) struct Keep {
    pub(crate) memory: Share,
    pub(crate) spool: SpoolFolder,
}

/// What has arrived of an answer.
#[derive(Debug)]
struct Arriving<'a> {
    keep: &'a Keep,
    /// Its length, if it says so.
    expected: Option<u64>,
    held: BytesMut,
    draw: Draw,
    spooling: Option<Spooling>,
}

impl Keep {
    /// For a single look at an endpoint, beside any budget.
    pub(crate) fn for_a_look() -> Self {
        Self {
            memory: Share::new(HELD_BYTES as u64),
            spool: SpoolFolder::new(std::env::temp_dir()),
        }
    }

    /// The whole body; or, if it is longer than this, its first bytes.
    pub(super) async fn read<B: Body<Data = Bytes> + Unpin>(
        &self,
        mut body: B,
        most: usize,
    ) -> Result<Result<Content, Bytes>, B::Error> {
        let length = body.size_hint().exact();
        // What says that it is too large is not read to the limit first.
        let is_short = length.is_none_or(|length| length <= most as u64);
        let limit = if is_short { most } else { most.min(HEAD_BYTES) };
        let Some(first) = chunk(&mut body).await? else {
            return Ok(Ok(self.whole(Bytes::new())));
        };
        if body.is_end_stream() && first.len() <= limit {
            return Ok(Ok(self.whole(first)));
        }
        let arriving = self.arriving(length.filter(|_| is_short));
        // On the heap: nearly every answer of a model is one chunk, and needs no room for this.
        Box::pin(arriving.read(body, first, limit)).await
    }

    fn arriving(&self, expected: Option<u64>) -> Arriving<'_> {
        Arriving {
            keep: self,
            expected,
            held: BytesMut::new(),
            draw: self.memory.nothing(),
            spooling: None,
        }
    }

    /// An answer of one chunk, as most are: it is passed on as it is.
    fn whole(&self, bytes: Bytes) -> Content {
        Content::Held {
            _draw: self.memory.overdraw(bytes.len() as u64),
            bytes,
        }
    }
}

/// The next bytes of a body; `None` at its end. Trailers say nothing to us.
async fn chunk<B: Body<Data = Bytes> + Unpin>(body: &mut B) -> Result<Option<Bytes>, B::Error> {
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame?.into_data() {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

impl Arriving<'_> {
    /// On from the first chunk.
    async fn read<B: Body<Data = Bytes> + Unpin>(
        mut self,
        mut body: B,
        mut last: Bytes,
        limit: usize,
    ) -> Result<Result<Content, Bytes>, B::Error> {
        loop {
            if self.length() + last.len() > limit {
                self.take(&last[..last.len().min(HEAD_BYTES)]).await;
                return Ok(Err(self.head(HEAD_BYTES).await));
            }
            match chunk(&mut body).await? {
                None if self.length() == 0 => return Ok(Ok(self.keep.whole(last))),
                None => {
                    self.take(&last).await;
                    return Ok(Ok(self.finish().await));
                }
                Some(next) => {
                    self.take(&last).await;
                    last = next;
                }
            }
        }
    }

    fn length(&self) -> usize {
        match &self.spooling {
            Some(spooling) => usize::try_from(spooling.length()).unwrap_or(usize::MAX),
            None => self.held.len(),
        }
    }

    async fn take(&mut self, chunk: &[u8]) {
        if self.spooling.is_none() && !self.may_hold(self.held.len() + chunk.len()) {
            let held = std::mem::take(&mut self.held);
            self.spooling = Some(self.keep.spool.begin(held));
            self.draw = self.keep.memory.nothing();
        }
        match &mut self.spooling {
            Some(spooling) => spooling.write(chunk).await,
            None => self.held.extend_from_slice(chunk),
        }
    }

    /// Draws what it takes to hold so much, and makes room for it: all at once if its length is
    /// known, else in steps that double.
    fn may_hold(&mut self, bytes: usize) -> bool {
        let room = match self.expected {
            Some(expected) => usize::try_from(expected).unwrap_or(usize::MAX).max(bytes),
            None => bytes.next_power_of_two(),
        };
        let more = (room as u64).saturating_sub(self.draw.bytes());
        let drawn = if room <= SMALL_BYTES {
            self.draw.overgrow(more);
            true
        } else {
            room <= HELD_BYTES && self.draw.try_grow(more)
        };
        if drawn {
            self.held.reserve(room - self.held.len());
        }
        drawn
    }

    /// All of it.
    async fn finish(self) -> Content {
        match self.spooling {
            Some(spooling) => Content::Spooled(spooling.finish().await),
            None => Content::Held {
                bytes: self.held.freeze(),
                _draw: self.draw,
            },
        }
    }

    /// Its first bytes, at most so many.
    async fn head(self, bytes: usize) -> Bytes {
        match self.finish().await {
            Content::Held { bytes: held, .. } => held.slice(..held.len().min(bytes)),
            // They are shown to people; that there was an answer over the limit is what counts.
            Content::Spooled(spooled) => spooled.head(bytes).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(folder: &tempfile::TempDir, memory: u64) -> Keep {
        Keep {
            memory: Share::new(memory),
            spool: SpoolFolder::new(folder.path()),
        }
    }

    async fn arrived(keep: &Keep, bytes: usize) -> Content {
        let mut arriving = keep.arriving(None);
        for _ in 0..bytes / 1024 {
            arriving.take(&[b'x'; 1024]).await;
        }
        assert_eq!(arriving.length(), bytes);
        arriving.finish().await
    }

    #[tokio::test]
    async fn a_large_answer_goes_to_a_file_and_gives_its_memory_back() {
        let folder = tempfile::tempdir().unwrap();
        let keep = keep(&folder, 16 << 20);
        let small = arrived(&keep, HELD_BYTES).await;
        assert!(matches!(small, Content::Held { .. }));
        assert_eq!(keep.memory.drawn(), HELD_BYTES as u64);
        drop(small);
        let large = arrived(&keep, HELD_BYTES + 1024).await;
        assert!(matches!(&large, Content::Spooled(s) if s.length() == HELD_BYTES as u64 + 1024));
        assert_eq!(keep.memory.drawn(), 0);
    }

    #[tokio::test]
    async fn what_says_that_it_is_large_is_not_held_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let keep = keep(&folder, 16 << 20);
        let mut arriving = keep.arriving(Some(2 << 20));
        arriving.take(b"{").await;
        assert_eq!(keep.memory.drawn(), 0);
        assert!(matches!(arriving.finish().await, Content::Spooled(_)));
    }

    #[tokio::test]
    async fn where_memory_is_short_only_small_answers_are_held() {
        let folder = tempfile::tempdir().unwrap();
        let keep = keep(&folder, 0);
        let small = arrived(&keep, SMALL_BYTES).await;
        assert!(matches!(small, Content::Held { .. }));
        let medium = arrived(&keep, SMALL_BYTES + 1024).await;
        assert!(matches!(medium, Content::Spooled(_)));
    }
}
