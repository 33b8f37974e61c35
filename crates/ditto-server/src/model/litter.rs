//! Whether bytes that were found in the store are still somebody's.
//!
//! A name is made from an id that is already in the catalog, and ids are never used again. So whoever
//! lists first and asks the catalog afterwards can tell by these tables what no row will ever claim.

use std::time::Duration;

/// What no row knows goes only when it is older than this, by the clock of the store that holds it.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// And what a server's own rounds take was named in one of them at least so long ago. The rounds are a
/// day apart by a clock of their own, and a server may start a little earlier each morning: a whole day
/// would often be two.
const NOTICE: Duration = Duration::from_secs(23 * 3600);

/// What may become of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// A row still needs it, or might.
    Held,
    /// It goes with its file or batch, whose time has come.
    Due(Due),
    /// A row says that it is of no use: it may go at once.
    Litter,
    /// No row knows its name.
    Unknown,
}

/// Whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// A file that was deleted or has expired, or whose upload nobody finished.
    File,
    /// A batch that has ended and has no result file any more.
    Batch,
    /// An upload that was given up or whose time was over, or a part that its file is made without.
    Upload,
}

/// A batch, as far as its bytes ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// There is no such batch.
    Missing,
    /// It has not ended.
    Open,
    /// It has not ended, and the row of the segment that is asked for is not there although its cursor
    /// has gone over it: what was found of it is all that there is.
    Gap,
    /// It has ended, and its results can be read.
    Ended,
    /// It has ended, and its results are gone: its bytes may go too.
    Due,
    /// Its bytes are gone: what is there came late.
    Swept,
}

/// A segment of an open batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its results are in the blob of its epoch.
    pub sealed: bool,
    /// Of its newest lease.
    pub epoch: u32,
}

/// What is written for a batch as a whole: its plan, its faulty lines.
pub fn of_batch(batch: Owner) -> Claim {
    match batch {
        Owner::Missing => Claim::Unknown,
        Owner::Open | Owner::Gap | Owner::Ended => Claim::Held,
        Owner::Due => Claim::Due(Due::Batch),
        Owner::Swept => Claim::Litter,
    }
}

/// A segment's blob. One of an epoch below the newest was never named: a seal names the epoch of its
/// row, and that only rises. In an ended batch the manifests name blobs, not rows: what was superseded
/// went before they were written.
pub fn of_blob(batch: Owner, segment: Option<Segment>, epoch: u32) -> Claim {
    match (batch, segment) {
        (Owner::Open, Some(segment)) if epoch < segment.epoch => Claim::Litter,
        _ => of_batch(batch),
    }
}

/// A part of a segment's journal, written under this epoch: of use until the segment is sealed. What no
/// lease of this catalog can have written is unknown, as if its segment were.
pub fn of_part(batch: Owner, segment: Option<Segment>, epoch: u32) -> Claim {
    match (batch, segment) {
        (Owner::Missing, _) => Claim::Unknown,
        (Owner::Ended | Owner::Due | Owner::Swept, _) => Claim::Litter,
        (Owner::Gap, _) => Claim::Held,
        (Owner::Open, Some(segment)) if segment.sealed => Claim::Litter,
        (Owner::Open, Some(segment)) if epoch <= segment.epoch => Claim::Held,
        // The row of a lease is there before the first byte of its journal.
        (Owner::Open, _) => Claim::Unknown,
    }
}

/// An upload, as far as the bytes of its parts ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadOwner {
    /// There is no such upload.
    Missing,
    /// It takes parts.
    Pending,
    /// It is a file, of which this is said.
    File(Claim),
    /// It was cancelled, or its time is over.
    Ended,
    /// The bytes of its parts are gone.
    Swept,
}

/// What a part of an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartUse {
    /// A part of the file.
    Chosen,
    /// Not, or not yet.
    Other,
}

/// A part of an upload; `None`: no row has its id.
pub fn of_upload_part(upload: UploadOwner, part: Option<PartUse>) -> Claim {
    match (upload, part) {
        (UploadOwner::Missing, _) => Claim::Unknown,
        (UploadOwner::Swept, _) => Claim::Litter,
        // The row of a part is there before its first byte, and goes after its last.
        (UploadOwner::Pending | UploadOwner::File(_) | UploadOwner::Ended, None) => Claim::Unknown,
        (UploadOwner::Pending, Some(_)) => Claim::Held,
        (UploadOwner::Ended, Some(_)) => Claim::Due(Due::Upload),
        (UploadOwner::File(file), Some(PartUse::Chosen)) => file,
        (UploadOwner::File(_), Some(PartUse::Other)) => Claim::Due(Due::Upload),
    }
}

