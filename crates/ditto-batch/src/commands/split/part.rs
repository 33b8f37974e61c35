//! The parts that take rows, and those that are full.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ditto_llm::profiles::Profile;
use serde::Serialize;

use super::super::rows::outlet::Outlet;
use super::super::rows::request::Request;
use crate::exit;
use crate::failure::{Failure, Result};

/// Parts that are open at once: one a model. Each holds a file and a buffer.
const MAX_MODELS: usize = 100;

/// What a part may hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) lines: Option<u64>,
    pub(super) bytes: Option<u64>,
    pub(super) tokens: Option<u64>,
    /// Texts to embed.
    pub(super) inputs: Option<u64>,
    pub(super) one_model: bool,
}

impl Limits {
    /// No more than that, nor than the provider takes.
    pub(super) fn within(self, profile: &Profile) -> Self {
        let least = |given: Option<u64>, known: Option<u64>| match (given, known) {
            (Some(given), Some(known)) => Some(given.min(known)),
            (one, other) => one.or(other),
        };
        Self {
            lines: least(self.lines, Some(profile.max_lines)),
            bytes: least(self.bytes, Some(profile.max_file_bytes)),
            tokens: least(self.tokens, profile.max_enqueued_tokens),
            inputs: least(self.inputs, profile.max_embedding_inputs),
            one_model: self.one_model || profile.one_model,
        }
    }
}

/// A part as it was written.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Part {
    pub(super) path: PathBuf,
    pub(super) lines: u64,
    pub(super) bytes: u64,
    /// About.
    pub(super) tokens: u64,
    /// Of all its rows, where a part has one.
    pub(super) model: Option<String>,
    #[serde(skip)]
    inputs: u64,
}

impl Part {
    /// Whether one more row would be too much. A row that is too much alone has a part of its own.
    fn is_full(&self, limits: &Limits, bytes: u64, request: &Request) -> bool {
        let over =
            |limit: Option<u64>, has: u64, more: u64| limit.is_some_and(|limit| has + more > limit);
        self.lines > 0
            && (over(limits.lines, self.lines, 1)
                || over(limits.bytes, self.bytes, bytes)
                || over(limits.tokens, self.tokens, request.tokens)
                || over(limits.inputs, self.inputs, request.inputs))
    }
}

/// Puts row after row into the part where it belongs.
pub(super) struct Splitter {
    stem: PathBuf,
    limits: Limits,
    open: BTreeMap<String, (Part, Outlet<'static>)>,
    full: Vec<Part>,
    begun: u64,
}

impl Splitter {
    pub(super) fn new(stem: PathBuf, limits: Limits) -> Self {
        Self {
            stem,
            limits,
            open: BTreeMap::new(),
            full: Vec::new(),
            begun: 0,
        }
    }

    /// Whether what is in the rows decides where they go.
    pub(super) fn reads_rows(&self) -> bool {
        self.limits.one_model || self.limits.tokens.or(self.limits.inputs).is_some()
    }

    pub(super) fn add(&mut self, row: &[u8], request: &Request) -> Result<()> {
        let model = match self.limits.one_model {
            true => request.model.clone().unwrap_or_default(),
            false => String::new(),
        };
        let bytes = row.len() as u64 + 1;
        let is_full = |(part, _): &(Part, Outlet<'_>)| part.is_full(&self.limits, bytes, request);
        if self.open.get(&model).is_some_and(is_full) {
            self.close(&model)?;
        }
        if !self.open.contains_key(&model) {
            let part = self.begin(&model)?;
            self.open.insert(model.clone(), part);
        }
        let (part, outlet) = self.open.get_mut(&model).expect("it was begun");
        outlet.row(row)?;
        part.lines += 1;
        part.bytes += bytes;
        part.tokens += request.tokens;
        part.inputs += request.inputs;
        Ok(())
    }

    fn begin(&mut self, model: &str) -> Result<(Part, Outlet<'static>)> {
        if self.open.len() >= MAX_MODELS {
            let message = format!("the rows name more than {MAX_MODELS} models");
            return Err(Failure::new(exit::REFUSED, message)
                .hint("nothing was kept; split by rows or bytes first"));
        }
        self.begun += 1;
        let mut path = self.stem.clone().into_os_string();
        path.push(format!(".{:04}.jsonl", self.begun));
        let path = PathBuf::from(path);
        let outlet = Outlet::file(&path)?;
        let part = Part {
            path,
            lines: 0,
            bytes: 0,
            tokens: 0,
            model: Some(model.to_owned()).filter(|model| !model.is_empty()),
            inputs: 0,
        };
        Ok((part, outlet))
    }

    fn close(&mut self, model: &str) -> Result<()> {
        let (part, outlet) = self.open.remove(model).expect("it was looked at");
        outlet.finish()?;
        self.full.push(part);
        Ok(())
    }

    /// The parts, by name.
    pub(super) fn finish(mut self) -> Result<Vec<Part>> {
        let models: Vec<String> = self.open.keys().cloned().collect();
        models.iter().try_for_each(|model| self.close(model))?;
        let mut parts = std::mem::take(&mut self.full);
        parts.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(parts)
    }

    /// Takes away the parts that were finished: a split that stops has made nothing.
    fn undo(&self) {
        for part in &self.full {
            // What cannot be removed is named by the next split, which does not overwrite it.
            let _ = std::fs::remove_file(&part.path);
        }
    }
}

impl Drop for Splitter {
    fn drop(&mut self) {
        self.undo();
    }
}
