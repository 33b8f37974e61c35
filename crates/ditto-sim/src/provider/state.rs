//! Everything the provider knows, and how each call changes it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::SimConfig;
use crate::envelope::Complaint;
use crate::ledger::Ledger;
use crate::provider::batch::{Batch, Order, Stage, Stamps, Step, window};
use crate::provider::bill::{BatchBill, Bill};
use crate::provider::call::Call;
use crate::provider::clock::{At, Clock};
use crate::provider::page::{self, Wanted};
use crate::provider::rows::Written;
use crate::provider::run::{self, Job, Model, Ran, Rest};
use crate::provider::settings::ProviderConfig;
use crate::provider::show;
use crate::provider::store::{Store, Stored};
use crate::provider::upload::Upload;
use crate::provider::validate::{self, batch_error};
use crate::provider::{End, Parcel, Sheet, asked_span};
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
}

/// More would be a loop in the client, and each takes memory.
const MAX_BATCHES: usize = 100_000;
const BATCH_PAGE: usize = 20;
const MAX_BATCH_PAGE: usize = 100;
const FILE_PAGE: usize = 10_000;

impl State {
    pub(crate) fn new(config: SimConfig) -> Self {
        Self {
            config,
            clock: Clock::start(),
            store: Store::default(),
            batches: Vec::new(),
            ledger: Ledger::new(),
            calls: BTreeMap::new(),
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

    pub(crate) fn forget_all(&mut self) {
        *self = Self::new(self.config.clone());
    }

    /// Everything but an upload, which has come from the wire before.
    pub(crate) fn answer(&mut self, call: &Call, parcel: &Parcel) -> Result<End, End> {
        *self.calls.entry(call.name()).or_default() += 1;
        let told = match call {
            Call::Upload | Call::NotAllowed => {
                let complaint = Complaint::invalid("Not allowed here.").with_status(405);
                return Err(complaint.into());
            }
            Call::ListFiles => self.list_files(&Wanted::read(&parcel.query))?,
            Call::RetrieveFile(id) => show::file(self.store.get(id)?, &self.clock),
            Call::DeleteFile(id) => self.delete(id)?,
            Call::Content(id) => return self.content(id, parcel),
            Call::Create => self.create(&parcel.body)?,
            Call::ListBatches => self.list(&Wanted::read(&parcel.query))?,
            Call::Retrieve(id) => self.tell(self.find(id)?),
            Call::Cancel(id) => self.cancel(id)?,
        };
        Ok(json_end(&told))
    }

    pub(crate) fn keep(&mut self, upload: Upload) -> Result<End, End> {
        *self.calls.entry(Call::Upload.name()).or_default() += 1;
        let file = Stored {
            id: self.store.next_id(),
            path: upload.path,
            bytes: upload.bytes,
            filename: upload.filename,
            purpose: upload.purpose,
            created: self.clock.now(),
            expires_after: upload.expires_after,
        };
        let told = show::file(&file, &self.clock);
        self.store.put(file)?;
        Ok(json_end(&told))
    }

    fn list_files(&self, wanted: &Wanted) -> Result<Value, Complaint> {
        let suits = |file: &&Stored| wanted.purpose.as_ref().is_none_or(|p| *p == file.purpose);
        let mut ids: Vec<String> = self
            .store
            .all()
            .filter(suits)
            .map(|file| file.id.clone())
            .collect();
        if !wanted.oldest_first {
            ids.reverse();
        }
        let limit = wanted.limit.unwrap_or(FILE_PAGE).min(FILE_PAGE);
        let page = page::page(&ids, wanted.after.as_deref(), limit).ok_or_else(unknown_after)?;
        let files = page.ids.iter().filter_map(|id| self.store.find(id));
        let data = files.map(|file| show::file(file, &self.clock)).collect();
        Ok(page::list(data, page.has_more))
    }

    /// The bytes go too, unless a batch still reads them; then they go with the folder.
    fn delete(&mut self, id: &str) -> Result<Value, End> {
        let path = self.store.get(id)?.path.clone();
        self.store.delete(id)?;
        let is_read = |batch: &Batch| !batch.stage.is_final() && batch.order.input_file_id == id;
        if !self.batches.iter().any(is_read) {
            std::fs::remove_file(path)?;
        }
        Ok(json!({"id": id, "object": "file", "deleted": true}))
    }

    fn content(&self, id: &str, parcel: &Parcel) -> Result<End, End> {
        let file = self.store.get(id)?.clone();
        let span = asked_span(&parcel.headers, file.bytes)?;
        Ok(End::File(Box::new(Sheet { file, span })))
    }

    fn create(&mut self, body: &[u8]) -> Result<Value, End> {
        let order = Order::read(body)?;
        if self.batches.len() >= MAX_BATCHES {
            let message = format!("The simulator keeps {MAX_BATCHES} batches; reset it.");
            return Err(Complaint::invalid(message).into());
        }
        let window = window(&order.window).expect("it was checked when the order was read");
        let stamps = Stamps {
            created: self.clock.now(),
            ..Stamps::default()
        };
        self.batches.push(Batch {
            id: format!("batch_sim_{:06}", self.batches.len() + 1),
            input: self
                .store
                .find(&order.input_file_id)
                .map(|file| file.path.clone()),
            order,
            stage: Stage::Validating,
            stamps,
            window,
            errors: Vec::new(),
            total: 0,
            tokens: 0,
            ran: None,
        });
        let made = self.batches.last().expect("it was pushed above");
        Ok(self.tell(made))
    }

    fn list(&self, wanted: &Wanted) -> Result<Value, Complaint> {
        let ids: Vec<String> = self
            .batches
            .iter()
            .rev()
            .map(|batch| batch.id.clone())
            .collect();
        let limit = wanted.limit.unwrap_or(BATCH_PAGE).min(MAX_BATCH_PAGE);
        let page = page::page(&ids, wanted.after.as_deref(), limit).ok_or_else(unknown_after)?;
        let batches = page.ids.iter().filter_map(|id| self.find(id).ok());
        let data = batches.map(|batch| self.tell(batch)).collect();
        Ok(page::list(data, page.has_more))
    }

    fn cancel(&mut self, id: &str) -> Result<Value, Complaint> {
        let at = self.position(id)?;
        let now = self.clock.now();
        let batch = &mut self.batches[at];
        match batch.stage {
            Stage::Completed | Stage::Failed | Stage::Expired => {
                let message = format!(
                    "Cannot cancel a batch with status '{}'.",
                    batch.stage.word()
                );
                return Err(Complaint::invalid(message).with_status(409));
            }
            Stage::Cancelling | Stage::Cancelled => {}
            Stage::Validating | Stage::InProgress | Stage::Finalizing => {
                batch.stage = Stage::Cancelling;
                batch.stamps.cancelling = Some(now);
            }
        }
        Ok(self.tell(&self.batches[at]))
    }

    fn tell(&self, batch: &Batch) -> Value {
        show::batch(batch, &self.clock, &self.settings().pace)
    }

    fn find(&self, id: &str) -> Result<&Batch, Complaint> {
        Ok(&self.batches[self.position(id)?])
    }

    fn position(&self, id: &str) -> Result<usize, Complaint> {
        let at = self.batches.iter().position(|batch| batch.id == id);
        at.ok_or_else(|| {
            let message = format!("No batch found with id '{id}'.");
            Complaint::invalid(message).with_status(404)
        })
    }

    /// Leads every batch to where it is by now, step by step in the order of their times.
    pub(crate) fn catch_up(&mut self) {
        let now = self.clock.now();
        while let Some((index, at, step)) = self.next_step(now) {
            if let Err(error) = self.take(index, at, step) {
                let message = format!("The simulator's disk failed: {error}.");
                self.fail(index, at, vec![batch_error("internal_error", &message)]);
            }
        }
    }

    fn next_step(&self, now: At) -> Option<(usize, At, Step)> {
        let pace = &self.settings().pace;
        let due = self
            .batches
            .iter()
            .enumerate()
            .filter_map(|(index, batch)| {
                let (at, step) = batch.next(pace, now)?;
                Some((index, at, step))
            });
        due.min_by_key(|(index, at, _)| (*at, *index))
    }

    fn take(&mut self, index: usize, at: At, step: Step) -> io::Result<()> {
        match step {
            Step::Validate => self.validate(index, at),
            Step::Finalize => {
                self.run(index, self.batches[index].total, Rest::Expired)?;
                self.enter(index, at, Stage::Finalizing);
                Ok(())
            }
            Step::Complete => {
                self.enter(index, at, Stage::Completed);
                Ok(())
            }
            Step::Expire { lines } => {
                self.run(index, lines, Rest::Expired)?;
                self.enter(index, at, Stage::Expired);
                Ok(())
            }
            Step::Cancel => {
                let since = self.batches[index].stamps.cancelling.unwrap_or(at);
                let lines = self.batches[index].lines_run_by(&self.settings().pace, since);
                self.run(index, lines, Rest::Cancelled)?;
                self.enter(index, at, Stage::Cancelled);
                Ok(())
            }
        }
    }

    fn enter(&mut self, index: usize, at: At, stage: Stage) {
        let batch = &mut self.batches[index];
        batch.stage = stage;
        let stamps = &mut batch.stamps;
        let stamp = match stage {
            Stage::Validating => return,
            Stage::InProgress => &mut stamps.in_progress,
            Stage::Finalizing => &mut stamps.finalizing,
            Stage::Cancelling => &mut stamps.cancelling,
            Stage::Completed => &mut stamps.completed,
            Stage::Failed => &mut stamps.failed,
            Stage::Expired => &mut stamps.expired,
            Stage::Cancelled => &mut stamps.cancelled,
        };
        *stamp = Some(at);
    }

    fn fail(&mut self, index: usize, at: At, errors: Vec<Value>) {
        self.batches[index].errors = errors;
        self.enter(index, at, Stage::Failed);
    }

    fn validate(&mut self, index: usize, at: At) -> io::Result<()> {
        let batch = &self.batches[index];
        let Some(input) = &batch.input else {
            let id = &batch.order.input_file_id;
            let message = format!("Cannot find file {id}, or you do not have access to it.");
            self.fail(index, at, vec![batch_error("invalid_request", &message)]);
            return Ok(());
        };
        match validate::check(input, &batch.order)? {
            Ok(found) => {
                let batch = &mut self.batches[index];
                (batch.total, batch.tokens) = (found.lines, found.tokens);
                self.enter(index, at, Stage::InProgress);
            }
            Err(errors) => self.fail(index, at, errors),
        }
        Ok(())
    }

    /// Runs the first lines of a batch, unless they have run before, and keeps the files.
    fn run(&mut self, index: usize, lines: u64, rest: Rest) -> io::Result<()> {
        let folder = self.folder()?;
        let batch = &self.batches[index];
        let Some(input) = batch.input.as_deref().filter(|_| batch.ran.is_none()) else {
            return Ok(());
        };
        let job = Job {
            input,
            folder: &folder,
            batch: &batch.id,
            asks: batch.order.asks,
            lines,
            rest,
        };
        let model = Model {
            config: &self.config,
            ledger: &self.ledger,
        };
        let mut ran = run::run(&job, &model)?;
        let id = batch.id.clone();
        ran.output_file_id = self.keep_rows(ran.output.take(), format!("{id}_output.jsonl"));
        ran.error_file_id = self.keep_rows(ran.error.take(), format!("{id}_error.jsonl"));
        self.batches[index].ran = Some(ran);
        Ok(())
    }

    fn keep_rows(&mut self, written: Option<Written>, filename: String) -> Option<String> {
        let written = written?;
        let id = self.store.next_id();
        let file = Stored {
            id: id.clone(),
            path: written.path,
            bytes: written.bytes,
            filename,
            purpose: "batch_output".into(),
            created: self.clock.now(),
            expires_after: None,
        };
        // With no room for it the result is as good as gone; its id says so with a 404.
        drop(self.store.put(file));
        Some(id)
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
            files: self.store.all().count() as u64,
            batches: self.batches.iter().map(one_bill).collect(),
            ..Bill::default()
        };
        bill.count(&lines);
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

fn unknown_after() -> Complaint {
    Complaint::invalid("No object with the id that `after` names.").with_param("after")
}

fn json_end(told: &Value) -> End {
    End::Json(told.to_string().into_bytes())
}
