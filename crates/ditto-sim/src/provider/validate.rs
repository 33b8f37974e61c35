//! The check of an input file, as a provider does it before any line runs.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::ask::Question;
use crate::provider::batch::Order;
use crate::provider::lines::{Line, each_line};

/// What a sound file holds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) lines: u64,
    /// Of all prompts, as they count against the limit of enqueued tokens; 0 if they are not counted.
    pub(crate) tokens: u64,
}

/// What a file may hold.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) lines: Option<u64>,
    pub(crate) line_bytes: Option<u64>,
    /// Tokens are counted only where they are limited: it means reading every prompt.
    pub(crate) counts_tokens: bool,
}

impl Limits {
    fn allow(self, line: &[u8]) -> Result<(), BadLine> {
        match self.line_bytes {
            Some(max) if line.len() as u64 > max => Err(BadLine {
                code: "invalid_request",
                param: None,
                message: format!("The line has {} bytes; {max} are allowed.", line.len()),
            }),
            Some(_) | None => Ok(()),
        }
    }
}

/// More are not told; a file that is wrong throughout would fill memory.
const MAX_ERRORS: usize = 100;

/// Checks every line; the error holds what is wrong, as the batch object tells it.
pub(crate) fn check(
    path: &Path,
    order: &Order,
    limits: Limits,
) -> io::Result<Result<Found, Vec<Value>>> {
    let mut found = Found::default();
    let mut errors = Vec::new();
    let mut ids = HashSet::new();
    each_line(path, |number, bytes| {
        found.lines += 1;
        let checked = limits
            .allow(bytes)
            .and_then(|()| check_line(bytes, order, limits, &mut ids));
        match checked {
            Ok(tokens) => found.tokens += tokens,
            Err(fault) if errors.len() < MAX_ERRORS => errors.push(fault.at(number)),
            Err(_) => {}
        }
        Ok(())
    })?;
    if found.lines == 0 {
        errors.push(batch_error("empty_file", "The input file is empty."));
    }
    if limits.lines.is_some_and(|max| found.lines > max) {
        let message = format!("The batch has {} lines, too many.", found.lines);
        errors.push(batch_error("too_many_tasks", &message));
    }
    Ok(if errors.is_empty() {
        Ok(found)
    } else {
        Err(errors)
    })
}

/// What is wrong with a line.
struct BadLine {
    code: &'static str,
    param: Option<&'static str>,
    message: String,
}

impl BadLine {
    fn at(self, line: u64) -> Value {
        let Self {
            code,
            param,
            message,
        } = self;
        json!({"code": code, "line": line, "message": message, "param": param})
    }
}

/// An error of the batch as a whole.
pub(crate) fn batch_error(code: &str, message: &str) -> Value {
    json!({"code": code, "line": null, "message": message, "param": null})
}

/// Tells how many tokens the line's prompt has.
fn check_line(
    bytes: &[u8],
    order: &Order,
    limits: Limits,
    ids: &mut HashSet<u64>,
) -> Result<u64, BadLine> {
    let line = Line::read(bytes).ok_or_else(|| BadLine {
        code: "invalid_json_line",
        param: None,
        message: "This line is not parseable as valid JSON.".into(),
    })?;
    let id = line.id_token();
    if !id.starts_with('"') {
        return Err(missing("custom_id"));
    }
    if !ids.insert(xxh3_64(id.as_bytes())) {
        return Err(BadLine {
            code: "duplicate_custom_id",
            param: Some("custom_id"),
            message: format!("The custom_id {id} is not unique in this file."),
        });
    }
    match line.method.as_deref() {
        Some("POST") => {}
        Some(other) => {
            return Err(BadLine {
                code: "invalid_method",
                param: Some("method"),
                message: format!("Invalid value: '{other}'. Supported values are: 'POST'"),
            });
        }
        None => return Err(missing("method")),
    }
    match line.url.as_deref() {
        Some(url) if url == order.endpoint => {}
        Some(_) => {
            return Err(BadLine {
                code: "invalid_url",
                param: Some("url"),
                message: "The URL provided for this request does not match the batch endpoint."
                    .into(),
            });
        }
        None => return Err(missing("url")),
    }
    if line.body.is_none() {
        return Err(missing("body"));
    }
    if !limits.counts_tokens {
        return Ok(0);
    }
    // What the model would not take becomes the line's own failure when it is run.
    Ok(Question::read(order.asks, line.body_bytes()).map_or(0, |question| question.tokens()))
}

fn missing(param: &'static str) -> BadLine {
    BadLine {
        code: "missing_required_parameter",
        param: Some(param),
        message: format!("Missing required parameter: '{param}'."),
    }
}
