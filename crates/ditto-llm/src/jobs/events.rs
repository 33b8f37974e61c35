//! What happens to a job, as a stream.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::stream::{self, Stream};

use super::Job;
use super::error::Result;
use super::plan::Shard;
use super::provider::Provider;
use super::run::{Ended, Event};
use super::state::State;
use crate::wire::Batch;

/// What happened, to keep: an [`Event`], or the end.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Told {
    /// A shard has gone a step further.
    Stepped {
        /// Which.
        shard: Box<Shard>,
        /// How far it is now.
        state: Box<State>,
    },
    /// The provider told how a batch stands.
    Polled {
        /// Whose it is.
        shard: Box<Shard>,
        /// How it stands.
        batch: Box<Batch>,
    },
    /// A call failed in passing and is tried again.
    Weather {
        /// What was tried.
        what: String,
        /// Why it failed.
        error: String,
    },
    /// A batch was past its window and was cancelled; lines without an answer go out again.
    Cancelled {
        /// Whose it is.
        shard: Box<Shard>,
        /// The batch.
        batch: String,
    },
    /// The provider says why a batch has failed as a whole, why there is none, or why its results cannot
    /// be had.
    Refused {
        /// Whose it is.
        shard: Box<Shard>,
        /// A code and a sentence, as far as there are any.
        why: String,
    },
    /// Nothing can be done for so long.
    Waiting {
        /// How long.
        time: Duration,
        /// Why.
        why: String,
    },
    /// Lines go into another round.
    Round {
        /// Its number.
        number: u32,
        /// Its lines.
        lines: u64,
    },
    /// The run has ended. Nothing comes after it.
    Ended(Ended),
}

impl From<&Event<'_>> for Told {
    fn from(event: &Event<'_>) -> Self {
        match *event {
            Event::Stepped { shard, state } => Self::Stepped {
                shard: Box::new(shard.clone()),
                state: Box::new(state.clone()),
            },
            Event::Polled { shard, batch } => Self::Polled {
                shard: Box::new(shard.clone()),
                batch: Box::new(batch.clone()),
            },
            Event::Weather { what, error } => Self::Weather {
                what: what.to_owned(),
                error: error.to_string(),
            },
            Event::Cancelled { shard, batch } => Self::Cancelled {
                shard: Box::new(shard.clone()),
                batch: batch.to_owned(),
            },
            Event::Refused { shard, why } => Self::Refused {
                shard: Box::new(shard.clone()),
                why: why.to_owned(),
            },
            Event::Waiting { time, why } => Self::Waiting {
                time,
                why: why.to_owned(),
            },
            Event::Round { number, lines } => Self::Round { number, lines },
        }
    }
}

/// What was told and not read yet: no more than one step of a run tells.
#[derive(Debug, Clone, Default)]
struct Unread(Arc<Mutex<VecDeque<Result<Told>>>>);

impl Unread {
    fn push(&self, told: Result<Told>) {
        self.lock().push_back(told);
    }

    fn pop(&self) -> Option<Result<Told>> {
        self.lock().pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Result<Told>>> {
        // Whole after every call, so a panic elsewhere has spoilt nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    /// Runs as [`Job::run`] does and tells what happens as a stream, which ends with
    /// [`Told::Ended`] or an error. The job goes on while the stream is read, a step at a time, so no
    /// more is kept than one step tells: who does not read on pauses it, and who drops the stream stops
    /// it, as if the future of [`Job::run`] were dropped.
    ///
    /// ```no_run
    /// use futures_util::StreamExt as _;
    /// use ditto_llm::jobs::{Job, Provider, Told};
    ///
    /// # async fn watched(job: &mut Job, provider: &Provider) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut events = std::pin::pin!(job.events(provider));
    /// while let Some(told) = events.next().await {
    ///     match told? {
    ///         Told::Stepped { shard, state } => println!("shard {} is {}", shard.number, state.name()),
    ///         Told::Waiting { why, .. } => println!("waiting: {why}"),
    ///         Told::Ended(ended) => println!("{ended:?}"),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn events<'a>(
        &'a mut self,
        provider: &'a Provider,
    ) -> impl Stream<Item = Result<Told>> + Send + 'a {
        let unread = Unread::default();
        let heard = unread.clone();
        let run = self.run(provider, move |event| heard.push(Ok(Told::from(event))));
        let mut run = Some(Box::pin(run));
        stream::poll_fn(move |context| {
            if let Some(told) = unread.pop() {
                return Poll::Ready(Some(told));
            }
            let Some(running) = &mut run else {
                return Poll::Ready(None);
            };
            if let Poll::Ready(ended) = running.as_mut().poll(context) {
                run = None;
                unread.push(ended.map(Told::Ended));
            }
            match unread.pop() {
                Some(told) => Poll::Ready(Some(told)),
                None => Poll::Pending,
            }
        })
    }
}
