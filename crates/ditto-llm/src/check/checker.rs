//! One file held against its rules, line by line.

use std::{borrow::Cow, io};

use super::{
    Fault, FaultCode, Rules,
    endpoint::{Asks, Endpoint, inputs_in},
    envelope::{Body, Envelope, Respelled},
    fault::shown,
    models::Models,
    names::TakenNames,
    scan::{Kind, Value},
};
use crate::{
    ids::{Duplicates, IdSet, Inserted},
    jsonl::{Content, Line},
};

/// Checks one file. Memory does not grow with the file: ids are in an [`IdSet`], and faults go to
/// the caller, who may drop them past a number.
#[derive(Debug)]
pub struct Checker {
    rules: Rules,
    ids: IdSet,
    lines: u64,
    bytes: u64,
    requests: u64,
    bare_lines: u64,
    embedding_inputs: u64,
    endpoint: Option<Endpoint>,
    models: Models,
    taken: TakenNames,
}

/// What was learned about a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing stands there.
    Blank,
    /// A request, good or bad.
    Request {
        /// Whether the line had a fault.
        faulty: bool,
        /// The `custom_id` as a JSON string with its quotes; only for a faulty line that shows one.
        custom_id: Option<String>,
    },
}

/// What a whole file holds.
#[derive(Debug)]
pub struct Summary {
    /// Physical lines.
    pub lines: u64,
    /// Lines that are not blank, good or bad.
    pub requests: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// The `url` of the requests.
    pub endpoint: Option<String>,
    /// The first model named.
    pub model: Option<String>,
    /// How many different models are named, counted up to 1,000.
    pub models: u32,
    /// Second uses of an id that only showed at the end.
    pub late_duplicates: Duplicates,
    /// Lines that are only a body.
    pub bare_lines: u64,
    /// The suffix that keeps `line-<n>` names apart from the file's own ids.
    pub bare_suffix: String,
}

impl Checker {
    /// A checker at the start of a file.
    #[must_use]
    pub fn new(rules: Rules, ids: IdSet) -> Self {
        let endpoint = rules.endpoint.as_deref().map(Endpoint::new);
        Self {
            rules,
            ids,
            lines: 0,
            bytes: 0,
            requests: 0,
            bare_lines: 0,
            embedding_inputs: 0,
            endpoint,
            models: Models::default(),
            taken: TakenNames::default(),
        }
    }

    /// Checks the next line and pushes every fault it has; the first is its main one. A limit of
    /// the whole file is reported once, at the line that crosses it.
    ///
    /// # Errors
    ///
    /// The temporary files of the id set cannot be written.
    pub fn line(&mut self, line: &Line<'_>, faults: &mut Vec<Fault>) -> io::Result<Seen> {
        self.lines = line.number;
        self.count_bytes(line.end, faults);
        if line.is_blank() {
            return Ok(Seen::Blank);
        }
        self.count_request(faults);
        let before = faults.len();
        let mut envelope = Envelope::default();
        match line.content {
            Content::Bytes(bytes) if bytes.len() as u64 <= self.rules.limits.max_line_bytes => {
                let json = envelope.read(bytes).is_ok();
                match unreadable(line.number, bytes, json, &envelope) {
                    Some(fault) => faults.push(fault),
                    None => self.request(line.number, &envelope, faults)?,
                }
            }
            Content::Bytes(_) | Content::TooLong => faults.push(self.too_long(line.number)),
        }
        let faulty = faults.len() > before;
        let custom_id = if faulty {
            envelope.custom_id.and_then(token)
        } else {
            None
        };
        Ok(Seen::Request { faulty, custom_id })
    }

