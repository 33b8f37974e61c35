//! A set of ids of any size in flat memory.
//!
//! Ids are kept as 128-bit hashes, each with the line of its first use. Past a fixed number all of
//! them go to temporary files, in parts by hash, and what repeats shows only at the end.
//!
//! ```
//! use ditto_llm::ids::{IdSet, Inserted};
//!
//! let mut ids = IdSet::new(std::env::temp_dir(), IdSet::DEFAULT_IN_MEMORY);
//! assert_eq!(ids.insert(b"a", 1)?, Inserted::New);
//! assert_eq!(ids.insert(b"a", 2)?, Inserted::Seen { first_line: 1 });
//! # Ok::<(), std::io::Error>(())
//! ```

mod numbered;
mod parts;

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
    io,
    path::PathBuf,
};

use xxhash_rust::xxh3::xxh3_128_with_seed;

pub(crate) use self::numbered::{Numbered, read_at};
pub(crate) use self::parts::{PARTS, Parts, Record};

/// Ids that were seen, each with the line of its first use.
#[derive(Debug)]
pub struct IdSet {
    dir: PathBuf,
    max_in_memory: usize,
    hasher: IdHasher,
    last_line: u64,
    seen: Seen,
}

/// What became of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// Not seen before.
    New,
    /// Used before, first on this line.
    Seen {
        /// Line of the first use.
        first_line: u64,
    },
    /// The set is on disk by now; [`IdSet::finish`] tells.
    Later,
}

#[derive(Debug)]
enum Seen {
    InMemory(HashMap<[u8; 16], ShortLine, BuildHasherDefault<AsIs>>),
    OnDisk(Parts),
}

impl IdSet {
    /// Ids kept in memory unless the caller has a reason: what fills a hash table of 2^20 slots,
    /// about 23 MB.
    pub const DEFAULT_IN_MEMORY: usize = (1 << 20) / 8 * 7;

    /// A set that keeps up to `max_in_memory` ids in memory, and all of them in unnamed temporary
    /// files in `dir` once there are more.
    pub fn new(dir: impl Into<PathBuf>, max_in_memory: usize) -> Self {
        Self {
            dir: dir.into(),
            max_in_memory,
            hasher: IdHasher::new(),
            last_line: 0,
            seen: Seen::InMemory(HashMap::default()),
        }
    }

    /// Adds the bytes of an id (unescaped) seen on `line`.
    ///
    /// # Errors
    ///
    /// The temporary files cannot be written.
    pub fn insert(&mut self, id: &[u8], line: u64) -> io::Result<Inserted> {
        let key = self.hasher.hash(id);
        self.last_line = self.last_line.max(line);
        let map = match &mut self.seen {
            Seen::OnDisk(parts) => {
                parts.push_by_key(Record { key, number: line })?;
                return Ok(Inserted::Later);
            }
            Seen::InMemory(map) => map,
        };
        if map.len() < self.max_in_memory {
            return Ok(match map.entry(key.to_le_bytes()) {
                Entry::Occupied(first) => Inserted::Seen {
                    first_line: first.get().get(),
                },
                Entry::Vacant(slot) => {
                    slot.insert(ShortLine::new(line));
                    Inserted::New
                }
            });
        }
        // Only looked up: making an entry would double a table that is full.
        if let Some(first) = map.get(&key.to_le_bytes()) {
            return Ok(Inserted::Seen {
                first_line: first.get(),
            });
        }
        let mut parts = Parts::new(&self.dir);
        for (key, line) in std::mem::take(map) {
            parts.push_by_key(Record {
                key: u128::from_le_bytes(key),
                number: line.get(),
            })?;
        }
        parts.push_by_key(Record { key, number: line })?;
        self.seen = Seen::OnDisk(parts);
        Ok(Inserted::Later)
    }

    /// The duplicates that could not be told at once, by line. Part by part, and within a part by
    /// sorting: the memory for it does not grow with the set.
    ///
    /// # Errors
    ///
    /// The temporary files cannot be read or written.
    pub fn finish(self) -> io::Result<Duplicates> {
        let Seen::OnDisk(mut ids) = self.seen else {
            return Ok(Duplicates::default());
        };
        // One part a range of lines, so that sorting part after part sorts all.
        let range = self.last_line / PARTS as u64 + 1;
        let mut found = Parts::new(&self.dir);
        for part in 0..PARTS {
            ids.for_each_group(part, |uses| {
                let first = uses[0].number;
                for again in &uses[1..] {
                    let record = Record {
                        key: first.into(),
                        number: again.number,
                    };
                    found.push((again.number / range) as usize, record)?;
                }
                Ok(())
            })?;
        }
        Ok(Duplicates {
            found: Some(found),
            ..Duplicates::default()
        })
    }
}

/// Second and later uses of ids, as (line, line of the first use), sorted by line.
#[derive(Debug, Default)]
pub struct Duplicates {
    found: Option<Parts>,
    next_part: usize,
    part: std::vec::IntoIter<(u64, u64)>,
}

impl Duplicates {
    fn next_part(&mut self) -> io::Result<bool> {
        let Some(found) = self.found.as_mut().filter(|_| self.next_part < PARTS) else {
            return Ok(false);
        };
        let mut part = Vec::new();
        found.for_each(self.next_part, |record| {
            let first_line = u64::try_from(record.key).expect("a line number was stored");
            part.push((record.number, first_line));
        })?;
        part.sort_unstable();
        self.part = part.into_iter();
        self.next_part += 1;
        Ok(true)
    }
}

impl Iterator for Duplicates {
    type Item = io::Result<(u64, u64)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(duplicate) = self.part.next() {
                return Some(Ok(duplicate));
            }
            match self.next_part() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.next_part = PARTS;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// Hashes ids under a seed of this process and this set, so that nobody can prepare ids that
/// collide and have good lines refused.
#[derive(Debug)]
pub(crate) struct IdHasher {
    seed: u64,
}

impl IdHasher {
    pub(crate) fn new() -> Self {
        Self {
            seed: RandomState::new().hash_one(0u8),
        }
    }

    pub(crate) fn hash(&self, id: &[u8]) -> u128 {
        xxh3_128_with_seed(id, self.seed)
    }
}

/// A line number in five bytes: no padding beside the hash, so a slot of the table is 22 bytes.
#[derive(Debug, Clone, Copy)]
struct ShortLine([u8; 5]);

impl ShortLine {
    /// A trillion lines are more than any disk holds; past that the last number stands for all.
    fn new(line: u64) -> Self {
        let [a, b, c, d, e, ..] = line.min((1 << 40) - 1).to_le_bytes();
        Self([a, b, c, d, e])
    }

    fn get(self) -> u64 {
        let [a, b, c, d, e] = self.0;
        u64::from_le_bytes([a, b, c, d, e, 0, 0, 0])
    }
}

/// The keys are hashes already.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    // The length that comes before the bytes of an array says nothing.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests;
