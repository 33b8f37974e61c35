//! API keys as rows: whose they are and until when, never the keys themselves.

use std::time::Duration;

use crate::secret::Hash;

/// Keys that are taken at once, over all tenants: each request is held against all of them, in about
/// a tenth of a millisecond for so many.
pub(crate) const MOST_KEYS: u64 = 10_000;
/// A key that is no longer taken is listed for this long, for whoever wonders whose it was.
pub(crate) const ENDED_KEYS_KNOWN: Duration = Duration::from_secs(365 * 24 * 3600);

/// A key to be. With one that is rotated, tenant and label are those of the old one.
#[derive(Debug, Clone)]
pub(crate) struct NewKey {
    /// `key_…`, chosen by the caller. No secret.
    pub(crate) id: String,
    /// Of the key: 256 bits of chance that nobody chose. There is nothing to guess from a list of
    /// likely ones, so a slow hash with a salt would slow down each request and protect nothing.
    pub(crate) hash: Hash,
    /// Its first characters, too few to use it.
    pub(crate) shown: String,
}

/// Whose a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Whose files and batches it sees.
    pub(crate) tenant: String,
    /// What it is for, in the operator's words.
    pub(crate) label: Option<String>,
}

/// A key's row. All times are unix seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRow {
    /// `key_…`
    pub(crate) id: String,
    /// Whose it is.
    pub(crate) holder: Holder,
    /// Its first characters.
    pub(crate) shown: String,
    /// It is taken now.
    pub(crate) live: bool,
    /// When it was made.
    pub(crate) created_at: i64,
    /// About when it was used last.
    pub(crate) last_used_at: Option<i64>,
    /// When it ends or has ended: it was revoked, or rotated with a grace.
    pub(crate) ends_at: Option<i64>,
}

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rotated {
    /// The key that ends.
    pub(crate) old: KeyRow,
    /// The key that takes its place.
    pub(crate) new: KeyRow,
}

/// A key that is taken now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LiveKey {
    /// `key_…`
    pub(crate) id: String,
    /// Whose it is.
    pub(crate) tenant: String,
    /// Of the key.
    pub(crate) hash: Hash,
    /// For how much longer it is taken; `None`: until it is revoked.
    pub(crate) left: Option<Duration>,
}

/// All keys that are taken now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KeyRing {
    /// Counts changes; 0: there has never been a key.
    pub(crate) version: u64,
    /// By age.
    pub(crate) keys: Vec<LiveKey>,
}
