//! Which upstream serves a model.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::http::HttpUpstream;
use super::models::Told;
use super::{Keep, Upstream};
use crate::config::{Concurrency, Config, Sending};
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
    /// As configured; `None`: as it says itself.
    models: Option<Vec<String>>,
    /// `None`: every tenant.
    tenants: Option<Vec<String>>,
    /// Requests in flight at once in each lane.
    pub(crate) concurrency: Concurrency,
}

/// In the configured list of an upstream: whatever it is asked for.
const EVERY: &str = "*";

impl Route {
    /// Its models, if these are they and no others.
    pub(crate) fn named(&self) -> Option<&[String]> {
        let models = self.models.as_deref()?;
        (!models.iter().any(|model| model == EVERY)).then_some(models)
    }
}

/// What an upstream serves.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Offer {
    These(BTreeSet<String>),
    Every,
    /// Its list could not be read: it may serve anything, and what it listed before the most likely.
    Unheard(BTreeSet<String>),
}

/// What the upstreams serve, in the order of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offers(Vec<Offer>);

impl Offers {
    /// The first that lists the model or did, else the first that takes every model, else the first
    /// that could not be asked: a model is not refused while one may serve it.
    fn upstream(&self, model: &str) -> Option<usize> {
        let first = |is: &dyn Fn(&Offer) -> bool| self.0.iter().position(is);
        first(&|offer| match offer {
            Offer::These(models) | Offer::Unheard(models) => models.contains(model),
            Offer::Every => false,
        })
        .or_else(|| first(&|offer| *offer == Offer::Every))
        .or_else(|| first(&|offer| matches!(offer, Offer::Unheard(_))))
    }

    /// All models that are served; `None` if that cannot be told.
    pub(crate) fn served(&self) -> Option<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        for offer in &self.0 {
            match offer {
                Offer::These(models) => all.extend(models.iter().cloned()),
                Offer::Every | Offer::Unheard(_) => return None,
            }
        }
        Some(all)
    }
}

