//! Replies: status, headers and body, built from values made once.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION,
    RETRY_AFTER,
};
use http::{Response, StatusCode};

use crate::body::{AnswerBody, ReplyBody};
use crate::course::Asking;
use crate::envelope::Complaint;
use crate::file_body::{FileBody, Span};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

pub(crate) type Reply = Response<ReplyBody>;

/// Requests that are not counted share one id.
pub(crate) const UNCOUNTED_ID: HeaderValue = HeaderValue::from_static("req_sim");

pub(crate) fn untold(complaint: &Complaint) -> Reply {
    with_id(complain(complaint), UNCOUNTED_ID)
}

pub(crate) fn request_id(asking: Asking) -> HeaderValue {
    let Asking { identity, nth } = asking;
    let id = format!("req_sim_{identity:016x}_{nth}");
    HeaderValue::from_maybe_shared(Bytes::from(id)).expect("hexadecimal digits suit a header")
}

pub(crate) fn with_id(mut reply: Reply, id: HeaderValue) -> Reply {
    reply.headers_mut().insert(REQUEST_ID, id);
    reply
}

/// Whole seconds, rounded up; what is finer than a second goes into `retry-after-ms` as well.
pub(crate) fn with_retry_after(mut reply: Reply, after: Duration) -> Reply {
    let seconds = after.as_millis().div_ceil(1000) as u64;
    reply.headers_mut().insert(RETRY_AFTER, seconds.into());
    if after.subsec_millis() > 0 {
        reply
            .headers_mut()
            .insert(RETRY_AFTER_MS, (after.as_millis() as u64).into());
    }
    reply
}

pub(crate) fn json_reply(status: StatusCode, body: AnswerBody) -> Reply {
    let mut reply = Response::new(ReplyBody::Made(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    reply
}

pub(crate) fn complain(complaint: &Complaint) -> Reply {
    json_reply(status_of(complaint), AnswerBody::whole(complaint.to_json()))
}

/// A file, or the part of it that was asked for.
pub(crate) fn file_reply(body: FileBody, tag: Option<&str>, span: Span) -> Reply {
    let mut reply = Response::new(ReplyBody::Stored(body));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, OCTETS);
    // Without a tag the file has no ranges either.
    if let Some(tag) = tag {
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(ETAG, header(format!("\"{tag}\"")));
    }
    if span.is_part {
        let (first, last, length) = (span.first, span.end - 1, span.length);
        headers.insert(
            CONTENT_RANGE,
            header(format!("bytes {first}-{last}/{length}")),
        );
        *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    reply
}

pub(crate) fn redirect(address: &str) -> Reply {
    let mut reply = Response::new(ReplyBody::Made(AnswerBody::whole(&b""[..])));
    *reply.status_mut() = StatusCode::FOUND;
    reply
        .headers_mut()
        .insert(LOCATION, header(address.to_owned()));
    reply
}

fn header(text: String) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(text)).expect("ids and numbers suit a header")
}

/// A text that is no API's error body, as a proxy or a wrong server would send.
pub(crate) fn complain_plainly(complaint: &Complaint) -> Reply {
    let mut reply = Response::new(ReplyBody::Made(AnswerBody::whole(
        complaint.message.clone(),
    )));
    *reply.status_mut() = status_of(complaint);
    reply.headers_mut().insert(CONTENT_TYPE, PLAIN);
    reply
}

fn status_of(complaint: &Complaint) -> StatusCode {
    StatusCode::from_u16(complaint.status).expect("a fault's status is 200 to 599")
}
