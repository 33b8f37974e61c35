//! Answers: written by hand into one buffer, since they are the whole cost of a request.
//!
//! An answer is a function of the request's body alone: ids and times come from its hash.

use std::io::Write;

use crate::ask::{DEFAULT_DIMENSIONS, Endpoint, Piece, Question, tokens};
use crate::body::AnswerBody;
use crate::chance::mix;
use crate::course::Shape;
use crate::labels;

/// An answer that still lacks its last brace.
#[derive(Debug)]
pub(crate) struct Answer {
    open: Vec<u8>,
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
}

/// Below this an answer is padded in place; above, its filling is streamed.
const PADDED_IN_PLACE: u64 = 64 * 1024;
const PADDING_OPENS: &[u8] = br#","padding":""#;
const PADDING_CLOSES: &[u8] = b"\"}";

impl Answer {
    pub(crate) fn to(endpoint: Endpoint, question: &Question<'_>, hash: u64) -> Self {
        let mut page = Page {
            out: Vec::with_capacity(1024),
            hash,
        };
        let completion_tokens = match endpoint {
            Endpoint::ChatCompletions => page.chat_completion(question),
            Endpoint::Completions => page.completion(question),
            Endpoint::Embeddings => page.embeddings(question),
            Endpoint::Responses => page.response(question),
            Endpoint::Moderations => page.moderation(question),
        };
        page.raw(r#","simulated":true"#);
        Self {
            open: page.out,
            prompt_tokens: question.tokens(),
            completion_tokens,
        }
    }

    /// The whole body in this shape, filled up to about as many bytes.
    pub(crate) fn into_body(self, Shape { pad_to, is_chunked }: Shape) -> AnswerBody {
        let body = self.padded(pad_to);
        if is_chunked { body.chunked() } else { body }
    }

    fn padded(self, pad_to: u64) -> AnswerBody {
        if pad_to <= PADDED_IN_PLACE {
            return AnswerBody::whole(self.into_bytes(pad_to));
        }
        let mut open = self.open;
        open.extend_from_slice(PADDING_OPENS);
        let here = (open.len() + PADDING_CLOSES.len()) as u64;
        AnswerBody::padded(open, pad_to.saturating_sub(here), PADDING_CLOSES)
    }

    /// The same in memory.
    pub(crate) fn into_bytes(self, pad_to: u64) -> Vec<u8> {
        let mut all = self.open;
        let frame = PADDING_OPENS.len() + PADDING_CLOSES.len();
        let padding = usize::try_from(pad_to)
            .unwrap_or(usize::MAX)
            .saturating_sub(all.len() + frame);
        if padding == 0 {
            all.push(b'}');
            return all;
        }
        all.extend_from_slice(PADDING_OPENS);
        all.resize(all.len() + padding, b'.');
        all.extend_from_slice(PADDING_CLOSES);
        all
    }
}

/// The buffer that an answer is written into.
struct Page {
    out: Vec<u8>,
    hash: u64,
}

impl Page {
    fn chat_completion(&mut self, question: &Question<'_>) -> u64 {
        let said = self.say(&question.pieces);
        self.head("chatcmpl-sim", "chat.completion", "created", question.model);
        self.raw(r#","choices":[{"index":0,"message":{"role":"assistant","content":"#);
        self.string(&said);
        self.raw(r#","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}]"#);
        let used = tokens(&said);
        self.usage(
            ["prompt_tokens", "completion_tokens"],
            question.tokens(),
            used,
        );
        self.format(format_args!(
            r#","prompt_tokens_details":{{"cached_tokens":{}}},"completion_tokens_details":{{"reasoning_tokens":0}}}}"#,
            question.cached_tokens
        ));
        self.raw(r#","service_tier":"default","system_fingerprint":"fp_simulated""#);
        used
    }

    fn completion(&mut self, question: &Question<'_>) -> u64 {
        self.head("cmpl-sim", "text_completion", "created", question.model);
        self.raw(r#","choices":["#);
        let mut used = 0;
        for (index, prompt) in question.pieces.iter().enumerate() {
            let said = self.say(std::slice::from_ref(prompt));
            used += tokens(&said);
            self.comma(index);
            self.raw(r#"{"text":"#);
            self.string(&said);
            self.format(format_args!(
                r#","index":{index},"logprobs":null,"finish_reason":"stop"}}"#
            ));
        }
        self.raw("]");
        self.usage(
            ["prompt_tokens", "completion_tokens"],
            question.tokens(),
            used,
        );
        self.raw(r#"},"system_fingerprint":"fp_simulated""#);
        used
    }

    fn response(&mut self, question: &Question<'_>) -> u64 {
        let said = self.say(&question.pieces);
        self.head("resp_sim", "response", "created_at", question.model);
        self.raw(
            r#","status":"completed","background":false,"error":null,"incomplete_details":null,"instructions":null,"max_output_tokens":null,"output":[{"type":"message","id":"msg_sim_"#,
        );
        let hash = self.hash;
        self.format(format_args!("{hash:016x}"));
        self.raw(r#"","status":"completed","role":"assistant","content":[{"type":"output_text","annotations":[],"logprobs":[],"text":"#);
        self.string(&said);
        self.raw(r#"}]}],"parallel_tool_calls":true,"previous_response_id":null,"temperature":1.0,"tool_choice":"auto","tools":[],"top_p":1.0,"truncation":"disabled","metadata":{}"#);
        let used = tokens(&said);
        self.usage(["input_tokens", "output_tokens"], question.tokens(), used);
        self.format(format_args!(
            r#","input_tokens_details":{{"cached_tokens":{},"cache_write_tokens":0}},"output_tokens_details":{{"reasoning_tokens":0}}}}"#,
            question.cached_tokens
        ));
        used
    }

    fn embeddings(&mut self, question: &Question<'_>) -> u64 {
        let dimensions = question.dimensions.unwrap_or(DEFAULT_DIMENSIONS);
        self.raw(r#"{"object":"list","data":["#);
        for (index, Piece(input)) in question.pieces.iter().enumerate() {
            self.comma(index);
            self.format(format_args!(
                r#"{{"object":"embedding","index":{index},"embedding":["#
            ));
            for (at, value) in vector(input, dimensions).enumerate() {
                self.comma(at);
                self.format(format_args!("{value:.6}"));
            }
            self.raw("]}");
        }
        let asked = question.tokens();
        self.format(format_args!(
            r#"],"model":{},"usage":{{"prompt_tokens":{asked},"total_tokens":{asked}}}"#,
            question.model
        ));
        0
    }

    fn moderation(&mut self, question: &Question<'_>) -> u64 {
        let hash = self.hash;
        self.format(format_args!(
            r#"{{"id":"modr-sim-{hash:016x}","model":{},"results":["#,
            question.model
        ));
        for index in 0..question.pieces.len() {
            self.comma(index);
            self.raw(r#"{"flagged":false,"categories":{"#);
            self.each_category("false");
            self.raw(r#"},"category_scores":{"#);
            self.each_category("0.0001");
            self.raw(r#"},"category_applied_input_types":{"#);
            self.each_category(r#"["text"]"#);
            self.raw("}}");
        }
        let asked = question.tokens();
        self.raw("]");
        self.usage(["prompt_tokens", "completion_tokens"], asked, 0);
        self.raw("}");
        0
    }

    fn each_category(&mut self, value: &str) {
        const CATEGORIES: [&str; 13] = [
            "harassment",
            "harassment/threatening",
            "hate",
            "hate/threatening",
            "illicit",
            "illicit/violent",
            "self-harm",
            "self-harm/instructions",
            "self-harm/intent",
            "sexual",
            "sexual/minors",
            "violence",
            "violence/graphic",
        ];
        for (at, category) in CATEGORIES.iter().enumerate() {
            self.comma(at);
            self.format(format_args!(r#""{category}":{value}"#));
        }
    }

    /// What a model would say: a label where labels are offered, else that this is a simulation.
    fn say(&self, pieces: &[Piece<'_>]) -> String {
        if let Some(label) = labels::choose(pieces, self.hash) {
            return label;
        }
        let last = pieces.last().map_or("", |piece| &piece.0);
        let start: String = last.trim().chars().take(60).collect();
        format!(
            "This is a simulated answer to: {}",
            start.replace(['\n', '\r'], " ")
        )
    }

    fn head(&mut self, id: &str, object: &str, created: &str, model: &str) {
        let hash = self.hash;
        // Some time in 2023 or 2024: plausible, and the same for the same body.
        let time = 1_700_000_000 + hash % 30_000_000;
        self.format(format_args!(
            r#"{{"id":"{id}-{hash:016x}","object":"{object}","{created}":{time},"model":{model}"#
        ));
    }

    /// Leaves the object open for details.
    fn usage(&mut self, names: [&str; 2], asked: u64, used: u64) {
        let [asked_name, used_name] = names;
        let total = asked + used;
        self.format(format_args!(
            r#","usage":{{"{asked_name}":{asked},"{used_name}":{used},"total_tokens":{total}"#
        ));
    }

    fn comma(&mut self, index: usize) {
        if index > 0 {
            self.out.push(b',');
        }
    }

    fn raw(&mut self, json: &str) {
        self.out.extend_from_slice(json.as_bytes());
    }

    fn string(&mut self, text: &str) {
        serde_json::to_writer(&mut self.out, text).expect("a string is always JSON");
    }

    fn format(&mut self, json: std::fmt::Arguments<'_>) {
        self.out
            .write_fmt(json)
            .expect("writing to memory does not fail");
    }
}

/// A vector of length one that depends on the input alone.
fn vector(input: &str, dimensions: usize) -> impl Iterator<Item = f64> {
    let hash = xxhash_rust::xxh3::xxh3_64(input.as_bytes());
    let raw = move |at: usize| mix(hash ^ mix(at as u64)) as i64 as f64 / i64::MAX as f64;
    let length = (0..dimensions)
        .map(raw)
        .map(|value| value * value)
        .sum::<f64>()
        .sqrt();
    (0..dimensions).map(move |at| raw(at) / length)
}
