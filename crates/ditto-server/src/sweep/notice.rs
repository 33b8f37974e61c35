//! The notice that is given of what no row knows: its names, and since when they stand in it.
//!
//! A catalog that was put back too old, or that belongs to another folder, does not know results that
//! were paid for, however old they are. So nothing goes for its age alone: whoever looks after the
//! folder has a day to read the name. The notice is a file, so that the day is the same for a server
//! that is started anew every morning. It is made of names and not of a time: what a catalog ceases to
//! know today is in no notice of yesterday.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};

/// Names in it. What is unknown was put there by hand and is little; of more, the others are named
/// when these have gone.
const MOST: usize = 10_000;

/// Where the notice of a data folder is.
#[derive(Debug, Clone)]
pub(crate) struct Notice(PathBuf);

/// Names, each with the second since the epoch at which it was first given, by the store's clock.
type Names = BTreeMap<String, u64>;

/// What stands in it, and what is to stand in it after a look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Notified {
    before: Names,
    after: Names,
}

impl Notice {
    /// The notice of this data folder.
    pub(crate) fn of(data: &Path) -> Self {
        Self(data.join("unknown.json"))
    }

    /// One that is missing or damaged gives no notice: all is named anew.
    pub(super) fn read(&self) -> Notified {
        let bytes = fs::read(&self.0).unwrap_or_default();
        Notified {
            before: serde_json::from_slice(&bytes).unwrap_or_default(),
            after: Names::new(),
        }
    }

    /// Beside its place first: half a notice would be none.
    pub(super) fn write(&self, named: &Notified) -> Result<()> {
        if named.after == named.before {
            return Ok(());
        }
        let written = if named.after.is_empty() {
            fs::remove_file(&self.0)
        } else {
            let new = self.0.with_extension("json.new");
            let json = serde_json::to_vec_pretty(&named.after).map_err(io::Error::other);
            json.and_then(|json| fs::write(&new, json))
                .and_then(|()| fs::rename(&new, &self.0))
        };
        written.map_err(|e| Error::storage(format!("write {}", self.0.display()), e))
    }
}

impl Notified {
    /// Names this object, and tells for how long it has been named; `None` if it was not before.
    pub(super) fn name(&mut self, object: &str, now: SystemTime) -> Option<Duration> {
        let now = now.duration_since(UNIX_EPOCH).ok()?;
        let since = self.before.get(object).copied();
        if since.is_some() || self.after.len() < MOST {
            let since = since.unwrap_or(now.as_secs());
            self.after.insert(object.to_owned(), since);
        }
        now.checked_sub(Duration::from_secs(since?))
    }

    /// It has gone.
    pub(super) fn forget(&mut self, object: &str) {
        self.after.remove(object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(days: u32) -> SystemTime {
        UNIX_EPOCH + DAY * (1_000 + days)
    }

    /// One look, in which these are named; how long each has been.
    fn look(notice: &Notice, objects: &[&str], now: SystemTime) -> Vec<Option<Duration>> {
        let mut named = notice.read();
        let since = objects.iter().map(|object| named.name(object, now));
        let since = since.collect();
        notice.write(&named).unwrap();
        since
    }

    #[test]
    fn a_name_stands_in_it_from_when_it_was_first_given_until_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let notice = Notice::of(folder.path());
        assert_eq!(look(&notice, &["a"], at(0)), [None]);
        assert_eq!(look(&notice, &["a", "b"], at(1)), [Some(DAY), None]);
        assert_eq!(
            look(&notice, &["b", "a"], at(3)),
            [Some(DAY * 2), Some(DAY * 3)]
        );
        assert_eq!(look(&notice, &["b"], at(4)), [Some(DAY * 3)]);
        assert_eq!(
            look(&notice, &["a"], at(5)),
            [None],
            "it was known in between"
        );
        assert_eq!(
            look(&notice, &["a"], at(4)),
            [None],
            "the clock was put back"
        );
        assert!(look(&notice, &[], at(6)).is_empty());
        assert!(
            fs::read_dir(folder.path()).unwrap().next().is_none(),
            "nothing is left"
        );
    }

    #[test]
    fn one_that_is_damaged_gives_no_notice() {
        let folder = tempfile::tempdir().unwrap();
        let notice = Notice::of(folder.path());
        look(&notice, &["a"], at(0));
        let file = folder.path().join("unknown.json");
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        assert_eq!(look(&notice, &["a"], at(9)), [None]);
        assert_eq!(look(&notice, &["a"], at(10)), [Some(DAY)]);
    }

    #[test]
    fn more_names_than_it_holds_are_given_when_others_have_gone() {
        let mut named = Notified::default();
        for n in 0..MOST {
            named.name(&n.to_string(), at(0));
        }
        named.name("one more", at(0));
        assert_eq!(named.after.len(), MOST);
        named.forget("7");
        named.name("one more", at(0));
        assert!(named.after.contains_key("one more"));
    }
}
