//! An upload: a multipart form whose file goes to disk as it comes.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use multer::{Field, Multipart};

use crate::envelope::Complaint;
use crate::provider::End;

/// A form that has arrived whole.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) filename: String,
    pub(crate) purpose: String,
    pub(crate) expires_after: Option<u64>,
}

/// Longer than any form field but the file.
const MAX_FIELD: usize = 4096;

/// Reads the form to its end; the file lies in `folder` then.
pub(crate) async fn receive(
    request: Request<Incoming>,
    folder: &Path,
    max_bytes: Option<u64>,
) -> Result<Upload, End> {
    let boundary = request.headers().get(CONTENT_TYPE);
    let boundary = boundary
        .and_then(|value| value.to_str().ok())
        .and_then(|value| multer::parse_boundary(value).ok())
        .ok_or_else(|| Complaint::invalid("The body must be multipart/form-data."))?;
    let mut form = Multipart::new(request.into_body().into_data_stream(), boundary);
    let mut upload = Upload::default();
    while let Some(field) = form.next_field().await.map_err(broken)? {
        match field.name().unwrap_or_default() {
            "file" => {
                upload.filename = field.file_name().unwrap_or("upload.jsonl").to_owned();
                let (path, bytes) = to_disk(field, folder, max_bytes).await?;
                (upload.path, upload.bytes) = (path, bytes);
            }
            "purpose" => upload.purpose = text(field).await?,
            "expires_after[seconds]" | "expires_after.seconds" => {
                upload.expires_after = text(field).await?.parse().ok();
            }
            _ => drop(text(field).await?),
        }
    }
    check(&upload)?;
    Ok(upload)
}

fn check(upload: &Upload) -> Result<(), Complaint> {
    if upload.path.as_os_str().is_empty() {
        return Err(missing("file"));
    }
    if upload.purpose.is_empty() {
        return Err(missing("purpose"));
    }
    Ok(())
}

fn missing(name: &'static str) -> Complaint {
    let complaint = Complaint::invalid(format!("Missing required parameter: '{name}'."));
    complaint
        .with_param(name)
        .with_code("missing_required_parameter")
}

fn broken(error: multer::Error) -> Complaint {
    Complaint::invalid(format!("The form could not be read: {error}."))
}

async fn text(mut field: Field<'_>) -> Result<String, Complaint> {
    let mut text = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(broken)? {
        text.extend_from_slice(&chunk);
        if text.len() > MAX_FIELD {
            return Err(Complaint::invalid("A field of the form is too long."));
        }
    }
    String::from_utf8(text).map_err(|_| Complaint::invalid("A field of the form is not UTF-8."))
}

async fn to_disk(
    mut field: Field<'_>,
    folder: &Path,
    max_bytes: Option<u64>,
) -> Result<(PathBuf, u64), End> {
    let file = tempfile::Builder::new()
        .prefix("upload-")
        .tempfile_in(folder)?;
    let (mut file, path) = file.into_parts();
    let mut bytes = 0;
    // An upload that breaks off leaves no file: the path deletes it when it is dropped.
    while let Some(chunk) = field.chunk().await.map_err(broken)? {
        File::write_all(&mut file, &chunk)?;
        bytes += chunk.len() as u64;
    }
    // Read to its end, so that the client hears of it and meets no closed connection.
    if let Some(max) = max_bytes.filter(|max| bytes > *max) {
        let message = format!("The file has {bytes} bytes; {max} are allowed.");
        return Err(Complaint::invalid(message).with_status(413).into());
    }
    let path = path.keep().map_err(|error| error.error)?;
    Ok((path, bytes))
}
