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

use crate::error::Result;
use crate::model::litter::Claim;

mod batches;
mod bounds;
#[cfg(test)]
pub(crate) mod contract;
mod files;
mod goes;
mod keys;
mod once;
mod parking;
mod segments;
pub(crate) mod sqlite;
mod uploads;

pub(crate) use batches::{
    BatchOptions, BatchRow, Cancelled, Created, Finish, FinishWork, NewBatch, Retry, Usage,
    Validated,
};
pub(crate) use bounds::{
    Bounds, Refusal, SPACE_RETRY, Stored, over_limit, too_many_batches, too_many_lines,
};
pub(crate) use files::{CURSOR_LIFETIME, FileQuery, FileRow, FileState, NewFile, Order, ReadyFile};
pub(crate) use goes::{DueRows, Keep, Named};
pub(crate) use keys::{
    ENDED_KEYS_KNOWN, Holder, KeyRing, KeyRow, LiveKey, MOST_KEYS, NewKey, Rotated,
};
pub use once::Once;
pub(crate) use once::{KEY_LIFETIME, Made, REPEAT_LIFETIME, Route};
pub(crate) use parking::{DryBatch, LaneMark, PutDown, Until};
pub(crate) use segments::{
    Cut, Demand, Gap, Leased, Publication, Renewal, SealOutcome, Sealed, SealedRow, SealedWhole,
    SegmentKey, WaitingSegment,
};
pub(crate) use uploads::{
    Asked, Completion, NewUpload, PENDING_UPLOADS, PartRow, ReadyPart, UPLOAD_LIFETIME, UploadRow,
    too_many_uploads,
};

/// One page of a list.
#[derive(Debug, Clone)]
pub(crate) struct Rows<T> {
    /// The rows, in order.
    pub(crate) rows: Vec<T>,
    /// There are more behind the last.
    pub(crate) has_more: bool,
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
