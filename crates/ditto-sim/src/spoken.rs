//! Labels that a sentence offers in passing: `as positive, negative or neutral`, `answer yes or no`.

use crate::labels::{Listed, MAX_LABEL, admitted, boundary, separated};

/// An offer stands near the beginning of a prompt, and a long text is not to make work.
const LOOKED_AT: usize = 4096;

/// What stands before the last label.
const JOINTS: [&str; 3] = [" or ", "或", "还是"];

/// Words that ask for a label; without one the sentence merely tells of this or that.
const ASKING: [&str; 19] = [
    "answer", "categor", "choose", "classif", "decide", "judge", "label", "mark", "pick", "rate",
    "reply", "respond", "say", "sort", "tag", "判断", "分类", "标", "选",
];

/// Words that the first label follows.
const LEADING: [&str; 9] = [
    "answer ", "as ", "either ", "into ", "reply ", "respond ", "为", "是", "从",
];

/// Words between those and the first label.
const FILLING: [&str; 5] = ["with ", "only ", "just ", "simply ", "exactly "];

/// What begins with one of these is an amount: `one or more`, `a word or two`.
const AMOUNTS: [&str; 9] = [
    "a", "an", "any", "at", "both", "more", "one", "several", "two",
];

const MAX_WORDS: usize = 3;
const SENTENCE_ENDS: [char; 8] = ['.', '?', '!', ':', '\n', '。', '？', '：'];
const LABEL_ENDS: [char; 14] = [
    '.', '?', '!', ':', ',', ';', '\n', ')', ']', '。', '？', '：', '，', '；',
];

/// The first offer that a sentence of the text makes.
pub(crate) fn offered(text: &str) -> Option<Listed<'_>> {
    let text = &text[..boundary(text, LOOKED_AT)];
    JOINTS.iter().find_map(|joint| {
        let mut places = text.match_indices(joint);
        places.find_map(|(at, _)| at_joint(text, at, at + joint.len()))
    })
}

fn at_joint(text: &str, joint: usize, after: usize) -> Option<Listed<'_>> {
    let sentence = text[..joint].rfind(SENTENCE_ENDS).map_or(0, |at| at + 1);
    let sentence = boundary(text, sentence);
    let lead = text[sentence..joint].to_ascii_lowercase();
    if !ASKING.iter().any(|word| lead.contains(word)) {
        return None;
    }
    let first = LEADING
        .iter()
        .filter_map(|word| end_of_last(&lead, word))
        .max()?;
    let start = sentence + first;
    let end = after + text[after..].find(LABEL_ENDS).unwrap_or(text.len() - after);

    let mut labels = separated(without_filling(&text[start..joint]));
    if labels.is_empty() {
        return None;
    }
    // `a or b or c` has further joints behind the first.
    labels.extend(separated(&text[after..end]));
    let labels = admitted(labels)?;
    labels
        .iter()
        .all(|label| is_label(label))
        .then_some(Listed { labels, start, end })
}

/// Where the last of these words ends, if it is one and not the end of another.
fn end_of_last(lead: &str, word: &str) -> Option<usize> {
    let at = lead.rfind(word)?;
    let inside = word.is_ascii() && lead[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
    (!inside).then_some(at + word.len())
}

fn without_filling(mut first: &str) -> &str {
    while let Some(rest) = FILLING.iter().find_map(|word| first.strip_prefix(word)) {
        first = rest;
    }
    first
}

fn is_label(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    (1..=MAX_LABEL).contains(&text.len())
        && text.split_whitespace().count() <= MAX_WORDS
        && !AMOUNTS.contains(&first.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Vec<&str> {
        offered(text).map(|offer| offer.labels).unwrap_or_default()
    }

    #[test]
    fn labels_in_a_sentence_are_found() {
        for (text, expected) in [
            (
                "Classify this review as positive, negative, or neutral.\n\nAs good as it gets",
                &["positive", "negative", "neutral"][..],
            ),
            (
                "Is this spam? Answer only yes or no: buy now",
                &["yes", "no"],
            ),
            ("Answer red or green or blue", &["red", "green", "blue"]),
            ("Reply with either \"cat\" or \"dog\".", &["cat", "dog"]),
            (
                "请判断情感是正面、负面或中性。很差",
                &["正面", "负面", "中性"],
            ),
            ("请将评论分类为好评还是差评：很差", &["好评", "差评"]),
        ] {
            assert_eq!(labels(text), expected, "{text}");
        }
    }

    #[test]
    fn what_offers_no_label_is_left_alone() {
        for text in [
            "Answer with one or two words.",
            "Reply with a word or two: what is this?",
            "It is as good as new, or better",
            "I would answer that this is the longest sentence or at least the oldest one here",
            "Choose wisely or not at all",
            "是或不是",
            " or ",
            "",
        ] {
            assert_eq!(labels(text), Vec::<&str>::new(), "{text}");
        }
    }

    #[test]
    fn a_text_full_of_choices_is_no_work() {
        assert!(labels(&"answer or ".repeat(1_000_000)).len() < LOOKED_AT);
    }
}
