//! The next round: lines that are still to be answered, made into shards like the first time.

use std::path::Path;

use super::class::Again;
use super::error::Result;
use super::first_pass::longest_line;
use super::input::Input;
use super::ledger::Ledger;
use super::outgoing::Request;
use super::plan::{Plan, Round};
use super::planner::{Place, Planner, ShardLimits};
use super::state::State;
use super::walk::{Fate, Terms, Walk};
use super::{Retries, spool};
use crate::jsonl::Content;

/// Rounds in a row that bring no line to its end, before lines are no longer sent again for free.
const MAX_FRUITLESS: usize = 3;

/// Plans the next round and leaves it in the folder; none if there is nothing to do. If we stop
/// before it is whole, it is planned anew.
pub(crate) fn plan_next(
    folder: &Path,
    plan: &Plan,
    rounds: &[Round],
    ledger: &Ledger,
    retries: &Retries,
    max_tokens: Option<u64>,
) -> Result<Option<Round>> {
    let last = rounds.last().expect("a job has a round");
    let next_number = rounds
        .iter()
        .flat_map(|round| &round.shards)
        .map(|shard| shard.number + 1)
        .max()
        .unwrap_or(1);
    let limits = ShardLimits::of(&plan.profile, max_tokens).within(ledger.learned());
    let mut planner = Planner::new(folder, &plan.profile, limits)
        .round(last.number + 1, next_number)
        .rename_all(plan.renames);
    planner.set_endpoint(&plan.endpoint);
    let input = Input::open(&plan.input.path)?;
    let mut walk = Walk::new(folder, rounds, ledger)?;
    let (fill, terms) = (plan.fill(), terms(rounds, ledger, retries));
    let identity = input.each_line(longest_line(&plan.profile), |line| {
        if line.is_blank() || !plan.takes(line.number) {
            return Ok(());
        }
        if terms.fate(walk.at(line.number)?) != Fate::Again {
            return Ok(());
        }
        let Content::Bytes(content) = line.content else {
            return Err(spool::changed(plan));
        };
        let request = Request::read(content, &fill).ok_or_else(|| spool::changed(plan))?;
        planner.add(&Place::of(line, content, input.bom), &request, false)
    })?;
    spool::require_unchanged(plan, &identity)?;
    let round = planner.finish()?;
    if round.shards.is_empty() {
        return Ok(None);
    }
    round.save(folder)?;
    Ok(Some(round))
}

/// What decides about lines as the job stands.
pub(crate) fn terms<'a>(rounds: &[Round], ledger: &Ledger, retries: &'a Retries) -> Terms<'a> {
    Terms {
        retries,
        fruitful: is_fruitful(rounds, ledger),
        reopened: ledger.reopened(),
    }
}

/// Whether one of the last rounds brought a line to its end. A provider that expires or loses every
/// line would otherwise be asked for ever. Of rounds of which nothing ran, since they were cut anew,
/// there are only few.
fn is_fruitful(rounds: &[Round], ledger: &Ledger) -> bool {
    let first = ledger.reopened().map_or(0, |reopened| reopened.from_round);
    let since = rounds.partition_point(|round| round.number < first);
    let ran = |round: &&Round| {
        let mut shards = round.shards.iter();
        shards.any(|shard| *ledger.state(shard.number) != State::Dissolved)
    };
    let rounds: Vec<_> = rounds[since..].iter().filter(ran).collect();
    let brought = |round: &&Round| {
        round
            .shards
            .iter()
            .any(|shard| match ledger.state(shard.number) {
                State::Joined { joined, .. } => joined
                    .classes
                    .iter()
                    .any(|(class, lines)| *lines > 0 && class.again() != Again::Free),
                _ => false,
            })
    };
    rounds.len() < MAX_FRUITLESS || rounds.iter().rev().take(MAX_FRUITLESS).any(brought)
}
