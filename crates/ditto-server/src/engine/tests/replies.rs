//! What becomes of a line after each kind of reply.

use std::time::Duration;

use serde_json::json;

use super::rig::{Left, Rig, code, line_id, number, prompts};

/// Few attempts, a short time-out, and a lane that loses patience at once.
async fn rig() -> Rig {
    Rig::with(
        |_| {},
        |config| {
            config.sending.attempts = 2;
            config.sending.timeout = Duration::from_millis(400);
            config.sending.patience = Duration::from_millis(400);
            config.limits.answer_bytes = 20_000;
        },
    )
    .await
}

/// By line: `ok`, or its code.
fn fates(left: &Left) -> Vec<String> {
    let ok = left
        .output
        .iter()
        .map(|line| (number(line), "ok".to_owned()));
    let mut all: Vec<_> = ok
        .chain(left.errors.iter().map(|l| (number(l), code(l))))
        .collect();
    all.sort();
    all.into_iter().map(|(_, fate)| fate).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_in_time_is_answered() {
    let rig = rig().await;
    let scripts = [
        "sim: 429x2 then ok",
        "sim: 429x1 retry-after 50ms then ok",
        "sim: 500 then ok",
        "sim: 408 then ok",
        "sim: hang then ok",
        "sim: reset then ok",
        "sim: cut then ok",
        "sim: garbage then ok",
        "sim: empty then ok",
        "sim: 503 then ok",
    ];
    let id = rig.submit(&prompts(&scripts)).await;
    let left = rig.ended(&id).await;
    left.is_conserved(scripts.len());
    assert_eq!(fates(&left), ["ok"; 10]);
    assert_eq!(rig.sim.stats().answered_more_than_once, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pass_ends_with_the_last_thing_heard() {
    let rig = rig().await;
    let cases = [
        ("sim: 500", "500"),
        ("sim: 503", "503"),
        ("sim: hang", "upstream_timeout"),
        ("sim: reset", "upstream_unreachable"),
        ("sim: cut", "upstream_unreachable"),
        ("sim: garbage", "upstream_invalid_response"),
        ("sim: empty", "upstream_invalid_response"),
        ("sim: body 64kb", "answer_too_large"),
        ("sim: 400", "400"),
        ("sim: 404", "404"),
        ("sim: 422", "422"),
        ("say", "ok"),
    ];
    let (scripts, expected): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    let id = rig.submit(&prompts(&scripts)).await;
    let left = rig.ended(&id).await;
    left.is_conserved(scripts.len());
    assert_eq!(fates(&left), expected);
    // What the line is charged for is asked as often as there are attempts, what is final once.
    let asked = |n| rig.sim.asked(&line_id(&id, n));
    assert_eq!([1, 6, 7].map(asked), [2, 2, 2]);
    assert_eq!([8, 9, 10, 11, 12].map(asked), [1; 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_line_shows_the_answer_that_there_was() {
    let rig = rig().await;
    let scripts = [
        "sim: 400",
        "sim: garbage",
        "sim: empty",
        "sim: body 64kb",
        "sim: 500 plain",
    ];
    let id = rig.submit(&prompts(&scripts)).await;
    let left = rig.ended(&id).await;
    let [refused, garbage, empty, large, plain] = &left.errors[..] else {
        panic!("{left:?}")
    };

    assert!(refused["error"].is_null());
    assert!(refused["response"]["body"]["error"]["message"].is_string());
    assert_eq!(garbage["response"]["status_code"], 200);
    assert!(garbage["response"]["body"]["base64"].is_string());
    assert_eq!(empty["response"]["body"], json!(""));
    assert_eq!(large["response"]["status_code"], 200);
    let head = large["response"]["body"].as_str().unwrap();
    assert!(
        head.starts_with("{\"id\":") && head.len() <= 64 * 1024,
        "its first bytes are kept"
    );
    assert_eq!(plain["response"]["status_code"], 500);
    assert!(plain["response"]["body"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_are_read_and_recorded_as_small_ones_are() {
    let rig = Rig::with(|_| {}, |config| config.sending.attempts = 1).await;
    let scripts = [
        "sim: body 3mb",
        "say",
        "sim: 400 body 2mb",
        "sim: body 1500kb",
    ];
    let id = rig.submit(&prompts(&scripts)).await;
    let left = rig.ended(&id).await;
    left.is_conserved(scripts.len());
    assert_eq!(left.codes(), ["400"]);
    let large = &left.output[0]["response"]["body"];
    assert!(large["padding"].as_str().unwrap().len() > 2_900_000);
    assert_eq!(large["object"], "chat.completion");
    let usage = left.batch.usage.unwrap();
    assert!(usage.total_tokens >= large["usage"]["total_tokens"].as_u64().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_waits_for_its_retry_holds_no_slot() {
    let rig = Rig::with(
        |_| {},
        |config| config.upstreams[0].concurrency = crate::config::Concurrency::Fixed(1),
    )
    .await;
    let mut scripts = vec!["sim: 429 retry-after 3 then ok"];
    scripts.extend(["say"; 50]);
    let id = rig.submit(&prompts(&scripts)).await;
    super::rig::until(rig.service(), "the others are answered", async || {
        (rig.sim.stats().answered >= 50).then_some(())
    })
    .await;
    assert_eq!(
        rig.sim.asked(&line_id(&id, 1)),
        1,
        "its time has not come yet"
    );
    rig.ended(&id).await.is_conserved(51);
}
