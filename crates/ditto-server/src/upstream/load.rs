//! What a model server says of its load: vLLM and SGLang under `/metrics`, llama.cpp under `/slots`.
//!
//! The names are those of vLLM 0.6 and later (`vllm:num_requests_waiting`), SGLang 0.4 and later
//! (`sglang:num_queue_reqs`, with `--enable-metrics`) and llama.cpp's server (`/slots`), as of November 2026.

use serde_json::Value;

use crate::model::knee::Load;

/// Of requests that have arrived and are not worked on yet.
const WAITING: [&str; 2] = ["vllm:num_requests_waiting", "sglang:num_queue_reqs"];

/// What one server has said.
#[derive(Debug, Clone)]
pub(crate) enum Said {
    /// Text of `/metrics`.
    Metrics(String),
    /// How many of its places are taken, and how many there are.
    Slots { all: usize },
}

impl Said {
    /// Metrics, if there is something in them that we know.
    pub(super) fn metrics(text: String) -> Option<Self> {
        let known = |line: &str| WAITING.iter().any(|name| line.starts_with(name));
        text.lines().any(known).then_some(Self::Metrics(text))
    }

    /// The list of `/slots`.
    pub(super) fn slots(list: &Value) -> Option<Self> {
        let all = list.as_array()?;
        let is_slot = |slot: &Value| slot["is_processing"].is_boolean();
        (!all.is_empty() && all.iter().all(is_slot)).then_some(Self::Slots { all: all.len() })
    }

    /// Of this model; `None` if it says nothing of it.
    pub(crate) fn of(&self, model: &str) -> Option<Load> {
        match self {
            Self::Slots { all } => Some(Load {
                waiting: 0,
                places: Some(*all),
            }),
            Self::Metrics(text) => {
                let samples = text.lines().filter_map(|line| sample(line, model));
                let waiting = samples.reduce(|a, b| a + b)?;
                Some(Load {
                    waiting: waiting as usize,
                    places: None,
                })
            }
        }
    }
}

/// The value of a line that tells of requests that wait, of this model or of no model by its name.
fn sample(line: &str, model: &str) -> Option<f64> {
    let rest = WAITING.iter().find_map(|name| line.strip_prefix(name))?;
    let (labels, value) = match rest.strip_prefix('{') {
        Some(labelled) => labelled.rsplit_once('}')?,
        None => ("", rest),
    };
    let named = labels.split_once("model_name=\"");
    let is_of_it = named.is_none_or(|(_, name)| {
        let name = name.strip_prefix(model);
        name.is_some_and(|behind| behind.starts_with('"'))
    });
    // A longer name, of another metric, goes on behind ours.
    let is_whole = rest.starts_with('{') || rest.starts_with(' ');
    let value = value.split_whitespace().next()?.parse::<f64>().ok()?;
    (is_of_it && is_whole && value >= 0.0).then_some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const VLLM: &str = "# HELP vllm:num_requests_waiting Number of requests waiting.\n\
        # TYPE vllm:num_requests_waiting gauge\n\
        vllm:num_requests_running{engine=\"0\",model_name=\"qwen\"} 64.0\n\
        vllm:num_requests_waiting{engine=\"0\",model_name=\"qwen\"} 12.0\n\
        vllm:num_requests_waiting{engine=\"1\",model_name=\"qwen\"} 3.0\n\
        vllm:num_requests_waiting{engine=\"0\",model_name=\"qwen-large\"} 40.0\n\
        vllm:num_requests_waiting_by_reason{model_name=\"qwen\"} 99.0\n";

    fn waiting(text: &str, model: &str) -> Option<usize> {
        let said = Said::metrics(text.to_owned())?;
        said.of(model).map(|load| load.waiting)
    }

    #[test]
    fn what_waits_is_counted_by_model_over_all_engines() {
        assert_eq!(waiting(VLLM, "qwen"), Some(15));
        assert_eq!(waiting(VLLM, "qwen-large"), Some(40));
        assert_eq!(waiting(VLLM, "another"), None);
        let sglang = "sglang:num_queue_reqs{model_name=\"m\",tp_rank=\"0\"} 7.0\n";
        assert_eq!(waiting(sglang, "m"), Some(7));
        assert_eq!(waiting("sglang:num_queue_reqs 2\n", "any"), Some(2));
    }

    #[test]
    fn what_is_not_known_says_nothing() {
        for text in [
            "",
            "<html>",
            "python_gc_objects 5\n",
            "vllm:num_requests_waiting{} x\n",
        ] {
            assert_eq!(waiting(text, "m"), None, "{text}");
        }
        for list in [json!([]), json!({}), json!([{"id": 0}]), json!("no")] {
            assert!(Said::slots(&list).is_none(), "{list}");
        }
    }

    #[test]
    fn slots_are_places() {
        let slots = json!([{"id": 0, "is_processing": true}, {"id": 1, "is_processing": false}]);
        let load = Said::slots(&slots).unwrap().of("any").unwrap();
        assert_eq!((load.waiting, load.places), (0, Some(2)));
    }
}
