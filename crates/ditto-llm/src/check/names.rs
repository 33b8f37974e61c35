//! Names for requests that came without one.

/// Ids of the file that look like the names given to bare bodies.
#[derive(Debug, Default)]
pub(crate) struct TakenNames {
    plain: bool,
    /// Largest `k` among ids `line-<n>-<k>`.
    largest: u64,
}

impl TakenNames {
    /// Notes an id of the file.
    pub(crate) fn note(&mut self, id: &str) {
        let Some(rest) = id.strip_prefix("line-") else {
            return;
        };
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match rest.split_once('-') {
            None => self.plain |= digits(rest),
            Some((number, k)) if digits(number) && digits(k) => {
                // One too large for us is one that we shall not reach either.
                self.largest = self.largest.max(k.parse().unwrap_or(0));
            }
            Some(_) => {}
        }
    }

    /// What goes behind `line-<n>` so that no id of the file is the same.
    pub(crate) fn suffix(&self) -> String {
        if !self.plain {
            return String::new();
        }
        format!("-{}", u128::from(self.largest).max(1) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suffix(ids: &[&str]) -> String {
        let mut taken = TakenNames::default();
        ids.iter().for_each(|id| taken.note(id));
        taken.suffix()
    }

    #[test]
    fn suffix_is_empty_unless_the_file_uses_such_names() {
        assert_eq!(
            suffix(&["a", "line-", "line-x", "line-1x", "Line-1", "line-7-2"]),
            ""
        );
    }

    #[test]
    fn suffix_is_one_past_the_largest_in_the_file() {
        assert_eq!(suffix(&["line-1"]), "-2");
        assert_eq!(suffix(&["line-1", "line-3-2"]), "-3");
        assert_eq!(
            suffix(&["line-3-41", "line-1", "line-4-x", "line-4-5-99"]),
            "-42"
        );
        assert_eq!(
            suffix(&["line-1", "line-1-18446744073709551615"]),
            "-18446744073709551616"
        );
    }
}
