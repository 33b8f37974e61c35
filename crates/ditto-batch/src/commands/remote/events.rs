//! What happens to a job, for programs: one JSON object each, with `event`, `time`, `job` and the ids.

use ditto_llm::jobs::{Event, Shard, State};
use serde_json::{Value, json};

/// An event as it is told. `None` for those that this version has no words for.
pub(super) fn told(event: &Event<'_>) -> Option<Value> {
    Some(match event {
        Event::Stepped { shard, state } => stepped(shard, state),
        Event::Polled { shard, batch } => json!({
            "event": "batch",
            "shard": shard.number,
            "batch": batch.id,
            "status": batch.status,
            "counts": batch.request_counts,
        }),
        Event::Weather { what, error } => json!({
            "event": "weather",
            "what": what,
            "error": first_line(&error.to_string()),
        }),
        Event::Waiting { time, why } => json!({
            "event": "waiting",
            "seconds": time.as_secs(),
            "why": why,
        }),
        Event::Refused { shard, why } => json!({
            "event": "refused",
            "shard": shard.number,
            "why": first_line(why),
        }),
        Event::Cancelled { shard, batch } => json!({
            "event": "cancelled",
            "shard": shard.number,
            "batch": batch,
        }),
        Event::Round { number, lines } => json!({
            "event": "round",
            "round": number,
            "lines": lines,
        }),
        _ => return None,
    })
}

fn stepped(shard: &Shard, state: &State) -> Value {
    let mut told = about(shard, state);
    told["event"] = "shard".into();
    told
}

/// A shard as it stands, with all that is known by a name.
pub(crate) fn about(shard: &Shard, state: &State) -> Value {
    let mut told = json!({
        "shard": shard.number,
        "round": shard.round,
        "lines": shard.lines,
        "model": shard.model,
        "state": state.name(),
    });
    let mut add = |name: &str, value: Value| told[name] = value;
    match state {
        State::Planned | State::Uploading | State::Dissolved => {}
        State::Uploaded { file } => add("file", json!(file)),
        State::Creating { file, at } => {
            add("file", json!(file));
            add("since", json!(at));
        }
        State::Open { file, batch, since } => {
            add("file", json!(file));
            add("batch", json!(batch));
            add("since", json!(since));
        }
        State::Stuck { file, at, why } => {
            add("file", json!(file));
            add("since", json!(at));
            add("why", json!(why));
        }
        State::Ended { file, batch, end } => {
            add("file", json!(file));
            add("batch", json!(batch));
            add("end", json!(end));
        }
        State::Fetched {
            file,
            batch,
            end,
            raw,
        } => {
            add("file", json!(file));
            add("batch", json!(batch));
            add("end", json!(end));
            add("raw", json!(raw));
        }
        State::Joined {
            file,
            batch,
            end,
            raw,
            joined,
        } => {
            add("file", json!(file));
            add("batch", json!(batch));
            add("end", json!(end));
            add("raw", json!(raw));
            add("answered", json!(joined.answered()));
            add("joined", json!(joined));
        }
    }
    told
}

/// The hints of an error are about one call; these are about a job.
pub(crate) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
