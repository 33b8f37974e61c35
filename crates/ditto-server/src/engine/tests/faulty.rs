//! Lines that are no requests: an error line each in a lenient batch, the end of a strict one.

use ditto_llm::wire::BatchStatus;
use serde_json::{Value, json};

use super::rig::{CHAT, Rig, line, number};
use crate::service::BatchRequest;

/// Faulty lines with the code of each and the `custom_id` that its error line shows.
fn faulty() -> Vec<(Vec<u8>, &'static str, Value)> {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut request: Value = serde_json::from_str(&line(900, "say")).unwrap();
        request["custom_id"] = json!("mine");
        change(&mut request);
        request.to_string().into_bytes()
    };
    let lacks = |key: &'static str| with(&move |r| drop(r.as_object_mut().unwrap().remove(key)));
    let raw = |line: &str| line.as_bytes().to_vec();
    vec![
        (
            raw("{\"custom_id\":\"cut\",\"met"),
            "invalid_json_line",
            json!("cut"),
        ),
        (raw("[1,2]"), "invalid_json_line", Value::Null),
        (raw("\u{c}"), "invalid_json_line", Value::Null),
        (
            b"{\"custom_id\":\"\xff\"}".to_vec(),
            "invalid_json_line",
            Value::Null,
        ),
        (
            lacks("custom_id"),
            "missing_required_parameter",
            Value::Null,
        ),
        (lacks("method"), "missing_required_parameter", json!("mine")),
        (
            with(&|r| r["custom_id"] = json!(7)),
            "invalid_type",
            Value::Null,
        ),
        (
            with(&|r| r["custom_id"] = json!("c-1")),
            "duplicate_custom_id",
            json!("c-1"),
        ),
        (
            with(&|r| (r["custom_id"], r["url"]) = (json!("u"), json!("/v1/embeddings"))),
            "invalid_url",
            json!("u"),
        ),
        (
            with(&|r| (r["custom_id"], r["method"]) = (json!("g"), json!("GET"))),
            "invalid_method",
            json!("g"),
        ),
        (
            with(&|r| (r["custom_id"], r["body"]["stream"]) = (json!("s"), json!(true))),
            "streaming_unsupported",
            json!("s"),
        ),
        (
            with(&|r| (r["custom_id"], r["body"]["model"]) = (json!("n"), Value::Null)),
            "invalid_request",
            json!("n"),
        ),
        (
            with(&|r| (r["custom_id"], r["body"]) = (json!("b"), json!("text"))),
            "invalid_type",
            json!("b"),
        ),
        (
            raw(
                "{\"custom_id\":\"k\",\"custom_id\":\"k2\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{\"model\":\"m\",\"messages\":[]}}",
            ),
            "duplicate_key",
            json!("k2"),
        ),
        (
            line(901, &"long ".repeat(1_000)).trim_end().into(),
            "line_too_long",
            Value::Null,
        ),
    ]
}

/// A good line, then a good line behind each faulty one.
fn file() -> Vec<u8> {
    let mut file = line(1, "say").into_bytes();
    for (at, (faulty, ..)) in faulty().into_iter().enumerate() {
        file.extend(faulty);
        file.push(b'\n');
        file.extend(line(at + 2, "say").into_bytes());
    }
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_lenient_batch_each_faulty_line_has_its_error_line_and_the_others_run() {
    let rig = Rig::with(|_| {}, |config| config.limits.line_bytes = 2_000).await;
    let id = rig
        .submit_with(&file(), |request| request.lenient = Some(true))
        .await;
    let left = rig.ended(&id).await;

    let faulty = faulty();
    left.is(BatchStatus::Completed);
    left.is_conserved(2 * faulty.len() + 1);
    let seen: Vec<_> = left
        .errors
        .iter()
        .zip(left.codes())
        .map(|(l, code)| (number(l), code, l["custom_id"].clone()))
        .collect();
    let numbers = (2..).step_by(2);
    let expected: Vec<_> = numbers
        .zip(faulty)
        .map(|(n, (_, code, id))| (n, code.to_owned(), id))
        .collect();
    assert_eq!(seen, expected);
    assert!(left.errors.iter().all(|line| line["response"].is_null()));
    assert_eq!(rig.sim.stats().requests as usize, left.output.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_nobody_serves_is_an_error_line() {
    let rig = Rig::with(
        |_| {},
        |c| c.upstreams[0].models = Some(vec!["other".to_owned()]),
    )
    .await;
    let lenient = |request: &mut BatchRequest| request.lenient = Some(true);
    let id = rig.submit_with(line(1, "say").as_bytes(), lenient).await;
    let left = rig.ended(&id).await;
    left.is_conserved(1);
    assert_eq!(
        (left.codes(), &left.errors[0]["custom_id"]),
        (vec!["model_not_found".to_owned()], &json!("c-1"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_batch_fails_with_every_fault_and_its_line() {
    let rig = Rig::with(|_| {}, |config| config.limits.line_bytes = 2_000).await;
    let id = rig.submit(&file()).await;
    let left = rig.ended(&id).await;

    left.is(BatchStatus::Failed);
    assert_eq!(
        (left.batch.output_file_id, left.batch.error_file_id),
        (None, None)
    );
    let errors = left.batch.errors.unwrap().data;
    let mut seen: Vec<_> = errors
        .iter()
        .map(|e| (e.line.unwrap(), e.code.clone().unwrap()))
        .collect();
    // A line may have more than one fault; the first is its main one.
    seen.dedup_by_key(|(line, _)| *line);
    let expected: Vec<_> = (2u64..)
        .step_by(2)
        .zip(faulty())
        .map(|(n, (_, code, _))| (n, code.to_owned()))
        .collect();
    assert_eq!(seen, expected);
    assert_eq!(rig.sim.stats().requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn past_a_hundred_faults_one_more_says_how_many() {
    let rig = Rig::start().await;
    let id = rig.submit("{}\n".repeat(30).as_bytes()).await;
    let errors = rig.ended(&id).await.batch.errors.unwrap().data;
    assert_eq!(errors.len(), 101, "each line lacks four keys");
    assert_eq!(errors[100].code.as_deref(), Some("too_many_errors"));
    assert_eq!(
        errors[100].message.as_deref(),
        Some("20 more errors are not listed.")
    );
    assert!(errors[..100].is_sorted_by_key(|error| error.line));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_a_request_fails_its_batch() {
    let rig = Rig::start().await;
    for lenient in [false, true] {
        let id = rig
            .submit_with(b"\n \n\n", |request| request.lenient = Some(lenient))
            .await;
        let errors = rig.ended(&id).await.batch.errors.unwrap().data;
        assert_eq!(errors[0].code.as_deref(), Some("empty_file"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_over_a_file_that_is_not_there_fails() {
    let rig = Rig::start().await;
    let id = rig
        .submit_with(b"{}", |request| {
            request.input_file_id = "file-none".to_owned()
        })
        .await;
    let left = rig.ended(&id).await;
    left.is(BatchStatus::Failed);
    let error = &left.batch.errors.unwrap().data[0];
    assert_eq!(error.code.as_deref(), Some("invalid_request"));
    assert_eq!(left.batch.endpoint.as_deref(), Some(CHAT));
}
