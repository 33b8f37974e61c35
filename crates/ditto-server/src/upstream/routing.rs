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
    /// `None`: every tenant.
    tenants: Option<Vec<String>>,
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
                    tenants: upstream.tenants.clone(),
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
                tenants: None,
                concurrency,
            }],
        }
    }

    /// Of the upstreams that are there for the tenant, the first that lists the model, else the first
    /// that takes every model.
    pub(crate) fn route(&self, tenant: &str, model: &str) -> Option<(usize, &Route)> {
        let own = || self.of(tenant);
        own()
            .find(|(_, route)| lists(&route.models, model))
            .or_else(|| own().find(|(_, route)| route.models.is_none()))
    }

    /// The upstreams that are there for a tenant, by their place among all.
    pub(crate) fn of(&self, tenant: &str) -> impl Iterator<Item = (usize, &Route)> {
        let all = self.routes.iter().enumerate();
        all.filter(move |(_, route)| route.tenants.is_none() || lists(&route.tenants, tenant))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<dyn Upstream>> {
        self.routes.iter().map(|route| &route.upstream)
    }
}

fn lists(names: &Option<Vec<String>>, name: &str) -> bool {
    names
        .as_ref()
        .is_some_and(|names| names.iter().any(|known| known == name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::UpstreamConfig;

    fn upstream(name: &str, models: &[&str], tenants: &[&str]) -> UpstreamConfig {
        let some = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            (!names.is_empty()).then_some(names)
        };
        UpstreamConfig {
            models: some(models),
            tenants: some(tenants),
            ..UpstreamConfig::new(name, "http://127.0.0.1:1")
        }
    }

    #[test]
    fn a_line_goes_to_an_upstream_of_its_tenant_that_lists_its_model() {
        let upstreams = vec![
            upstream("a-rest", &[], &["a"]),
            upstream("gpu", &["m"], &[]),
            upstream("b-gpu", &["m"], &["b"]),
            upstream("rest", &[], &["b", "c"]),
        ];
        let config = Config::new("data", upstreams);
        let routing = Routing::new(&config, &Keep::for_a_look()).unwrap();
        let table = [
            ("a", "m", Some("gpu")),
            ("a", "n", Some("a-rest")),
            ("b", "n", Some("rest")),
            ("d", "m", Some("gpu")),
            ("d", "n", None),
        ];
        for (tenant, model, expected) in table {
            let found = routing.route(tenant, model);
            let found = found.map(|(_, route)| route.upstream.name().to_owned());
            assert_eq!(found.as_deref(), expected, "{tenant} {model}");
        }
    }
}
