//! What a provider says of its limits when a batch is over one of them, in its own words.

/// A limit that a batch is over, with its height if the provider tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// What the account may have enqueued, in tokens or in batches: there is room later.
    Enqueued(Option<u64>),
    /// Lines of a batch: there never is.
    Lines(Option<u64>),
}

/// The limit that an error of a batch or of a create is about, if it is about one.
pub(crate) fn named(code: Option<&str>, message: &str) -> Option<Limit> {
    let words = message.to_lowercase();
    let is_full = matches!(code, Some("token_limit_exceeded" | "batch_limit_exceeded"))
        || words.contains("token_limit_exceeded")
        || words.contains("enqueued token");
    if is_full {
        return Some(Limit::Enqueued(height(&words)));
    }
    // Some have no code and write it into the message.
    let is_long = LINE_CODES
        .iter()
        .any(|known| code == Some(known) || words.contains(known))
        // Ours: the key may never have so many lines in open batches.
        || (code == Some("enqueued_lines_limit_exceeded") && words.contains("never fits"));
    is_long.then(|| Limit::Lines(height(&words)))
}

/// `too_many_requests` is everybody's word for calls that come too fast, and not among them.
const LINE_CODES: [&str; 4] = [
    "too_many_tasks",
    "too_many_lines",
    "too_many_requests_in_file",
    "too_many_requests_in_batch",
];

/// What stands before the number.
const BEFORE: [&str; 5] = ["limit: ", "limit of ", "maximum of ", "at most ", "of the "];

/// The limit that a message names, in small letters: `limit: 2,000,000 enqueued tokens`, `limit of 30k`.
fn height(words: &str) -> Option<u64> {
    let behind = |before: &&str| Some(&words[words.find(*before)? + before.len()..]);
    let rests = BEFORE.iter().filter_map(behind);
    rests.filter_map(number).find(|height| *height > 0)
}

fn number(text: &str) -> Option<u64> {
    let is_part = |c: char| c.is_ascii_digit() || c == ',';
    let rest = text.trim_start_matches(is_part);
    let digits = text[..text.len() - rest.len()].replace(',', "");
    let unit = match rest.chars().next() {
        Some('k') => 1_000,
        Some('m') => 1_000_000,
        _ => 1,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_on_what_is_enqueued_is_known_by_its_code_or_its_words() {
        let openai = "Enqueued token limit reached for m in organization o. Limit: 2,000,000 enqueued tokens.";
        let azure =
            "The number of enqueued tokens has surpassed the configured limit of 30K for it.";
        for (message, expected) in [
            (openai, Some(2_000_000)),
            (azure, Some(30_000)),
            ("none", None),
        ] {
            let told = named(Some("token_limit_exceeded"), message);
            assert_eq!(told, Some(Limit::Enqueued(expected)), "{message}");
        }
        assert_eq!(
            named(None, "enqueued token limit"),
            Some(Limit::Enqueued(None))
        );
    }

    #[test]
    fn a_limit_of_lines_is_known_by_its_code_and_a_limit_of_calls_is_none() {
        for (code, message, expected) in [
            (Some("too_many_tasks"), "Too many.", None),
            (
                Some("too_many_tasks"),
                "The limit of the file is at most 100,000 tasks.",
                Some(100_000),
            ),
            (None, "too_many_tasks: a maximum of 50K", Some(50_000)),
            (
                Some("enqueued_lines_limit_exceeded"),
                "This file has 9 lines; of the 5 lines that this key may have 0 are taken. It never fits: split it.",
                Some(5),
            ),
        ] {
            assert_eq!(
                named(code, message),
                Some(Limit::Lines(expected)),
                "{message}"
            );
        }
        for code in [
            "too_many_requests",
            "too_many_errors",
            "enqueued_lines_limit_exceeded",
        ] {
            assert_eq!(named(Some(code), "Too many requests."), None, "{code}");
        }
    }
}
