//! `POST /v1/batches/{id}/retry`: failed lines again, by class, at their numbers.

use ditto_sim::{Sim, SimConfig};
use serde_json::{Value, json};

use crate::form::Form;
use crate::server::{Answer, TestServer, create_body, requests};

/// Lines of which some are refused in the ways that these prompts ask for.
fn scripted(prompts: &[&str]) -> String {
    let lines = prompts.iter().zip(1..).map(|(prompt, n)| {
        let line = json!({
            "custom_id": format!("row-{n}"),
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "demo-small", "messages": [{"role": "user", "content": prompt}]},
        });
        format!("{line}\n")
    });
    lines.collect()
}

impl TestServer {
    async fn run(&self, lines: &str, more: Value) -> Value {
        let form = Form::new()
            .field("purpose", "batch")
            .file("in.jsonl", lines);
        let file = self.send(form).await.ok()["id"].clone();
        let mut body = create_body(file.as_str().unwrap());
        if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
            body.extend(more);
        }
        let batch = self.post("/v1/batches", &body).await.ok();
        self.ended(batch["id"].as_str().unwrap()).await
    }

    async fn retry(&self, batch: &Value, body: Value) -> Answer {
        let id = batch["id"].as_str().unwrap();
        self.post(&format!("/v1/batches/{id}/retry"), &body).await
    }

    async fn text(&self, file: &Value) -> String {
        let path = format!("/v1/files/{}/content", file.as_str().unwrap());
        let answer = self.get(&path).await;
        assert_eq!(answer.status, 200);
        String::from_utf8(answer.body).unwrap()
    }

    /// The last word of each result's id, and its custom_id.
    async fn results(&self, file: &Value) -> Vec<(u64, String)> {
        let text = self.text(file).await;
        let lines = text.lines().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let (_, number) = line["id"].as_str().unwrap().rsplit_once('_').unwrap();
            let custom_id = line["custom_id"].as_str().unwrap().to_owned();
            (number.parse().unwrap(), custom_id)
        });
        lines.collect()
    }
}

/// 2, 5: refused for good; 3: the upstream fails each time; the others are answered.
const PROMPTS: [&str; 6] = ["a", "sim: 400", "sim: 500", "b", "sim: 400", "c"];

