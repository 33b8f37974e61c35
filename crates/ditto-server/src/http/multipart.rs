//! A form: its parts one after the other, each in chunks as they come.

use std::error::Error as _;

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use multer::{Field, Multipart};

use super::coding::{expect_plain, expect_plain_part};
use super::error::{Answer, Failure, Problem};
use super::incoming::{Broken, Incoming, Progress};
use crate::service::too_large;

/// A form has four fields; one with hundreds is no form of ours.
const MAX_PARTS: usize = 32;
/// Bytes of a field that is not the file.
const MAX_FIELD: usize = 4096;
/// What boundaries, headers and the other fields may add to the size of a file.
const FORM_OVERHEAD: u64 = 1 << 20;

/// What of a form holds bytes, and how many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Payload {
    /// The name of its part.
    pub(super) name: &'static str,
    /// What it is called past the limit.
    pub(super) noun: &'static str,
    pub(super) limit: u64,
}

/// A form on its way in.
#[derive(Debug)]
pub(super) struct Form<'r> {
    parts: Multipart<'r>,
    progress: Progress,
    count: usize,
}

/// A part of it.
#[derive(Debug)]
pub(super) struct Part<'r> {
    field: Field<'r>,
    progress: Progress,
}

impl<'r> Form<'r> {
    /// The form in this body. Spares a client the sending of what will be refused.
    pub(super) fn open(
        headers: &HeaderMap,
        incoming: &'r mut Incoming,
        payload: Payload,
    ) -> Answer<Self> {
        let boundary = boundary(headers)?;
        expect_plain(headers)?;
        let length = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok()?.parse().ok());
        let Payload { name, noun, limit } = payload;
        if length.is_some_and(|length: u64| length > limit.saturating_add(FORM_OVERHEAD)) {
            return Err(too_large(noun, name, limit).into());
        }
        let progress = incoming.progress();
        Ok(Self {
            parts: Multipart::new(incoming, boundary),
            progress,
            count: 0,
        })
    }

    /// The next part and its name. What was not read of the one before is skipped.
    pub(super) async fn next(&mut self) -> Answer<Option<(String, Part<'r>)>> {
        let Some(field) = self.parts.next_field().await.map_err(broken_form)? else {
            return Ok(None);
        };
        self.progress.made();
        self.count += 1;
        if self.count > MAX_PARTS {
            return Err(Failure::invalid(format!(
                "The form has more than {MAX_PARTS} parts."
            )));
        }
        let name = name_of(&field)?;
        expect_plain_part(&name, field.headers())?;
        let progress = self.progress.clone();
        Ok(Some((name, Part { field, progress })))
    }
}

impl Part<'_> {
    /// What the client calls it; empty if it says nothing.
    pub(super) fn filename(&self) -> Answer<&str> {
        match self.field.file_name() {
            Some(filename) => Ok(filename),
            None if is_text(&self.field) => Ok(""),
            None => Err(not_utf8("The filename")),
        }
    }

    /// The next bytes.
    pub(super) async fn chunk(&mut self) -> Answer<Option<Bytes>> {
        let chunk = self.field.chunk().await.map_err(broken_form)?;
        self.progress.made();
        Ok(chunk)
    }

    /// A small one, whole; `name` is what it is called in a refusal.
    pub(super) async fn text(&mut self, name: &str) -> Answer<String> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if bytes.len() + chunk.len() > MAX_FIELD {
                return Err(Failure::invalid(format!(
                    "Invalid '{name}': string too long. Expected at most {MAX_FIELD} bytes."
                ))
                .with_param(name.to_owned())
                .with_code("string_above_max_length"));
            }
            bytes.extend_from_slice(&chunk);
        }
        String::from_utf8(bytes).map_err(|_| {
            Failure::invalid(format!("Invalid '{name}': not valid UTF-8."))
                .with_param(name.to_owned())
                .with_code("invalid_value")
        })
    }
}

fn name_of(field: &Field<'_>) -> Answer<String> {
    match field.name() {
        Some(name) => Ok(name.to_owned()),
        None if is_text(field) => Err(Failure::invalid("A part of the form has no name.")),
        None => Err(not_utf8("The name of a part of the form")),
    }
}

/// Of a part whose names are no text the reader says that it has none.
fn is_text(field: &Field<'_>) -> bool {
    let disposition = field.headers().get(header::CONTENT_DISPOSITION);
    disposition.is_none_or(|names| std::str::from_utf8(names.as_bytes()).is_ok())
}

fn not_utf8(what: &str) -> Failure {
    Failure::invalid(format!("{what} is not valid UTF-8."))
}

/// The same part twice, of which only one can be meant.
pub(super) fn twice(name: &str) -> Failure {
    Failure::invalid(format!("The form has more than one part '{name}'."))
        .with_param(name.to_owned())
}

fn boundary(headers: &HeaderMap) -> Answer<String> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok());
    multer::parse_boundary(content_type.unwrap_or_default()).map_err(|_| {
        Failure::new(
            Problem::WrongMediaType,
            "An upload is a form: 'Content-Type: multipart/form-data' with a boundary.",
        )
        .with_code("unsupported_content_type")
    })
}

fn broken_form(error: multer::Error) -> Failure {
    match error
        .source()
        .and_then(|source| source.downcast_ref::<Broken>())
    {
        Some(broken) => Failure::from(broken),
        None => Failure::invalid(format!("The form cannot be read: {error}.")),
    }
}
