//! Everything the provider knows, and how each call changes it.

mod batches;
mod files;
mod progress;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::SimConfig;
use crate::envelope::Complaint;
use crate::ledger::Ledger;
use crate::provider::batch::Batch;
use crate::provider::bill::{BatchBill, Bill};
use crate::provider::call::Call;
use crate::provider::clock::{At, Clock};
use crate::provider::fault::ProviderFault as Fault;
use crate::provider::faults::{Measure, ProviderFaults};
use crate::provider::mischief::Mischief;
use crate::provider::obstacle::{self, bad_gateway};
use crate::provider::page::Wanted;
use crate::provider::run::Ran;
use crate::provider::settings::ProviderConfig;
use crate::provider::show;
use crate::provider::store::Store;
use crate::provider::{End, Parcel, key_of};
use crate::stats::Stats;

#[derive(Debug)]
pub(crate) struct State {
    config: SimConfig,
    clock: Clock,
    store: Store,
    batches: Vec<Batch>,
    /// Of the lines, by the hash of their bodies.
    ledger: Ledger,
    calls: BTreeMap<&'static str, u64>,
    mischief: Mischief,
    /// Since the first creation.
    outage_since: Option<At>,
    keys_leaked: u64,
}

impl State {
    pub(crate) fn new(config: SimConfig) -> Self {
        let mischief = Mischief::new(config.provider.faults.clone(), config.seed);
        Self {
            config,
            clock: Clock::start(),
            store: Store::default(),
            batches: Vec::new(),
            ledger: Ledger::new(),
            calls: BTreeMap::new(),
            mischief,
            outage_since: None,
            keys_leaked: 0,
        }
    }

    fn settings(&self) -> &ProviderConfig {
        &self.config.provider
    }

    pub(crate) fn folder(&mut self) -> io::Result<PathBuf> {
        self.store.folder(self.config.provider.folder.as_deref())
    }

    pub(crate) fn advance(&mut self, span: Duration) {
        self.clock.leap(span);
    }

    pub(crate) fn set_faults(&mut self, faults: ProviderFaults) {
        self.mischief = Mischief::new(faults, self.config.seed);
    }

    pub(crate) fn forget_all(&mut self) {
        *self = Self::new(self.config.clone());
    }

    /// Everything but an upload, which has come from the wire before.
    pub(crate) fn answer(&mut self, call: &Call, parcel: &Parcel) -> Result<End, End> {
        self.meet(call.name(), &key_of(&parcel.headers))?;
        let told = match call {
            Call::Upload | Call::NotAllowed => {
                let complaint = Complaint::invalid("Not allowed here.").with_status(405);
                return Err(complaint.into());
            }
            Call::ListFiles => self.list_files(&Wanted::read(&parcel.query))?,
            Call::RetrieveFile(id) => show::file(self.store.get(id)?, &self.clock),
            Call::DeleteFile(id) => self.delete(id)?,
            Call::Content(id) => return self.content(id, parcel),
            Call::Signed(id) => return self.signed(id, parcel),
            Call::Create => {
                let told = self.create(&parcel.body)?;
                self.wrapped(told, Fault::CreateWrapped)
            }
            Call::ListBatches => self.list(&Wanted::read(&parcel.query))?,
            Call::Retrieve(id) => self.tell(self.find(id)?),
            Call::Cancel(id) => self.cancel(id)?,
        };
        let after = obstacle::after(call.name(), &mut self.mischief);
        Ok(after.unwrap_or_else(|| json_end(&told)))
    }

    /// The answer, in another object if this fault strikes.
    fn wrapped(&mut self, told: Value, fault: Fault) -> Value {
        match self.mischief.strikes(fault) {
            Some(word) => json!({word.word(): told}),
            None => told,
        }
    }

    /// Counts a call, and ends it if something stands in its way.
    fn meet(&mut self, call: &'static str, key: &str) -> Result<(), End> {
        *self.calls.entry(call).or_default() += 1;
        if self.is_out() {
            self.mischief.note(Fault::Outage);
            return Err(End::Plain(bad_gateway()));
        }
        if self.mischief.strikes(Fault::RateLimited).is_some() {
            return Err(End::Later(Complaint::simulated(429)));
        }
        if self.mischief.strikes(Fault::KeyEchoed).is_some() {
            let message = format!("Incorrect API key provided: {key}.");
            let complaint = Complaint::simulated(401);
            return Err(Complaint {
                message,
                ..complaint
            }
            .into());
        }
        match obstacle::before(call, &mut self.mischief) {
            Some(end) => Err(end),
            None => Ok(()),
        }
    }

    fn is_out(&self) -> bool {
        let span = self.mischief.measure(Fault::Outage).map(Measure::span);
        let since = self.outage_since;
        span.zip(since)
            .is_some_and(|(span, since)| self.clock.now() < since + span)
    }

    pub(crate) fn bill(&self) -> Bill {
        let mut lines = Stats::default();
        self.ledger.tell(&mut lines);
        let ran = || self.batches.iter().filter_map(|batch| batch.ran.as_ref());
        let mut bill = Bill {
            prompt_tokens: ran().map(|ran| ran.prompt_tokens).sum(),
            completion_tokens: ran().map(|ran| ran.completion_tokens).sum(),
            calls: self
                .calls
                .iter()
                .map(|(name, n)| ((*name).into(), *n))
                .collect(),
            faults: self
                .mischief
                .struck()
                .map(|(fault, n)| (fault.name().into(), n))
                .collect(),
            keys_leaked: self.keys_leaked,
            files: self.store.all().count() as u64,
            ..Bill::default()
        };
        bill.count(&lines);
        self.batches
            .iter()
            .map(one_bill)
            .for_each(|batch| bill.add(batch));
        bill
    }
}

fn one_bill(batch: &Batch) -> BatchBill {
    let none = Ran::default();
    let ran = batch.ran.as_ref().unwrap_or(&none);
    BatchBill {
        id: batch.id.clone(),
        status: batch.stage.word().into(),
        input_file_id: batch.order.input_file_id.clone(),
        metadata: batch.order.metadata.clone().unwrap_or_default(),
        total: batch.total,
        lines_run: ran.lines_run,
        billed: ran.billed,
    }
}

fn json_end(told: &Value) -> End {
    End::Json(told.to_string().into_bytes())
}
