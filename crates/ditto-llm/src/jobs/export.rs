//! The results of a job: one line for every request, in the order of the input.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::class::Class;
use super::error::{JobError, Result};
use super::index::{Record, Text};
use super::input::Input;
use super::ledger::Ledger;
use super::plan::{Plan, Round, Shard};
use super::state::State;
use super::walk::{Entry, Fate, Said, Terms, Walk};
use super::{Retries, WITHHELD, rounds as following, spool};
use crate::check::{BareIds, Envelope, Kind};
use crate::jsonl::{Content, Line};
use crate::wire::ResultLine;

/// Files of results that are open at once.
const MAX_OPEN: usize = 64;

/// How a job ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// Lines that are not blank.
    pub total: u64,
    /// Lines with an answer: those of the output file.
    pub answered: u64,
    /// The others: those of the error file.
    pub failed: u64,
    /// Those of them that another run would send again, or that are under way. None once a job has
    /// settled.
    #[serde(default)]
    pub unfinished: u64,
    /// Lines by class.
    pub classes: BTreeMap<Class, u64>,
    /// Tokens that the provider took in, over all rounds.
    pub input_tokens: u64,
    /// Tokens that it put out, over all rounds.
    pub output_tokens: u64,
    /// Batches that ran.
    pub batches: u64,
    /// Rounds.
    pub rounds: u32,
    /// Results beyond the first of a line.
    pub repeated: u64,
    /// Results that belong to no line; they are kept in the raw files.
    pub unknown: u64,
    /// Lines of the provider's files that are no results.
    pub unreadable: u64,
    /// What the provider said of batches that failed as a whole, with how many batches.
    #[serde(default)]
    pub failed_for: BTreeMap<String, u64>,
}

impl Summary {
    /// Lines of this class.
    #[must_use]
    pub fn count(&self, class: Class) -> u64 {
        self.classes.get(&class).copied().unwrap_or(0)
    }
}

/// What a line of ours is called: job and line.
pub(crate) fn line_id(key: &str, line: u64) -> String {
    format!("batch_req_{key}_{line}")
}

/// Writes the results.
pub(crate) fn export(
    folder: &Path,
    plan: &Plan,
    rounds: &[Round],
    ledger: &Ledger,
    retries: &Retries,
    output: &mut dyn Write,
    errors: &mut dyn Write,
) -> Result<Summary> {
    let input = Input::open(&plan.input.path)?;
    let mut export = Export {
        plan,
        terms: following::terms(rounds, ledger, retries),
        raw: RawFiles::new(folder, rounds, ledger),
        walk: Walk::new(folder, rounds, ledger)?,
        summary: sums(rounds, ledger),
    };
    // Longer lines were withheld, and their ids were looked at when they were.
    let longest = super::first_pass::longest_line(&plan.profile);
    let identity = input.each_line(longest, |line| {
        if line.is_blank() || !plan.takes(line.number) {
            return Ok(());
        }
        let (class, text) = export.line(line)?;
        let written = match class.is_answer() {
            true => writeln!(output, "{text}"),
            false => writeln!(errors, "{text}"),
        };
        written.map_err(|e| JobError::file("cannot write", Path::new("the results"), &e))
    })?;
    spool::require_unchanged(plan, &identity)?;
    Ok(export.summary)
}

struct Export<'a> {
    plan: &'a Plan,
    terms: Terms<'a>,
    raw: RawFiles<'a>,
    walk: Walk,
    summary: Summary,
}

