//! The models that the upstreams offer, asked for at most once a minute.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::Mutex;

use super::Routing;
use crate::error::Result;

/// Clients ask for the list at every start; a new model is seen a minute later at most.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// What was last heard from each upstream. The lock is held while asking, so that many clients are one
/// question.
#[derive(Debug, Default)]
pub(crate) struct Models(Mutex<BTreeMap<usize, Heard>>);

#[derive(Debug)]
struct Heard {
    at: Instant,
    /// `None`: it did not answer, and is not waited for again so soon if another does.
    models: Option<Vec<Value>>,
}

impl Models {
    /// What the upstreams that are there for this tenant and answer offer, each model once, in the
    /// order of the configuration.
    ///
    /// # Errors
    ///
    /// Only if none of them answers: one upstream that is away does not hide the others.
    pub(crate) async fn list(&self, routing: &Routing, tenant: &str) -> Result<Vec<Value>> {
        let mut heard = self.0.lock().await;
        let own: Vec<_> = routing.of(tenant).collect();
        heard.retain(|_, known| known.at.elapsed() < KEPT_FOR);
        let away = own.iter().all(|(place, _)| {
            let known = heard.get(place);
            known.is_some_and(|known| known.models.is_none())
        });
        let mut failed = None;
        for (place, route) in &own {
            if away || !heard.contains_key(place) {
                let asked = route.upstream.models().await;
                let models = asked.map_err(|error| failed = Some(error)).ok();
                let at = Instant::now();
                heard.insert(*place, Heard { at, models });
            }
        }
        let known = own.iter().filter_map(|(place, _)| heard.get(place));
        let mut known = known.filter_map(|known| known.models.as_ref()).peekable();
        match failed {
            Some(error) if known.peek().is_none() => Err(error),
            Some(_) | None => Ok(each_once(known.flatten())),
        }
    }
}

fn each_once<'a>(models: impl Iterator<Item = &'a Value>) -> Vec<Value> {
    let mut seen = HashSet::new();
    let new = models.filter(|model| seen.insert(model["id"].to_string()));
    new.cloned().collect()
}
