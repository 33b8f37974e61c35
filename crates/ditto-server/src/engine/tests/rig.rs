//! A server on a folder of its own in front of a simulator, and what a batch left behind.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ditto_llm::wire::{Batch, BatchStatus};
use ditto_sim::{Sim, SimConfig};
use futures_util::TryStreamExt;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::clock::ManualClock;
use crate::journal::hanging::HangingDisk;
use crate::model::space::Floor;
use crate::service::{BatchRequest, FileDescription, Service};
use crate::{Config, Server, UpstreamConfig};

/// Whose everything is.
pub(super) const TENANT: &str = "tenant";
pub(super) const CHAT: &str = "/v1/chat/completions";
/// Nothing here takes longer, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// A server that runs, or has stopped and may be opened again.
pub(super) struct Rig {
    pub(super) config: Config,
    pub(super) sim: Sim,
    running: Option<Running>,
    _data: TempDir,
}

struct Running {
    service: Service,
    stop: oneshot::Sender<()>,
    task: JoinHandle<crate::Result<bool>>,
}

/// What a batch has left.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) batch: Batch,
    pub(super) output: Vec<Value>,
    pub(super) errors: Vec<Value>,
}

/// Starts a simulator on threads of its own, so that it outlives any runtime.
pub(super) fn sim(change: impl FnOnce(&mut SimConfig)) -> Sim {
    let mut config = SimConfig {
        threads: Some(1),
        ..SimConfig::default()
    };
    change(&mut config);
    Sim::start(config).unwrap()
}

/// Short waits, and otherwise as shipped.
pub(super) fn config(data: &TempDir, base_url: String) -> Config {
    let mut config = Config::new(
        data.path().join("data"),
        vec![UpstreamConfig::new("sim", base_url)],
    );
    config.upstreams[0].concurrency = crate::config::Concurrency::Fixed(8);
    // The disk that tests run on is nobody's claim.
    config.space = Floor::NONE;
    // Several lanes in one batch: what is strict of models is asked over HTTP.
    config.mixed_models = Some(true);
    config.sending.attempts = 3;
    config.sending.timeout = Duration::from_secs(10);
    config.sending.grace = Duration::from_secs(10);
    config
}

impl Rig {
    pub(super) async fn start() -> Self {
        Self::with(|_| {}, |_| {}).await
    }

    pub(super) async fn with(
        change_sim: impl FnOnce(&mut SimConfig),
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut rig = Self::stopped(change_sim, change);
        rig.open().await;
        rig
    }

    /// Not opened yet.
    pub(super) fn stopped(
        change_sim: impl FnOnce(&mut SimConfig),
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let sim = sim(change_sim);
        let data = tempfile::tempdir().unwrap();
        let mut config = config(&data, sim.base_url());
        change(&mut config);
        Self {
            config,
            sim,
            running: None,
            _data: data,
        }
    }

    pub(super) async fn open(&mut self) {
        let server = Server::open(self.config.clone()).await.unwrap();
        self.run(server);
    }

    /// With a journal on a disk and by a clock that the test has in hand.
    pub(super) async fn open_on(&mut self, disk: &HangingDisk, clock: &ManualClock) {
        let (disk, clock) = (Box::new(disk.clone()), Box::new(clock.clone()));
        let server = Server::open_on(self.config.clone(), disk, clock).await;
        self.run(server.unwrap());
    }

    fn run(&mut self, server: Server) {
        let service = server.service();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(server.run_engine(async move {
            // A dropped sender is a stop too.
            let _ = stopped.await;
        }));
        self.running = Some(Running {
            service,
            stop,
            task,
        });
    }

    /// Stops cleanly; whether all in flight ended within the grace.
    pub(super) async fn stop(&mut self) -> bool {
        let Running {
            service,
            stop,
            task,
        } = self.running.take().unwrap();
        drop((stop, service));
        task.await.unwrap().unwrap()
    }

    pub(super) fn service(&self) -> &Service {
        &self.running.as_ref().unwrap().service
    }

    /// Uploads the lines and makes a batch of them; its id.
    pub(super) async fn submit(&self, lines: &[u8]) -> String {
        self.submit_with(lines, |_| {}).await
    }

    pub(super) async fn submit_with(
        &self,
        lines: &[u8],
        change: impl FnOnce(&mut BatchRequest),
    ) -> String {
        submit(self.service(), lines, change).await
    }

    pub(super) async fn batch(&self, id: &str) -> Batch {
        self.service().batch(TENANT, id).await.unwrap()
    }

    /// Waits until this holds of the batch.
    pub(super) async fn until(
        &self,
        id: &str,
        what: &str,
        holds: impl Fn(&Batch) -> bool,
    ) -> Batch {
        until(self.service(), what, async || {
            let batch = self.batch(id).await;
            holds(&batch).then_some(batch)
        })
        .await
    }

    /// Waits for the end of the batch and reads what it left.
    pub(super) async fn ended(&self, id: &str) -> Left {
        ended(self.service(), id).await
    }
}

