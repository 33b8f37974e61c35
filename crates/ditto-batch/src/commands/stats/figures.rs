//! The figures of one file, row by row.

use std::collections::BTreeMap;

use ditto_llm::ResultLine;
use ditto_llm::jobs::Class;
use ditto_llm::jsonl::{Content, Line};
use serde::{Deserialize, Serialize};

use super::super::merge::is_result;
use super::super::rows::request::Request;

/// Names that are counted one by one; what comes after that is counted together.
const MAX_NAMES: usize = 100;

const OTHERS: &str = "(others)";

/// How often each name came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Tally(BTreeMap<String, u64>);

impl Tally {
    fn add(&mut self, name: &str) {
        let is_known = self.0.contains_key(name);
        let name = match is_known || self.0.len() < MAX_NAMES {
            true => name,
            false => OTHERS,
        };
        *self.0.entry(name.to_owned()).or_default() += 1;
    }

    pub(super) fn most_first(&self) -> Vec<(&str, u64)> {
        let mut all: Vec<_> = self
            .0
            .iter()
            .map(|(name, count)| (name.as_str(), *count))
            .collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all
    }
}

/// A row that is longer than the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Longest {
    pub(super) line: u64,
    /// Without its line feed.
    pub(super) bytes: u64,
}

/// What a file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Figures {
    pub(super) file: String,
    /// Lines that are not blank.
    pub(super) rows: u64,
    /// Of the whole file, unpacked.
    pub(super) bytes: u64,
    pub(super) longest_line: Longest,
    pub(super) requests: u64,
    pub(super) results: u64,
    /// Rows that are neither.
    pub(super) unreadable: u64,
    /// Of all prompts, about.
    pub(super) estimated_tokens: u64,
    /// As the answers say.
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    /// Of requests as they ask, of results as they answer.
    pub(super) models: Tally,
    pub(super) endpoints: Tally,
    pub(super) classes: Tally,
    pub(super) finish_reasons: Tally,
}

/// What an answer tells of itself, in any of the API's shapes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    model: Option<String>,
    usage: Option<Usage>,
    choices: Vec<Choice>,
    /// Of a response.
    status: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Usage {
    #[serde(alias = "input_tokens")]
    prompt_tokens: Option<u64>,
    #[serde(alias = "output_tokens")]
    completion_tokens: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Choice {
    finish_reason: Option<String>,
}

impl Figures {
    pub(super) fn new(file: String) -> Self {
        Self {
            file,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, line: &Line<'_>) {
        self.bytes = line.end;
        if line.is_blank() {
            return;
        }
        self.rows += 1;
        let Content::Bytes(row) = line.content else {
            self.unreadable += 1;
            return self.measure(line.number, line.end - line.start);
        };
        self.measure(line.number, row.len() as u64);
        match is_result(row) {
            true => self.add_result(row),
            false => self.add_request(row),
        }
    }

    fn measure(&mut self, line: u64, bytes: u64) {
        if bytes > self.longest_line.bytes {
            self.longest_line = Longest { line, bytes };
        }
    }

    fn add_request(&mut self, row: &[u8]) {
        let Some(request) = Request::read(row) else {
            self.unreadable += 1;
            return;
        };
        self.requests += 1;
        self.estimated_tokens += request.tokens;
        self.models
            .add(request.model.as_deref().unwrap_or("(none)"));
        self.endpoints
            .add(request.url.as_deref().unwrap_or("(none)"));
    }

    fn add_result(&mut self, row: &[u8]) {
        let Ok(result) = serde_json::from_slice::<ResultLine>(row) else {
            self.unreadable += 1;
            return;
        };
        self.results += 1;
        self.classes.add(Class::of(&result).as_str());
        let body = result
            .response
            .as_ref()
            .and_then(|response| response.body.as_deref());
        let Some(Ok(answer)) = body.map(|body| serde_json::from_str::<Answer>(body.get())) else {
            return;
        };
        if let Some(model) = &answer.model {
            self.models.add(model);
        }
        let usage = answer.usage.unwrap_or_default();
        self.input_tokens += usage.prompt_tokens.unwrap_or(0);
        self.output_tokens += usage.completion_tokens.unwrap_or(0);
        let reasons = answer
            .choices
            .into_iter()
            .filter_map(|choice| choice.finish_reason);
        reasons
            .chain(answer.status)
            .for_each(|reason| self.finish_reasons.add(&reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Figures {
        let mut figures = Figures::new("x".into());
        let mut splitter = ditto_llm::jsonl::LineSplitter::new(1 << 20);
        let mut add = |line: Line<'_>| {
            figures.add(&line);
            Ok::<_, std::convert::Infallible>(())
        };
        splitter.feed(text.as_bytes(), &mut add).unwrap();
        splitter.finish(&mut add).unwrap();
        figures
    }

    #[test]
    fn requests_and_results_are_told_apart_and_counted() {
        let request = r#"{"custom_id":"a","url":"/v1/x","body":{"model":"m","input":"text"}}"#;
        let body = r#"{"model":"n","usage":{"prompt_tokens":3,"completion_tokens":4},"choices":[{"finish_reason":"stop"}]}"#;
        let answer =
            format!(r#"{{"custom_id":"a","response":{{"status_code":200,"body":{body}}}}}"#);
        let failure = r#"{"custom_id":"b","response":null,"error":{"code":"batch_expired"}}"#;
        let figures = of(&format!("{request}\n\n{answer}\n{failure}\nnot json\n"));
        assert_eq!(
            (
                figures.rows,
                figures.requests,
                figures.results,
                figures.unreadable
            ),
            (4, 1, 2, 1)
        );
        assert_eq!((figures.input_tokens, figures.output_tokens), (3, 4));
        assert_eq!(figures.longest_line.line, 3);
        assert_eq!(figures.models.most_first(), [("m", 1), ("n", 1)]);
        assert_eq!(figures.classes.most_first().len(), 2);
        assert_eq!(figures.finish_reasons.most_first(), [("stop", 1)]);
    }

    #[test]
    fn names_past_a_hundred_are_counted_together() {
        let mut tally = Tally::default();
        (0..250).for_each(|n| tally.add(&n.to_string()));
        assert_eq!(tally.most_first()[0], (OTHERS, 150));
    }
}
