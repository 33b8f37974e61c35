//! The models that a file names.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_64;

/// How many different models are told apart; a file that names more is not counted further.
const MAX_MODELS: usize = 1_000;

/// Models seen so far. The one seen last is compared first, since most files name one.
#[derive(Debug, Default)]
pub(super) struct Models {
    first: Option<String>,
    last: String,
    /// Hashes: a model name may be as long as a line.
    all: HashSet<u64>,
}

impl Models {
    /// Notes a model; gives the first one if this is another.
    pub(super) fn note(&mut self, model: &str) -> Option<&str> {
        if self.last != model || self.first.is_none() {
            self.last.clear();
            self.last.push_str(model);
            if self.all.len() < MAX_MODELS {
                self.all.insert(xxh3_64(model.as_bytes()));
            }
        }
        let first = self.first.get_or_insert_with(|| model.to_owned());
        (first != model).then_some(first.as_str())
    }

    pub(super) fn into_first_and_count(self) -> (Option<String>, u32) {
        let count = u32::try_from(self.all.len()).expect("at most a thousand are kept");
        (self.first, count)
    }
}
