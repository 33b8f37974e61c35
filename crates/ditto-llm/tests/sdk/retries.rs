use std::time::{Duration, Instant};

use ditto_llm::{BatchClient as _, DittoError, FileClient as _, HttpStage, Timeouts};
use serde_json::json;

use crate::batches::{batch, request};
use crate::server::{Reply, Server, bind};

fn created() -> Reply {
    Reply::ok(batch("batch_1", "validating").to_string())
}

fn soon(status: u16) -> Reply {
    Reply::status(status, "later").header("retry-after-ms", "5")
}

#[tokio::test]
async fn a_create_whose_connection_drops_is_sent_once_and_its_outcome_is_unknown() {
    let server = Server::script([Reply::dropped(), created()]).await;

    let error = server.batches().create(request()).await.unwrap_err();

    assert!(error.outcome_unknown());
    assert!(!error.is_transient());
    assert!(matches!(&error, DittoError::Http(http) if http.stage() == HttpStage::Exchange));
    assert!(error.to_string().contains("list the batches"), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_create_that_may_have_happened_is_never_sent_again() {
    let cut = created().cut_after(5);
    for reply in [soon(500), soon(502), soon(503), soon(504), soon(408), cut] {
        let server = Server::script([reply, created()]).await;

        let error = server.batches().create(request()).await.unwrap_err();

        assert!(error.outcome_unknown(), "{error:?}");
        assert_eq!(server.seen().len(), 1, "{error:?}");
    }
}

#[tokio::test]
async fn a_create_that_was_surely_refused_is_sent_again() {
    let server = Server::script([soon(429), soon(429), created()]).await;

    let response = server.batches().create(request()).await.unwrap();

    assert_eq!(response.batch.id, "batch_1");
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_create_that_times_out_has_an_unknown_outcome() {
    let server = Server::script([created().silent_after(0), created()]).await;
    let timeouts = Timeouts {
        call: Duration::from_millis(50),
        ..Timeouts::default()
    };

    let error = server
        .batches()
        .with_timeouts(timeouts)
        .create(request())
        .await
        .unwrap_err();

    assert!(error.outcome_unknown());
    assert!(matches!(&error, DittoError::Http(http) if http.stage() == HttpStage::TimedOut));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_create_that_finds_nobody_has_a_known_outcome() {
    let listener = bind().await;
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut retry = ditto_llm::RetryPolicy::default();
    retry.backoff.base = Duration::from_millis(1);
    let client = ditto_llm::OpenAIBatches::new("k")
        .with_base_url(format!("http://{address}"))
        .with_retry(retry);

    let error = client.create(request()).await.unwrap_err();

    assert!(matches!(&error, DittoError::Http(http) if http.stage() == HttpStage::Connect));
    assert!(!error.outcome_unknown());
    assert!(error.is_transient());
}

#[tokio::test]
async fn reads_are_repeated_through_every_passing_failure() {
    let replies = [Reply::dropped(), soon(500), soon(429), created()];
    let server = Server::script(replies).await;

    let response = server.batches().retrieve("batch_1").await.unwrap();

    assert_eq!(response.batch.id, "batch_1");
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn reads_are_given_up_after_four_attempts() {
    let server = Server::answering(|_| soon(503)).await;

    let error = server.batches().retrieve("batch_1").await.unwrap_err();

    assert_eq!(error.status(), Some(503));
    assert!(error.is_transient());
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn definite_refusals_are_not_repeated() {
    for status in [400, 401, 403, 404, 422] {
        let server = Server::answering(move |_| soon(status)).await;
        assert!(server.batches().retrieve("batch_1").await.is_err());
        assert_eq!(server.seen().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_cancel_refused_with_409_is_final() {
    let body = json!({"error": {"message": "Cannot cancel a batch with status 'completed'.",
        "type": "invalid_request_error", "param": null, "code": null}});
    let server = Server::answering(move |_| Reply::status(409, body.to_string())).await;

    let error = server.batches().cancel("batch_1").await.unwrap_err();

    assert_eq!(error.status(), Some(409));
    assert!(!error.is_transient());
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_cancel_is_repeated_through_other_failures() {
    let server = Server::script([Reply::dropped(), soon(503), created()]).await;

    server.batches().cancel("batch_1").await.unwrap();

    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_delete_refused_with_409_is_final() {
    let server = Server::answering(|_| soon(409)).await;

    let error = server.files().delete("file-1").await.unwrap_err();

    assert_eq!(error.status(), Some(409));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_delete_whose_answer_was_lost_is_deleted_if_the_repeat_finds_nothing() {
    let server = Server::script([Reply::dropped(), Reply::status(404, "no such file")]).await;

    let deleted = server.files().delete("file-1").await.unwrap();

    assert!(deleted.deleted);
}

#[tokio::test]
async fn a_delete_of_what_never_was_is_an_error() {
    let server = Server::answering(|_| Reply::status(404, "no such file")).await;

    let error = server.files().delete("file-1").await.unwrap_err();

    assert_eq!(error.status(), Some(404));
}

#[tokio::test]
async fn a_pause_that_the_server_asks_for_is_kept() {
    for (name, value, least) in [
        ("retry-after", "1".to_string(), Duration::from_secs(1)),
        (
            "retry-after-ms",
            "300".to_string(),
            Duration::from_millis(300),
        ),
    ] {
        let busy = Reply::status(429, "later").header(name, value);
        let server = Server::script([busy, created()]).await;
        let started = Instant::now();

        server.batches().retrieve("batch_1").await.unwrap();

        assert!(
            started.elapsed() >= least,
            "{name}: {:?}",
            started.elapsed()
        );
    }
}

#[tokio::test]
async fn a_pause_longer_than_we_wait_comes_back_as_an_error_that_says_how_long() {
    let busy = Reply::status(429, "later").header("retry-after", "86400");
    let server = Server::script([busy, created()]).await;

    let error = server.batches().retrieve("batch_1").await.unwrap_err();

    assert_eq!(error.retry_after(), Some(Duration::from_secs(86_400)));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn the_servers_word_against_a_repeat_is_kept() {
    let server = Server::answering(|_| soon(503).header("x-should-retry", "false")).await;

    assert!(server.batches().retrieve("batch_1").await.is_err());

    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_pause_until_a_date_is_understood() {
    let date = std::time::SystemTime::now() + Duration::from_secs(7200);
    let busy = Reply::status(429, "later").header("retry-after", httpdate::fmt_http_date(date));
    let server = Server::script([busy]).await;

    let error = server.batches().retrieve("batch_1").await.unwrap_err();

    let asked = error.retry_after().unwrap().as_secs();
    assert!((7190..=7200).contains(&asked), "{asked}");
    assert_eq!(server.seen().len(), 1);
}
