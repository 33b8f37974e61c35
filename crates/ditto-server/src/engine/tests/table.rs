//! The table of what becomes of a line: every status with every kind of body, and every way of not
//! answering, over real connections. What the policy makes of each is a table beside it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::rig::{Left, Rig, line_for, number};
use super::scripted::{self, BODIES};
use crate::config::UpstreamConfig;
use crate::model::policy::Body;

/// One line of the table: the model that it asks, its script, and how it must end.
struct Case {
    model: String,
    script: String,
    ending: Ending,
}

/// How a line ends.
#[derive(Debug, Clone, PartialEq)]
enum Ending {
    /// The output file.
    Answer { status: u16, body: Value },
    /// The error file, with the answer as it was and no `error`.
    Refused { status: u16, body: Value },
    /// The error file, with an answer that nobody can use and the code of an `error`.
    Unusable {
        status: u16,
        body: Value,
        code: String,
    },
    /// The error file, without an answer.
    Silent { code: String },
}

fn unusable(status: u16, body: Value, code: &str) -> Ending {
    let code = code.to_owned();
    Ending::Unusable { status, body, code }
}

fn silent(code: &str) -> Ending {
    Ending::Silent {
        code: code.to_owned(),
    }
}

/// How line by line the batch ended.
fn endings(left: &Left) -> BTreeMap<u64, Ending> {
    let all = left.output.iter().map(|line| (true, line));
    let all = all.chain(left.errors.iter().map(|line| (false, line)));
    all.map(|(is_output, line)| (number(line), ending(is_output, line)))
        .collect()
}

fn ending(is_output: bool, line: &Value) -> Ending {
    let code = line["error"]["code"].as_str().map(str::to_owned);
    if let Some(sentence) = line["error"]["message"].as_str() {
        assert!(sentence.len() > 20, "an error says what happened: {line}");
    }
    let Some(status) = line["response"]["status_code"].as_u64() else {
        assert!(!is_output && line["response"].is_null(), "{line}");
        return Ending::Silent {
            code: code.unwrap(),
        };
    };
    assert!(line["response"]["request_id"].is_string(), "{line}");
    let (status, body) = (status as u16, line["response"]["body"].clone());
    match (is_output, code) {
        (true, None) => Ending::Answer { status, body },
        (false, None) => Ending::Refused { status, body },
        (false, Some(code)) if code == "answer_too_large" => {
            let head = body.as_str().unwrap();
            assert!(
                (20_000..=64 * 1024).contains(&head.len()),
                "{} bytes",
                head.len()
            );
            unusable(status, Value::Null, &code)
        }
        (false, Some(code)) => Ending::Unusable { status, body, code },
        (true, Some(code)) => panic!("an answer with an error {code}: {line}"),
    }
}

/// How an answer must end: DESIGN's table in code, written down a second time.
fn expected(status: u16, body: Body, bytes: &[u8]) -> Ending {
    // These have no body, whatever stands behind them.
    let (body, bytes) = match status {
        101 | 204 | 304 => (Body::Empty, &b""[..]),
        _ => (body, bytes),
    };
    let shown = match (body, std::str::from_utf8(bytes)) {
        (Body::Json | Body::ApiError, _) => serde_json::from_slice(bytes).unwrap(),
        (Body::Empty | Body::Other, Ok(text)) => json!(text),
        (Body::Empty | Body::Other, Err(_)) => json!({"base64": "//4A"}),
    };
    let is_json = matches!(body, Body::Json | Body::ApiError);
    match status {
        // Not a final answer: it is waited for one, and the connection ends.
        100 | 102..=199 => silent("upstream_unreachable"),
        200..=299 if is_json => Ending::Answer {
            status,
            body: shown,
        },
        // Final at once, whatever the body.
        101 | 400 | 406 | 411..=424 | 426..=428 | 430..=499 => Ending::Refused {
            status,
            body: shown,
        },
        _ if is_json => Ending::Refused {
            status,
            body: shown,
        },
        _ => unusable(status, shown, "upstream_invalid_response"),
    }
}

/// Lines that pause their lane are kept apart from those that do not; a refusal by name ends a pause,
/// so each of those has a lane of its own.
fn model(status: u16, kind: &str) -> String {
    match status {
        401..=405 | 407 | 410 => format!("m-{status}-{kind}"),
        300..=399 | 501..=504 | 529 => format!("m-{status}"),
        _ => "m".to_owned(),
    }
}

/// Two attempts, and lanes that lose patience at once: nothing waits for an outage to end.
async fn run(cases: Vec<Case>, timeout: Duration) {
    let (base, nobody) = (scripted::start().await, scripted::nobody().await);
    let secure = base.replacen("http:", "https:", 1);
    let rig = Rig::with(
        |_| {},
        |config| {
            config.upstreams[0] = UpstreamConfig {
                models: Some(vec!["*".to_owned()]),
                ..UpstreamConfig::new("scripted", base)
            };
            let others =
                [("nobody", nobody), ("secure", secure)].map(|(name, url)| UpstreamConfig {
                    models: Some(vec![name.to_owned()]),
                    ..UpstreamConfig::new(name, url)
                });
            config.upstreams.extend(others);
            config.sending.attempts = 2;
            config.sending.timeout = timeout;
            config.sending.patience = Duration::from_millis(100);
            config.limits.answer_bytes = 20_000;
        },
    )
    .await;
    let file = (1..)
        .zip(&cases)
        .map(|(n, case)| line_for(&case.model, n, &case.script));
    let id = rig.submit(file.collect::<String>().as_bytes()).await;
    let left = rig.ended(&id).await;
    left.is_conserved(cases.len());
    let seen = endings(&left);
    let wrong: Vec<_> = (1..)
        .zip(&cases)
        .filter(|(n, case)| seen[n] != case.ending)
        .map(|(n, case)| format!("{}: {:?} and not {:?}", case.script, seen[&n], case.ending))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_status_with_every_kind_of_body_ends_as_the_table_says() {
    let cases = (100..=599).flat_map(|status| {
        BODIES.iter().map(move |(kind, body, bytes)| Case {
            model: model(status, kind),
            script: format!("status {status} {kind}"),
            ending: expected(status, *body, bytes),
        })
    });
    // All of them answer or close: whoever is slow to do so is not away.
    run(cases.collect(), Duration::from_secs(30)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_of_not_answering_ends_as_the_table_says() {
    let too_large = unusable(200, Value::Null, "answer_too_large");
    let cases = [
        ("never", "m", silent("upstream_timeout")),
        ("head", "m", silent("upstream_timeout")),
        ("half", "m", silent("upstream_timeout")),
        ("close", "m", silent("upstream_unreachable")),
        ("reset", "m", silent("upstream_unreachable")),
        ("cut", "m", silent("upstream_unreachable")),
        ("cut-chunks", "m", silent("upstream_unreachable")),
        ("no-http", "m", silent("upstream_unreachable")),
        ("status 200 json", "nobody", silent("upstream_unreachable")),
        ("status 200 json", "secure", silent("upstream_unreachable")),
        ("large 20001", "m", too_large.clone()),
        ("large-chunks", "m", too_large),
    ];
    let cases = cases.map(|(script, model, ending)| Case {
        model: model.to_owned(),
        script: script.to_owned(),
        ending,
    });
    run(cases.into(), Duration::from_secs(1)).await;
}
