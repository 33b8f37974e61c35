//! What to do next, and what an answer of the provider means: pure decisions, no calls.

use std::time::Duration;

use super::limits::{self, Limit};
use super::plan::Shard;
use super::state::{End, State};
use crate::error::DittoError;
use crate::profiles::Profile;
use crate::wire::{Batch, BatchStatus};

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Upload(u32),
    Create(u32),
    Look(u32),
    Poll(u32),
    Fetch(u32),
    Join(u32),
    /// Nothing before this time.
    WaitUntil(i64),
    /// Every shard is at rest.
    RoundOver,
}

/// What the provider takes at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) max_open: Option<u64>,
    pub(crate) max_tokens: Option<u64>,
    /// The provider said that it was full: nothing is created before this time.
    pub(crate) full_until: i64,
}

/// A shard with when it may be looked at next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing<'a> {
    pub(crate) shard: &'a Shard,
    pub(crate) state: &'a State,
    pub(crate) not_before: i64,
}

/// Decides from how far all shards of the round are. What is furthest goes first, so that a crash
/// finds little under way.
pub(crate) fn next(all: &[Standing<'_>], room: &Room, now: i64) -> Turn {
    let canary_runs = all
        .iter()
        .any(|one| one.shard.canary && !one.state.is_at_rest());
    let mut wake: Option<i64> = None;
    let mut best: Option<(u8, Turn)> = None;
    for one in all {
        let Some((rank, turn)) = wanted(one) else {
            continue;
        };
        let creates = matches!(turn, Turn::Upload(_) | Turn::Create(_));
        let mut due = one.not_before;
        if creates {
            if (canary_runs && !one.shard.canary) || !has_room(all, one.shard, room) {
                // Another shard's end makes room.
                continue;
            }
            due = due.max(room.full_until);
        }
        if due > now {
            wake = Some(wake.map_or(due, |wake| wake.min(due)));
        } else if best.is_none_or(|(other, _)| rank < other) {
            best = Some((rank, turn));
        }
    }
    match (best, wake) {
        (Some((_, turn)), _) => turn,
        (None, Some(wake)) => Turn::WaitUntil(wake),
        (None, None) => Turn::RoundOver,
    }
}

fn wanted(one: &Standing<'_>) -> Option<(u8, Turn)> {
    let number = one.shard.number;
    Some(match one.state {
        State::Fetched { .. } => (0, Turn::Join(number)),
        State::Ended { .. } => (1, Turn::Fetch(number)),
        State::Creating { .. } => (2, Turn::Look(number)),
        State::Open { .. } => (3, Turn::Poll(number)),
        State::Uploaded { .. } => (4, Turn::Create(number)),
        State::Planned | State::Uploading => (5, Turn::Upload(number)),
        State::Joined { .. } | State::Dissolved | State::Stuck { .. } => return None,
    })
}

/// Whether the provider takes one more batch with these tokens. With nothing enqueued it is asked
/// whatever it said: only it knows.
fn has_room(all: &[Standing<'_>], shard: &Shard, room: &Room) -> bool {
    let enqueued = || all.iter().filter(|one| one.state.is_enqueued());
    let open = enqueued().count() as u64;
    if room.max_open.is_some_and(|max| open > 0 && open >= max) {
        return false;
    }
    let same_model = enqueued().filter(|one| one.shard.model == shard.model);
    let tokens: u64 = same_model.map(|one| one.shard.tokens).sum();
    room.max_tokens
        .is_none_or(|max| tokens == 0 || tokens + shard.tokens <= max)
}

/// Why nothing can be done at the moment, for people. For `away_for` seconds every call has failed.
pub(crate) fn why_waiting(
    all: &[Standing<'_>],
    room: &Room,
    now: i64,
    away_for: Option<i64>,
) -> String {
    let open = all.iter().filter(|one| one.state.is_enqueued()).count();
    let held = all
        .iter()
        .filter(|one| !one.state.is_sent() && !one.state.is_at_rest());
    let held = held.count();
    if let Some(seconds) = away_for {
        return format!("the provider has been away for {seconds} s");
    }
    if all
        .iter()
        .any(|one| matches!(one.state, State::Creating { .. }))
    {
        return "looking for a batch whose create had no answer".to_owned();
    }
    let limit = match (room.max_tokens, room.max_open) {
        (Some(tokens), _) => format!(" (its limit is {tokens} enqueued tokens)"),
        (None, Some(open)) => format!(" (its limit is {open} open batches)"),
        (None, None) => String::new(),
    };
    let canary = |one: &Standing<'_>| one.shard.canary && !one.state.is_at_rest();
    match held {
        0 => format!("{open} open"),
        _ if all.iter().any(canary) => {
            format!("{open} open, {held} to be sent if the first lines are answered")
        }
        _ if room.full_until > now => {
            format!("{open} open, {held} to be sent: the provider is full{limit}")
        }
        _ => format!("{open} open, {held} to be sent when there is room{limit}"),
    }
}

/// What a batch says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on.
    Wait,
    /// It has ended.
    Ended(End),
    /// It has ended, but what it says does not agree with itself; it may be seen in a moment.
    LookAgain(End),
    /// It was over a limit of the provider's, and nothing of it ran.
    Over { end: End, limit: Limit },
}

/// Reads a batch.
pub(crate) fn judge(batch: &Batch, profile: &Profile, now: i64) -> Verdict {
    let status = profile.status(&batch.status);
    let message = message_of(batch);
    let has_files = batch.output_file_id.is_some() || batch.error_file_id.is_some();
    let ended = status.is_terminal() || is_over(batch, &status, profile, now);
    if !ended {
        return Verdict::Wait;
    }
    let counts = batch.request_counts.unwrap_or_default();
    let end = End {
        status: status.to_string(),
        output_file: batch.output_file_id.clone(),
        error_file: batch.error_file_id.clone(),
        faults: if has_files {
            Vec::new()
        } else {
            faults_of(batch)
        },
        message,
        counted: counts.completed.saturating_add(counts.failed),
        at: Some(now),
    };
    if status == BatchStatus::Failed
        && !has_files
        && let Some(why) = &end.message
        && let Some(limit) = limits::named(first_code(batch), why)
    {
        return Verdict::Over { end, limit };
    }
    let lacks_output = counts.completed > 0 && batch.output_file_id.is_none();
    let may_have_none = matches!(
        status,
        BatchStatus::Failed | BatchStatus::Expired | BatchStatus::Cancelled
    );
    let lacks_all = !may_have_none && !has_files;
    match lacks_output || lacks_all {
        true => Verdict::LookAgain(end),
        false => Verdict::Ended(end),
    }
}

/// Whether a shard over this limit may do better later or in pieces.
pub(crate) fn has_another_way(shard: &Shard, limit: Limit) -> bool {
    match limit {
        Limit::Enqueued(_) => true,
        Limit::Lines(_) => shard.lines > 1,
    }
}

/// Lines that the files of a batch should have: all of one that is done, else what it has counted.
pub(crate) fn lines_due(end: &End, lines: u64) -> u64 {
    match end.status.as_str() {
        "completed" => lines,
        _ => end.counted.min(lines),
    }
}

/// A status that nobody knows is the end where everything else says so: otherwise it would be
/// waited for for ever.
fn is_over(batch: &Batch, status: &BatchStatus, profile: &Profile, now: i64) -> bool {
    if !matches!(status, BatchStatus::Other(_)) {
        return false;
    }
    let times = [
        batch.completed_at,
        batch.failed_at,
        batch.expired_at,
        batch.cancelled_at,
    ];
    // Twice the time after which it is cancelled for being late.
    let patience = 2 * profile.overdue_seconds.cast_signed();
    let overdue = profile.expires && batch.expires_at.is_some_and(|at| now > at + patience);
    times.iter().any(Option::is_some) || batch.output_file_id.is_some() || overdue
}

fn message_of(batch: &Batch) -> Option<String> {
    let first = batch.errors.as_ref()?.data.first()?;
    let parts = [first.code.as_deref(), first.message.as_deref()];
    let text: Vec<_> = parts.into_iter().flatten().collect();
    (!text.is_empty()).then(|| text.join(": "))
}

/// So many faults of single lines are kept in the ledger; a provider tells no more.
const MAX_FAULTS: usize = 1_000;

fn faults_of(batch: &Batch) -> Vec<(u64, String, String)> {
    let errors = batch.errors.iter().flat_map(|errors| &errors.data);
    errors
        .filter_map(|error| {
            let code = error
                .code
                .clone()
                .unwrap_or_else(|| "invalid_request".to_owned());
            let message = error.message.clone().unwrap_or_default();
            Some((error.line?, code, message))
        })
        .take(MAX_FAULTS)
        .collect()
}

fn first_code(batch: &Batch) -> Option<&str> {
    batch.errors.as_ref()?.data.first()?.code.as_deref()
}

/// What a batch failed for as a whole, and others like it would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hopeless {
    /// The provider does not have the model.
    Model,
    /// The account is out of money or quota.
    Account,
}

/// Whether a batch that failed before anything ran says that sending its lines again is of no use.
pub(crate) fn hopeless(end: &End) -> Option<Hopeless> {
    if end.status != "failed" || end.output_file.is_some() || end.error_file.is_some() {
        return None;
    }
    let code = end.message.as_ref()?.split(':').next()?.to_lowercase();
    if code.contains("model") {
        return Some(Hopeless::Model);
    }
    (code.contains("quota") || code.contains("billing")).then_some(Hopeless::Account)
}

/// What a create that did not give a batch means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There may be a batch.
    Unknown,
    /// It is over a limit of the provider's.
    Over { why: String, limit: Limit },
    /// It passes by itself.
    Passing(Option<Duration>),
    /// The input file is not there any more.
    FileGone,
    /// For good.
    Final,
}

