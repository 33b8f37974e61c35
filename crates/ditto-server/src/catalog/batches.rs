//! What the catalog keeps of a batch, and what becomes of it.

use std::time::Duration;

use ditto_llm::wire::FailureClass;
use serde::{Deserialize, Serialize};

use super::{Bounds, Once, ReadyFile, Refusal};
use crate::model::batch::{BatchState, Ending};
use crate::model::plan::Entry;

/// What a batch was asked to do beyond the protocol; kept with it, so that a restart knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BatchOptions {
    /// A bad line becomes an error line and the others run.
    #[serde(default)]
    pub(crate) lenient: bool,
    /// A line that names another model than the first is a bad one.
    #[serde(default)]
    pub(crate) one_model: bool,
    /// What lines lack gets this model.
    #[serde(default)]
    pub(crate) fill_model: Option<String>,
    /// What lines lack gets this url.
    #[serde(default)]
    pub(crate) fill_endpoint: Option<String>,
    /// Lines that are only a body are taken; they get `line-<n>` and this suffix.
    /// `Some` from create on if allowed; validation writes the suffix that the file leaves free.
    #[serde(default)]
    pub(crate) bare_suffix: Option<String>,
    /// Lifetime of the result files in seconds; `None`: the server's own.
    #[serde(default)]
    pub(crate) output_expires_after: Option<u64>,
    /// Written by the catalog at create: the input was there, so the batch may read it to its end.
    #[serde(default)]
    pub(crate) input_there: bool,
}

/// Which lines of which batch a batch runs again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Retry {
    /// The id of the other batch, which has ended.
    pub(crate) of: String,
    /// Classes of failures.
    pub(crate) only: Vec<FailureClass>,
    /// Its input.
    pub(crate) input: String,
    /// Its error file.
    pub(crate) errors: String,
}

/// A batch to be.
#[derive(Debug, Clone)]
pub(crate) struct NewBatch {
    /// `batch_…`, chosen by the caller.
    pub(crate) id: String,
    /// Whose it is.
    pub(crate) tenant: String,
    /// May name no file at all: OpenAI answers 200 and fails the batch later.
    pub(crate) input_file_id: String,
    /// For instance `/v1/chat/completions`.
    pub(crate) endpoint: String,
    /// For instance `24h`.
    pub(crate) completion_window: String,
    /// After this the batch expires; `None`: never.
    pub(crate) expires_after: Option<Duration>,
    /// JSON object of strings.
    pub(crate) metadata: Option<String>,
    /// See there.
    pub(crate) options: BatchOptions,
    /// Its input is made by validation, out of another batch's: until then it is a pending file.
    /// Both files of the other batch stay as long as it is validated.
    pub(crate) retry: Option<Retry>,
    /// Lines that it has at most, where its input cannot tell.
    pub(crate) lines: Option<u64>,
    /// `None`: a batch is made whatever was made before, and nothing is remembered.
    pub(crate) once: Option<Once>,
    /// What may be stored and set aside with it.
    pub(crate) bounds: Bounds,
    /// The incarnation that validates it from its first moment on; `None`: whoever leases it.
    pub(crate) validator: Option<String>,
}

/// What a create did.
#[derive(Debug, Clone)]
pub(crate) enum Created {
    /// It made this batch.
    New(Box<BatchRow>),
    /// It had made this batch before; the row is as it is now.
    Again(Box<BatchRow>),
    /// Nothing: its key belongs to another request, which made this batch.
    Mismatch(Box<BatchRow>),
    /// Nothing: there is no room for it.
    Refused(Refusal),
}

/// Tokens, summed over answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Prompt tokens.
    pub(crate) input: u64,
    /// Of these, read from a cache.
    pub(crate) cached: u64,
    /// Answer tokens.
    pub(crate) output: u64,
    /// Of these, spent on reasoning.
    pub(crate) reasoning: u64,
    /// As the upstream summed it.
    pub(crate) total: u64,
}

impl Usage {
    /// Adds another answer's tokens.
    pub(crate) fn add(&mut self, other: &Self) {
        self.input += other.input;
        self.cached += other.cached;
        self.output += other.output;
        self.reasoning += other.reasoning;
        self.total += other.total;
    }
}

