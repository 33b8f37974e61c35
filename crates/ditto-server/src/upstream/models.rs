//! The models that the upstreams offer, asked for at most once a minute.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::Routing;
use super::routing::{Offers, Route};
use crate::error::{Error, Result};

/// Clients ask for the list at every start; a new model is seen a minute later at most.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// An upstream that did not answer is asked again after this: each time costs its time-out.
const PAUSE: Duration = Duration::from_secs(5);

/// What each upstream said that it offers, in the order of the configuration.
pub(crate) type Heard = Arc<Vec<Result<Vec<Value>>>>;

/// The lists as last heard. The lock is held while asking, so that many clients are one question.
#[derive(Debug, Default)]
pub(crate) struct Models(Mutex<Option<(Instant, Heard)>>);

impl Models {
    /// What the upstreams that are there for this tenant and answer offer, each model once, in the
    /// order of the configuration.
    ///
    /// # Errors
    ///
    /// Only if none of them answers: one upstream that is away does not hide the others.
    pub(crate) async fn list(&self, routing: &Routing, tenant: &str) -> Result<Vec<Value>> {
        let heard = self.heard(routing).await;
        let own: Vec<_> = routing.of(tenant).collect();
        let lists: Vec<_> = own.iter().map(|(place, _)| &heard[*place]).collect();
        let told = own.iter().any(|(_, route)| route.named().is_some());
        if let Some(error) = failed(&lists)
            && !told
        {
            return Err(Error::new(error.kind(), error.message()));
        }
        let mut seen = HashSet::new();
        let models = own
            .iter()
            .zip(lists)
            .flat_map(|((_, route), list)| offered(route, list));
        Ok(models
            .filter(|model| seen.insert(model["id"].to_string()))
            .collect())
    }

    /// The lists, asked for anew if they are old.
    pub(crate) async fn heard(&self, routing: &Routing) -> Heard {
        let mut known = self.0.lock().await;
        if let Some((at, heard)) = known.as_ref()
            && at.elapsed() < kept_for(heard)
        {
            return Arc::clone(heard);
        }
        let heard: Heard = Arc::new(ask(routing).await);
        *known = Some((Instant::now(), Arc::clone(&heard)));
        heard
    }

    /// What the upstreams serve this tenant, as far as their lists decide.
    pub(crate) async fn offers(&self, routing: &Routing, tenant: &str) -> Offers {
        match routing.asks_for_lists(tenant) {
            true => routing.offers(tenant, Some(&self.heard(routing).await)),
            false => routing.offers(tenant, None),
        }
    }
}

/// Of an upstream whose models are named these, each as the upstream tells of it if it does; of another
/// all.
fn offered(route: &Route, list: &Result<Vec<Value>>) -> Vec<Value> {
    let heard = list.as_deref().unwrap_or_default();
    let Some(named) = route.named() else {
        return heard.to_vec();
    };
    let of_name = |name: &String| {
        let known = heard.iter().find(|model| model["id"] == name.as_str());
        let owner = route.upstream.name();
        known.cloned().unwrap_or_else(
            || json!({"id": name, "object": "model", "created": 0, "owned_by": owner}),
        )
    };
    named.iter().map(of_name).collect()
}

fn kept_for(heard: &[Result<Vec<Value>>]) -> Duration {
    match heard.iter().all(Result::is_ok) {
        true => KEPT_FOR,
        false => PAUSE,
    }
}

/// Side by side: one that is away does not keep the others waiting.
async fn ask(routing: &Routing) -> Vec<Result<Vec<Value>>> {
    join_all(routing.all().map(|upstream| upstream.models())).await
}

/// Why nobody answered, if nobody did.
fn failed<'a>(heard: &[&'a Result<Vec<Value>>]) -> Option<&'a Error> {
    match heard.iter().any(|list| list.is_ok()) {
        true => None,
        false => heard.iter().find_map(|list| list.as_ref().err()),
    }
}
