//! The simulator as a client sees it, over a plain socket.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io;
use std::time::{Duration, Instant};

use ditto_sim::{Sim, SimConfig, Stats};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CHAT: &str = "/v1/chat/completions";

fn sim(config: SimConfig) -> Sim {
    Sim::start(config).unwrap()
}

fn plain_sim() -> Sim {
    sim(SimConfig::default())
}

fn failing_sim(faults: &str, seed: u64) -> Sim {
    sim(SimConfig {
        faults: faults.parse().unwrap(),
        seed,
        ..SimConfig::default()
    })
}

fn chat(text: &str) -> String {
    let content = serde_json::to_string(text).unwrap();
    format!(r#"{{"model":"demo-small","messages":[{{"role":"user","content":{content}}}]}}"#)
}

/// What came back before the connection ended.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn said(&self) -> String {
        self.json()["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn is_whole(&self) -> bool {
        self.header("content-length").unwrap() == self.body.len().to_string()
    }
}

/// One request in the making.
struct Ask<'a> {
    sim: &'a Sim,
    head: String,
    body: String,
}

fn post<'a>(sim: &'a Sim, path: &str, body: impl Into<String>) -> Ask<'a> {
    let body = body.into();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n"
    );
    Ask { sim, head, body }
}

fn get<'a>(sim: &'a Sim, path: &str) -> Ask<'a> {
    let head = format!("GET {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n");
    Ask {
        sim,
        head,
        body: String::new(),
    }
}

impl Ask<'_> {
    fn with(mut self, header: &str, value: &str) -> Self {
        self.head.push_str(&format!("{header}: {value}\r\n"));
        self
    }

    async fn open(&self) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.sim.addr()).await?;
        stream
            .write_all(format!("{}\r\n{}", self.head, self.body).as_bytes())
            .await?;
        Ok(stream)
    }

    async fn try_send(&self) -> io::Result<Seen> {
        let mut all = Vec::new();
        self.open().await?.read_to_end(&mut all).await?;
        let end = all.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let head = String::from_utf8(all[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Ok(Seen {
            status,
            head,
            body: all[end + 4..].to_vec(),
        })
    }

    async fn send(&self) -> Seen {
        self.try_send().await.unwrap()
    }
}

async fn scripted(sim: &Sim, script: &str) -> Seen {
    post(sim, CHAT, chat("hi"))
        .with("x-sim", script)
        .send()
        .await
}

async fn until(sim: &Sim, holds: impl Fn(&Stats) -> bool) {
    let wait = async {
        while !holds(&sim.stats()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .unwrap();
}

#[tokio::test]
async fn every_endpoint_answers_in_its_own_shape_and_says_that_it_is_simulated() {
    let sim = plain_sim();
    let cases = [
        (CHAT, chat("hi"), "/choices/0/message/role", "assistant"),
        (
            "/v1/completions",
            r#"{"model":"m","prompt":["a","b"]}"#.into(),
            "/object",
            "text_completion",
        ),
        (
            "/v1/responses",
            r#"{"model":"m","input":"hi"}"#.into(),
            "/output/0/content/0/type",
            "output_text",
        ),
        (
            "/v1/embeddings",
            r#"{"model":"m","input":["a","b"]}"#.into(),
            "/data/1/object",
            "embedding",
        ),
        (
            "/v1/moderations",
            r#"{"input":"a"}"#.into(),
            "/model",
            "demo-moderation",
        ),
    ];
    for (path, body, pointer, expected) in cases {
        let seen = post(&sim, path, body).send().await;
        assert_eq!(seen.status, 200, "{path}");
        assert_eq!(seen.json().pointer(pointer).unwrap(), expected, "{path}");
        assert_eq!(seen.json()["simulated"], true, "{path}");
        assert!(
            seen.json()["usage"]["total_tokens"].as_u64().unwrap() > 0,
            "{path}"
        );
        assert!(
            seen.header("x-request-id").unwrap().starts_with("req_sim_"),
            "{path}"
        );
    }
    let models = get(&sim, "/v1/models").send().await.json();
    assert_eq!(models["data"][0]["id"], "demo-small");
    assert_eq!(
        get(&sim, "/v1/models/demo-large").send().await.json()["id"],
        "demo-large"
    );
    assert_eq!(
        get(&sim, "/v1/models/nope").send().await.json()["error"]["code"],
        "model_not_found"
    );
}

#[tokio::test]
async fn an_answer_depends_on_the_body_alone() {
    let (one, other) = (plain_sim(), plain_sim());
    let first = post(&one, CHAT, chat("hi"))
        .with("idempotency-key", "a")
        .send()
        .await;
    let second = post(&other, CHAT, chat("hi"))
        .with("idempotency-key", "b")
        .send()
        .await;
    assert_eq!(first.body, second.body);
    assert_eq!(first.said(), "This is a simulated answer to: hi");

    let third = post(&one, CHAT, chat("ho")).send().await;
    assert_ne!(first.json()["id"], third.json()["id"]);
}

#[tokio::test]
async fn embeddings_are_unit_vectors_of_their_input() {
    let sim = plain_sim();
    let body = r#"{"model":"m","input":["a","b","a"],"dimensions":32}"#;
    let data = post(&sim, "/v1/embeddings", body).send().await.json()["data"].clone();
    assert_eq!(data[0]["embedding"], data[2]["embedding"]);
    assert_ne!(data[0]["embedding"], data[1]["embedding"]);
    let vector = data[0]["embedding"].as_array().unwrap();
    let length: f64 = vector.iter().map(|v| v.as_f64().unwrap().powi(2)).sum();
    assert_eq!(vector.len(), 32);
    assert!((length - 1.0).abs() < 0.001);
}

#[tokio::test]
async fn a_labelling_prompt_is_answered_with_exactly_one_of_its_labels() {
    let sim = plain_sim();
    let text = "Labels: games, net, python\n\nA library to parse TOML in Python.";
    assert_eq!(post(&sim, CHAT, chat(text)).send().await.said(), "python");

    // As Python's json module writes it.
    let escaped = r#"{"model":"m","messages":[{"role":"user","content":
        "\u6807\u7b7e\uff1a\u6b63\u9762\u3001\u8d1f\u9762\n\u5f88\u6ee1\u610f"}]}"#;
    assert_eq!(post(&sim, CHAT, escaped).send().await.said(), "正面");
}

