//! What a key has begun that is revoked meanwhile, beside the running server.

use std::time::Duration;

use ditto_server::{NewApiKey, create_key, revoke_key};
use reqwest::{Method, Response};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::form::Form;
use crate::server::{TestServer, answer, create_body, files_below, requests, until};

/// A change of keys is seen within a second; that much more for a busy machine, and far less than any
/// other limit on a request.
const SOON: Duration = Duration::from_secs(20);
/// More than the buffers of a connection take.
const LARGE: usize = 32 << 20;

/// Somebody with a key of his own.
struct Holder<'a> {
    server: &'a TestServer,
    key: NewApiKey,
}

impl<'a> Holder<'a> {
    async fn of(server: &'a TestServer) -> Self {
        let key = create_key(&server.data(), "a", None).await.unwrap();
        let holder = Self { server, key };
        until("the key is taken", async || {
            let listed = holder.get("/v1/files").await.unwrap();
            (listed.status() == 200).then_some(())
        })
        .await;
        // A server without keys takes any: only from its second look on is this one known.
        until("keys are asked for", async || {
            let nobody = answer(server.ask(Method::GET, "/v1/files")).await;
            (nobody.status == 401).then_some(())
        })
        .await;
        holder
    }

    fn secret(&self) -> &str {
        self.key.secret.expose_secret()
    }

    async fn revoke(&self) {
        let data = self.server.data();
        revoke_key(&data, &self.key.key.id).await.unwrap();
    }

    async fn get(&self, path: &str) -> reqwest::Result<Response> {
        let request = self.server.ask(Method::GET, path);
        request.bearer_auth(self.secret()).send().await
    }

    async fn post(&self, path: &str, content_type: &str, body: Vec<u8>) -> Value {
        let request = self.server.ask(Method::POST, path);
        let request = request.header("content-type", content_type).body(body);
        answer(request.bearer_auth(self.secret())).await.ok()
    }

    async fn upload(&self, form: Form) -> String {
        let (content_type, body) = form.encode();
        let file = self.post("/v1/files", &content_type, body).await;
        file["id"].as_str().unwrap().to_owned()
    }

    /// The path of the results of a batch whose one line never ends.
    async fn hanging(&self) -> String {
        let line = requests(1).replace("hello", "sim: hang");
        let form = Form::new().field("purpose", "batch");
        let file = self.upload(form.file("a.jsonl", &line)).await;
        let body = create_body(&file).to_string().into_bytes();
        let batch = self.post("/v1/batches", "application/json", body).await;
        format!("/v1/batches/{}/results", batch["id"].as_str().unwrap())
    }

    /// Begins a request on a connection of its own.
    async fn begin(&self, head: &str, body: &[u8]) -> TcpStream {
        let mut client = TcpStream::connect(self.server.address()).await.unwrap();
        let head = format!(
            "{head}\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n",
            self.secret()
        );
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(body).await.unwrap();
        client
    }
}

async fn start() -> TestServer {
    TestServer::start_with(|config| config.sending.grace = Duration::ZERO).await
}

/// What comes of it before long.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("it ends before long")
}

#[tokio::test]
async fn a_follower_is_cut_off() {
    let server = start().await;
    let (holder, other) = (Holder::of(&server).await, Holder::of(&server).await);
    let path = format!("{}?follow=true", holder.hanging().await);
    let mut followed = holder.get(&path).await.unwrap();
    let mut of_other = other.get(&path).await.unwrap();
    for followed in [&mut followed, &mut of_other] {
        let mark = followed.chunk().await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&mark).contains("ditto.cursor"));
    }
    holder.revoke().await;
    // No end of a body that has one: that it is cut short is seen.
    let cut = soon(async {
        while followed.chunk().await?.is_some() {}
        reqwest::Result::Ok(())
    });
    assert!(cut.await.is_err());
    // The same tenant's other key has not ended.
    let more = timeout(Duration::from_millis(300), of_other.chunk()).await;
    assert!(more.is_err() || more.unwrap().unwrap().is_some());
}

#[tokio::test]
async fn who_waits_for_a_row_is_told() {
    let server = start().await;
    let holder = Holder::of(&server).await;
    let path = format!("{}?wait=60", holder.hanging().await);
    let revoke = async {
        // For the request to come first: behind the revocation it would be refused as it comes.
        tokio::time::sleep(Duration::from_millis(200)).await;
        holder.revoke().await;
    };
    let request = server.ask(Method::GET, &path).bearer_auth(holder.secret());
    let (told, ()) = soon(async { tokio::join!(answer(request), revoke) }).await;
    assert_eq!(told.status, 401);
    assert_eq!(told.json()["error"]["code"], "invalid_api_key");
}

#[tokio::test]
async fn an_upload_is_refused_half_way_and_leaves_nothing() {
    let server = start().await;
    let holder = Holder::of(&server).await;
    let form = Form::new().field("purpose", "batch");
    let (content_type, body) = form.file("a.jsonl", &requests(9)).unfinished();
    let head =
        format!("POST /v1/files HTTP/1.1\r\ncontent-type: {content_type}\r\ncontent-length: 99000");
    let mut client = holder.begin(&head, &body).await;
    until("its bytes come in", async || {
        (!files_below(&server.data(), "/files/").is_empty()).then_some(())
    })
    .await;
    holder.revoke().await;
    let mut told = String::new();
    soon(client.read_to_string(&mut told)).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 401 "), "{told}");
    let (_, body) = told.split_once("\r\n\r\n").unwrap();
    let error = &serde_json::from_str::<Value>(body).unwrap()["error"];
    assert_eq!(
        error["message"],
        "The API key was revoked, or its time is over, while the body was on its way. Nothing of it was \
         kept: send it again with another key."
    );
    assert_eq!(error["code"], "invalid_api_key");
    assert_eq!(files_below(&server.data(), "/files/").len(), 0);
}

#[tokio::test]
async fn a_download_is_cut_short_of_its_length() {
    let server = start().await;
    let holder = Holder::of(&server).await;
    let form = Form::new().field("purpose", "user_data");
    let file = holder.upload(form.file("a", &"x".repeat(LARGE))).await;
    let head = format!("GET /v1/files/{file}/content HTTP/1.1");
    let mut client = holder.begin(&head, b"").await;
    let mut start = [0; 12];
    client.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    holder.revoke().await;
    until("the key is refused", async || {
        let listed = holder.get("/v1/files").await.unwrap();
        (listed.status() == 401).then_some(())
    })
    .await;
    let mut rest = Vec::new();
    // A reset is an end as well.
    let _ = soon(client.read_to_end(&mut rest)).await;
    assert!(rest.len() < LARGE, "{}", rest.len());
}
