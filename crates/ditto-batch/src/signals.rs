//! How a person or a supervisor says stop.

use tokio::signal::unix::{self, SignalKind};

use crate::exit;
use crate::failure::{Failure, Result};

/// What was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// A supervisor's SIGTERM.
    Terminate,
}

/// The signals from now on: listen before anything is told, since who reads it may send one at once.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self> {
        let listen = |kind| {
            unix::signal(kind).map_err(|e| {
                Failure::new(exit::UNEXPECTED, format!("cannot listen for signals: {e}"))
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }
}
