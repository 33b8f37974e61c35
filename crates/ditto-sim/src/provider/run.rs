//! The lines of a batch are answered: its output and error files, and what it costs.

use std::io;
use std::path::Path;

use serde_json::json;
use xxhash_rust::xxh3::xxh3_64;

use crate::answer::Answer;
use crate::ask::{Endpoint, Question};
use crate::config::SimConfig;
use crate::course::{Asking, Course, Ending};
use crate::envelope::Complaint;
use crate::faults::Fault as RequestFault;
use crate::ledger::Ledger;
use crate::provider::fault::ProviderFault as Fault;
use crate::provider::faults::Measure;
use crate::provider::lines::{Line, each_line, each_line_shuffled};
use crate::provider::mischief::{Mischief, Plight};
use crate::provider::rows::{Outcome, Row, RowFiles, Written};
use crate::provider::spoil;
use crate::script::Script;

/// What answers lines.
#[derive(Debug)]
pub(crate) struct Model<'a> {
    pub(crate) config: &'a SimConfig,
    pub(crate) ledger: &'a Ledger,
    pub(crate) mischief: &'a mut Mischief,
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
    pub(crate) plight: &'a Plight,
}

/// Why lines have not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    Expired,
    Cancelled,
    /// Nothing is said of them.
    Broken,
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

/// Runs the lines of a batch; memory does not grow with their number (but eight bytes a line where
/// rows are shuffled).
pub(crate) fn run(job: &Job<'_>, model: &mut Model<'_>) -> io::Result<Ran> {
    let mut desk = Desk {
        files: RowFiles::of(job.folder, job.batch, job.plight),
        ran: Ran::default(),
        row: Vec::new(),
        job,
        model,
    };
    if job.plight.has(Fault::Shuffled) {
        let seed = xxh3_64(job.batch.as_bytes());
        each_line_shuffled(job.input, seed, |place, bytes| desk.work(place, bytes))?;
    } else {
        let mut place = 0;
        each_line(job.input, |_, bytes| {
            place += 1;
            desk.work(place, bytes)
        })?;
    }
    if job.plight.has(Fault::ErrorFileEmpty) {
        desk.files.error.open()?;
    }
    let Desk { files, mut ran, .. } = desk;
    ran.output = files.output.close()?;
    ran.error = files.error.close()?;
    Ok(ran)
}

/// Where one line after the other is worked on.
struct Desk<'a, 'm> {
    job: &'a Job<'a>,
    model: &'a mut Model<'m>,
    files: RowFiles,
    ran: Ran,
    row: Vec<u8>,
}

/// What came of one line: the status and body of its row.
struct Answered {
    status: u16,
    body: Vec<u8>,
}

/// The id of a row that nobody asked for.
const STRANGER: &str = r#""sim-nobody-sent-this""#;

impl Desk<'_, '_> {
    /// Works on the line at this place, from 1.
    fn work(&mut self, place: u64, bytes: &[u8]) -> io::Result<()> {
        let Some(line) = Line::read(bytes) else {
            // Checked before; a file that changes under the simulator is not its affair.
            return Ok(());
        };
        if place > self.job.lines {
            return self.leave_out(&line);
        }
        let hash = xxh3_64(line.body_bytes());
        let nth = self.model.ledger.asked(hash) + 1;
        let fate = self.model.mischief.strikes_line(hash, nth);
        let fault = fate.as_ref().map(|(fault, _)| *fault);
        if fault == Some(Fault::LineMissing) {
            return Ok(());
        }
        self.ran.lines_run += 1;
        self.model.ledger.ask(hash);
        let asking = Asking {
            identity: hash,
            nth,
        };
        let answered = match &fate {
            Some((Fault::LineStatus0, _)) => Answered::nothing(),
            Some((Fault::LineFailed, Measure::Number(status))) => {
                Answered::complaint(&Complaint::simulated(*status as u16))
            }
            _ => self.answer(&line, asking),
        };
        self.hand_in(&line, asking, answered, fault)
    }

    /// Puts what came of a line into the files, as its fault says.
    fn hand_in(
        &mut self,
        line: &Line<'_>,
        asking: Asking,
        mut answered: Answered,
        fault: Option<Fault>,
    ) -> io::Result<()> {
        let is_success = answered.status == 200;
        if is_success {
            self.ran.completed += 1;
        } else {
            self.ran.failed += 1;
        }
        let Some(fault) = fault.filter(|_| is_success) else {
            return self.put(line.id_token(), asking, &answered);
        };
        spoil::chat(&mut answered.body, fault);
        match fault {
            Fault::LineLost => Ok(()),
            Fault::LineEmpty => {
                answered.body = b"{}".to_vec();
                self.put(line.id_token(), asking, &answered)
            }
            Fault::LineUnreadable => self.files.output.push(UNREADABLE),
            Fault::LineRenamed => self.put(STRANGER, asking, &answered),
            Fault::LineIdNull => self.put("null", asking, &answered),
            Fault::LineRepeated => {
                self.put(line.id_token(), asking, &answered)?;
                self.put(line.id_token(), asking, &answered)
            }
            Fault::LineUnknown => {
                self.put(line.id_token(), asking, &answered)?;
                self.put(STRANGER, asking, &answered)
            }
            Fault::LineContradicted => {
                self.put(line.id_token(), asking, &answered)?;
                let other = Answered::complaint(&Complaint::simulated(500));
                self.put(line.id_token(), asking, &other)
            }
            _ => self.put(line.id_token(), asking, &answered),
        }
    }