/// Reads the error of a create.
pub(crate) fn refusal(error: &DittoError) -> Refusal {
    if error.outcome_unknown() {
        return Refusal::Unknown;
    }
    if let DittoError::Api {
        code,
        message,
        param,
        status,
        ..
    } = error
    {
        if let Some(limit) = limits::named(code.as_deref(), message) {
            let why = message.clone();
            return Refusal::Over { why, limit };
        }
        let about_file = param.as_deref().is_some_and(|param| param.contains("file"))
            || message.to_lowercase().contains("file not found");
        if *status == 404 && about_file {
            return Refusal::FileGone;
        }
    }
    match error.is_transient() {
        true => Refusal::Passing(error.retry_after()),
        false => Refusal::Final,
    }
}

/// Seconds before the next look at a batch that has been open for so long.
pub(crate) fn poll_pause(profile: &Profile, open_for: i64, jitter: f64) -> i64 {
    let longest = if open_for < 3600 { 60 } else { 120 };
    let grown = (open_for / 3).min(longest);
    let seconds = grown.max(profile.poll_seconds.cast_signed()) as f64;
    ((seconds * (1.0 + 0.4 * jitter.clamp(0.0, 1.0))).round() as i64).max(1)
}

/// Answers in a row that cannot be read before they are taken for what the provider always says: a
/// quarter of an hour of them.
const MAX_UNREADABLE: u32 = 8;

