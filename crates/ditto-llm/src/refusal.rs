//! An answer that is no success, made into an error.

use std::time::SystemTime;

use reqwest::Response;

use crate::call::Call;
use crate::config::Config;
use crate::error::{ApiDetail, DittoError};
use crate::http::text_header;
use crate::retry::{self, Failure};
use crate::wire::ErrorBody;

/// So much of a refusal is read.
const MAX_BODY: usize = 64 << 10;

/// Reads a refusal, whatever its shape.
pub(crate) async fn read(
    config: &Config,
    call: &Call<'_>,
    response: Response,
    request_id: Option<String>,
) -> DittoError {
    let status = response.status().as_u16();
    let detail = detail(call, &response);
    let location = text_header(&response, "location").filter(|_| (300..400).contains(&status));
    let body = body(config, response).await;
    let body = ErrorBody::read(&config.masked_bytes(body.into()));
    let message = match location {
        // The query of a link may be its signature.
        Some(place) => format!(
            "redirected to {}",
            place.split('?').next().unwrap_or_default()
        ),
        None if body.message.trim().is_empty() => "the answer has no text".to_owned(),
        None => body.message,
    };
    let short = |text: String| config.shown(&text).into_boxed_str();
    DittoError::Api {
        status,
        code: body.code.map(|text| config.shown(&text)),
        kind: Some(body.kind).filter(|kind| !kind.is_empty()).map(short),
        param: body.param.map(short),
        message: config.shown(&message),
        request_id,
        detail: Box::new(detail),
    }
}

fn detail(call: &Call<'_>, response: &Response) -> ApiDetail {
    let header = |name| text_header(response, name);
    ApiDetail {
        operation: call.operation.name(),
        retry_after: retry::parse_retry_after(
            header("retry-after-ms").as_deref(),
            header("retry-after").as_deref(),
            SystemTime::now(),
        ),
        should_retry: header("x-should-retry").and_then(|word| word.parse().ok()),
        outcome_unknown: call.may_have_created(&Failure::of_status(response.status().as_u16())),
    }
}

/// The body as far as it comes: a refusal that breaks off or stalls is one all the same.
async fn body(config: &Config, mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    let idle = config.timeouts.idle;
    while let Ok(Ok(Some(chunk))) = tokio::time::timeout(idle, response.chunk()).await {
        body.extend_from_slice(&chunk[..chunk.len().min(MAX_BODY - body.len())]);
        if body.len() == MAX_BODY {
            break;
        }
    }
    body
}
