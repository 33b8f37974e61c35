//! A provider in memory, with a clock that jumps, faults by script, and a bill.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::batches::{
    BatchClient, BatchCreateRequest, BatchListResponse, BatchResponse, CreateOptions,
};
use crate::content::Content;
use crate::download::Download;
use crate::error::{ApiDetail, DittoError, HttpError, HttpStage, Result};
use crate::files::{FileClient, ListFiles};
use crate::jobs::{Clock, Provider};
use crate::upload::FileUpload;
use crate::wire::{Batch, DeletedFile, FileObject, Page};

/// A batch takes so long, in seconds.
const RUNS_FOR: i64 = 600;

/// What comes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Ok,
    Status(u16),
    Code(&'static str),
    Nothing,
    Twice,
    /// Answered under a name that nobody asked for, and under its own.
    AndUnknown,
    /// Cut off within the line.
    Torn,
    /// With line separators in it.
    Breaks,
}

/// What is wrong with a create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Create {
    Fine,
    /// It happens, and its answer is lost.
    AnswerLost,
    /// It does not happen, and its answer is lost.
    CallLost,
    /// The batch is refused for its lines.
    FailsForLine(u64),
}

type Answering = dyn Fn(&Value, u32) -> Answer + Send + Sync;

/// The provider, its clock and its bill. Clones are the same.
#[derive(Clone)]
pub(crate) struct Fake(Arc<Inner>);

struct Inner {
    world: Mutex<World>,
    answering: Box<Answering>,
    stopped: Notify,
}

pub(crate) struct World {
    now: i64,
    files: BTreeMap<String, Vec<u8>>,
    pub(crate) batches: Vec<FakeBatch>,
    names: u64,
    /// Before and after each call that does something, counted.
    points: u64,
    pub(crate) stop_at: Option<u64>,
    pub(crate) creates: Vec<Create>,
    pub(crate) lists: bool,
    /// A new batch is in no list for so long.
    pub(crate) list_is_late_by: i64,
    pub(crate) lists_oldest_first: bool,
    pub(crate) keeps_metadata: bool,
    pub(crate) status_at_end: &'static str,
    /// So many lines of a batch are done when it ends.
    pub(crate) share_done: f64,
    /// Calls that fail in passing, one after the other.
    pub(crate) weather: u32,
    /// How often each line was run, by its `n`.
    pub(crate) billed: BTreeMap<i64, u32>,
    pub(crate) max_enqueued_lines: Option<usize>,
    /// A batch of more fails.
    pub(crate) max_lines: Option<usize>,
    /// So many batches do not end by themselves.
    pub(crate) endless: usize,
    /// Nor when they are cancelled.
    pub(crate) cancels: bool,
    pub(crate) most_open: usize,
    pub(crate) deleted: Vec<String>,
}

pub(crate) struct FakeBatch {
    pub(crate) id: String,
    request: BatchCreateRequest,
    created_at: i64,
    ends_at: i64,
    lines: usize,
    failed: Option<Value>,
    cancelled: bool,
    output: Option<String>,
    errors: Option<String>,
}

impl Fake {
    pub(crate) fn answering(
        answering: impl Fn(&Value, u32) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let world = World {
            now: 1_700_000_000,
            files: BTreeMap::new(),
            batches: Vec::new(),
            names: 0,
            points: 0,
            stop_at: None,
            creates: Vec::new(),
            lists: true,
            list_is_late_by: 0,
            lists_oldest_first: false,
            keeps_metadata: true,
            status_at_end: "completed",
            share_done: 1.0,
            weather: 0,
            billed: BTreeMap::new(),
            max_enqueued_lines: None,
            max_lines: None,
            endless: 0,
            cancels: true,
            most_open: 0,
            deleted: Vec::new(),
        };
        Self(Arc::new(Inner {
            world: Mutex::new(world),
            answering: Box::new(answering),
            stopped: Notify::new(),
        }))
    }

    pub(crate) fn ok() -> Self {
        Self::answering(|_, _| Answer::Ok)
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().unwrap()
    }

    pub(crate) fn provider(&self) -> Provider {
        Provider::new(self.clone(), self.clone())
    }

