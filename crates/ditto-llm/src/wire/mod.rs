//! What travels, as the protocol spells it.
//!
//! Reading is lenient: apart from an object's `id` nothing is required, an empty string where an
//! id belongs means "none", times may be numbers or ISO 8601 texts, and unknown words are kept.
//! Writing is exact: every type serialises to what OpenAI sends, explicit nulls included.

mod batch;
mod error;
mod failure;
mod file;
mod lenient;
mod line;
mod open_enum;
mod page;
mod upload;

pub use batch::{
    Batch, BatchError, BatchErrors, BatchExtension, BatchLane, BatchRequestCounts, BatchStatus,
    BatchUsage, InputTokensDetails, OutputTokensDetails,
};
pub use error::{ErrorBody, ErrorEnvelope};
pub use failure::FailureClass;
pub use file::{DeletedFile, FileObject};
pub use line::{RequestLine, ResultError, ResultLine, ResultResponse};
pub use page::Page;
pub use upload::{UploadObject, UploadPartObject};