#[tokio::test]
async fn a_share_of_every_status_is_answered_with_openais_envelope() {
    let codes = [
        (400, Some("invalid_value")),
        (401, Some("invalid_api_key")),
        (404, Some("model_not_found")),
        (422, None),
        (429, Some("rate_limit_exceeded")),
        (500, None),
        (503, Some("overloaded")),
    ];
    for (status, code) in codes {
        let sim = failing_sim(&format!("{status}:1"), 0);
        let seen = post(&sim, CHAT, chat("hi")).send().await;
        assert_eq!(seen.status, status);
        assert_eq!(seen.json()["error"]["code"].as_str(), code);
        assert!(
            seen.json()["error"]["message"]
                .as_str()
                .unwrap()
                .contains("Simulated")
        );
        assert_eq!(sim.stats().by_status[&status], 1);
        assert_eq!(sim.stats().answered, 0);
    }
}

#[tokio::test]
async fn faults_by_share_come_again_with_the_same_seed_only() {
    async fn statuses(seed: u64) -> Vec<u16> {
        let sim = failing_sim("400:0.2,429:0.2,500:0.1", seed);
        let mut statuses = Vec::new();
        for number in 0..60 {
            for _attempt in 0..2 {
                let key = format!("line-{number}");
                let ask = post(&sim, CHAT, chat("hi")).with("idempotency-key", &key);
                statuses.push(ask.send().await.status);
            }
        }
        statuses
    }
    let first = statuses(7).await;
    assert_eq!(first, statuses(7).await);
    assert_ne!(first, statuses(8).await);
    // A 400 is the line's own and stays; a 429 may pass.
    let pairs: Vec<_> = first.chunks(2).collect();
    assert!(
        pairs
            .iter()
            .all(|pair| (pair[0] == 400) == (pair[1] == 400))
    );
    assert!(pairs.iter().any(|pair| pair[0] == 429 && pair[1] == 200));
}

