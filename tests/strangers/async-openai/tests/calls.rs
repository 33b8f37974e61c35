//! Each call that `async-openai` has for files and batches, against a server whose address is in the environment:
//!
//!     python3 tests/client/harness.py serve --api-key-file tests/strangers/keys \
//!         --config tests/strangers/server.toml -- cargo test --manifest-path tests/strangers/async-openai/Cargo.toml
//!
//! Its types know each status and purpose by name and nothing else, so that reading is half of the proof.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::{ApiErrorResponse, OpenAIError};
use async_openai::traits::RequestOptionsBuilder;
use async_openai::types::InputSource;
use async_openai::types::batches::{
    Batch, BatchCompletionWindow, BatchEndpoint, BatchFileExpirationAfter,
    BatchFileExpirationAnchor, BatchRequest, BatchRequestOutput, BatchStatus,
};
use async_openai::types::files::{
    CreateFileRequest, FileExpirationAfter, FileExpirationAfterAnchor, FileInput, FilePurpose,
    OpenAIFile, OpenAIFilePurpose,
};
use async_openai::types::uploads::{
    AddUploadPartRequest, CompleteUploadRequest, CreateUploadRequest, UploadPurpose,
};

const MANY: usize = 250;

fn connect(tenant: &str) -> Client<OpenAIConfig> {
    let address =
        std::env::var("OPENAI_COMPAT_BASE_URL").expect("run beside tests/client/harness.py");
    let key = format!("sk-{tenant}-0123456789abcdef");
    Client::with_config(OpenAIConfig::new().with_api_base(address).with_api_key(key))
}

fn rows(count: usize, text: &str) -> String {
    let row = |n| {
        format!(
            r#"{{"custom_id":"row-{n}","method":"POST","url":"/v1/chat/completions","body":{{"model":"demo-small","messages":[{{"role":"user","content":"{text}"}}]}}}}"#
        ) + "\n"
    };
    (0..count).map(row).collect()
}

fn form(content: &str) -> CreateFileRequest {
    let source = InputSource::VecU8 {
        filename: "job.jsonl".to_owned(),
        vec: content.as_bytes().to_vec(),
    };
    CreateFileRequest {
        file: FileInput { source },
        purpose: FilePurpose::Batch,
        expires_after: None,
    }
}

fn order(file: &OpenAIFile) -> BatchRequest {
    BatchRequest {
        input_file_id: file.id.clone(),
        endpoint: BatchEndpoint::V1ChatCompletions,
        completion_window: BatchCompletionWindow::W24H,
        metadata: None,
        output_expires_after: None,
    }
}

async fn run(client: &Client<OpenAIConfig>, content: &str) -> Batch {
    let file = client.files().create(form(content)).await.unwrap();
    let batch = client.batches().create(order(&file)).await.unwrap();
    until(client, &batch.id, |batch| ended(&batch.status)).await
}

