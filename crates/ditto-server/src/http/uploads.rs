//! `/v1/uploads`: a file that comes in parts.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use ditto_llm::wire::{UploadObject, UploadPartObject};

use super::auth::Tenant;
use super::error::{Answer, Failure};
use super::file_form::{check_purpose, unfit_name};
use super::incoming::Incoming;
use super::json::{Object, expect_json};
use super::multipart::{Form, Payload, twice};
use super::once::{FormKey, once, once_about};
use super::params::{Id, in_bounds, missing};
use crate::service::{
    CompleteRequest, FileDescription, Once, PART_BYTES, PARTS, Service, UploadRequest,
    check_extension,
};

/// Far over what the ids of all parts can fill.
const MAX_BODY: usize = 1 << 20;
/// Hexadecimal digits of an md5.
const MD5_DIGITS: usize = 32;

/// `POST /v1/uploads`
pub(super) async fn create(
    State(service): State<Service>,
    tenant: Tenant,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<UploadObject>> {
    let request = read(&headers, body, async |body| {
        expect_json(&headers)?;
        description(&headers, &body, service.config.limits.file_bytes)
    });
    let upload = service.create_upload(tenant.name(), request.await?).await?;
    Ok(Json(upload))
}

/// A small body, and what it means. What is left of a refused one is read on for a while, so that the
/// client gets to read why.
async fn read<T>(
    headers: &HeaderMap,
    body: Body,
    meaning: impl AsyncFnOnce(Vec<u8>) -> Answer<T>,
) -> Answer<T> {
    let mut incoming = Incoming::new(headers, body);
    let read = match incoming.whole(MAX_BODY).await {
        Ok(body) => meaning(body).await,
        Err(failure) => Err(failure),
    };
    if read.is_err() {
        incoming.drain().await;
    }
    read
}

fn description(headers: &HeaderMap, body: &[u8], limit: u64) -> Answer<UploadRequest> {
    let mut fields = Object::read(body)?;
    let once = once(headers, &mut fields)?;
    let filename = fields.text("filename")?;
    check_filename(&filename)?;
    let purpose = fields.text("purpose")?;
    check_purpose(&purpose)?;
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let bytes = in_bounds("bytes", &fields.integer("bytes")?, 1, most)?;
    // Has to be there, as at OpenAI; what a file is we tell by its name.
    fields.text("mime_type")?;
    if purpose == "batch" {
        check_extension(&filename)?;
    }
    Ok(UploadRequest {
        file: FileDescription {
            filename,
            purpose,
            expires_after: fields.expiry("expires_after")?,
        },
        bytes: bytes.unsigned_abs(),
        once: Some(once),
    })
}

fn check_filename(name: &str) -> Answer<()> {
    let problem = match name {
        "" => "The filename is empty.".to_owned(),
        name => match unfit_name(name) {
            None => return Ok(()),
            Some(problem) => problem,
        },
    };
    Err(Failure::invalid(problem)
        .with_param("filename")
        .with_code("invalid_value"))
}

/// `POST /v1/uploads/{id}/parts`
pub(super) async fn add_part(
    State(service): State<Service>,
    tenant: Tenant,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<UploadPartObject>> {
    let mut incoming = Incoming::new(&headers, body);
    let part = receive(&service, tenant.name(), &id, &headers, &mut incoming).await;
    if part.is_err() {
        incoming.drain().await;
    }
    part.map(Json)
}

/// Takes a whole part, or leaves nothing behind.
async fn receive(
    service: &Service,
    tenant: &str,
    upload: &str,
    headers: &HeaderMap,
    incoming: &mut Incoming,
) -> Answer<UploadPartObject> {
    let payload = Payload {
        name: "data",
        noun: "part",
        limit: PART_BYTES,
    };
    let mut form = Form::open(headers, incoming, payload)?;
    let mut key = FormKey::of(headers)?;
    let mut data = None;
    while let Some((name, mut part)) = form.next().await? {
        match name.as_str() {
            "data" if data.is_some() => return Err(twice("data")),
            "data" => {
                let mut bytes = service.upload_part(tenant, upload, key.settle()).await?;
                while let Some(chunk) = part.chunk().await? {
                    bytes.write(&chunk).await?;
                }
                data = Some(bytes);
            }
            name if FormKey::is_in(name) => key.read(&mut part).await?,
            // The form skips what nobody reads.
            _ => {}
        }
    }
    let data = data.ok_or_else(|| missing("data"))?;
    Ok(data.finish().await?)
}

/// `POST /v1/uploads/{id}/complete`
pub(super) async fn complete(
    State(service): State<Service>,
    tenant: Tenant,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<UploadObject>> {
    let request = read(&headers, body, async |body| {
        expect_json(&headers)?;
        let mut fields = Object::read(&body)?;
        let once = once_about(&id, &headers, &mut fields)?;
        Ok(CompleteRequest {
            part_ids: fields.texts("part_ids", PARTS as usize)?,
            md5: fields
                .optional_text("md5")?
                .map(|md5| digest(&md5))
                .transpose()?,
            once: Some(once),
        })
    });
    let request = request.await?;
    let upload = service.complete_upload(tenant.name(), &id, request).await?;
    Ok(Json(upload))
}

fn digest(md5: &str) -> Answer<[u8; 16]> {
    let number = u128::from_str_radix(md5, 16).ok();
    let all_digits = md5.bytes().all(|b| b.is_ascii_hexdigit());
    match number {
        Some(number) if md5.len() == MD5_DIGITS && all_digits => Ok(number.to_be_bytes()),
        _ => Err(
            Failure::invalid("Invalid 'md5': expected 32 hexadecimal digits.")
                .with_param("md5")
                .with_code("invalid_value"),
        ),
    }
}

/// `POST /v1/uploads/{id}/cancel`. There need be no body.
pub(super) async fn cancel(
    State(service): State<Service>,
    tenant: Tenant,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<UploadObject>> {
    let once = read(&headers, body, async |body| cancelled(&id, &headers, &body)).await?;
    let upload = service
        .cancel_upload(tenant.name(), &id, Some(once))
        .await?;
    Ok(Json(upload))
}

fn cancelled(id: &str, headers: &HeaderMap, body: &[u8]) -> Answer<Once> {
    if body.trim_ascii().is_empty() {
        return once_about(id, headers, &mut Object::empty());
    }
    expect_json(headers)?;
    once_about(id, headers, &mut Object::read(body)?)
}