#[tokio::test]
async fn a_script_in_the_prompt_is_played_asking_by_asking() {
    let sim = plain_sim();
    let ask = post(&sim, CHAT, chat("sim: 429x2 then ok\nWhat is the time?"));
    let statuses = [
        ask.send().await.status,
        ask.send().await.status,
        ask.send().await.status,
    ];
    assert_eq!(statuses, [429, 429, 200]);
}

#[tokio::test]
async fn a_hang_keeps_the_connection_open_until_the_caller_leaves() {
    let sim = plain_sim();
    let mut stream = post(&sim, CHAT, chat("sim: hang")).open().await.unwrap();
    until(&sim, |stats| stats.by_fault.contains_key("hang")).await;
    let mut byte = [0];
    let read = stream.read(&mut byte);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), read)
            .await
            .is_err()
    );
    assert_eq!(sim.stats().in_flight, 1);

    drop(stream);
    until(&sim, |stats| stats.in_flight == 0).await;
    assert_eq!(sim.stats().peak_in_flight, 1);
}

#[tokio::test]
async fn a_reset_ends_the_connection_without_a_byte() {
    let sim = plain_sim();
    let error = post(&sim, CHAT, chat("sim: reset"))
        .try_send()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(sim.stats().by_fault["reset"], 1);
}

#[tokio::test]
async fn a_cut_answer_is_half_of_what_was_announced() {
    let sim = plain_sim();
    let ask = post(&sim, CHAT, chat("sim: cut then ok"));
    let half = ask.send().await;
    let whole = ask.send().await;
    assert_eq!((half.status, half.is_whole()), (200, false));
    assert!(!half.body.is_empty() && whole.body.starts_with(&half.body));
    assert_eq!(
        half.header("content-length"),
        whole.header("content-length")
    );
    assert!(whole.is_whole());
    assert_eq!(sim.stats().answered, 1);
}

#[tokio::test]
async fn a_cut_answer_of_any_size_is_half_of_it() {
    let sim = plain_sim();
    let half = scripted(&sim, "cut body 3mb").await;
    assert_eq!(half.header("content-length"), Some("3000000"));
    assert_eq!(half.body.len(), 1_500_000);
}

#[tokio::test]
async fn an_answer_in_chunks_says_no_length_and_a_cut_one_has_no_end() {
    let sim = plain_sim();
    let whole = scripted(&sim, "body 3mb chunked").await;
    let half = scripted(&sim, "cut body 3mb chunked").await;
    for seen in [&whole, &half] {
        assert_eq!(seen.header("transfer-encoding"), Some("chunked"));
        assert_eq!(seen.header("content-length"), None);
    }
    let end = b"\r\n0\r\n\r\n";
    assert!(whole.body.len() > 3_000_000 && whole.body.ends_with(end));
    assert!(half.body.len() > 1_500_000 && half.body.len() < 1_600_000);
    assert!(!half.body.ends_with(end));
}

#[tokio::test]
async fn garbage_is_neither_json_nor_text_and_empty_is_nothing() {
    let sim = plain_sim();
    let garbage = scripted(&sim, "garbage").await;
    assert_eq!(garbage.status, 200);
    assert!(std::str::from_utf8(&garbage.body).is_err());

    let empty = scripted(&sim, "empty").await;
    assert_eq!((empty.status, empty.body.len()), (200, 0));
    assert_eq!(sim.stats().answered, 0);
}

#[tokio::test]
async fn retry_after_is_told_in_seconds_and_where_finer_in_milliseconds_too() {
    let sim = plain_sim();
    let seven = scripted(&sim, "retry-after 7").await;
    assert_eq!(
        (seven.status, seven.header("retry-after")),
        (429, Some("7"))
    );
    assert_eq!(seven.header("retry-after-ms"), None);

    let fine = scripted(&sim, "503 retry-after 50ms").await;
    assert_eq!(
        (fine.status, fine.header("retry-after-ms")),
        (503, Some("50"))
    );
    assert_eq!(fine.header("retry-after"), Some("1"));
    assert_eq!(scripted(&sim, "429").await.header("retry-after"), None);
}

