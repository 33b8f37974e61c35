//! What goes beyond the protocol, under the key `ditto`: for those who ask, and for nobody else.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use ditto_llm::wire::Batch;
use std::convert::Infallible;

use super::error::Answer;
use super::json::Object;
use super::params::unknown_value;

const EXTENSIONS: HeaderName = HeaderName::from_static("ditto-extensions");

/// Whether a client has said that it knows our extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked(pub(super) bool);

impl Asked {
    fn by(headers: &HeaderMap) -> Self {
        Self(headers.get(EXTENSIONS).is_some_and(|value| value == "1"))
    }

    /// The batch as this client may see it.
    pub(super) fn sees(self, mut batch: Batch) -> Json<Batch> {
        if !self.0 {
            batch.ditto = None;
        }
        Json(batch)
    }
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::by(&parts.headers))
    }
}

/// What a create asks for beyond the protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    /// A bad line becomes an error line.
    pub(super) lenient: Option<bool>,
    /// Lines may name several models.
    pub(super) mixed_models: Option<bool>,
}

impl Wishes {
    /// The object under `ditto`; `None` if there is none.
    pub(super) fn read(fields: &mut Object) -> Answer<Option<Self>> {
        let Some(mut wishes) = fields.object("ditto")? else {
            return Ok(None);
        };
        let lenient = match wishes.optional_text("mode")?.as_deref() {
            None => None,
            Some("lenient") => Some(true),
            Some("strict") => Some(false),
            Some(other) => return Err(unknown_value("ditto.mode", other, &["strict", "lenient"])),
        };
        let mixed_models = wishes.flag("mixed_models")?;
        wishes.nothing_else()?;
        Ok(Some(Self {
            lenient,
            mixed_models,
        }))
    }
}
