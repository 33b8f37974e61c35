//! The first pass over an input: every line checked, weighed, and put into a shard or withheld.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::json;

use super::class::Class;
use super::error::{JobError, JobErrorKind, Result};
use super::index::{Record, Text};
use super::input::Input;
use super::outgoing::Request;
use super::plan::{Form, Plan, Round, Shard, VERSION};
use super::planner::{Place, Planner, ShardLimits};
use super::{Settings, WITHHELD, WITHHELD_INDEX};
use crate::check::{BareIds, Checker, Fault, FaultCode, Fill, Limits, Rules, Seen};
use crate::ids::IdSet;
use crate::jsonl::{Content, Line};
use crate::profiles::Profile;

/// A line of more is no request of anybody's, whatever a profile says.
const LONGEST_LINE: u64 = 128 << 20;

/// Models that are counted one by one.
const MAX_COUNTED: usize = 100;

/// Reads the input once and leaves shards, withheld lines and the plan in the job's folder. The plan
/// comes last: without it there is no job.
pub(crate) fn plan(settings: &Settings, folder: &Path) -> Result<(Plan, Round)> {
    let input = Input::open(&settings.input)?;
    let mut pass = Pass::new(settings, folder, &input)?;
    let longest = longest_line(&settings.profile);
    let identity = input.each_line(longest, |line| pass.line(line))?;
    let (plan, round) = pass.finish(identity)?;
    round.save(folder)?;
    plan.save(folder)?;
    Ok((plan, round))
}

/// The longest line that may be sent.
pub(crate) fn longest_line(profile: &Profile) -> u64 {
    profile
        .max_line_bytes
        .min(profile.max_file_bytes)
        .min(LONGEST_LINE)
}

/// Lines that go first and alone. A small job has none: they would be a batch more for nothing.
fn canary(settings: &Settings, input: &Input) -> Result<Option<u64>> {
    let Some(threshold) = settings.canary_over else {
        return Ok(settings.canary);
    };
    let limited = settings.limit.is_some_and(|limit| limit <= threshold);
    if settings.canary.is_none() || limited {
        return Ok(None);
    }
    let large = input.has_more_requests_than(threshold)?;
    Ok(settings.canary.filter(|_| large))
}

struct Pass<'a> {
    settings: &'a Settings,
    key: String,
    bom: u64,
    fill: Fill,
    checker: Checker,
    planner: Planner<'a>,
    withheld: Withheld,
    faults: Vec<Fault>,
    models: BTreeMap<String, u64>,
    folder: &'a Path,
    /// Lines that are not blank, so far.
    taken: u64,
}

impl<'a> Pass<'a> {
    fn new(settings: &'a Settings, folder: &'a Path, input: &Input) -> Result<Self> {
        let profile = &settings.profile;
        let fill = Fill {
            model: settings.model.clone(),
            endpoint: settings.endpoint.clone(),
            bare: Some(BareIds::default()),
        };
        let rules = Rules {
            endpoint: settings.endpoint.clone(),
            // Shards take care of the limits of files.
            one_model: false,
            models: None,
            limits: Limits {
                max_lines: u64::MAX,
                max_file_bytes: u64::MAX,
                max_line_bytes: longest_line(profile),
                max_embedding_inputs: None,
            },
            fill: fill.clone(),
        };
        let limits = ShardLimits::of(profile, settings.max_enqueued_tokens);
        let key = new_key();
        Ok(Self {
            settings,
            bom: input.bom,
            fill,
            checker: Checker::new(rules, IdSet::new(folder, IdSet::DEFAULT_IN_MEMORY)),
            planner: Planner::new(folder, profile, limits).canary(canary(settings, input)?),
            withheld: Withheld::create(folder, &key)?,
            key,
            faults: Vec::new(),
            models: BTreeMap::new(),
            folder,
            taken: 0,
        })
    }

