//! The pools and lanes in use, and what they say together: what to lease, and what not.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::dry::Dry;
use super::lane::{Lane, LaneReport};
use super::lock;
use super::pool::{Pool, PoolKey, Rest};
use super::segment::LineJob;
use crate::catalog::LaneMark;
use crate::upstream::{Offers, Route, Routing};

/// One pool without lines whose lanes are paused is called this often.
const CALL: Duration = Duration::from_secs(1);
/// A pause that was not looked at for this long says nothing.
const REMEMBERED: Duration = Duration::from_secs(600);

/// The pools and lanes in use.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    known: Mutex<Known>,
    pub(crate) needs: Arc<Needs>,
    /// Segments were parked here: there is something for which pools may be shut. What an earlier life
    /// has parked comes back once, and is parked here if it has to be.
    pub(crate) has_parked: AtomicBool,
    /// When a pool without lines was last called.
    called: Mutex<Option<Duration>>,
}

#[derive(Debug, Default)]
struct Known {
    pools: BTreeMap<PoolKey, Arc<Pool>>,
    lanes: BTreeMap<LaneKey, Arc<Lane>>,
}

/// What all of them tell those who lease.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// Lines that could be sent as soon as a slot is free.
    pub(crate) ready: AtomicUsize,
    /// Batches of which a pool has few lines or none, although there may be more to lease.
    pub(crate) dry: Dry,
    /// There may be something to lease that nobody here knows of: of a batch that is ending, or what
    /// waited for lanes that are back.
    pub(crate) hungry: AtomicBool,
    /// Told when lines run low, and whenever else there may be something to lease.
    pub(crate) ran_low: Notify,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct LaneKey {
    /// Of the upstream.
    route: u64,
    model: String,
}

impl Lanes {
    /// Where lines of a model wait; `None` if no upstream serves it to this tenant.
    pub(crate) fn pool(
        &self,
        routing: &Routing,
        offers: &Offers,
        tenant: &str,
        model: &str,
    ) -> Option<Arc<Pool>> {
        let routes = routing.routes(model, offers);
        if routes.is_empty() {
            return None;
        }
        let key = PoolKey {
            tenant: routing.names(tenant).then(|| tenant.to_owned()),
            model: model.to_owned(),
        };
        let mut known = lock(&self.known);
        let lanes = known.lanes_of(&routes, model, &self.needs);
        let pool = known.pools.entry(key).or_insert_with_key(|key| {
            let needs = Arc::clone(&self.needs);
            Arc::new(Pool::new(key.clone(), needs))
        });
        pool.set_lanes(routing.generation(), lanes);
        Some(Arc::clone(pool))
    }

    /// The lanes of these upstreams for a model.
    pub(crate) fn lanes_of(&self, routes: &[&Route], model: &str) -> Vec<Arc<Lane>> {
        lock(&self.known).lanes_of(routes, model, &self.needs)
    }

    /// All pools.
    pub(crate) fn pools(&self) -> Vec<Arc<Pool>> {
        lock(&self.known).pools.values().cloned().collect()
    }

    /// Lines that wait in memory for a slot, retries not among them.
    pub(crate) fn ready(&self) -> usize {
        self.needs.ready.load(Ordering::Relaxed)
    }

    /// Of these, lines that cannot be sent because their lanes are paused.
    pub(crate) fn waiting_for_pauses(&self, now: Duration) -> usize {
        let known = lock(&self.known);
        let pools = known.pools.values();
        pools.map(|pool| pool.waiting_for_pause(now)).sum()
    }

    /// Pools whose lanes have been paused for at least this long.
    pub(crate) fn paused_for(&self, long: Duration, now: Duration) -> Vec<Arc<Pool>> {
        let known = lock(&self.known);
        let paused = known.pools.values();
        let paused = paused.filter(|pool| pool.is_paused_for(long, now));
        paused.cloned().collect()
    }

