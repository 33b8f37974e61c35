//! The form of a file: fields in any order, the file's bytes on their way to storage as they come.

use std::time::Duration;

use axum::http::HeaderMap;
use ditto_llm::wire::FileObject;

use super::error::{Answer, Failure};
use super::incoming::Incoming;
use super::json::{self, Object, repeated};
use super::multipart::{Form, Part, Payload, twice};
use super::once::FormKey;
use super::params::{missing, unknown_value, whole};
use super::unique::{self, Unread};
use crate::service::{FileDescription, FirstLine, Service, Upload, check_extension};

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
/// Bytes of a file's name: what file systems allow.
const MAX_NAME: usize = 255;

/// Takes a whole upload, or leaves nothing behind.
pub(super) async fn receive(
    service: &Service,
    tenant: &str,
    headers: &HeaderMap,
    incoming: &mut Incoming,
) -> Answer<FileObject> {
    let payload = Payload {
        name: "file",
        noun: "file",
        limit: service.config.limits.file_bytes,
    };
    let mut form = Form::open(headers, incoming, payload)?;
    let mut key = FormKey::of(headers)?;
    let mut fields = Fields::default();
    let mut file = None;
    while let Some((name, mut part)) = form.next().await? {
        match name.as_str() {
            "file" if file.is_some() => return Err(twice("file")),
            "file" => {
                file = Some(store(service, tenant, key.settle(), &fields, &mut part).await?);
            }
            name if FormKey::is_in(name) => key.read(&mut part).await?,
            name => fields.set(name, &mut part).await?,
        }
    }
    let file = file.ok_or_else(|| missing("file"))?;
    file.finish(fields).await
}

/// An error for a purpose that we do not know.
pub(super) fn check_purpose(purpose: &str) -> Answer<()> {
    match PURPOSES.contains(&purpose) {
        true => Ok(()),
        false => Err(unknown_value("purpose", purpose, PURPOSES)),
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
    async fn set(&mut self, name: &str, part: &mut Part<'_>) -> Answer<()> {
        let slot = match name {
            "purpose" => &mut self.purpose,
            "expires_after[anchor]" | "expires_after.anchor" => &mut self.anchor,
            "expires_after[seconds]" | "expires_after.seconds" => &mut self.seconds,
            "expires_after" => &mut self.expires_after,
            // Other providers' fields; the form skips what nobody reads.
            _ => return Ok(()),
        };
        let text = part.text(name).await?;
        // Of two, one reader takes the first and another the last.
        match slot.replace(text) {
            None => Ok(()),
            Some(_) => Err(twice(name)),
        }
    }

    /// Refuses a purpose that we do not know.
    fn purpose(&self) -> Answer<Option<&str>> {
        let purpose = self.purpose.as_deref();
        purpose.map_or(Ok(()), check_purpose)?;
        Ok(purpose)
    }

    fn lifetime(&self) -> Answer<Option<Duration>> {
        if let Some(json) = &self.expires_after {
            if self.anchor.is_some() || self.seconds.is_some() {
                return Err(twice("expires_after"));
            }
            return in_json(json);
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
        json::lifetime("expires_after", anchor, &seconds).map(Some)
    }
}

/// A lifetime as one field has it.
fn in_json(text: &str) -> Answer<Option<Duration>> {
    match unique::read(text.as_bytes()) {
        Ok(json) => Object::of("expires_after", json).expiry("expires_after"),
        Err(Unread::Repeated(key)) => Err(repeated(&format!("expires_after.{key}"))),
        Err(Unread::NotJson(_)) => Err(not_an_expiry()),
    }
}

fn not_an_expiry() -> Failure {
    Failure::invalid("Invalid type for 'expires_after': expected an object.")
        .with_param("expires_after")
        .with_code("invalid_type")
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
    key: Option<String>,
    fields: &Fields,
    part: &mut Part<'_>,
) -> Answer<Stored> {
    let filename = part
        .filename()
        .map_err(|failure| failure.with_param("file"))?;
    let filename = filename.to_owned();
    check_filename(&filename)?;
    let is_input = fields.purpose()? == Some("batch");
    if is_input {
        check_extension(&filename)?;
    }
    let mut first_line = FirstLine::default();
    let mut upload = service.upload_under(tenant, key).await?;
    while let Some(chunk) = part.chunk().await? {
        first_line.feed(&chunk);
        if is_input && first_line.is_known() {
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

fn check_filename(name: &str) -> Answer<()> {
    let problem = match name {
        "" => "The part 'file' has no filename.".to_owned(),
        name => match unfit_name(name) {
            None => return Ok(()),
            Some(problem) => problem,
        },
    };
    Err(Failure::invalid(problem).with_param("file"))
}

/// What is wrong with a name that there is. It is a text, and is shown as one: on terminals, too.
pub(super) fn unfit_name(name: &str) -> Option<String> {
    if name.len() > MAX_NAME {
        return Some(format!("The filename is longer than {MAX_NAME} bytes."));
    }
    let is_shown = !name.contains(char::is_control);
    (!is_shown).then(|| "The filename has control characters in it.".to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

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
