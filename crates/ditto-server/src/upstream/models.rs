//! The models that the upstreams offer, asked for at most once a minute.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::Mutex;

use super::Routing;
use crate::error::Result;

/// Clients ask for the list at every start; a new model is seen a minute later at most.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// The list as last heard. The lock is held while asking, so that many clients are one question.
#[derive(Debug, Default)]
pub(crate) struct Models(Mutex<Option<(Instant, Vec<Value>)>>);

impl Models {
    /// What the upstreams that answer offer, each model once, in the order of the configuration.
    ///
    /// # Errors
    ///
    /// Only if none of them answers: one upstream that is away does not hide the others.
    pub(crate) async fn list(&self, routing: &Routing) -> Result<Vec<Value>> {
        let mut known = self.0.lock().await;
        if let Some((heard, models)) = known.as_ref()
            && heard.elapsed() < KEPT_FOR
        {
            return Ok(models.clone());
        }
        let models = ask(routing).await?;
        *known = Some((Instant::now(), models.clone()));
        Ok(models)
    }
}

async fn ask(routing: &Routing) -> Result<Vec<Value>> {
    let mut seen = HashSet::new();
    let mut models = Vec::new();
    let mut failed = None;
    let mut answered = false;
    for upstream in routing.all() {
        match upstream.models().await {
            Ok(own) => {
                answered = true;
                models.extend(
                    own.into_iter()
                        .filter(|model| seen.insert(model["id"].to_string())),
                );
            }
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if !answered => Err(error),
        Some(_) | None => Ok(models),
    }
}
