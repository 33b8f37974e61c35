//! One event per call, for those who must know who asked what of whom.
//!
//! Target `ditto_llm::audit`. Neither prompts nor answers nor keys are in it, and of a path never
//! the query.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::call::{Answer, Call};
use crate::config::Config;
use crate::error::DittoError;
use crate::redact;

/// How a call ended.
pub(crate) struct Ended<'a> {
    pub(crate) provider: &'static str,
    pub(crate) path: &'a str,
    pub(crate) attempts: u32,
    pub(crate) elapsed: Duration,
    pub(crate) outcome: Result<&'a Answer, &'a DittoError>,
}

/// Writes the event. Of provider options it has the keys; their values too, if the settings say so.
pub(crate) fn record(call: &Call<'_>, ended: &Ended<'_>, config: &Config) {
    let (status, request_id) = match ended.outcome {
        Ok(answer) => (Some(answer.status), answer.request_id.as_deref()),
        Err(error) => (error.status(), error.request_id()),
    };
    let unnamed = ended.outcome.ok().filter(|_| call.subject.is_none());
    let made = unnamed.and_then(|answer| id_in(&answer.body));
    tracing::info!(
        target: "ditto_llm::audit",
        provider = ended.provider,
        operation = call.operation.name(),
        path = ended.path,
        status,
        request_id,
        attempts = ended.attempts,
        elapsed_ms = u64::try_from(ended.elapsed.as_millis()).unwrap_or(u64::MAX),
        object_id = call.subject.or(made.as_deref()),
        option_keys = call.options.map(|options| config.masked(&keys(options))),
        options = call
            .options
            .filter(|_| config.audit_values)
            .map(|options| config.masked(&shown(options))),
        error = ended.outcome.err().map(tracing::field::display),
    );
}

/// The id of what a create or an upload has made, also in the envelopes of SiliconFlow (`data`)
/// and Together (`job`); a list has none.
fn id_in(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Made {
        Plain(Id),
        Envelope {
            #[serde(alias = "job")]
            data: Id,
        },
    }
    #[derive(serde::Deserialize)]
    struct Id {
        id: String,
    }
    let made: Made = serde_json::from_slice(body).ok()?;
    match made {
        Made::Plain(Id { id }) | Made::Envelope { data: Id { id } } => Some(id),
    }
}

fn keys(options: &Map<String, Value>) -> String {
    options
        .keys()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(",")
}

fn shown(options: &Map<String, Value>) -> String {
    redact::mask_value(&Value::Object(options.clone())).to_string()
}
