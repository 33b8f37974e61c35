//! Cutting lines into shards: one pass, memory that does not grow with the lines.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::{JobError, JobErrorKind, Result};
use super::ledger::Learned;
use super::outgoing::{Request, hash_of};
use super::plan::{Form, Round, Shard};
use super::runs::{self, Run, RunWriter};
use crate::jsonl::Line;
use crate::profiles::Profile;

/// Past so many runs a shard is copied rather than read in pieces.
const MAX_RUNS: u64 = 10_000;

/// Shards that are open at once: one a model. Each holds a buffer.
const MAX_MODELS: usize = 1_000;

/// What a shard may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShardLimits {
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
    pub(crate) tokens: Option<u64>,
    pub(crate) embedding_inputs: Option<u64>,
}

impl ShardLimits {
    pub(crate) fn of(profile: &Profile, max_tokens: Option<u64>) -> Self {
        let tokens = [profile.max_enqueued_tokens, max_tokens];
        Self {
            lines: profile.max_lines,
            bytes: profile.max_file_bytes,
            tokens: tokens.into_iter().flatten().min(),
            embedding_inputs: profile.max_embedding_inputs,
        }
    }

    /// Below what was learned of the provider's.
    pub(crate) fn within(self, learned: Learned) -> Self {
        let tokens = [self.tokens, learned.max_enqueued_tokens];
        Self {
            lines: self.lines.min(learned.max_lines.unwrap_or(u64::MAX)),
            tokens: tokens.into_iter().flatten().min(),
            ..self
        }
    }
}

/// Makes the shards of one round.
#[derive(Debug)]
pub(crate) struct Planner<'a> {
    folder: PathBuf,
    profile: &'a Profile,
    limits: ShardLimits,
    url: String,
    round: u32,
    next_number: u32,
    /// Lines of the canary, as long as it is to come.
    canary: Option<u64>,
    /// All shards are renamed: which ids repeat is not looked up again.
    rename_all: bool,
    open: BTreeMap<String, Open>,
    done: Vec<Done>,
}

/// A shard that takes no more lines.
#[derive(Debug)]
struct Done {
    shard: Shard,
    hash: u128,
    outgoing_bytes: u64,
    embedding_inputs: u64,
}

/// A shard that still takes lines.
#[derive(Debug)]
struct Open {
    shard: Shard,
    runs: RunWriter,
    hash: u128,
    /// As it will be sent.
    outgoing_bytes: u64,
    embedding_inputs: u64,
}

/// Where a line stands in the input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) number: u64,
    pub(crate) offset: u64,
    /// With its line feed.
    pub(crate) bytes: u64,
    /// Without.
    pub(crate) content: &'a [u8],
}

impl<'a> Place<'a> {
    /// Of a line with this content; before the first stands a BOM of so many bytes.
    pub(crate) fn of(line: &Line<'_>, content: &'a [u8], bom: u64) -> Self {
        let bom = if line.number == 1 { bom } else { 0 };
        Self {
            number: line.number,
            offset: line.start + bom,
            bytes: line.end - line.start - bom,
            content,
        }
    }
}

/// Bytes that a line may gain when it is named otherwise.
const RENAMING: u64 = 128;

impl<'a> Planner<'a> {
    pub(crate) fn new(folder: &Path, profile: &'a Profile, limits: ShardLimits) -> Self {
        Self {
            folder: folder.to_owned(),
            profile,
            limits,
            url: String::new(),
            round: 1,
            next_number: 1,
            canary: None,
            rename_all: false,
            open: BTreeMap::new(),
            done: Vec::new(),
        }
    }

    /// The first shard takes only so many lines.
    pub(crate) fn canary(self, lines: Option<u64>) -> Self {
        Self {
            canary: lines,
            ..self
        }
    }

    pub(crate) fn round(self, round: u32, next_number: u32) -> Self {
        Self {
            round,
            next_number,
            ..self
        }
    }