    /// Pools that get nothing of what waits for them: their lanes are paused, or they have enough. Of
    /// those that are paused and have no line with which to find out when they are back, one is called a
    /// second: what waits for it elsewhere brings its next probe.
    pub(crate) fn shut(&self, now: Duration) -> Vec<LaneMark> {
        if !self.has_parked.load(Ordering::Acquire) {
            return Vec::new();
        }
        let known = lock(&self.known);
        let called = self.to_be_called(&known, now);
        let shut = known.pools.iter().filter(|(key, pool)| {
            let rest = pool.rest();
            rest != Rest::None && called.as_ref() != Some(*key)
        });
        shut.map(|(_, pool)| pool.mark().clone()).collect()
    }

    /// Of the pools that have nothing to send and whose pause is over, the one that has waited longest.
    fn to_be_called(&self, known: &Known, now: Duration) -> Option<PoolKey> {
        let mut last = lock(&self.called);
        if last.is_some_and(|last| now < last + CALL) {
            return None;
        }
        let sleeping = known
            .pools
            .iter()
            .filter_map(|(key, pool)| match pool.rest() {
                Rest::Asleep(until) if until <= now => Some((until, key)),
                _ => None,
            });
        let key = sleeping.min().map(|(_, key)| key.clone());
        if key.is_some() {
            *last = Some(now);
        }
        key
    }

    /// Pools that have more lines in memory than they need for now.
    pub(crate) fn crowded(&self) -> Vec<Arc<Pool>> {
        let known = lock(&self.known);
        let crowded = known.pools.values();
        let crowded = crowded.filter(|pool| pool.rest() == Rest::Enough);
        crowded.cloned().collect()
    }

    /// All waiting lines for which this holds, taken out.
    pub(crate) fn take(&self, wanted: impl Fn(&LineJob) -> bool) -> Vec<LineJob> {
        let pools = self.pools();
        pools
            .iter()
            .flat_map(|pool| pool.take_waiting(&wanted))
            .collect()
    }

    /// Lanes in use that search for their limit, by upstream.
    pub(crate) fn searching(&self) -> Vec<Vec<Arc<Lane>>> {
        let known = lock(&self.known);
        let mut by_route: BTreeMap<u64, Vec<Arc<Lane>>> = BTreeMap::new();
        for (key, lane) in &known.lanes {
            if lane.is_searching() {
                by_route
                    .entry(key.route)
                    .or_default()
                    .push(Arc::clone(lane));
            }
        }
        by_route.into_values().collect()
    }

    pub(crate) fn wake_all(&self) {
        lock(&self.known)
            .lanes
            .values()
            .for_each(|lane| lane.wake());
    }

    /// Forgets what nobody uses: a lenient file may name any number of models.
    /// That a lane is paused is remembered while something may wait for it. A pool that somebody has in hand
    /// is about to get lines: without it nobody would ever take them.
    pub(crate) fn forget_unused(&self, now: Duration) {
        let mut known = lock(&self.known);
        let Known { pools, lanes } = &mut *known;
        pools.retain(|_, pool| {
            let paused = match pool.rest() {
                Rest::Asleep(until) => now < until + REMEMBERED,
                _ => false,
            };
            Arc::strong_count(pool) > 1 || pool.is_used() || paused
        });
        lanes.retain(|_, lane| lane.is_of_a_pool() || lane.has_slots());
    }

    pub(crate) fn report(&self, now: Duration) -> Vec<LaneReport> {
        let known = lock(&self.known);
        let mut reports: Vec<_> = known.lanes.values().map(|l| l.report(now)).collect();
        reports.sort_by(|a, b| (&a.upstream, &a.model).cmp(&(&b.upstream, &b.model)));
        reports
    }
}

impl Known {
    /// The lanes of these upstreams for a model.
    fn lanes_of(&mut self, routes: &[&Route], model: &str, needs: &Arc<Needs>) -> Vec<Arc<Lane>> {
        let lane = |route: &&Route| {
            let key = LaneKey {
                route: route.id,
                model: model.to_owned(),
            };
            let new = || Arc::new(Lane::new(route, model, Arc::clone(needs)));
            Arc::clone(self.lanes.entry(key).or_insert_with(new))
        };
        routes.iter().map(lane).collect()
    }
}
