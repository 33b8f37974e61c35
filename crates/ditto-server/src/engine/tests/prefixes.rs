//! Lines that begin alike, before an upstream that keeps the beginnings of prompts.

use std::time::Instant;

use serde_json::json;

use super::rig::{CHAT, Rig};
use crate::config::Concurrency;

/// More prefixes in turn than the upstream keeps.
const PREFIXES: usize = 8;
const KEPT: usize = 4;

/// So many lines, of each prefix in turn; `shared` false: each has a beginning of its own.
fn file(count: usize, shared: bool) -> Vec<u8> {
    let line = |n: usize| {
        let about = if shared { n % PREFIXES } else { n };
        let system = format!("You know all about number {about}. ").repeat(30);
        let messages = json!([
            {"role": "system", "content": system},
            {"role": "user", "content": format!("question {n}")},
        ]);
        let request = json!({
            "custom_id": format!("c-{n}"), "method": "POST", "url": CHAT,
            "body": {"model": "m", "messages": messages},
        });
        format!("{request}\n")
    };
    (0..count).map(line).collect::<String>().into_bytes()
}

/// The share of lines whose beginning was known, and the seconds that all took.
async fn run(count: usize, shared: bool, prefix_order: Option<bool>) -> (f64, f64) {
    let rig = Rig::with(
        |sim| {
            sim.prefix_cache = KEPT;
            sim.latency = "10ms".parse().unwrap();
        },
        |config| {
            config.upstreams[0].concurrency = Concurrency::Fixed(64);
            config.upstreams[0].prefix_order = prefix_order;
        },
    )
    .await;
    let lines = file(count, shared);
    let begun = Instant::now();
    let id = rig.submit(&lines).await;
    let left = rig.ended(&id).await;
    let took = begun.elapsed().as_secs_f64();
    left.is_conserved(count);
    assert_eq!(left.output.len(), count);
    let stats = rig.sim.stats();
    assert_eq!(stats.answered_more_than_once, 0);
    (stats.prefix_hits as f64 / count as f64, took)
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_eight_prefixes_in_turn_find_theirs_known() {
    const LINES: usize = 8_000;
    let (as_they_stand, _) = run(LINES, true, Some(false)).await;
    assert!(as_they_stand < 0.2, "{as_they_stand:.3}");
    let (together, _) = run(LINES, true, Some(true)).await;
    assert!(together > 0.9, "{together:.3}");
    // Once its answers tell of it, whatever was read before.
    let (as_shipped, _) = run(LINES, true, None).await;
    assert!(as_shipped > 0.9, "{as_shipped:.3}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long form: 20,000 lines, and a time that is held against another"]
async fn where_nothing_is_shared_nothing_is_slower() {
    let (hits, _) = run(20_000, true, None).await;
    assert!(hits > 0.9, "{hits:.3}");
    let mut ratios = Vec::new();
    for _ in 0..3 {
        let (_, without) = run(20_000, false, Some(false)).await;
        let (_, with) = run(20_000, false, Some(true)).await;
        ratios.push(without / with);
    }
    ratios.sort_by(f64::total_cmp);
    assert!(ratios[1] > 0.95, "{ratios:?} of the speed");
}
