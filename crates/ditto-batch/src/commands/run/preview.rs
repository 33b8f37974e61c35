//! A first look at the answers of a small job: enough to see that they make sense.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;

/// More lines than this are no longer looked through by eye.
pub(super) const MAX_LINES: u64 = 1_000;
/// Answers shown.
const SHOWN: usize = 3;
/// Characters shown of a name or an answer: with both it is still one line of a terminal or two.
const WIDTH: usize = 60;
/// Read of the file; an answer that is longer is not shown.
const HEAD: u64 = 1 << 20;

/// The first answers of a results file, one a line. It is a courtesy: what cannot be read or is no
/// chat completion is left out.
pub(super) fn first_answers(output: &Path) -> Vec<String> {
    let Ok(file) = File::open(output) else {
        return Vec::new();
    };
    let lines = BufReader::new(file.take(HEAD)).split(b'\n').take(SHOWN);
    lines.filter_map(|line| answer(&line.ok()?)).collect()
}

/// `custom_id: text` of one line, if it is a chat completion with a text.
fn answer(line: &[u8]) -> Option<String> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let name = plain(line.get("custom_id")?.as_str()?);
    let message = line.pointer("/response/body/choices/0/message")?;
    let text = plain(message.get("content")?.as_str()?);
    (!text.is_empty()).then(|| format!("{name}: {text}"))
}

/// The beginning of a text as one line that cannot steer a terminal.
fn plain(text: &str) -> String {
    let harmless: String = text.chars().filter(|c| !steers(*c)).collect();
    let words: Vec<_> = harmless.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Control characters, but for those that part words, and those that turn the direction of writing.
fn steers(c: char) -> bool {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (c.is_control() && !c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn chat(id: &str, content: impl Into<Value>) -> String {
        let message = json!({"role": "assistant", "content": content.into()});
        let body = json!({"object": "chat.completion", "choices": [{"message": message}]});
        json!({"custom_id": id, "response": {"status_code": 200, "body": body}}).to_string()
    }

    fn shown(file: impl AsRef<[u8]>) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.output.jsonl");
        std::fs::write(&path, file).unwrap();
        first_answers(&path)
    }

    #[test]
    fn the_first_three_answers_are_shown_by_name() {
        let file: Vec<_> = (1..=4)
            .map(|n| chat(&format!("r{n}"), "yes") + "\n")
            .collect();
        assert_eq!(shown(file.concat()), ["r1: yes", "r2: yes", "r3: yes"]);
    }

    #[test]
    fn a_long_answer_is_cut_between_characters() {
        let sixty = "好".repeat(60);
        assert_eq!(shown(chat("a", sixty.as_str())), [format!("a: {sixty}")]);
        let more = format!("{sixty}!");
        assert_eq!(shown(chat("a", more)), [format!("a: {sixty}…")]);
    }

    #[test]
    fn an_answer_is_one_line_and_cannot_steer_the_terminal() {
        let text = "\n\nred \u{1b}[31m\r\nbell\u{7} \u{202e}turn\u{0}\u{9b}ed\u{2028}";
        assert_eq!(shown(chat("a\u{1b}b", text)), ["ab: red [31m bell turned"]);
    }

    #[test]
    fn a_body_of_any_shape_is_left_out() {
        let bodies = [
            json!(null),
            json!("text"),
            json!([1]),
            json!({"object": "list", "data": [{"embedding": [0.1]}]}),
            json!({"choices": {}}),
            json!({"choices": []}),
            json!({"choices": [{"text": "old"}]}),
            json!({"choices": [{"message": {"content": null}}]}),
            json!({"choices": [{"message": {"content": [{"text": "part"}]}}]}),
            json!({"choices": [{"message": {"content": " \n"}}]}),
        ];
        for body in bodies {
            let line = json!({"custom_id": "a", "response": {"body": body}}).to_string();
            assert_eq!(answer(line.as_bytes()), None, "{line}");
        }
        for line in ["", "null", "7", "{", "[]", r#"{"custom_id":7}"#] {
            assert_eq!(answer(line.as_bytes()), None, "{line}");
        }
        assert_eq!(answer(b"\xff"), None);
    }

    #[test]
    fn a_file_that_is_not_there_or_has_an_endless_line_shows_nothing() {
        assert!(first_answers(Path::new("no/such/file")).is_empty());
        let endless = chat("a", "x".repeat(2 << 20));
        assert!(shown(endless).is_empty());
    }
}