async fn until(client: &Client<OpenAIConfig>, id: &str, ready: impl Fn(&Batch) -> bool) -> Batch {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let batch = client.batches().retrieve(id).await.unwrap();
        if ready(&batch) {
            return batch;
        }
        assert!(Instant::now() < end, "not within a minute: {batch:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn ended(status: &BatchStatus) -> bool {
    use BatchStatus::{Cancelled, Completed, Expired, Failed};
    matches!(status, Completed | Failed | Expired | Cancelled)
}

fn refused<T: std::fmt::Debug>(
    answer: Result<T, OpenAIError>,
) -> (u16, Option<String>, Option<String>) {
    match answer.unwrap_err() {
        OpenAIError::ApiError(ApiErrorResponse {
            status_code,
            api_error,
        }) => (status_code.as_u16(), api_error.param, api_error.code),
        other => panic!("not an answer of the API: {other}"),
    }
}

#[tokio::test]
async fn a_file_is_made_read_listed_and_deleted() {
    let client = connect("rust");
    let content = rows(3, "say");
    let mut request = form(&content);
    let anchor = FileExpirationAfterAnchor::CreatedAt;
    request.expires_after = Some(FileExpirationAfter {
        anchor,
        seconds: 3600,
    });
    let file = client.files().create(request).await.unwrap();
    assert_eq!(
        (file.filename.as_str(), &file.purpose),
        ("job.jsonl", &OpenAIFilePurpose::Batch)
    );
    assert_eq!(file.expires_at, Some(file.created_at + 3600));
    assert_eq!(client.files().retrieve(&file.id).await.unwrap(), file);
    assert_eq!(client.files().content(&file.id).await.unwrap(), content);
    let query = [("purpose", "batch"), ("limit", "10000"), ("order", "asc")];
    let listed = client.files().query(&query).unwrap().list().await.unwrap();
    assert!(listed.data.contains(&file));
    assert!(client.files().delete(&file.id).await.unwrap().deleted);
    assert_eq!(refused(client.files().retrieve(&file.id).await).0, 404);
}

#[tokio::test]
async fn a_file_comes_in_parts() {
    let client = connect("rust");
    let content = rows(3, "say");
    let request = CreateUploadRequest {
        filename: "parts.jsonl".to_owned(),
        purpose: UploadPurpose::Batch,
        bytes: content.len() as u64,
        mime_type: "text/jsonl".to_owned(),
        expires_after: None,
    };
    let pending = client.uploads().create(request).await.unwrap();
    let mut part_ids = Vec::new();
    for piece in [&content[..100], &content[100..]] {
        let vec = piece.as_bytes().to_vec();
        let filename = "part".to_owned();
        let data = InputSource::VecU8 { filename, vec };
        let part = AddUploadPartRequest { data };
        let added = client.uploads().add_part(&pending.id, part).await;
        part_ids.push(added.unwrap().id);
    }
    let request = CompleteUploadRequest {
        part_ids,
        md5: None,
    };
    let done = client.uploads().complete(&pending.id, request).await;
    let file = done.unwrap().file.unwrap();
    assert_eq!(client.files().content(&file.id).await.unwrap(), content);
}

#[tokio::test]
async fn a_batch_is_made_run_and_read() {
    let client = connect("rust");
    let file = client.files().create(form(&rows(3, "say"))).await.unwrap();
    let mut request = order(&file);
    request.metadata = Some([("job".to_owned(), "seven".into())].into());
    let anchor = BatchFileExpirationAnchor::CreatedAt;
    request.output_expires_after = Some(BatchFileExpirationAfter {
        anchor,
        seconds: 7200,
    });
    let created = client.batches().create(request).await.unwrap();
    let batch = until(&client, &created.id, |batch| ended(&batch.status)).await;
    assert_eq!(
        (created.status, batch.status),
        (BatchStatus::Validating, BatchStatus::Completed)
    );
    assert_eq!(batch.request_counts.unwrap().completed, 3);
    assert!(batch.usage.unwrap().total_tokens > 0);
    let output = client
        .files()
        .content(&batch.output_file_id.unwrap())
        .await
        .unwrap();
    let read = |line| {
        serde_json::from_slice::<BatchRequestOutput>(line)
            .unwrap()
            .custom_id
    };
    let lines = output
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    assert_eq!(
        lines.map(read).collect::<Vec<_>>(),
        ["row-0", "row-1", "row-2"]
    );
}

#[tokio::test]
async fn a_bad_file_fails_its_batch_and_says_where() {
    let batch = run(&connect("rust"), &(rows(1, "say") + "nonsense\n")).await;
    assert_eq!(batch.status, BatchStatus::Failed);
    let faults = batch.errors.unwrap().data;
    assert_eq!(
        (faults[0].line, faults[0].code.as_str()),
        (Some(2), "invalid_json_line")
    );
}

#[tokio::test]
async fn batches_are_paged_to_the_end_each_once_and_newest_first() {
    let client = connect("rust-many");
    let file = client.files().create(form(&rows(1, "say"))).await.unwrap();
    let mut made = Vec::new();
    for _ in 0..MANY {
        made.push(client.batches().create(order(&file)).await.unwrap().id);
    }
    let mut listed = Vec::new();
    let mut after = String::new();
    loop {
        let query = [("limit", "100"), ("after", &after)];
        let page = client
            .batches()
            .query(&query)
            .unwrap()
            .list()
            .await
            .unwrap();
        listed.extend(page.data.into_iter().map(|batch| batch.id));
        if !page.has_more {
            break;
        }
        after = page.last_id.unwrap();
    }
    made.reverse();
    assert_eq!(listed, made);
    assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), MANY);
}

#[tokio::test]
async fn a_batch_that_runs_is_cancelled_and_cancelled_again() {
    let client = connect("rust");
    let file = client
        .files()
        .create(form(&rows(2000, "sim: delay 1s")))
        .await
        .unwrap();
    let id = client.batches().create(order(&file)).await.unwrap().id;
    until(&client, &id, |batch| {
        batch.status == BatchStatus::InProgress
    })
    .await;
    client.batches().cancel(&id).await.unwrap();
    let batch = until(&client, &id, |batch| ended(&batch.status)).await;
    let again = client.batches().cancel(&id).await.unwrap();
    assert_eq!(
        (batch.status, again.status),
        (BatchStatus::Cancelled, BatchStatus::Cancelled)
    );
}

#[tokio::test]
async fn refusals_are_errors_of_the_api_with_status_param_and_code() {
    let client = connect("rust");
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        refused(client.files().content("file-none").await),
        (404, text("id"), None)
    );
    assert_eq!(
        refused(client.batches().retrieve("batch_none").await),
        (404, None, None)
    );
    let limit = client
        .batches()
        .query(&[("limit", "101")])
        .unwrap()
        .list()
        .await;
    assert_eq!(
        refused(limit),
        (400, text("limit"), text("integer_above_max_value"))
    );
    let nobody = connect("nobody").files().list().await;
    assert_eq!(refused(nobody), (401, None, text("invalid_api_key")));
    let batch = run(&client, &rows(1, "say")).await;
    assert_eq!(refused(client.batches().cancel(&batch.id).await).0, 409);
}

/// It would try again when `Retry-After` says, three times a minute apart.
#[tokio::test]
async fn a_tenant_that_has_all_it_may_have_hears_of_it_at_once() {
    let client = connect("rust-full");
    let large = rows(3, &"x".repeat(1_000_000));
    client.files().create(form(&large)).await.unwrap();
    let began = Instant::now();
    let full = client.files().create(form(&large)).await;
    assert_eq!(
        refused(full),
        (429, None, Some("storage_limit_exceeded".to_owned()))
    );
    assert!(began.elapsed() < Duration::from_secs(30));
}