/// A batch's row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BatchRow {
    /// Row number, never reused; segments are named by it.
    pub(crate) key: i64,
    /// `batch_…`
    pub(crate) id: String,
    /// Whose it is.
    pub(crate) tenant: String,
    /// The input.
    pub(crate) input_file_id: String,
    /// For instance `/v1/chat/completions`.
    pub(crate) endpoint: String,
    /// For instance `24h`.
    pub(crate) completion_window: String,
    /// JSON object of strings.
    pub(crate) metadata: Option<String>,
    /// See there.
    pub(crate) options: BatchOptions,
    /// Whose lines it runs again.
    pub(crate) retry: Option<Retry>,
    /// Where it is in its life.
    pub(crate) state: BatchState,
    /// Why it ends early, if it does.
    pub(crate) ending: Option<Ending>,
    /// The first model seen by validation.
    pub(crate) model: Option<String>,
    /// Requests, once validated; else 0.
    pub(crate) total: u64,
    /// Entries of its plan, once validated; else 0.
    pub(crate) segments: u32,
    /// Its whole plan, if that is one entry without faults; `None`: it is in a blob.
    pub(crate) only: Option<Entry>,
    /// Settled answers, published and sealed. Never falls.
    pub(crate) completed: u64,
    /// Settled errors without those of an ending, published and sealed. Never falls.
    pub(crate) failed: u64,
    /// Tokens of sealed segments.
    pub(crate) usage: Usage,
    /// JSON list of batch-level errors, if validation refused it.
    pub(crate) errors: Option<String>,
    /// Named when the batch ends.
    pub(crate) output_file_id: Option<String>,
    /// Named when the batch ends.
    pub(crate) error_file_id: Option<String>,
    /// All unix seconds.
    pub(crate) created_at: i64,
    /// End of the window.
    pub(crate) expires_at: Option<i64>,
    /// Validation passed.
    pub(crate) in_progress_at: Option<i64>,
    /// Last segment sealed.
    pub(crate) finalizing_at: Option<i64>,
    /// Terminal.
    pub(crate) completed_at: Option<i64>,
    /// Terminal.
    pub(crate) failed_at: Option<i64>,
    /// Terminal.
    pub(crate) expired_at: Option<i64>,
    /// Cancel asked for.
    pub(crate) cancelling_at: Option<i64>,
    /// Terminal.
    pub(crate) cancelled_at: Option<i64>,
}

/// What a cancel did.
#[derive(Debug, Clone)]
pub(crate) enum Cancelled {
    /// The batch as it is now; also for a second cancel.
    Done(Box<BatchRow>),
    /// It has ended otherwise; the row says how.
    Refused(Box<BatchRow>),
    /// No such batch of this tenant.
    Missing,
}

/// What validation found.
#[derive(Debug, Clone)]
pub(crate) struct Validated {
    /// Requests in the file.
    pub(crate) total: u64,
    /// Entries of the plan.
    pub(crate) segments: u32,
    /// The plan, if it is one entry without faults: nothing of it is in a blob then.
    pub(crate) only: Option<Entry>,
    /// The first model seen.
    pub(crate) model: Option<String>,
    /// The suffix of bare lines' ids, if there are any.
    pub(crate) bare_suffix: Option<String>,
}

/// A batch whose files are to be named.
#[derive(Debug, Clone)]
pub(crate) struct FinishWork {
    /// The batch.
    pub(crate) batch: BatchRow,
    /// Entries of its plan.
    pub(crate) segments: u32,
    /// Reserved by the last seal: a pending file's id for the answers.
    pub(crate) output_file_id: String,
    /// And for the errors.
    pub(crate) error_file_id: String,
    /// Segments of it were found to be missing before, and opened again: it is not done twice.
    pub(crate) reopened: bool,
}

/// How a batch ends.
#[derive(Debug, Clone)]
pub(crate) enum Finish {
    /// Its files are whole. `None`: that file would have no lines and is not named.
    Whole {
        /// The answers.
        output: Option<ReadyFile>,
        /// The errors.
        errors: Option<ReadyFile>,
    },
    /// The segments do not tile the plan: a bug; both files are kept, the batch fails.
    Broken {
        /// JSON list of batch-level errors.
        errors: String,
        /// The answers.
        output: Option<ReadyFile>,
        /// The errors.
        error_lines: Option<ReadyFile>,
    },
}
