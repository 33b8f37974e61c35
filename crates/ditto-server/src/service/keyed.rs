//! Bytes that come under a key of their client's own.

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

use super::Service;
use super::at_work::Working;
use super::intake::Taken;
use super::objects::key_reused;
use crate::catalog::{Made, Once, Route};
use crate::error::{Error, Result};

/// A key, while this request is the one at work under it.
#[derive(Debug)]
pub(super) struct Keyed {
    route: Route,
    key: String,
    /// What the key has made before.
    made: Option<Made>,
    _working: Working,
}

impl Service {
    /// Waits until nobody else is at work under this key; what it has made by then.
    pub(super) async fn keyed(
        &self,
        tenant: &str,
        route: Route,
        key: Option<String>,
    ) -> Result<Option<Keyed>> {
        let Some(key) = key else {
            return Ok(None);
        };
        let working = self.at_work.wait(tenant, route, &key).await;
        Ok(Some(Keyed {
            made: self.catalog.made(tenant, route, &key).await?,
            route,
            key,
            _working: working,
        }))
    }
}

impl Keyed {
    pub(super) fn has_made(&self) -> bool {
        self.made.is_some()
    }

    /// What tells a request with these fields and bytes from another one.
    pub(super) fn once(&self, fields: &impl Serialize, taken: &Taken) -> Once {
        let whole = serde_json::to_vec(&(fields, taken.bytes, taken.hash));
        let whole = whole.expect("texts and numbers are always JSON");
        Once {
            key: Some(self.key.clone()),
            request_hash: xxh3_128(&whole).to_be_bytes(),
            repeated: false,
        }
    }

    /// The id of what the key has made, if that was by the same request.
    pub(super) fn made<'a>(keyed: Option<&'a Self>, once: Option<&Once>) -> Result<&'a str> {
        let made = keyed.and_then(|keyed| Some((keyed.route, keyed.made.as_ref()?)));
        match (made, once) {
            (Some((_, made)), Some(once)) if made.request_hash == once.request_hash => Ok(&made.id),
            (Some((route, made)), _) => Err(key_reused(route, &made.id)),
            (None, _) => Err(Error::internal(
                "bytes were not kept, and no key has made them",
            )),
        }
    }
}
