//! When the faults of a provider strike, and how often they have.

use std::collections::BTreeMap;

use crate::chance::{Purpose, draw};
use crate::provider::fault::{ProviderFault, Scope};
use crate::provider::faults::{Measure, ProviderFaults, Trouble, When};

/// The faults of a running provider.
#[derive(Debug)]
pub(crate) struct Mischief {
    faults: ProviderFaults,
    seed: u64,
    met: BTreeMap<ProviderFault, u64>,
    struck: BTreeMap<ProviderFault, u64>,
}

/// What befalls one batch.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plight(BTreeMap<ProviderFault, Measure>);

impl Plight {
    pub(crate) fn has(&self, fault: ProviderFault) -> bool {
        self.0.contains_key(&fault)
    }

    pub(crate) fn measure(&self, fault: ProviderFault) -> Option<&Measure> {
        self.0.get(&fault)
    }

    #[cfg(test)]
    pub(crate) fn of(fault: ProviderFault, measure: Measure) -> Self {
        Self(BTreeMap::from([(fault, measure)]))
    }
}

impl Mischief {
    pub(crate) fn new(faults: ProviderFaults, seed: u64) -> Self {
        Self {
            faults,
            seed,
            met: BTreeMap::new(),
            struck: BTreeMap::new(),
        }
    }

    /// How often each fault has struck.
    pub(crate) fn struck(&self) -> impl Iterator<Item = (ProviderFault, u64)> {
        self.struck.iter().map(|(fault, times)| (*fault, *times))
    }

    /// The measure of a limit, which does not strike by itself.
    pub(crate) fn limit(&self, fault: ProviderFault) -> Option<u64> {
        Some(self.faults.find(fault)?.measure.number())
    }

    pub(crate) fn measure(&self, fault: ProviderFault) -> Option<&Measure> {
        Some(&self.faults.find(fault)?.measure)
    }

    /// Counts a strike that was decided elsewhere.
    pub(crate) fn note(&mut self, fault: ProviderFault) {
        *self.struck.entry(fault).or_default() += 1;
    }

    /// Whether the fault strikes now.
    pub(crate) fn strikes(&mut self, fault: ProviderFault) -> Option<Measure> {
        let trouble = self.faults.find(fault)?.clone();
        let met = self.meet(fault);
        self.strike(&trouble, met, 0)
    }

    /// What befalls a new batch.
    pub(crate) fn plight(&mut self) -> Plight {
        let troubles = self.of_scope(Scope::Batch);
        let mut plight = Plight::default();
        for trouble in troubles {
            let met = self.meet(trouble.fault);
            if let Some(measure) = self.strike(&trouble, met, 0) {
                plight.0.insert(trouble.fault, measure);
            }
        }
        plight
    }

    /// What befalls a line, at most one fault. Chance goes by the line and how often it was asked,
    /// so that it does not matter in which order lines come.
    pub(crate) fn strikes_line(&mut self, hash: u64, nth: u32) -> Option<(ProviderFault, Measure)> {
        for trouble in self.of_scope(Scope::Line) {
            let met = self.meet(trouble.fault);
            let key = match trouble.when {
                When::Share(_) => u64::from(nth),
                When::First(_) | When::Always => met,
            };
            if let Some(measure) = self.strike(&trouble, key, hash) {
                return Some((trouble.fault, measure));
            }
        }
        None
    }

    fn of_scope(&self, scope: Scope) -> Vec<Trouble> {
        let suits = |trouble: &&Trouble| trouble.fault.known().scope == scope;
        self.faults.iter().filter(suits).cloned().collect()
    }

    /// How often the fault could have struck before.
    fn meet(&mut self, fault: ProviderFault) -> u64 {
        let met = self.met.entry(fault).or_default();
        *met += 1;
        *met - 1
    }

    fn strike(&mut self, trouble: &Trouble, met: u64, identity: u64) -> Option<Measure> {
        let strikes = match trouble.when {
            When::Always => true,
            When::First(times) => self.struck.get(&trouble.fault).copied().unwrap_or(0) < times,
            When::Share(share) => {
                let which = identity ^ ((trouble.fault as u64) << 56);
                draw(self.seed, Purpose::Provider, which, met as u32) < share
            }
        };
        if !strikes {
            return None;
        }
        self.note(trouble.fault);
        Some(trouble.measure.clone())
    }
}
