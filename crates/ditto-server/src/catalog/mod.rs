//! What the server knows of files, batches and segments, in rows; never of lines.
//!
//! The catalog is the only place where "now" is decided: no call takes a time of day. Lease calls
//! take a duration, answers carry time left. Every change is one transaction, durable when the
//! call returns, and fenced: a worker that lost its lease changes nothing.
//!
//! Each promise written on a method here is also a function of `contract`, which every
//! implementation runs.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use ditto_llm::wire::FailureClass;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::manifest::Piece;
use crate::model::batch::{BatchState, Ending};
use crate::model::litter::Claim;
use crate::model::plan::Entry;

mod bounds;
#[cfg(test)]
pub(crate) mod contract;
mod keys;
mod parking;
pub(crate) mod sqlite;
mod uploads;

pub(crate) use bounds::{
    Bounds, Refusal, SPACE_RETRY, Stored, over_limit, too_many_batches, too_many_lines,
};
pub(crate) use keys::{
    ENDED_KEYS_KNOWN, Holder, KeyRing, KeyRow, LiveKey, MOST_KEYS, NewKey, Rotated,
};
pub(crate) use parking::{DryBatch, LaneMark, PutDown, Until};
pub(crate) use uploads::{
    Asked, Completion, NewUpload, PENDING_UPLOADS, PartRow, ReadyPart, UPLOAD_LIFETIME, UploadRow,
    too_many_uploads,
};

/// A segment, by its batch's key and its place in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SegmentKey {
    /// The batch's row number, never reused.
    pub(crate) batch: i64,
    /// Place in the plan, from 0.
    pub(crate) index: u32,
}

impl fmt::Display for SegmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.batch, self.index)
    }
}

/// How far a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileState {
    /// Its id is taken, its bytes are still coming. Clients do not see it.
    Pending,
    /// Usable.
    Ready,
    /// Gone for clients; its bytes wait for the sweeper. Still valid as a list cursor.
    Deleted,
}

/// A file to be.
#[derive(Debug, Clone)]
pub(crate) struct NewFile {
    /// Chosen by the caller, so that blob names exist before the row's second write.
    pub(crate) id: String,
    /// Whose it is.
    pub(crate) tenant: String,
}

/// What is known of a file once its bytes are durable.
#[derive(Debug, Clone)]
pub(crate) struct ReadyFile {
    /// `batch`, `batch_output`, or what the client said.
    pub(crate) purpose: String,
    /// As the client named it; never a path.
    pub(crate) filename: String,
    /// Size.
    pub(crate) bytes: u64,
    /// Physical lines, where they were counted.
    pub(crate) lines: Option<u64>,
    /// Lifetime from now; `None`: for ever.
    pub(crate) expires_after: Option<Duration>,
    /// Where its bytes are, if they are one piece of a blob; `None`: its map says so.
    pub(crate) piece: Option<Piece>,
    /// What its tenant may have with it; `None`: as much as it likes.
    pub(crate) within: Option<u64>,
    /// The request that made it, to be remembered by its key.
    pub(crate) once: Option<Once>,
}

/// A file's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileRow {
    /// `file-…`
    pub(crate) id: String,
    /// Whose it is.
    pub(crate) tenant: String,
    /// How far it is.
    pub(crate) state: FileState,
    /// `batch`, `batch_output`, …
    pub(crate) purpose: String,
    /// As the client named it.
    pub(crate) filename: String,
    /// Size in bytes.
    pub(crate) bytes: u64,
    /// Physical lines, where they were counted.
    pub(crate) lines: Option<u64>,
    /// Unix seconds.
    pub(crate) created_at: i64,
    /// Unix seconds.
    pub(crate) expires_at: Option<i64>,
    /// The upload whose parts hold its bytes.
    pub(crate) upload: Option<String>,
    /// Where its bytes are, if they are one piece of a blob; `None`: its map says so.
    pub(crate) piece: Option<Piece>,
}

/// Order of a list by time of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Oldest first.
    Asc,
    /// Newest first.
    Desc,
}