#[tokio::test]
async fn the_retry_after_of_the_settings_goes_with_every_429_and_503() {
    let told = async |faults: &str, capacity: Option<&str>| {
        let sim = sim(SimConfig {
            faults: faults.parse().unwrap(),
            capacity: capacity.map(|text| text.parse().unwrap()),
            retry_after_secs: Some(9),
            ..SimConfig::default()
        });
        let seen = post(&sim, CHAT, chat("hi")).send().await;
        seen.header("retry-after").map(str::to_owned)
    };
    assert_eq!(told("429:1", None).await.as_deref(), Some("9"));
    assert_eq!(told("503:1", None).await.as_deref(), Some("9"));
    assert_eq!(told("500:1", None).await, None);
}

#[tokio::test]
async fn over_a_limit_429_is_answered_and_what_is_left_is_told_with_each_answer() {
    let limited = |limits: &str, retry_after_secs| {
        sim(SimConfig {
            limits: limits.parse().unwrap(),
            retry_after_secs,
            ..SimConfig::default()
        })
    };
    let sim = limited("requests:2/1h,tokens:500/1h:told", None);
    let mut told = Vec::new();
    for _ in 0..3 {
        let seen = post(&sim, CHAT, chat("four")).send().await;
        let left = seen.header("x-ratelimit-remaining-requests");
        told.push((seen.status, left.map(str::to_owned)));
        assert_eq!(seen.header("retry-after"), None);
    }
    let left = |count: &str| Some(count.to_owned());
    assert_eq!(told, [(200, left("1")), (200, left("0")), (429, left("0"))]);
    assert_eq!(sim.stats().answered, 2);

    // One token asked, nine answered.
    let sim = limited("tokens:19/1h", Some(7));
    assert_eq!(post(&sim, CHAT, chat("four")).send().await.status, 200);
    let seen = post(&sim, CHAT, chat("four")).send().await;
    assert_eq!((seen.status, seen.header("retry-after")), (429, Some("7")));
    assert_eq!(seen.header("x-ratelimit-remaining-tokens"), None);
}

#[tokio::test]
async fn a_first_message_that_comes_again_is_told_as_cached_tokens() {
    let sim = sim(SimConfig {
        prefix_cache: 1,
        ..SimConfig::default()
    });
    let cached = async |path: &str, body: &str, details: &str| {
        let seen = post(&sim, path, body).send().await;
        seen.json()["usage"][details]["cached_tokens"].clone()
    };
    let asks = |text: &str| {
        format!(
            r#"{{"model":"m","messages":[{{"role":"system","content":"be kind"}},{{"role":"user","content":"{text}"}}]}}"#
        )
    };
    assert_eq!(cached(CHAT, &asks("a"), "prompt_tokens_details").await, 0);
    assert_eq!(cached(CHAT, &asks("b"), "prompt_tokens_details").await, 2);
    let response = r#"{"model":"m","instructions":"be kind","input":"c"}"#;
    let path = "/v1/responses";
    assert_eq!(cached(path, response, "input_tokens_details").await, 2);
    post(&sim, CHAT, chat("another")).send().await;
    assert_eq!(cached(CHAT, &asks("a"), "prompt_tokens_details").await, 0);
    assert_eq!(sim.stats().prefix_hits, 2);
}

#[tokio::test]
async fn faults_and_capacity_change_while_it_runs() {
    let sim = plain_sim();
    let status = async || post(&sim, CHAT, chat("hi")).send().await.status;
    assert_eq!(status().await, 200);
    sim.set_faults("503:1".parse().unwrap());
    assert_eq!(status().await, 503);
    sim.set_faults("".parse().unwrap());

    sim.set_capacity(Some("1:429".parse().unwrap()));
    let _first = post(&sim, CHAT, chat("sim: hang")).open().await.unwrap();
    until(&sim, |stats| stats.by_fault.get("hang") == Some(&1)).await;
    assert_eq!(status().await, 429);
    sim.set_capacity(None);
    assert_eq!(status().await, 200);
}

