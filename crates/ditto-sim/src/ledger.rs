//! Who asked what how often: the memory behind the proof that nothing was asked twice.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::stats::Stats;

/// So many that two cores rarely meet at one lock.
const SHARDS: usize = 64;
/// About 32 bytes each: 100 million different requests are some 3 GB, more than any run here needs.
const REMEMBERED_PER_SHARD: usize = 100_000_000 / SHARDS;

/// Counts by identity (a 64-bit hash), in shards. Among ten million identities the chance that any
/// two fall together is about one in 400,000.
#[derive(Debug)]
pub(crate) struct Ledger {
    shards: Vec<Mutex<Shard>>,
}

#[derive(Debug, Default)]
struct Shard {
    seen: HashMap<u64, Seen, BuildHasherDefault<AlreadyHashed>>,
    asked: u64,
    asked_more_than_once: u64,
    answered: u64,
    answered_distinct: u64,
    answered_more_than_once: u64,
    forgotten: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    asked: u32,
    answered: u16,
    given_up: u16,
}

/// What is known of several requests, each list in the order in which they were named: the answer of
/// `POST /sim/asked`.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Asked {
    /// How often it arrived.
    asked: Vec<u32>,
    /// How often it got a whole, sound answer.
    answered: Vec<u16>,
    /// How often its caller was gone before the answer that was on its way; a hang is not.
    given_up: Vec<u16>,
}

/// A request that is to be answered. Dropped before it is settled, its caller has given it up.
#[derive(Debug)]
pub(crate) struct Owed<'a> {
    ledger: &'a Ledger,
    identity: u64,
    settled: bool,
}

impl Owed<'_> {
    /// An answer was given, or there will be none.
    pub(crate) fn settle(&mut self) {
        self.settled = true;
    }
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.ledger.give_up(self.identity);
        }
    }
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Counts one asking and tells the how-manieth of this identity it is, from 1.
    pub(crate) fn ask(&self, identity: u64) -> u32 {
        let mut shard = self.shard(identity);
        shard.asked += 1;
        let Some(seen) = shard.recall(identity) else {
            shard.forgotten += 1;
            return 1;
        };
        seen.asked = seen.asked.saturating_add(1);
        let nth = seen.asked;
        shard.asked_more_than_once += u64::from(nth == 2);
        nth
    }

    /// Counts one whole, sound answer.
    pub(crate) fn answer(&self, identity: u64) {
        let mut shard = self.shard(identity);
        shard.answered += 1;
        let Some(seen) = shard.recall(identity) else {
            return;
        };
        seen.answered = seen.answered.saturating_add(1);
        let nth = seen.answered;
        shard.answered_distinct += u64::from(nth == 1);
        shard.answered_more_than_once += u64::from(nth == 2);
    }

    /// From now on an answer to this identity is owed.
    pub(crate) fn owe(&self, identity: u64) -> Owed<'_> {
        Owed {
            ledger: self,
            identity,
            settled: false,
        }
    }

    fn give_up(&self, identity: u64) {
        if let Some(seen) = self.shard(identity).recall(identity) {
            seen.given_up = seen.given_up.saturating_add(1);
        }
    }

    pub(crate) fn asked(&self, identity: u64) -> u32 {
        self.seen(identity).asked
    }

    /// What is known of each of these.
    pub(crate) fn look_up(&self, identities: impl Iterator<Item = u64>) -> Asked {
        let mut found = Asked::default();
        for identity in identities {
            let seen = self.seen(identity);
            found.asked.push(seen.asked);
            found.answered.push(seen.answered);
            found.given_up.push(seen.given_up);
        }
        found
    }

    fn seen(&self, identity: u64) -> Seen {
        let shard = self.shard(identity);
        shard.seen.get(&identity).copied().unwrap_or_default()
    }

    pub(crate) fn forget_all(&self) {
        for shard in &self.shards {
            *lock(shard) = Shard::default();
        }
    }

    /// Adds what this ledger knows to `stats`.
    pub(crate) fn tell(&self, stats: &mut Stats) {
        for shard in &self.shards {
            let shard = lock(shard);
            stats.requests += shard.asked;
            stats.distinct += shard.seen.len() as u64;
            stats.asked_more_than_once += shard.asked_more_than_once;
            stats.answered += shard.answered;
            stats.answered_distinct += shard.answered_distinct;
            stats.answered_more_than_once += shard.answered_more_than_once;
            stats.forgotten += shard.forgotten;
        }
    }

    fn shard(&self, identity: u64) -> MutexGuard<'_, Shard> {
        // Bits from the middle: the map inside finds its places by the low ones and tags by the top.
        lock(&self.shards[(identity >> 40) as usize % SHARDS])
    }
}

impl Shard {
    /// The counts of an identity, made if there is room for it.
    fn recall(&mut self, identity: u64) -> Option<&mut Seen> {
        let full = self.seen.len() >= REMEMBERED_PER_SHARD;
        match self.seen.entry(identity) {
            Entry::Occupied(entry) => Some(entry.into_mut()),
            Entry::Vacant(_) if full => None,
            Entry::Vacant(entry) => Some(entry.insert(Seen::default())),
        }
    }
}

/// Counters stay whole whatever panics elsewhere, so a poisoned lock is taken all the same.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Identities are hashes already; hashing them again would only cost time.
#[derive(Debug, Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, identity: u64) {
        self.0 = identity;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_was_asked_and_answered_more_than_once() {
        let ledger = Ledger::new();
        for identity in [1, 2, 2, 2, u64::MAX] {
            ledger.ask(identity);
        }
        assert_eq!(ledger.ask(1), 2);
        ledger.answer(2);
        ledger.answer(2);
        ledger.answer(1);

        let mut stats = Stats::default();
        ledger.tell(&mut stats);
        let seen = (stats.requests, stats.distinct, stats.asked_more_than_once);
        assert_eq!(seen, (6, 3, 2));
        let paid = (
            stats.answered,
            stats.answered_distinct,
            stats.answered_more_than_once,
        );
        assert_eq!(paid, (3, 2, 1));
        assert_eq!(ledger.asked(2), 3);
    }

    #[test]
    fn an_answer_that_nobody_waited_for_is_given_up() {
        let ledger = Ledger::new();
        for identity in [1, 2] {
            ledger.ask(identity);
        }
        ledger.owe(1).settle();
        drop(ledger.owe(2));

        let known = ledger.look_up([2, 3, 1].into_iter());
        assert_eq!(known.asked, [1, 0, 1]);
        assert_eq!(known.given_up, [1, 0, 0]);
    }
}
