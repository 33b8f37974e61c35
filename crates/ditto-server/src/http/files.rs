//! `/v1/files`

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ditto_llm::wire::{DeletedFile, FileObject, Page};
use futures_util::TryStreamExt;
use schemars::JsonSchema;
use serde::Deserialize;

use super::auth::Tenant;
use super::error::{Answer, Failure, Problem};
use super::file_form;
use super::held::held;
use super::incoming::Incoming;
use super::params::{Id, PageSize, Params, given, unknown_value};
use super::range::{Wanted, wanted};
use crate::service::{Content, FileList, Service};

/// OpenAI's.
const PAGE: PageSize = PageSize {
    default: 10_000,
    max: 10_000,
};

/// A list of more files is held to as many at once as downloads are: until it has gone out, all of it is in
/// memory, 2 MB for 10,000.
const LONG_LIST: usize = 1_000;

/// `POST /v1/files`
pub(super) async fn upload(
    State(service): State<Service>,
    tenant: Tenant,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<FileObject>> {
    let mut incoming = Incoming::new(&headers, body);
    let file = file_form::receive(&service, tenant.name(), &headers, &mut incoming).await;
    if file.is_err() {
        incoming.drain().await;
    }
    file.map(Json)
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ListParams {
    /// Only files of this purpose.
    purpose: Option<String>,
    /// Objects a page.
    #[schemars(with = "Option<i64>", range(min = 1, max = 10_000))]
    limit: Option<String>,
    /// By age; `desc` is newest first.
    #[schemars(extend("enum" = ["asc", "desc"]))]
    order: Option<String>,
    /// The last id of the page before.
    after: Option<String>,
}

/// `GET /v1/files`
pub(super) async fn list(
    State(service): State<Service>,
    tenant: Tenant,
    Params(params): Params<ListParams>,
) -> Answer<Response> {
    let list = FileList {
        purpose: given("purpose", params.purpose)?,
        limit: PAGE.of(params.limit.as_deref())?,
        newest_first: newest_first(params.order.as_deref())?,
        after: given("after", params.after)?,
    };
    let listed = service.files(tenant.name(), list).await?;
    let is_long = listed.data.len() > LONG_LIST;
    let ticket = is_long.then(|| tenant.download(&service)).transpose()?;
    let page = Page::<FileObject> {
        first_id: listed.data.first().map(|file| file.id.clone()),
        last_id: listed.data.last().map(|file| file.id.clone()),
        data: listed.data,
        has_more: listed.has_more,
        ..Page::default()
    };
    Ok(Json(page).into_response().map(|body| held(body, ticket)))
}

fn newest_first(order: Option<&str>) -> Answer<bool> {
    match order {
        None | Some("desc") => Ok(true),
        Some("asc") => Ok(false),
        Some(other) => Err(unknown_value("order", other, &["asc", "desc"])),
    }
}

/// `GET /v1/files/{id}`
pub(super) async fn retrieve(
    State(service): State<Service>,
    tenant: Tenant,
    Id(id): Id,
) -> Answer<Json<FileObject>> {
    Ok(Json(service.file(tenant.name(), &id).await?))
}

/// `DELETE /v1/files/{id}`
pub(super) async fn delete(
    State(service): State<Service>,
    tenant: Tenant,
    Id(id): Id,
) -> Answer<Json<DeletedFile>> {
    service.delete_file(tenant.name(), &id).await?;
    Ok(Json(DeletedFile {
        id,
        object: "file".to_owned(),
        deleted: true,
    }))
}

/// `GET` and `HEAD /v1/files/{id}/content`. Never compressed: ranges and lengths are the file's.
pub(super) async fn content(
    State(service): State<Service>,
    tenant: Tenant,
    method: Method,
    headers: HeaderMap,
    Id(id): Id,
) -> Answer<Response> {
    let content = service.content(tenant.name(), &id).await?;
    let length = content.file.bytes.unwrap_or_default();
    // `Range` has a meaning for GET only.
    let asked = if method == Method::GET {
        text(&headers, &header::RANGE)
    } else {
        None
    };
    let if_range = text(&headers, &header::IF_RANGE);
    let (status, range) = match wanted(asked, if_range, &content.etag, length) {
        Wanted::Whole => (StatusCode::OK, 0..length),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Nothing => return Err(no_such_range(length)),
    };
    content.check(range.clone()).await?;
    let mut response = (status, facts(&content)).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_LENGTH,
        HeaderValue::from(range.end - range.start),
    );
    if status == StatusCode::PARTIAL_CONTENT {
        let span = format!("bytes {}-{}/{length}", range.start, range.end - 1);
        headers.insert(header::CONTENT_RANGE, ascii(span));
    }
    if method == Method::GET {
        // The status has gone out before the bytes are read; what is left when a disk fails now is to
        // cut the body short of its length, which every client notices.
        let ticket = tenant.download(&service)?;
        let bytes = content.stream(range).inspect_err(|error| {
            tracing::error!(target: "ditto_server::http", %error, "a download was cut");
        });
        *response.body_mut() = held(Body::from_stream(bytes), ticket);
    }
    Ok(response)
}

/// The text of a header; of one that stands twice, none that is understood.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut given = headers.get_all(name).iter();
    let first = given.next()?;
    match given.next() {
        None => Some(first.to_str().unwrap_or_default()),
        Some(_) => Some(""),
    }
}

fn no_such_range(length: u64) -> Failure {
    Failure::new(
        Problem::NoSuchRange,
        format!("The range begins past the end of the file, which has {length} bytes."),
    )
    .with_header(header::CONTENT_RANGE, ascii(format!("bytes */{length}")))
}

fn facts(content: &Content) -> [(HeaderName, HeaderValue); 5] {
    let name = content.file.filename.as_deref().unwrap_or_default();
    [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static(media_type(name)),
        ),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (header::ETAG, ascii(content.etag.clone())),
        (header::CONTENT_DISPOSITION, ascii(disposition(name))),
        // Whatever a client has uploaded, no browser is to run it.
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ]
}

fn media_type(filename: &str) -> &'static str {
    match filename.rsplit_once('.') {
        Some((_, extension)) if extension.eq_ignore_ascii_case("jsonl") => "application/jsonl",
        _ => "application/octet-stream",
    }
}

/// Header values are ASCII; a name that is not is told in the object.
fn disposition(filename: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_. ".contains(c);
    let name: String = filename
        .chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .collect();
    format!("attachment; filename=\"{name}\"")
}

fn ascii(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("made of ASCII only")
}