#[tokio::test]
async fn every_fault_can_be_had_by_share() {
    for fault in ["hang", "reset", "cut", "garbage", "empty"] {
        let sim = failing_sim(&format!("{fault}:1"), 0);
        let mut stream = post(&sim, CHAT, chat("hi")).open().await.unwrap();
        until(&sim, |stats| stats.by_fault.get(fault) == Some(&1)).await;
        if fault != "hang" {
            drop(stream.read_to_end(&mut Vec::new()).await);
        }
        assert_eq!(sim.stats().answered, 0, "{fault}");
    }
    let sim = failing_sim("quota:1", 0);
    assert_eq!(post(&sim, CHAT, chat("hi")).send().await.status, 429);
}

#[tokio::test]
async fn every_status_there_is_can_be_answered() {
    let sim = plain_sim();
    for status in [200, 204, 205, 304, 307, 418, 599] {
        let seen = scripted(&sim, &status.to_string()).await;
        assert_eq!(seen.status, status);
    }
}

#[tokio::test]
async fn the_models_of_the_settings_are_listed_and_no_others() {
    let sim = sim(SimConfig {
        models: vec!["org/mine".to_owned()],
        ..SimConfig::default()
    });
    let list = get(&sim, "/v1/models").send().await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    assert_eq!(list["data"][0]["id"], "org/mine");
    assert_eq!(
        get(&sim, "/v1/models/org/mine").send().await.json()["id"],
        "org/mine"
    );
    assert_eq!(post(&sim, CHAT, chat("hi")).send().await.status, 200);
}

