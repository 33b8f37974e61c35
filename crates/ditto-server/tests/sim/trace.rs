//! What happened, as a hash over all of it and the last events in words.

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::time::Duration;

use xxhash_rust::xxh3::Xxh3;

/// Events kept in words, to be shown with a broken law.
const KEPT: usize = 150;

#[derive(Default)]
pub(super) struct Trace {
    hash: Box<Xxh3>,
    last: VecDeque<String>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").finish_non_exhaustive()
    }
}

impl Trace {
    pub(super) fn add(&mut self, now: Duration, event: fmt::Arguments<'_>) {
        let mut line = String::new();
        write!(line, "{:>11.6} {event}", now.as_secs_f64()).unwrap();
        self.hash.update(line.as_bytes());
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    pub(super) fn told(&self) -> (u64, String) {
        let words: Vec<_> = self.last.iter().map(String::as_str).collect();
        (self.hash.digest(), words.join("\n"))
    }
}