    fn line(&mut self, line: &Line<'_>) -> Result<()> {
        if self.settings.limit.is_some_and(|limit| self.taken >= limit) {
            return Ok(());
        }
        self.taken += u64::from(!line.is_blank());
        self.faults.clear();
        let seen = self
            .checker
            .line(line, &mut self.faults)
            .map_err(|e| ids_failed(self.folder, &e))?;
        let Seen::Request { custom_id, .. } = seen else {
            return Ok(());
        };
        let refusing = self.faults.iter().find(|fault| !is_mended(fault));
        if let Some(fault) = refusing {
            let (code, message) = (fault.code.as_str(), fault.message.as_str());
            return self
                .withheld
                .add(line.number, custom_id.as_deref(), code, message);
        }
        let repeats = self
            .faults
            .iter()
            .any(|fault| fault.code == FaultCode::DuplicateCustomId);
        let Content::Bytes(content) = line.content else {
            unreachable!("the check refuses lines that are too long");
        };
        let Some(request) = Request::read(content, &self.fill) else {
            let code = FaultCode::InvalidJsonLine.as_str();
            return self.withheld.add(
                line.number,
                custom_id.as_deref(),
                code,
                "This line is no request.",
            );
        };
        if let Some(message) = self.too_many_inputs(&request) {
            let code = FaultCode::TooManyEmbeddingInputs.as_str();
            return self
                .withheld
                .add(line.number, custom_id.as_deref(), code, &message);
        }
        if let Some(endpoint) = self.checker.endpoint() {
            self.planner.set_endpoint(endpoint);
        }
        self.count_model(&request.model);
        let place = Place::of(line, content, self.bom);
        self.planner.add(&place, &request, repeats)
    }

    fn too_many_inputs(&self, request: &Request<'_>) -> Option<String> {
        let max = self.settings.profile.max_embedding_inputs?;
        (request.embedding_inputs > max)
            .then(|| format!("This line has more than {max} embedding inputs."))
    }

    fn count_model(&mut self, model: &str) {
        if let Some(count) = self.models.get_mut(model) {
            *count += 1;
        } else if self.models.len() < MAX_COUNTED {
            self.models.insert(model.to_owned(), 1);
        }
    }

    fn finish(mut self, input: super::InputIdentity) -> Result<(Plan, Round)> {
        self.faults.clear();
        let summary = self
            .checker
            .finish(&mut self.faults)
            .map_err(|e| ids_failed(self.folder, &e))?;
        let is_long = |threshold| summary.requests > threshold;
        let mut round = match self.settings.canary_over.is_none_or(is_long) {
            true => self.planner.finish()?,
            false => self.planner.finish_without_canary()?,
        };
        for late in summary.late_duplicates {
            let (line, _) = late.map_err(|e| ids_failed(self.folder, &e))?;
            rename_around(&mut round.shards, line);
        }
        let (withheld, withheld_for) = self.withheld.finish()?;
        let settings = self.settings;
        let endpoint = summary.endpoint.unwrap_or_default();
        refuse_foreign_endpoint(&settings.profile, &endpoint)?;
        if round.shards.is_empty() {
            return Err(nothing_to_send(summary.requests, &withheld_for));
        }
        let window = settings.window.clone();
        let plan = Plan {
            version: VERSION,
            key: self.key,
            profile: settings.profile.clone(),
            input,
            endpoint,
            window: window.unwrap_or_else(|| settings.profile.windows[0].clone()),
            model: settings.model.clone(),
            lines: summary.lines,
            requests: summary.requests,
            withheld,
            withheld_for,
            tokens: round.shards.iter().map(|shard| shard.tokens).sum(),
            models: self.models,
            renames: round.shards.iter().any(|shard| shard.form == Form::Renamed),
            bare_suffix: summary.bare_suffix,
            limit: settings.limit,
        };
        Ok((plan, round))
    }
}

/// What is mended on the way out: the line goes under another name.
fn is_mended(fault: &Fault) -> bool {
    fault.param.as_deref() == Some("custom_id")
        && matches!(
            fault.code,
            FaultCode::MissingRequiredParameter
                | FaultCode::InvalidType
                | FaultCode::InvalidValue
                | FaultCode::DuplicateCustomId
        )
}

