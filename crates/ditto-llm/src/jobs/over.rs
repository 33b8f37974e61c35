//! A shard that is over a limit of the provider's: it waits for room, or its lines go out in smaller ones.

use super::error::Result;
use super::ledger::Learned;
use super::limits::Limit;
use super::plan::Shard;
use super::run::{Event, Runner};
use super::state::{State, Step};

impl<F: FnMut(&Event<'_>)> Runner<'_, F> {
    /// Nothing of the shard was bought, and its file is at the provider.
    pub(super) fn over(&mut self, shard: &Shard, limit: Limit) -> Result<()> {
        match limit {
            Limit::Enqueued(tokens) => self.full(shard, tokens),
            Limit::Lines(lines) => self.too_long(shard, lines),
        }
    }

    /// The provider has no room for the shard. If it never will, its lines go out in smaller ones.
    fn full(&mut self, shard: &Shard, limit: Option<u64>) -> Result<()> {
        let others = self.job.rounds.iter().flat_map(|round| &round.shards);
        let alone = !others
            .filter(|other| other.number != shard.number)
            .any(|other| self.job.ledger.state(other.number).is_enqueued());
        let too_large = limit.is_some_and(|limit| shard.tokens > limit);
        let learned = self.job.ledger.learned();
        if shard.lines > 1 && (too_large || (alone && limit.is_none())) {
            // Our count of tokens is an estimate; without a word of the provider's, half is tried.
            let most = limit
                .map_or(shard.tokens / 2, |limit| limit - limit / 5)
                .max(1);
            self.learn(Learned {
                max_enqueued_tokens: Some(most),
                ..learned
            })?;
            let why = "it has more tokens than the provider takes at once".to_owned();
            return self.step(shard, Step::Dissolved { why });
        }
        if limit.is_some() {
            self.learn(Learned {
                max_enqueued_tokens: limit,
                ..learned
            })?;
        }
        self.full_until = self.now() + self.job.plan.profile.full_seconds.cast_signed();
        Ok(())
    }

    /// The shard has more lines than the provider takes in a batch. So have others that were cut like
    /// it: those that were not sent yet go the same way. What was cut to the limit and is refused even
    /// so is halved, whatever is said, so this ends.
    fn too_long(&mut self, shard: &Shard, limit: Option<u64>) -> Result<()> {
        let learned = self.job.ledger.learned();
        let kept_to_it = learned.max_lines.is_some_and(|known| shard.lines <= known);
        let told = limit.filter(|limit| *limit < shard.lines && !kept_to_it);
        let most = told.unwrap_or(shard.lines / 2).max(1);
        let most = learned.max_lines.map_or(most, |known| known.min(most));
        self.learn(Learned {
            max_lines: Some(most),
            ..learned
        })?;
        let is_unsent = |state: &State| matches!(state, State::Planned | State::Uploaded { .. });
        let unsent = self.job.shards().filter(|other| {
            is_unsent(self.job.state(other)) && (other.lines > most || other.number == shard.number)
        });
        let unsent: Vec<_> = unsent.cloned().collect();
        for shard in unsent {
            let why = "it has more lines than the provider takes in a batch".to_owned();
            self.step(&shard, Step::Dissolved { why })?;
        }
        Ok(())
    }

    fn learn(&mut self, learned: Learned) -> Result<()> {
        match self.job.ledger.learned() == learned {
            true => Ok(()),
            false => self.job.ledger.learn(learned),
        }
    }
}
