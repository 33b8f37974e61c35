//! Validates batches: one streaming pass over the file, every line checked, the plan written.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ditto_llm::check::{Checker, Fault, Limits, Rules, Seen};
use ditto_llm::ids::IdSet;
use ditto_llm::jsonl::{Content, Line, LineSplitter};
use ditto_llm::wire::BatchError;
use futures_util::{Stream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::faults::{self, FaultSpool, FaultyLine, scratch_failed};
use super::lines::LineHash;
use super::work::fill;
use super::{Inner, lock};
use crate::blobs::{Blobs, name};
use crate::catalog::{BatchRow, DryBatch, Validated};
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::Manifest;
use crate::model::batch::BatchState;
use crate::model::plan::{Entry, Geometry, Span};

/// What an id takes in memory, growing of the table counted. Those that do not fit go to disk in
/// partitions.
const ID_BYTES: u64 = 40;
/// What nobody has woken us for is looked at this often.
const LOOK: Duration = Duration::from_secs(1);
/// Files read side by side. Most of the time of a small one is its row's.
pub(crate) const VALIDATORS: usize = 16;
/// Files whose ids fill their share of memory, one each; those of small ones take little.
const LARGE_FILES: u64 = 2;
/// As `readyz` names it.
const STEP: &str = "validating a batch";

/// What a pass over a file found.
enum Found {
    /// Lines may run.
    Plan { plan: Vec<u8>, validated: Validated },
    /// The batch fails.
    Errors(Vec<BatchError>),
}

impl Inner {
    /// Duty: validates batches, those first that were made as ours, then the oldest that nobody holds;
    /// some side by side: a small file must not wait for one of ten gigabytes.
    pub(crate) async fn validate_batches(self: Arc<Self>) {
        while !self.stop.is_cancelled() {
            let arrived = self.work_arrived();
            self.take_up_handed_over();
            if let Some(turn) = self.turn_to_validate() {
                match self.catalog.lease_validation(&self.incarnation).await {
                    Ok(Some(row)) => {
                        if self.take_up(turn, row) {
                            continue;
                        }
                    }
                    Ok(None) => {}
                    Err(error) => tracing::error!(%error, "looking for batches to validate failed"),
                }
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                () = arrived => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    fn take_up_handed_over(self: &Arc<Self>) {
        let handed_over = std::mem::take(&mut *lock(&self.handed_over));
        for (turn, row) in handed_over {
            self.take_up(turn, row);
        }
    }

    pub(crate) fn turn_to_validate(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.validators).try_acquire_owned().ok()
    }

    /// Validates a batch of ours. False: it is being validated already; the catalog also gives what we
    /// hold, should we have given it up.
    fn take_up(self: &Arc<Self>, turn: OwnedSemaphorePermit, row: BatchRow) -> bool {
        if !lock(&self.validating).insert(row.key) {
            return false;
        }
        let inner = Arc::clone(self);
        self.tasks.spawn(async move {
            let key = row.key;
            inner.validate_one(row).await;
            lock(&inner.validating).remove(&key);
            drop(turn);
            inner.wake();
        });
        true
    }

    pub(crate) async fn validate_one(&self, row: BatchRow) {
        let (id, key) = (row.id.clone(), row.key);
        let given_up = self.stop.child_token();
        let done = tokio::select! {
            biased;
            done = self.validate(row, &given_up) => done,
            // Nothing was written that counts: the next start begins again.
            () = self.stop.cancelled() => return,
            () = self.moved_on(key) => {
                given_up.cancel();
                tracing::info!(batch = id, "batch ended while it was validated");
                return self.let_go(key).await;
            }
        };
        match done {
            Ok(()) => self.storage_works(STEP),
            // The disk, not the file: we still hold the batch and begin again.
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                self.storage_refused(STEP, &error);
                tokio::time::sleep(LOOK).await;
                return;
            }
            Err(error) => self.refuse_broken(&id, key, &error).await,
        }
        self.lanes.needs.dry.note(DryBatch {
            batch: key,
            lane: None,
        });
        self.wake();
        self.announce();
    }

    /// Resolves once the batch is not to be validated any more: it was cancelled or expired.
    async fn moved_on(&self, batch: i64) {
        loop {
            tokio::time::sleep(LOOK).await;
            // If the catalog does not answer, validation itself will hear of it.
            if let Ok(Some(row)) = self.catalog.leased_batch(batch).await
                && row.state != BatchState::Validating
            {
                return;
            }
        }
    }

    /// Tells the catalog that nobody works on the batch any more, so that it can be swept.
    async fn let_go(&self, batch: i64) {
        self.refuse(batch, &[]).await;
    }

    async fn refuse_broken(&self, id: &str, key: i64, error: &Error) {
        tracing::error!(batch = id, %error, "validation failed");
        let broken = BatchError {
            code: Some("internal_error".to_owned()),
            message: Some(format!("The file could not be validated: {error}")),
            ..BatchError::default()
        };
        self.refuse(key, &[broken]).await;
    }

    async fn validate(&self, row: BatchRow, given_up: &CancellationToken) -> Result<()> {
        let manifest = match self.input(&row).await? {
            Some(manifest) => Some(manifest),
            None => match self.make_retry_input(&row, given_up).await? {
                None => self.input(&row).await?,
                Some(fault) => {
                    self.refuse(row.key, &[fault]).await;
                    return self.give_up_input(&row.input_file_id).await;
                }
            },
        };
        let Some(manifest) = manifest else {
            self.refuse(row.key, &[cannot_find(&row.input_file_id)])
                .await;
            return Ok(());
        };
        let key = row.key;
        let id = row.id.clone();
        match self.pass(row, manifest, given_up.clone()).await? {
            Found::Errors(errors) => self.refuse(key, &errors).await,
            Found::Plan { plan, validated } => {
                if validated.only.is_none() {
                    // Bytes first, then the row that leans on them.
                    self.blobs.put(&name::plan(&id), Bytes::from(plan)).await?;
                }
                let taken = self
                    .catalog
                    .validated(&self.incarnation, key, validated)
                    .await?;
                tracing::info!(batch = id, taken, "batch validated");
            }
        }
        Ok(())
    }

    /// The input's manifest; `None` if there was no such file of this tenant, or it is no batch file.
    async fn input(&self, row: &BatchRow) -> Result<Option<Manifest>> {
        match self.catalog.input(row.key).await? {
            Some(file) if file.purpose == "batch" => Ok(Some(self.blobs.manifest(&file.id).await?)),
            Some(_) | None => Ok(None),
        }
    }

    async fn refuse(&self, batch: i64, errors: &[BatchError]) {
        let errors = serde_json::to_string(errors).expect("errors are plain data");
        if let Err(error) = self
            .catalog
            .refuse_batch(&self.incarnation, batch, errors)
            .await
        {
            tracing::error!(batch, %error, "a refused batch could not be marked; it is tried again");
        }
    }

    /// Reads the file once. Parsing is work for a processor, so it has a thread of its own.
    async fn pass(
        &self,
        row: BatchRow,
        manifest: Manifest,
        given_up: CancellationToken,
    ) -> Result<Found> {
        let bytes = manifest.bytes();
        let chunks = self.blobs.read(manifest.slice(0..bytes));
        let limits = self.config.limits;
        let share = &self.budget.ids;
        // A line is longer than what its id takes.
        let memory = share.draw(bytes.min(share.limit() / LARGE_FILES)).await;
        let in_memory = usize::try_from(memory.bytes() / ID_BYTES).unwrap_or(usize::MAX);
        let ids = IdSet::new(self.config.data.clone(), in_memory);
        let front = self.upstreams.now();
        let offers = front.models.offers(&front.routing, &row.tenant).await;
        let served = offers.served();
        let pass = Pass::new(&row, bytes, limits, served, self.config.data.clone(), ids)?;
        let blobs = self.blobs.clone();
        let read = async move {
            let _memory = memory;
            let pass = pass.run(chunks, || given_up.is_cancelled()).await?;
            pass.finish(&blobs, &row.id).await
        };
        self.host.compute(read).await
    }
}

/// One pass over one file.
struct Pass {
    checker: Checker,
    splitter: LineSplitter,
    geometry: Geometry,
    hash: LineHash,
    entries: Vec<Entry>,
    lenient: bool,
    bare: bool,
    cap: usize,
    /// Strict: the first faults, up to the cap, and how many more there are.
    faults: Vec<Fault>,
    more: u64,
    /// Lenient: the main fault of each faulty line.
    faulty: FaultSpool,
    any_faulty: bool,
}

impl Pass {
    fn new(
        row: &BatchRow,
        bytes: u64,
        limits: crate::config::Limits,
        models: Option<BTreeSet<String>>,
        scratch: PathBuf,
        ids: IdSet,
    ) -> Result<Self> {
        let lenient = row.options.lenient;
        let rules = Rules {
            endpoint: Some(row.endpoint.clone()),
            one_model: row.options.one_model,
            models,
            limits: Limits {
                max_lines: limits.lines,
                max_file_bytes: limits.file_bytes,
                max_line_bytes: limits.line_bytes as u64,
                max_embedding_inputs: None,
            },
            fill: fill(row),
        };
        Ok(Self {
            faulty: FaultSpool::new(&scratch).map_err(scratch_failed)?,
            any_faulty: false,
            checker: Checker::new(rules, ids),
            splitter: LineSplitter::new(limits.line_bytes),
            geometry: Geometry::new(bytes),
            hash: LineHash::default(),
            entries: Vec::new(),
            lenient,
            bare: row.options.bare_suffix.is_some(),
            cap: limits.errors,
            faults: Vec::new(),
            more: 0,
        })
    }

    async fn run(
        mut self,
        chunks: impl Stream<Item = Result<Bytes>>,
        stopped: impl Fn() -> bool,
    ) -> Result<Self> {
        let mut chunks = std::pin::pin!(chunks);
        let mut splitter = std::mem::replace(&mut self.splitter, LineSplitter::new(0));
        while let Some(chunk) = chunks.next().await {
            if stopped() {
                return Err(Error::new(ErrorKind::Unavailable, "the server is stopping"));
            }
            splitter.feed(&chunk?, |line| self.line(&line))?;
        }
        splitter.finish(|line| self.line(&line))?;
        Ok(self)
    }

    fn line(&mut self, line: &Line<'_>) -> Result<()> {
        let mut found = Vec::new();
        let seen = self
            .checker
            .line(line, &mut found)
            .map_err(scratch_failed)?;
        let blank = matches!(seen, Seen::Blank);
        let span = Span {
            number: line.number,
            start: line.start,
            end: line.end,
            blank,
            too_long: matches!(line.content, Content::TooLong),
        };
        if let Some(entry) = self.geometry.close_before(span) {
            self.close(entry);
        }
        self.geometry.take(span);
        if let Content::Bytes(bytes) = line.content
            && self.geometry.is_open()
        {
            self.hash.line(bytes);
        }
        self.take_faults(seen, found)
    }

    fn close(&mut self, entry: Entry) {
        self.entries.push(Entry {
            hash: self.hash.take(),
            ..entry
        });
    }

    fn take_faults(&mut self, seen: Seen, found: Vec<Fault>) -> Result<()> {
        let whole_file = found.first().is_some_and(|fault| fault.line.is_none());
        if self.lenient && !whole_file {
            if let (Seen::Request { custom_id, .. }, Some(main)) = (seen, found.first()) {
                self.any_faulty = true;
                let fault = FaultyLine::new(main, custom_id);
                self.faulty.push(&fault).map_err(scratch_failed)?;
            }
            return Ok(());
        }
        for fault in found {
            if self.faults.len() < self.cap {
                self.faults.push(fault);
            } else {
                self.more += 1;
            }
        }
        Ok(())
    }

    async fn finish(mut self, blobs: &Blobs, batch_id: &str) -> Result<Found> {
        if let Some(entry) = self.geometry.finish() {
            self.close(entry);
        }
        let mut whole_file = Vec::new();
        let summary = self
            .checker
            .finish(&mut whole_file)
            .map_err(scratch_failed)?;
        self.faults.extend(whole_file);
        let mut validated = Validated {
            total: summary.requests,
            segments: u32::try_from(self.entries.len())
                .map_err(|_| Error::invalid("the file has more segments than a plan can hold"))?,
            only: None,
            model: summary.model,
            bare_suffix: self.bare.then_some(summary.bare_suffix),
        };
        let mut late = summary.late_duplicates.peekable();
        if !self.lenient {
            self.more += first_of(late, &mut self.faults, self.cap)?;
        } else if self.faults.is_empty() && (self.any_faulty || late.peek().is_some()) {
            let mut blob = blobs.writer(&name::faults(batch_id)).await?;
            faults::place(&mut self.entries, self.faulty.in_order(late)?, &mut blob).await?;
            blob.finish().await?;
        }
        if !self.faults.is_empty() {
            return Ok(Found::Errors(errors(self.faults, self.more, self.cap)));
        }
        if let [only] = self.entries[..] {
            // Where its faults are stands in the plan.
            validated.only = (only.faults == 0).then_some(only);
        }
        Ok(Found::Plan {
            plan: self.entries.iter().flat_map(Entry::encode).collect(),
            validated,
        })
    }
}

/// Takes the first duplicates as faults, up to the cap; returns how many more there are.
fn first_of(
    late: impl Iterator<Item = std::io::Result<(u64, u64)>>,
    faults: &mut Vec<Fault>,
    cap: usize,
) -> Result<u64> {
    let mut more = 0;
    for (taken, found) in late.enumerate() {
        let (line, first) = found.map_err(scratch_failed)?;
        if taken < cap {
            faults.push(Fault::late_duplicate(line, first));
        } else {
            more += 1;
        }
    }
    Ok(more)
}

/// Batch-level errors in order of lines, at most `cap` and one that says how many more.
fn errors(mut faults: Vec<Fault>, mut more: u64, cap: usize) -> Vec<BatchError> {
    faults.sort_by_key(|fault| fault.line.unwrap_or_default());
    more += faults.len().saturating_sub(cap) as u64;
    faults.truncate(cap);
    let mut errors: Vec<_> = faults
        .into_iter()
        .map(|fault| BatchError {
            code: Some(fault.code.as_str().to_owned()),
            message: Some(fault.message),
            param: fault.param.map(std::borrow::Cow::into_owned),
            line: fault.line,
        })
        .collect();
    if more > 0 {
        errors.push(BatchError {
            code: Some("too_many_errors".to_owned()),
            message: Some(format!("{more} more errors are not listed.")),
            ..BatchError::default()
        });
    }
    errors
}

fn cannot_find(file: &str) -> BatchError {
    BatchError {
        code: Some("invalid_request".to_owned()),
        message: Some(format!(
            "Cannot find file {file}, or this key does not have access to it."
        )),
        param: Some("file_id".to_owned()),
        line: None,
    }
}