    /// Writes one row into the file where it belongs.
    fn put(&mut self, id: &str, asking: Asking, answered: &Answered) -> io::Result<()> {
        let plight = self.job.plight;
        let is_success = answered.status == 200;
        self.row.clear();
        if answered.body == UNREADABLE {
            self.row.extend_from_slice(UNREADABLE);
        } else if !is_success && plight.has(Fault::ResponseAbsent) {
            let code = answered.status.to_string();
            let message = "The request failed.";
            let error = json!({"code": code, "message": message});
            let row = format!(r#"{{"id":"sim","custom_id":{id},"error":{error}}}"#);
            self.row.extend_from_slice(row.as_bytes());
        } else {
            let as_text = (!is_success && plight.has(Fault::BodyString))
                .then(|| json!(String::from_utf8_lossy(&answered.body)).to_string());
            let body = as_text
                .as_ref()
                .map_or(&answered.body[..], String::as_bytes);
            Row {
                custom_id: id,
                hash: asking.identity,
                nth: asking.nth,
                result: Outcome::Response {
                    status: answered.status,
                    body,
                },
            }
            .write(&mut self.row)?;
        }
        if is_success || plight.has(Fault::Misfiled) {
            self.files.output.push(&self.row)
        } else {
            self.files.error.push(&self.row)
        }
    }

    /// Says of a line that it has not run.
    fn leave_out(&mut self, line: &Line<'_>) -> io::Result<()> {
        let (code, message) = match self.job.rest {
            Rest::Expired => (
                "batch_expired",
                "This request could not be executed before the completion window expired.",
            ),
            Rest::Cancelled => (
                "batch_cancelled",
                "This request was not executed because the batch was cancelled.",
            ),
            Rest::Broken => return Ok(()),
        };
        self.row.clear();
        Row {
            custom_id: line.id_token(),
            hash: xxh3_64(line.body_bytes()),
            nth: 0,
            result: Outcome::Error { code, message },
        }
        .write(&mut self.row)?;
        self.files.error.push(&self.row)
    }

    /// Asks the model, and bills what it answers.
    fn answer(&mut self, line: &Line<'_>, asking: Asking) -> Answered {
        let body = line.body_bytes();
        let question = match Question::read(self.job.asks, body) {
            Ok(question) => question,
            Err(complaint) => return Answered::complaint(&complaint),
        };
        let course = Course::of(self.model.config, asking, Script::find(body).as_ref());
        let said = Answer::to(self.job.asks, &question, asking.identity);
        match course.ending {
            Ending::Answer => {
                self.bill(asking, question.tokens(), said.completion_tokens);
                let mut body = said.into_bytes(course.shape.pad_to);
                if self.job.plight.has(Fault::Separators) {
                    spoil::with_separators(&mut body);
                }
                Answered { status: 200, body }
            }
            Ending::Fail { fault, .. } => match fault {
                RequestFault::Status(status) => Answered::complaint(&Complaint::simulated(status)),
                RequestFault::Quota => Answered::complaint(&Complaint::quota()),
                RequestFault::Hang | RequestFault::Reset | RequestFault::Cut => Answered::nothing(),
                RequestFault::Empty => {
                    self.bill(asking, question.tokens(), 0);
                    Answered {
                        status: 200,
                        body: b"{}".to_vec(),
                    }
                }
                RequestFault::Garbage => {
                    self.bill(asking, question.tokens(), 0);
                    Answered {
                        status: 200,
                        body: UNREADABLE.to_vec(),
                    }
                }
            },
        }
    }

    fn bill(&mut self, asking: Asking, prompt_tokens: u64, completion_tokens: u64) {
        self.model.ledger.answer(asking.identity);
        self.ran.billed += 1;
        self.ran.prompt_tokens += prompt_tokens;
        self.ran.completion_tokens += completion_tokens;
    }
}

/// A row that is neither JSON nor UTF-8.
const UNREADABLE: &[u8] = b"{\"id\":\"sim\",\"custom_id\":\xff\xfe not json \x80";

impl Answered {
    fn complaint(complaint: &Complaint) -> Self {
        Self {
            status: complaint.status,
            body: complaint.to_json(),
        }
    }

    /// The protocol's own way to say that nothing came back.
    fn nothing() -> Self {
        Self {
            status: 0,
            body: b"{}".to_vec(),
        }
    }
}
