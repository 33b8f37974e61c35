//! Memory: one budget of bytes for a process, of which each thing that can hold much has a share.
//!
//! A share is waited for only by those who hold nothing of it yet, and nobody holds one share while
//! waiting for another: so nothing waits for bytes that only it could free. Where waiting would be
//! wrong (an answer that is arriving, a result that must be recorded) less memory means an earlier
//! way to the disk, never a wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::error::{Error, Result};

/// Below this the shares are too small to work with: a segment is up to 4 MiB, a part of an upload 5.
const LEAST: u64 = 64 << 20;
/// The shares are in parts of this.
const PARTS: u64 = 8;

/// The bytes that one process may hold for what it has in hand.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    /// Segments that are leased: request bodies, read ahead of the slots.
    pub(crate) segments: Share,
    /// Answers from their first byte until their result is durable: while they are read, and as
    /// what the journal still has to write.
    pub(crate) answers: Share,
    /// Ids that validation has seen.
    pub(crate) ids: Share,
    /// Uploads, a part of a blob each.
    pub(crate) uploads: Share,
    /// Segments that are being sealed.
    pub(crate) seals: Share,
}

/// What one kind of use may hold.
#[derive(Debug, Clone)]
pub(crate) struct Share(Arc<Account>);

#[derive(Debug)]
struct Account {
    limit: u64,
    drawn: AtomicU64,
    waiting: AtomicUsize,
    freed: Notify,
}

/// Bytes drawn from a share. Dropping it gives them back.
#[derive(Debug)]
pub(crate) struct Draw {
    share: Share,
    bytes: u64,
}

impl Budget {
    /// A budget of this many bytes.
    pub(crate) fn new(bytes: u64) -> Result<Self> {
        if bytes < LEAST {
            return Err(Error::invalid(format!(
                "a memory of {bytes} bytes is too little to work in: give {LEAST} or more"
            )));
        }
        let share = |parts: u64| Share::new(bytes / PARTS * parts);
        Ok(Self {
            segments: share(1),
            answers: share(3),
            ids: share(1),
            uploads: share(2),
            seals: share(1),
        })
    }
}

impl Share {
    pub(crate) fn new(limit: u64) -> Self {
        Self(Arc::new(Account {
            limit,
            drawn: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
        }))
    }

    /// A share that never runs out.
    #[cfg(test)]
    pub(crate) fn endless() -> Self {
        Self::new(u64::MAX / 2)
    }

    pub(crate) fn limit(&self) -> u64 {
        self.0.limit
    }

    pub(crate) fn drawn(&self) -> u64 {
        self.0.drawn.load(Ordering::Relaxed)
    }

    /// Nothing yet, to be grown.
    pub(crate) fn nothing(&self) -> Draw {
        Draw {
            share: self.clone(),
            bytes: 0,
        }
    }

    /// So many bytes, also past the limit: for what cannot wait and is bounded by other means.
    pub(crate) fn overdraw(&self, bytes: u64) -> Draw {
        let mut draw = self.nothing();
        draw.overgrow(bytes);
        draw
    }

    /// So many bytes, once they are there. More than the whole share is given when nothing else is
    /// drawn: a single large thing is slow, not stuck. The caller holds nothing of this share.
    pub(crate) async fn draw(&self, bytes: u64) -> Draw {
        let bytes = bytes.min(self.0.limit);
        let mut draw = self.nothing();
        if draw.try_grow(bytes) {
            return draw;
        }
        let _waiting = Waiting::new(&self.0);
        loop {
            // Made before it is asked again: what is freed in between is not missed.
            let freed = self.0.freed.notified();
            if draw.try_grow(bytes) {
                return draw;
            }
            freed.await;
        }
    }

    fn give_back(&self, bytes: u64) {
        self.0.drawn.fetch_sub(bytes, Ordering::SeqCst);
        if self.0.waiting.load(Ordering::SeqCst) > 0 {
            self.0.freed.notify_waiters();
        }
    }
}

/// Somebody waits for the share, and has to be told.
struct Waiting<'a>(&'a Account);

impl<'a> Waiting<'a> {
    fn new(account: &'a Account) -> Self {
        account.waiting.fetch_add(1, Ordering::SeqCst);
        Self(account)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Draw {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// So many bytes more, if the share has them.
    #[must_use]
    pub(crate) fn try_grow(&mut self, more: u64) -> bool {
        let account = &self.share.0;
        let fits = |drawn: u64| drawn.checked_add(more).filter(|sum| *sum <= account.limit);
        let (now, then) = (Ordering::SeqCst, Ordering::Relaxed);
        let there = account.drawn.fetch_update(now, then, fits).is_ok();
        self.bytes += if there { more } else { 0 };
        there
    }

    /// So many bytes more, also past the limit.
    pub(crate) fn overgrow(&mut self, more: u64) {
        self.share.0.drawn.fetch_add(more, Ordering::SeqCst);
        self.bytes += more;
    }
}

impl Drop for Draw {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.share.give_back(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_there_again() {
        let share = Share::new(100);
        let mut draw = share.nothing();
        assert!(draw.try_grow(60));
        assert!(!draw.try_grow(41), "past the limit");
        assert!(draw.try_grow(40));
        draw.overgrow(5);
        assert_eq!((share.drawn(), draw.bytes()), (105, 105));
        drop(draw);
        assert_eq!(share.drawn(), 0);
    }

    #[test]
    fn shares_of_a_budget_are_its_bytes_and_no_more() {
        let budget = Budget::new(256 << 20).unwrap();
        let shares = [
            &budget.segments,
            &budget.answers,
            &budget.ids,
            &budget.uploads,
            &budget.seals,
        ];
        let sum: u64 = shares.iter().map(|share| share.limit()).sum();
        assert_eq!(sum, 256 << 20);
        let error = Budget::new(LEAST - 1).unwrap_err();
        assert!(error.message().contains("too little"), "{error}");
    }

    #[tokio::test]
    async fn who_waits_gets_what_others_free() {
        let share = Share::new(100);
        let first = share.draw(100).await;
        let mut second = std::pin::pin!(share.draw(1_000));
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        drop(first);
        let all = second.await;
        assert_eq!(all.bytes(), 100, "all there is, for what is larger than it");
        drop(all);
        assert_eq!(share.drawn(), 0);
    }
}
