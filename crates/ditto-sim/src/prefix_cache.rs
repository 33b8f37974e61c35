//! Beginnings of requests that were seen of late: what an upstream need not read again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use xxhash_rust::xxh3::xxh3_64;

use crate::ask::{Piece, tokens};

/// The first messages that were last seen, so many of them; the one that was not seen for longest
/// makes room.
#[derive(Debug)]
pub(crate) struct PrefixCache {
    size: usize,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// By the hash of the message: when it was last seen, counted in looks.
    last: HashMap<u64, u64>,
    by_age: BTreeMap<u64, u64>,
    looks: u64,
    hits: u64,
}

impl PrefixCache {
    /// Of no size it remembers nothing.
    pub(crate) fn new(size: usize) -> Self {
        Self {
            size,
            seen: Mutex::default(),
        }
    }

    /// Tokens of the first message, if it was seen of late; 0 if not. It was seen from now on.
    pub(crate) fn look(&self, pieces: &[Piece<'_>]) -> u64 {
        let Some(Piece(first)) = pieces.first().filter(|_| self.size > 0) else {
            return 0;
        };
        let hash = xxh3_64(first.as_bytes());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.touch(hash, self.size) {
            true => tokens(first),
            false => 0,
        }
    }

    pub(crate) fn hits(&self) -> u64 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.hits
    }

    pub(crate) fn forget_all(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen::default();
    }
}

impl Seen {
    /// Whether it was there.
    fn touch(&mut self, hash: u64, size: usize) -> bool {
        self.looks += 1;
        self.by_age.insert(self.looks, hash);
        let before = self.last.insert(hash, self.looks);
        match before {
            Some(look) => {
                self.by_age.remove(&look);
                self.hits += 1;
            }
            None if self.last.len() > size => {
                if let Some((_, oldest)) = self.by_age.pop_first() {
                    self.last.remove(&oldest);
                }
            }
            None => {}
        }
        before.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(cache: &PrefixCache, first: &'static str) -> u64 {
        cache.look(&[Piece(first.into()), Piece("question".into())])
    }

    #[test]
    fn what_was_not_seen_for_longest_makes_room() {
        let cache = PrefixCache::new(2);
        let hits =
            ["aaaa", "bbbb", "aaaa", "cccc", "aaaa", "bbbb"].map(|first| look(&cache, first));
        assert_eq!(hits, [0, 0, 1, 0, 1, 0]);
        assert_eq!(cache.hits(), 2);
        cache.forget_all();
        assert_eq!((look(&cache, "aaaa"), cache.hits()), (0, 0));
    }

    #[test]
    fn of_no_size_it_remembers_nothing() {
        let cache = PrefixCache::new(0);
        assert_eq!([look(&cache, "aaaa"), look(&cache, "aaaa")], [0, 0]);
    }
}
