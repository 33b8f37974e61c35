//! A file that comes in parts: its states, how much it takes, and whether its parts make it up.

use std::collections::BTreeSet;

/// Bytes of one part: OpenAI's.
pub const PART_BYTES: u64 = 64 << 20;
/// Parts of one upload, which are a row each: 10 GB in parts of a megabyte. S3's, too.
pub const PARTS: u32 = 10_000;

/// Where an upload is in its life. All but the first are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadState {
    /// It takes parts.
    Pending,
    /// It is a file now.
    Completed,
    /// Its client gave it up.
    Cancelled,
    /// Its time was over.
    Expired,
}

impl UploadState {
    /// As stored in the catalog, and as clients see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Reads what [`UploadState::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "pending" => Some(Self::Pending),
            "completed" => Some(Self::Completed),
            "cancelled" => Some(Self::Cancelled),
            "expired" => Some(Self::Expired),
            _ => None,
        }
    }

    /// What it is when its time may be over: whenever the sweeper comes.
    #[must_use]
    pub fn at(self, expires_ms: i64, now_ms: i64) -> Self {
        match self {
            Self::Pending if expires_ms <= now_ms => Self::Expired,
            other => other,
        }
    }
}

/// Whether an upload of so many bytes whose parts have `held` takes `more`. Twice its size, since a part
/// whose answer was lost is sent again and both are kept, and one part on top, since a small upload may
/// be sent again whole.
pub fn takes(declared: u64, held: u64, more: u64) -> bool {
    held.saturating_add(more) <= declared.saturating_mul(2).saturating_add(PART_BYTES)
}

/// Why parts do not make up a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit<'a> {
    /// The upload has no such part.
    Unknown(&'a str),
    /// It is named more than once.
    Twice(&'a str),
    /// So many bytes together, and others were declared.
    Bytes(u64),
}

/// Whether these parts make up a file of the declared size; `size` knows those that are there.
pub fn fit<'a>(
    declared: u64,
    named: &'a [String],
    size: impl Fn(&str) -> Option<u64>,
) -> Result<(), Unfit<'a>> {
    let mut seen = BTreeSet::new();
    let mut sum = 0u64;
    for id in named {
        if !seen.insert(id.as_str()) {
            return Err(Unfit::Twice(id));
        }
        let bytes = size(id).ok_or(Unfit::Unknown(id))?;
        sum = sum.saturating_add(bytes);
    }
    match sum == declared {
        true => Ok(()),
        false => Err(Unfit::Bytes(sum)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [UploadState; 4] = [
        UploadState::Pending,
        UploadState::Completed,
        UploadState::Cancelled,
        UploadState::Expired,
    ];

    #[test]
    fn every_state_keeps_its_word() {
        for state in STATES {
            assert_eq!(UploadState::parse(state.as_str()), Some(state));
        }
        assert_eq!(UploadState::parse("lost"), None);
    }

    #[test]
    fn time_ends_what_is_pending_and_nothing_else() {
        assert_eq!(STATES.map(|state| state.at(10, 9)), STATES);
        let after = STATES.map(|state| state.at(10, 10));
        assert_eq!(after[0], UploadState::Expired);
        assert_eq!(after[1..], STATES[1..]);
    }

    #[test]
    fn an_upload_takes_twice_its_bytes_and_one_part() {
        let most = 2 * 100 + PART_BYTES;
        assert!(takes(100, 0, most) && takes(100, most - 1, 1));
        assert!(!takes(100, most, 1) && !takes(100, 0, most + 1));
        assert!(takes(u64::MAX, u64::MAX, 1));
    }

    #[test]
    fn parts_make_up_a_file_if_each_is_there_once_and_their_bytes_are_the_files() {
        let size = |id: &str| id.parse().ok();
        let fits = |declared, named: &[&str]| {
            let named: Vec<String> = named.iter().map(|id| (*id).to_owned()).collect();
            match fit(declared, &named, size) {
                Ok(()) => "fits".to_owned(),
                Err(unfit) => format!("{unfit:?}"),
            }
        };
        assert_eq!(fits(6, &["3", "1", "2"]), "fits");
        assert_eq!(fits(0, &[]), "fits");
        assert_eq!(fits(7, &["3", "1", "2"]), "Bytes(6)");
        assert_eq!(fits(6, &["3", "3"]), "Twice(\"3\")");
        assert_eq!(fits(6, &["3", "x"]), "Unknown(\"x\")");
    }
}
