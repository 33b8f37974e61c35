//! What a job leaves at the provider, and how it goes.

use super::Job;
use super::provider::Provider;
use super::state::State;

impl Job {
    /// Deletes the files that this job uploaded, as [`Job::run`] does at its end by itself. One that
    /// stays costs nothing and expires: a refusal is no failure.
    pub async fn delete_inputs(&self, provider: &Provider) {
        if !self.plan.profile.keeps_input {
            return;
        }
        let first = self.ledger.reopened().map_or(0, |again| again.from_shard);
        // Those before were deleted at an earlier end.
        for shard in self.shards().filter(|shard| shard.number >= first) {
            for file in self.ledger.uploaded(shard.number) {
                let _ = provider.files.delete(file).await;
            }
        }
    }

    /// Deletes the provider's files of results. They are in the job's folder; at the provider they
    /// expire by themselves. Gives the number of files that are gone.
    pub async fn delete_outputs(&self, provider: &Provider) -> u64 {
        let mut gone = 0;
        for shard in self.shards() {
            let State::Joined { end, .. } = self.state(shard) else {
                continue;
            };
            for file in [&end.output_file, &end.error_file].into_iter().flatten() {
                let deleted = provider.files.delete(file).await;
                gone += u64::from(deleted.is_ok());
            }
        }
        gone
    }
}
