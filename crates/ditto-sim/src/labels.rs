//! Labelling prompts: which labels a text offers, and which of them fits.

use crate::ask::Piece;
use crate::cues::CUES;
use crate::spoken;

/// Words that announce a list of labels, surest first.
const SURE: [&str; 3] = ["label", "标签", "one of"];
const LIKELY: [&str; 9] = [
    "categor", "class", "section", "option", "topic", "类别", "分类", "选项", "之一",
];

/// More are no list of labels but some other enumeration.
const MAX_LABELS: usize = 200;
/// Bytes; a longer entry is a sentence.
pub(crate) const MAX_LABEL: usize = 64;
/// Bytes; no list of labels is longer, and a text of many colons is not read to its end at each.
const MAX_LIST: usize = MAX_LABELS * (MAX_LABEL + 4);
/// Colons and brackets looked at in one text: an offer stands near the beginning of a prompt or is
/// not found.
const MAX_OPENINGS: usize = 4096;
/// How far before the colon the announcing word may stand, in bytes.
const LEAD: usize = 60;
/// A label is judged by the beginning of a text; the rest of a book costs time and adds little.
const JUDGED: usize = 16 * 1024;

/// The label that fits, exactly as it was offered; `None` if the pieces offer no labels.
pub(crate) fn choose(pieces: &[Piece<'_>], hash: u64) -> Option<String> {
    let offers: Vec<_> = pieces
        .iter()
        .map(|piece| Offer::in_text(&piece.0))
        .collect();
    let sure = offers
        .iter()
        .position(|offer| offer.as_ref().is_some_and(|offer| offer.sure));
    let at = sure.or_else(|| offers.iter().position(Option::is_some))?;
    let offer = offers[at].as_ref()?;

    let text = judged_text(pieces, at, offer);
    let best = fitting(&offer.labels, &text);
    Some(best[(hash % best.len() as u64) as usize].to_owned())
}

/// What is to be labelled: all pieces, without the offer itself, in lower case.
fn judged_text(pieces: &[Piece<'_>], at: usize, offer: &Offer<'_>) -> String {
    let mut text = String::new();
    for (index, piece) in pieces.iter().enumerate() {
        let whole = &piece.0[..boundary(&piece.0, JUDGED)];
        if index == at {
            text.push_str(whole.get(..offer.start).unwrap_or(whole));
            text.push_str(whole.get(offer.end..).unwrap_or(""));
        } else {
            text.push_str(whole);
        }
        text.push('\n');
    }
    text.make_ascii_lowercase();
    text
}

/// The labels that fit best; all of them if nothing speaks for any.
fn fitting<'a>(labels: &[&'a str], text: &str) -> Vec<&'a str> {
    let named = best(labels, |label| named(label, text));
    named
        .or_else(|| best(labels, |label| hinted(label, text)))
        .unwrap_or_else(|| labels.to_vec())
}

fn best<'a>(labels: &[&'a str], score: impl Fn(&str) -> usize) -> Option<Vec<&'a str>> {
    let scores: Vec<_> = labels
        .iter()
        .map(|label| score(&label.to_lowercase()))
        .collect();
    let top = scores.iter().copied().max().filter(|top| *top > 0)?;
    let pairs = labels.iter().zip(scores);
    Some(
        pairs
            .filter(|(_, score)| *score == top)
            .map(|(label, _)| *label)
            .collect(),
    )
}

/// How often a text names a label: as often as the rarest of the words that it is made of.
fn named(label: &str, text: &str) -> usize {
    let words = label
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    // Of `how-to` only `how` tells anything; a label that is short as a whole has nothing else.
    let words = words.filter(|word| word.len() > 2 || word.len() == label.len());
    words
        .map(|word| mentions(text, singular(word)))
        .min()
        .unwrap_or(0)
}

fn singular(word: &str) -> &str {
    word.strip_suffix('s')
        .filter(|stem| stem.len() > 3)
        .unwrap_or(word)
}

fn hinted(label: &str, text: &str) -> usize {
    let hints = CUES
        .iter()
        .filter(|(names, _)| names.iter().any(|name| label.contains(name)));
    hints
        .flat_map(|(_, cues)| cues.iter())
        .map(|cue| mentions(text, cue).min(3))
        .sum()
}