/// An id that was used before showed only now. Which shard of several models has the line is not
/// looked up: being renamed does a shard no harm.
fn rename_around(shards: &mut [Shard], line: u64) {
    let around = |shard: &&mut Shard| shard.first_line <= line && line <= shard.last_line;
    for shard in shards.iter_mut().filter(around) {
        shard.form = Form::Renamed;
    }
}

fn refuse_foreign_endpoint(profile: &Profile, endpoint: &str) -> Result<()> {
    let spelled = profile.spelled(endpoint);
    if endpoint.is_empty() || profile.endpoints.is_empty() || profile.endpoints.contains(&spelled) {
        return Ok(());
    }
    Err(JobError::new(
        JobErrorKind::Refused,
        format!(
            "{} is not known to answer {spelled} in batches",
            profile.title
        ),
    )
    .hint(format!(
        "nothing was sent; known there are {}; a profile of yours may name others",
        profile.endpoints.join(", ")
    )))
}

fn nothing_to_send(requests: u64, why: &BTreeMap<String, u64>) -> JobError {
    let message = match why.iter().max_by_key(|(_, lines)| **lines) {
        Some((code, lines)) => {
            format!("none of {requests} lines can be sent; {lines} of them: {code}")
        }
        None => "the input has no requests".to_owned(),
    };
    JobError::new(JobErrorKind::Refused, message)
        .hint("nothing was sent; `ditto-batch check` names what is wrong with each line")
}

fn ids_failed(folder: &Path, error: &std::io::Error) -> JobError {
    JobError::file("cannot keep the custom_ids in", folder, error)
        .hint("nothing was sent; the job's folder needs 24 bytes of room a line")
}

/// What batches of this job are known by: nobody has had it.
fn new_key() -> String {
    // The seed of a hash table is the chance that the standard library has.
    let chance = RandomState::new();
    format!("{:016x}{:016x}", chance.hash_one(0u8), chance.hash_one(1u8))
}

/// Lines that are not sent, as lines of the error file.
struct Withheld {
    key: String,
    folder: std::path::PathBuf,
    text: BufWriter<File>,
    index: BufWriter<File>,
    offset: u64,
    lines: u64,
    codes: BTreeMap<String, u64>,
}

impl Withheld {
    fn create(folder: &Path, key: &str) -> Result<Self> {
        let create = |name: &str| {
            let path = folder.join(name);
            File::create(&path)
                .map(BufWriter::new)
                .map_err(|e| JobError::file("cannot write", &path, &e))
        };
        Ok(Self {
            key: key.to_owned(),
            folder: folder.to_owned(),
            text: create(WITHHELD)?,
            index: create(WITHHELD_INDEX)?,
            offset: 0,
            lines: 0,
            codes: BTreeMap::new(),
        })
    }

    fn add(&mut self, line: u64, custom_id: Option<&str>, code: &str, message: &str) -> Result<()> {
        let error = json!({"code": code, "message": message});
        let id = super::export::line_id(&self.key, line);
        let custom_id = custom_id.unwrap_or("null");
        let text =
            format!(r#"{{"id":"{id}","custom_id":{custom_id},"response":null,"error":{error}}}"#);
        let record = Record {
            line,
            class: Class::Withheld,
            text: Some(Text {
                file: 0,
                offset: self.offset,
                length: u32::try_from(text.len()).unwrap_or(u32::MAX),
            }),
        };
        writeln!(self.text, "{text}")
            .and_then(|()| record.write(&mut self.index))
            .map_err(|e| JobError::file("cannot write in", &self.folder, &e))?;
        self.offset += text.len() as u64 + 1;
        self.lines += 1;
        *self.codes.entry(code.to_owned()).or_default() += 1;
        Ok(())
    }

    fn finish(self) -> Result<(u64, BTreeMap<String, u64>)> {
        for file in [self.text, self.index] {
            file.into_inner()
                .map_err(std::io::IntoInnerError::into_error)
                .and_then(|file| file.sync_all())
                .map_err(|e| JobError::file("cannot write in", &self.folder, &e))?;
        }
        Ok((self.lines, self.codes))
    }
}