impl Export<'_> {
    fn line(&mut self, line: &Line<'_>) -> Result<(Class, String)> {
        let entries = self.walk.at(line.number)?;
        if matches!(self.terms.fate(entries), Fate::Again | Fate::Held) {
            self.summary.unfinished += 1;
        }
        // What would go on is told as it is.
        let at_the_end = Terms {
            fruitful: false,
            ..self.terms
        };
        let chosen = match at_the_end.fate(entries) {
            Fate::Settled(index) => entries.get(index).copied(),
            Fate::Again | Fate::Held => entries
                .iter()
                .rfind(|entry| entry.said != Said::Held)
                .copied(),
        };
        let (class, text) = match chosen {
            Some(Entry {
                shard: 0,
                said: Said::Came(record),
            }) => (Class::Withheld, self.raw.withheld(&record)?),
            Some(Entry {
                shard,
                said: Said::Came(record),
            }) => (record.class, self.result(line, shard, &record)?),
            Some(Entry {
                said: Said::Held, ..
            })
            | None => (
                Class::Cancelled,
                self.failure(
                    line,
                    "job_stopped",
                    "The job was stopped before this line had a result.",
                ),
            ),
        };
        *self.summary.classes.entry(class).or_default() += 1;
        self.summary.total += 1;
        match class.is_answer() {
            true => self.summary.answered += 1,
            false => self.summary.failed += 1,
        }
        Ok((class, text))
    }

    fn result(&mut self, line: &Line<'_>, shard: u32, record: &Record) -> Result<String> {
        let Some(text) = &record.text else {
            let why = self.raw.message(shard);
            return Ok(self.without_text(line, record.class, why));
        };
        let mut result = self.raw.read(shard, text)?;
        result.id = Some(line_id(&self.plan.key, line.number));
        // Written below, as the input has it.
        result.custom_id = None;
        let json = serde_json::to_string(&result).expect("a result was read");
        let named = format!(r#""custom_id":{}"#, custom_id(line, &self.plan.bare_suffix));
        Ok(on_one_line(json.replacen(r#""custom_id":null"#, &named, 1)))
    }

    fn without_text(&self, line: &Line<'_>, class: Class, why: Option<&str>) -> String {
        let (code, message) = match class {
            Class::Expired => ("batch_expired", "The window of its batch ended first."),
            Class::Cancelled => (
                "batch_cancelled",
                "Its batch was cancelled or failed first.",
            ),
            _ => (
                "line_missing",
                "The provider's files do not have this line.",
            ),
        };
        let message = match why {
            Some(why) => format!("{message} The provider says: {why}"),
            None => message.to_owned(),
        };
        self.failure(line, code, &message)
    }

    fn failure(&self, line: &Line<'_>, code: &str, message: &str) -> String {
        format!(
            r#"{{"id":"{}","custom_id":{},"response":null,"error":{}}}"#,
            line_id(&self.plan.key, line.number),
            custom_id(line, &self.plan.bare_suffix),
            json!({"code": code, "message": message}),
        )
    }
}

/// What the shards' own sums come to.
fn sums(rounds: &[Round], ledger: &Ledger) -> Summary {
    let mut summary = Summary {
        rounds: rounds.last().map_or(0, |round| round.number),
        failed_for: ledger.reasons().clone(),
        ..Summary::default()
    };
    for shard in rounds.iter().flat_map(|round| &round.shards) {
        if let State::Joined { joined, .. } = ledger.state(shard.number) {
            summary.batches += 1;
            summary.input_tokens += joined.input_tokens;
            summary.output_tokens += joined.output_tokens;
            summary.repeated += joined.repeated;
            summary.unknown += joined.unknown;
            summary.unreadable += joined.unreadable;
        }
    }
    summary
}

/// The `custom_id` as the input has it; a bare body has the name that its line gives it.
fn custom_id(line: &Line<'_>, bare_suffix: &str) -> String {
    let Content::Bytes(bytes) = line.content else {
        return "null".to_owned();
    };
    let mut envelope = Envelope::default();
    // What stands before the place where a line stops being JSON tells what it was meant to be.
    let _ = envelope.read(bytes);
    if envelope.is_bare() {
        let suffix = bare_suffix.to_owned();
        return BareIds { suffix }.custom_id(line.number);
    }
    envelope
        .custom_id
        .filter(|id| id.kind == Kind::String && id.text().is_some())
        .and_then(|id| std::str::from_utf8(id.raw).ok())
        .map_or_else(|| "null".to_owned(), str::to_owned)
}

/// Escapes what many readers take for the end of a line. In JSON it stands in strings only.
fn on_one_line(json: String) -> String {
    let breaks = ['\u{2028}', '\u{2029}', '\u{85}'];
    if !json.contains(breaks) {
        return json;
    }
    let json = json.replace('\u{2028}', "\\u2028");
    json.replace('\u{2029}', "\\u2029")
        .replace('\u{85}', "\\u0085")
}

/// The provider's files, read in pieces.
struct RawFiles<'a> {
    folder: &'a Path,
    shards: HashMap<u32, (Vec<PathBuf>, Option<String>)>,
    open: HashMap<(u32, u8), File>,
}

impl<'a> RawFiles<'a> {
    fn new(folder: &'a Path, rounds: &[Round], ledger: &Ledger) -> Self {
        let of = |shard: &Shard| match ledger.state(shard.number) {
            State::Joined { raw, end, .. } => {
                let paths = raw
                    .iter()
                    .map(|raw| shard.raw_path(folder, raw.kind.name()));
                Some((shard.number, (paths.collect(), end.message.clone())))
            }
            _ => None,
        };
        let shards = rounds.iter().flat_map(|round| &round.shards);
        Self {
            folder,
            shards: shards.filter_map(of).collect(),
            open: HashMap::new(),
        }
    }

    /// What the provider said of the batch as a whole.
    fn message(&self, shard: u32) -> Option<&str> {
        self.shards.get(&shard)?.1.as_deref()
    }

    fn withheld(&mut self, record: &Record) -> Result<String> {
        let path = self.folder.join(WITHHELD);
        let text = record
            .text
            .ok_or_else(|| JobError::damaged(&path, "no text"))?;
        let bytes = self.bytes(0, &text, &path)?;
        String::from_utf8(bytes).map_err(|e| JobError::damaged(&path, e))
    }

    fn read(&mut self, shard: u32, text: &Text) -> Result<ResultLine> {
        let path = self
            .shards
            .get(&shard)
            .and_then(|(paths, _)| paths.get(usize::from(text.file)))
            .cloned()
            .ok_or_else(|| {
                JobError::damaged(self.folder, format!("shard {shard} has no such file"))
            })?;
        let bytes = self.bytes(shard, text, &path)?;
        serde_json::from_slice(&bytes).map_err(|e| JobError::damaged(&path, e))
    }

    fn bytes(&mut self, shard: u32, text: &Text, path: &Path) -> Result<Vec<u8>> {
        let failed = |e: &std::io::Error| JobError::file("cannot read", path, e);
        let key = (shard, text.file);
        if !self.open.contains_key(&key) {
            if self.open.len() >= MAX_OPEN {
                self.open.clear();
            }
            let file = File::open(path).map_err(|e| failed(&e))?;
            self.open.insert(key, file);
        }
        let mut bytes = vec![0; text.length as usize];
        self.open[&key]
            .read_exact_at(&mut bytes, text.offset)
            .map_err(|e| failed(&e))?;
        Ok(bytes)
    }
}
