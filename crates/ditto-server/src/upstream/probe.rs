//! One look at an endpoint, for `doctor`: with the key, the proxies and the rules of the real thing,
//! and no request of a line.

use std::time::Duration;

use serde_json::Value;

use super::http::{HttpUpstream, root_cause};
use super::{Content, Keep};
use crate::config::UpstreamConfig;
use crate::error::Result;

/// Whoever takes longer to answer a question this small is away.
const PATIENCE: Duration = Duration::from_secs(10);
/// A list of models is small, and of anything else the beginning will do.
const MOST_BYTES: usize = 4 << 20;

/// What became of a look.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Probed {
    /// Something answers.
    Answered {
        /// The status of HTTP.
        status: u16,
        /// Its time of day, in seconds since the epoch.
        date: Option<i64>,
        /// Where it redirects to.
        location: Option<String>,
        /// Its body, if that is JSON.
        body: Option<Value>,
    },
    /// Nothing does.
    Unreachable {
        /// In the system's words.
        reason: String,
    },
}

impl UpstreamConfig {
    /// Asks for this path, such as `/v1/models`, once.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the URL or the key cannot be used.
    pub async fn probe(&self, path: &str) -> Result<Probed> {
        let upstream = HttpUpstream::new(self, &[], PATIENCE, MOST_BYTES, Keep::for_a_look())?;
        let looked = tokio::time::timeout(PATIENCE, look(&upstream, path)).await;
        Ok(match looked {
            Ok(Ok(answered)) => answered,
            Ok(Err(error)) => Probed::Unreachable {
                reason: root_cause(&error.without_url()),
            },
            Err(_) => Probed::Unreachable {
                reason: format!("no answer within {} s", PATIENCE.as_secs()),
            },
        })
    }
}

fn json(body: &Content) -> Option<Value> {
    match body {
        Content::Held { bytes, .. } => serde_json::from_slice(bytes).ok(),
        Content::Spooled(spooled) => {
            serde_json::from_reader(std::io::BufReader::new(spooled.reader())).ok()
        }
    }
}

async fn look(upstream: &HttpUpstream, path: &str) -> Result<Probed, reqwest::Error> {
    let response = upstream.get(path).send().await?;
    let text = |name: &str| {
        let value = response.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let (status, location) = (response.status().as_u16(), text("location"));
    let date = text("date").and_then(|date| httpdate::parse_http_date(&date).ok());
    let since = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
    let body = upstream.read(response).await?.ok();
    Ok(Probed::Answered {
        status,
        date: since.and_then(|since| i64::try_from(since.as_secs()).ok()),
        location,
        body: body.and_then(|body| json(&body)),
    })
}
