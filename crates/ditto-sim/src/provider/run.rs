//! The lines of a batch are answered: its output and error files, and what it costs.

use std::io;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use crate::answer::Answer;
use crate::ask::{Endpoint, Question};
use crate::config::SimConfig;
use crate::course::{Asking, Course, Ending};
use crate::envelope::Complaint;
use crate::faults::Fault;
use crate::ledger::Ledger;
use crate::provider::lines::{Line, each_line};
use crate::provider::rows::{Outcome, Row, RowFiles, Written};
use crate::script::Script;

/// What answers lines.
#[derive(Debug)]
pub(crate) struct Model<'a> {
    pub(crate) config: &'a SimConfig,
    pub(crate) ledger: &'a Ledger,
}

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) input: &'a Path,
    pub(crate) folder: &'a Path,
    pub(crate) batch: &'a str,
    pub(crate) asks: Endpoint,
    /// So many lines run, from the first.
    pub(crate) lines: u64,
    /// What is said of the others.
    pub(crate) rest: Rest,
}

/// Why lines have not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    Expired,
    Cancelled,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ran {
    pub(crate) output: Option<Written>,
    pub(crate) error: Option<Written>,
    pub(crate) output_file_id: Option<String>,
    pub(crate) error_file_id: Option<String>,
    pub(crate) lines_run: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) billed: u64,
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
}

/// Runs the lines of a batch; memory does not grow with their number.
pub(crate) fn run(job: &Job<'_>, model: &Model<'_>) -> io::Result<Ran> {
    let mut files = RowFiles::of(job.folder, job.batch);
    let mut ran = Ran::default();
    let mut row = Vec::new();
    let mut seen = 0;
    each_line(job.input, |_, bytes| {
        seen += 1;
        row.clear();
        let Some(line) = Line::read(bytes) else {
            // Checked before; a file that changes under the simulator is not its affair.
            return Ok(());
        };
        if seen > job.lines {
            rest(job.rest, &line).write(&mut row)?;
            row.push(b'\n');
            return files.error.push(&row);
        }
        ran.lines_run += 1;
        let is_success = answer(job.asks, &line, model, &mut ran, &mut row)?;
        row.push(b'\n');
        if is_success {
            ran.completed += 1;
            files.output.push(&row)
        } else {
            ran.failed += 1;
            files.error.push(&row)
        }
    })?;
    ran.output = files.output.close()?;
    ran.error = files.error.close()?;
    Ok(ran)
}

fn rest<'a>(rest: Rest, line: &Line<'a>) -> Row<'a> {
    let (code, message) = match rest {
        Rest::Expired => (
            "batch_expired",
            "This request could not be executed before the completion window expired.",
        ),
        Rest::Cancelled => (
            "batch_cancelled",
            "This request was not executed because the batch was cancelled.",
        ),
    };
    Row {
        custom_id: line.id_token(),
        hash: xxh3_64(line.body_bytes()),
        nth: 0,
        result: Outcome::Error { code, message },
    }
}

/// Writes the row of one line that has run; whether it belongs into the output file.
fn answer(
    asks: Endpoint,
    line: &Line<'_>,
    model: &Model<'_>,
    ran: &mut Ran,
    out: &mut Vec<u8>,
) -> io::Result<bool> {
    let body = line.body_bytes();
    let hash = xxh3_64(body);
    let nth = model.ledger.ask(hash);
    let mut write = |status: u16, body: &[u8]| {
        let row = Row {
            custom_id: line.id_token(),
            hash,
            nth,
            result: Outcome::Response { status, body },
        };
        row.write(out).map(|()| status == 200)
    };
    let question = match Question::read(asks, body) {
        Ok(question) => question,
        Err(complaint) => return write(complaint.status, &complaint.to_json()),
    };
    let asking = Asking {
        identity: hash,
        nth,
    };
    let course = Course::of(model.config, asking, Script::find(body).as_ref());
    let said = Answer::to(asks, &question, hash);
    let mut bill = |completion_tokens: u64| {
        model.ledger.answer(hash);
        ran.billed += 1;
        ran.prompt_tokens += question.tokens();
        ran.completion_tokens += completion_tokens;
    };
    match course.ending {
        Ending::Answer => {
            bill(said.completion_tokens);
            write(200, &said.into_bytes(course.shape.pad_to))
        }
        Ending::Fail { fault, .. } => match fault {
            Fault::Status(status) => write(status, &Complaint::simulated(status).to_json()),
            Fault::Quota => write(429, &Complaint::quota().to_json()),
            // The protocol's own way to say that nothing came back.
            Fault::Hang | Fault::Reset | Fault::Cut => write(0, b"{}"),
            Fault::Empty => {
                bill(0);
                write(200, b"{}")
            }
            Fault::Garbage => {
                bill(0);
                out.extend_from_slice(b"<<<\xff\xfe not json \x80>>>");
                Ok(true)
            }
        },
    }
}
