//! The HTTP face, asked over a socket: every answer and every refusal as OpenAI spells it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod batches;
mod content;
mod creates;
mod document;
mod doors;
mod files_again;
mod form;
mod limits;
mod lists;
mod parts;
mod results;
mod retries;
mod revoked;
mod routes;
mod server;
mod space;
mod strangers;
mod tenants;
mod uploads;
