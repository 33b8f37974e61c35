//! Which upstream serves a model.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::http::HttpUpstream;
use super::models::Told;
use super::{Keep, Upstream};
use crate::config::{Concurrency, Config, UpstreamConfig};
use crate::error::{Error, Result};

/// The configured upstreams, in order.
#[derive(Debug, Clone)]
pub(crate) struct Routing {
    routes: Vec<Route>,
    /// How often there were others before.
    generation: u64,
}

/// One upstream and what it serves.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// It stays while the upstream does, also where a reload puts others beside it.
    pub(crate) id: u64,
    pub(crate) upstream: Arc<dyn Upstream>,
    config: UpstreamConfig,
}

/// In the configured list of an upstream: whatever it is asked for.
const EVERY: &str = "*";

impl Route {
    /// Its models, if these are they and no others.
    pub(crate) fn named(&self) -> Option<&[String]> {
        let models = self.config.models.as_deref()?;
        (!models.iter().any(|model| model == EVERY)).then_some(models)
    }

    /// Requests in flight at once in each of its lanes.
    pub(crate) fn concurrency(&self) -> Concurrency {
        self.config.concurrency
    }

    /// Its part of the lines, beside the weights of others.
    pub(crate) fn weight(&self) -> u32 {
        self.config.weight
    }

    /// Whether lines that begin alike come together; `None`: as it turns out.
    pub(crate) fn prefix_order(&self) -> Option<bool> {
        self.config.prefix_order
    }

