//! The provider's files joined to the lines they answer, by line number, in memory that stays flat.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::Deserialize;

use super::class::Class;
use super::error::{JobError, Result};
use super::index::{Record, Text};
use super::input::Input;
use super::outgoing::{Request, line_of};
use super::plan::{Form, Plan, Shard, write_whole};
use super::runs::Runs;
use super::spool;
use super::state::{Joined, RawKind};
use crate::ids::{IdHasher, Numbered, PARTS, Parts, Record as Keyed};
use crate::jsonl::{Content, Line, LineSplitter};
use crate::wire::ResultLine;

/// Longer lines are no answers; they count as unreadable and are not held in memory.
pub(super) const LONGEST_LINE: usize = 128 << 20;

const BUFFER: usize = 1 << 20;

/// Names of unknown results that are told.
const MAX_NAMED: usize = 10;

/// Marks the number of a result among numbers of lines.
const RESULT: u64 = 1 << 63;

/// A file of results in the job's folder.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) kind: RawKind,
    pub(crate) path: std::path::PathBuf,
}

/// Joins the files of a shard and leaves its index. `absent` is what came of lines that are in no
/// file. Run again, it leaves the same.
pub(crate) fn join(
    plan: &Plan,
    shard: &Shard,
    folder: &Path,
    sources: &[Source],
    absent: Class,
) -> Result<Joined> {
    let mut join = Join::new(shard, folder)?;
    for (file, source) in sources.iter().enumerate() {
        join.read(u8::try_from(file).expect("there are three kinds"), source)?;
    }
    if shard.form != Form::Renamed {
        join.match_ids(plan, folder)?;
    }
    join.write_index(folder, absent)
}

struct Join<'a> {
    shard: &'a Shard,
    folder: &'a Path,
    hasher: IdHasher,
    /// Hashes of ids, of lines and of results.
    ids: Parts,
    /// Results whose line is known, in parts by line.
    found: Parts,
    results: Results,
    joined: Joined,
}

impl<'a> Join<'a> {
    fn new(shard: &'a Shard, folder: &'a Path) -> Result<Self> {
        Ok(Self {
            shard,
            folder,
            hasher: IdHasher::new(),
            ids: Parts::new(folder),
            found: Parts::new(folder),
            results: Results::new(folder)?,
            joined: Joined::default(),
        })
    }

