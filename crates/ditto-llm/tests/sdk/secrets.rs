use std::io;
use std::sync::{Arc, Mutex};

use ditto_llm::{
    BatchClient as _, BatchCreateRequest, FileClient as _, FileUpload, OpenAIBatches, RetryPolicy,
};
use serde_json::{Value, json};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use crate::batches::{batch, request};
use crate::server::{CANARY, Reply, Server};

/// Everything any crate logs on this thread, at the finest level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn capture() -> (Self, DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(log.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The fields of the audit events.
    fn audit(&self) -> Vec<Value> {
        let lines = self.text();
        let events = lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        events
            .filter(|event| event["target"] == "ditto_llm::audit")
            .map(|event| event["fields"].clone())
            .collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A server that repeats everything it is told, keys first.
fn echoing(status: u16) -> impl Fn(&crate::server::Seen) -> Reply {
    move |seen| {
        let told = seen
            .header("authorization")
            .or(seen.header("api-key"))
            .unwrap_or_default();
        let body = json!({"error": {"message": format!("you said {told} {}", seen.target),
            "code": told, "type": told, "param": told}});
        Reply::status(status, body.to_string()).header("x-request-id", told)
    }
}

#[tokio::test]
async fn the_key_is_in_no_log_no_error_and_no_debug_output() {
    let (log, _guard) = Log::capture();
    let mut shown = Vec::new();
    for status in [200, 302, 400, 401, 429, 500] {
        let server = Server::answering(echoing(status)).await;
        let files = server.files().with_retry(RetryPolicy::never());
        let batches = OpenAIBatches::new("")
            .with_base_url(server.url())
            .with_retry(RetryPolicy::never())
            .with_header("api-key", CANARY)
            .with_query_param("access_token", CANARY);
        shown.push(format!(
            "{files:?} {:#?} {batches:?} {:?}",
            files.batches(),
            batches.files()
        ));
        let upload = FileUpload::from_bytes("x.jsonl", "{}");
        shown.push(format!("{:?}", files.upload(upload).await));
        shown.push(format!(
            "{:?}",
            files.retrieve("f").await.map_err(|e| (e.to_string(), e))
        ));
        shown.push(format!(
            "{:?}",
            batches
                .create(request())
                .await
                .map_err(|e| (e.to_string(), e))
        ));
        shown.push(format!(
            "{:?}",
            batches.list(None, None).await.map_err(|e| e.to_string())
        ));
    }
    let gone = OpenAIBatches::new(CANARY)
        .with_base_url("http://127.0.0.1:1")
        .with_query_param("key", CANARY)
        .with_retry(RetryPolicy::never());
    shown.push(format!(
        "{:?}",
        gone.retrieve("b").await.map_err(|e| (e.to_string(), e))
    ));

    let everything = log.text() + &shown.join("\n");

    assert!(everything.contains("ditto_llm::audit"));
    assert!(everything.contains("you said"), "the echo itself is kept");
    assert!(
        !everything.contains(CANARY),
        "{}",
        around(&everything, CANARY)
    );
}

fn around<'a>(text: &'a str, needle: &str) -> &'a str {
    let at = text.find(needle).unwrap_or_default();
    &text[at.saturating_sub(300)..(at + 100).min(text.len())]
}

#[tokio::test]
async fn each_call_leaves_one_audit_event() {
    let (log, _guard) = Log::capture();
    let server = Server::script([
        Reply::status(503, "later").header("retry-after-ms", "1"),
        Reply::ok(batch("batch_1", "completed").to_string()).header("x-request-id", "req_1"),
        Reply::status(404, "no such file"),
    ])
    .await;

    server.batches().retrieve("batch_1").await.unwrap();
    server.files().retrieve("file-9").await.unwrap_err();

    let events = log.audit();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["provider"], "openai-compatible");
    assert_eq!(events[0]["operation"], "batch.retrieve");
    assert_eq!(events[0]["path"], "/v1/batches/batch_1");
    assert_eq!(events[0]["status"], 200);
    assert_eq!(events[0]["request_id"], "req_1");
    assert_eq!(events[0]["attempts"], 2);
    assert_eq!(events[0]["object_id"], "batch_1");
    assert!(events[0]["elapsed_ms"].is_number());
    assert_eq!(events[1]["operation"], "file.retrieve");
    assert_eq!(events[1]["status"], 404);
    assert!(
        events[1]["error"]
            .as_str()
            .unwrap()
            .contains("no such file")
    );
}

fn with_secret_option() -> BatchCreateRequest {
    let options = json!({"priority": 42, "webhook": {"api_key": "hook-secret-1"}});
    BatchCreateRequest {
        provider_options: Some(options.into()),
        ..request()
    }
}

#[tokio::test]
async fn of_provider_options_the_audit_event_has_the_keys_only() {
    let (log, _guard) = Log::capture();
    let server = Server::json(batch("batch_1", "validating")).await;

    server.batches().create(with_secret_option()).await.unwrap();

    let event = &log.audit()[0];
    assert_eq!(event["object_id"], "batch_1");
    assert_eq!(event["option_keys"], "priority,webhook");
    assert_eq!(event.get("options"), None);
}

#[tokio::test]
async fn values_of_provider_options_are_there_if_asked_for_and_secrets_masked() {
    let (log, _guard) = Log::capture();
    let server = Server::json(batch("batch_1", "validating")).await;
    let client = server.batches().with_option_values_in_audit();

    client.create(with_secret_option()).await.unwrap();

    let event = &log.audit()[0];
    let options: Value = serde_json::from_str(event["options"].as_str().unwrap()).unwrap();
    assert_eq!(
        options,
        json!({"priority": 42, "webhook": {"api_key": "***"}})
    );
    assert!(!log.text().contains("hook-secret-1"));
}

#[tokio::test]
async fn the_key_itself_is_masked_among_provider_options_too() {
    let (log, _guard) = Log::capture();
    let server = Server::json(batch("batch_1", "validating")).await;
    let client = server.batches().with_option_values_in_audit();
    let request = BatchCreateRequest {
        provider_options: Some(json!({"note": format!("mine is {CANARY}"), CANARY: 1}).into()),
        ..request()
    };

    client.create(request).await.unwrap();

    assert!(
        log.text().contains("mine is ***"),
        "the rest of the value is kept"
    );
    assert!(
        !log.text().contains(CANARY),
        "{}",
        around(&log.text(), CANARY)
    );
}

#[tokio::test]
async fn the_audit_event_names_what_was_made_inside_an_envelope_too() {
    let (log, _guard) = Log::capture();
    let server = Server::script([
        Reply::ok(json!({"code": 20000, "data": {"id": "file-s1"}}).to_string()),
        Reply::ok(json!({"job": {"id": "batch_t1", "status": "VALIDATING"}}).to_string()),
    ])
    .await;

    let upload = FileUpload::from_bytes("x.jsonl", "{}");
    server.files().upload(upload).await.unwrap();
    server.batches().create(request()).await.unwrap();

    let events = log.audit();
    assert_eq!(events[0]["object_id"], "file-s1");
    assert_eq!(events[1]["object_id"], "batch_t1");
}
