//! What a person must decide before a job goes on: what stands open, what is safe, both choices.

use ditto_llm::jobs::{Shard, State};

use crate::exit;
use crate::failure::Failure;
use crate::printer::{counted, grouped};

/// The end of a command whose job waits for a decision about these shards; all others are done.
/// `resume` is the command that goes on with the job.
pub(crate) fn undecided(shards: &[(&Shard, &State)], resume: &str) -> Failure {
    let mut messages = Vec::new();
    let mut hints = Vec::new();
    let unclear: Vec<_> = shards.iter().filter_map(unclear).collect();
    if let Some((first, why)) = unclear.first() {
        messages.push(format!(
            "whether there is a batch that will end for {} cannot be found out ({why})",
            named(unclear.iter().map(|(number, _)| *number))
        ));
        hints.push(format!(
            "look at the provider's: if there is one, `{resume} --adopt {first}=BATCH`; if there is none, \
             `{resume} --create-again {first}`"
        ));
    }
    let gone: Vec<_> = shards.iter().filter_map(gone).collect();
    if let Some(first) = gone.first() {
        messages.push(format!(
            "the results of {} are gone at the provider",
            named(gone.iter().map(|shard| shard.number))
        ));
        hints.push(format!(
            "ask the provider for them, then `{resume}`; or pay for the {} of shard {} again: \
             `{resume} --create-again {}`",
            counted(first.lines, "line"),
            first.number,
            first.number
        ));
    }
    let message = format!("{}; all others are done", messages.join("; "));
    Failure::new(exit::CONFLICT, message)
        .hint(format!("nothing is lost here; {}", hints.join("; ")))
}

fn unclear<'a>((shard, state): &(&Shard, &'a State)) -> Option<(u32, &'a str)> {
    match state {
        State::Stuck { why, .. } => Some((shard.number, why)),
        _ => None,
    }
}

fn gone<'a>((shard, state): &(&'a Shard, &State)) -> Option<&'a Shard> {
    matches!(state, State::Ended { .. }).then_some(*shard)
}

fn named(numbers: impl Iterator<Item = u32>) -> String {
    let all: Vec<_> = numbers.map(|number| grouped(number.into())).collect();
    format!(
        "{} {}",
        if all.len() == 1 { "shard" } else { "shards" },
        all.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use ditto_llm::jobs::End;

    fn shard(number: u32) -> Shard {
        serde_json::from_value(serde_json::json!({
            "number": number, "round": 1, "model": null, "first_line": 1, "last_line": 7, "lines": 7,
            "bytes": 1, "runs": 1, "tokens": 1, "hash": "", "form": "as_it_is", "canary": false,
        }))
        .unwrap()
    }

    #[test]
    fn both_choices_are_told_for_each_kind_of_open_question() {
        let stuck = State::Stuck {
            file: "f".into(),
            at: 1,
            why: "no list".into(),
        };
        let ended = State::Ended {
            file: "f".into(),
            batch: "b".into(),
            end: End::default(),
        };
        let shards = [1, 2, 3].map(shard);
        let failure = undecided(
            &[
                (&shards[0], &stuck),
                (&shards[1], &stuck),
                (&shards[2], &ended),
            ],
            "RUN",
        );
        assert_eq!(failure.exit, exit::CONFLICT);
        assert_eq!(
            failure.message,
            "whether there is a batch that will end for shards 1, 2 cannot be found out (no list); the results of \
             shard 3 are gone at the provider; all others are done"
        );
        let hint = failure.hint.unwrap();
        for choice in [
            "`RUN --adopt 1=BATCH`",
            "`RUN --create-again 1`",
            "ask the provider for them, then `RUN`",
            "pay for the 7 lines of shard 3 again: `RUN --create-again 3`",
        ] {
            assert!(hint.contains(choice), "{hint}");
        }
    }
}
