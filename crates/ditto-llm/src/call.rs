//! A call, before it is sent and after.

use bytes::Bytes;
use reqwest::Response;
use reqwest::header::HeaderMap;
use serde_json::{Map, Value};

use crate::error::Result;
use crate::operation::Operation;
use crate::retry::{Failure, Repeat};
use crate::upload::FileUpload;

/// One call, before it is sent.
pub(crate) struct Call<'a> {
    pub(crate) operation: Operation,
    pub(crate) path: &'a [&'a str],
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload<'a>,
    /// The id of the object the call is about, for the audit event.
    pub(crate) subject: Option<&'a str>,
    /// The provider options in the body, for the audit event.
    pub(crate) options: Option<&'a Map<String, Value>>,
}

pub(crate) enum Payload<'a> {
    Nothing,
    #[cfg_attr(
        not(feature = "batches"),
        expect(dead_code, reason = "files send no JSON")
    )]
    Json(Bytes),
    Upload(&'a FileUpload),
}

impl<'a> Call<'a> {
    pub(crate) fn new(operation: Operation, path: &'a [&'a str]) -> Self {
        Self {
            operation,
            path,
            query: Vec::new(),
            headers: HeaderMap::new(),
            payload: Payload::Nothing,
            subject: None,
            options: None,
        }
    }

    /// Adds a query parameter, if it has a value.
    pub(crate) fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query
            .extend(value.map(|value| (name, value.to_string())));
        self
    }

    pub(crate) fn repeat(&self) -> Repeat {
        self.operation.repeat()
    }

    /// Whether this failure leaves open if there is a new batch now.
    pub(crate) fn may_have_created(&self, failure: &Failure<'_>) -> bool {
        self.repeat() == Repeat::OnlyIfRefused && failure.may_have_acted()
    }

    pub(crate) fn can_restart(&self) -> bool {
        match &self.payload {
            Payload::Upload(upload) => upload.can_restart(),
            Payload::Nothing | Payload::Json(_) => true,
        }
    }
}

/// A call that succeeded.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) request_id: Option<String>,
    /// The whole body, unless the operation streams it.
    pub(crate) body: Bytes,
    /// The open answer, if the operation streams it.
    pub(crate) stream: Option<Response>,
}

/// A call with its attempts counted.
pub(crate) struct Sent {
    pub(crate) attempts: u32,
    pub(crate) outcome: Result<Answer>,
}
