//! Everything the provider knows, and how each call changes it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderMap};
use serde_json::{Value, json};

use crate::config::SimConfig;
use crate::envelope::Complaint;
use crate::file_body::Span;
use crate::ledger::Ledger;
use crate::provider::batch::{Batch, Order, Stage, Stamps, Step, window};
use crate::provider::bill::{BatchBill, Bill};
use crate::provider::call::{Call, SIGNED};
use crate::provider::clock::{At, Clock};
use crate::provider::fault::ProviderFault as Fault;
use crate::provider::faults::{Measure, ProviderFaults};
use crate::provider::mischief::Mischief;
use crate::provider::obstacle::{self, bad_gateway};
use crate::provider::page::{self, Wanted};
use crate::provider::rows::Written;
use crate::provider::run::{self, Job, Model, Ran, Rest};
use crate::provider::settings::ProviderConfig;
use crate::provider::show;
use crate::provider::store::{Store, Stored};
use crate::provider::upload::Upload;
use crate::provider::validate::{self, Limits, batch_error};
use crate::provider::{End, Parcel, Sheet, asked_span, key_of};
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

/// More would be a loop in the client, and each takes memory.
const MAX_BATCHES: usize = 100_000;
const BATCH_PAGE: usize = 20;
const MAX_BATCH_PAGE: usize = 100;
const FILE_PAGE: usize = 10_000;

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
            Call::Create => self.create(&parcel.body)?,
            Call::ListBatches => self.list(&Wanted::read(&parcel.query))?,
            Call::Retrieve(id) => self.tell(self.find(id)?),
            Call::Cancel(id) => self.cancel(id)?,
        };
        let after = obstacle::after(call.name(), &mut self.mischief);
        Ok(after.unwrap_or_else(|| json_end(&told)))
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

    /// Whether an upload may come: where it goes then, and how large it may be.
    pub(crate) fn before_upload(
        &mut self,
        key: &str,
        headers: &HeaderMap,
    ) -> Result<(PathBuf, Option<u64>), End> {
        self.meet(Call::Upload.name(), key)?;
        let has_length = headers.contains_key(CONTENT_LENGTH);
        if !has_length && self.mischief.strikes(Fault::ChunkedRefused).is_some() {
            let message = "Length Required: chunked uploads are not supported.";
            return Err(Complaint::invalid(message).with_status(411).into());
        }
        let max_bytes = self.mischief.limit(Fault::MaxBytes);
        Ok((self.folder()?, max_bytes))
    }

    pub(crate) fn keep(&mut self, upload: Upload) -> Result<End, End> {
        let file = Stored {
            id: self.store.next_id(),
            path: upload.path,
            bytes: upload.bytes,
            filename: upload.filename,
            purpose: upload.purpose,
            created: self.clock.now(),
            expires_after: upload.expires_after,
            is_result: false,
            held_until: None,
        };
        let told = show::file(&file, &self.clock);
        self.store.put(file)?;
        let after = obstacle::after(Call::Upload.name(), &mut self.mischief);
        Ok(after.unwrap_or_else(|| json_end(&told)))
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

    fn content(&mut self, id: &str, parcel: &Parcel) -> Result<End, End> {
        let file = self.store.get(id)?.clone();
        let now = self.clock.now();
        if file.held_until.is_some_and(|until| now < until) {
            return Err(End::Plain(bad_gateway()));
        }
        if file.is_result && self.mischief.strikes(Fault::Redirect).is_some() {
            return Ok(End::Elsewhere(other_host(id, &parcel.headers)));
        }
        self.sheet(file, parcel)
    }

    /// The other host: as an object store, it takes a signed address or a key, and not both.
    fn signed(&mut self, id: &str, parcel: &Parcel) -> Result<End, End> {
        if parcel.headers.contains_key(AUTHORIZATION) {
            self.keys_leaked += 1;
            let message = "Only one auth mechanism allowed.";
            return Err(Complaint::invalid(message).into());
        }
        let file = self.store.get(id)?.clone();
        self.sheet(file, parcel)
    }

    fn sheet(&mut self, file: Stored, parcel: &Parcel) -> Result<End, End> {
        let is_short = file.is_result && self.mischief.strikes(Fault::Short).is_some();
        // In the middle of a row.
        let length = if is_short {
            file.bytes * 2 / 3
        } else {
            file.bytes
        };
        let has_ranges = self.mischief.strikes(Fault::RangesIgnored).is_none();
        let span = if has_ranges {
            asked_span(&parcel.headers, length)?
        } else {
            Span::whole(length)
        };
        Ok(End::File(Box::new(Sheet {
            cut: self.mischief.strikes(Fault::Cut).map(|at| at.number()),
            has_length: self.mischief.strikes(Fault::LengthNone).is_none(),
            has_ranges,
            file,
            span,
        })))
    }

    fn create(&mut self, body: &[u8]) -> Result<Value, End> {
        let order = Order::read(body)?;
        if self.batches.len() >= MAX_BATCHES {
            let message = format!("The simulator keeps {MAX_BATCHES} batches; reset it.");
            return Err(Complaint::invalid(message).into());
        }
        let input = self
            .store
            .find(&order.input_file_id)
            .map(|file| file.path.clone());
        let tokens = self.room_for(&order, input.as_deref())?;
        self.outage_since.get_or_insert(self.clock.now());
        let window = window(&order.window).expect("it was checked when the order was read");
        let stamps = Stamps {
            created: self.clock.now(),
            ..Stamps::default()
        };
        let batch = Batch {
            id: self.next_batch_id(),
            input,
            order,
            stage: Stage::Validating,
            stamps,
            window,
            errors: Vec::new(),
            total: 0,
            tokens,
            ran: None,
            plight: self.mischief.plight(),
        };
        let told = self.tell(&batch);
        if self.mischief.strikes(Fault::CreateDoubled).is_some() {
            self.batches.push(batch.clone());
            let id = self.next_batch_id();
            self.batches.push(Batch { id, ..batch });
        } else {
            self.batches.push(batch);
        }
        Ok(told)
    }

    fn next_batch_id(&self) -> String {
        format!("batch_sim_{:06}", self.batches.len() + 1)
    }

    /// Refuses a batch that there is no room for; the tokens of its prompts, where they matter.
    fn room_for(&mut self, order: &Order, input: Option<&Path>) -> Result<u64, End> {
        let open = self.batches.iter().filter(|batch| !batch.stage.is_final());
        let open = open.count() as u64;
        if self
            .mischief
            .limit(Fault::MaxOpen)
            .is_some_and(|max| open >= max)
        {
            self.mischief.note(Fault::MaxOpen);
            let message = format!("Too many open batches: {open}.");
            let complaint = Complaint::simulated(429);
            return Err(Complaint {
                message,
                ..complaint
            }
            .into());
        }
        let refused = self.mischief.limit(Fault::TokensRefused);
        let failed = self.mischief.limit(Fault::TokensFailed);
        let Some(input) = input.filter(|_| refused.or(failed).is_some()) else {
            return Ok(0);
        };
        let limits = Limits {
            counts_tokens: true,
            ..Limits::default()
        };
        let found = validate::check(input, order, limits)?;
        let tokens = found.map_or(0, |found| found.tokens);
        match refused {
            Some(max) if self.enqueued_tokens() + tokens > max => {
                self.mischief.note(Fault::TokensRefused);
                let complaint = Complaint::invalid(token_limit(max));
                Err(complaint.with_code("token_limit_exceeded").into())
            }
            Some(_) | None => Ok(tokens),
        }
    }

    /// Of all batches that are past their check and not at their end.
    fn enqueued_tokens(&self) -> u64 {
        let is_enqueued = |batch: &&Batch| match batch.stage {
            Stage::InProgress | Stage::Finalizing | Stage::Cancelling => true,
            // They have been let in; without this two at once would both find room.
            Stage::Validating => self.mischief.limit(Fault::TokensRefused).is_some(),
            Stage::Completed | Stage::Failed | Stage::Expired | Stage::Cancelled => false,
        };
        let enqueued = self.batches.iter().filter(is_enqueued);
        enqueued.map(|batch| batch.tokens).sum()
    }

    fn list(&mut self, wanted: &Wanted) -> Result<Value, Complaint> {
        let now = self.clock.now();
        let is_listed = |batch: &&Batch| {
            let late = batch.plight.measure(Fault::ListLate).map(Measure::span);
            now >= batch.stamps.created + late.unwrap_or_default()
        };
        let listed = self.batches.iter().rev().filter(is_listed);
        let mut ids: Vec<String> = listed.map(|batch| batch.id.clone()).collect();
        if self.mischief.strikes(Fault::ListOldestFirst).is_some() {
            ids.reverse();
        }
        let loops = self.mischief.strikes(Fault::ListLoops).is_some();
        let after = wanted.after.as_deref().filter(|_| !loops);
        let limit = wanted.limit.unwrap_or(BATCH_PAGE).min(MAX_BATCH_PAGE);
        let page = page::page(&ids, after, limit).ok_or_else(unknown_after)?;
        let batches = page.ids.iter().filter_map(|id| self.find(id).ok());
        let data: Vec<Value> = batches.map(|batch| self.tell(batch)).collect();
        if self.mischief.strikes(Fault::ListBare).is_some() {
            return Ok(Value::Array(data));
        }
        Ok(page::list(data, page.has_more || loops))
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
                self.run(index, at, self.batches[index].total, Rest::Expired)?;
                self.enter(index, at, Stage::Finalizing);
                Ok(())
            }
            Step::Complete => {
                self.enter(index, at, Stage::Completed);
                Ok(())
            }
            Step::Expire { lines } => {
                self.run(index, at, lines, Rest::Expired)?;
                self.enter(index, at, Stage::Expired);
                Ok(())
            }
            Step::CompleteCancelled => {
                self.run(index, at, self.batches[index].total, Rest::Cancelled)?;
                self.enter(index, at, Stage::Completed);
                Ok(())
            }
            Step::Break { lines } => {
                self.run(index, at, lines, Rest::Broken)?;
                let error = batch_error("server_error", "The batch broke down.");
                self.fail(index, at, vec![error]);
                Ok(())
            }
            Step::Cancel => {
                let since = self.batches[index].stamps.cancelling.unwrap_or(at);
                let lines = self.batches[index].lines_run_by(&self.settings().pace, since);
                self.run(index, at, lines, Rest::Cancelled)?;
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
        if let Some(code) = batch.plight.measure(Fault::Fails) {
            let error = batch_error(code.word(), "The batch failed, as asked for.");
            self.fail(index, at, vec![error]);
            return Ok(());
        }
        if let Some(max) = self.mischief.limit(Fault::TokensFailed)
            && self.enqueued_tokens() + batch.tokens > max
        {
            self.mischief.note(Fault::TokensFailed);
            let error = batch_error("token_limit_exceeded", &token_limit(max));
            self.fail(index, at, vec![error]);
            return Ok(());
        }
        let limits = Limits {
            lines: self.mischief.limit(Fault::MaxLines),
            line_bytes: self.mischief.limit(Fault::MaxLineBytes),
            // They were counted at its creation.
            counts_tokens: false,
        };
        match validate::check(input, &batch.order, limits)? {
            Ok(found) => {
                self.batches[index].total = found.lines;
                self.enter(index, at, Stage::InProgress);
            }
            Err(errors) => self.fail(index, at, errors),
        }
        Ok(())
    }

    /// Runs the first lines of a batch, unless they have run before, and keeps the files.
    fn run(&mut self, index: usize, at: At, lines: u64, rest: Rest) -> io::Result<()> {
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
            plight: &batch.plight,
        };
        let mut model = Model {
            config: &self.config,
            ledger: &self.ledger,
            mischief: &mut self.mischief,
        };
        let mut ran = run::run(&job, &mut model)?;
        let (id, plight) = (batch.id.clone(), batch.plight.clone());
        // Results are shown when the batch has been finalized.
        let end = at + self.settings().pace.finalizing;
        let late = plight.measure(Fault::ContentLate).map(Measure::span);
        let mut keep = |written: Option<Written>, kind: &str| {
            let name = format!("{id}_{kind}.jsonl");
            self.keep_rows(written?, name, late.map(|late| end + late))
        };
        ran.output_file_id = keep(ran.output.take(), "output");
        ran.error_file_id = keep(ran.error.take(), "error");
        if let Some(id) = ran
            .output_file_id
            .as_ref()
            .filter(|_| plight.has(Fault::OutputGone))
        {
            // It was put there above.
            drop(self.store.delete(id));
        }
        self.batches[index].ran = Some(ran);
        Ok(())
    }

    fn keep_rows(
        &mut self,
        written: Written,
        filename: String,
        held_until: Option<At>,
    ) -> Option<String> {
        let id = self.store.next_id();
        let file = Stored {
            id: id.clone(),
            path: written.path,
            bytes: written.bytes,
            filename,
            purpose: "batch_output".into(),
            created: self.clock.now(),
            expires_after: None,
            is_result: true,
            held_until,
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

fn token_limit(max: u64) -> String {
    format!(
        "Enqueued token limit reached. Limit: {max} enqueued tokens. Please try again once some \
         in_progress batches have been completed."
    )
}

/// The same simulator by another name, which is another host to a client.
fn other_host(id: &str, headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let port = host
        .and_then(|host| host.rsplit_once(':'))
        .map_or("80", |(_, port)| port);
    format!("http://localhost:{port}{SIGNED}{id}")
}

fn unknown_after() -> Complaint {
    Complaint::invalid("No object with the id that `after` names.").with_param("after")
}

fn json_end(told: &Value) -> End {
    End::Json(told.to_string().into_bytes())
}
