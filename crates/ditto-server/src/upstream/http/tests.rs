//! What an upstream answers is data: it moves no request elsewhere, and nothing of it is sent on.

#![expect(
    clippy::disallowed_methods,
    reason = "a test's own tasks end with its runtime"
)]

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::upstream::{Reply, Request};

mod kept;
mod ways;

const CHAT: &str = "/v1/chat/completions";
/// Below the range from which the system gives ports to clients.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Says the same to whoever asks, and remembers what it was asked, byte for byte.
struct Scripted {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    async fn start(answer: impl Into<Vec<u8>>) -> Self {
        let listener = bind().await;
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (answer, heard) = (answer.into(), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let request = read(&mut stream).await;
                heard.lock().unwrap().push(request);
                // A client that goes away has heard enough.
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { address, asked }
    }

    fn upstream(&self) -> HttpUpstream {
        let mut config = UpstreamConfig::new("u", format!("http://{}/v1", self.address));
        config.key = Some("sk-upstream-0123456789".to_owned().into());
        let endpoints = [CHAT.to_owned()];
        let timeout = Duration::from_secs(20);
        HttpUpstream::new(&config, &endpoints, timeout, 1 << 20, Keep::for_a_look()).unwrap()
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn bind() -> TcpListener {
    for _ in 0..200 {
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, fastrand::u16(PORTS))).await {
            return listener;
        }
    }
    panic!("no port is free");
}

/// One request with a body as long as it says, or none.
async fn read(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    while stream.read_buf(&mut read).await.unwrap_or_default() > 0 {
        let text = String::from_utf8_lossy(&read);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let length = line.to_lowercase();
            length.strip_prefix("content-length: ")?.parse().ok()
        });
        if body.len() >= length.unwrap_or(0) {
            break;
        }
    }
    String::from_utf8_lossy(&read).into_owned()
}

async fn send(upstream: &HttpUpstream, body: &'static str) -> Reply {
    let request = Request {
        endpoint: CHAT,
        body: Bytes::from_static(body.as_bytes()),
        line_id: "batch_req_1_1",
    };
    upstream.caller().send(request).await
}

/// The names of the headers of a request, in order of the alphabet.
fn names(request: &str) -> Vec<String> {
    let head = request.split("\r\n\r\n").next().unwrap();
    let lines = head.split("\r\n").skip(1);
    let mut names: Vec<_> = lines
        .map(|line| line.split(':').next().unwrap().to_lowercase())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let elsewhere =
        Scripted::start("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
            .await;
    for status in [301, 302, 303, 307, 308] {
        let here = Scripted::start(format!(
            "HTTP/1.1 {status} Moved\r\nlocation: http://{}{CHAT}\r\ncontent-length: 0\r\nconnection: \
             close\r\n\r\n",
            elsewhere.address
        ))
        .await;
        let upstream = here.upstream();
        let reply = send(&upstream, "{}").await;
        assert!(
            matches!(reply, Reply::Answer { status: got, .. } if got == status),
            "{reply:?}"
        );
        assert!(upstream.models().await.is_err(), "nor for the models");
        assert_eq!(here.asked().len(), 2);
    }
    assert_eq!(
        elsewhere.asked(),
        [""; 0],
        "nobody came, with a key or without"
    );
}

#[tokio::test]
async fn what_is_sent_is_ours_whatever_an_upstream_said_before() {
    let here = Scripted::start(
        "HTTP/1.1 200 OK\r\nset-cookie: session=1\r\nauthorization: Bearer theirs\r\nalt-svc: \
         h2=\":1\"\r\nx-request-id: theirs\r\nlink: </v1/x>; rel=next\r\ncontent-length: \
         2\r\nconnection: close\r\n\r\n{}",
    )
    .await;
    let upstream = here.upstream();
    for _ in 0..2 {
        let reply = send(&upstream, r#"{"model":"m"}"#).await;
        assert!(
            matches!(reply, Reply::Answer { status: 200, .. }),
            "{reply:?}"
        );
    }
    for request in here.asked() {
        assert_eq!(
            names(&request),
            [
                "accept",
                "authorization",
                "content-length",
                "content-type",
                "host",
                "idempotency-key",
                "user-agent",
                "x-request-id",
            ]
        );
        assert!(request.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"));
        assert!(request.contains("authorization: Bearer sk-upstream-0123456789\r\n"));
        assert!(request.contains("x-request-id: batch_req_1_1\r\n"));
        assert!(request.ends_with("\r\n\r\n{\"model\":\"m\"}"));
    }
}

#[tokio::test]
async fn a_list_of_models_without_an_end_is_not_read_to_it() {
    let mut answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"data\":[{\"id\":\"".to_vec();
    answer.resize(MODELS_BYTES + 100_000, b'x');
    let here = Scripted::start(answer).await;
    let error = here.upstream().models().await.unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn what_a_model_server_says_of_its_load_is_heard() {
    let vllm = Scripted::start(ok("vllm:num_requests_waiting{model_name=\"m\"} 7.0\n")).await;
    let upstream = vllm.upstream();
    for _ in 0..2 {
        let load = upstream.load().await.unwrap().of("m").unwrap();
        assert_eq!((load.waiting, load.places), (7, None));
    }
    assert!(vllm.asked()[1].starts_with("GET /metrics HTTP/1.1\r\n"));

    let llama = Scripted::start(ok(r#"[{"id":0,"is_processing":false}]"#)).await;
    let said = llama.upstream().load().await.unwrap();
    assert_eq!(said.of("m").unwrap().places, Some(1));
}

#[tokio::test]
async fn who_says_nothing_of_its_load_is_left_in_peace() {
    let silent = Scripted::start(ok("{\"detail\":\"nothing here\"}")).await;
    let upstream = silent.upstream();
    for _ in 0..5 {
        assert!(upstream.load().await.is_none());
    }
    assert_eq!(silent.asked().len(), 2, "once each way");
}

#[tokio::test]
async fn what_is_left_is_read_off_an_answer() {
    let answer = ok("{}").replace(
        "\r\n\r\n",
        "\r\nx-ratelimit-remaining-requests: 59\r\nx-ratelimit-reset-requests: 6m0s\r\n\
         x-ratelimit-remaining-tokens: 149984\r\nx-ratelimit-reset-tokens: 6ms\r\n\r\n",
    );
    let allowance = send(&Scripted::start(answer).await.upstream(), "{}")
        .await
        .allowance();
    let left = |left: Option<crate::model::allowance::Left>| {
        let left = left.unwrap();
        (left.count, left.resets_in.as_millis())
    };
    assert_eq!(left(allowance.requests), (59, 360_000));
    assert_eq!(left(allowance.tokens), (149_984, 6));
    let reply = send(&Scripted::start(ok("{}")).await.upstream(), "{}").await;
    assert!(reply.allowance().is_empty());
}
