//! What one tenant may do at once, and what it is told beyond that.

use std::time::{Duration, Instant};

use ditto_server::TenantLimits;
use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::form::Form;
use crate::server::{Answer, TestServer, answer, create_body, requests};

async fn limited(limits: TenantLimits) -> TestServer {
    TestServer::start_with(|config| config.tenants.everyone = limits).await
}

/// OpenAI's envelope for a limit; whether a client should try again by itself. Some look for that in the
/// header, and some in the type.
#[track_caller]
fn is_over(answer: &Answer, code: &str, by_itself: bool, sentence: &str) {
    assert_eq!(answer.status, 429);
    let error = &answer.json()["error"];
    let kind = match by_itself {
        true => "rate_limit_error",
        false => "insufficient_quota",
    };
    assert_eq!(error["type"], kind);
    assert_eq!(error["code"], code);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(sentence), "{message}");
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let stop = answer.header("x-should-retry") == Some("false");
    assert_eq!(stop, !by_itself);
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_ask_again_and_probes_are_not_counted() {
    let server = limited(TenantLimits {
        requests_per_minute: Some(3),
        ..TenantLimits::default()
    })
    .await;
    for path in ["/v1/files", "/v1/batches", "/v1/nothing"] {
        assert_ne!(server.get(path).await.status, 429, "{path}");
        assert_eq!(server.get("/healthz").await.status, 200);
    }
    let refused = server.get("/v1/files").await;
    is_over(&refused, "rate_limit_exceeded", true, "3 requests a minute");
    assert_eq!(server.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn open_batches_and_their_lines_have_limits_of_their_own() {
    let server = limited(TenantLimits {
        open_batches: Some(0),
        ..TenantLimits::default()
    })
    .await;
    let file = server.upload(3).await;
    let refused = server.post("/v1/batches", &create_body(&file)).await;
    let code = "open_batches_limit_exceeded";
    is_over(&refused, code, false, "cancel one");

    let server = limited(TenantLimits {
        enqueued_lines: Some(2),
        ..TenantLimits::default()
    })
    .await;
    let (three, two) = (server.upload(3).await, server.upload(2).await);
    let refused = server.post("/v1/batches", &create_body(&three)).await;
    let code = "enqueued_lines_limit_exceeded";
    is_over(&refused, code, false, "split the file");
    server.submit(&two).await;
}

/// A request that is on its way, or whose answer is.
async fn begin(server: &TestServer, head: &str, body: &[u8]) -> TcpStream {
    let mut client = TcpStream::connect(server.address()).await.unwrap();
    let head = format!("{head}\r\nhost: localhost\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(body).await.unwrap();
    client
}

/// The same, once it is what keeps others out; with what they are told. One of those that ask may have
/// come before it, and then it was refused itself.
async fn hold(
    server: &TestServer,
    (head, body): (&str, &[u8]),
    (path, send): (&str, Option<Form>),
) -> (TcpStream, Answer) {
    for _ in 0..30 {
        let held = begin(server, head, body).await;
        let refused = until_status(server, path, send.clone(), 429);
        if let Ok(refused) = tokio::time::timeout(Duration::from_secs(2), refused).await {
            return (held, refused);
        }
    }
    panic!("{path} is never refused");
}

async fn until_status(server: &TestServer, path: &str, send: Option<Form>, status: u16) -> Answer {
    let form = send.map(Form::encode);
    let answered = async {
        loop {
            let got = match &form {
                Some((content_type, body)) => {
                    let request = server.ask(Method::POST, path);
                    let request = request.header("content-type", content_type);
                    answer(request.body(body.clone())).await
                }
                None => answer(server.ask(Method::HEAD, path)).await,
            };
            if got.status == status {
                return got;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let patience = Duration::from_secs(30);
    tokio::time::timeout(patience, answered).await.unwrap()
}

fn form() -> Form {
    let form = Form::new().field("purpose", "batch");
    form.file("in.jsonl", &requests(1))
}

#[tokio::test]
async fn as_many_uploads_as_may_be_come_in_at_once() {
    let server = limited(TenantLimits {
        open_uploads: Some(1),
        ..TenantLimits::default()
    })
    .await;
    let (content_type, body) = form().unfinished();
    let head = format!(
        "POST /v1/files HTTP/1.1\r\ncontent-type: {content_type}\r\ncontent-length: 100000"
    );
    let request = (head.as_str(), body.as_slice());
    let (held, refused) = hold(&server, request, ("/v1/files", Some(form()))).await;
    let code = "open_uploads_limit_exceeded";
    is_over(&refused, code, true, "as many uploads under way");
    assert_eq!(server.get("/v1/files").await.status, 200);
    drop(held);
    until_status(&server, "/v1/files", Some(form()), 200).await;
}

#[tokio::test]
async fn as_many_downloads_as_may_be_go_out_at_once() {
    let server = limited(TenantLimits {
        open_downloads: Some(1),
        ..TenantLimits::default()
    })
    .await;
    // More than the buffers of a connection take.
    let form = Form::new().field("purpose", "user_data");
    let file = server
        .send(form.file("a", &"x".repeat(32 << 20)))
        .await
        .ok();
    let path = format!("/v1/files/{}/content", file["id"].as_str().unwrap());
    let mut held = begin(&server, &format!("GET {path} HTTP/1.1"), b"").await;
    let mut start = [0; 12];
    held.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");

    let refused = server.get(&path).await;
    let code = "open_downloads_limit_exceeded";
    is_over(&refused, code, true, "as many downloads under way");
    assert_eq!(server.get("/v1/files").await.status, 200);
    drop(held);
    let whole = async {
        while server.get(&path).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let patience = Duration::from_secs(30);
    tokio::time::timeout(patience, whole).await.unwrap();
}

#[tokio::test]
async fn a_tenant_has_as_many_requests_under_way_as_it_may_and_keeps_nobody_out() {
    let server = limited(TenantLimits {
        open_requests: Some(1),
        ..TenantLimits::default()
    })
    .await;
    let head = "POST /v1/batches HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 9";
    let request = (head, b"{".as_slice());
    let (held, refused) = hold(&server, request, ("/v1/files", Some(form()))).await;
    let code = "open_requests_limit_exceeded";
    is_over(&refused, code, true, "as many requests under way");
    assert_eq!(server.get("/healthz").await.status, 200);
    drop(held);
    until_status(&server, "/v1/files", Some(form()), 200).await;
}

#[tokio::test]
async fn whoever_waits_for_results_is_a_download() {
    let server = limited(TenantLimits {
        open_downloads: Some(1),
        ..TenantLimits::default()
    })
    .await;
    let line = requests(1).replace("hello", "sim: delay 600s");
    let form = Form::new().field("purpose", "batch").file("a.jsonl", &line);
    let file = server.send(form).await.ok();
    let batch = server.submit(file["id"].as_str().unwrap()).await;
    let path = format!("/v1/batches/{}/results", batch["id"].as_str().unwrap());
    let code = "open_downloads_limit_exceeded";
    for wish in ["follow=true", "wait=60"] {
        let head = format!("GET {path}?{wish} HTTP/1.1");
        let request = (head.as_str(), b"".as_slice());
        let (held, _) = hold(&server, request, (&path, None)).await;
        let refused = server.get(&path).await;
        is_over(&refused, code, true, "as many downloads under way");
        drop(held);
        until_status(&server, &path, None, 200).await;
    }
}

#[tokio::test]
async fn an_upload_that_comes_too_fast_is_read_more_slowly_and_is_whole() {
    let server = limited(TenantLimits {
        upload_bytes_per_second: Some(200_000),
        ..TenantLimits::default()
    })
    .await;
    let content = "x".repeat(500_000);
    let form = Form::new().field("purpose", "user_data");
    let began = Instant::now();
    let file = server.send(form.file("a", &content)).await.ok();
    // A second's worth comes at once.
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1_400), "{took:?}");
    assert_eq!(file["bytes"], 500_000);
}