#[tokio::test]
async fn quota_and_plain_refusals_look_as_they_do_in_the_wild() {
    let sim = plain_sim();
    let quota = scripted(&sim, "quota").await;
    assert_eq!(quota.status, 429);
    assert_eq!(quota.json()["error"]["code"], "insufficient_quota");

    let plain = scripted(&sim, "404 plain").await;
    assert_eq!(plain.status, 404);
    assert_eq!(
        plain.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert!(serde_json::from_slice::<Value>(&plain.body).is_err());
}

#[tokio::test]
async fn answers_are_padded_to_the_size_asked_for_and_stay_json() {
    let sim = sim(SimConfig {
        answer_bytes: Some(2000),
        ..SimConfig::default()
    });
    let ask = post(&sim, CHAT, chat("hi")).send().await;
    assert_eq!(ask.body.len(), 2000);
    assert_eq!(ask.said(), "This is a simulated answer to: hi");

    // Announced in full, though nobody waits for it.
    let endless = post(&sim, CHAT, chat("hi")).with("x-sim", "body 18446744073709551615");
    let mut head = [0; 12];
    let mut stream = endless.open().await.unwrap();
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");

    let long = scripted(&sim, "body 3mb").await;
    assert_eq!((long.body.len(), long.is_whole()), (3_000_000, true));
    assert_eq!(long.said(), "This is a simulated answer to: hi");
}

#[tokio::test]
async fn latency_delay_and_writing_speed_add_up() {
    let sim = sim(SimConfig {
        latency: "20ms".parse().unwrap(),
        tokens_per_second: Some(400.0),
        ..SimConfig::default()
    });
    let begun = Instant::now();
    let used = scripted(&sim, "delay 30ms").await.json()["usage"]["completion_tokens"].clone();
    let writing = Duration::from_secs_f64(used.as_u64().unwrap() as f64 / 400.0);
    // A wait is as long on the average, and so sometimes a little shorter.
    let slack = Duration::from_millis(2);
    assert!(begun.elapsed() + slack >= Duration::from_millis(50) + writing);
}

#[tokio::test]
async fn stats_tell_what_was_asked_and_answered_more_than_once() {
    let sim = plain_sim();
    let by_key = |key: &'static str| post(&sim, CHAT, chat("hi")).with("idempotency-key", key);
    by_key("line-1").send().await;
    by_key("line-2").with("x-sim", "500 then ok").send().await;
    by_key("line-2").with("x-sim", "500 then ok").send().await;
    post(&sim, CHAT, chat("by body")).send().await;
    post(&sim, CHAT, chat("by body")).send().await;

    let stats = sim.stats();
    assert_eq!((stats.requests, stats.distinct), (5, 3));
    assert_eq!(stats.asked_more_than_once, 2);
    assert_eq!((stats.answered, stats.answered_distinct), (4, 3));
    assert_eq!(stats.answered_more_than_once, 1);
    assert_eq!((stats.by_status[&200], stats.by_status[&500]), (4, 1));
    assert_eq!(sim.asked("line-2"), 2);

    let told = get(&sim, "/sim/stats").send().await;
    assert_eq!(serde_json::from_slice::<Stats>(&told.body).unwrap(), stats);
    post(&sim, "/sim/reset", "").send().await;
    assert_eq!(sim.stats().requests, 0);
}

#[tokio::test]
async fn the_keys_of_the_stats_keep_their_names() {
    let sim = plain_sim();
    scripted(&sim, "cut").await;
    let told = get(&sim, "/sim/stats").send().await;
    assert_eq!(
        told.json(),
        serde_json::json!({
            "requests": 1, "distinct": 1, "asked_more_than_once": 0,
            "answered": 0, "answered_distinct": 0, "answered_more_than_once": 0,
            "by_status": {"200": 1}, "by_fault": {"cut": 1},
            "in_flight": 0, "peak_in_flight": 1, "forgotten": 0, "prefix_hits": 0,
            "batches": {
                "lines_run": 0, "billed": 0, "billed_distinct": 0, "billed_more_than_once": 0,
                "prompt_tokens": 0, "completion_tokens": 0, "calls": {}, "files": 0, "batches": [],
                "faults": {}, "keys_leaked": 0, "by_metadata": {},
            },
        })
    );
}

#[tokio::test]
async fn single_requests_are_asked_after_by_their_keys() {
    let sim = plain_sim();
    let by_key =
        |key: &'static str, text: &str| post(&sim, CHAT, chat(text)).with("idempotency-key", key);
    by_key("line-1", "hi").send().await;
    for _ in 0..2 {
        by_key("line-2", "sim: 500 then ok").send().await;
    }
    let hanging = by_key("line-3", "sim: hang").open().await.unwrap();
    let slow = by_key("line-4", "sim: delay 600s").open().await.unwrap();
    until(&sim, |stats| stats.in_flight == 2).await;
    drop((hanging, slow));
    until(&sim, |stats| stats.in_flight == 0).await;

    let keys = "line-4\nline-3\nline-2\nline-1\nline-0\n";
    let told = post(&sim, "/sim/asked", keys).send().await;

    // Whoever leaves a hang has lost nothing that was on its way.
    let expected = serde_json::json!({
        "asked": [1, 1, 2, 1, 0], "answered": [0, 0, 1, 1, 0], "given_up": [1, 0, 0, 0, 0],
    });
    assert_eq!(told.json(), expected);
    assert_eq!(get(&sim, "/sim/asked").send().await.status, 405);
}

#[tokio::test]
async fn beyond_its_capacity_a_queueing_simulator_lets_requests_wait() {
    let sim = sim(SimConfig {
        capacity: Some("1:queue".parse().unwrap()),
        ..SimConfig::default()
    });
    let first = post(&sim, CHAT, chat("sim: hang")).open().await.unwrap();
    until(&sim, |stats| stats.by_fault.contains_key("hang")).await;

    let ask = post(&sim, CHAT, chat("hi"));
    let let_it_in = async {
        until(&sim, |stats| stats.in_flight == 2).await;
        assert_eq!(sim.stats().answered, 0);
        drop(first);
    };
    let (second, ()) = tokio::join!(ask.send(), let_it_in);
    assert_eq!(second.status, 200);
}

#[tokio::test]
async fn beyond_its_capacity_a_refusing_simulator_answers_429_with_retry_after() {
    let sim = sim(SimConfig {
        capacity: Some("1:429".parse().unwrap()),
        ..SimConfig::default()
    });
    let first = post(&sim, CHAT, chat("sim: hang")).open().await.unwrap();
    until(&sim, |stats| stats.by_fault.contains_key("hang")).await;

    let ask = post(&sim, CHAT, chat("hi"));
    let refused = ask.send().await;
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (429, Some("1"))
    );

    drop(first);
    until(&sim, |stats| stats.in_flight == 0).await;
    assert_eq!(ask.send().await.status, 200);
}

