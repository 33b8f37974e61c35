use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ditto_llm::{
    Batch, BatchClient, BatchClientExt as _, BatchCreateRequest, BatchListResponse, BatchResponse,
    BatchStatus, CreateOptions, DittoError, Result, WaitPolicy,
};
use tokio::time::Instant;

use crate::batches::batch;
use crate::server::{Reply, Server};

/// A provider without a network: its answers to `retrieve` come from a function of the look's
/// number, so that time can be let run by itself.
struct Scripted<F> {
    looks: Mutex<u32>,
    source: Server,
    answer: F,
}

impl<F: Fn(u32) -> Result<&'static str> + Send + Sync> Scripted<F> {
    /// `source` gives one real response to copy, since only clients can make them.
    async fn new(answer: F) -> Self {
        let source = Server::json(batch("batch_1", "validating")).await;
        Self {
            looks: Mutex::new(0),
            source,
            answer,
        }
    }

    async fn template(&self) -> BatchResponse {
        self.source.batches().retrieve("batch_1").await.unwrap()
    }
}

#[async_trait]
impl<F: Fn(u32) -> Result<&'static str> + Send + Sync> BatchClient for WithTemplate<F> {
    fn provider(&self) -> &str {
        "scripted"
    }

    async fn create_with(&self, _: BatchCreateRequest, _: CreateOptions) -> Result<BatchResponse> {
        unreachable!("no test creates here")
    }

    async fn retrieve(&self, _: &str) -> Result<BatchResponse> {
        let look = {
            let mut looks = self.script.looks.lock().unwrap();
            *looks += 1;
            *looks
        };
        let status = (self.script.answer)(look)?;
        let mut response = self.template.clone();
        response.batch.status = BatchStatus::from(status);
        Ok(response)
    }

    async fn cancel(&self, _: &str) -> Result<BatchResponse> {
        unreachable!("no test cancels here")
    }

    async fn list(&self, _: Option<u32>, _: Option<String>) -> Result<BatchListResponse> {
        unreachable!("no test lists here")
    }
}

struct WithTemplate<F> {
    script: Scripted<F>,
    template: BatchResponse,
}

/// The client, with the clock stopped once the template is there.
async fn scripted<F>(answer: F) -> WithTemplate<F>
where
    F: Fn(u32) -> Result<&'static str> + Send + Sync,
{
    let script = Scripted::new(answer).await;
    let template = script.template().await;
    tokio::time::pause();
    WithTemplate { script, template }
}

async fn refusal(status: u16) -> DittoError {
    let server = Server::answering(move |_| Reply::status(status, "no")).await;
    let client = server.batches().with_retry(ditto_llm::RetryPolicy::never());
    client.retrieve("batch_1").await.unwrap_err()
}

#[tokio::test]
async fn waiting_ends_with_the_batch_however_it_ended() {
    for end in ["completed", "failed", "expired", "cancelled"] {
        let client = scripted(move |look| Ok(if look < 4 { "in_progress" } else { end })).await;
        let batch = client.wait("batch_1", WaitPolicy::default()).await.unwrap();
        assert_eq!(batch.status, BatchStatus::from(end));
        tokio::time::resume();
    }
}

#[tokio::test]
async fn every_look_is_told_and_unknown_words_are_no_end() {
    let words = ["validating", "queued", "finalizing", "completed"];
    let client = scripted(move |look| Ok(words[look as usize - 1])).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let policy = WaitPolicy::default()
        .on_progress(move |batch: &Batch| sink.lock().unwrap().push(batch.status.to_string()));

    client.wait("batch_1", policy).await.unwrap();

    assert_eq!(*told.lock().unwrap(), words);
}

#[tokio::test]
async fn waiting_ends_at_the_deadline_with_what_was_last_seen() {
    let client = scripted(|_| Ok("in_progress")).await;
    let started = Instant::now();
    let policy = WaitPolicy::default().deadline(Some(Duration::from_secs(100)));

    let error = client.wait("batch_1", policy).await.unwrap_err();

    assert_eq!(
        error.to_string(),
        "batch_1 was still `in_progress` after 100 s"
    );
    assert_eq!(started.elapsed().as_secs(), 100);
}

#[tokio::test]
async fn a_long_wait_looks_about_once_a_minute() {
    let client = scripted(|_| Ok("in_progress")).await;
    let policy = WaitPolicy::default().deadline(Some(Duration::from_secs(3600)));

    client.wait("batch_1", policy).await.unwrap_err();

    let looks = *client.script.looks.lock().unwrap();
    assert!((55..=90).contains(&looks), "{looks}");
}

#[tokio::test]
async fn passing_errors_are_waited_out() {
    let errors = Mutex::new(vec![refusal(503).await, refusal(500).await]);
    let client = scripted(move |_| match errors.lock().unwrap().pop() {
        Some(error) => Err(error),
        None => Ok("completed"),
    })
    .await;

    let batch = client.wait("batch_1", WaitPolicy::default()).await.unwrap();

    assert_eq!(batch.status, BatchStatus::Completed);
}

