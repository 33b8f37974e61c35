use std::time::Duration;

use ditto_llm::{BatchClient as _, DittoError, FileClient as _, RetryPolicy};

use crate::batches::request;
use crate::server::{CANARY, Reply, Server};

async fn error_of(reply: Reply) -> DittoError {
    let server = Server::answering(move |_| reply.clone()).await;
    server
        .files()
        .with_retry(RetryPolicy::never())
        .retrieve("f")
        .await
        .unwrap_err()
}

/// Code, type, param and message of a refusal.
fn parts(error: &DittoError) -> [String; 4] {
    let DittoError::Api {
        code,
        kind,
        param,
        message,
        ..
    } = error
    else {
        panic!("no refusal: {error:?}")
    };
    let text = |part: Option<&str>| part.unwrap_or("-").to_string();
    [
        text(code.as_deref()),
        text(kind.as_deref()),
        text(param.as_deref()),
        message.clone(),
    ]
}

#[tokio::test]
async fn refusals_of_every_shape_become_api_errors() {
    let shapes = [
        (
            r#"{"error":{"message":"m","type":"invalid_request_error","param":"endpoint","code":"invalid_value"}}"#,
            ["invalid_value", "invalid_request_error", "endpoint", "m"],
        ),
        (
            r#"{"error":{"message":"m","type":"t","param":null,"code":null},"detail":{"x":1}}"#,
            ["-", "t", "-", "m"],
        ),
        (
            r#"{"errors":{"data":[{"code":"model_not_found","message":"m","line":null,"param":null}],"object":"list"}}"#,
            ["model_not_found", "-", "-", "m"],
        ),
        (
            r#"{"error":{"code":"404","message":"m"}}"#,
            ["404", "-", "-", "m"],
        ),
        (r#"{"error":"text"}"#, ["-", "-", "-", "text"]),
        (
            r#"{"error":"text","request_id":"r"}"#,
            ["-", "-", "-", "text"],
        ),
        (r#"{"detail":"text"}"#, ["-", "-", "-", "text"]),
        (r#"{"detail":{"error":"text"}}"#, ["-", "-", "-", "text"]),
        (
            r#"{"detail":[{"loc":["body","x"],"msg":"field required","type":"missing"}]}"#,
            ["-", "missing", r#"["body","x"]"#, "field required"],
        ),
        (
            r#"{"code":"bad-key","error":"text"}"#,
            ["bad-key", "-", "-", "text"],
        ),
        (
            r#"{"code":20012,"message":"m","data":null}"#,
            ["20012", "-", "-", "m"],
        ),
        (
            r#""404 page not found""#,
            ["-", "-", "-", "404 page not found"],
        ),
        (
            "Unauthorized. Invalid token format.",
            ["-", "-", "-", "Unauthorized. Invalid token format."],
        ),
        (
            r#"{"type":"error","error":{"type":"not_found_error","message":"m"},"request_id":"r"}"#,
            ["-", "not_found_error", "-", "m"],
        ),
        (
            r#"{"error":{"code":400,"message":"m","status":"RESOURCE_EXHAUSTED","details":[]}}"#,
            ["400", "RESOURCE_EXHAUSTED", "-", "m"],
        ),
        (
            "<html><body><h1>403</h1>\n<p>error code: 1010</p></body></html>",
            ["-", "-", "-", "403 error code: 1010"],
        ),
        ("", ["-", "-", "-", "the answer has no text"]),
        ("null", ["-", "-", "-", "the answer has no text"]),
        ("[1]", ["-", "-", "-", "[1]"]),
        (
            r#"[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}]"#,
            ["429", "RESOURCE_EXHAUSTED", "-", "m"],
        ),
        (r#"{"errors":[]}"#, ["-", "-", "-", r#"{"errors":[]}"#]),
        (r#"{"detail":7}"#, ["-", "-", "-", r#"{"detail":7}"#]),
        (
            r#"{"strange":true}"#,
            ["-", "-", "-", r#"{"strange":true}"#],
        ),
    ];
    for (body, expected) in shapes {
        let error = error_of(Reply::status(400, body)).await;
        assert_eq!(parts(&error), expected, "{body}");
        assert_eq!((error.status(), error.is_transient()), (Some(400), false));
    }
}

#[tokio::test]
async fn an_error_carries_what_its_reader_needs() {
    let body = r#"{"error":{"message":"slow down","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;
    let reply = Reply::status(429, body)
        .header("x-request-id", "req_77")
        .header("retry-after-ms", "1500")
        .header("retry-after", "9");

    let error = error_of(reply).await;

    assert!(error.is_transient());
    assert_eq!(error.retry_after(), Some(Duration::from_millis(1500)));
    assert_eq!(error.request_id(), Some("req_77"));
    assert_eq!(
        error.to_string(),
        "file.retrieve: status 429, rate_limit_exceeded: slow down [request req_77]"
    );
}

#[tokio::test]
async fn a_bad_key_is_told_with_a_hint_and_without_the_key() {
    let body = format!(
        r#"{{"error":{{"message":"Incorrect API key: {CANARY}.","code":"invalid_api_key"}}}}"#
    );

    let error = error_of(Reply::status(401, body)).await;

    let text = error.to_string();
    assert!(text.contains("Incorrect API key: ***."), "{text}");
    assert!(
        text.ends_with("hint: check the key, and that it is this server's"),
        "{text}"
    );
}

#[tokio::test]
async fn a_message_of_any_length_is_cut() {
    let error = error_of(Reply::status(400, "é".repeat(1_000_000))).await;

    let [.., message] = parts(&error);
    assert!(message.len() < 2_010, "{}", message.len());
    assert!(message.ends_with('…'));
}

#[tokio::test]
async fn a_refusal_whose_body_breaks_off_is_one_all_the_same() {
    let error = error_of(Reply::status(404, "not here").cut_after(3)).await;

    assert_eq!(error.status(), Some(404));
}

#[tokio::test]
async fn a_used_up_quota_is_not_transient() {
    let body =
        r#"{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}"#;

    let error = error_of(Reply::status(429, body)).await;

    assert!(!error.is_transient());
    assert!(
        error.to_string().contains("waiting does not help"),
        "{error}"
    );
}

#[tokio::test]
async fn a_success_that_is_no_json_is_an_invalid_response() {
    for body in ["", "<html>", "[]", r#"{"object":"file"}"#, r#"{"id":""}"#] {
        let error = error_of(Reply::ok(body)).await;
        assert!(
            matches!(error, DittoError::InvalidResponse(_)),
            "{body}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_create_answered_by_what_is_no_batch_has_an_unknown_outcome() {
    let server = Server::answering(|_| Reply::ok("<html>welcome</html>")).await;

    let error = server.batches().create(request()).await.unwrap_err();

    assert!(error.outcome_unknown());
    assert!(!error.is_transient());
    assert!(error.to_string().contains("list the batches"), "{error}");
    assert_eq!(server.seen().len(), 1);
}