#[tokio::test]
async fn failed_lines_run_again_under_their_numbers() {
    let server = TestServer::start().await;
    let metadata = json!({"metadata": {"team": "a"}});
    let first = server.run(&scripted(&PROMPTS), metadata).await;
    assert_eq!(
        first["request_counts"],
        json!({"total": 6, "completed": 3, "failed": 3})
    );

    let made = server.retry(&first, json!({})).await.ok();
    assert_eq!(made["status"], "validating");
    assert_eq!(
        made["request_counts"],
        json!({"total": 0, "completed": 0, "failed": 0})
    );
    assert_eq!(made["ditto"]["retry_of"], first["id"]);
    let again = server.ended(made["id"].as_str().unwrap()).await;
    assert_eq!(again["status"], "completed", "{again}");
    assert_eq!(
        again["request_counts"],
        json!({"total": 1, "completed": 0, "failed": 1})
    );
    assert_eq!(again["metadata"], first["metadata"]);
    assert_eq!(again["endpoint"], first["endpoint"]);
    assert_eq!(
        server.results(&again["error_file_id"]).await,
        [(3, "row-3".to_owned())]
    );

    // Its input is a file like any other, and each line is where it was.
    let input = server.text(&again["input_file_id"]).await;
    let all = scripted(&PROMPTS);
    let third = all.lines().nth(2).unwrap();
    assert_eq!(input, format!("\n\n{third}\n"));
    let file = server
        .get(&format!(
            "/v1/files/{}",
            again["input_file_id"].as_str().unwrap()
        ))
        .await;
    assert_eq!(file.ok()["purpose"], "batch");
    let listed = server.get("/v1/files?purpose=batch").await.ok();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn classes_choose_the_lines_in_the_query_or_the_body() {
    let server = TestServer::start().await;
    let first = server.run(&scripted(&PROMPTS), json!({})).await;
    let id = first["id"].as_str().unwrap();
    let path = format!("/v1/batches/{id}/retry?only=bad_request,server_error");
    let made = crate::server::answer(server.ask(reqwest::Method::POST, &path))
        .await
        .ok();
    assert_eq!(
        made["ditto"]["retry_only"],
        json!(["server_error", "bad_request"])
    );
    let again = server.ended(made["id"].as_str().unwrap()).await;
    assert_eq!(
        again["request_counts"],
        json!({"total": 3, "completed": 0, "failed": 3})
    );
    let numbers = server.results(&again["error_file_id"]).await;
    let row = |n| (n, format!("row-{n}"));
    assert_eq!(numbers, [row(2), row(3), row(5)]);

    // A retry can be retried, with the same numbers.
    let made = server
        .retry(&again, json!({"only": ["bad_request"]}))
        .await
        .ok();
    let third = server.ended(made["id"].as_str().unwrap()).await;
    assert_eq!(third["request_counts"]["total"], 2);
    let numbers = server.results(&third["error_file_id"]).await;
    assert_eq!(numbers, [row(2), row(5)]);
}

#[tokio::test]
async fn what_cannot_be_retried_is_said() {
    let server = TestServer::start().await;
    let first = server.run(&scripted(&PROMPTS), json!({})).await;
    let id = first["id"].as_str().unwrap();
    server
        .retry(&first, json!({"only": "rate_limited"}))
        .await
        .refuses(
            400,
            &format!("Nothing to retry: no line of '{id}' failed as rate_limited."),
            Some("only"),
            Some("nothing_to_retry"),
        );
    let unknown = server.retry(&first, json!({"only": ["often"]})).await;
    assert_eq!(
        (unknown.status, &unknown.json()["error"]["param"]),
        (400, &json!("only"))
    );
    for none in [json!({"only": []}), json!({"only": ""})] {
        let none = server.retry(&first, none).await;
        let error = &none.json()["error"];
        assert_eq!(
            (none.status, &error["code"]),
            (400, &json!("invalid_value"))
        );
    }
    let path = format!("/v1/batches/{id}/retry?only=server_error");
    let two = server.post(&path, &json!({"only": ["bad_request"]})).await;
    two.refuses(
        400,
        "The query and the body name different classes in 'only'. Give it once.",
        Some("only"),
        None,
    );
    let misspelt = server.retry(&first, json!({"onyl": "expired"})).await;
    misspelt.refuses(
        400,
        "Unknown parameter: 'onyl'.",
        Some("onyl"),
        Some("unknown_parameter"),
    );
    let missing = server
        .post("/v1/batches/batch_nope/retry", &json!({}))
        .await;
    missing.refuses(404, "No batch found with id 'batch_nope'.", None, None);

    let clean = server.run(&requests(2), json!({})).await;
    let refused = server.retry(&clean, json!({})).await;
    assert_eq!(refused.json()["error"]["code"], "nothing_to_retry");

    let input = first["input_file_id"].as_str().unwrap();
    server.delete(&format!("/v1/files/{input}")).await.ok();
    server.retry(&first, json!({})).await.refuses(
        409,
        &format!("Cannot retry the batch: its input file '{input}' was deleted or has expired."),
        None,
        None,
    );
}

#[tokio::test]
async fn a_batch_that_runs_cannot_be_retried() {
    let server = TestServer::start().await;
    let file = server
        .send(
            Form::new()
                .field("purpose", "batch")
                .file("in.jsonl", &scripted(&["sim: hang"])),
        )
        .await
        .ok()["id"]
        .clone();
    let batch = server.submit(file.as_str().unwrap()).await;
    let refused = server.retry(&batch, json!({})).await;
    assert_eq!(refused.status, 409);
    let message = refused.json()["error"]["message"].to_string();
    assert!(message.contains("Wait for its end"), "{message}");
    server
        .post(
            &format!("/v1/batches/{}/cancel", batch["id"].as_str().unwrap()),
            &json!({}),
        )
        .await
        .ok();
}

#[tokio::test]
async fn a_cancelled_batch_goes_on_where_it_stopped() {
    let slow = SimConfig {
        latency: "50ms".parse().unwrap(),
        ..SimConfig::default()
    };
    let slow = Sim::start(slow).unwrap();
    let server = TestServer::start_with(|config| {
        config.upstreams[0].base_url = slow.base_url();
        config.upstreams[0].concurrency = ditto_server::Concurrency::Fixed(1);
    })
    .await;
    let batch = server.submit(&server.upload(40).await).await;
    let path = format!("/v1/batches/{}", batch["id"].as_str().unwrap());
    let five = async {
        while server.get(&path).await.ok()["request_counts"]["completed"].as_u64() < Some(5) {
            tokio::task::yield_now().await;
        }
    };
    let patience = std::time::Duration::from_secs(60);
    tokio::time::timeout(patience, five).await.unwrap();
    server
        .post(&format!("{path}/cancel"), &json!({}))
        .await
        .ok();
    let cancelled = server.ended(batch["id"].as_str().unwrap()).await;
    let done = server.results(&cancelled["output_file_id"]).await;

    let made = server
        .retry(&cancelled, json!({"only": "cancelled"}))
        .await
        .ok();
    let rest = server.ended(made["id"].as_str().unwrap()).await;
    let mut all = server.results(&rest["output_file_id"]).await;
    all.extend(done);
    all.sort();
    let expected: Vec<_> = (1..=40).map(|n| (n, format!("row-{n}"))).collect();
    assert_eq!(all, expected, "both together are the whole");
}

#[tokio::test]
async fn a_retry_with_a_key_is_made_once() {
    let server = TestServer::start().await;
    let first = server.run(&scripted(&PROMPTS), json!({})).await;
    let path = format!("/v1/batches/{}/retry", first["id"].as_str().unwrap());
    let ask = |body: &'static str| {
        let request = server
            .ask(reqwest::Method::POST, &path)
            .header("idempotency-key", "k");
        crate::server::answer(
            request
                .header("content-type", "application/json")
                .body(body),
        )
    };
    let one = ask("{}").await.ok();
    let two = ask("{}").await.ok();
    assert_eq!(one["id"], two["id"]);
    let other = ask(r#"{"only":"bad_request"}"#).await;
    assert_eq!(other.json()["error"]["code"], "idempotency_key_reused");
}

#[tokio::test]
async fn a_key_of_a_retry_is_no_key_of_a_create() {
    let server = TestServer::start().await;
    let first = server.run(&scripted(&PROMPTS), json!({})).await;
    let keyed = async |path: &str, body: &Value| {
        let request = server.ask(reqwest::Method::POST, path);
        let request = request.header("idempotency-key", "k");
        let request = request.header("content-type", "application/json");
        let made = crate::server::answer(request.body(body.to_string())).await;
        made.ok()["id"].as_str().unwrap().to_owned()
    };
    let retry = format!("/v1/batches/{}/retry", first["id"].as_str().unwrap());
    let create = create_body(first["input_file_id"].as_str().unwrap());
    let retried = keyed(&retry, &json!({})).await;
    let created = keyed("/v1/batches", &create).await;
    assert_ne!(retried, created);
    // Each is known under its own.
    assert_eq!(keyed(&retry, &json!({})).await, retried);
    assert_eq!(keyed("/v1/batches", &create).await, created);
}
