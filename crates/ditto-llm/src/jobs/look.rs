//! Whether a create whose answer was lost has made a batch: decided from complete looks at the
//! provider's list, never by trying again.

use std::time::Duration;

/// The key in a batch's metadata that names the shard.
pub(crate) const METADATA_KEY: &str = "ditto_shard";

/// How far back of the intent a look goes: clocks differ.
pub(crate) const BACK: Duration = Duration::from_secs(600);

/// A batch as a list has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) created_at: Option<i64>,
    /// What its metadata says under [`METADATA_KEY`].
    pub(crate) key: Option<String>,
    pub(crate) input_file: Option<String>,
}

/// What the batch that is looked for is known by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) key: &'a str,
    pub(crate) file: &'a str,
    /// Of the intent, in unix seconds.
    pub(crate) intent_at: i64,
    /// Looks that find nothing prove that there is nothing.
    pub(crate) lists_new_at_once: bool,
    /// The time between the two looks: a list may show a new batch late.
    pub(crate) appears_seconds: u64,
}

/// One look at the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Look {
    /// All pages back to [`BACK`] before the intent, at this time, and what matched.
    Complete { at: i64, found: Option<String> },
    /// The provider has no list, or its list does not go back so far.
    Impossible { why: String },
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// Look, not before this time.
    LookAt(i64),
    /// There is a batch, and this is it.
    Adopt(String),
    /// There is none: create again, under the same key.
    Lost,
    /// It cannot be found out.
    CannotTell(String),
}

impl Wanted<'_> {
    /// Whether a batch of the list is the one that is looked for.
    pub(crate) fn matches(&self, listed: &Listed) -> bool {
        match &listed.key {
            Some(key) => key == self.key,
            // Not every provider keeps metadata; an input file belongs to one shard alone.
            None => listed.input_file.as_deref() == Some(self.file),
        }
    }

    /// Whether nothing that is wanted can be behind this one, in a list that began with `first`. Most
    /// providers list the newest first; a list that begins with the oldest is read to its end.
    pub(crate) fn is_past(&self, first: &Listed, last: &Listed) -> bool {
        let back = BACK.as_secs().cast_signed();
        match (first.created_at, last.created_at) {
            (Some(first), Some(last)) => last < first && last < self.intent_at - back,
            _ => false,
        }
    }

    /// Decides from the looks that were taken since this process knows of the intent.
    pub(crate) fn resolve(&self, looks: &[Look]) -> Resolution {
        let mut empty = Vec::new();
        for look in looks {
            match look {
                Look::Complete {
                    found: Some(batch), ..
                } => return Resolution::Adopt(batch.clone()),
                Look::Complete { at, found: None } => empty.push(*at),
                Look::Impossible { why } => return Resolution::CannotTell(why.clone()),
            }
        }
        let apart = self.appears_seconds.cast_signed();
        match (empty.first(), empty.last()) {
            (Some(first), Some(last)) if last - first >= apart => match self.lists_new_at_once {
                true => Resolution::Lost,
                false => Resolution::CannotTell(
                    "it is not in the provider's list, which does not always have what is new"
                        .to_owned(),
                ),
            },
            (Some(first), _) => Resolution::LookAt(first + apart),
            // The provider may be creating it at this moment.
            (None, _) => Resolution::LookAt(self.intent_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Wanted<'static> = Wanted {
        key: "job-1",
        file: "file-1",
        intent_at: 10_000,
        lists_new_at_once: true,
        appears_seconds: 60,
    };

    fn empty(at: i64) -> Look {
        Look::Complete { at, found: None }
    }

    #[test]
    fn nothing_is_created_again_before_two_complete_looks_a_minute_apart() {
        assert_eq!(WANTED.resolve(&[]), Resolution::LookAt(10_000));
        assert_eq!(WANTED.resolve(&[empty(10_005)]), Resolution::LookAt(10_065));
        let early = [empty(10_005), empty(10_064)];
        assert_eq!(WANTED.resolve(&early), Resolution::LookAt(10_065));
        let late = [empty(10_005), empty(10_065)];
        assert_eq!(WANTED.resolve(&late), Resolution::Lost);
    }

    #[test]
    fn what_a_look_finds_is_adopted_also_if_an_earlier_one_did_not() {
        let found = Look::Complete {
            at: 10_070,
            found: Some("b".into()),
        };
        let looks = [empty(10_005), found];
        assert_eq!(WANTED.resolve(&looks), Resolution::Adopt("b".into()));
    }

    #[test]
    fn where_looks_prove_nothing_a_person_decides() {
        let slow = Wanted {
            lists_new_at_once: false,
            ..WANTED
        };
        let looks = [empty(10_005), empty(10_065)];
        assert!(matches!(slow.resolve(&looks), Resolution::CannotTell(_)));
        let blind = [Look::Impossible {
            why: "no list".into(),
        }];
        assert_eq!(
            WANTED.resolve(&blind),
            Resolution::CannotTell("no list".into())
        );
    }

    #[test]
    fn a_batch_is_known_by_its_key_and_without_metadata_by_its_file() {
        let listed = |key: Option<&str>, file: &str| Listed {
            id: "b".into(),
            key: key.map(str::to_owned),
            input_file: Some(file.into()),
            ..Listed::default()
        };
        assert!(WANTED.matches(&listed(Some("job-1"), "other")));
        assert!(!WANTED.matches(&listed(Some("job-2"), "file-1")));
        assert!(WANTED.matches(&listed(None, "file-1")));
        assert!(!WANTED.matches(&listed(None, "other")));
    }

    #[test]
    fn a_look_goes_back_ten_minutes_before_the_intent_and_past_batches_without_a_time() {
        let is_past = |first, last| {
            let [first, last] = [first, last].map(|created_at| Listed {
                created_at,
                ..Listed::default()
            });
            WANTED.is_past(&first, &last)
        };
        assert!(is_past(Some(9_500), Some(9_399)));
        assert!(!is_past(Some(9_500), Some(9_400)));
        assert!(!is_past(Some(9_500), None));
        // The newest may be the last.
        assert!(!is_past(Some(9_000), Some(9_399)));
        assert!(!is_past(Some(9_399), Some(9_399)));
    }
}
