//! The calls about batches: how they are made, listed and cancelled, and what is refused.

use std::path::Path;

use serde_json::Value;

use super::State;
use crate::envelope::Complaint;
use crate::provider::End;
use crate::provider::batch::{Batch, Order, Stage, Stamps, window};
use crate::provider::fault::ProviderFault as Fault;
use crate::provider::faults::Measure;
use crate::provider::page::{self, Wanted};
use crate::provider::show;
use crate::provider::validate::{self, Limits};

/// More would be a loop in the client, and each takes memory.
const MAX_BATCHES: usize = 100_000;
const BATCH_PAGE: usize = 20;
const MAX_BATCH_PAGE: usize = 100;

impl State {
    pub(super) fn create(&mut self, body: &[u8]) -> Result<Value, End> {
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
    pub(super) fn enqueued_tokens(&self) -> u64 {
        let is_enqueued = |batch: &&Batch| match batch.stage {
            Stage::InProgress | Stage::Finalizing | Stage::Cancelling => true,
            // They have been let in; without this two at once would both find room.
            Stage::Validating => self.mischief.limit(Fault::TokensRefused).is_some(),
            Stage::Completed | Stage::Failed | Stage::Expired | Stage::Cancelled => false,
        };
        let enqueued = self.batches.iter().filter(is_enqueued);
        enqueued.map(|batch| batch.tokens).sum()
    }

    pub(super) fn list(&mut self, wanted: &Wanted) -> Result<Value, Complaint> {
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
        let paged = self.mischief.strikes(Fault::ListPaged);
        let by = paged.as_ref().map(Measure::word);
        let after = wanted.place(by.unwrap_or("after"), &ids).filter(|_| !loops);
        let limit = match by {
            Some(_) => 1,
            None => wanted.limit.unwrap_or(BATCH_PAGE).min(MAX_BATCH_PAGE),
        };
        let page = page::page(&ids, after, limit).ok_or_else(unknown_after)?;
        let batches = page.ids.iter().filter_map(|id| self.find(id).ok());
        let data: Vec<Value> = batches.map(|batch| self.tell(batch)).collect();
        if self.mischief.strikes(Fault::ListBare).is_some() {
            return Ok(Value::Array(data));
        }
        Ok(match by {
            Some("cursor") => page::list_with_cursor(data, page.has_more || loops),
            Some(_) | None => page::list(data, page.has_more || loops),
        })
    }

    pub(super) fn cancel(&mut self, id: &str) -> Result<Value, Complaint> {
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

    pub(super) fn tell(&self, batch: &Batch) -> Value {
        show::batch(batch, &self.clock, &self.settings().pace)
    }

    pub(super) fn find(&self, id: &str) -> Result<&Batch, Complaint> {
        Ok(&self.batches[self.position(id)?])
    }

    pub(super) fn position(&self, id: &str) -> Result<usize, Complaint> {
        let at = self.batches.iter().position(|batch| batch.id == id);
        at.ok_or_else(|| {
            let message = format!("No batch found with id '{id}'.");
            Complaint::invalid(message).with_status(404)
        })
    }
}

pub(super) fn token_limit(max: u64) -> String {
    format!(
        "Enqueued token limit reached. Limit: {max} enqueued tokens. Please try again once some \
         in_progress batches have been completed."
    )
}

pub(super) fn unknown_after() -> Complaint {
    Complaint::invalid("No object with the id that `after` names.").with_param("after")
}
