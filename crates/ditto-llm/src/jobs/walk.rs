//! All that came of each line, round after round: a merge over the indexes, walked in step with the
//! input.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};

use super::class::Again;
use super::class::Class;
use super::error::Result;
use super::index::{Index, Record};
use super::ledger::{Ledger, Reopened};
use super::plan::{Round, Shard};
use super::runs::{Run, Runs};
use super::state::State;
use super::{Retries, WITHHELD_INDEX};

/// What one shard says of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// What came of it.
    Came(Record),
    /// There may be a batch with it: it must not be sent again.
    Held,
}

/// What one shard says of a line, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// 0 for what was withheld.
    pub(crate) shard: u32,
    pub(crate) said: Said,
}

/// Goes through the lines in order.
#[derive(Debug)]
pub(crate) struct Walk {
    cursors: Vec<Cursor>,
    /// The next line of each cursor. Shards of later rounds have higher numbers, so what came of a
    /// line comes in the order of rounds.
    next: BinaryHeap<Reverse<(u64, usize)>>,
    entries: Vec<Entry>,
}

/// Opened when the walk comes to its first line, closed after its last: only few are open at once.
#[derive(Debug)]
struct Cursor {
    shard: u32,
    path: PathBuf,
    held: bool,
    open: Option<Lines>,
    head: Option<(u64, Said)>,
}

#[derive(Debug)]
enum Lines {
    Came(Index),
    Held { runs: Runs, run: Option<Run> },
}

impl Walk {
    /// Over everything that the job knows.
    pub(crate) fn new(folder: &Path, rounds: &[Round], ledger: &Ledger) -> Result<Self> {
        let mut walk = Self {
            cursors: Vec::new(),
            next: BinaryHeap::new(),
            entries: Vec::new(),
        };
        walk.add(0, folder.join(WITHHELD_INDEX), false, 0);
        for shard in rounds.iter().flat_map(|round| &round.shards) {
            let (path, held) = match ledger.state(shard.number) {
                State::Joined { .. } => (shard.index_path(folder), false),
                State::Dissolved => continue,
                _ => (Shard::runs_path(folder, shard.number), true),
            };
            walk.add(shard.number, path, held, shard.first_line);
        }
        Ok(walk)
    }

    fn add(&mut self, shard: u32, path: PathBuf, held: bool, first_line: u64) {
        self.next.push(Reverse((first_line, self.cursors.len())));
        self.cursors.push(Cursor {
            shard,
            path,
            held,
            open: None,
            head: None,
        });
    }

    /// What is known of this line; lines must be asked for in order.
    pub(crate) fn at(&mut self, line: u64) -> Result<&[Entry]> {
        self.entries.clear();
        while let Some(Reverse((first, index))) = self.next.peek().copied()
            && first <= line
        {
            self.next.pop();
            let cursor = &mut self.cursors[index];
            if let Some((at, said)) = cursor.head.take()
                && at == line
            {
                let shard = cursor.shard;
                self.entries.push(Entry { shard, said });
            }
            if let Some(next) = cursor.advance()? {
                self.next.push(Reverse((next, index)));
            }
        }
        Ok(&self.entries)
    }
}

impl Cursor {
    fn advance(&mut self) -> Result<Option<u64>> {
        let lines = match &mut self.open {
            Some(lines) => lines,
            none => none.insert(match self.held {
                false => Lines::Came(Index::open(&self.path)?),
                true => Lines::Held {
                    runs: Runs::open(&self.path)?,
                    run: None,
                },
            }),
        };
        self.head = match lines {
            Lines::Came(index) => index
                .next()?
                .map(|record| (record.line, Said::Came(record))),
            Lines::Held { runs, run } => next_of(runs, run)?.map(|line| (line, Said::Held)),
        };
        if self.head.is_none() {
            self.open = None;
        }
        Ok(self.head.map(|(line, _)| line))
    }
}

fn next_of(runs: &mut Runs, run: &mut Option<Run>) -> Result<Option<u64>> {
    if run.is_none_or(|run| run.lines == 0) {
        *run = runs.next()?;
    }
    Ok(run.as_mut().map(|run| {
        let line = run.first_line;
        run.first_line += 1;
        run.lines -= 1;
        line
    }))
}

/// What is to become of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// This entry of its history is its result.
    Settled(usize),
    /// It goes into another round.
    Again,
    /// It must not be sent before a person has decided.
    Held,
}

/// Decides from what came of a line in each round. `fruitful` says that rounds still get anywhere;
/// otherwise lines are not sent again for free for ever.
fn fate(history: &[Option<Class>], retries: &Retries, fruitful: bool) -> Fate {
    let answer = history
        .iter()
        .position(|class| class.is_some_and(Class::is_answer));
    if let Some(answer) = answer {
        return Fate::Settled(answer);
    }
    let Some(last) = history.last() else {
        return Fate::Again;
    };
    let Some(class) = last else { return Fate::Held };
    let settled = Fate::Settled(history.len() - 1);
    match class.again() {
        Again::Never => settled,
        Again::Free if fruitful => Fate::Again,
        Again::Free => settled,
        Again::Charged => {
            let times = history.iter().filter(|one| *one == last).count();
            match times <= usize::try_from(retries.of(*class)).unwrap_or(usize::MAX) {
                true => Fate::Again,
                false => settled,
            }
        }
    }
}

/// What the fate of lines is decided by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) retries: &'a Retries,
    /// Whether rounds still get anywhere.
    pub(crate) fruitful: bool,
    pub(crate) reopened: Option<Reopened>,
}