    /// Comes back when the point is reached at which everything stops.
    pub(crate) async fn stopped(&self) {
        self.0.stopped.notified().await;
    }

    /// Batches that ran.
    pub(crate) fn ran(&self) -> usize {
        self.world()
            .batches
            .iter()
            .filter(|b| b.failed.is_none())
            .count()
    }

    /// How often any line was paid for, at most.
    pub(crate) fn most_billed(&self) -> u32 {
        self.world().billed.values().copied().max().unwrap_or(0)
    }

    /// A place where the process may die.
    async fn point(&self) {
        let dies = {
            let mut world = self.world();
            world.points += 1;
            world.stop_at == Some(world.points)
        };
        if dies {
            self.0.stopped.notify_one();
            std::future::pending::<()>().await;
        }
    }

    fn weather(&self, operation: &'static str) -> Result<()> {
        let mut world = self.world();
        if world.weather == 0 {
            return Ok(());
        }
        world.weather -= 1;
        let error = HttpError::new(operation, HttpStage::Exchange, "cut off".to_owned());
        Err(DittoError::Http(error))
    }

    fn run(&self, world: &mut World, batch: &mut FakeBatch) {
        let bytes = world.files[&batch.request.input_file_id].clone();
        let lines: Vec<&[u8]> = crate::jsonl::split_lines(&bytes).collect();
        batch.lines = lines.len();
        let done = (lines.len() as f64 * world.share_done).round() as usize;
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        for (index, line) in lines.iter().enumerate() {
            let line: Value = serde_json::from_slice(line).expect("every line is whole");
            assert_eq!(line["url"], batch.request.endpoint, "{line}");
            let id = line["custom_id"].clone();
            if index >= done {
                let error =
                    json!({"code": format!("batch_{}", world.status_at_end), "message": "m"});
                errors.push(json!({"custom_id": id, "response": null, "error": error}).to_string());
                continue;
            }
            let n = line["body"]["n"].as_i64().expect("every body has a number");
            let times = world.billed.entry(n).or_default();
            let answer = (self.0.answering)(&line["body"], *times);
            *times += u32::from(!matches!(answer, Answer::Code(_) | Answer::Status(400..)));
            let ok = |id: &Value, text: &str| {
                let body = json!({
                    "id": "c", "n": n, "text": text,
                    "choices": [{"finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 2, "completion_tokens": 3},
                });
                json!({"id": "x", "custom_id": id, "response": {"status_code": 200, "request_id": "r", "body": body}, "error": null}).to_string()
            };
            match answer {
                Answer::Ok => output.push(ok(&id, "t")),
                Answer::Breaks => output.push(ok(&id, "a\u{2028}b\u{85}c")),
                Answer::Twice => output.extend([ok(&id, "first"), ok(&id, "second")]),
                Answer::AndUnknown => output.extend([ok(&json!("nobody's"), "t"), ok(&id, "t")]),
                Answer::Torn => output.push(ok(&id, "t")[..40].to_owned()),
                Answer::Nothing => {}
                Answer::Status(status) => {
                    let body = json!({"error": {"message": "m"}});
                    errors.push(json!({"custom_id": id, "response": {"status_code": status, "body": body}, "error": null}).to_string());
                }
                Answer::Code(code) => {
                    let error = json!({"code": code, "message": "m"});
                    errors.push(json!({"custom_id": id, "error": error}).to_string());
                }
            }
        }
        // Order means nothing, and a provider shows it.
        output.reverse();
        batch.output = (!output.is_empty()).then(|| world.store(output.join("\r\n").into_bytes()));
        batch.errors = Some(world.store(errors.join("\n").into_bytes()));
    }
}

impl World {
    pub(crate) fn pass(&mut self, seconds: i64) {
        self.now += seconds;
    }

    /// From now on it has no such file.
    pub(crate) fn lose(&mut self, file: Option<&String>) {
        file.and_then(|file| self.files.remove(file));
    }

    fn name(&mut self, kind: &str) -> String {
        self.names += 1;
        format!("{kind}-{}", self.names)
    }

    fn store(&mut self, bytes: Vec<u8>) -> String {
        let id = self.name("file");
        self.files.insert(id.clone(), bytes);
        id
    }

    fn shown(&self, batch: &FakeBatch) -> Batch {
        let over = self.now >= batch.ends_at;
        let status = match (over, &batch.failed) {
            (_, Some(_)) => "failed",
            (true, None) if batch.cancelled => "cancelled",
            (true, None) => self.status_at_end,
            (false, None) => "in_progress",
        };
        let kept = batch
            .request
            .metadata
            .as_ref()
            .filter(|_| self.keeps_metadata);
        let file = |file: &Option<String>| file.clone().filter(|_| over);
        let answer = json!({
            "id": batch.id,
            "status": status,
            "created_at": batch.created_at,
            "input_file_id": batch.request.input_file_id,
            "metadata": kept,
            "output_file_id": file(&batch.output),
            "error_file_id": file(&batch.errors),
            "errors": batch.failed,
            "request_counts": {"total": batch.lines, "completed": 0, "failed": 0},
        });
        Batch::from_answer(&answer).unwrap()
    }
}

fn refused(status: u16, code: &str, message: &str) -> DittoError {
    DittoError::Api {
        status,
        code: Some(code.to_owned()),
        kind: None,
        param: None,
        message: message.to_owned(),
        request_id: None,
        detail: Box::new(ApiDetail {
            operation: "fake",
            retry_after: None,
            should_retry: None,
            outcome_unknown: false,
        }),
    }
}

#[async_trait]
impl Clock for Fake {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.world().now.unsigned_abs())
    }