/// Whether a call that failed may go well later, for the nth time. A status of 200 with something else than
/// an answer behind it comes from a gateway on a bad day; of uploads and looks nothing is bought.
pub(crate) fn may_pass(error: &DittoError, times: u32) -> bool {
    match error {
        DittoError::InvalidResponse(_) => times < MAX_UNREADABLE,
        _ => error.is_transient(),
    }
}

/// Seconds before a call that failed in passing is tried again, for the nth time. With five at first, no
/// more than five minutes.
pub(crate) fn weather_pause(profile: &Profile, times: u32, asked: Option<Duration>) -> i64 {
    let first = profile.retry_seconds.cast_signed();
    let asked = asked.map_or(0, |asked| asked.as_secs().min(86_400).cast_signed());
    (first << times.min(6)).min(first * 60).max(asked)
}

/// Providers keep results for weeks: a file that is gone within a day was lost by the provider, and its lines
/// go out again. Later it may have had its time, and whether to pay again is for a person to say.
const KEPT_SECONDS: i64 = 86_400;

/// Whether results that are gone were lost by the provider, at no fault of whoever comes for them.
pub(crate) fn lost_them(end: &End, now: i64) -> bool {
    end.at.is_some_and(|at| now - at < KEPT_SECONDS)
}

/// Seconds before a batch that does not agree with itself is looked at again, within its grace.
pub(crate) fn second_look_pause(profile: &Profile) -> i64 {
    (profile.grace_seconds / 15).clamp(1, 20).cast_signed()
}

