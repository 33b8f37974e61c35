//! How long calls may take.

use std::time::Duration;

/// Time limits of the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection stands. Not for a client given by `with_http_client`.
    pub connect: Duration,
    /// For a whole call whose answer is JSON, uploads excepted.
    pub call: Duration,
    /// Between two movements of an upload or download, which have no limit as a whole.
    pub idle: Duration,
}

impl Default for Timeouts {
    /// 10 s to connect, 60 s a call, 60 s without movement.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            call: Duration::from_secs(60),
            idle: Duration::from_secs(60),
        }
    }
}
