//! Recorded shapes of the wire: read, written again, compared.

use ditto_llm::wire::{UploadObject, UploadPartObject};
use ditto_llm::{
    Batch, BatchStatus, DeletedFile, ErrorEnvelope, FileObject, Page, RequestLine, ResultLine,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../fixtures/", $name)).trim_end()
    };
}

/// Read and written, nothing is lost, added or moved.
fn assert_exact<T: DeserializeOwned + Serialize>(text: &str) {
    let read: T = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
}

/// Read and written, only nulls were added.
fn assert_complete<T: DeserializeOwned + Serialize>(text: &str) {
    let read: T = serde_json::from_str(text).unwrap();
    let given: Value = serde_json::from_str(text).unwrap();
    assert_eq!(
        without_nulls(serde_json::to_value(&read).unwrap()),
        without_nulls(given)
    );
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect(),
        Value::Array(list) => list.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

#[test]
fn batches_are_written_as_openai_writes_them() {
    assert_exact::<Batch>(fixture!("batch_validating.json"));
    assert_exact::<Batch>(fixture!("batch_completed.json"));
    assert_exact::<Batch>(fixture!("batch_failed.json"));
    assert_complete::<Page<Batch>>(fixture!("batch_list.json"));
}

#[test]
fn files_are_written_as_openai_writes_them() {
    assert_exact::<FileObject>(fixture!("file_uploaded.json"));
    assert_complete::<Page<FileObject>>(fixture!("file_list.json"));
    assert_exact::<DeletedFile>(fixture!("file_deleted.json"));
}

#[test]
fn uploads_are_written_as_openai_writes_them() {
    assert_exact::<UploadObject>(fixture!("upload_pending.json"));
    assert_complete::<UploadObject>(fixture!("upload_completed.json"));
    assert_exact::<UploadPartObject>(fixture!("upload_part.json"));
}

#[test]
fn errors_are_written_as_openai_writes_them() {
    fixture!("errors.jsonl")
        .lines()
        .for_each(assert_exact::<ErrorEnvelope>);
}

#[test]
fn lines_are_written_with_bodies_byte_for_byte() {
    fixture!("requests.jsonl")
        .lines()
        .for_each(assert_exact::<RequestLine>);
    fixture!("results.jsonl")
        .lines()
        .for_each(assert_exact::<ResultLine>);
}

#[test]
fn every_status_keeps_its_text() {
    for text in [
        "validating",
        "failed",
        "in_progress",
        "finalizing",
        "completed",
        "expired",
        "cancelling",
        "cancelled",
        "Paused by Admin",
        "",
    ] {
        assert_exact::<BatchStatus>(&format!("\"{text}\""));
    }
}

#[test]
fn statuses_are_known_in_every_spelling() {
    for (text, status) in [
        ("VALIDATING", BatchStatus::Validating),
        ("In_Progress", BatchStatus::InProgress),
        ("in-progress", BatchStatus::InProgress),
        ("CANCELED", BatchStatus::Cancelled),
        ("canceling", BatchStatus::Cancelling),
    ] {
        assert_eq!(BatchStatus::from(text), status, "{text}");
    }
}

#[test]
fn only_the_id_is_required() {
    let batch: Batch = serde_json::from_str(r#"{"id":"b"}"#).unwrap();
    assert_eq!(batch.status, BatchStatus::Other(String::new()));
    assert!(!batch.status.is_terminal());
    let file: FileObject = serde_json::from_str(r#"{"id":"f"}"#).unwrap();
    assert_eq!(
        file,
        FileObject {
            id: "f".into(),
            ..FileObject::default()
        }
    );
    assert!(serde_json::from_str::<Batch>(r#"{"id":""}"#).is_err());
    assert!(serde_json::from_str::<FileObject>("{}").is_err());
}

#[test]
fn groqs_bare_list_of_errors_is_read() {
    let batch: Batch = serde_json::from_str(fixture!("batch_groq.json")).unwrap();
    let error = &batch.errors.unwrap().data[0];
    assert_eq!(
        (error.code.as_deref(), error.line),
        (Some("invalid_method"), Some(4))
    );
}

#[test]
fn errors_of_every_shape_are_read() {
    let messages = |errors: &str| {
        let text = format!(r#"{{"id":"b","errors":{errors}}}"#);
        let batch: Batch = serde_json::from_str(&text).unwrap();
        let errors = batch.errors.map(|errors| errors.data).unwrap_or_default();
        errors
            .into_iter()
            .map(|error| error.message.unwrap_or_default())
            .collect::<Vec<_>>()
    };
    for nothing in ["null", "[]", "\"\"", "{\"data\":null}", "{}"] {
        assert_eq!(messages(nothing), Vec::<String>::new(), "{nothing}");
    }
    assert_eq!(
        messages(r#"{"data":[{"message":"a"},{"message":"b"}]}"#),
        ["a", "b"]
    );
    assert_eq!(messages(r#""one text""#), ["one text"]);
    assert_eq!(messages(r#"["a","b"]"#), ["a", "b"]);
    assert_eq!(
        messages(r#"[{"message":"status 400","count":2}]"#),
        ["status 400"]
    );
}

#[test]
fn azures_old_batch_is_read() {
    let batch: Batch = serde_json::from_str(fixture!("batch_azure_old.json")).unwrap();
    assert_eq!(batch.status, BatchStatus::Validating);
    assert_eq!(batch.created_at, Some(1_767_323_045));
    assert_eq!(
        (batch.output_file_id, batch.error_file_id, batch.endpoint),
        (None, None, None)
    );
    assert_eq!(batch.request_counts.unwrap().total, 0);
}

#[test]
fn what_has_another_shape_is_dropped_rather_than_failing_the_batch() {
    let text = r#"{"id":"b","request_counts":"many","usage":[1],"metadata":{"n":1,"s":"x"},
        "created_at":1790000000.7,"expires_at":"1790000001","endpoint":7}"#;
    let batch: Batch = serde_json::from_str(text).unwrap();
    assert_eq!((batch.request_counts, batch.usage), (None, None));
    assert_eq!(batch.metadata.unwrap()["n"], "1");
    assert_eq!(
        (batch.created_at, batch.expires_at),
        (Some(1_790_000_000), Some(1_790_000_001))
    );
    assert_eq!(batch.endpoint.as_deref(), Some("7"));
}

#[test]
fn result_lines_of_every_provider_are_read() {
    let lines: Vec<ResultLine> = fixture!("results_of_other_providers.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let seen: Vec<_> = lines
        .iter()
        .map(|line| {
            let status = line.response.as_ref().map(|response| response.status_code);
            let error = line.error.as_ref();
            let code = error.and_then(|error| error.code.as_deref());
            let message = error.and_then(|error| error.message.as_deref());
            (
                line.custom_id.as_deref().unwrap(),
                status,
                code,
                message,
                line.is_success(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("azure", Some(200), None, None, true),
            ("together-ok", Some(200), None, None, true),
            (
                "together-error",
                None,
                Some("batch_client_error"),
                Some("max_tokens must be positive"),
                false
            ),
            (
                "deepinfra",
                None,
                Some("400"),
                Some("context too long"),
                false
            ),
            ("mistral", Some(400), None, None, false),
            ("vllm-object", Some(400), Some("400"), Some("bad"), false),
            (
                "vllm-text",
                Some(400),
                None,
                Some("Request must not be sent in stream mode"),
                false
            ),
            ("fireworks", Some(200), None, None, true),
            ("no-answer", Some(0), None, None, false),
        ]
    );
    let mistral = lines[4].response.as_ref().unwrap().json().unwrap();
    assert_eq!(mistral["message"], "bad role");
}

#[test]
fn a_success_without_an_answer_is_no_success() {
    for body in ["{}", "null", r#"{"error":{"message":"m"}}"#, "\"text\""] {
        let line = format!(r#"{{"custom_id":"a","response":{{"status_code":200,"body":{body}}}}}"#);
        let line: ResultLine = serde_json::from_str(&line).unwrap();
        assert!(!line.is_success(), "{body}");
    }
}

#[test]
fn an_answer_that_says_there_is_no_error_is_a_success() {
    // As every answer of `/v1/responses` does.
    let line = r#"{"custom_id":"a","response":{"status_code":200,"body":{"id":"r","error":null}}}"#;
    let line: ResultLine = serde_json::from_str(line).unwrap();
    assert!(line.is_success());
}

#[test]
fn a_delete_is_read_in_every_shape() {
    for text in [
        r#"{"id":"f","object":"file","deleted":true}"#,
        r#"{"id":"f","deleted":"true"}"#,
    ] {
        let deleted: DeletedFile = serde_json::from_str(text).unwrap();
        assert!(deleted.deleted, "{text}");
    }
    for text in [r#"{"id":"f"}"#, r#"{"id":"f","deleted":null}"#] {
        let deleted: DeletedFile = serde_json::from_str(text).unwrap();
        assert!(!deleted.deleted, "{text}");
    }
}

#[test]
fn an_answer_that_no_value_holds_is_a_success_all_the_same() {
    // Half of an emoji, where a model was stopped within it, and something deep.
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    for body in [
        r#"{"text":"\ud83d"}"#.to_owned(),
        format!(r#"{{"x":{deep}}}"#),
    ] {
        let line = format!(r#"{{"custom_id":"a","response":{{"status_code":200,"body":{body}}}}}"#);
        let line: ResultLine = serde_json::from_str(&line).unwrap();
        assert!(line.is_success(), "{body}");
    }
}

#[test]
fn an_answer_within_a_text_is_judged_as_an_answer() {
    let judged = |body: &str| {
        let line = serde_json::json!({"response": {"status_code": 200, "body": body}}).to_string();
        serde_json::from_str::<ResultLine>(&line)
            .unwrap()
            .is_success()
    };
    assert!(judged(r#"{"id":"x"}"#) && judged("[1]"));
    assert!(!judged("{}") && !judged("[]") && !judged(r#"{"error":{}}"#) && !judged("\"{}\""));
}
