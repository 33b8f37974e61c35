//! A line decides what is asked and nothing else: not where, not by which path, not with which header.

use ditto_llm::wire::BatchStatus;

use super::rig::{Rig, line};

/// A good line with more in front of it.
fn with(number: usize, more: &str) -> String {
    line(number, "say").replacen('{', &format!("{{{more},"), 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_else_a_line_says_moves_it_nowhere() {
    let rig = Rig::start().await;
    let file = with(
        1,
        r#""headers":{"authorization":"Bearer x","host":"evil.example"}"#,
    ) + &with(
        2,
        r#""base_url":"http://evil.example/v1","host":"evil.example""#,
    ) + &with(
        3,
        r#""path":"/admin","query":"?a=b","endpoint":"/v1/embeddings""#,
    );
    let id = rig.submit(file.as_bytes()).await;
    let left = rig.ended(&id).await;
    left.is_conserved(3);
    assert_eq!(left.output.len(), 3, "{:?}", left.errors);
    assert_eq!(rig.sim.stats().answered, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_is_not_the_endpoint_sends_nothing() {
    let rig = Rig::start().await;
    for url in [
        "http://evil.example/v1/chat/completions",
        "//evil.example/v1/chat/completions",
        "/v1/embeddings",
        "/v1/chat/completions/",
        "/v1/chat/completions?a=b",
        "/v1/chat/completions#x",
        "/v1/chat/../chat/completions",
        "/v1/chat/completions\\r\\nhost: evil.example",
        "/V1/chat/completions",
        "@evil.example/v1/chat/completions",
        "",
    ] {
        let quoted = format!("\"url\":\"{url}\"");
        let file = line(1, "say").replace("\"url\":\"/v1/chat/completions\"", &quoted);
        let id = rig.submit(file.as_bytes()).await;
        let left = rig.ended(&id).await;
        left.is(BatchStatus::Failed);
        let errors = left.batch.errors.unwrap().data;
        assert_eq!(errors[0].code.as_deref(), Some("invalid_url"), "{url}");
    }
    assert_eq!(rig.sim.stats().requests, 0, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_not_on_the_list_makes_no_batch() {
    let rig = Rig::start().await;
    let file = super::rig::upload(rig.service(), line(1, "say").as_bytes()).await;
    for endpoint in [
        "http://evil.example/v1/chat/completions",
        "/v1/chat/completions/",
        "/v1/chat/completions?x",
        "/v1/models",
        "",
    ] {
        let request = crate::BatchRequest {
            input_file_id: file.clone(),
            endpoint: endpoint.to_owned(),
            completion_window: "24h".to_owned(),
            ..crate::BatchRequest::default()
        };
        let error = rig
            .service()
            .create_batch(super::rig::TENANT, request)
            .await
            .unwrap_err();
        assert_eq!(error.param(), Some("endpoint"), "{endpoint}");
    }
}