#[tokio::test]
async fn a_provider_that_stays_away_is_waited_for_with_patience_and_no_longer() {
    let errors: Mutex<Vec<_>> = Mutex::default();
    for _ in 0..200 {
        errors.lock().unwrap().push(DittoError::Incomplete {
            file_id: "f".into(),
            received: 0,
            expected: None,
        });
    }
    let client = scripted(move |_| Err(errors.lock().unwrap().pop().unwrap())).await;
    let started = Instant::now();

    client
        .wait("batch_1", WaitPolicy::default())
        .await
        .unwrap_err();

    let minutes = started.elapsed().as_secs() / 60;
    assert!((60..=62).contains(&minutes), "{minutes}");
}

#[tokio::test]
async fn a_batch_not_found_yet_is_looked_for_for_a_minute() {
    let found = Mutex::new(vec![refusal(404).await]);
    let client = scripted(move |_| match found.lock().unwrap().pop() {
        Some(error) => Err(error),
        None => Ok("completed"),
    })
    .await;

    assert!(client.wait("batch_1", WaitPolicy::default()).await.is_ok());
}

#[tokio::test]
async fn a_batch_that_is_never_found_is_an_error_after_a_minute() {
    let mut missing = Vec::new();
    for _ in 0..30 {
        missing.push(refusal(404).await);
    }
    let missing = Mutex::new(missing);
    let client = scripted(move |_| Err(missing.lock().unwrap().pop().unwrap())).await;
    let started = Instant::now();

    let error = client
        .wait("batch_1", WaitPolicy::default())
        .await
        .unwrap_err();

    assert_eq!(error.status(), Some(404));
    assert!((60..130).contains(&started.elapsed().as_secs()));
}

#[tokio::test]
async fn a_definite_refusal_ends_the_wait_at_once() {
    let denied = Mutex::new(vec![refusal(401).await]);
    let client = scripted(move |_| Err(denied.lock().unwrap().pop().unwrap())).await;

    let error = client
        .wait("batch_1", WaitPolicy::default())
        .await
        .unwrap_err();

    assert_eq!(error.status(), Some(401));
}

#[tokio::test]
async fn waiting_works_behind_a_dyn_client_and_in_a_task() {
    let server = Server::json(batch("batch_1", "completed")).await;
    let client: Arc<dyn BatchClient> = Arc::new(server.batches());

    let task = tokio::spawn(async move { client.wait("batch_1", WaitPolicy::default()).await });

    assert_eq!(task.await.unwrap().unwrap().status, BatchStatus::Completed);
}

/// A provider that takes its time over each look.
struct Slow(WithTemplate<fn(u32) -> Result<&'static str>>, Duration);

#[async_trait]
impl BatchClient for Slow {
    fn provider(&self) -> &str {
        self.0.provider()
    }

    async fn create_with(&self, _: BatchCreateRequest, _: CreateOptions) -> Result<BatchResponse> {
        unreachable!("no test creates here")
    }

    async fn retrieve(&self, batch_id: &str) -> Result<BatchResponse> {
        tokio::time::sleep(self.1).await;
        self.0.retrieve(batch_id).await
    }

    async fn cancel(&self, _: &str) -> Result<BatchResponse> {
        unreachable!("no test cancels here")
    }

    async fn list(&self, _: Option<u32>, _: Option<String>) -> Result<BatchListResponse> {
        unreachable!("no test lists here")
    }
}

#[tokio::test]
async fn the_deadline_holds_though_a_look_takes_longer() {
    let answer: fn(u32) -> Result<&'static str> = |_| Ok("in_progress");
    let client = Slow(scripted(answer).await, Duration::from_secs(600));
    let started = Instant::now();
    let policy = WaitPolicy::default().deadline(Some(Duration::from_secs(100)));

    let error = client.wait("batch_1", policy).await.unwrap_err();

    assert!(matches!(error, DittoError::WaitedTooLong { .. }), "{error}");
    assert_eq!(started.elapsed().as_secs(), 100);
}

#[tokio::test]
async fn a_last_look_at_the_deadline_has_time_to_be_answered() {
    let answer: fn(u32) -> Result<&'static str> =
        |look| Ok(if look < 2 { "in_progress" } else { "completed" });
    let client = Slow(scripted(answer).await, Duration::from_secs(5));
    let policy = WaitPolicy::default()
        .first_pause(Duration::from_secs(60))
        .deadline(Some(Duration::from_secs(30)));

    let batch = client.wait("batch_1", policy).await.unwrap();

    assert_eq!(batch.status, BatchStatus::Completed);
}

#[tokio::test]
async fn times_without_end_are_waited_for_without_panic() {
    let client = scripted(|look| Ok(if look < 3 { "in_progress" } else { "completed" })).await;
    let policy = WaitPolicy::default()
        .first_pause(Duration::MAX)
        .longest_pause(Duration::MAX)
        .deadline(Some(Duration::MAX));

    assert!(client.wait("batch_1", policy).await.is_ok());
}

#[tokio::test]
async fn a_pause_without_end_asked_for_by_the_server_meets_the_deadline() {
    let server = Server::answering(|_| {
        Reply::status(429, "later").header("retry-after", "18000000000000000000")
    })
    .await;
    let client = server.batches();
    let policy = WaitPolicy::default().deadline(Some(Duration::from_millis(200)));

    let error = client.wait("batch_1", policy).await.unwrap_err();

    assert!(matches!(error, DittoError::WaitedTooLong { .. }), "{error}");
}
