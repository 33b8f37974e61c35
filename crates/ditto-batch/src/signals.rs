//! How a person or a supervisor says stop.

use futures_util::FutureExt;
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

/// In an error of reading: it was this that ended it.
#[derive(Debug, thiserror::Error)]
#[error("stopped by a signal")]
pub(crate) struct Stopped(pub(crate) Signal);

/// The signals from now on: listen before anything is told, since who reads it may send one at once.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

/// A supervisor's SIGHUP: the settings may be others now.
#[derive(Debug)]
pub(crate) struct Hangups(unix::Signal);

impl Hangups {
    /// Those from now on. Without it a SIGHUP ends the process.
    pub(crate) fn new() -> Result<Self> {
        listen(SignalKind::hangup()).map(Self)
    }

    pub(crate) async fn next(&mut self) {
        self.0.recv().await;
    }
}

impl Signals {
    pub(crate) fn new() -> Result<Self> {
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

    /// What was said since the last look, without waiting: for work that reads on its own thread.
    pub(crate) fn said(&mut self) -> Option<Signal> {
        // Not cut short by tokio's fairness, which counts on our coming back to it.
        tokio::task::unconstrained(self.next()).now_or_never()
    }
}

fn listen(kind: SignalKind) -> Result<unix::Signal> {
    unix::signal(kind)
        .map_err(|e| Failure::new(exit::UNEXPECTED, format!("cannot listen for signals: {e}")))
}