    fn read(&mut self, file: u8, source: &Source) -> Result<()> {
        let path = &source.path;
        let failed = |e: &io::Error| JobError::file("cannot read", path, e);
        let mut raw = File::open(path).map_err(|e| failed(&e))?;
        let mut splitter = LineSplitter::new(LONGEST_LINE);
        let mut buffer = vec![0; BUFFER];
        loop {
            match raw.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => splitter.feed(&buffer[..length], |line| {
                    self.result(file, source.kind, &line)
                })?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(failed(&e)),
            }
        }
        splitter.finish(|line| self.result(file, source.kind, &line))
    }

    fn result(&mut self, file: u8, kind: RawKind, line: &Line<'_>) -> Result<()> {
        if line.is_blank() {
            return Ok(());
        }
        let Some((result, text)) = readable(file, line) else {
            self.joined.unreadable += 1;
            return Ok(());
        };
        let class = Class::of(&result);
        self.count_tokens(&result);
        let Some(id) = result.custom_id else {
            self.unknown("(no custom_id)");
            return Ok(());
        };
        let is_ours = kind == RawKind::Faults || self.shard.form == Form::Renamed;
        if is_ours {
            return match line_of(&id) {
                Some(line) => self.found(line, text, class),
                None => {
                    self.unknown(&id);
                    Ok(())
                }
            };
        }
        let number = self
            .results
            .push(text, class)
            .map_err(|e| self.spilled(&e))?;
        let key = self.hasher.hash(id.as_bytes());
        self.ids
            .push_by_key(Keyed {
                key,
                number: RESULT | number,
            })
            .map_err(|e| self.spilled(&e))
    }

    fn count_tokens(&mut self, result: &ResultLine) {
        let body = result.response.as_ref().and_then(|r| r.body.as_deref());
        if let Some(usage) = body.and_then(|body| usage_in(body.get())) {
            self.joined.input_tokens += usage.0;
            self.joined.output_tokens += usage.1;
        }
    }

    fn unknown(&mut self, id: &str) {
        self.joined.unknown += 1;
        if self.joined.unknown_ids.len() < MAX_NAMED {
            self.joined.unknown_ids.push(id.chars().take(100).collect());
        }
    }

    fn found(&mut self, line: u64, text: Text, class: Class) -> Result<()> {
        if line < self.shard.first_line || line > self.shard.last_line {
            self.unknown(&super::outgoing::stand_in(line));
            return Ok(());
        }
        let record = Keyed {
            key: u128::from(line) << 64 | u128::from(text.file) << 56 | u128::from(text.offset),
            number: u64::from(text.length) << 32 | u64::from(class.to_byte()),
        };
        let part = (line - self.shard.first_line) / self.lines_a_part();
        self.found
            .push(usize::try_from(part).expect("a part"), record)
            .map_err(|e| self.spilled(&e))
    }

    /// One part a range of lines, so that sorting part after part sorts all.
    fn lines_a_part(&self) -> u64 {
        (self.shard.last_line - self.shard.first_line) / PARTS as u64 + 1
    }

    /// Brings the lines and the results of each id together.
    fn match_ids(&mut self, plan: &Plan, folder: &Path) -> Result<()> {
        let input = Input::open(&plan.input.path)?;
        let fill = plan.fill();
        let mut failed = Ok(());
        spool::each_line(&input, self.shard, folder, |number, line| {
            let request = Request::read(line, &fill).ok_or_else(|| spool::changed(plan))?;
            let id = request.custom_id.ok_or_else(|| spool::changed(plan))?;
            let key = self.hasher.hash(id.as_bytes());
            if let Err(e) = self.ids.push_by_key(Keyed { key, number }) {
                failed = Err(self.spilled(&e));
            }
            Ok(())
        })?;
        failed?;
        let mut ids = std::mem::replace(&mut self.ids, Parts::new(folder));
        for part in 0..PARTS {
            let mut failed = Ok(());
            ids.for_each_group(part, |group| {
                failed = self.group(group);
                match failed {
                    Ok(()) => Ok(()),
                    Err(_) => Err(io::Error::other("told apart")),
                }
            })
            .or_else(|e| match &failed {
                Ok(()) => Err(self.spilled(&e)),
                Err(_) => Ok(()),
            })?;
            failed?;
        }
        Ok(())
    }

    /// One id: its line comes first, then its results.
    fn group(&mut self, group: &[Keyed]) -> Result<()> {
        let line = Some(group[0].number).filter(|number| number & RESULT == 0);
        for result in group.iter().filter(|one| one.number & RESULT != 0) {
            let (text, class) = self
                .results
                .get(result.number & !RESULT)
                .map_err(|e| self.spilled(&e))?;
            match line {
                Some(line) => self.found(line, text, class)?,
                None => self.unknown("(an id of no line)"),
            }
        }
        Ok(())
    }

    fn write_index(mut self, folder: &Path, absent: Class) -> Result<Joined> {
        let path = self.shard.index_path(folder);
        let mut outcome = Ok(());
        write_whole(&path, |out| {
            outcome = self.index(folder, absent, out);
            Ok(())
        })?;
        outcome?;
        Ok(self.joined)
    }

    /// A record for every line of the shard, in order.
    fn index(&mut self, folder: &Path, absent: Class, out: &mut dyn Write) -> Result<()> {
        let mut runs = Runs::open(&Shard::runs_path(folder, self.shard.number))?;
        let mut part = 0;
        let mut sorted = self.sorted(part)?.into_iter().peekable();
        while let Some(run) = runs.next()? {
            for line in run.first_line..=run.last_line() {
                let its_part = (line - self.shard.first_line) / self.lines_a_part();
                while (part as u64) < its_part {
                    self.unknown_rest(sorted);
                    part += 1;
                    sorted = self.sorted(part)?.into_iter().peekable();
                }
                // What lies before it is named like a line between two runs.
                while sorted.next_if(|one| one.line < line).is_some() {
                    self.unknown("(a line of another shard)");
                }
                let mut best: Option<Record> = None;
                while let Some(one) = sorted.next_if(|one| one.line == line) {
                    best = Some(match best {
                        None => one,
                        Some(first) => {
                            self.joined.repeated += 1;
                            better(first, one)
                        }
                    });
                }
                let record = best.unwrap_or(Record {
                    line,
                    class: absent,
                    text: None,
                });
                *self.joined.classes.entry(record.class).or_default() += 1;
                record.write(out).map_err(|e| {
                    JobError::file("cannot write", &self.shard.index_path(folder), &e)
                })?;
            }
        }
        self.unknown_rest(sorted);
        Ok(())
    }

    fn unknown_rest(&mut self, rest: impl Iterator<Item = Record>) {
        rest.for_each(|_| self.unknown("(a line of another shard)"));
    }

    fn sorted(&mut self, part: usize) -> Result<Vec<Record>> {
        let mut keyed = Vec::new();
        self.found
            .for_each(part, |record| keyed.push(record))
            .map_err(|e| JobError::file("cannot sort results in", self.folder, &e))?;
        keyed.sort_unstable();
        let record = |one: &Keyed| Record {
            line: u64::try_from(one.key >> 64).expect("64 bits are left"),
            class: Class::of_byte((one.number & 0xFF) as u8).expect("a class was stored"),
            text: Some(Text {
                file: (one.key >> 56 & 0xFF) as u8,
                offset: (one.key & ((1 << 56) - 1)) as u64,
                length: (one.number >> 32) as u32,
            }),
        };
        Ok(keyed.iter().map(record).collect())
    }

    fn spilled(&self, error: &io::Error) -> JobError {
        JobError::file("cannot sort results in", self.folder, error)
            .hint("nothing recorded is lost; make space, then run again")
    }
}