fn ids(list: &[Value]) -> BTreeSet<String> {
    let ids = list.iter().filter_map(|model| model["id"].as_str());
    ids.map(str::to_owned).collect()
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
                    concurrency: upstream.concurrency,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { routes })
    }

    /// One upstream for every model.
    #[cfg(test)]
    pub(crate) fn only(upstream: Arc<dyn Upstream>, concurrency: Concurrency) -> Self {
        Self {
            routes: vec![Route {
                upstream,
                models: None,
                tenants: None,
                concurrency,
            }],
        }
    }

    /// The upstreams whose own lists decide who serves a model to this tenant: one alone serves every
    /// model that it is asked for.
    pub(crate) fn deciding(&self, tenant: &str) -> BTreeSet<usize> {
        let lists = |route: &Route| route.models.is_none() && !self.is_alone(tenant);
        let own = self.of(tenant).filter(|(_, route)| lists(route));
        own.map(|(place, _)| place).collect()
    }

    fn is_alone(&self, tenant: &str) -> bool {
        self.of(tenant).count() == 1
    }

    /// What each upstream serves this tenant, by the configuration and by what it told, if it decides.
    pub(crate) fn offers(&self, tenant: &str, told: &[Told]) -> Offers {
        let alone = self.is_alone(tenant);
        let mut offers = vec![Offer::These(BTreeSet::new()); self.routes.len()];
        for (place, route) in self.of(tenant) {
            offers[place] = match (&route.models, &told[place]) {
                (Some(models), _) if models.iter().any(|model| model == EVERY) => Offer::Every,
                (Some(models), _) => Offer::These(models.iter().cloned().collect()),
                (None, _) if alone => Offer::Every,
                (None, told) if told.is_heard() => Offer::These(ids(&told.models)),
                (None, told) => Offer::Unheard(ids(&told.models)),
            };
        }
        Offers(offers)
    }

    /// The upstreams that are there for a tenant, by their place among all.
    pub(crate) fn of(&self, tenant: &str) -> impl Iterator<Item = (usize, &Route)> {
        let all = self.routes.iter().enumerate();
        all.filter(move |(_, route)| {
            let tenants = route.tenants.as_ref();
            tenants.is_none_or(|tenants| tenants.iter().any(|known| known == tenant))
        })
    }

    /// The upstream for a model; `None` if nobody serves it.
    pub(crate) fn route(&self, model: &str, offers: &Offers) -> Option<(usize, &Route)> {
        let at = offers.upstream(model)?;
        Some((at, &self.routes[at]))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<dyn Upstream>> {
        self.routes.iter().map(|route| &route.upstream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn routing(lists: &[Option<&[&str]>]) -> Routing {
        let route = |models: &Option<&[&str]>| Route {
            upstream: Arc::new(Silent),
            models: models.map(|models| models.iter().map(|m| (*m).to_owned()).collect()),
            tenants: None,
            concurrency: Concurrency::Fixed(1),
        };
        Routing {
            routes: lists.iter().map(route).collect(),
        }
    }

    #[derive(Debug)]
    struct Silent;

    #[async_trait::async_trait]
    impl Upstream for Silent {
        fn name(&self) -> &str {
            "silent"
        }

        fn caller(&self) -> Box<dyn super::super::Caller> {
            unreachable!("nothing is sent to it")
        }

        async fn models(&self) -> Result<Vec<Value>> {
            Ok(Vec::new())
        }

        fn secret(&self) -> Option<&str> {
            None
        }
    }

    /// What each upstream tells; `None`: its list cannot be read.
    fn told(lists: &[Option<&[&str]>]) -> Vec<Told> {
        let list = |ids: &[&str]| ids.iter().map(|id| json!({ "id": id })).collect();
        let away = || Error::internal("away");
        let answer = |answer: &Option<&[&str]>| answer.map(list).ok_or_else(away);
        let told = |list| Told::default().and(answer(list));
        lists.iter().map(told).collect()
    }

    /// Who serves `a`, `b` and `c`.
    fn served_by(routing: &Routing, told: &[Told]) -> [Option<usize>; 3] {
        let offers = routing.offers("t", told);
        ["a", "b", "c"].map(|model| routing.route(model, &offers).map(|(at, _)| at))
    }

    #[test]
    fn one_upstream_alone_serves_whatever_it_is_asked_for() {
        let alone = routing(&[None]);
        assert!(alone.deciding("t").is_empty());
        let offers = alone.offers("t", &[Told::default()]);
        assert!(alone.route("any", &offers).is_some());
        assert_eq!(offers.served(), None);
    }

    #[test]
    fn several_decide_by_their_lists_and_nobody_serves_what_none_lists() {
        let both = routing(&[None, Some(&["b"])]);
        assert_eq!(both.deciding("t"), BTreeSet::from([0]));
        let told = told(&[Some(&["a", "b"]), Some(&[])]);
        assert_eq!(served_by(&both, &told), [Some(0), Some(0), None]);
        let served = both.offers("t", &told).served().unwrap();
        assert_eq!(served.into_iter().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_model_is_not_refused_while_a_list_could_not_be_read() {
        let both = routing(&[None, Some(&["b"])]);
        let away = told(&[None, Some(&[])]);
        assert_eq!(served_by(&both, &away), [Some(0), Some(1), Some(0)]);
        assert_eq!(both.offers("t", &away).served(), None);
    }

    #[test]
    fn of_upstreams_that_are_away_the_one_that_listed_a_model_serves_it() {
        let both = routing(&[None, None]);
        let before = told(&[Some(&["a"]), Some(&["b"])]);
        let away = || Err(Error::internal("away"));
        let now: Vec<_> = before.into_iter().map(|told| told.and(away())).collect();
        assert_eq!(served_by(&both, &now), [Some(0), Some(1), Some(0)]);
    }

    #[test]
    fn a_star_is_every_model_behind_those_that_are_named() {
        let both = routing(&[Some(&["*"]), Some(&["b"])]);
        assert!(both.deciding("t").is_empty());
        let silent = [Told::default(), Told::default()];
        assert_eq!(served_by(&both, &silent), [Some(0), Some(1), Some(0)]);
    }

    #[test]
    fn a_line_goes_to_an_upstream_of_its_tenant_that_lists_its_model() {
        let mut routing = routing(&[Some(&["*"]), Some(&["m"]), Some(&["m"]), Some(&["*"])]);
        let tenants: [&[&str]; 4] = [&["a"], &[], &["b"], &["b", "c"]];
        for (route, tenants) in routing.routes.iter_mut().zip(tenants) {
            let names = tenants.iter().map(|name| (*name).to_owned()).collect();
            route.tenants = (!tenants.is_empty()).then_some(names);
        }
        let table = [
            ("a", "m", Some(1)),
            ("a", "n", Some(0)),
            ("b", "n", Some(3)),
            ("d", "m", Some(1)),
            ("d", "n", None),
        ];
        for (tenant, model, expected) in table {
            let offers = routing.offers(tenant, &vec![Told::default(); 4]);
            let found = routing.route(model, &offers).map(|(place, _)| place);
            assert_eq!(found, expected, "{tenant} {model}");
        }
    }
}