/// Counts the places where a word begins with these letters; a short word must also end there.
fn mentions(text: &str, word: &str) -> usize {
    let letter = |at: Option<&u8>| at.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    memchr::memmem::find_iter(bytes, word.as_bytes())
        .filter(|at| {
            let starts = !word.is_ascii() || *at == 0 || !letter(bytes.get(at - 1));
            let ends = word.len() > 3 || !word.is_ascii() || !letter(bytes.get(at + word.len()));
            starts && ends
        })
        .count()
}

/// Labels, and where they stand, from their announcement to the end of the last.
#[derive(Debug)]
pub(crate) struct Listed<'a> {
    pub(crate) labels: Vec<&'a str>,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// A list of labels found in a text.
#[derive(Debug)]
struct Offer<'a> {
    labels: Vec<&'a str>,
    sure: bool,
    /// Where the list stands, from its announcement to its end.
    start: usize,
    end: usize,
}

impl<'a> Offer<'a> {
    /// The first sure offer of a text, or the first likely one, or one that a sentence makes.
    fn in_text(text: &'a str) -> Option<Self> {
        let mut likely = None;
        // A list opens with `:`, with `[`, or with `：`, which begins with 0xEF.
        for at in memchr::memchr3_iter(b':', b'[', 0xEF, text.as_bytes()).take(MAX_OPENINGS) {
            let rest = &text[at..];
            let Some(opening) = rest
                .chars()
                .next()
                .filter(|c| matches!(c, ':' | '：' | '['))
            else {
                continue;
            };
            match Self::at_opening(text, at, opening) {
                Some(offer) if offer.sure => return Some(offer),
                Some(offer) => likely = likely.or(Some(offer)),
                None => {}
            }
        }
        likely.or_else(|| Self::in_sentence(text))
    }

    fn at_opening(text: &'a str, at: usize, opening: char) -> Option<Self> {
        let mut start = at.saturating_sub(LEAD);
        while !text.is_char_boundary(start) {
            start += 1;
        }
        start += text[start..at].rfind('\n').map_or(0, |newline| newline + 1);
        let lead = text[start..at].to_lowercase();
        let sure = SURE.iter().any(|word| lead.contains(word));
        if !sure && !LIKELY.iter().any(|word| lead.contains(word)) {
            return None;
        }
        // `Label this as good or bad: …` has made its offer; what follows is the text.
        if spoken::offered(&lead).is_some() {
            return None;
        }
        let after = at + opening.len_utf8();
        let (labels, end) = match opening {
            '[' => bracketed(text, after)?,
            _ => listed(text, after)?,
        };
        Some(Self {
            labels,
            sure,
            start,
            end,
        })
    }

    fn in_sentence(text: &'a str) -> Option<Self> {
        let Listed { labels, start, end } = spoken::offered(text)?;
        Some(Self {
            labels,
            sure: false,
            start,
            end,
        })
    }
}

/// The entries between brackets, and where they end.
fn bracketed(text: &str, after: usize) -> Option<(Vec<&str>, usize)> {
    let rest = &text[after..];
    let end = rest[..boundary(rest, MAX_LIST)].find(']')?;
    admitted(separated(&rest[..end])).map(|labels| (labels, after + end))
}

/// The entries after a colon: on the same line, or one a line with bullets; and where they end.
fn listed(text: &str, after: usize) -> Option<(Vec<&str>, usize)> {
    let rest = &text[after..];
    let rest = &rest[..boundary(rest, MAX_LIST)];
    let line_end = rest.find('\n').unwrap_or(rest.len());
    let line = &rest[..line_end];
    let (labels, end) = if line.trim().is_empty() {
        bulleted(rest, line_end)
    } else if !begins_as_a_list(line) {
        return None;
    } else {
        let end = line
            .find(['。', '\r'])
            .or_else(|| line.find(". "))
            .unwrap_or(line.len());
        (separated(&line[..end]), end)
    };
    admitted(labels).map(|labels| (labels, after + end))
}

/// Entries that may be labels by their number and lengths.
pub(crate) fn admitted(labels: Vec<&str>) -> Option<Vec<&str>> {
    let fits = labels.iter().all(|label| label.len() <= MAX_LABEL);
    (fits && (2..=MAX_LABELS).contains(&labels.len())).then_some(labels)
}

const SEPARATORS: [char; 6] = [',', '，', '、', '|', ';', '；'];

