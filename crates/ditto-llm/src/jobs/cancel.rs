//! The end of a job's batches before their time.

use super::Job;
use super::plan::Shard;
use super::provider::Provider;
use super::state::State;
use crate::error::DittoError;
use crate::wire::Batch;

/// What came of asking the provider to end a batch.
#[derive(Debug)]
#[non_exhaustive]
pub struct Cancelled {
    /// Its shard.
    pub shard: u32,
    /// The batch.
    pub batch: String,
    /// How it stands now, or why it could not be cancelled: many a batch has ended by itself.
    pub outcome: Result<Batch, DittoError>,
}

impl Job {
    /// Asks the provider to end every batch of the job that is open, and waits for none. What was
    /// answered is kept by the provider and fetched by the next [`Job::collect`] or [`Job::run`]; the
    /// latter sends the other lines anew. A create whose outcome is not known is not looked for here.
    pub async fn cancel(&self, provider: &Provider) -> Vec<Cancelled> {
        let mut all = Vec::new();
        for shard in self.shards() {
            let State::Open { batch, .. } = self.state(shard) else {
                continue;
            };
            let answer = provider.batches.cancel(batch).await;
            all.push(Cancelled {
                shard: shard.number,
                batch: batch.clone(),
                outcome: answer.map(|answer| answer.batch),
            });
        }
        all
    }

    /// The shards of all passes.
    pub fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.rounds.iter().flat_map(|round| &round.shards)
    }
}
