//! The form of an upload: fields in any order, the file's bytes on their way to storage as they
//! come.

use std::error::Error as _;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use ditto_llm::wire::FileObject;
use multer::{Field, Multipart};

use super::error::{Answer, Failure, Problem};
use super::incoming::{Broken, Incoming, Progress};
use super::json::{self, Object};
use super::params::{missing, unknown_value, whole};
use crate::service::{FileDescription, Service, Upload};

/// What a client may upload a file for. Only `batch` is of use here; a client that keeps its other
/// files beside them is let.
pub(super) const PURPOSES: &[&str] = &[
    "assistants",
    "batch",
    "fine-tune",
    "vision",
    "user_data",
    "evals",
];
/// A form has four fields; one with hundreds is no form of ours.
const MAX_PARTS: usize = 32;
/// Bytes of a field that is not the file.
const MAX_FIELD: usize = 4096;
/// Bytes of a file's name: what file systems allow.
const MAX_NAME: usize = 255;
/// What boundaries, headers and the other fields may add to a file's size.
const FORM_OVERHEAD: u64 = 1 << 20;
/// A first line is read up to here; a longer one is left to validation.
const MAX_FIRST_LINE: usize = 1 << 20;

/// Takes a whole upload, or leaves nothing behind.
pub(super) async fn receive(
    service: &Service,
    tenant: &str,
    headers: &HeaderMap,
    incoming: &mut Incoming,
) -> Answer<FileObject> {
    let boundary = boundary(headers)?;
    refuse_oversize(headers, service.config.limits.file_bytes)?;
    let progress = incoming.progress();
    let mut parts = Multipart::new(incoming, boundary);
    let mut fields = Fields::default();
    let mut file = None;
    let mut count = 0;
    while let Some(mut part) = parts.next_field().await.map_err(broken_form)? {
        progress.made();
        count += 1;
        if count > MAX_PARTS {
            return Err(Failure::invalid(format!(
                "The form has more than {MAX_PARTS} parts."
            )));
        }
        match part.name().map(str::to_owned).as_deref() {
            Some("file") if file.is_some() => {
                return Err(
                    Failure::invalid("The form has more than one part 'file'.").with_param("file")
                );
            }
            Some("file") => {
                file = Some(store(service, tenant, &fields, &mut part, &progress).await?);
            }
            Some(name) => fields.set(name, &mut part).await?,
            None => return Err(Failure::invalid("A part of the form has no name.")),
        }
    }
    let file = file.ok_or_else(|| missing("file"))?;
    file.finish(fields).await
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

/// Spares a client the sending of what will be refused.
fn refuse_oversize(headers: &HeaderMap, limit: u64) -> Answer<()> {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > limit.saturating_add(FORM_OVERHEAD)) {
        return Err(Failure::new(
            Problem::TooLarge,
            format!("The file is larger than the limit of {limit} bytes."),
        )
        .with_code("file_too_large")
        .with_param("file"));
    }
    Ok(())
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

/// The fields of the form that are not the file.
#[derive(Debug, Default)]
struct Fields {
    purpose: Option<String>,
    anchor: Option<String>,
    seconds: Option<String>,
    expires_after: Option<String>,
}

impl Fields {
    async fn set(&mut self, name: &str, part: &mut Field<'_>) -> Answer<()> {
        let slot = match name {
            "purpose" => &mut self.purpose,
            "expires_after[anchor]" | "expires_after.anchor" => &mut self.anchor,
            "expires_after[seconds]" | "expires_after.seconds" => &mut self.seconds,
            "expires_after" => &mut self.expires_after,
            // Other providers' fields; the form skips what nobody reads.
            _ => return Ok(()),
        };
        *slot = Some(text(name, part).await?);
        Ok(())
    }

    /// Refuses a purpose that we do not know.
    fn purpose(&self) -> Answer<Option<&str>> {
        match self.purpose.as_deref() {
            Some(purpose) if !PURPOSES.contains(&purpose) => {
                Err(unknown_value("purpose", purpose, PURPOSES))
            }
            purpose => Ok(purpose),
        }
    }

    fn lifetime(&self) -> Answer<Option<Duration>> {
        if let Some(json) = &self.expires_after {
            let whole = format!("{{\"expires_after\":{json}}}");
            return Object::read(whole.as_bytes())
                .map_err(|_| not_an_expiry())?
                .expiry("expires_after");
        }
        let (anchor, seconds) = match (&self.anchor, &self.seconds) {
            (None, None) => return Ok(None),
            (None, Some(_)) => return Err(missing("expires_after.anchor")),
            (Some(_), None) => return Err(missing("expires_after.seconds")),
            (Some(anchor), Some(seconds)) => (anchor, seconds),
        };
        let seconds = whole(seconds.trim()).ok_or_else(|| {
            Failure::invalid(format!(
                "Invalid type for 'expires_after.seconds': expected an integer, but got '{seconds}' \
                 instead."
            ))
            .with_param("expires_after.seconds")
            .with_code("invalid_type")
        })?;
        json::lifetime("expires_after", anchor, seconds).map(Some)
    }
}

fn not_an_expiry() -> Failure {
    Failure::invalid("Invalid type for 'expires_after': expected an object.")
        .with_param("expires_after")
        .with_code("invalid_type")
}

async fn text(name: &str, part: &mut Field<'_>) -> Answer<String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = part.chunk().await.map_err(broken_form)? {
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

/// A file whose bytes are stored, under no name yet.
#[derive(Debug)]
struct Stored {
    upload: Upload,
    filename: String,
    first_line: FirstLine,
}

/// Moves the bytes of the file to storage. If the purpose came before them, a file that cannot be
/// a batch input is refused as soon as that shows.
async fn store(
    service: &Service,
    tenant: &str,
    fields: &Fields,
    part: &mut Field<'_>,
    progress: &Progress,
) -> Answer<Stored> {
    let filename = filename(part)?;
    let is_input = fields.purpose()? == Some("batch");
    if is_input {
        check_extension(&filename)?;
    }
    let mut first_line = FirstLine::default();
    let mut upload = service.upload(tenant).await?;
    while let Some(chunk) = part.chunk().await.map_err(broken_form)? {
        progress.made();
        first_line.feed(&chunk);
        if is_input && first_line.is_whole() {
            first_line.check()?;
        }
        upload.write(&chunk).await?;
    }
    first_line.end();
    Ok(Stored {
        upload,
        filename,
        first_line,
    })
}

fn filename(part: &Field<'_>) -> Answer<String> {
    let name = part.file_name().unwrap_or_default();
    if name.is_empty() {
        return Err(Failure::invalid("The part 'file' has no filename.").with_param("file"));
    }
    if name.len() > MAX_NAME {
        return Err(
            Failure::invalid(format!("The filename is longer than {MAX_NAME} bytes."))
                .with_param("file"),
        );
    }
    Ok(name.to_owned())
}

impl Stored {
    async fn finish(self, fields: Fields) -> Answer<FileObject> {
        let (purpose, expires_after) = match self.check(&fields) {
            Ok(checked) => checked,
            Err(failure) => {
                self.upload.abandon().await?;
                return Err(failure);
            }
        };
        let description = FileDescription {
            filename: self.filename,
            purpose,
            expires_after,
        };
        Ok(self.upload.finish(description).await?)
    }

    fn check(&self, fields: &Fields) -> Answer<(String, Option<Duration>)> {
        let purpose = fields.purpose()?.ok_or_else(|| missing("purpose"))?;
        if purpose == "batch" {
            check_extension(&self.filename)?;
            self.first_line.check()?;
        }
        Ok((purpose.to_owned(), fields.lifetime()?))
    }
}

/// A name without an extension says nothing against the file: SDKs that are given bytes and no name
/// send `upload`.
fn check_extension(filename: &str) -> Answer<()> {
    let may_be_jsonl = filename
        .rsplit_once('.')
        .is_none_or(|(_, extension)| extension.eq_ignore_ascii_case("jsonl"));
    if may_be_jsonl {
        return Ok(());
    }
    Err(Failure::invalid(
        "Invalid file format for Batch API. Must be .jsonl",
    ))
}

/// The first line that is not blank: all that OpenAI looks at before a batch is made.
#[derive(Debug, Default)]
struct FirstLine {
    bytes: Vec<u8>,
    state: Reading,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Reading {
    #[default]
    Begun,
    Whole,
    TooLong,
}

impl FirstLine {
    fn feed(&mut self, mut chunk: &[u8]) {
        while self.state == Reading::Begun && !chunk.is_empty() {
            let (line, rest, ended) = match memchr::memchr(b'\n', chunk) {
                Some(at) => (&chunk[..at], &chunk[at + 1..], true),
                None => (chunk, &[][..], false),
            };
            chunk = rest;
            if self.bytes.len() + line.len() > MAX_FIRST_LINE {
                self.bytes = Vec::new();
                self.state = Reading::TooLong;
                return;
            }
            self.bytes.extend_from_slice(line);
            if ended && self.content().is_empty() {
                self.bytes.clear();
            } else if ended {
                self.state = Reading::Whole;
            }
        }
    }

    fn end(&mut self) {
        if self.state == Reading::Begun {
            self.state = Reading::Whole;
        }
    }

    fn is_whole(&self) -> bool {
        self.state == Reading::Whole
    }

    fn content(&self) -> &[u8] {
        self.bytes
            .strip_prefix(b"\xEF\xBB\xBF")
            .unwrap_or(&self.bytes)
            .trim_ascii()
    }

    fn check(&self) -> Answer<()> {
        if self.state == Reading::TooLong {
            return Ok(());
        }
        let problem = if self.content().is_empty() {
            "the file is empty"
        } else if serde_json::from_slice::<serde::de::IgnoredAny>(self.content()).is_err() {
            "the first line is not valid JSON"
        } else {
            return Ok(());
        };
        Err(Failure::invalid(format!(
            "Invalid file format for Batch API. Must be .jsonl: {problem}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(chunks: &[&[u8]]) -> bool {
        let mut line = FirstLine::default();
        for chunk in chunks {
            line.feed(chunk);
        }
        line.end();
        line.check().is_ok()
    }

    #[test]
    fn the_first_line_with_anything_on_it_must_be_json() {
        let good: [&[&[u8]]; 6] = [
            &[b"{}"],
            &[b"{\"a\"", b":1}\n", b"nonsense"],
            &[b"\xEF\xBB\xBF{}\r\n"],
            &[b"\n", b" \t\r\n{}", b"\n"],
            &[b"[1]\n"],
            &[b"\"", &[b'x'; MAX_FIRST_LINE]],
        ];
        let bad: [&[&[u8]]; 6] = [
            &[],
            &[b""],
            &[b"\n \r\n"],
            &[b"id,text\n{}"],
            &[b"{\n}"],
            &[b"\xEF\xBB\xBF"],
        ];
        for chunks in good {
            assert!(verdict(chunks), "{:?}", chunks.first());
        }
        for chunks in bad {
            assert!(!verdict(chunks), "{chunks:?}");
        }
    }

    #[test]
    fn a_lifetime_has_three_spellings() {
        let week = Duration::from_secs(604_800);
        let halves = Fields {
            anchor: Some("created_at".to_owned()),
            seconds: Some("604800".to_owned()),
            ..Fields::default()
        };
        let json = Fields {
            expires_after: Some(r#"{"anchor":"created_at","seconds":604800}"#.to_owned()),
            ..Fields::default()
        };
        assert_eq!(halves.lifetime().unwrap(), Some(week));
        assert_eq!(json.lifetime().unwrap(), Some(week));
        assert_eq!(Fields::default().lifetime().unwrap(), None);
    }
}
