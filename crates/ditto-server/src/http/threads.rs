//! Threads that answer and do nothing else.
//!
//! Those that send lines are busy at full speed, and who asks for a status would wait behind all lines of
//! their turn. One that sleeps until it is asked is given a processor soon.

use std::num::NonZero;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::{Error, Result};

/// The threads, until they are dropped: all that is done on them has ended by then, or is given up.
#[derive(Debug)]
pub(crate) struct Threads(Option<Runtime>);

impl Threads {
    /// As many as there are processors, and never one alone: a disk that stands still may hold one up.
    pub(crate) fn start() -> Result<Self> {
        let processors = available_parallelism().map_or(1, NonZero::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads(processors.max(2))
            .thread_name("ditto-http")
            .enable_all()
            .build()
            .map_err(|e| Error::storage("start the threads that answer", e))?;
        Ok(Self(Some(runtime)))
    }

    /// To do something there.
    pub(crate) fn handle(&self) -> &Handle {
        let runtime = self.0.as_ref().expect("present until it is dropped");
        runtime.handle()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // To wait for a thread that still reads a disk is not allowed here, and nobody needs it.
            runtime.shutdown_background();
        }
    }
}