/// Which files to list.
#[derive(Debug, Clone)]
pub(crate) struct FileQuery {
    /// Exact match.
    pub(crate) purpose: Option<String>,
    /// At most this many.
    pub(crate) limit: u32,
    /// By (created_at, internal sequence).
    pub(crate) order: Order,
    /// Begin after this file, which may be a deleted one.
    pub(crate) after: Option<String>,
}

/// One page of a list.
#[derive(Debug, Clone)]
pub(crate) struct Rows<T> {
    /// The rows, in order.
    pub(crate) rows: Vec<T>,
    /// There are more behind the last.
    pub(crate) has_more: bool,
}

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

/// A file that is gone is a list cursor for at least this long: a reader who deletes what he has listed
/// walks to the end, however soon batches are forgotten.
pub(crate) const CURSOR_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// A key that came with a create means that create for this long.
pub(crate) const KEY_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// A repeat without a key is looked for among the creates of this long. The official SDKs are through
/// with their repeats after it; longer, and a batch that is wanted twice would be made once.
pub(crate) const REPEAT_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// A call that makes something. A key belongs to its tenant and to one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Route {
    /// `POST /v1/batches`
    Batches,
    /// `POST /v1/batches/{id}/retry`
    Retry,
    /// `POST /v1/files`
    Files,
    /// `POST /v1/uploads`
    Uploads,
    /// `POST /v1/uploads/{id}/parts`
    Parts,
    /// `POST /v1/uploads/{id}/complete`
    Complete,
    /// `POST /v1/uploads/{id}/cancel`
    Cancel,
}

impl Route {
    /// Its name in the catalog.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Batches => "batches",
            Self::Retry => "retry",
            Self::Files => "files",
            Self::Uploads => "uploads",
            Self::Parts => "parts",
            Self::Complete => "complete",
            Self::Cancel => "cancel",
        }
    }
}

/// What tells a create that is sent again from another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// The client's own name for this create. While it is remembered it decides alone.
    pub key: Option<String>,
    /// Of the request's meaning, 128 bits: two requests with one hash ask for the same.
    pub request_hash: [u8; 16],
    /// The client says that it has sent this before, and heard nothing.
    pub repeated: bool,
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

/// What a key has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    /// Its id.
    pub(crate) id: String,
    /// Of the request that made it.
    pub(crate) request_hash: [u8; 16],
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

/// The durable part of one epoch's journal: what a later owner replays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cut {
    /// Whose part.
    pub(crate) epoch: u32,
    /// Bytes of it that count; what lies behind was written after the fence.
    pub(crate) length: u64,
}

/// What a worker holds after a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leased {
    /// Which segment; of a filler run the first.
    pub(crate) key: SegmentKey,
    /// Plan entries covered: 1, or more for a filler run of an ending batch.
    pub(crate) span: u32,
    /// This lease's number; each lease of a segment has a higher one.
    pub(crate) epoch: u32,
    /// Parts below the fence, to be replayed.
    pub(crate) cuts: Vec<Cut>,
    /// An earlier epoch that has not been fenced yet: fence it before replaying anything.
    pub(crate) unfenced: Option<u32>,
    /// Results that were published of it: at least so many are recorded in its parts. Of a segment that
    /// was reopened nothing is promised, and it is 0.
    pub(crate) published: u32,
    /// How long lines of it have been waiting for an upstream that is full, if they have.
    pub(crate) refused_for: Option<Duration>,
}

/// How much a worker wants.
#[derive(Debug, Clone, Default)]
pub(crate) struct Demand {
    /// Segments to be sent, of whatever batch has its turn, at most 64 a call.
    pub(crate) segments: u32,
    /// Batches that have few lines waiting in one of this worker's lanes, or none: each gets its next
    /// segments beside the others, whosever turn it is, first what waits for that lane.
    pub(crate) dry: Vec<DryBatch>,
    /// Segments for these at most, shared out evenly.
    pub(crate) dry_segments: u32,
    /// Runs to be filled, of batches with an ending. They are granted beside the segments, however
    /// many of those there are: a cancel must not wait for another batch to end.
    pub(crate) runs: u32,
    /// Lanes of this worker that are paused, or have lines enough for a while: what waits for them stays
    /// where it is.
    pub(crate) shut: Vec<LaneMark>,
}

