//! What can be wrong, in the protocol's codes and words.

use std::borrow::Cow;

use serde::{Serialize, Serializer};

use super::endpoint::Asks;

/// What is wrong with a line or with a whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultCode {
    /// Not JSON, or not a JSON object.
    InvalidJsonLine,
    /// Bytes that are not UTF-8; on the wire the same as [`Self::InvalidJsonLine`].
    InvalidUtf8,
    /// `custom_id`, `method`, `url` or `body` is not there.
    MissingRequiredParameter,
    /// A key has a value of the wrong type.
    InvalidType,
    /// A value that is never right, such as an empty `custom_id`.
    InvalidValue,
    /// `url` is not the endpoint of the batch.
    InvalidUrl,
    /// `method` is not `POST`.
    InvalidMethod,
    /// The `custom_id` was used on an earlier line.
    DuplicateCustomId,
    /// A key that decides something stands twice in one object, so that readers may differ.
    DuplicateKey,
    /// A key that decides something is spelled so that readers may differ in what it is.
    AmbiguousKey,
    /// The line names another model than the first.
    MismatchedModel,
    /// The line names a model that is not served.
    ModelNotFound,
    /// The body names no model.
    ModelRequired,
    /// A chat completion without messages.
    MessagesRequired,
    /// `stream: true` in a body.
    StreamingUnsupported,
    /// The line is over the limit in bytes.
    LineTooLong,
    /// More requests than allowed.
    TooManyLines,
    /// More bytes than allowed.
    FileTooLarge,
    /// Not one request in the file.
    EmptyFile,
    /// More embedding inputs over all lines than allowed.
    TooManyEmbeddingInputs,
}

impl FaultCode {
    /// The code as it stands in `errors.data[].code` of a batch.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJsonLine | Self::InvalidUtf8 => "invalid_json_line",
            Self::MissingRequiredParameter => "missing_required_parameter",
            Self::InvalidType => "invalid_type",
            Self::InvalidValue => "invalid_value",
            Self::InvalidUrl => "invalid_url",
            Self::InvalidMethod => "invalid_method",
            Self::DuplicateCustomId => "duplicate_custom_id",
            Self::DuplicateKey => "duplicate_key",
            Self::AmbiguousKey => "ambiguous_key",
            Self::MismatchedModel => "mismatched_model",
            Self::ModelNotFound => "model_not_found",
            Self::ModelRequired | Self::MessagesRequired => "invalid_request",
            Self::StreamingUnsupported => "streaming_unsupported",
            Self::LineTooLong => "line_too_long",
            Self::TooManyLines => "too_many_requests_in_file",
            Self::FileTooLarge => "file_too_large",
            Self::EmptyFile => "empty_file",
            Self::TooManyEmbeddingInputs => "too_many_embedding_inputs",
        }
    }
}

impl Serialize for FaultCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One fault, in the words of the protocol. Serialises to `{"line", "code", "param", "message"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Physical line, from 1; none for a fault of the whole file.
    pub line: Option<u64>,
    /// What is wrong.
    pub code: FaultCode,
    /// The key it is about, such as `body.model`.
    pub param: Option<Cow<'static, str>>,
    /// The protocol's sentence.
    pub message: String,
}

impl Fault {
    /// What to do about it.
    ///
    /// ```
    /// use ditto_llm::check::Fault;
    ///
    /// let fault = Fault::late_duplicate(9, 4);
    /// assert_eq!(fault.remedy(), Some("give each line its own custom_id"));
    /// ```
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        Some(match self.code {
            FaultCode::InvalidJsonLine => "write one JSON object a line, without line breaks in it",
            FaultCode::InvalidUtf8 => "save the file as UTF-8",
            FaultCode::MissingRequiredParameter => {
                "each line needs custom_id, method, url and body"
            }
            FaultCode::InvalidType | FaultCode::InvalidValue => return None,
            FaultCode::InvalidUrl => "all lines of a batch go to one endpoint; split the file",
            FaultCode::InvalidMethod => "write \"method\": \"POST\"",
            FaultCode::DuplicateCustomId => "give each line its own custom_id",
            FaultCode::DuplicateKey => "keep the one that is meant; readers differ in which wins",
            FaultCode::AmbiguousKey => {
                "write the key plainly, in small letters and without escapes; readers differ in what it is"
            }
            FaultCode::MismatchedModel => "put each model into a file of its own",
            FaultCode::ModelNotFound => "name a model that the server lists (GET /v1/models)",
            FaultCode::ModelRequired => "name a model in each body, or give one with --model",
            FaultCode::MessagesRequired => "give the body a list of messages",
            FaultCode::StreamingUnsupported => "take \"stream\" out of the body",
            FaultCode::LineTooLong => "shorten the request, or link to large content by URL",
            FaultCode::TooManyLines | FaultCode::FileTooLarge => "split the file",
            FaultCode::EmptyFile => "put at least one request into the file",
            FaultCode::TooManyEmbeddingInputs => "split the file by number of inputs",
        })
    }

    /// The fault for a duplicate that only showed at the end of the file, when the id itself is
    /// no longer at hand.
    #[must_use]
    pub fn late_duplicate(line: u64, first_line: u64) -> Self {
        let message = format!("The custom_id was already used on line {first_line}.");
        Self::at(line, FaultCode::DuplicateCustomId, "custom_id", message)
    }

    pub(super) fn whole_line(line: u64, code: FaultCode, message: impl Into<String>) -> Self {
        Self {
            line: Some(line),
            code,
            param: None,
            message: message.into(),
        }
    }

    pub(super) fn at(
        line: u64,
        code: FaultCode,
        param: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            line: Some(line),
            code,
            param: Some(param.into()),
            message: message.into(),
        }
    }

    pub(super) fn of_file(code: FaultCode, message: impl Into<String>) -> Self {
        Self {
            line: None,
            code,
            param: None,
            message: message.into(),
        }
    }

    pub(super) fn missing(line: u64, param: &'static str) -> Self {
        let message = format!("Missing required parameter: '{param}'.");
        Self::at(line, FaultCode::MissingRequiredParameter, param, message)
    }

    pub(super) fn wrong_type(
        line: u64,
        param: &'static str,
        wanted: &'static str,
        got: &'static str,
    ) -> Self {
        let message =
            format!("Invalid type for '{param}': expected {wanted}, but got {got} instead.");
        Self::at(line, FaultCode::InvalidType, param, message)
    }

    pub(super) fn not_text(line: u64, param: &'static str) -> Self {
        let message = format!("Invalid value for '{param}': half of a surrogate pair is not text.");
        Self::at(line, FaultCode::InvalidValue, param, message)
    }

    pub(super) fn model_required(line: u64) -> Self {
        let message = "Model parameter is required.";
        Self::at(line, FaultCode::ModelRequired, "body.model", message)
    }

    pub(super) fn streaming(line: u64, asks: Asks) -> Self {
        let message = match asks {
            Asks::Messages => "Chat Completions: Streaming is not supported in the Batch API.",
            Asks::Embeddings | Asks::Otherwise => "Streaming is not supported in the Batch API.",
        };
        Self::at(
            line,
            FaultCode::StreamingUnsupported,
            "body.stream",
            message,
        )
    }
}

/// The most characters of a user's text that a message repeats: enough to find it, and a line
/// that is all id does not become a message of that size.
const SHOWN_CHARS: usize = 200;

/// The start of a text for use in a message.
pub(super) fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}