    /// The `url` of the requests, as far as it is known by now.
    #[cfg(feature = "jobs")]
    pub(crate) fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_ref().map(|endpoint| endpoint.url.as_str())
    }

    /// Pushes the faults of the whole file and tells what it held. Duplicates that only show now,
    /// because the ids did not fit into memory, come in [`Summary::late_duplicates`].
    ///
    /// # Errors
    ///
    /// The temporary files of the id set cannot be read.
    pub fn finish(self, faults: &mut Vec<Fault>) -> io::Result<Summary> {
        if self.requests == 0 {
            faults.push(Fault::of_file(
                FaultCode::EmptyFile,
                "The input file has no requests.",
            ));
        }
        let (model, models) = self.models.into_first_and_count();
        Ok(Summary {
            lines: self.lines,
            requests: self.requests,
            bytes: self.bytes,
            endpoint: self.endpoint.map(|endpoint| endpoint.url),
            model,
            models,
            late_duplicates: self.ids.finish()?,
            bare_lines: self.bare_lines,
            bare_suffix: self.taken.suffix(),
        })
    }

    fn count_bytes(&mut self, end: u64, faults: &mut Vec<Fault>) {
        let max = self.rules.limits.max_file_bytes;
        if self.bytes <= max && end > max {
            let message = format!("The input file is larger than {max} bytes.");
            faults.push(Fault::of_file(FaultCode::FileTooLarge, message));
        }
        self.bytes = end;
    }

    fn count_request(&mut self, faults: &mut Vec<Fault>) {
        self.requests += 1;
        let max = self.rules.limits.max_lines;
        if self.requests == max.saturating_add(1) {
            let message = format!("The input file has more than {max} requests.");
            faults.push(Fault::of_file(FaultCode::TooManyLines, message));
        }
    }

    fn too_long(&self, line: u64) -> Fault {
        let max = self.rules.limits.max_line_bytes;
        let message = format!("This line is longer than {max} bytes.");
        Fault::whole_line(line, FaultCode::LineTooLong, message)
    }

    /// A line that is a JSON object.
    fn request(
        &mut self,
        line: u64,
        envelope: &Envelope<'_>,
        faults: &mut Vec<Fault>,
    ) -> io::Result<()> {
        if self.rules.fill.bare.is_some() && envelope.is_bare() {
            self.bare_lines += 1;
            self.bare_url(line, &envelope.whole, faults);
            self.body(line, &envelope.whole, faults);
            return Ok(());
        }
        if let Some(key) = &envelope.repeated {
            let message = format!("The key '{}' appears more than once.", shown(key));
            let param = shown(key).into_owned();
            faults.push(Fault::at(line, FaultCode::DuplicateKey, param, message));
        }
        if let Some(key) = envelope.respelled {
            faults.push(ambiguous(line, key, String::new()));
        }
        self.custom_id(line, envelope.custom_id, faults)?;
        self.method(line, envelope.method, faults);
        self.url(line, envelope.url, faults);
        match &envelope.body {
            Some(body) => self.body(line, body, faults),
            None => faults.push(Fault::missing(line, "body")),
        }
        Ok(())
    }

    fn custom_id(
        &mut self,
        line: u64,
        id: Option<Value<'_>>,
        faults: &mut Vec<Fault>,
    ) -> io::Result<()> {
        let Some(id) = present(id) else {
            faults.push(Fault::missing(line, "custom_id"));
            return Ok(());
        };
        if id.kind != Kind::String {
            let got = id.kind.with_article();
            faults.push(Fault::wrong_type(line, "custom_id", "a string", got));
            return Ok(());
        }
        let Some(id) = id.text() else {
            faults.push(Fault::not_text(line, "custom_id"));
            return Ok(());
        };
        if id.is_empty() {
            let message = "Invalid value for 'custom_id': expected a string that is not empty.";
            faults.push(Fault::at(
                line,
                FaultCode::InvalidValue,
                "custom_id",
                message,
            ));
            return Ok(());
        }
        self.taken.note(&id);
        if let Inserted::Seen { first_line } = self.ids.insert(id.as_bytes(), line)? {
            let message = format!(
                "The custom_id '{}' was already used on line {first_line}.",
                shown(&id)
            );
            faults.push(Fault::at(
                line,
                FaultCode::DuplicateCustomId,
                "custom_id",
                message,
            ));
        }
        Ok(())
    }

    fn method(&self, line: u64, method: Option<Value<'_>>, faults: &mut Vec<Fault>) {
        let Some(method) = present(method) else {
            if self.rules.fill.endpoint.is_none() {
                faults.push(Fault::missing(line, "method"));
            }
            return;
        };
        if method.raw == b"\"POST\"" {
            return;
        }
        match method.text() {
            Some(text) if text == "POST" => {}
            Some(text) => {
                let message = format!(
                    "Invalid value: '{}'. Supported values are: 'POST'",
                    shown(&text)
                );
                faults.push(Fault::at(line, FaultCode::InvalidMethod, "method", message));
            }
            None => {
                let got = method.kind.with_article();
                faults.push(Fault::wrong_type(line, "method", "a string", got));
            }
        }
    }

    fn url(&mut self, line: u64, url: Option<Value<'_>>, faults: &mut Vec<Fault>) {
        let Some(url) = present(url) else {
            match self.rules.fill.endpoint.clone() {
                Some(url) => self.same_endpoint(line, &url, faults),
                None => faults.push(Fault::missing(line, "url")),
            }
            return;
        };
        if self
            .endpoint
            .as_ref()
            .is_some_and(|endpoint| endpoint.token == url.raw)
        {
            return;
        }
        match url.text() {
            Some(text) => self.same_endpoint(line, &text, faults),
            None => {
                let got = url.kind.with_article();
                faults.push(Fault::wrong_type(line, "url", "a string", got));
            }
        }
    }

    /// A bare body goes where the file goes. If nothing has said yet where that is, what it asks
    /// with tells, unless it is `input`, which several endpoints take.
    fn bare_url(&mut self, line: u64, body: &Body<'_>, faults: &mut Vec<Fault>) {
        let filled = self.rules.fill.endpoint.as_deref();
        let known = filled.or(self.endpoint.as_ref().map(|endpoint| endpoint.url.as_str()));
        let url = match known {
            Some(url) => url.to_owned(),
            None if body.messages.is_some() => "/v1/chat/completions".to_owned(),
            None if body.prompt.is_some() => "/v1/completions".to_owned(),
            None => {
                faults.push(Fault::missing(line, "url"));
                return;
            }
        };
        self.same_endpoint(line, &url, faults);
    }

    fn same_endpoint(&mut self, line: u64, url: &str, faults: &mut Vec<Fault>) {
        let endpoint = self.endpoint.get_or_insert_with(|| Endpoint::new(url));
        if endpoint.url != url {
            let message = "The URL provided for this request does not match the batch endpoint.";
            faults.push(Fault::at(line, FaultCode::InvalidUrl, "url", message));
        }
    }

    fn body(&mut self, line: u64, body: &Body<'_>, faults: &mut Vec<Fault>) {
        let Some(value) = present(body.value) else {
            faults.push(Fault::missing(line, "body"));
            return;
        };
        if value.kind != Kind::Object {
            let got = value.kind.with_article();
            faults.push(Fault::wrong_type(line, "body", "an object", got));
            return;
        }
        if let Some(key) = body.repeated {
            let message = format!("The key '{key}' appears more than once in 'body'.");
            let param = format!("body.{key}");
            faults.push(Fault::at(line, FaultCode::DuplicateKey, param, message));
        }
        if let Some(key) = body.respelled {
            faults.push(ambiguous(line, key, "body.".to_owned()));
        }
        self.model(line, body.model, faults);
        let asks = self
            .endpoint
            .as_ref()
            .map_or(Asks::Otherwise, |endpoint| endpoint.asks);
        match body.stream.map(|stream| stream.kind) {
            None | Some(Kind::False | Kind::Null) => {}
            Some(Kind::True) => faults.push(Fault::streaming(line, asks)),
            // `"true"` and 1 are `true` to some readers.
            Some(kind @ (Kind::Object | Kind::Array | Kind::String | Kind::Number)) => {
                let got = kind.with_article();
                faults.push(Fault::wrong_type(line, "body.stream", "a boolean", got));
            }
        }
        match asks {
            Asks::Messages if present(body.messages).is_none() => {
                let message = "Messages parameter is required.";
                faults.push(Fault::at(
                    line,
                    FaultCode::MessagesRequired,
                    "body.messages",
                    message,
                ));
            }
            Asks::Embeddings => self.count_inputs(line, body.input, faults),
            Asks::Messages | Asks::Otherwise => {}
        }
    }

    fn model(&mut self, line: u64, model: Option<Value<'_>>, faults: &mut Vec<Fault>) {
        let name = match (model, &self.rules.fill.model) {
            // Only what is absent is filled in: beside `"model": null` it would stand twice.
            (None, Some(filled)) => Cow::Owned(filled.clone()),
            (None, None) => return faults.push(Fault::model_required(line)),
            (Some(model), _) => match (model.kind, model.text()) {
                (Kind::Null, _) => return faults.push(Fault::model_required(line)),
                (_, Some(name)) if name.is_empty() => {
                    return faults.push(Fault::model_required(line));
                }
                (_, Some(name)) => name,
                (Kind::String, None) => return faults.push(Fault::not_text(line, "body.model")),
                (kind, None) => {
                    let got = kind.with_article();
                    return faults.push(Fault::wrong_type(line, "body.model", "a string", got));
                }
            },
        };
        if let Some(served) = &self.rules.models
            && !served.contains(name.as_ref())
        {
            let message = format!(
                "The provided model '{}' is not supported by the Batch API.",
                shown(&name)
            );
            let code = FaultCode::ModelNotFound;
            faults.push(Fault::at(line, code, "body.model", message));
        }
        if let Some(first) = self.models.note(&name)
            && self.rules.one_model
        {
            let message = format!(
                "All requests in a batch must use the same model; expected '{}', found '{}'.",
                shown(first),
                shown(&name),
            );
            faults.push(Fault::at(
                line,
                FaultCode::MismatchedModel,
                "body.model",
                message,
            ));
        }
    }

    fn count_inputs(&mut self, line: u64, input: Option<Value<'_>>, faults: &mut Vec<Fault>) {
        let Some(max) = self.rules.limits.max_embedding_inputs else {
            return;
        };
        let before = self.embedding_inputs;
        self.embedding_inputs += input.map_or(0, inputs_in);
        if before <= max && self.embedding_inputs > max {
            let message = format!("The input file has more than {max} embedding inputs.");
            let code = FaultCode::TooManyEmbeddingInputs;
            faults.push(Fault::at(line, code, "body.input", message));
        }
    }
}

