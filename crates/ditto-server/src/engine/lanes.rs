//! The lanes in use, and what they say together: what to lease, and what not.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::dry::Dry;
use super::lane::{Lane, LaneReport, Rest};
use super::lock;
use super::segment::LineJob;
use crate::catalog::LaneMark;
use crate::upstream::{Offers, Routing};

/// One lane without lines is called this often.
const CALL: Duration = Duration::from_secs(1);
/// A pause that was not looked at for this long says nothing.
const REMEMBERED: Duration = Duration::from_secs(600);

/// The lanes in use.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    by_key: Mutex<BTreeMap<LaneKey, Arc<Lane>>>,
    pub(crate) needs: Arc<Needs>,
    /// Segments were parked here: there is something for which lanes may be shut. What an earlier life
    /// has parked comes back once, and is parked here if it has to be.
    pub(crate) has_parked: AtomicBool,
    /// When a lane without lines was last called.
    called: Mutex<Option<Duration>>,
}

/// What all lanes tell those who lease.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// Lines that could be sent as soon as a slot is free.
    pub(crate) ready: AtomicUsize,
    /// Batches of which a lane has few lines or none, although there may be more to lease.
    pub(crate) dry: Dry,
    /// There may be something to lease that nobody here knows of: of a batch that is ending, or what
    /// waited for a lane that is back.
    pub(crate) hungry: AtomicBool,
    /// Told when lines run low, and whenever else there may be something to lease.
    pub(crate) ran_low: Notify,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct LaneKey {
    upstream: usize,
    model: String,
}

impl Lanes {
    /// The lane for a model; `None` if no upstream serves it to this tenant.
    pub(crate) fn lane(
        &self,
        routing: &Routing,
        offers: &Offers,
        model: &str,
    ) -> Option<Arc<Lane>> {
        let (upstream, route) = routing.route(model, offers)?;
        let key = LaneKey {
            upstream,
            model: model.to_owned(),
        };
        let mut lanes = lock(&self.by_key);
        let lane = lanes.entry(key).or_insert_with_key(|key| {
            let (upstream, needs) = (Arc::clone(&route.upstream), Arc::clone(&self.needs));
            Arc::new(Lane::new(upstream, &key.model, route.concurrency, needs))
        });
        Some(Arc::clone(lane))
    }

    /// Lines that wait in memory for a slot, retries not among them.
    pub(crate) fn ready(&self) -> usize {
        self.needs.ready.load(Ordering::Relaxed)
    }

    /// Of these, lines that cannot be sent because their lane is paused.
    pub(crate) fn waiting_for_pauses(&self, now: Duration) -> usize {
        let lanes = lock(&self.by_key);
        lanes.values().map(|lane| lane.waiting_for_pause(now)).sum()
    }

    /// Lanes that have been paused for at least this long.
    pub(crate) fn paused_for(&self, long: Duration, now: Duration) -> Vec<Arc<Lane>> {
        let lanes = lock(&self.by_key);
        lanes
            .values()
            .filter(|lane| lane.is_paused_for(long, now))
            .cloned()
            .collect()
    }

    /// Lanes that get nothing of what waits for them: they are paused, or have enough. Of those that
    /// are paused and have no line with which to find out when they are back, one is called a second:
    /// what waits for it elsewhere brings its next probe.
    pub(crate) fn shut(&self, now: Duration) -> Vec<LaneMark> {
        if !self.has_parked.load(Ordering::Acquire) {
            return Vec::new();
        }
        let lanes = lock(&self.by_key);
        let called = self.to_be_called(&lanes, now);
        let shut = lanes.iter().filter(|(key, lane)| {
            let rest = lane.rest();
            rest != Rest::None && called.as_ref() != Some(*key)
        });
        shut.map(|(_, lane)| lane.mark().clone()).collect()
    }

    /// Of the lanes that have nothing to send and whose pause is over, the one that has waited longest.
    fn to_be_called(&self, lanes: &BTreeMap<LaneKey, Arc<Lane>>, now: Duration) -> Option<LaneKey> {
        let mut last = lock(&self.called);
        if last.is_some_and(|last| now < last + CALL) {
            return None;
        }
        let sleeping = lanes.iter().filter_map(|(key, lane)| match lane.rest() {
            Rest::Asleep(until) if until <= now => Some((until, key)),
            _ => None,
        });
        let key = sleeping.min().map(|(_, key)| key.clone());
        if key.is_some() {
            *last = Some(now);
        }
        key
    }

    /// Lanes that have more lines in memory than they need for now.
    pub(crate) fn crowded(&self) -> Vec<Arc<Lane>> {
        let lanes = lock(&self.by_key);
        let crowded = lanes.values().filter(|lane| lane.rest() == Rest::Enough);
        crowded.cloned().collect()
    }

    /// All waiting lines for which this holds, taken out of their lanes.
    pub(crate) fn take(&self, wanted: impl Fn(&LineJob) -> bool) -> Vec<LineJob> {
        let lanes: Vec<_> = lock(&self.by_key).values().cloned().collect();
        lanes
            .iter()
            .flat_map(|lane| lane.take_waiting(&wanted))
            .collect()
    }

    pub(crate) fn wake_all(&self) {
        lock(&self.by_key).values().for_each(|lane| lane.wake());
    }

    /// Forgets lanes that nobody uses: a lenient file may name any number of models.
    /// That one is paused is remembered while something may wait for it.
    pub(crate) fn forget_unused(&self, now: Duration) {
        lock(&self.by_key).retain(|_, lane| {
            let paused = match lane.rest() {
                Rest::Asleep(until) => now < until + REMEMBERED,
                _ => false,
            };
            lane.is_used() || paused
        });
    }

    pub(crate) fn report(&self, routing: &Routing, now: Duration) -> Vec<LaneReport> {
        debug_assert!(routing.all().count() > 0, "a server has an upstream");
        let mut reports: Vec<_> = lock(&self.by_key).values().map(|l| l.report(now)).collect();
        reports.sort_by(|a, b| (&a.upstream, &a.model).cmp(&(&b.upstream, &b.model)));
        reports
    }
}