#[tokio::test]
async fn what_is_not_understood_is_refused_with_openais_envelope() {
    let sim = plain_sim();
    let error = |seen: &Seen| seen.json()["error"]["type"].as_str().unwrap().to_owned();

    let lost = post(&sim, "/v1/nothing", "{}").send().await;
    assert_eq!(
        (lost.status, error(&lost).as_str()),
        (404, "invalid_request_error")
    );
    assert!(lost.header("x-request-id").is_some());

    let not_json = post(&sim, CHAT, "{\"model\":").send().await;
    assert_eq!(
        (not_json.status, error(&not_json).as_str()),
        (400, "invalid_request_error")
    );
    assert_eq!(get(&sim, CHAT).send().await.status, 405);

    let mut too_large = post(&sim, CHAT, "");
    too_large.head = too_large
        .head
        .replace("content-length: 0", "content-length: 70000000");
    assert_eq!(too_large.send().await.status, 413);

    let odd_script = scripted(&sim, "429 than ok").await;
    assert_eq!(odd_script.status, 400);
    assert!(
        odd_script.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("`than`")
    );
}

#[tokio::test]
async fn a_body_in_pieces_is_one_body() {
    let sim = plain_sim();
    let whole = post(&sim, CHAT, chat("hello")).send().await;
    let body = chat("hello");
    let (a, b) = body.split_at(20);
    let (b, c) = b.split_at(20);
    let chunks: String = [a, b, c]
        .iter()
        .map(|part| format!("{:x}\r\n{part}\r\n", part.len()))
        .collect();
    let mut ask = post(&sim, CHAT, format!("{chunks}0\r\n\r\n"));
    let length = format!("content-length: {}", ask.body.len());
    ask.head = ask.head.replace(&length, "transfer-encoding: chunked");
    assert_eq!(ask.send().await.body, whole.body);
}

#[tokio::test]
async fn a_stopped_or_dropped_simulator_listens_no_more() {
    let stopped = plain_sim();
    let addr = stopped.addr();
    assert!((20_000..32_000).contains(&addr.port()));
    stopped.stop().await;
    assert!(TcpStream::connect(addr).await.is_err());

    let dropped = plain_sim();
    let mut open = post(&dropped, CHAT, chat("sim: hang"))
        .open()
        .await
        .unwrap();
    until(&dropped, |stats| stats.in_flight == 1).await;
    drop(dropped);
    assert!(matches!(open.read(&mut [0]).await, Ok(0) | Err(_)));
}

#[test]
fn on_threads_of_its_own_it_needs_no_runtime_to_start() {
    assert!(Sim::start(SimConfig::default()).is_err());

    let sim = sim(SimConfig {
        threads: Some(2),
        ..SimConfig::default()
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        assert_eq!(post(&sim, CHAT, chat("hi")).send().await.status, 200);
        let addr = sim.addr();
        sim.stop().await;
        assert!(TcpStream::connect(addr).await.is_err());
    });
}

#[test]
fn a_config_file_spells_settings_as_the_flags_do() {
    let text =
        r#"{"latency":"lognormal:20ms:0.5","capacity":"37:429","faults":"429:0.05,hang:0.001"}"#;
    let config: SimConfig = serde_json::from_str(text).unwrap();
    assert_eq!(config.capacity, Some("37:429".parse().unwrap()));
    let again = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<SimConfig>(&again).unwrap(), config);
    assert!(serde_json::from_str::<SimConfig>(r#"{"faults":"429"}"#).is_err());
}

#[test]
fn a_speed_of_nothing_is_refused_at_the_start() {
    let config = SimConfig {
        tokens_per_second: Some(0.0),
        threads: Some(1),
        ..Default::default()
    };
    assert_eq!(
        Sim::start(config).unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
}
