//! Result files put together: one result for each `custom_id`, in memory that stays flat.
//!
//! A success beats a failure, and the first success wins. With the requests at hand the results come
//! in their order, and what is missing or belongs to none of them is counted; otherwise they come in
//! the order in which each id was first seen.

mod found;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use self::found::Results;
use crate::check::{BareIds, Envelope};
use crate::ids::{IdHasher, PARTS, Parts, Record};
use crate::jsonl::{Content, Line};
use crate::verify::ResultParts;

/// Set in the number of a record that is a result; the others are requests.
const RESULT: u64 = 1 << 63;

/// So many names of strangers are kept.
const MAX_NAMED: usize = 10;

/// Files that are merged at once: each keeps one open.
pub const MAX_FILES: usize = 1 << 10;

/// What came of a merge.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Merged {
    /// Requests, where they were given.
    pub requests: Option<u64>,
    /// Results that were read.
    pub results: u64,
    /// Those that are answers, after the merge.
    pub answered: u64,
    /// Those that are none.
    pub failed: u64,
    /// Results of an id that has another.
    pub repeated: u64,
    /// Requests without a result.
    pub missing: u64,
    /// Results that belong to no request.
    pub unknown: u64,
    /// Some of their names.
    pub unknown_ids: Vec<String>,
    /// Lines that are no results.
    pub unreadable: u64,
    /// Ids that more than one request has.
    pub repeated_requests: u64,
}

/// Where each kind of result goes.
pub struct Outlets<'a> {
    /// Answers.
    pub output: &'a mut dyn Write,
    /// All else, if it is to go elsewhere.
    pub errors: Option<&'a mut dyn Write>,
}

impl std::fmt::Debug for Outlets<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outlets")
            .field("errors", &self.errors.is_some())
            .finish_non_exhaustive()
    }
}

/// Takes requests and results line by line, then writes what became of them.
///
/// ```
/// use std::io::Write;
/// use ditto_llm::jsonl::LineSplitter;
/// use ditto_llm::merge::{Merge, Outlets};
///
/// let dir = std::env::temp_dir();
/// let text = r#"{"custom_id":"a","response":null,"error":{"code":"server_error"}}
/// {"custom_id":"a","response":{"status_code":200,"body":{"id":"x"}}}"#;
/// let mut file = tempfile::tempfile_in(&dir)?;
/// file.write_all(text.as_bytes())?;
///
/// let mut merge = Merge::new(&dir)?;
/// let number = merge.file(file)?;
/// let mut splitter = LineSplitter::new(1 << 20);
/// splitter.feed(text.as_bytes(), |line| merge.result(number, &line))?;
/// splitter.finish(|line| merge.result(number, &line))?;
/// let mut output = Vec::new();
/// let merged = merge.write(Outlets { output: &mut output, errors: None })?;
/// assert_eq!((merged.answered, merged.repeated), (1, 1));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Merge {
    dir: PathBuf,
    hasher: IdHasher,
    by_id: Parts,
    results: Results,
    /// The last line of the requests; 0 where there are none.
    last_request: u64,
    merged: Merged,
}

impl Merge {
    /// Nothing yet. `dir` takes unnamed temporary files.
    ///
    /// # Errors
    ///
    /// They cannot be made.
    pub fn new(dir: &Path) -> io::Result<Self> {
        Ok(Self {
            dir: dir.to_owned(),
            hasher: IdHasher::new(),
            by_id: Parts::new(dir),
            results: Results::new(dir)?,
            last_request: 0,
            merged: Merged::default(),
        })
    }

    /// Another file of results, which is read again at the end: as it is, not packed. Gives its number.
    ///
    /// # Errors
    ///
    /// There are more than [`MAX_FILES`].
    pub fn file(&mut self, file: std::fs::File) -> io::Result<u16> {
        self.results.file(file)
    }

    /// A line of the requests. Where any is given, all must be, before the first result.
    ///
    /// # Errors
    ///
    /// The temporary files cannot be written.
    pub fn request(&mut self, line: &Line<'_>) -> io::Result<()> {
        let requests = self.merged.requests.get_or_insert(0);
        if line.is_blank() {
            return Ok(());
        }
        *requests += 1;
        self.last_request = line.number;
        let key = self.hasher.hash(id_of_request(line).as_bytes());
        self.by_id.push_by_key(Record {
            key,
            number: line.number,
        })
    }