pub(super) async fn upload(service: &Service, lines: &[u8]) -> String {
    let mut upload = service.upload(TENANT).await.unwrap();
    upload.write(lines).await.unwrap();
    let description = FileDescription {
        filename: "in.jsonl".to_owned(),
        purpose: "batch".to_owned(),
        expires_after: None,
    };
    upload.finish(description).await.unwrap().id
}

pub(super) async fn submit(
    service: &Service,
    lines: &[u8],
    change: impl FnOnce(&mut BatchRequest),
) -> String {
    let mut request = BatchRequest {
        input_file_id: upload(service, lines).await,
        endpoint: CHAT.to_owned(),
        completion_window: "24h".to_owned(),
        ..BatchRequest::default()
    };
    change(&mut request);
    service.create_batch(TENANT, request).await.unwrap().id
}

/// Looks again whenever something may have changed, and now and then.
pub(super) async fn until<T>(
    service: &Service,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        // Either way it is looked again.
        let _ = tokio::time::timeout(Duration::from_millis(10), service.changed()).await;
    }
}

pub(super) async fn ended(service: &Service, id: &str) -> Left {
    let batch = until(service, "the batch has ended", async || {
        let progress = service.progress(TENANT, id).await.unwrap();
        progress.ended.then_some(progress.batch)
    })
    .await;
    let output = lines_of(service, batch.output_file_id.as_deref()).await;
    let errors = lines_of(service, batch.error_file_id.as_deref()).await;
    Left {
        batch,
        output,
        errors,
    }
}

async fn lines_of(service: &Service, file: Option<&str>) -> Vec<Value> {
    match file {
        None => Vec::new(),
        Some(file) => text(service, file)
            .await
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect(),
    }
}

/// A file's whole content.
pub(super) async fn text(service: &Service, file: &str) -> String {
    let content = service.content(TENANT, file).await.unwrap();
    let bytes = content.file.bytes.unwrap();
    let chunks: Vec<_> = content.stream(0..bytes).try_collect().await.unwrap();
    let whole = chunks.concat();
    assert_eq!(
        whole.len() as u64,
        bytes,
        "a file has the length that it says"
    );
    String::from_utf8(whole).unwrap()
}

impl Left {
    /// Every line once, in order, and the counts of OpenAI.
    pub(super) fn is_conserved(&self, total: usize) {
        let batch = &self.batch;
        let counts = batch.request_counts.as_ref().unwrap();
        assert_eq!(counts.total as usize, total, "{batch:?}");
        assert_eq!(self.output.len() + self.errors.len(), total, "{batch:?}");
        let mut seen = BTreeMap::new();
        for file in [&self.output, &self.errors] {
            let numbers: Vec<_> = file.iter().map(number).collect();
            assert!(numbers.is_sorted(), "in input order: {numbers:?}");
            numbers
                .into_iter()
                .for_each(|n| *seen.entry(n).or_insert(0) += 1);
        }
        assert!(
            seen.values().all(|times| *times == 1),
            "each line has one result"
        );
        assert_eq!(counts.completed as usize, self.output.len());
        let ended = self.codes().iter().filter(|code| is_ending(code)).count();
        assert_eq!(counts.failed as usize, self.errors.len() - ended);
    }

    pub(super) fn is(&self, status: BatchStatus) {
        assert_eq!(self.batch.status, status, "{:?}", self.batch);
    }

    /// The codes of the error lines; of one without an `error`, its status.
    pub(super) fn codes(&self) -> Vec<String> {
        self.errors.iter().map(code).collect()
    }
}

fn is_ending(code: &str) -> bool {
    matches!(code, "batch_cancelled" | "batch_expired")
}

pub(super) fn code(line: &Value) -> String {
    match line["error"]["code"].as_str() {
        Some(code) => code.to_owned(),
        None => line["response"]["status_code"].to_string(),
    }
}

/// The physical line that a result belongs to.
pub(super) fn number(line: &Value) -> u64 {
    let id = line["id"].as_str().unwrap();
    id.rsplit_once('_').unwrap().1.parse().unwrap()
}

/// Our id of a line, as the upstream gets it.
pub(super) fn line_id(batch: &str, number: u64) -> String {
    format!("{}{number}", crate::engine::work::line_id_prefix(batch))
}

/// A request with this prompt, on one line.
pub(super) fn line(number: usize, prompt: &str) -> String {
    line_for("m", number, prompt)
}

pub(super) fn line_for(model: &str, number: usize, prompt: &str) -> String {
    let request = serde_json::json!({
        "custom_id": format!("c-{number}"),
        "method": "POST",
        "url": CHAT,
        "body": {"model": model, "messages": [{"role": "user", "content": prompt}]},
    });
    format!("{request}\n")
}

/// So many good requests.
pub(super) fn lines(count: usize) -> Vec<u8> {
    (1..=count)
        .map(|n| line(n, &format!("say {n}")))
        .collect::<String>()
        .into_bytes()
}

/// One request for each prompt.
pub(super) fn prompts(prompts: &[&str]) -> Vec<u8> {
    prompts
        .iter()
        .zip(1..)
        .map(|(prompt, n)| line(n, prompt))
        .collect::<String>()
        .into_bytes()
}
