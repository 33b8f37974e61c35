//! A server of `/v1/files` and `/v1/batches` for endpoints that have none, as a library.
//!
//! [`Server::open`] opens a data folder, [`Server::run`] serves HTTP on a listener until told to
//! stop. [`Service`] is what a client may ask, without HTTP: the HTTP layer and `ditto-batch run`
//! both call it. The engine answers the lines of batches; its decisions are in [`model`].

mod backup;
mod blobs;
mod budget;
mod catalog;
mod clock;
mod config;
mod engine;
mod error;
mod folder;
/// For `fuzz/` and its kept corpora, and in no other build.
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod gc;
mod hold;
mod http;
mod id;
mod journal;
mod keys;
mod manifest;
pub mod model;
mod owner;
mod private;
mod secret;
mod server;
mod service;
/// Whole runs in one thread from one seed; beside the other tests, and inside for what it needs.
#[cfg(test)]
#[path = "../tests/sim/mod.rs"]
mod sim;
mod space;
mod spool;
mod sweep;
mod upstream;

pub use backup::{Backup, Bytes, backup};
pub use clock::{Clock, ManualClock, SystemClock};
pub use config::{
    CompletionWindow, Concurrency, Config, DEFAULT_ENDPOINTS, DEFAULT_RETENTION, Limits, Mode,
    Network, Sending, TenantKey, TenantLimits, Tenants, TlsFiles, UpstreamConfig, Window,
};
pub use engine::{LaneReport, Trouble};
pub use error::{Error, ErrorKind, Result};
pub use folder::Tally;
pub use gc::{Garbage, collect_garbage, find_garbage};
pub use http::CONNECTIONS;
pub use keys::{ApiKey, NewApiKey, create_key, list_keys, revoke_key, rotate_key};
pub use owner::{Owner, owner};
pub use server::{Server, check_catalog};
pub use service::{
    Access, BatchRequest, CompleteRequest, Content, Cursor as ResultCursor, FileDescription,
    FileList, Listed, Once, PartUpload, Progress, ResultPage, Service, Upload, UploadRequest,
};
pub use upstream::Probed;
pub use upstream::address::{BadAddress, check_address, shown_address};