/// Whether a separator comes soon enough: else this is prose, however long, and not read on.
fn begins_as_a_list(line: &str) -> bool {
    let near = boundary(line, 2 * MAX_LABEL);
    near == line.len() || line[..near].contains(SEPARATORS)
}

pub(crate) fn separated(line: &str) -> Vec<&str> {
    let parts = line.split(SEPARATORS);
    let parts = parts
        .flat_map(|part| part.split(" or "))
        .flat_map(|part| part.split('或'));
    let parts = parts.map(|part| part.trim().strip_prefix("or ").unwrap_or(part));
    parts.map(bare).filter(|label| !label.is_empty()).collect()
}

fn bulleted(rest: &str, mut end: usize) -> (Vec<&str>, usize) {
    let mut labels = Vec::new();
    while let Some(line) = rest[end..]
        .strip_prefix('\n')
        .and_then(|rest| rest.lines().next())
    {
        let Some(label) = line.trim_start().strip_prefix(['-', '*', '•']) else {
            break;
        };
        labels.push(bare(label));
        end += 1 + line.len();
        if rest[end..].starts_with('\r') {
            end += 1;
        }
    }
    labels.retain(|label| !label.is_empty());
    (labels, end)
}

/// A label without its quotes, brackets and final stop.
pub(crate) fn bare(label: &str) -> &str {
    label.trim_matches(|c: char| c.is_whitespace() || "\"'`“”「」[]()（）{}<>*.。".contains(c))
}

pub(crate) fn boundary(text: &str, most: usize) -> usize {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(texts: &[&str]) -> Option<String> {
        let pieces: Vec<_> = texts.iter().map(|text| Piece((*text).into())).collect();
        choose(&pieces, 1)
    }

    fn offered(text: &str) -> Vec<&str> {
        Offer::in_text(text)
            .map(|offer| offer.labels)
            .unwrap_or_default()
    }

    #[test]
    fn labels_are_found_however_they_are_offered() {
        assert_eq!(offered("Labels: a, b, c"), ["a", "b", "c"]);
        assert_eq!(
            offered("Choose one of: web, net or mail. Text: hi"),
            ["web", "net", "mail"]
        );
        assert_eq!(offered("标签：正面、负面、中性"), ["正面", "负面", "中性"]);
        assert_eq!(
            offered("请从以下类别中选择：体育、财经。文本：…"),
            ["体育", "财经"]
        );
        assert_eq!(
            offered("Categories:\n- \"red\"\n- blue\nText"),
            ["red", "blue"]
        );
        assert_eq!(offered("Options: [x | y]"), ["x", "y"]);
        assert_eq!(
            offered("Pick one of [billing, other]: where is it?"),
            ["billing", "other"]
        );
        assert_eq!(
            offered("Label it as good or bad: so, so, la la"),
            ["good", "bad"]
        );
        assert_eq!(offered("Reply with one or more labels: a, b"), ["a", "b"]);
        assert_eq!(offered("Note: one, two"), Vec::<&str>::new());
        assert_eq!(offered("Label: only"), Vec::<&str>::new());
        assert_eq!(offered("Labels:"), Vec::<&str>::new());
    }

    #[test]
    fn the_label_that_the_text_names_or_hints_at_is_chosen() {
        let offer = "Labels: games, python, web";
        assert_eq!(chosen(&[offer, "A puzzle game for X11"]).unwrap(), "games");
        assert_eq!(
            chosen(&["Bindings for Python.\nLabels: games, python, web"]).unwrap(),
            "python"
        );
        let mood = "Labels: positive, negative, neutral\nReview: It broke. A waste of money.";
        assert_eq!(chosen(&[mood]).unwrap(), "negative");
        assert_eq!(
            chosen(&["标签：正面、负面", "用了一周，很满意，推荐"]).unwrap(),
            "正面"
        );
    }

    #[test]
    fn a_text_full_of_colons_is_no_work() {
        let labels = "label:".repeat(1_000_000);
        assert_eq!(chosen(&[&labels]), None);
        assert_eq!(chosen(&[&"标签：".repeat(1_000_000)]), None);
    }

    #[test]
    fn a_text_that_speaks_for_no_label_still_gets_one() {
        let text = ["Labels: red, blue", "xyz"];
        let label = chosen(&text).unwrap();
        assert!(["red", "blue"].contains(&label.as_str()));
        assert_eq!(chosen(&text).unwrap(), label);
        assert_eq!(chosen(&["what is the capital of France?"]), None);
    }
}