    async fn sleep(&self, time: Duration) {
        self.world().now += time.as_secs().cast_signed();
        tokio::task::yield_now().await;
    }
}

#[async_trait]
impl FileClient for Fake {
    fn provider(&self) -> &str {
        "fake"
    }

    async fn upload(&self, file: FileUpload) -> Result<FileObject> {
        self.point().await;
        self.weather("file.upload")?;
        let bytes = file.bytes().await?;
        let id = self.world().store(bytes);
        self.point().await;
        Ok(FileObject {
            id,
            ..FileObject::default()
        })
    }

    async fn list(&self, _: ListFiles) -> Result<Page<FileObject>> {
        Ok(Page::default())
    }

    async fn retrieve(&self, file_id: &str) -> Result<FileObject> {
        Ok(FileObject {
            id: file_id.to_owned(),
            ..FileObject::default()
        })
    }

    async fn delete(&self, file_id: &str) -> Result<DeletedFile> {
        self.point().await;
        self.world().deleted.push(file_id.to_owned());
        Ok(DeletedFile {
            id: file_id.to_owned(),
            object: "file".to_owned(),
            deleted: true,
        })
    }

    async fn content(&self, _: &str) -> Result<Content> {
        unreachable!("jobs download to disk")
    }

    async fn download_to(&self, file_id: &str, path: &Path) -> Result<Download> {
        self.point().await;
        self.weather("file.content")?;
        let bytes = self.world().files.get(file_id).cloned();
        let bytes = bytes.ok_or_else(|| refused(404, "not_found", "no such file"))?;
        std::fs::write(path, &bytes)?;
        self.point().await;
        Ok(Download {
            bytes: bytes.len() as u64,
            resumed: 0,
            restarted: 0,
        })
    }
}

#[async_trait]
impl BatchClient for Fake {
    fn provider(&self) -> &str {
        "fake"
    }

