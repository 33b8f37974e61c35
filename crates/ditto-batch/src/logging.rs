//! Logs, on stderr.

use tracing_subscriber::EnvFilter;

/// Errors of the engine are said by the commands in their own words; logs are for looking deeper.
const QUIET: &str = "off";

/// Starts logging. `serve` logs by default what an operator wants to see, commands for people do not.
pub(crate) fn start(filter: Option<&str>) {
    let filter = filter.unwrap_or(QUIET);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new(QUIET));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
