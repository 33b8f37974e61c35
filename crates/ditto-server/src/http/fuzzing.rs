//! Any bytes as what a client sends: a range, the form of an upload, a whole request.

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use axum::response::{IntoResponse, Response};
use ditto_llm::wire::{ErrorEnvelope, FileObject};
use futures_util::TryStreamExt;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use super::file_form::receive;
use super::incoming::{Broken, Incoming};
use super::range::{Wanted, wanted};
use crate::service::{FileList, Service};

/// Who sends a form whole, and who in pieces: what one has sent under a key is not known to the other.
const TENANTS: [&str; 2] = ["whole", "pieces"];
const ETAG: &str = "\"file-1\"";
/// No answer to these is longer: each server sees some thousand scripts.
const ANSWER: usize = 16 << 20;

/// Eight bytes are the length of a file, the rest is a `Range` and, behind a line feed, an `If-Range`.
/// What is asked for lies in the file and is not empty, is a part only of the file that the client
/// knows, and holds the bytes that were named.
///
/// # Panics
///
/// Where that does not hold.
pub fn range(script: &[u8]) {
    let Some((length, texts)) = script.split_first_chunk() else {
        return;
    };
    let length = u64::from_le_bytes(*length);
    let Ok(texts) = std::str::from_utf8(texts) else {
        return;
    };
    let (range, if_range) = match texts.split_once('\n') {
        Some((range, if_range)) => (range, Some(if_range)),
        None => (texts, None),
    };
    let known = if_range.is_none_or(|validator| validator.trim() == ETAG);
    match wanted(Some(range), if_range, ETAG, length) {
        Wanted::Whole => {}
        Wanted::Part(part) => {
            assert!(known && part.start < part.end && part.end <= length);
            let named = named(range).expect("a part has a name");
            assert!(
                named.contains(&part.start) && named.contains(&(part.end - 1)),
                "{named:?}"
            );
        }
        Wanted::Nothing => assert!(known && range.contains('=')),
    }
    assert_eq!(wanted(None, if_range, ETAG, length), Wanted::Whole);
}

/// The bytes that `first-last` may stand for, however long the file is.
fn named(range: &str) -> Option<std::ops::RangeInclusive<u64>> {
    let (_, range) = range.split_once('=')?;
    let (first, last) = range.trim().split_once('-')?;
    // Past what fits is past every file.
    let number = |digits: &str| digits.parse().unwrap_or(u64::MAX);
    match (first, last) {
        ("", _) => Some(0..=u64::MAX),
        (first, "") => Some(number(first)..=u64::MAX),
        (first, last) => Some(number(first)..=number(last)),
    }
}

/// What became of a form.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    File {
        filename: Option<String>,
        purpose: Option<String>,
        lifetime: Option<i64>,
        content: Vec<u8>,
    },
    Refused {
        status: u16,
        param: Option<String>,
        code: Option<String>,
    },
}

/// Two bytes say how the rest is cut; then the content type up to a line feed; the rest is the body of
/// an upload. However it comes in, the same file is taken with the same bytes, or the same is refused,
/// which is never called our fault and leaves no file.
///
/// # Panics
///
/// Where that does not hold.
pub(crate) async fn multipart(service: &Service, script: &[u8]) {
    let Some(([most, seed], rest)) = script.split_first_chunk() else {
        return;
    };
    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    let (content_type, body) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
    let Ok(content_type) = HeaderValue::from_bytes(content_type) else {
        return;
    };
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type)]);
    let whole = Body::from(body.to_vec());
    let chunks: Vec<_> = chunks(body, *most, *seed).collect();
    let chunks = Body::from_stream(futures_util::stream::iter(
        chunks.into_iter().map(Ok::<_, Broken>),
    ));
    let whole = taken(service, TENANTS[0], &headers, whole).await;
    let cut = taken(service, TENANTS[1], &headers, chunks).await;
    assert_eq!(whole, cut);
}

async fn taken(service: &Service, tenant: &str, headers: &HeaderMap, body: Body) -> Taken {
    let mut incoming = Incoming::new(headers, body);
    let answer = receive(service, tenant, headers, &mut incoming).await;
    let taken = match answer {
        Ok(file) => kept(service, tenant, file).await,
        Err(failure) => {
            let response = failure.into_response();
            let status = response.status().as_u16();
            assert!(status < 500, "{status}");
            let error = envelope(response).await.error;
            Taken::Refused {
                status,
                param: error.param,
                code: error.code,
            }
        }
    };
    let list = FileList {
        purpose: None,
        limit: 10,
        newest_first: true,
        after: None,
    };
    let left = service.files(tenant, list).await.expect("files are listed");
    assert!(left.data.is_empty(), "what is refused leaves no file");
    taken
}