/// Settled counts of an open segment, as far as durable. Only ever larger than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Publication {
    /// Which segment.
    pub(crate) key: SegmentKey,
    /// Under which lease.
    pub(crate) epoch: u32,
    /// Durable answers.
    pub(crate) answers: u32,
    /// Durable errors, without those of an ending.
    pub(crate) errors: u32,
}

/// What a renewal brought back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Renewal {
    /// False: the lease was taken by another; drop everything.
    pub(crate) held: bool,
    /// The open segments that are ours, each with the epoch under which it is: what the worker had
    /// open before the call and is not among them belongs to others now.
    pub(crate) owned: Vec<(SegmentKey, u32)>,
    /// Batches of ours that are to end early.
    pub(crate) endings: Vec<(i64, Ending)>,
}

/// A sealed segment's results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// Plan entries covered.
    pub(crate) span: u32,
    /// Lines in the answers piece.
    pub(crate) answers: u32,
    /// Lines in the errors piece.
    pub(crate) errors: u32,
    /// Of these, lines that an ending wrote: OpenAI does not count them as failed.
    pub(crate) ended: u32,
    /// Bytes of the answers piece, at offset 0 of the segment's blob.
    pub(crate) answers_bytes: u64,
    /// Bytes of the errors piece, right behind.
    pub(crate) errors_bytes: u64,
    /// Tokens.
    pub(crate) usage: Usage,
}

/// The results of a batch of one segment, and the two files that they make.
#[derive(Debug, Clone)]
pub(crate) struct SealedWhole {
    /// Its only segment.
    pub(crate) sealed: Sealed,
    /// The answers; `None`: that file would have no lines and is not named.
    pub(crate) output: Option<ReadyFile>,
    /// The errors; likewise.
    pub(crate) errors: Option<ReadyFile>,
}

/// What a seal did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SealOutcome {
    /// Recorded; other segments are still open.
    Sealed,
    /// Recorded, and it was the last: the batch is `finalizing` now.
    Last,
    /// Recorded, and with it the batch has ended.
    Ended,
    /// Owner or epoch no longer match; nothing was changed.
    Fenced,
}

/// A sealed segment's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SealedRow {
    /// Place in the plan.
    pub(crate) index: u32,
    /// The epoch that sealed it, part of its blob's name.
    pub(crate) epoch: u32,
    /// See there.
    pub(crate) sealed: Sealed,
}

/// A segment that was begun and that nobody holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WaitingSegment {
    /// Which.
    pub(crate) key: SegmentKey,
    /// What is recorded of it.
    pub(crate) cuts: Vec<Cut>,
    /// Results that were published of it: there are at least so many below the cuts.
    pub(crate) published: u32,
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

/// An entry of the plan that no segment covers, to be opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Place in the plan.
    pub(crate) index: u32,
    /// Requests that it has.
    pub(crate) requests: u32,
    /// Every earlier lease of it had a lower or this epoch.
    pub(crate) epoch: u32,
    /// Bytes of the journal part of this epoch that count: what was found of its results. 0: none.
    pub(crate) length: u64,
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

/// How long things stay after their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keep {
    /// Bytes that cannot be asked for any more, for whoever is reading them.
    pub(crate) bytes: Duration,
    /// Rows whose bytes are gone, as list cursors and to be asked about.
    pub(crate) rows: Duration,
}