    pub(crate) fn rename_all(self, rename_all: bool) -> Self {
        Self { rename_all, ..self }
    }

    /// Where the lines go, as the input spells it.
    pub(crate) fn set_endpoint(&mut self, endpoint: &str) {
        if self.url.is_empty() {
            endpoint.clone_into(&mut self.url);
        }
    }

    /// Puts a line into the shard of its model. `repeats` says that its id was used before.
    pub(crate) fn add(
        &mut self,
        place: &Place<'_>,
        request: &Request<'_>,
        repeats: bool,
    ) -> Result<()> {
        let key = match self.profile.one_model {
            true => request.model.as_ref(),
            false => "",
        };
        // Ours is at most so long; what is in the input is counted whole.
        let outgoing = place.bytes + RENAMING;
        let full = self
            .open
            .get(key)
            .is_some_and(|open| open.is_full(&self.limits, self.canary, outgoing, request));
        if full {
            let open = self.open.remove(key).expect("it was looked at");
            self.close(open)?;
        }
        if !self.open.contains_key(key) {
            let open = self.begin(key, place.number)?;
            self.open.insert(key.to_owned(), open);
        }
        let form = self.form_of(request, repeats);
        let open = self.open.get_mut(key).expect("it was opened");
        open.take(place, request, outgoing, form)
    }

    fn form_of(&self, request: &Request<'_>, repeats: bool) -> Form {
        let id_is_taken = request
            .custom_id
            .as_deref()
            .is_some_and(|id| self.profile.takes_custom_id(id));
        if repeats || self.rename_all || !id_is_taken {
            return Form::Renamed;
        }
        let spelled_alike = self.profile.spelled(&self.url) == self.url;
        match spelled_alike && request.goes_as_it_is(self.profile) {
            true => Form::AsItIs,
            false => Form::Copied,
        }
    }

    fn begin(&mut self, model: &str, first_line: u64) -> Result<Open> {
        if self.open.len() >= MAX_MODELS {
            return Err(JobError::new(
                JobErrorKind::Refused,
                format!("the input names more than {MAX_MODELS} models"),
            )
            .hint("nothing was sent; put the lines of fewer models into one file"));
        }
        let number = self.next_number;
        self.next_number += 1;
        Ok(Open {
            shard: Shard {
                number,
                round: self.round,
                model: self.profile.one_model.then(|| model.to_owned()),
                first_line,
                last_line: first_line,
                lines: 0,
                bytes: 0,
                runs: 0,
                tokens: 0,
                hash: String::new(),
                form: Form::AsItIs,
                canary: self.canary.is_some() && self.done.is_empty() && self.open.is_empty(),
            },
            runs: RunWriter::create(Shard::runs_path(&self.folder, number))?,
            hash: 0,
            outgoing_bytes: 0,
            embedding_inputs: 0,
        })
    }

    fn close(&mut self, open: Open) -> Result<()> {
        let mut shard = open.shard;
        shard.runs = open.runs.count;
        open.runs.finish()?;
        self.done.push(Done {
            shard,
            hash: open.hash,
            outgoing_bytes: open.outgoing_bytes,
            embedding_inputs: open.embedding_inputs,
        });
        Ok(())
    }

    /// The shards in the order of their first lines.
    pub(crate) fn finish(mut self) -> Result<Round> {
        self.close_all()?;
        Ok(self.round_of_all())
    }

    /// The same without a canary, of which only a long input is worth one.
    pub(crate) fn finish_without_canary(mut self) -> Result<Round> {
        self.close_all()?;
        self.release_canary()?;
        Ok(self.round_of_all())
    }

    fn close_all(&mut self) -> Result<()> {
        for (_, open) in std::mem::take(&mut self.open) {
            self.close(open)?;
        }
        self.done.sort_by_key(|done| done.shard.number);
        Ok(())
    }