/// Whether something unknown is old enough to go. What has no age, or one from the future, stays.
pub fn unknown_is_old(age: Option<Duration>) -> bool {
    age.is_some_and(|age| age > UNKNOWN_LIFETIME)
}

/// Whether something unknown was named long enough ago, if it was, for a person to have read it.
pub fn notice_is_over(named_for: Option<Duration>) -> bool {
    named_for.is_some_and(|named_for| named_for >= NOTICE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNERS: [Owner; 6] = [
        Owner::Missing,
        Owner::Open,
        Owner::Gap,
        Owner::Ended,
        Owner::Due,
        Owner::Swept,
    ];

    fn open(epoch: u32) -> Option<Segment> {
        Some(Segment {
            sealed: false,
            epoch,
        })
    }

    fn sealed(epoch: u32) -> Option<Segment> {
        Some(Segment {
            sealed: true,
            epoch,
        })
    }

    #[test]
    fn what_a_batch_has_is_its_own_until_its_results_are_gone() {
        let claims = OWNERS.map(of_batch);
        let expected = [
            Claim::Unknown,
            Claim::Held,
            Claim::Held,
            Claim::Held,
            Claim::Due(Due::Batch),
            Claim::Litter,
        ];
        assert_eq!(claims, expected);
    }

    #[test]
    fn a_blob_below_the_newest_epoch_is_litter_and_the_newest_never_is() {
        for segment in [open(3), sealed(3)] {
            let claims = [1, 2, 3, 4].map(|epoch| of_blob(Owner::Open, segment, epoch));
            let expected = [Claim::Litter, Claim::Litter, Claim::Held, Claim::Held];
            assert_eq!(claims, expected, "{segment:?}");
        }
    }

    #[test]
    fn a_blob_of_an_ended_batch_stays_with_it_whatever_its_epoch() {
        for owner in OWNERS {
            assert_eq!(of_blob(owner, None, 1), of_batch(owner), "{owner:?}");
        }
        assert_eq!(of_blob(Owner::Ended, sealed(2), 1), Claim::Held);
    }

    #[test]
    fn a_journal_part_is_held_by_an_open_segment_alone() {
        assert_eq!(of_part(Owner::Open, open(2), 1), Claim::Held);
        assert_eq!(of_part(Owner::Open, open(2), 2), Claim::Held);
        assert_eq!(of_part(Owner::Open, open(2), 3), Claim::Unknown);
        assert_eq!(of_part(Owner::Open, sealed(2), 2), Claim::Litter);
        assert_eq!(of_part(Owner::Open, None, 1), Claim::Unknown);
        assert_eq!(of_part(Owner::Gap, None, 1), Claim::Held);
        assert_eq!(of_part(Owner::Missing, open(2), 1), Claim::Unknown);
        for owner in [Owner::Ended, Owner::Due, Owner::Swept] {
            assert_eq!(of_part(owner, open(2), 1), Claim::Litter, "{owner:?}");
        }
    }

    #[test]
    fn a_part_of_an_upload_goes_with_its_file_or_without_one() {
        let uploads = [
            UploadOwner::Missing,
            UploadOwner::Pending,
            UploadOwner::File(Claim::Held),
            UploadOwner::File(Claim::Due(Due::File)),
            UploadOwner::Ended,
            UploadOwner::Swept,
        ];
        let claims = |part| uploads.map(|upload| of_upload_part(upload, part));
        let due = Claim::Due(Due::Upload);
        let (held, litter, unknown) = (Claim::Held, Claim::Litter, Claim::Unknown);
        let file = Claim::Due(Due::File);
        assert_eq!(
            claims(Some(PartUse::Chosen)),
            [unknown, held, held, file, due, litter]
        );
        assert_eq!(
            claims(Some(PartUse::Other)),
            [unknown, held, due, due, due, litter]
        );
        assert_eq!(
            claims(None),
            [unknown, unknown, unknown, unknown, unknown, litter]
        );
    }

    #[test]
    fn the_unknown_is_old_after_a_day_if_its_age_is_known() {
        let day = UNKNOWN_LIFETIME;
        assert!(!unknown_is_old(None));
        assert!(!unknown_is_old(Some(day)));
        assert!(unknown_is_old(Some(day + Duration::from_secs(1))));
    }

    #[test]
    fn a_notice_is_over_on_the_next_day_and_never_without_one() {
        assert!(!notice_is_over(None));
        assert!(!notice_is_over(Some(Duration::from_secs(22 * 3600))));
        assert!(notice_is_over(Some(Duration::from_secs(23 * 3600))));
    }
}