/// What the name of an object says it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// A file, by its id.
    File(String),
    /// A part of an upload, by both ids.
    UploadPart {
        /// The upload's.
        upload: String,
        /// Its own.
        part: String,
    },
    /// A batch as a whole, by its id.
    Batch(String),
    /// One seal of a segment.
    Blob {
        /// The batch's id.
        batch: String,
        /// Place in the plan.
        index: u32,
        /// Who sealed it.
        epoch: u32,
    },
    /// What one lease of a segment wrote. Keys are counted up: a catalog that was put back from an
    /// older copy leases the same name again, and must not find the part of another history there.
    Part {
        /// Which segment.
        segment: SegmentKey,
        /// Under which lease.
        epoch: u32,
    },
}

/// Rows that a sweep would forget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DueRows {
    /// Creates that no repeat can mean any more.
    pub(crate) creates: u64,
    /// Files whose bytes are gone.
    pub(crate) files: u64,
    /// Batches that have ended, without bytes.
    pub(crate) batches: u64,
    /// Uploads that have ended, without bytes.
    pub(crate) uploads: u64,
}

/// Rows and epochs of files, batches and segments.
#[async_trait]
pub(crate) trait Catalog: fmt::Debug + Send + Sync {
    // --- files -------------------------------------------------------------------------------

    /// Takes a file id, as `pending`: from now on blobs named by it are not litter.
    async fn create_file(&self, file: NewFile) -> Result<()>;
    /// Makes a pending file usable. Its bytes must be durable. Missing if it was given up; full, and
    /// nothing changed, if its tenant would have more than [`ReadyFile::within`]; busy, and nothing
    /// changed, if its key has made a file meanwhile.
    async fn ready_file(&self, id: &str, file: ReadyFile) -> Result<FileRow>;
    /// Gives a pending file up; its row goes. A ready file is not touched.
    async fn abandon_file(&self, id: &str) -> Result<()>;
    /// A ready, unexpired file of this tenant.
    async fn file(&self, tenant: &str, id: &str) -> Result<Option<FileRow>>;
    /// Ready, unexpired files of this tenant. An `after` that never was: `Ok(None)`.
    async fn files(&self, tenant: &str, query: FileQuery) -> Result<Option<Rows<FileRow>>>;
    /// Marks a ready file deleted: unreadable at once, bytes swept later. False: no such file.
    async fn delete_file(&self, tenant: &str, id: &str) -> Result<bool>;

    /// What this tenant's key has made by this call within the last [`KEY_LIFETIME`].
    async fn made(&self, tenant: &str, route: Route, key: &str) -> Result<Option<Made>>;

    // --- files that come in parts ------------------------------------------------------------

    /// Takes an upload's id, as `pending`; the same request again gets the upload as it is now. Full,
    /// and nothing made, if its tenant has as many pending as it may.
    async fn create_upload(&self, upload: NewUpload) -> Result<Asked<UploadRow>>;
    /// An upload of this tenant, as it is now.
    async fn upload(&self, tenant: &str, id: &str) -> Result<Option<UploadRow>>;
    /// Takes a part's id: from now on a blob named by it is not litter, as long as its upload is
    /// pending. Invalid if the upload has as many parts or bytes as it may.
    async fn create_part(&self, tenant: &str, upload: &str, id: &str) -> Result<Asked<()>>;
    /// The part's bytes are durable, and are its tenant's from here on. Missing if it was given up;
    /// invalid or full, and nothing changed, if its upload or tenant would have more than it may;
    /// busy, and nothing changed, if its key has made a part meanwhile.
    async fn ready_part(&self, tenant: &str, id: &str, part: ReadyPart) -> Result<Asked<PartRow>>;
    /// Gives a part up that is not ready; its row goes. A ready one is not touched.
    async fn abandon_part(&self, id: &str) -> Result<()>;
    /// A part of this tenant that was ready once and whose row is still there.
    async fn part(&self, tenant: &str, id: &str) -> Result<Option<PartRow>>;
    /// The ready parts of an upload; of a completed one, those that its file is made of.
    async fn parts(&self, upload: i64) -> Result<Vec<PartRow>>;
    /// Makes a file of a pending upload: its row is ready, counts instead of the parts, and is all that
    /// is needed of them; parts that are not named may go. All of it at once, or nothing.
    async fn complete_upload(
        &self,
        tenant: &str,
        id: &str,
        completion: Completion,
    ) -> Result<Asked<UploadRow>>;
    /// Ends a pending upload: its parts may go. Again, it is as it is.
    async fn cancel_upload(
        &self,
        tenant: &str,
        id: &str,
        once: Option<Once>,
    ) -> Result<Asked<UploadRow>>;