/// A success beats a failure; the first success wins, and so does the first failure.
fn better(first: Record, other: Record) -> Record {
    match other.class.is_answer() && !first.class.is_answer() {
        true => other,
        false => first,
    }
}

fn readable(file: u8, line: &Line<'_>) -> Option<(ResultLine, Text)> {
    let Content::Bytes(bytes) = line.content else {
        return None;
    };
    let result: ResultLine = serde_json::from_slice(bytes).ok()?;
    let text = Text {
        file,
        offset: line.content_start(),
        length: u32::try_from(bytes.len()).ok()?,
    };
    Some((result, text))
}

/// Tokens in and out, as chat completions or as responses name them.
fn usage_in(body: &str) -> Option<(u64, u64)> {
    #[derive(Deserialize)]
    struct Body {
        usage: Usage,
    }
    #[derive(Deserialize)]
    struct Usage {
        prompt_tokens: Option<u64>,
        completion_tokens: Option<u64>,
        input_tokens: Option<u64>,
        output_tokens: Option<u64>,
    }
    let body: Body = serde_json::from_str(body).ok()?;
    let usage = body.usage;
    let sum = |one: Option<u64>, other: Option<u64>| one.or(other).unwrap_or(0);
    Some((
        sum(usage.prompt_tokens, usage.input_tokens),
        sum(usage.completion_tokens, usage.output_tokens),
    ))
}

/// Where each result is, by number, on disk.
struct Results(Numbered<16>);

impl Results {
    fn new(folder: &Path) -> Result<Self> {
        match Numbered::new(folder) {
            Ok(numbered) => Ok(Self(numbered)),
            Err(e) => Err(JobError::file("cannot sort results in", folder, &e)),
        }
    }

    fn push(&mut self, text: Text, class: Class) -> io::Result<u64> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&text.offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&text.length.to_le_bytes());
        bytes[12] = text.file;
        bytes[13] = class.to_byte();
        self.0.push(bytes)
    }

    fn get(&mut self, number: u64) -> io::Result<(Text, Class)> {
        let bytes = self.0.get(number)?;
        let text = Text {
            offset: u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")),
            length: u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes")),
            file: bytes[12],
        };
        Ok((text, Class::of_byte(bytes[13]).expect("a class was stored")))
    }
}

/// Lines of a file that the provider refused, as lines of ours: the number of a line in the shard
/// becomes the one in the input.
pub(crate) fn write_faults(
    folder: &Path,
    shard: &Shard,
    path: &Path,
    faults: &[(u64, String, String)],
) -> Result<()> {
    let wanted: BTreeMap<u64, &(u64, String, String)> =
        faults.iter().rev().map(|fault| (fault.0, fault)).collect();
    let mut lines = Vec::new();
    let mut runs = Runs::open(&Shard::runs_path(folder, shard.number))?;
    let mut before = 0;
    while let Some(run) = runs.next()? {
        for (number, fault) in wanted.range(before + 1..=before + run.lines) {
            let line = run.first_line + (number - before - 1);
            lines.push(serde_json::json!({
                "custom_id": super::outgoing::stand_in(line),
                "response": null,
                "error": {"code": fault.1, "message": fault.2},
            }));
        }
        before += run.lines;
    }
    write_whole(path, |out| {
        lines.iter().try_for_each(|line| writeln!(out, "{line}"))
    })
}