    fn is_for(&self, tenant: &str) -> bool {
        let tenants = self.config.tenants.as_ref();
        tenants.is_none_or(|tenants| tenants.iter().any(|known| known == tenant))
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
    /// Those that list the model or did, else those that take every model, else the first that could
    /// not be asked: a model is not refused while one may serve it.
    fn upstreams(&self, model: &str) -> Vec<usize> {
        let named = self.all(|offer| match offer {
            Offer::These(models) | Offer::Unheard(models) => models.contains(model),
            Offer::Every => false,
        });
        if !named.is_empty() {
            return named;
        }
        let every = self.all(|offer| *offer == Offer::Every);
        if !every.is_empty() {
            return every;
        }
        let mut unheard = self.all(|offer| matches!(offer, Offer::Unheard(_)));
        unheard.truncate(1);
        unheard
    }

    fn all(&self, is: impl Fn(&Offer) -> bool) -> Vec<usize> {
        let places = self.0.iter().enumerate();
        places
            .filter(|(_, offer)| is(offer))
            .map(|(at, _)| at)
            .collect()
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
        let none = Self {
            routes: Vec::new(),
            generation: 0,
        };
        none.with(&config.upstreams, config, keep)
    }

    /// These upstreams in the place of the ones before. One that is configured as before stays what
    /// it is.
    pub(crate) fn with(
        &self,
        upstreams: &[UpstreamConfig],
        config: &Config,
        keep: &Keep,
    ) -> Result<Self> {
        if upstreams.is_empty() {
            return Err(Error::invalid(
                "no upstream is configured: give --upstream URL (or `sim` to try things out)",
            ));
        }
        let made = |upstream: &UpstreamConfig| {
            HttpUpstream::new(
                upstream,
                &config.endpoints,
                config.sending.timeout,
                config.limits.answer_bytes,
                keep.clone(),
            )
        };
        let mut next = self.routes.iter().map(|route| route.id + 1).max();
        let mut new_id = || {
            let id = next.unwrap_or_default();
            next = Some(id + 1);
            id
        };
        let routes = upstreams.iter().map(|upstream| {
            let before = self.routes.iter().find(|route| route.config == *upstream);
            match before {
                Some(route) => Ok(route.clone()),
                None => Ok(Route {
                    id: new_id(),
                    upstream: Arc::new(made(upstream)?),
                    config: upstream.clone(),
                }),
            }
        });
        Ok(Self {
            routes: routes.collect::<Result<_>>()?,
            generation: self.generation + 1,
        })
    }

    /// Later ones have a higher number.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// One upstream for every model.
    #[cfg(test)]
    pub(crate) fn only(upstream: Arc<dyn Upstream>, concurrency: Concurrency) -> Self {
        Self {
            routes: vec![Route {
                id: 0,
                upstream,
                config: UpstreamConfig {
                    concurrency,
                    ..UpstreamConfig::new("only", "http://127.0.0.1:1")
                },
            }],
            generation: 0,
        }
    }

    /// The upstreams whose own lists decide who serves a model to this tenant: one alone serves every
    /// model that it is asked for.
    pub(crate) fn deciding(&self, tenant: &str) -> BTreeSet<usize> {
        let lists = |route: &Route| route.config.models.is_none() && !self.is_alone(tenant);
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
            offers[place] = match (&route.config.models, &told[place]) {
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
        all.filter(move |(_, route)| route.is_for(tenant))
    }

    /// Whether some upstream is there for this tenant by its name: then it may have others than the
    /// rest.
    pub(crate) fn names(&self, tenant: &str) -> bool {
        let mut named = self.routes.iter().filter_map(|r| r.config.tenants.as_ref());
        named.any(|tenants| tenants.iter().any(|known| known == tenant))
    }

    /// The upstreams that serve a model; none if nobody does.
    pub(crate) fn routes(&self, model: &str, offers: &Offers) -> Vec<&Route> {
        let places = offers.upstreams(model);
        places.into_iter().map(|at| &self.routes[at]).collect()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn routing(lists: &[Option<&[&str]>]) -> Routing {
        let route = |models: &Option<&[&str]>| Route {
            id: 0,
            upstream: Arc::new(Silent),
            config: UpstreamConfig {
                models: models.map(|models| models.iter().map(|m| (*m).to_owned()).collect()),
                ..UpstreamConfig::new("silent", "http://127.0.0.1:1")
            },
        };
        Routing {
            routes: lists.iter().map(route).collect(),
            generation: 0,
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
    fn served_by(routing: &Routing, told: &[Told]) -> [Vec<usize>; 3] {
        let offers = routing.offers("t", told);
        ["a", "b", "c"].map(|model| offers.upstreams(model))
    }

    #[test]
    fn one_upstream_alone_serves_whatever_it_is_asked_for() {
        let alone = routing(&[None]);
        assert!(alone.deciding("t").is_empty());
        let offers = alone.offers("t", &[Told::default()]);
        assert_eq!(offers.upstreams("any"), [0]);
        assert_eq!(offers.served(), None);
    }

    #[test]
    fn several_decide_by_their_lists_and_share_a_model_that_more_than_one_lists() {
        let both = routing(&[None, Some(&["b"])]);
        assert_eq!(both.deciding("t"), BTreeSet::from([0]));
        let told = told(&[Some(&["a", "b"]), Some(&[])]);
        assert_eq!(served_by(&both, &told), [vec![0], vec![0, 1], vec![]]);
        let served = both.offers("t", &told).served().unwrap();
        assert_eq!(served.into_iter().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_model_is_not_refused_while_a_list_could_not_be_read() {
        let both = routing(&[None, Some(&["b"])]);
        let away = told(&[None, Some(&[])]);
        assert_eq!(served_by(&both, &away), [[0], [1], [0]]);
        assert_eq!(both.offers("t", &away).served(), None);
    }

    #[test]
    fn of_upstreams_that_are_away_the_one_that_listed_a_model_serves_it() {
        let both = routing(&[None, None]);
        let before = told(&[Some(&["a"]), Some(&["b"])]);
        let away = || Err(Error::internal("away"));
        let now: Vec<_> = before.into_iter().map(|told| told.and(away())).collect();
        assert_eq!(served_by(&both, &now), [[0], [1], [0]]);
    }

    #[test]
    fn a_star_is_every_model_behind_those_that_are_named() {
        let both = routing(&[Some(&["*"]), Some(&["b"])]);
        assert!(both.deciding("t").is_empty());
        let silent = [Told::default(), Told::default()];
        assert_eq!(served_by(&both, &silent), [[0], [1], [0]]);
    }

    #[test]
    fn a_line_goes_to_an_upstream_of_its_tenant_that_lists_its_model() {
        let mut routing = routing(&[Some(&["*"]), Some(&["m"]), Some(&["m"]), Some(&["*"])]);
        let tenants: [&[&str]; 4] = [&["a"], &[], &["b"], &["b", "c"]];
        for (route, tenants) in routing.routes.iter_mut().zip(tenants) {
            let names = tenants.iter().map(|name| (*name).to_owned()).collect();
            route.config.tenants = (!tenants.is_empty()).then_some(names);
        }
        let table: [(_, _, &[usize]); 6] = [
            ("a", "m", &[1]),
            ("a", "n", &[0]),
            ("b", "m", &[1, 2]),
            ("b", "n", &[3]),
            ("d", "m", &[1]),
            ("d", "n", &[]),
        ];
        for (tenant, model, expected) in table {
            let offers = routing.offers(tenant, &vec![Told::default(); 4]);
            assert_eq!(offers.upstreams(model), expected, "{tenant} {model}");
        }
    }
}