/// Why a line cannot be judged at all.
fn unreadable(line: u64, bytes: &[u8], json: bool, envelope: &Envelope<'_>) -> Option<Fault> {
    if let Err(at) = simdutf8::compat::from_utf8(bytes) {
        let at = at.valid_up_to() + 1;
        let message =
            format!("This line is not parseable as valid JSON: byte {at} is not valid UTF-8.");
        return Some(Fault::whole_line(line, FaultCode::InvalidUtf8, message));
    }
    let message = match (json, envelope.whole.value) {
        (
            true,
            Some(Value {
                kind: Kind::Object, ..
            }),
        ) => return None,
        (true, _) => "This line is not a JSON object.",
        (false, _) => "This line is not parseable as valid JSON.",
    };
    Some(Fault::whole_line(line, FaultCode::InvalidJsonLine, message))
}

/// A key that is ours to some readers only; `at` is what stands before it in a param.
fn ambiguous(line: u64, key: Respelled<'_>, at: String) -> Fault {
    let spelled = String::from_utf8_lossy(key.spelled);
    let message = format!(
        "The key '{}' is spelled '{}', which not every reader takes for it.",
        key.meant,
        shown(&spelled)
    );
    Fault::at(line, FaultCode::AmbiguousKey, at + key.meant, message)
}

/// `null` says as little as a key that is not there.
fn present(value: Option<Value<'_>>) -> Option<Value<'_>> {
    value.filter(|value| value.kind != Kind::Null)
}

/// A string as it stands in the file, quotes included, if it is one that can be written again.
fn token(value: Value<'_>) -> Option<String> {
    value.text()?;
    String::from_utf8(value.raw.to_vec()).ok()
}