    /// A line of a file of results.
    ///
    /// # Errors
    ///
    /// The temporary files cannot be written.
    pub fn result(&mut self, file: u16, line: &Line<'_>) -> io::Result<()> {
        if line.is_blank() {
            return Ok(());
        }
        let Content::Bytes(bytes) = line.content else {
            self.merged.unreadable += 1;
            return Ok(());
        };
        let Some(parts) = ResultParts::read(bytes) else {
            self.merged.unreadable += 1;
            return Ok(());
        };
        self.merged.results += 1;
        let Some(id) = parts.custom_id() else {
            self.unknown("(no custom_id)");
            return Ok(());
        };
        let key = self.hasher.hash(id.as_bytes());
        let place = found::Place::of(file, line, bytes);
        let number = self.results.push(place, parts.is_answer())?;
        self.by_id.push_by_key(Record {
            key,
            number: RESULT | number,
        })
    }

    fn unknown(&mut self, id: &str) {
        self.merged.unknown += 1;
        if self.merged.unknown_ids.len() < MAX_NAMED {
            self.merged.unknown_ids.push(id.chars().take(100).collect());
        }
    }

    /// Writes one result for each id.
    ///
    /// # Errors
    ///
    /// A file cannot be read or written.
    pub fn write(mut self, mut outlets: Outlets<'_>) -> io::Result<Merged> {
        let mut placed = self.placed()?;
        for part in 0..PARTS {
            let mut wanted = Vec::new();
            placed.for_each(part, |record| wanted.push(record))?;
            wanted.sort_unstable();
            for record in wanted {
                self.hand_out(record.number, &mut outlets)?;
            }
        }
        Ok(self.merged)
    }

    /// The results that are kept, in parts by the place where they go.
    fn placed(&mut self) -> io::Result<Parts> {
        let places = match self.merged.requests {
            Some(_) => self.last_request,
            None => self.results.count(),
        };
        let places_a_part = places / PARTS as u64 + 1;
        let mut placed = Parts::new(&self.dir);
        let mut by_id = std::mem::replace(&mut self.by_id, Parts::new(&self.dir));
        for part in 0..PARTS {
            by_id.for_each_group(part, |group| {
                self.settle(group, |place, number| {
                    let part = usize::try_from(place / places_a_part).expect("a part");
                    let key = u128::from(place);
                    placed.push(part, Record { key, number })
                })
            })?;
        }
        Ok(placed)
    }

    /// Which results of one id are kept, and where each goes.
    fn settle(
        &mut self,
        group: &[Record],
        mut keep: impl FnMut(u64, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let first_result = group.partition_point(|one| one.number & RESULT == 0);
        let (requests, results) = group.split_at(first_result);
        self.merged.repeated_requests += (requests.len() as u64).saturating_sub(1);
        let mut ranked = Vec::with_capacity(results.len());
        for result in results {
            let number = result.number & !RESULT;
            let is_answer = self.results.get(number)?.1;
            ranked.push((!is_answer, number));
        }
        // The first success is the first of all.
        ranked.sort_unstable();
        if self.merged.requests.is_some() && requests.is_empty() {
            return self.strangers(&ranked);
        }
        let wanted = requests.len().max(1);
        self.merged.repeated += (ranked.len() as u64).saturating_sub(wanted as u64);
        self.merged.missing += (requests.len() as u64).saturating_sub(ranked.len() as u64);
        ranked.truncate(wanted);
        for (at, (_, number)) in ranked.iter().enumerate() {
            let place = requests
                .get(at)
                .map_or(results[0].number & !RESULT, |line| line.number);
            keep(place, *number)?;
        }
        Ok(())
    }

    fn strangers(&mut self, results: &[(bool, u64)]) -> io::Result<()> {
        for (_, number) in results {
            let line = self.results.line(*number)?;
            let id =
                ResultParts::read(&line).and_then(|parts| Some(parts.custom_id()?.into_owned()));
            self.unknown(&id.unwrap_or_default());
        }
        Ok(())
    }

    fn hand_out(&mut self, number: u64, outlets: &mut Outlets<'_>) -> io::Result<()> {
        let (_, is_answer) = self.results.get(number)?;
        let mut line = self.results.line(number)?;
        line.push(b'\n');
        match is_answer {
            true => self.merged.answered += 1,
            false => self.merged.failed += 1,
        }
        match (is_answer, &mut outlets.errors) {
            (false, Some(errors)) => errors.write_all(&line),
            (true, _) | (false, None) => outlets.output.write_all(&line),
        }
    }
}

/// The id of a request; `run` answers a line without one under its number.
fn id_of_request(line: &Line<'_>) -> String {
    let mut envelope = Envelope::default();
    let named = match line.content {
        Content::Bytes(bytes) => {
            // What cannot be read has no id, and that is all that is asked here.
            let _ = envelope.read(bytes);
            envelope.custom_id.and_then(|id| id.text())
        }
        Content::TooLong => None,
    };
    match named {
        Some(id) => id.into_owned(),
        None => BareIds::default().plain_id(line.number),
    }
}

#[cfg(test)]
mod tests;