    async fn create_with(
        &self,
        request: BatchCreateRequest,
        _: CreateOptions,
    ) -> Result<BatchResponse> {
        self.point().await;
        let (shown, lost) = {
            let mut world = self.world();
            let fault = match world.creates.is_empty() {
                true => Create::Fine,
                false => world.creates.remove(0),
            };
            let lost = HttpError::new("batch.create", HttpStage::Exchange, "cut off".to_owned());
            if fault == Create::CallLost {
                return Err(DittoError::Http(lost.outcome_unknown(true)));
            }
            let mut batch = FakeBatch {
                id: world.name("batch"),
                request,
                created_at: world.now,
                ends_at: match world.batches.len() < world.endless {
                    true => i64::MAX,
                    false => world.now + RUNS_FOR,
                },
                lines: 0,
                failed: None,
                cancelled: false,
                output: None,
                errors: None,
            };
            let full = "Enqueued token limit reached for m in organization o.";
            let now = world.now;
            let going: usize = world
                .batches
                .iter()
                .filter(|b| b.ends_at > now)
                .map(|b| b.lines)
                .sum();
            let bytes = &world.files[&batch.request.input_file_id];
            let lines = crate::jsonl::split_lines(bytes).count();
            let too_many = world
                .max_enqueued_lines
                .is_some_and(|max| going + lines > max);
            let too_long = world.max_lines.is_some_and(|max| lines > max);
            batch.failed = match fault {
                _ if too_long => Some(json!([{"code": "too_many_tasks", "message": "Too many."}])),
                _ if too_many => Some(json!([{"code": "token_limit_exceeded", "message": full}])),
                Create::FailsForLine(line) => {
                    Some(json!([{"code": "model_not_found", "message": "no such", "line": line}]))
                }
                Create::Fine | Create::AnswerLost | Create::CallLost => None,
            };
            match batch.failed {
                Some(_) => batch.ends_at = now,
                None => self.run(&mut world, &mut batch),
            }
            let shown = world.shown(&batch);
            world.batches.push(batch);
            let open = world.batches.iter().filter(|b| b.ends_at > now).count();
            world.most_open = world.most_open.max(open);
            (shown, (fault == Create::AnswerLost).then_some(lost))
        };
        self.point().await;
        match lost {
            Some(lost) => Err(DittoError::Http(lost.outcome_unknown(true))),
            None => Ok(BatchResponse {
                batch: shown,
                warnings: Vec::new(),
                raw: Value::Null,
            }),
        }
    }

    async fn retrieve(&self, batch_id: &str) -> Result<BatchResponse> {
        self.point().await;
        self.weather("batch.retrieve")?;
        let world = self.world();
        let batch = world.batches.iter().find(|batch| batch.id == batch_id);
        match batch {
            Some(batch) => Ok(BatchResponse {
                batch: world.shown(batch),
                warnings: Vec::new(),
                raw: Value::Null,
            }),
            None => Err(refused(404, "not_found", "no such batch")),
        }
    }

    /// Nothing of the batch was answered yet.
    async fn cancel(&self, batch_id: &str) -> Result<BatchResponse> {
        {
            let mut world = self.world();
            let (now, cancels) = (world.now, world.cancels);
            let mut batches = world.batches.iter_mut();
            let ends = |one: &FakeBatch| one.id == batch_id && one.ends_at > now;
            let Some(batch) = batches.find(|one| ends(one)).filter(|_| cancels) else {
                return Err(refused(409, "conflict", "it has ended"));
            };
            (batch.ends_at, batch.cancelled) = (now, true);
            (batch.output, batch.errors) = (None, None);
        }
        BatchClient::retrieve(self, batch_id).await
    }

    /// One batch a page: whoever looks must read on.
    async fn list(&self, _: Option<u32>, after: Option<String>) -> Result<BatchListResponse> {
        self.point().await;
        self.weather("batch.list")?;
        let world = self.world();
        if !world.lists {
            return Err(refused(404, "not_found", "no such route"));
        }
        let seen = |batch: &&FakeBatch| world.now - batch.created_at >= world.list_is_late_by;
        let mut all: Vec<_> = world.batches.iter().rev().filter(seen).collect();
        if world.lists_oldest_first {
            all.reverse();
        }
        let start = match &after {
            Some(after) => all
                .iter()
                .position(|batch| batch.id == *after)
                .map_or(0, |at| at + 1),
            None => 0,
        };
        let batches: Vec<Batch> = all
            .iter()
            .skip(start)
            .take(1)
            .map(|batch| world.shown(batch))
            .collect();
        let has_more = start + batches.len() < all.len();
        Ok(BatchListResponse {
            after: batches
                .last()
                .map(|batch| batch.id.clone())
                .filter(|_| has_more),
            batches,
            has_more,
            warnings: Vec::new(),
            raw: Value::Null,
        })
    }
}
