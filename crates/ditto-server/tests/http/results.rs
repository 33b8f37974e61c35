//! `GET /v1/batches/{id}/results`: rows while the batch runs, by pages and followed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::form::Form;
use crate::server::{TestServer, answer};

/// Three rows, of which the second never ends.
async fn hanging(server: &TestServer) -> String {
    let lines: String = ["say", "sim: hang", "say"]
        .iter()
        .zip(1..)
        .map(|(prompt, n)| {
            let line = json!({
                "custom_id": format!("row-{n}"),
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": "demo-small", "messages": [{"role": "user", "content": prompt}]},
            });
            format!("{line}\n")
        })
        .collect();
    let form = Form::new()
        .field("purpose", "batch")
        .file("in.jsonl", &lines);
    let file = server.send(form).await.ok()["id"].clone();
    server.submit(file.as_str().unwrap()).await["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn names(body: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(body).unwrap();
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap()["custom_id"].clone();
    let names = text.lines().map(|l| line(l).as_str().unwrap().to_owned());
    names.collect()
}

#[tokio::test]
async fn pages_bring_each_row_once_and_say_where_the_next_begins() {
    let server = TestServer::start_with(|config| config.sending.grace = Duration::ZERO).await;
    let id = hanging(&server).await;
    let path = format!("/v1/batches/{id}/results");
    let mut after = String::new();
    let mut rows = Vec::new();
    let began = Instant::now();
    while rows.len() < 2 {
        let page = server.get(&format!("{path}?after={after}&wait=20")).await;
        assert_eq!(page.status, 200);
        assert_eq!(page.header("content-type"), Some("application/jsonl"));
        assert_eq!(page.header("ditto-ended"), Some("false"));
        after = page.header("ditto-next").unwrap().to_owned();
        rows.extend(names(&page.body));
    }
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "a change wakes it"
    );
    rows.sort();
    assert_eq!(rows, ["row-1", "row-3"]);
    let nothing = server.get(&format!("{path}?after={after}")).await;
    assert_eq!(
        (nothing.body.len(), nothing.header("ditto-next")),
        (0, Some(&*after))
    );

    server
        .post(&format!("/v1/batches/{id}/cancel"), &json!({}))
        .await
        .ok();
    server.ended(&id).await;
    let rest = server.get(&format!("{path}?after={after}")).await;
    assert_eq!(names(&rest.body), ["row-2"]);
    assert_eq!(rest.header("ditto-ended"), Some("true"));
}

#[tokio::test]
async fn a_follower_gets_all_rows_and_marks_until_the_end() {
    let server = TestServer::start().await;
    let batch = server.submit(&server.upload(500).await).await;
    let path = format!(
        "/v1/batches/{}/results?follow=true",
        batch["id"].as_str().unwrap()
    );
    let all = server.get(&path).await;
    let text = String::from_utf8(all.body).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (marks, rows): (Vec<_>, Vec<_>) = lines.partition(|line| line["object"] == "ditto.cursor");
    assert_eq!(marks.last().unwrap()["ended"], true);
    let mut count = BTreeMap::new();
    for row in &rows {
        *count.entry(row["custom_id"].as_str().unwrap()).or_insert(0) += 1;
    }
    assert_eq!((rows.len(), count.len()), (500, 500));
}

#[tokio::test]
async fn what_is_no_cursor_and_no_batch_is_refused() {
    let server = TestServer::start().await;
    let batch = server.submit("file-nope").await;
    let path = format!("/v1/batches/{}/results", batch["id"].as_str().unwrap());
    server.get(&format!("{path}?after=r5_1.2")).await.refuses(
        400,
        "Invalid 'after': not a cursor of this call. Leave it out to begin anew.",
        Some("after"),
        Some("invalid_value"),
    );
    let next = server
        .get(&path)
        .await
        .header("ditto-next")
        .unwrap()
        .to_owned();
    let own = server.get(&format!("{path}?after={next}")).await;
    assert_eq!(own.status, 200);
    // A cursor of another batch would pass over rows in silence.
    let other = server.submit("file-nope").await;
    let other = format!("/v1/batches/{}/results", other["id"].as_str().unwrap());
    let foreign = server.get(&format!("{other}?after={next}")).await;
    assert_eq!(foreign.json()["error"]["param"], "after");
    assert_eq!(foreign.status, 400);
    let wait = server.get(&format!("{path}?wait=61")).await;
    assert_eq!(wait.json()["error"]["code"], "integer_above_max_value");
    let missing = answer(server.ask(Method::GET, "/v1/batches/batch_nope/results?follow=1")).await;
    assert_eq!(missing.status, 404);
    server.ended(batch["id"].as_str().unwrap()).await;
    let failed = server.get(&path).await;
    assert_eq!(
        (failed.body.len(), failed.header("ditto-ended")),
        (0, Some("true"))
    );
}
