//! SDK for the OpenAI batch protocol: files and batches of OpenAI and everything compatible.
//!
//! A batch is a file of requests that is answered within hours, for half the price or on a server
//! of your own. The way is always the same: upload a JSONL file, create a batch over it, wait,
//! and read two files, one with the answers and one with what failed.
//!
//! ```no_run
//! # #[cfg(all(feature = "openai-compatible", feature = "batches"))]
//! # async fn tour() -> ditto_llm::Result<()> {
//! use ditto_llm::{
//!     BatchClient as _, BatchClientExt as _, BatchCreateRequest, FileClient as _,
//!     FileClientExt as _, FileUpload, OpenAICompatible, WaitPolicy,
//! };
//! use futures_util::StreamExt as _;
//!
//! // Key and address from OPENAI_COMPAT_API_KEY and OPENAI_COMPAT_BASE_URL.
//! let files = OpenAICompatible::from_env()?;
//! let batches = files.batches();
//!
//! // Streamed from disk, whatever its size.
//! let input = files.upload(FileUpload::from_path("requests.jsonl")).await?;
//!
//! let created = batches
//!     .create(BatchCreateRequest {
//!         input_file_id: input.id,
//!         endpoint: "/v1/chat/completions".to_string(),
//!         completion_window: "24h".to_string(),
//!         metadata: None,
//!         provider_options: None,
//!     })
//!     .await?;
//!
//! let batch = batches.wait(&created.batch.id, WaitPolicy::default()).await?;
//!
//! let mut results = files.results(&batch);
//! while let Some(line) = results.next().await {
//!     let line = line?;
//!     println!("{:?} answered: {}", line.custom_id, line.is_success());
//! }
//! # Ok(()) }
//! ```
//!
//! # The parts
//!
//! - Clients: [`OpenAI`] and [`OpenAICompatible`] for files, [`OpenAIBatches`] and
//!   [`OpenAICompatibleBatches`] for batches, behind the traits [`FileClient`] and
//!   [`BatchClient`]; [`FileClientExt`] and [`BatchClientExt`] add whole lists, waiting and
//!   results.
//! - [`wire`]: what travels, read leniently and written exactly.
//! - [`check`], [`jsonl`], [`ids`]: the rules of an input file and the tools to hold a file of any
//!   size against them; [`verify`]: the proof that every line was answered once.
//! - [`jobs`]: one file of any size through a provider's batches, whatever happens meanwhile.
//! - [`profiles`]: what each provider takes and how it spells it, as data.
//! - [`merge`], [`json`]: results put together, and a look into one without building it.
//! - [`retry`], [`redact`]: whether to try again, and what must not be seen.
//!
//! # What is promised
//!
//! Reads are repeated after passing failures, and a server that asks for a pause gets it. Creating
//! a batch is never repeated blindly: where the answer is lost, the error says so
//! ([`DittoError::outcome_unknown`]). Keys are in no log, no error and no `Debug`.
//!
//! Each call leaves one `tracing` event of target `ditto_llm::audit`.
//!
//! # Features
//!
//! | feature | gives |
//! |---|---|
//! | `openai` | the clients of OpenAI |
//! | `openai-compatible` | the clients of everything compatible |
//! | `batches` | batches, beside files |
//! | `jobs` | whole jobs: one file of any size through a provider |
//! | `profiles` | what each provider takes, as data |
//! | `rustls`, `native-tls` | one of them, for `https` |
//!
//! All but `native-tls` and `jobs` are on by default. Without a provider the crate has no HTTP in it: types,
//! checks and pure logic only.

#![warn(missing_docs)]
// The tour above names every part, also those that a smaller choice of features leaves out.
#![cfg_attr(
    not(all(
        feature = "openai",
        feature = "openai-compatible",
        feature = "batches",
        feature = "profiles",
        feature = "jobs"
    )),
    allow(rustdoc::broken_intra_doc_links)
)]
// `http` is for the provider features to set; alone it has nobody to serve.
#![cfg_attr(
    not(any(feature = "openai", feature = "openai-compatible")),
    allow(dead_code)
)]

pub mod check;
pub mod ids;
#[cfg(feature = "jobs")]
pub mod jobs;
pub mod json;
pub mod jsonl;
pub mod merge;
#[cfg(feature = "profiles")]
pub mod profiles;
pub mod redact;
pub mod retry;
pub mod verify;
pub mod wire;

mod error;
#[cfg(any(feature = "http", feature = "profiles"))]
#[cfg_attr(
    not(feature = "profiles"),
    allow(unreachable_pub, dead_code, reason = "profiles name the other ways")
)]
mod paging;

/// For `fuzz/` and its kept corpora, and in no other build.
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;

// What only the clients need is gone without a provider.
#[cfg(feature = "http")]
mod audit;
#[cfg(feature = "http")]
mod base_url;
#[cfg(feature = "http")]
mod call;
#[cfg(feature = "http")]
mod config;
#[cfg(feature = "http")]
mod content;
#[cfg(feature = "http")]
mod download;
#[cfg(feature = "http")]
mod env;
#[cfg(feature = "http")]
mod ext;
#[cfg(feature = "http")]
mod files;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http")]
mod operation;
#[cfg(feature = "http")]
mod providers;
#[cfg(feature = "http")]
mod refusal;
#[cfg(feature = "http")]
mod timeouts;
#[cfg(feature = "http")]
mod upload;

// And what only batches need, without them.
#[cfg(all(feature = "http", feature = "batches"))]
mod batches;
#[cfg(all(feature = "openai-compatible", feature = "batches"))]
mod beyond;
#[cfg(all(feature = "http", feature = "batches"))]
mod provider_options;
#[cfg(all(feature = "http", feature = "batches"))]
mod results;
#[cfg(all(feature = "http", feature = "batches"))]
mod wait;
#[cfg(all(feature = "http", feature = "batches"))]
mod warning;

pub use error::{ApiDetail, DittoError, HttpError, HttpStage, Result};
pub use retry::{Backoff, RetryPolicy};
pub use wire::{
    Batch, BatchError, BatchErrors, BatchExtension, BatchLane, BatchRequestCounts, BatchStatus,
    BatchUsage, DeletedFile, ErrorBody, ErrorEnvelope, FailureClass, FileObject, Page, RequestLine,
    ResultError, ResultLine, ResultResponse,
};

#[cfg(feature = "http")]
pub use {
    content::Content,
    download::Download,
    ext::FileClientExt,
    files::{FileClient, ListFiles},
    timeouts::Timeouts,
    upload::FileUpload,
};

#[cfg(all(feature = "http", feature = "batches"))]
pub use {
    batches::{BatchClient, BatchCreateRequest, BatchListResponse, BatchResponse, CreateOptions},
    ext::BatchClientExt,
    provider_options::ProviderOptions,
    wait::WaitPolicy,
    warning::Warning,
};

#[cfg(feature = "openai")]
pub use providers::OpenAI;
#[cfg(all(feature = "openai", feature = "batches"))]
pub use providers::OpenAIBatches;
#[cfg(feature = "openai-compatible")]
pub use providers::OpenAICompatible;
#[cfg(all(feature = "openai-compatible", feature = "batches"))]
pub use {beyond::RecordedPage, providers::OpenAICompatibleBatches};
