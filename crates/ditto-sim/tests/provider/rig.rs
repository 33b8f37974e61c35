//! A provider with the SDK's clients at it.

use std::collections::BTreeMap;
use std::time::Duration;

use ditto_llm::wire::{Batch, FileObject};
use ditto_llm::{
    BatchClient as _, BatchClientExt as _, BatchCreateRequest, DittoError, FileClient as _,
    FileUpload, OpenAICompatible, WaitPolicy,
};
use ditto_sim::{Bill, ProviderConfig, Sim, SimConfig};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) const CHAT: &str = "/v1/chat/completions";

/// A simulator and a client of it.
pub(crate) struct Rig {
    pub(crate) sim: Sim,
    pub(crate) files: OpenAICompatible,
}

impl Rig {
    pub(crate) fn new(provider: ProviderConfig) -> Self {
        Self::of(SimConfig {
            provider,
            ..SimConfig::default()
        })
    }

    pub(crate) fn of(config: SimConfig) -> Self {
        let sim = Sim::start(config).unwrap();
        let files = OpenAICompatible::new("sk-rig").with_base_url(sim.base_url());
        Self { sim, files }
    }

    /// Well-behaved and quick.
    pub(crate) fn plain() -> Self {
        Self::new(ProviderConfig::default())
    }

    /// Nothing moves but by [`Sim::advance`].
    pub(crate) fn slow() -> Self {
        Self::new(slow())
    }

    /// Quick, with these faults.
    pub(crate) fn faulty(faults: &str) -> Self {
        Self::new(ProviderConfig {
            faults: faults.parse().unwrap(),
            ..ProviderConfig::default()
        })
    }

    /// Nothing moves but by [`Sim::advance`], with these faults.
    pub(crate) fn slow_faulty(faults: &str) -> Self {
        Self::new(ProviderConfig {
            faults: faults.parse().unwrap(),
            ..slow()
        })
    }

    /// From now on.
    pub(crate) fn fault(&self, faults: &str) {
        self.sim.set_provider_faults(faults.parse().unwrap());
    }

    /// One look without the SDK, which would heal what is to be seen.
    pub(crate) async fn get(&self, path: &str) -> Seen {
        get(&self.sim, path, "authorization: Bearer sk-rig\r\n").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Seen {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\ncontent-length: {length}\r\n"
        );
        ask(&self.sim, format!("{head}\r\n{body}")).await
    }

    pub(crate) async fn post_batch(&self, file: &str) -> Seen {
        let asked = serde_json::json!({
            "input_file_id": file, "endpoint": CHAT, "completion_window": "24h",
        });
        self.post("/v1/batches", &asked.to_string()).await
    }

    pub(crate) async fn upload(&self, lines: &str) -> FileObject {
        let upload = FileUpload::from_bytes("in.jsonl", lines.as_bytes().to_vec());
        self.files.upload(upload).await.unwrap()
    }

    pub(crate) async fn try_create(&self, file: &str) -> Result<Batch, DittoError> {
        let metadata = BTreeMap::from([("shard".to_owned(), "7".to_owned())]);
        let request = BatchCreateRequest {
            input_file_id: file.to_owned(),
            endpoint: CHAT.to_owned(),
            completion_window: "24h".to_owned(),
            metadata: Some(metadata),
            provider_options: None,
        };
        let created = self.files.batches().create(request).await?;
        Ok(created.batch)
    }

    pub(crate) async fn create(&self, lines: &str) -> Batch {
        let file = self.upload(lines).await;
        self.try_create(&file.id).await.unwrap()
    }

    pub(crate) async fn look(&self, id: &str) -> Batch {
        self.files.batches().retrieve(id).await.unwrap().batch
    }

    pub(crate) async fn end_of(&self, id: &str) -> Batch {
        let mut policy = WaitPolicy::default();
        policy.first_pause = Duration::from_millis(1);
        policy.longest_pause = Duration::from_millis(20);
        self.files.batches().wait(id, policy).await.unwrap()
    }

    /// Makes a batch over these lines and waits for its end.
    pub(crate) async fn finish(&self, lines: &str) -> Batch {
        let batch = self.create(lines).await;
        self.end_of(&batch.id).await
    }

    pub(crate) async fn text(&self, id: &str) -> String {
        let content = self.files.content(id).await.unwrap();
        String::from_utf8(content.bytes().await.unwrap().to_vec()).unwrap()
    }

    /// The rows of a file of results, or none if there is no file.
    pub(crate) async fn rows(&self, id: Option<&String>) -> Vec<Value> {
        let Some(id) = id else {
            return Vec::new();
        };
        let text = self.text(id).await;
        text.split('\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub(crate) async fn output(&self, batch: &Batch) -> Vec<Value> {
        self.rows(batch.output_file_id.as_ref()).await
    }

    pub(crate) async fn errors(&self, batch: &Batch) -> Vec<Value> {
        self.rows(batch.error_file_id.as_ref()).await
    }

    pub(crate) fn bill(&self) -> Bill {
        self.sim.stats().batches
    }

    pub(crate) fn advance_hours(&self, hours: u64) {
        self.sim.advance(Duration::from_secs(hours * 3600));
    }
}

/// Each stage lasts one hour, the work ten.
pub(crate) fn slow() -> ProviderConfig {
    ProviderConfig {
        pace: "1h/10h/1h".parse().unwrap(),
        ..ProviderConfig::default()
    }
}

/// Lines with the ids `r0`, `r1` … and different texts.
pub(crate) fn lines(count: usize) -> String {
    (0..count)
        .map(|n| line(&format!("r{n}"), &format!("text {n}")))
        .collect()
}

pub(crate) fn line(id: &str, text: &str) -> String {
    let body = serde_json::json!({
        "model": "demo-small", "messages": [{"role": "user", "content": text}],
    });
    let line = serde_json::json!({"custom_id": id, "method": "POST", "url": CHAT, "body": body});
    format!("{line}\n")
}

pub(crate) fn ids(rows: &[Value]) -> Vec<&str> {
    rows.iter()
        .map(|row| row["custom_id"].as_str().unwrap())
        .collect()
}

/// What came back on a plain socket; status 0 if nothing did.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// For what the SDK would heal by itself.
pub(crate) async fn ask(sim: &Sim, request: String) -> Seen {
    let mut stream = TcpStream::connect(sim.addr()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    // A connection that is cut ends in an error; what came before it counts.
    drop(stream.read_to_end(&mut all).await);
    let text = String::from_utf8(all).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    Seen {
        status: head
            .split(' ')
            .nth(1)
            .map_or(0, |code| code.parse().unwrap()),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

pub(crate) async fn get(sim: &Sim, path: &str, headers: &str) -> Seen {
    let head = format!("GET {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n{headers}\r\n");
    ask(sim, head).await
}
