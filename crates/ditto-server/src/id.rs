//! Names that nobody can guess: of files, batches and incarnations.

/// No vowels and no look-alikes, so that an id is never a word and survives being read aloud.
const ALPHABET: &[u8; 32] = b"0123456789bcdfghjkmnpqrstvwxzBCD";
/// 24 characters of 5 bits: 120 bits.
const LENGTH: usize = 24;

/// A new file id, `file-…` as OpenAI spells it.
pub(crate) fn file() -> String {
    random("file-")
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

#[expect(clippy::disallowed_methods, reason = "where chance comes from")]
fn random(prefix: &str) -> String {
    let mut bytes = [0u8; LENGTH];
    getrandom::fill(&mut bytes).expect("the system's random source is always there");
    let mut id = String::with_capacity(prefix.len() + LENGTH);
    id.push_str(prefix);
    id.extend(
        bytes
            .iter()
            .map(|b| char::from(ALPHABET[usize::from(b & 31)])),
    );
    id
}