    fn round_of_all(self) -> Round {
        Round {
            number: self.round,
            shards: self.done.into_iter().map(Done::into_shard).collect(),
        }
    }

    /// Puts the lines of the canary before those of the next shard of its model, if that takes them.
    fn release_canary(&mut self) -> Result<()> {
        let Some((first, others)) = self.done.split_first_mut() else {
            return Ok(());
        };
        if !std::mem::take(&mut first.shard.canary) {
            return Ok(());
        }
        let next = others
            .iter()
            .position(|next| next.shard.model == first.shard.model);
        let Some(next) = next.filter(|next| first.fits(&others[*next], &self.limits)) else {
            return Ok(());
        };
        let next = self.done.remove(next + 1);
        let first = &mut self.done[0];
        let path = |number| Shard::runs_path(&self.folder, number);
        let gone = next.shard.number;
        first.shard.runs = runs::append(&path(first.shard.number), &path(gone))?;
        first.take(next);
        // The numbers stay without a gap, and so do the files that are named by them.
        for done in self.done.iter_mut().filter(|done| done.shard.number > gone) {
            runs::rename(&path(done.shard.number), &path(done.shard.number - 1))?;
            done.shard.number -= 1;
        }
        Ok(())
    }
}

impl Done {
    fn fits(&self, next: &Self, limits: &ShardLimits) -> bool {
        let over = |limit: Option<u64>, sum: u64| limit.is_some_and(|limit| sum > limit);
        self.shard.lines + next.shard.lines <= limits.lines
            && self.outgoing_bytes + next.outgoing_bytes <= limits.bytes
            && !over(limits.tokens, self.shard.tokens + next.shard.tokens)
            && !over(
                limits.embedding_inputs,
                self.embedding_inputs + next.embedding_inputs,
            )
    }

    fn take(&mut self, next: Self) {
        self.hash = self.hash.wrapping_add(next.hash);
        let (shard, next) = (&mut self.shard, next.shard);
        shard.last_line = next.last_line;
        shard.lines += next.lines;
        shard.bytes += next.bytes;
        shard.tokens += next.tokens;
        shard.form = shard.form.max(next.form);
    }

    fn into_shard(self) -> Shard {
        let mut shard = self.shard;
        shard.hash = format!("{:032x}", self.hash);
        if shard.runs > MAX_RUNS {
            shard.form = shard.form.max(Form::Copied);
        }
        shard
    }
}

impl Open {
    fn is_full(
        &self,
        limits: &ShardLimits,
        canary: Option<u64>,
        outgoing: u64,
        request: &Request<'_>,
    ) -> bool {
        let shard = &self.shard;
        let lines = match canary.filter(|_| shard.canary) {
            Some(lines) => lines.min(limits.lines),
            None => limits.lines,
        };
        let over = |limit: Option<u64>, sum: u64| limit.is_some_and(|limit| sum > limit);
        shard.lines >= lines
            || self.outgoing_bytes + outgoing > limits.bytes
            || over(limits.tokens, shard.tokens + request.tokens)
            || over(
                limits.embedding_inputs,
                self.embedding_inputs + request.embedding_inputs,
            )
    }

    fn take(
        &mut self,
        place: &Place<'_>,
        request: &Request<'_>,
        outgoing: u64,
        form: Form,
    ) -> Result<()> {
        self.runs.push(Run {
            first_line: place.number,
            lines: 1,
            offset: place.offset,
            bytes: place.bytes,
        })?;
        self.hash = self.hash.wrapping_add(hash_of(place.content, place.number));
        self.outgoing_bytes += outgoing;
        self.embedding_inputs += request.embedding_inputs;
        let shard = &mut self.shard;
        shard.last_line = place.number;
        shard.lines += 1;
        shard.bytes += place.bytes;
        shard.tokens += request.tokens;
        shard.form = shard.form.max(form);
        Ok(())
    }
}
