//! The clients against a scripted server, seen from outside.

#![allow(
    clippy::unwrap_used,
    reason = "in tests, helpers included, a panic is the message"
)]

mod batches;
mod downloads;
mod environment;
mod errors;
mod files;
mod fixtures;
mod results;
mod retries;
mod secrets;
mod server;
mod uploads;
mod user_program;
mod waiting;
