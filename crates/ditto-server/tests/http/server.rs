//! A server on a folder of its own, in front of a simulated upstream, and a client for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ditto_server::model::space::Floor;
use ditto_server::{Config, Server, UpstreamConfig};
use ditto_sim::{Sim, SimConfig};
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{OnceCell, oneshot};
use tokio::task::JoinHandle;

use crate::document::Document;
use crate::form::Form;

/// Nothing here takes longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct TestServer {
    address: String,
    client: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<ditto_server::Result<bool>>>,
    /// What it says of itself, once somebody has asked.
    document: OnceCell<Document>,
    _sim: Sim,
    data: TempDir,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl TestServer {
    /// As shipped.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With a change to what is shipped.
    #[expect(clippy::disallowed_methods, reason = "`running` is awaited at the end")]
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let sim = Sim::start(SimConfig::default()).unwrap();
        let data = tempfile::tempdir().unwrap();
        let mut config = Config::new(
            data.path().join("data"),
            vec![UpstreamConfig::new("sim", sim.base_url())],
        );
        // The disk that tests run on is nobody's claim.
        config.space = Floor::NONE;
        change(&mut config);
        let listener = free_port().await;
        let address = listener.local_addr().unwrap().to_string();
        let server = Server::open(config).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(listener, async move {
            // A dropped sender is a stop too.
            let _ = stopped.await;
        }));
        Self {
            address,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            stop: Some(stop),
            running: Some(running),
            document: OnceCell::new(),
            _sim: sim,
            data,
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.data.path().join("data")
    }

    /// Stops, which must go well; what is left on disk.
    pub(crate) async fn stop(mut self) -> TempDir {
        drop(self.stop.take());
        assert!(
            self.running.take().unwrap().await.unwrap().unwrap(),
            "drained within the grace"
        );
        self.data
    }

    pub(crate) fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("http://{}{path}", self.address))
    }

    /// The answer, which is one that the server's description names.
    async fn described(&self, method: Method, path: &str, request: RequestBuilder) -> Answer {
        let answer = answer(request).await;
        let ask = async || {
            let asked = self.ask(Method::GET, "/openapi.json").send().await.unwrap();
            Document::new(serde_json::from_slice(&asked.bytes().await.unwrap()).unwrap())
        };
        let document = self.document.get_or_init(ask).await;
        document.holds(&method, path, &answer);
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = self.ask(Method::GET, path);
        self.described(Method::GET, path, request).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        let request = self.ask(Method::DELETE, path);
        self.described(Method::DELETE, path, request).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self
            .ask(Method::POST, path)
            .header("content-type", "application/json")
            .body(body.to_string());
        self.described(Method::POST, path, request).await
    }

    pub(crate) async fn send(&self, form: Form) -> Answer {
        let (content_type, body) = form.encode();
        let path = "/v1/files";
        let request = self
            .ask(Method::POST, path)
            .header("content-type", content_type)
            .body(body);
        self.described(Method::POST, path, request).await
    }

    /// Uploads a good input file of this many lines; its id.
    pub(crate) async fn upload(&self, lines: usize) -> String {
        let file = self
            .send(
                Form::new()
                    .field("purpose", "batch")
                    .file("in.jsonl", &requests(lines)),
            )
            .await;
        file.ok()["id"].as_str().unwrap().to_owned()
    }

    /// Makes a batch over this file; the batch.
    pub(crate) async fn submit(&self, file: &str) -> Value {
        self.post("/v1/batches", &create_body(file)).await.ok()
    }

    /// The batch, once it has ended.
    pub(crate) async fn ended(&self, batch: &str) -> Value {
        let path = format!("/v1/batches/{batch}");
        let ended = async {
            loop {
                let batch = self.get(&path).await.ok();
                let status = batch["status"].as_str().unwrap();
                if ["completed", "failed", "expired", "cancelled"].contains(&status) {
                    return batch;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ended)
            .await
            .expect("the batch ends")
    }

    /// How many files a client sees.
    pub(crate) async fn count_files(&self) -> usize {
        self.get("/v1/files").await.ok()["data"]
            .as_array()
            .unwrap()
            .len()
    }
}

/// Asks again and again until there is something.
pub(crate) async fn until<T>(what: &str, mut ready: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(there) = ready().await {
                return there;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let asked = tokio::time::timeout(PATIENCE, asked).await;
    asked.unwrap_or_else(|_| panic!("not in time: {what}"))
}

pub(crate) async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.bytes().await.unwrap().to_vec(),
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The object of a 200.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(
            self.status,
            StatusCode::OK.as_u16(),
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        self.json()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Compares with OpenAI's envelope for a refusal that is final.
    #[track_caller]
    pub(crate) fn refuses(
        &self,
        status: u16,
        message: &str,
        param: Option<&str>,
        code: Option<&str>,
    ) {
        let expected = json!({ "error": {
            "message": message, "type": "invalid_request_error", "param": param, "code": code,
        }});
        assert_eq!(self.json(), expected);
        assert_eq!(self.status, status);
        assert_eq!(self.header("x-should-retry"), Some("false"));
        assert!(
            self.header("x-request-id")
                .is_some_and(|id| id.starts_with("req_"))
        );
    }
}

/// Ids and times differ from run to run.
pub(crate) fn scrubbed(mut object: Value) -> Value {
    scrub(&mut object);
    object
}

fn scrub(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                match value {
                    Value::Number(_) if key.ends_with("_at") => *value = json!("TIME"),
                    Value::String(id) if id.starts_with("file-") => *value = json!("file-ID"),
                    Value::String(id) if id.starts_with("batch_") => *value = json!("batch_ID"),
                    Value::String(id) if id.starts_with("upload_") => *value = json!("upload_ID"),
                    Value::String(id) if id.starts_with("part_") => *value = json!("part_ID"),
                    other => scrub(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(scrub),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

pub(crate) fn requests(lines: usize) -> String {
    (1..=lines).map(|n| format!("{}\n", json!({
        "custom_id": format!("row-{n}"),
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": { "model": "demo-small", "messages": [{ "role": "user", "content": "hello" }] },
    }))).collect()
}

pub(crate) fn create_body(file: &str) -> Value {
    json!({
        "input_file_id": file,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    })
}

/// Files below a folder whose path has this in it.
pub(crate) fn files_below(folder: &Path, part: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path, part));
        } else if path.to_string_lossy().contains(part) {
            found.push(path);
        }
    }
    found
}

/// Below the range from which the system gives ports to clients.
async fn free_port() -> TcpListener {
    loop {
        let port = fastrand::u16(20_000..32_000);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return listener;
        }
    }
}
