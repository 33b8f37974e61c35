//! Where each batch is by now: every step that was due since the last look, in the order of their times.

use std::io;

use serde_json::Value;

use super::State;
use super::batches::token_limit;
use crate::provider::batch::{Stage, Step};
use crate::provider::clock::At;
use crate::provider::fault::ProviderFault as Fault;
use crate::provider::faults::Measure;
use crate::provider::rows::Written;
use crate::provider::run::{self, Job, Model, Rest};
use crate::provider::store::Stored;
use crate::provider::validate::{self, Limits, batch_error};

impl State {
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

    pub(super) fn take(&mut self, index: usize, at: At, step: Step) -> io::Result<()> {
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
}