    // --- what is stored ----------------------------------------------------------------------

    /// What this tenant has: ready files, ready parts of pending uploads, open batches, and what is set
    /// aside for them. Kept by deltas.
    async fn stored(&self, tenant: &str) -> Result<Stored>;
    /// The same of all tenants together.
    async fn stored_by_all(&self) -> Result<Stored>;

    // --- what goes ---------------------------------------------------------------------------

    /// Files whose bytes may go: deleted or expired for this long, or uploads that nobody finished
    /// within a day, which are given up with this call; and no batch that has not ended reads them.
    async fn sweepable_files(&self, unreadable: Duration, limit: u32) -> Result<Vec<FileRow>>;
    /// The bytes are gone, also those of the upload that it was. The row stays as `deleted` for list
    /// cursors.
    async fn file_swept(&self, id: &str) -> Result<()>;
    /// Batches that have ended and neither of whose result files has bytes left: their blobs may go.
    /// By key, those above `after`.
    async fn sweepable_batches(&self, after: i64, limit: u32) -> Result<Vec<BatchRow>>;
    /// The blobs of this batch are gone.
    async fn batch_swept(&self, batch: i64) -> Result<()>;
    /// Uploads that were cancelled or whose time is over, which are ended with this call: their parts
    /// may go.
    async fn sweepable_uploads(&self, limit: u32) -> Result<Vec<UploadRow>>;
    /// The parts of this upload are gone, blobs and rows.
    async fn upload_swept(&self, id: &str) -> Result<()>;
    /// Parts that completed uploads did not name, each with its upload: they may go, and each is given
    /// up ([`Catalog::abandon_part`]) when it has gone.
    async fn sweepable_parts(&self, limit: u32) -> Result<Vec<(String, String)>>;
    /// Forgets creates that no repeat can mean any more, the oldest first. Returns how many.
    async fn forget_creates(&self, limit: u32) -> Result<u32>;
    /// Forgets files that have been unreadable for this long, and for [`CURSOR_LIFETIME`] at least, and
    /// whose bytes are gone, the oldest first: they are no cursors any more. Returns how many.
    async fn forget_files(&self, unreadable: Duration, limit: u32) -> Result<u32>;
    /// Forgets batches that ended this long ago, whose bytes are gone, and with them their result
    /// files; the oldest first. Never one that a create which comes again would name. Returns how many.
    async fn forget_batches(&self, ended: Duration, limit: u32) -> Result<u32>;
    /// Forgets uploads that ended [`UPLOAD_LIFETIME`] ago and whose parts are gone, the oldest first.
    /// Never one that a request which comes again would name. Returns how many.
    async fn forget_uploads(&self, limit: u32) -> Result<u32>;
    /// What may become of objects with these names, one answer for each, in order. A name is made
    /// from an id that is in the catalog before: one that was listed before this call and is unknown
    /// to it is nobody's. Changes nothing.
    async fn claims(&self, names: Vec<Named>, keep: Keep) -> Result<Vec<Claim>>;
    /// How many rows `forget_…` would take now. Changes nothing.
    async fn due_rows(&self, keep: Keep) -> Result<DueRows>;

    // --- batches, as clients see them --------------------------------------------------------