/// Seconds before files that lack lines are downloaded again, which may be gigabytes.
pub(crate) fn second_download_pause(profile: &Profile) -> i64 {
    (profile.grace_seconds / 5).clamp(1, 60).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::Form;
    use crate::wire::{BatchError, BatchErrors, BatchRequestCounts};

    fn shard(number: u32) -> Shard {
        Shard {
            number,
            round: 1,
            model: Some("m".into()),
            first_line: 1,
            last_line: 1,
            lines: 1,
            bytes: 1,
            runs: 1,
            tokens: 100,
            hash: String::new(),
            form: Form::AsItIs,
            canary: false,
        }
    }

    fn open() -> State {
        State::Open {
            file: "f".into(),
            batch: "b".into(),
            since: 0,
        }
    }

    fn turn(states: &[(State, i64)], room: &Room) -> Turn {
        let shards: Vec<_> = (1..).take(states.len()).map(shard).collect();
        let all: Vec<_> = shards
            .iter()
            .zip(states)
            .map(|(shard, (state, not_before))| Standing {
                shard,
                state,
                not_before: *not_before,
            })
            .collect();
        next(&all, room, 50)
    }

    #[test]
    fn an_answer_that_cannot_be_read_may_pass_and_not_for_ever() {
        let unreadable = DittoError::InvalidResponse("no batch".into());
        assert!(may_pass(&unreadable, 0));
        assert!(!may_pass(&unreadable, MAX_UNREADABLE));
    }

    #[test]
    fn what_is_furthest_goes_first_and_nothing_before_its_time() {
        let room = Room::default();
        let uploaded = State::Uploaded { file: "f".into() };
        assert_eq!(
            turn(&[(State::Planned, 0), (uploaded, 0)], &room),
            Turn::Create(2)
        );
        assert_eq!(
            turn(&[(State::Planned, 0), (open(), 0)], &room),
            Turn::Poll(2)
        );
        assert_eq!(
            turn(&[(State::Planned, 0), (open(), 60)], &room),
            Turn::Upload(1)
        );
        assert_eq!(
            turn(&[(open(), 70), (open(), 60)], &room),
            Turn::WaitUntil(60)
        );
        assert_eq!(turn(&[(State::Dissolved, 0)], &room), Turn::RoundOver);
    }

    #[test]
    fn a_wait_says_what_it_is_for() {
        let why = |states: &[State], room: &Room, away_for| {
            let shards: Vec<_> = (1..).take(states.len()).map(shard).collect();
            let standing = |(shard, state)| Standing {
                shard,
                state,
                not_before: 0,
            };
            let all: Vec<_> = shards.iter().zip(states).map(standing).collect();
            why_waiting(&all, room, 50, away_for)
        };
        let full = Room {
            max_tokens: Some(100),
            full_until: 90,
            ..Room::default()
        };
        assert_eq!(why(&[open(), open()], &Room::default(), None), "2 open");
        let two = [open(), State::Planned];
        assert_eq!(
            why(&two, &full, None),
            "1 open, 1 to be sent: the provider is full (its limit is 100 enqueued tokens)"
        );
        assert_eq!(
            why(&two, &full, Some(90)),
            "the provider has been away for 90 s"
        );
        let lost = State::Creating {
            file: "f".into(),
            at: 0,
        };
        assert!(why(&[lost], &full, None).starts_with("looking for a batch"));
    }

    #[test]
    fn nothing_is_sent_past_what_the_provider_takes_at_once() {
        let two = [(State::Planned, 0), (open(), 60)];
        let batches = Room {
            max_open: Some(1),
            ..Room::default()
        };
        assert_eq!(turn(&two, &batches), Turn::WaitUntil(60));
        let tokens = |max_tokens| Room {
            max_tokens: Some(max_tokens),
            ..Room::default()
        };
        assert_eq!(turn(&two, &tokens(199)), Turn::WaitUntil(60));
        assert_eq!(turn(&two, &tokens(200)), Turn::Upload(1));
        // With nothing enqueued only the provider knows.
        assert_eq!(turn(&two[..1], &tokens(1)), Turn::Upload(1));
        let full = Room {
            full_until: 55,
            ..Room::default()
        };
        assert_eq!(turn(&two, &full), Turn::WaitUntil(55));
    }

    #[test]
    fn a_canary_goes_first_and_alone() {
        let (mut canary, other) = (shard(2), shard(1));
        canary.canary = true;
        let at = |canary_state: &State, time| {
            let all = [
                Standing {
                    shard: &other,
                    state: &State::Planned,
                    not_before: 0,
                },
                Standing {
                    shard: &canary,
                    state: canary_state,
                    not_before: 0,
                },
            ];
            next(&all, &Room::default(), time)
        };
        assert_eq!(at(&State::Planned, 0), Turn::Upload(2));
        assert_eq!(at(&open(), 0), Turn::Poll(2));
        assert_eq!(at(&State::Dissolved, 0), Turn::Upload(1));
    }

    fn batch(status: &str) -> Batch {
        Batch {
            status: BatchStatus::from(status),
            ..Batch::default()
        }
    }

    fn failed(code: &str, message: &str, line: Option<u64>) -> Batch {
        let error = BatchError {
            code: Some(code.into()),
            message: Some(message.into()),
            param: None,
            line,
        };
        Batch {
            errors: Some(BatchErrors {
                object: None,
                data: vec![error],
            }),
            ..batch("failed")
        }
    }

    fn verdict(batch: &Batch) -> Verdict {
        judge(batch, &Profile::default(), 1_000_000)
    }

    #[test]
    fn a_batch_has_ended_when_it_says_so_in_any_words() {
        for word in ["expired", "cancelled", "failed", "CANCELED"] {
            assert!(matches!(verdict(&batch(word)), Verdict::Ended(_)), "{word}");
        }
        for word in [
            "validating",
            "in_progress",
            "finalizing",
            "cancelling",
            "a new word",
        ] {
            assert_eq!(verdict(&batch(word)), Verdict::Wait, "{word}");
        }
        let stamped = Batch {
            completed_at: Some(5),
            ..batch("a new word")
        };
        assert!(matches!(verdict(&stamped), Verdict::LookAgain(_)));
        let overdue = Batch {
            expires_at: Some(900_000),
            ..batch("a new word")
        };
        assert!(matches!(verdict(&overdue), Verdict::LookAgain(_)));
        let late = Batch {
            expires_at: Some(900_000),
            ..batch("in_progress")
        };
        assert_eq!(verdict(&late), Verdict::Wait);
    }

    #[test]
    fn a_batch_that_does_not_agree_with_itself_is_looked_at_again() {
        assert!(matches!(
            verdict(&batch("completed")),
            Verdict::LookAgain(_)
        ));
        let counts = BatchRequestCounts {
            total: 9,
            completed: 9,
            failed: 0,
        };
        let no_output = Batch {
            request_counts: Some(counts),
            error_file_id: Some("e".into()),
            ..batch("completed")
        };
        assert!(matches!(verdict(&no_output), Verdict::LookAgain(_)));
        let whole = Batch {
            output_file_id: Some("o".into()),
            ..no_output
        };
        assert!(matches!(verdict(&whole), Verdict::Ended(_)));
    }

    #[test]
    fn a_batch_over_a_limit_is_no_failure_and_teaches_it() {
        let full = "Enqueued token limit reached. Limit: 2,000,000 enqueued tokens.";
        let told = |code: &str, message: &str| match verdict(&failed(code, message, None)) {
            Verdict::Over { limit, .. } => limit,
            other => panic!("{message}: {other:?}"),
        };
        assert_eq!(
            told("token_limit_exceeded", full),
            Limit::Enqueued(Some(2_000_000))
        );
        assert_eq!(
            told("too_many_tasks", "300 lines, too many."),
            Limit::Lines(None)
        );
    }

    #[test]
    fn a_batch_that_fails_for_its_model_or_for_money_is_hopeless_and_another_is_not() {
        let told = |code: &str| match verdict(&failed(code, "why", None)) {
            Verdict::Ended(end) => hopeless(&end),
            other => panic!("{code}: {other:?}"),
        };
        assert_eq!(told("model_not_found"), Some(Hopeless::Model));
        assert_eq!(told("billing_hard_limit_reached"), Some(Hopeless::Account));
        assert_eq!(told("insufficient_quota"), Some(Hopeless::Account));
        assert_eq!(told("server_error"), None);
    }

    #[test]
    fn a_batch_that_ended_early_should_have_the_lines_that_it_has_counted() {
        let end = |status: &str, counted| End {
            status: status.into(),
            counted,
            ..End::default()
        };
        let table = [
            ("completed", 0, 9),
            ("expired", 5, 5),
            ("failed", 0, 0),
            ("cancelled", 99, 9),
        ];
        for (status, counted, due) in table {
            assert_eq!(lines_due(&end(status, counted), 9), due, "{status}");
        }
    }

    #[test]
    fn results_that_are_gone_are_the_provider_s_loss_only_for_a_day() {
        let end = |at| End {
            at,
            ..End::default()
        };
        assert!(lost_them(&end(Some(1_000)), 2_000));
        assert!(!lost_them(&end(Some(1_000)), 1_000 + KEPT_SECONDS));
        assert!(!lost_them(&end(None), 2_000));
    }

    #[test]
    fn what_is_wrong_with_single_lines_is_kept() {
        let Verdict::Ended(end) = verdict(&failed("model_not_found", "no such", Some(3))) else {
            panic!("it has ended");
        };
        assert_eq!(
            end.faults,
            [(3, "model_not_found".to_owned(), "no such".to_owned())]
        );
        assert_eq!(end.message.as_deref(), Some("model_not_found: no such"));
    }

    #[test]
    fn pauses_grow_and_keep_to_what_the_provider_asks() {
        let profile = Profile {
            poll_seconds: 10,
            ..Profile::default()
        };
        let pause = |open_for| poll_pause(&profile, open_for, 0.0);
        assert_eq!(
            [pause(0), pause(90), pause(600), pause(9_000)],
            [10, 30, 60, 120]
        );
        assert_eq!(
            [
                weather_pause(&profile, 0, None),
                weather_pause(&profile, 3, None),
                weather_pause(&profile, 99, None)
            ],
            [5, 40, 300]
        );
        let asked = Some(Duration::from_secs(700));
        assert_eq!(weather_pause(&profile, 0, asked), 700);
        let looks = [second_look_pause, second_download_pause];
        assert_eq!(looks.map(|pause| pause(&profile)), [20, 60]);
        let quick = Profile {
            grace_seconds: 3,
            ..profile
        };
        assert_eq!(looks.map(|pause| pause(&quick)), [1, 1]);
    }
}
