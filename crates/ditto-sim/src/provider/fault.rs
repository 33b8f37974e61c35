//! Every way in which the provider can misbehave: a table, from which the spelling, the usual measure
//! and the help come.

use crate::provider::faults::When;

/// What a fault befalls, and so what is counted and drawn for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// One call.
    Call,
    /// One batch, from its creation to its end.
    Batch,
    /// One line that is run.
    Line,
}

/// What stands behind a fault's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    Nothing,
    Span,
    Bytes,
    Number,
    Share,
    Status,
    /// One in which a batch may stay.
    Stage,
    Word,
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) fault: ProviderFault,
    pub(crate) name: &'static str,
    pub(crate) scope: Scope,
    pub(crate) takes: Takes,
    /// The measure if none is given.
    pub(crate) usual: &'static str,
    pub(crate) when: When,
    pub(crate) says: &'static str,
}

macro_rules! faults {
    ($(#[doc = $says:literal] $fault:ident = $name:literal, $scope:ident, $takes:ident $(($usual:literal))?, $when:ident;)+) => {
        /// One way of a provider of batches to misbehave.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum ProviderFault {
            $(#[doc = $says] $fault,)+
        }

        /// All faults, in the order in which they are told.
        pub(crate) const KNOWN: &[Known] = &[$(Known {
            fault: ProviderFault::$fault,
            name: $name,
            scope: Scope::$scope,
            takes: Takes::$takes,
            usual: concat!($($usual)?),
            when: $when,
            says: $says,
        }),+];
    };
}

const ONCE: When = When::First(1);
const ALWAYS: When = When::Always;

faults! {
    /// every call answers 502 for this long, from the first creation on
    Outage = "outage", Call, Span("2m"), ALWAYS;
    /// a call answers 401 and repeats the key that it was given
    KeyEchoed = "key-echoed", Call, Nothing, ONCE;
    /// a call answers 429 with `Retry-After`
    RateLimited = "rate-limited", Call, Nothing, ONCE;

    /// an upload without a length is refused with 411
    ChunkedRefused = "chunked-refused", Call, Nothing, ALWAYS;
    /// the file is kept, the connection dropped
    UploadDropped = "upload-dropped", Call, Nothing, ONCE;
    /// the upload is refused with this status
    UploadFailed = "upload-failed", Call, Status("503"), ONCE;
    /// the upload is answered 200 with an error for a body
    UploadError200 = "upload-error-200", Call, Nothing, ONCE;
    /// the answer to an upload lies under this word in another object
    UploadWrapped = "upload-wrapped", Call, Word("data"), ALWAYS;
    /// a larger file is refused with 413
    MaxBytes = "max-bytes", Call, Bytes("200mb"), ALWAYS;

    /// the batch is made, the connection dropped
    CreateDropped = "create-dropped", Call, Nothing, ONCE;
    /// no batch is made, the connection dropped
    CreateLost = "create-lost", Call, Nothing, ONCE;
    /// the batch is made, and no answer comes
    CreateHung = "create-hung", Call, Nothing, ONCE;
    /// the batch is made, the answer is this status
    CreateMasked = "create-masked", Call, Status("502"), ONCE;
    /// no batch is made, the answer is this status
    CreateFailed = "create-failed", Call, Status("503"), ONCE;
    /// no batch is made, the answer is 200 with an error for a body
    CreateError200 = "create-error-200", Call, Nothing, ONCE;
    /// the batch is made, the answer is 200 with a body that is no JSON
    CreateGarbled = "create-garbled", Call, Nothing, ONCE;
    /// the answer to a creation lies under this word in another object
    CreateWrapped = "create-wrapped", Call, Word("job"), ALWAYS;
    /// two batches are made, and one is told
    CreateDoubled = "create-doubled", Call, Nothing, ONCE;
    /// no batch is made: the account's quota is used up
    CreateQuota = "create-quota", Call, Nothing, ALWAYS;
    /// no batch is made while so many are open
    MaxOpen = "max-open", Call, Number("3"), ALWAYS;
    /// no batch is made beyond so many enqueued tokens: `token_limit_exceeded` at once
    TokensRefused = "tokens-refused", Call, Number("2000000"), ALWAYS;
    /// a batch beyond so many enqueued tokens fails after its creation with `token_limit_exceeded`
    TokensFailed = "tokens-failed", Call, Number("2000000"), ALWAYS;
    /// a batch of more lines fails
    MaxLines = "max-lines", Call, Number("50000"), ALWAYS;
    /// a batch with a longer line fails
    MaxLineBytes = "max-line-bytes", Call, Bytes("1mb"), ALWAYS;

    /// a look at a batch: the connection is dropped
    PollDropped = "poll-dropped", Call, Nothing, ONCE;
    /// a look at a batch answers this status
    PollFailed = "poll-failed", Call, Status("502"), ONCE;
    /// a look at a batch answers 200 with an error for a body
    PollError200 = "poll-error-200", Call, Nothing, ONCE;
    /// a look at a batch answers 404, though it is there
    PollMissing = "poll-missing", Call, Nothing, ONCE;

    /// a new batch appears in lists so much later
    ListLate = "list-late", Batch, Span("30s"), ALWAYS;
    /// lists are bare arrays
    ListBare = "list-bare", Call, Nothing, ALWAYS;
    /// there is no list of batches: 404
    ListNone = "list-none", Call, Nothing, ALWAYS;
    /// a list answers this status
    ListFailed = "list-failed", Call, Status("502"), ONCE;
    /// each page is the first one, and promises more
    ListLoops = "list-loops", Call, Nothing, ALWAYS;
    /// one batch a page, and the next page by this: `after`, `cursor` or `offset`
    ListPaged = "list-paged", Call, Word("after"), ALWAYS;
    /// batches are listed oldest first
    ListOldestFirst = "list-oldest-first", Call, Nothing, ALWAYS;

    /// this word stands for `in_progress`
    StatusUnknown = "status-unknown", Batch, Word("warming_up"), ALWAYS;
    /// this word stands for `completed`
    EndUnknown = "end-unknown", Batch, Word("done"), ALWAYS;
    /// the status is in capital letters
    StatusUpper = "status-upper", Batch, Nothing, ALWAYS;
    /// times are ISO texts
    TimesIso = "times-iso", Batch, Nothing, ALWAYS;
    /// counts are null
    CountsNone = "counts-none", Batch, Nothing, ALWAYS;
    /// counts are zero to the end
    CountsZero = "counts-zero", Batch, Nothing, ALWAYS;
    /// counts say that every line was answered
    CountsRosy = "counts-rosy", Batch, Nothing, ALWAYS;
    /// file ids are null for so long after the end
    IdsLate = "ids-late", Batch, Span("30s"), ALWAYS;
    /// file ids that are not there are empty texts
    IdsEmpty = "ids-empty", Batch, Nothing, ALWAYS;
    /// the id of the output file is null for ever: its answers are billed and lost
    OutputNull = "output-null", Batch, Nothing, ONCE;
    /// the output file is named and not found: its answers are billed and lost
    OutputGone = "output-gone", Batch, Nothing, ONCE;
    /// an error file without a line is named where nothing failed
    ErrorFileEmpty = "error-file-empty", Batch, Nothing, ALWAYS;
    /// no usage is told
    UsageNone = "usage-none", Batch, Nothing, ALWAYS;
    /// twice the usage is told
    UsageDoubled = "usage-doubled", Batch, Nothing, ALWAYS;
    /// metadata is taken and not told
    MetadataNone = "metadata-none", Batch, Nothing, ALWAYS;

    /// the batch never leaves this stage, if it is not cancelled
    Stuck = "stuck", Batch, Stage("in_progress"), ONCE;
    /// the batch expires when this share of its lines has run
    Expires = "expires", Batch, Share("0.63"), ONCE;
    /// the batch fails after its check with this code; no line runs
    Fails = "fails", Batch, Word("server_error"), ONCE;
    /// the batch fails when this share of its lines has run; their answers are there
    FailsMidway = "fails-midway", Batch, Share("0.5"), ONCE;
    /// a cancelled batch runs to its end and is `completed`
    CancelCompletes = "cancel-completes", Batch, Nothing, ALWAYS;
    /// a batch stays `cancelling` for so long
    CancelSlow = "cancel-slow", Batch, Span("25m"), ALWAYS;
    /// a call to cancel answers 409
    CancelRefused = "cancel-refused", Call, Nothing, ONCE;

    /// a download is cut after so many bytes, each time
    Cut = "cut", Call, Bytes("1mb"), ALWAYS;
    /// downloads know no ranges
    RangesIgnored = "ranges-ignored", Call, Nothing, ALWAYS;
    /// a download answers this status
    ContentFailed = "content-failed", Call, Status("502"), ONCE;
    /// results answer 502 for so long after the end
    ContentLate = "content-late", Batch, Span("2m"), ALWAYS;
    /// results answer 302 to another host, which takes no key
    Redirect = "redirect", Call, Nothing, ALWAYS;
    /// downloads tell no length
    LengthNone = "length-none", Call, Nothing, ALWAYS;
    /// a download of results ends early, and its length says that it is whole
    Short = "short", Call, Nothing, ONCE;

    /// rows end with CR and LF
    Crlf = "crlf", Batch, Nothing, ALWAYS;
    /// answers hold U+2028, U+2029 and U+0085
    Separators = "separators", Batch, Nothing, ALWAYS;
    /// files begin with a byte order mark
    Bom = "bom", Batch, Nothing, ALWAYS;
    /// an empty line follows each row
    BlankLines = "blank-lines", Batch, Nothing, ALWAYS;
    /// rows come in any order
    Shuffled = "shuffled", Batch, Nothing, ALWAYS;
    /// rows that failed lie in the output file too
    Misfiled = "misfiled", Batch, Nothing, ALWAYS;
    /// the body of a row that failed is JSON in a text
    BodyString = "body-string", Batch, Nothing, ALWAYS;
    /// rows that failed have an error and no response
    ResponseAbsent = "response-absent", Batch, Nothing, ALWAYS;

    /// a line is not run and has no row
    LineMissing = "line-missing", Line, Nothing, ONCE;
    /// a line is run and billed, and has no row
    LineLost = "line-lost", Line, Nothing, ONCE;
    /// a row comes twice
    LineRepeated = "line-repeated", Line, Nothing, ONCE;
    /// a line has an answer, and a row in the error file too
    LineContradicted = "line-contradicted", Line, Nothing, ONCE;
    /// a row with an id that nobody sent comes along
    LineUnknown = "line-unknown", Line, Nothing, ONCE;
    /// a line's answer carries an id that nobody sent: billed and lost
    LineRenamed = "line-renamed", Line, Nothing, ONCE;
    /// a line's answer carries null for an id: billed and lost
    LineIdNull = "line-id-null", Line, Nothing, ONCE;
    /// a row cannot be read: billed and lost
    LineUnreadable = "line-unreadable", Line, Nothing, ONCE;
    /// a row of status 0 with an empty body
    LineStatus0 = "line-status-0", Line, Nothing, ONCE;
    /// a row of this status
    LineFailed = "line-failed", Line, Status("500"), ONCE;
    /// a row of status 200 with an empty body: billed and lost
    LineEmpty = "line-empty", Line, Nothing, ONCE;
    /// a chat answer that ended for its length
    LineTruncated = "line-truncated", Line, Nothing, ONCE;
    /// a chat answer without a text
    LineSilent = "line-silent", Line, Nothing, ONCE;
    /// a chat answer that refuses
    LineRefused = "line-refused", Line, Nothing, ONCE;
}

impl ProviderFault {
    pub(crate) fn known(self) -> &'static Known {
        // The table is in the order of the variants.
        &KNOWN[self as usize]
    }

    /// As it is spelt.
    pub fn name(self) -> &'static str {
        self.known().name
    }

    /// What it does, in a few words.
    pub fn says(self) -> &'static str {
        self.known().says.trim()
    }

    /// Every fault there is.
    pub fn all() -> impl Iterator<Item = Self> {
        KNOWN.iter().map(|known| known.fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_variants() {
        for fault in ProviderFault::all() {
            assert_eq!(fault.known().fault, fault);
        }
    }
}