    /// One row, `validating`, whatever the size of the file.
    ///
    /// A key of this tenant that is younger than [`KEY_LIFETIME`] makes none: same hash, the batch
    /// it made; other hash, a mismatch. A repeat without a key makes none if this tenant's creates
    /// of the last [`REPEAT_LIFETIME`] have one of the same hash: the newest one's batch. Of creates
    /// that arrive together one decides first, and the others see what it did.
    ///
    /// Until it ends, it counts as open with the lines of its input, and 300 bytes for each of them are
    /// set aside. If its [`Bounds`] leave no room for that, nothing is made; a create that comes again
    /// is answered all the same.
    async fn create_batch(&self, batch: NewBatch) -> Result<Created>;
    /// A batch of this tenant.
    async fn batch(&self, tenant: &str, id: &str) -> Result<Option<BatchRow>>;
    /// Newest first. An `after` that never was: `Ok(None)`.
    async fn batches(
        &self,
        tenant: &str,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Option<Rows<BatchRow>>>;
    /// Ends a batch early; O(1). Before validation ended it is `cancelled` at once, 0/0/0.
    async fn cancel_batch(&self, tenant: &str, id: &str) -> Result<Cancelled>;

    // --- leases ------------------------------------------------------------------------------

    /// A new life of a worker begins; its lease runs this long unless renewed.
    async fn register(&self, incarnation: &str, lease: Duration) -> Result<()>;
    /// For the one owner of an embedded folder: every other incarnation's lease is void from now on.
    async fn void_other_leases(&self, incarnation: &str) -> Result<()>;
    /// Renews the incarnation and publishes counts, in one transaction. A lease that ran out but
    /// was taken by nobody is renewed under its epochs; what was taken meanwhile is not among the
    /// segments that come back as its own, whether anything was published for it or not. Published
    /// counts never fall.
    async fn renew(
        &self,
        incarnation: &str,
        lease: Duration,
        publications: &[Publication],
    ) -> Result<Renewal>;
    /// A clean end: the incarnation's lease is over now.
    async fn deregister(&self, incarnation: &str) -> Result<()>;

    /// The oldest batch in `validating` that no live incarnation holds, now held by this one. If
    /// there is none, one that this one holds already: its first try did not come to an end.
    async fn lease_validation(&self, incarnation: &str) -> Result<Option<BatchRow>>;
    /// Lines may run. False: the batch moved on (cancelled, expired) or another holds it.
    async fn validated(&self, incarnation: &str, batch: i64, found: Validated) -> Result<bool>;
    /// The input of a batch: a file of its tenant that was there when the batch was made, also if it
    /// was deleted or has expired since; its bytes stay until the batch has ended. Else one that is
    /// there now.
    async fn input(&self, batch: i64) -> Result<Option<FileRow>>;
    /// The error file of the batch that this one runs again, also if it was deleted or has expired
    /// since: its bytes stay as long as this one is validated.
    async fn retried_errors(&self, batch: i64) -> Result<Option<FileRow>>;
    /// The batch is `failed`; `errors` is a JSON list. False as above.
    async fn refuse_batch(&self, incarnation: &str, batch: i64, errors: String) -> Result<bool>;

    /// Segments for this worker, in one transaction: first those that come back (released,
    /// expired lease, parked and due or waiting for a lane that is not shut), then the next ones of
    /// batches that ran dry, then new ones off the batches' cursors; whose turn it is decided by
    /// `model::turn`. What comes back takes at most three quarters, so that new batches begin beside
    /// it. Of a batch with an ending, untouched segments come last and as runs of up to 64 plan
    /// entries, at most 8 runs of a batch at once. Of a batch that has 256 segments open or 768
    /// parked no new one is given. A worker whose own lease is over gets none.
    async fn lease(&self, incarnation: &str, demand: Demand) -> Result<Vec<Leased>>;
    /// The batch of a leased segment.
    async fn leased_batch(&self, batch: i64) -> Result<Option<BatchRow>>;
    /// Writes the fence: of the earlier epoch only `cut.length` bytes count. False: fenced
    /// ourselves. Told twice, it changes nothing.
    async fn fence(&self, incarnation: &str, key: SegmentKey, epoch: u32, cut: Cut)
    -> Result<bool>;
    /// Puts an open segment down; our own part's durable length goes with it, and its counts are
    /// published. An ending brings it back at once.
    async fn park(&self, incarnation: &str, key: SegmentKey, put_down: PutDown) -> Result<bool>;
    /// Lets go of a lease that nobody works on: an answer was lost on its way, or putting the segment
    /// down was refused. It comes back with the next lease, its part unfenced. Where owner and
    /// epoch no longer match nothing changes.
    async fn let_go(&self, incarnation: &str, key: SegmentKey, epoch: u32) -> Result<()>;
    /// Closes a segment, if owner and epoch still match: counts go to the batch (less what was
    /// published), the blob must be durable. The last one makes the batch `finalizing` and takes
    /// two pending file ids in the same transaction.
    async fn seal(
        &self,
        incarnation: &str,
        key: SegmentKey,
        epoch: u32,
        sealed: Sealed,
    ) -> Result<SealOutcome>;
    /// The same for the one segment of a batch, and names the files in the same transaction: it has
    /// ended then. If its lines are not all those of the batch, or an earlier lease may have left a blob
    /// of it, it is a seal like any other.
    async fn seal_whole(
        &self,
        incarnation: &str,
        key: SegmentKey,
        epoch: u32,
        whole: SealedWhole,
    ) -> Result<SealOutcome>;

    // --- the end of a batch ------------------------------------------------------------------

    /// A batch in `finalizing` whose segments are all sealed and that no live incarnation holds, now held by this one; else one that
    /// it holds already, as in [`Catalog::lease_validation`].
    async fn lease_finish(&self, incarnation: &str) -> Result<Option<FinishWork>>;
    /// Sealed segments of a batch by index, from `from` on.
    async fn sealed_segments(&self, batch: i64, from: u32, limit: u32) -> Result<Vec<SealedRow>>;
    /// Segments of a batch that were put down or let go of, in no order; none that has to be fenced
    /// first.
    async fn waiting_segments(&self, batch: i64) -> Result<Vec<WaitingSegment>>;
    /// Makes a row, open and released, for each of these entries, so that they come back with the next
    /// leases; the batch is `finalizing` meanwhile, and its last seal brings it back here. What had
    /// been counted beyond its sealed segments is taken for published by them: in the end the counts
    /// are those of the pieces. False: another holds it, or it was done before.
    async fn reopen(&self, incarnation: &str, batch: i64, gaps: Vec<Gap>) -> Result<bool>;
    /// Names the files (or gives their ids up), ends the batch and drops its segment rows, at once.
    async fn finish(&self, incarnation: &str, batch: i64, finish: Finish) -> Result<bool>;
    /// Ends every batch whose window is over: before validation ended at once, else as an ending
    /// that its lease brings. Returns how many.
    async fn expire_due(&self) -> Result<u32>;

    // --- keys --------------------------------------------------------------------------------

    /// Makes a key for this holder. Full if there are [`MOST_KEYS`] already. Forgets those that have
    /// ended for longer than [`ENDED_KEYS_KNOWN`].
    async fn create_key(&self, holder: Holder, key: NewKey) -> Result<KeyRow>;
    /// All keys that are known, by age.
    async fn keys(&self) -> Result<Vec<KeyRow>>;
    /// Ends a key after this long; at once, without a grace. An end that is sooner stays. `None`: no
    /// such key.
    async fn end_key(&self, id: &str, grace: Duration) -> Result<Option<KeyRow>>;
    /// Makes a key for the holder of this one, which ends when the grace is over: both or neither.
    /// `None`: no such key, or it has ended.
    async fn rotate_key(&self, id: &str, key: NewKey, grace: Duration) -> Result<Option<Rotated>>;
    /// The keys that are taken now. `None`: which keys there are is as it was in the ring of this
    /// version, and only the time of some may have run out. The version never falls, and is 0 only as
    /// long as there never was a key.
    async fn key_ring(&self, known: Option<u64>) -> Result<Option<KeyRing>>;
    /// These keys have been used, about now.
    async fn keys_used(&self, ids: &[String]) -> Result<()>;

    // --- for operators -----------------------------------------------------------------------

    /// Batches that have not ended, over all tenants.
    async fn open_batches(&self) -> Result<u64>;
}
