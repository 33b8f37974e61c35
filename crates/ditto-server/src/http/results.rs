//! `GET /v1/batches/{id}/results`: ours. Rows as they are recorded, each once.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};
use xxhash_rust::xxh3::xxh3_64;

use super::auth::Tenant;
use super::error::{Answer, Failure};
use super::held::held;
use super::params::{Id, Params, in_bounds, integer, unknown_value};
use crate::error::Result;
use crate::service::{Cursor, ResultPage, Service};

/// Where the next page begins.
const NEXT: HeaderName = HeaderName::from_static("ditto-next");
/// `true`: the batch has ended and nothing comes behind this page.
const ENDED: HeaderName = HeaderName::from_static("ditto-ended");
/// Longer a connection is not kept without an answer: proxies cut it.
const MAX_WAIT: i64 = 60;
/// What nothing has woken us for is looked at this often.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ResultParams {
    /// The `ditto-next` of the page before.
    after: Option<String>,
    /// Seconds to wait for a row, if there is none.
    #[schemars(with = "Option<u32>", range(max = 60))]
    wait: Option<String>,
    /// Page after page, until the end.
    #[schemars(with = "Option<bool>")]
    follow: Option<String>,
}

/// `GET /v1/batches/{id}/results`
pub(super) async fn results(
    State(service): State<Service>,
    tenant: Tenant,
    Id(id): Id,
    Params(params): Params<ResultParams>,
) -> Answer<Response> {
    let after = params.after.unwrap_or_default();
    let after = cursor(&id, &after).ok_or_else(|| {
        Failure::invalid("Invalid 'after': not a cursor of this call. Leave it out to begin anew.")
            .with_param("after")
            .with_code("invalid_value")
    })?;
    let wait = match params.wait.as_deref() {
        None => 0,
        Some(text) => in_bounds("wait", &integer("wait", text)?, 0, MAX_WAIT)?,
    };
    // Whoever waits for rows holds a connection as whoever reads them does.
    let ticket = tenant.download(&service)?;
    let reader = Reader {
        service,
        tenant: tenant.name().to_owned(),
        id,
        after,
    };
    let response = match params.follow.as_deref() {
        None | Some("0" | "false") => reader.one_page(wait.unsigned_abs()).await?,
        Some("1" | "true") => reader.follow().await?,
        Some(other) => return Err(unknown_value("follow", other, &["true", "false"])),
    };
    Ok(response.map(|body| held(body, ticket)))
}

/// Of another batch it would pass over rows in silence, so that a cursor names its batch.
fn cursor(id: &str, after: &str) -> Option<Cursor> {
    match after {
        "" => Some(Cursor::default()),
        some => Cursor::parse(some.strip_prefix(&mark_of(id))?),
    }
}

fn told(id: &str, cursor: &Cursor) -> String {
    format!("{}{cursor}", mark_of(id))
}

/// A few characters that belong to this batch.
fn mark_of(id: &str) -> String {
    format!("{:08x}.", xxh3_64(id.as_bytes()) >> 32)
}

/// One client's way through a batch's results.
struct Reader {
    service: Service,
    tenant: String,
    id: String,
    after: Cursor,
}

impl Reader {
    async fn look(&self) -> Result<ResultPage> {
        let Self {
            service,
            tenant,
            id,
            after,
        } = self;
        service.results(tenant, id, after).await
    }

    /// The next page that has something in it, or is the last; or what there is when the time is over.
    async fn next(&self, until: Instant) -> Result<ResultPage> {
        loop {
            let changed = self.service.changed();
            let page = self.look().await?;
            if !page.is_empty() || page.ended || Instant::now() >= until {
                return Ok(page);
            }
            // A wake-up promises nothing, and some changes give none.
            let _ = timeout_at(until.min(Instant::now() + LOOK), changed).await;
        }
    }

    async fn one_page(self, wait: u64) -> Answer<Response> {
        let page = self
            .next(Instant::now() + Duration::from_secs(wait))
            .await?;
        let facts = [
            (NEXT, ascii(told(&self.id, &page.next))),
            (ENDED, ascii(page.ended.to_string())),
        ];
        let body = Body::from_stream(page.stream().inspect_err(|error| {
            tracing::error!(target: "ditto_server::http", %error, "a page of results was cut");
        }));
        Ok((jsonl(), facts, body).into_response())
    }

    /// Page after page until the end, behind each a line that says where the next begins.
    async fn follow(self) -> Answer<Response> {
        // A batch that is not there is a 404, and no stream that breaks off.
        let first = self.look().await?;
        let begun = Following {
            reader: self,
            ready: Some(first),
            over: false,
        };
        let pages = stream::try_unfold(begun, Following::next);
        let lines = pages.try_flatten().inspect_err(|error| {
            tracing::error!(target: "ditto_server::http", %error, "a stream of results was cut");
        });
        Ok((jsonl(), Body::from_stream(lines)).into_response())
    }
}

/// A reader that stays until the end.
struct Following {
    reader: Reader,
    ready: Option<ResultPage>,
    over: bool,
}

impl Following {
    /// The next page with its mark.
    async fn next(mut self) -> Result<Option<(impl Stream<Item = Result<Bytes>>, Self)>> {
        if self.over {
            return Ok(None);
        }
        let page = match self.ready.take() {
            Some(page) => page,
            None => self.reader.next(Instant::now() + MAX_SILENCE).await?,
        };
        self.reader.after = page.next.clone();
        self.over = page.ended;
        let after = told(&self.reader.id, &page.next);
        Ok(Some((with_mark(page, after), self)))
    }
}

/// So often a follower hears something, though nothing new is there: a mark.
const MAX_SILENCE: Duration = Duration::from_secs(15);

fn with_mark(page: ResultPage, after: String) -> impl Stream<Item = Result<Bytes>> + use<> {
    let mark = json!({ "object": "ditto.cursor", "after": after, "ended": page.ended });
    let mark = Bytes::from(format!("{mark}\n"));
    page.stream().chain(stream::once(async { Ok(mark) }))
}

fn jsonl() -> [(HeaderName, HeaderValue); 2] {
    [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/jsonl"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]
}

fn ascii(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("made of ASCII only")
}
