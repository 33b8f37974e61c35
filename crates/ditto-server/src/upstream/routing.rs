//! Which upstream serves a model.

use std::sync::Arc;

use super::http::HttpUpstream;
use super::{Keep, Upstream};
use crate::config::{Config, Sending};
use crate::error::{Error, Result};

/// The configured upstreams, in order.
#[derive(Debug, Clone)]
pub(crate) struct Routing {
    routes: Vec<Route>,
}

/// One upstream and what it serves.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) upstream: Arc<dyn Upstream>,
    /// `None`: every model.
    models: Option<Vec<String>>,
    /// Requests in flight at once in each lane.
    pub(crate) concurrency: usize,
}

impl Routing {
    /// The upstreams of this configuration, whose answers are kept there while they arrive.
    pub(crate) fn new(config: &Config, keep: &Keep) -> Result<Self> {
        if config.upstreams.is_empty() {
            return Err(Error::invalid(
                "no upstream is configured: give --upstream URL (or `sim` to try things out)",
            ));
        }
        let sending: Sending = config.sending;
        let routes = config
            .upstreams
            .iter()
            .map(|upstream| {
                Ok(Route {
                    upstream: Arc::new(HttpUpstream::new(
                        upstream,
                        &config.endpoints,
                        sending.timeout,
                        config.limits.answer_bytes,
                        keep.clone(),
                    )?),
                    models: upstream.models.clone(),
                    concurrency: upstream.concurrency.max(1),
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { routes })
    }

    /// One upstream for every model.
    #[cfg(test)]
    pub(crate) fn only(upstream: Arc<dyn Upstream>, concurrency: usize) -> Self {
        Self {
            routes: vec![Route {
                upstream,
                models: None,
                concurrency,
            }],
        }
    }

    /// The first upstream that lists the model, else the first that takes every model.
    pub(crate) fn route(&self, model: &str) -> Option<(usize, &Route)> {
        let lists = |route: &&Route| {
            route
                .models
                .as_ref()
                .is_some_and(|models| models.iter().any(|m| m == model))
        };
        let position = self
            .routes
            .iter()
            .position(|route| lists(&route))
            .or_else(|| self.routes.iter().position(|route| route.models.is_none()))?;
        Some((position, &self.routes[position]))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<dyn Upstream>> {
        self.routes.iter().map(|route| &route.upstream)
    }
}
