//! Logs, on stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Errors of the engine are said by the commands in their own words; logs are for looking deeper.
const QUIET: &str = "off";

/// What an operator of `serve` wants to see: batches that begin and end, lanes that pause, storage
/// that refuses.
const OPERATOR: &str = "warn,ditto_server=info";

/// Who reads stderr.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Audience {
    /// A person at a shell.
    Person,
    /// A log.
    Operator,
}

/// Starts logging, by the filter if one was given.
pub(crate) fn start(filter: Option<&str>, audience: Audience) {
    let usual = match audience {
        Audience::Person => QUIET,
        Audience::Operator => OPERATOR,
    };
    let filter = EnvFilter::try_new(filter.unwrap_or(usual));
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(usual));
    tracing_subscriber::fmt()
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
