//! What clients hand in, and whether it came back whole.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt;
use serde_json::Value;

use super::world::World;
use crate::error::Result;
use crate::service::{BatchRequest, FileDescription, Service};

pub(super) const TENANT: &str = "tenant";
const CHAT: &str = "/v1/chat/completions";

/// A file of requests, some of them no requests at all.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) lines: Vec<u8>,
    /// Numbers of the lines that are not blank.
    pub(super) numbers: BTreeSet<u64>,
    pub(super) lenient: bool,
}

impl Job {
    pub(super) fn make(world: &World) -> Self {
        let lenient = world.per_mille(400);
        let count = 1 + world.below(if world.per_mille(500) { 900 } else { 60 });
        let mut job = Self {
            lines: Vec::new(),
            numbers: BTreeSet::new(),
            lenient,
        };
        for number in 1..=count {
            let kind = world.below(100);
            if kind == 0 {
                job.lines.push(b'\n');
                continue;
            }
            job.numbers.insert(number);
            let line = match kind {
                1 if lenient => "{\"custom_id\":\"cut\n".to_owned(),
                2 if lenient => format!("{{\"custom_id\":\"{}\"}}\n", "x".repeat(3_000)),
                _ => request(number, world.below(2)),
            };
            job.lines.extend_from_slice(line.as_bytes());
        }
        job
    }

    /// So many good requests.
    pub(super) fn plain(count: u64) -> Self {
        let lines: String = (1..=count).map(|number| request(number, 0)).collect();
        Self {
            lines: lines.into_bytes(),
            numbers: (1..=count).collect(),
            lenient: false,
        }
    }

    /// Uploads it and makes a batch of it; the batch's id.
    pub(super) async fn submit(
        &self,
        service: &Service,
        deadline: Option<std::time::Duration>,
    ) -> Result<String> {
        let mut upload = service.upload(TENANT).await?;
        upload.write(&self.lines).await?;
        let description = FileDescription {
            filename: "in.jsonl".to_owned(),
            purpose: "batch".to_owned(),
            expires_after: None,
        };
        let request = BatchRequest {
            input_file_id: upload.finish(description).await?.id,
            endpoint: CHAT.to_owned(),
            completion_window: "24h".to_owned(),
            lenient: Some(self.lenient),
            deadline,
            ..BatchRequest::default()
        };
        Ok(service.create_batch(TENANT, request).await?.id)
    }
}

fn request(number: u64, model: u64) -> String {
    let request = serde_json::json!({
        "custom_id": format!("c-{number}"),
        "method": "POST",
        "url": CHAT,
        "body": {"model": format!("m{model}"), "messages": [{"role": "user", "content": "?"}]},
    });
    format!("{request}\n")
}

/// What is wrong with what an ended batch has left; nothing if every line is there once.
pub(super) async fn unaccounted(service: &Service, id: &str, job: &Job) -> Result<Option<String>> {
    let progress = service.progress(TENANT, id).await?;
    let batch = progress.batch;
    let errors = batch.errors.as_ref().map(|errors| format!("{errors:?}"));
    if let Some(errors) = errors.filter(|errors| errors.contains("internal")) {
        return Ok(Some(errors));
    }
    let counts = batch.request_counts.unwrap_or_default();
    if counts.total == 0 {
        return Ok(None); // Refused, or ended before it was validated: there are no files.
    }
    let output = lines_of(service, batch.output_file_id.as_deref()).await?;
    let errors = lines_of(service, batch.error_file_id.as_deref()).await?;
    let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
    for line in output.iter().chain(&errors) {
        *seen.entry(number(line)).or_default() += 1;
    }
    let ended = errors.iter().filter(|line| is_ended(line)).count();
    let told = (
        counts.total as usize,
        counts.completed as usize,
        counts.failed as usize,
    );
    let found = (job.numbers.len(), output.len(), errors.len() - ended);
    if told != found {
        return Ok(Some(format!(
            "it counts {told:?}, its files have {found:?}"
        )));
    }
    if !seen.keys().eq(&job.numbers) || seen.values().any(|times| *times != 1) {
        return Ok(Some(format!("lines that are missing or twice: {seen:?}")));
    }
    let in_order = |lines: &[Value]| lines.iter().map(number).is_sorted();
    Ok((!in_order(&output) || !in_order(&errors))
        .then(|| "a file is not in input order".to_owned()))
}

fn is_ended(line: &Value) -> bool {
    matches!(
        line["error"]["code"].as_str(),
        Some("batch_cancelled" | "batch_expired")
    )
}

fn number(line: &Value) -> u64 {
    let id = line["id"].as_str().unwrap_or("_0");
    id.rsplit_once('_').unwrap().1.parse().unwrap()
}

async fn lines_of(service: &Service, file: Option<&str>) -> Result<Vec<Value>> {
    let Some(file) = file else {
        return Ok(Vec::new());
    };
    let content = service.content(TENANT, file).await?;
    let bytes = content.file.bytes.unwrap_or_default();
    let whole: Vec<_> = content.stream(0..bytes).try_collect().await?;
    // What does not parse is a line all the same, of no number.
    let parse = |line: &[u8]| serde_json::from_slice(line).unwrap_or(Value::Null);
    let whole = whole.concat();
    let lines = whole
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    Ok(lines.map(parse).collect())
}