impl Terms<'_> {
    /// Decides about a line. Once the job was opened anew, what came before counts only in so far as
    /// a line is sent again or not.
    pub(crate) fn fate(&self, entries: &[Entry]) -> Fate {
        let history = classes(entries);
        let from_shard = self.reopened.map_or(0, |reopened| reopened.from_shard);
        let before = entries.iter().take_while(|one| one.shard < from_shard);
        let before = before.count();
        let answered = |class: &Option<Class>| class.is_some_and(Class::is_answer);
        if before == 0 || history.iter().any(answered) {
            return fate(&history, self.retries, self.fruitful);
        }
        if before < history.len() {
            return match fate(&history[before..], self.retries, self.fruitful) {
                Fate::Settled(index) => Fate::Settled(before + index),
                other => other,
            };
        }
        let refused_too = self.reopened.is_some_and(|reopened| reopened.refused_too);
        match history[before - 1] {
            None => Fate::Held,
            Some(Class::BadRequest) if refused_too => Fate::Again,
            Some(class) if class.again() == Again::Never => Fate::Settled(before - 1),
            Some(_) => Fate::Again,
        }
    }
}

fn classes(entries: &[Entry]) -> Vec<Option<Class>> {
    let class = |entry: &Entry| match entry.said {
        Said::Came(record) => Some(record.class),
        Said::Held => None,
    };
    entries.iter().map(class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Class::{BadRequest, Expired, Missing, NoAnswer, Ok, RateLimited, Truncated};

    fn of(history: &[Class]) -> Fate {
        let history: Vec<_> = history.iter().copied().map(Some).collect();
        fate(&history, &Retries::new(2), true)
    }

    #[test]
    fn the_first_answer_wins_over_everything() {
        assert_eq!(of(&[NoAnswer, Ok, Truncated]), Fate::Settled(1));
        assert_eq!(of(&[Ok, BadRequest]), Fate::Settled(0));
    }

    #[test]
    fn what_is_refused_for_good_is_never_bought_again() {
        assert_eq!(of(&[BadRequest]), Fate::Settled(0));
        assert_eq!(of(&[NoAnswer, BadRequest]), Fate::Settled(1));
    }

    #[test]
    fn each_class_has_a_budget_of_its_own() {
        assert_eq!(of(&[NoAnswer; 2]), Fate::Again);
        assert_eq!(of(&[NoAnswer; 3]), Fate::Settled(2));
        assert_eq!(
            of(&[NoAnswer, NoAnswer, RateLimited, RateLimited]),
            Fate::Again
        );
        let mut own = Retries::new(0);
        own.set(RateLimited, 5);
        let five = [Some(RateLimited); 5];
        assert_eq!(fate(&five, &own, true), Fate::Again);
        assert_eq!(fate(&[Some(NoAnswer)], &own, true), Fate::Settled(0));
    }

    #[test]
    fn what_was_not_bought_is_free_as_long_as_rounds_get_anywhere() {
        let history = [Some(Expired); 30];
        assert_eq!(fate(&history, &Retries::new(0), true), Fate::Again);
        assert_eq!(fate(&history, &Retries::new(0), false), Fate::Settled(29));
        assert_eq!(
            fate(&[Some(Missing)], &Retries::new(9), false),
            Fate::Settled(0)
        );
        assert_eq!(fate(&[], &Retries::new(0), true), Fate::Again);
    }

    fn reopened(history: &[(u32, Class)], refused_too: bool) -> Fate {
        let entry = |(shard, class): &(u32, Class)| Entry {
            shard: *shard,
            said: Said::Came(Record {
                line: 1,
                class: *class,
                text: None,
            }),
        };
        let entries: Vec<_> = history.iter().map(entry).collect();
        let reopened = Reopened {
            from_shard: 5,
            from_round: 3,
            refused_too,
        };
        let terms = Terms {
            retries: &Retries::new(1),
            fruitful: false,
            reopened: Some(reopened),
        };
        terms.fate(&entries)
    }

    #[test]
    fn a_job_that_is_opened_anew_sends_what_has_failed_once_more_with_a_new_budget() {
        let spent = [(1, NoAnswer), (3, NoAnswer)];
        assert_eq!(reopened(&spent, false), Fate::Again);
        assert_eq!(reopened(&[(1, Expired)], false), Fate::Again);
        let again = [(1, NoAnswer), (3, NoAnswer), (5, NoAnswer)];
        assert_eq!(reopened(&again, false), Fate::Again);
        let at_its_end = [(1, NoAnswer), (3, NoAnswer), (5, NoAnswer), (6, NoAnswer)];
        assert_eq!(reopened(&at_its_end, false), Fate::Settled(3));
    }

    #[test]
    fn a_job_that_is_opened_anew_keeps_answers_and_sends_what_was_refused_only_if_asked() {
        assert_eq!(reopened(&[(1, Ok)], true), Fate::Settled(0));
        assert_eq!(reopened(&[(1, NoAnswer), (5, Ok)], true), Fate::Settled(1));
        assert_eq!(reopened(&[(1, BadRequest)], false), Fate::Settled(0));
        assert_eq!(reopened(&[(1, BadRequest)], true), Fate::Again);
        let twice = [(1, BadRequest), (5, BadRequest)];
        assert_eq!(reopened(&twice, true), Fate::Settled(1));
        assert_eq!(reopened(&[(0, Class::Withheld)], true), Fate::Settled(0));
    }

    #[test]
    fn a_line_that_may_be_in_a_batch_is_held() {
        assert_eq!(
            fate(&[Some(NoAnswer), None], &Retries::new(9), true),
            Fate::Held
        );
        assert_eq!(
            fate(&[Some(Ok), None], &Retries::new(9), true),
            Fate::Settled(0)
        );
    }
}
