//! Counters of a running simulator: answers by status, faults by name, requests in flight.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::faults::Fault;
use crate::stats::Stats;

const STATUSES: usize = 600;

/// Faults that no status tells of, in the order of their counters.
const NAMED: [Fault; 5] = [
    Fault::Hang,
    Fault::Reset,
    Fault::Cut,
    Fault::Garbage,
    Fault::Empty,
];

/// Plain counters, each right on its own; together they are a snapshot only when nothing is asked.
#[derive(Debug)]
pub(crate) struct Tally {
    by_status: Vec<AtomicU64>,
    by_fault: [AtomicU64; NAMED.len()],
    in_flight: AtomicU64,
    peak_in_flight: AtomicU64,
}

/// One request in flight; dropping it, on whatever way out, takes it off the count.
#[derive(Debug)]
pub(crate) struct Flight<'a>(&'a Tally);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            by_status: (0..STATUSES).map(|_| AtomicU64::new(0)).collect(),
            by_fault: Default::default(),
            in_flight: AtomicU64::new(0),
            peak_in_flight: AtomicU64::new(0),
        }
    }

    pub(crate) fn enter(&self) -> Flight<'_> {
        let now = self.in_flight.fetch_add(1, Relaxed) + 1;
        if now > self.peak_in_flight.load(Relaxed) {
            self.peak_in_flight.fetch_max(now, Relaxed);
        }
        Flight(self)
    }

    pub(crate) fn status(&self, status: u16) {
        if let Some(count) = self.by_status.get(usize::from(status)) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn fault(&self, fault: Fault) {
        if let Some(at) = NAMED.iter().position(|known| *known == fault) {
            self.by_fault[at].fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn clear(&self) {
        self.by_status
            .iter()
            .chain(&self.by_fault)
            .for_each(|count| count.store(0, Relaxed));
        self.peak_in_flight
            .store(self.in_flight.load(Relaxed), Relaxed);
    }

    /// Adds what this tally knows to `stats`.
    pub(crate) fn tell(&self, stats: &mut Stats) {
        for (status, count) in self.by_status.iter().enumerate() {
            let count = count.load(Relaxed);
            if count > 0 {
                stats.by_status.insert(status as u16, count);
            }
        }
        for (fault, count) in NAMED.iter().zip(&self.by_fault) {
            let count = count.load(Relaxed);
            if count > 0 {
                stats.by_fault.insert(fault.to_string(), count);
            }
        }
        stats.in_flight = self.in_flight.load(Relaxed);
        stats.peak_in_flight = self.peak_in_flight.load(Relaxed);
    }
}