/// Reads a file that was taken, and deletes it.
async fn kept(service: &Service, tenant: &str, file: FileObject) -> Taken {
    let content = service
        .content(tenant, &file.id)
        .await
        .expect("it is there");
    let length = file.bytes.expect("its length is known");
    let bytes: Vec<Bytes> = content
        .stream(0..length)
        .try_collect()
        .await
        .expect("it is readable");
    service
        .delete_file(tenant, &file.id)
        .await
        .expect("it is there");
    Taken::File {
        filename: file.filename,
        purpose: file.purpose,
        lifetime: file
            .expires_at
            .zip(file.created_at)
            .map(|(to, from)| to - from),
        content: bytes.concat(),
    }
}

/// Cuts `whole` into chunks of 1 to `most` bytes, of lengths that follow from `seed`.
fn chunks(whole: &[u8], most: u8, seed: u8) -> impl Iterator<Item = Bytes> {
    let mut whole = Bytes::copy_from_slice(whole);
    let most = usize::from(most).max(1);
    let mut state = usize::from(seed);
    std::iter::from_fn(move || {
        if whole.is_empty() {
            return None;
        }
        state = state.wrapping_mul(181).wrapping_add(97) % 65_536;
        Some(whole.split_to((1 + state % most).min(whole.len())))
    })
}

/// What a script may ask about without having made it.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// The id of an upload.
    pub(crate) upload: String,
    /// That of a part which is all of it.
    pub(crate) part: String,
}

/// Stands for the upload in the target of a script.
const UPLOAD: char = '@';
/// Stands for its part in the body.
const PART: &[u8] = b"@part";

/// Whether a script asks about an upload.
pub(crate) fn wants_an_upload(script: &[u8]) -> bool {
    let target = script.split(|byte| *byte == b'\n').next();
    target.is_some_and(|target| memchr::memchr(UPLOAD as u8, target).is_some())
}

/// One byte is the method, then come lines: the target (with `@` for the upload), headers, an empty one;
/// the rest is the body (with `@part` for the part).
/// The answer has an id, is none that calls itself our fault, and if it is a refusal it is in the
/// envelope.
///
/// # Panics
///
/// Where that does not hold.
pub(crate) async fn request(router: Router, given: &Given, script: &[u8]) {
    let Some(request) = spoken(given, script) else {
        return;
    };
    let (method, asks_upstream) = (
        request.method().clone(),
        request.uri().path() == "/v1/models",
    );
    let Ok(response) = TowerToHyperService::new(router).call(request).await;
    let status = response.status().as_u16();
    assert!(response.headers().contains_key("x-request-id"));
    // The upstream of this server is away.
    assert!(status < 500 || (status == 503 && asks_upstream), "{status}");
    if status >= 400 && method != Method::HEAD {
        let error = envelope(response).await.error;
        assert!(!error.message.is_empty());
    } else {
        to_bytes(response.into_body(), ANSWER)
            .await
            .expect("an answer is whole");
    }
}

fn spoken(given: &Given, script: &[u8]) -> Option<Request<Body>> {
    const METHODS: [Method; 7] = [
        Method::GET,
        Method::POST,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
        Method::PUT,
        Method::PATCH,
    ];
    let (method, mut rest) = script.split_first()?;
    let mut line = || {
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        line
    };
    let mut request = Request::builder()
        .method(METHODS[usize::from(*method) % METHODS.len()].clone())
        .uri(
            Uri::try_from(
                std::str::from_utf8(line())
                    .ok()?
                    .replace(UPLOAD, &given.upload),
            )
            .ok()?,
        );
    let headers = request.headers_mut()?;
    loop {
        let line = line();
        if line.is_empty() {
            break;
        }
        let at = memchr::memchr(b':', line)?;
        let name = HeaderName::from_bytes(&line[..at]).ok()?;
        let value = HeaderValue::from_bytes(line[at + 1..].trim_ascii()).ok()?;
        headers.append(name, value);
    }
    if !headers.contains_key(header::HOST) {
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
    }
    request.body(Body::from(with_part(rest, &given.part))).ok()
}

fn with_part(body: &[u8], part: &str) -> Vec<u8> {
    let mut whole = Vec::new();
    let mut rest = body;
    while let Some(at) = memchr::memmem::find(rest, PART) {
        whole.extend_from_slice(&rest[..at]);
        whole.extend_from_slice(part.as_bytes());
        rest = &rest[at + PART.len()..];
    }
    whole.extend_from_slice(rest);
    whole
}

async fn envelope(response: Response) -> ErrorEnvelope {
    let json = response.headers().get(header::CONTENT_TYPE);
    assert_eq!(
        json.map(HeaderValue::as_bytes),
        Some(&b"application/json"[..])
    );
    let body = to_bytes(response.into_body(), ANSWER)
        .await
        .expect("an answer is whole");
    serde_json::from_slice(&body).expect("a refusal is in the envelope")
}
