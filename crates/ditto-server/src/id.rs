//! Names that nobody can guess: of files, batches and incarnations; and keys, which are secret too.

#[cfg(test)]
use self::seeded::fill;
#[cfg(not(test))]
use self::unguessable as fill;

/// No vowels and no look-alikes, so that an id is never a word and survives being read aloud.
const ALPHABET: &[u8; 32] = b"0123456789bcdfghjkmnpqrstvwxzBCD";
/// 24 characters of 5 bits: 120 bits.
const LENGTH: usize = 24;
/// 52 characters of 5 bits: 260 bits.
const SECRET_LENGTH: usize = 52;
/// What every key of ours begins with: tools that look for secrets know `sk-`.
const SECRET_PREFIX: &str = "sk-ditto-";

/// A new file id, `file-…` as OpenAI spells it.
pub(crate) fn file() -> String {
    random("file-")
}

/// A new id of an upload in parts.
pub(crate) fn upload() -> String {
    random("upload_")
}

/// A new id of a part of one.
pub(crate) fn part() -> String {
    random("part_")
}

/// A new batch id.
pub(crate) fn batch() -> String {
    random("batch_")
}

/// A new incarnation: one life of one worker process.
pub(crate) fn incarnation() -> String {
    random("inc_")
}

/// A new request id, for the header that ties an answer to the log.
pub(crate) fn request() -> String {
    random("req_")
}

/// The id of an API key, which is no secret.
pub(crate) fn key() -> String {
    random("key_")
}

/// An API key itself.
pub(crate) fn secret() -> String {
    drawn::<SECRET_LENGTH>(SECRET_PREFIX)
}

/// Of an API key what may be shown: the prefix and 20 of its 260 bits.
pub(crate) fn shown(secret: &str) -> String {
    secret.chars().take(SECRET_PREFIX.len() + 4).collect()
}

fn random(prefix: &str) -> String {
    drawn::<LENGTH>(prefix)
}

fn drawn<const N: usize>(prefix: &str) -> String {
    let mut bytes = [0u8; N];
    fill(&mut bytes);
    let mut id = String::with_capacity(prefix.len() + N);
    id.push_str(prefix);
    id.extend(
        bytes
            .iter()
            .map(|b| char::from(ALPHABET[usize::from(b & 31)])),
    );
    id
}

#[expect(clippy::disallowed_methods, reason = "where chance comes from")]
fn unguessable(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the system's random source is always there");
}

/// For simulated runs: the ids of a thread follow from a seed.
#[cfg(test)]
pub(crate) mod seeded {
    use std::cell::RefCell;

    thread_local! {
        static CHANCE: RefCell<Option<fastrand::Rng>> = const { RefCell::new(None) };
    }

    /// From now on the ids made by this thread follow from this seed.
    pub(crate) fn seed(seed: u64) {
        CHANCE.set(Some(fastrand::Rng::with_seed(seed)));
    }

    pub(super) fn fill(bytes: &mut [u8]) {
        CHANCE.with_borrow_mut(|chance| match chance {
            Some(chance) => chance.fill(bytes),
            None => super::unguessable(bytes),
        });
    }
}
