//! What an attacker meets: every limit of a request, on a running server.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::form::Form;
use crate::server::{TestServer, answer, create_body, files_below};

/// Sends these bytes and reads until the server closes.
async fn raw(server: &TestServer, request: &[u8]) -> String {
    let mut client = TcpStream::connect(server.address()).await.unwrap();
    // The server may answer and close before it has read all of it.
    let _ = client.write_all(request).await;
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn headers_are_held_to_a_number_and_a_size() {
    let server = TestServer::start().await;
    let head = "GET /v1/files HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
    let many = |count: usize| format!("{head}{}\r\n", "x-a: b\r\n".repeat(count));
    let long = |size: usize| format!("{head}x-a: {}\r\n\r\n", "b".repeat(size));
    let table = [
        (many(90), "HTTP/1.1 200 "),
        (many(101), "HTTP/1.1 431 "),
        (long(30_000), "HTTP/1.1 200 "),
        (long(33_000), "HTTP/1.1 431 "),
        (long(10_000_000), "HTTP/1.1 431 "),
    ];
    for (request, status) in table {
        let answer = raw(&server, request.as_bytes()).await;
        let shown: String = answer.chars().take(40).collect();
        // Of a header far beyond the limit the answer may be lost in the reset.
        let lost = request.len() > 1 << 20 && answer.is_empty();
        assert!(answer.starts_with(status) || lost, "{status}: {shown}");
    }
}

#[tokio::test]
async fn json_is_held_to_a_depth() {
    let server = TestServer::start().await;
    for depth in [200, 100_000, 500_000] {
        let body = format!("{{\"metadata\":{}", "[".repeat(depth));
        let request = server
            .ask(Method::POST, "/v1/batches")
            .header("content-type", "application/json");
        let refused = answer(request.body(body)).await;
        assert_eq!(refused.status, 400, "{depth}");
        let error = &refused.json()["error"];
        assert!(error["message"].as_str().unwrap().contains("recursion"));
    }
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn ids_and_cursors_are_held_to_a_length() {
    let server = TestServer::start().await;
    let long = "x".repeat(257);
    let code = Some("string_above_max_length");
    for path in ["files", "batches"] {
        let message = "The id in the URL is longer than 256 bytes.";
        let refused = server.get(&format!("/v1/{path}/{long}")).await;
        refused.refuses(400, message, None, code);
        let message = "'after' is longer than 256 bytes.";
        let refused = server.get(&format!("/v1/{path}?after={long}")).await;
        refused.refuses(400, message, Some("after"), code);
    }
    let message = "'purpose' is longer than 256 bytes.";
    let refused = server.get(&format!("/v1/files?purpose={long}")).await;
    refused.refuses(400, message, Some("purpose"), code);
    let endless = "x".repeat(40_000);
    let request = format!("GET /v1/files/{endless} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let refused = raw(&server, request.as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 4"), "{refused}");
}

#[tokio::test]
async fn an_id_is_looked_for_and_never_walked_to() {
    let server = TestServer::start().await;
    let walks = [
        "..%2F..%2Fcatalog.db",
        "%2Fetc%2Fpasswd",
        "file-x%2F..%2F..%2Fcatalog.db",
        "%00",
        "' OR 1=1 --",
        "%0d%0ax-forged: 1",
    ];
    for walk in walks {
        for path in [
            format!("/v1/files/{walk}"),
            format!("/v1/files/{walk}/content"),
            format!("/v1/batches/{walk}"),
        ] {
            let refused = server.get(&path).await;
            assert_eq!(refused.status, 404, "{path}");
            assert_eq!(refused.header("x-forged"), None);
        }
    }
}

#[tokio::test]
async fn a_file_name_is_a_text_and_no_path() {
    let server = TestServer::start().await;
    let names = ["../../owner.lock", "/etc/passwd", "a\u{202e}b", "C:\\x"];
    for name in names {
        let form = Form::new().field("purpose", "user_data").file(name, "x");
        let file = server.send(form).await.ok();
        let id = file["id"].as_str().unwrap();
        let content = server.get(&format!("/v1/files/{id}/content")).await;
        let disposition = content.header("content-disposition").unwrap();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_. =;\"".contains(c);
        assert!(disposition.chars().all(plain), "{disposition}");
    }
    // What would speak to a terminal does not even pass as a header.
    let form = Form::new().file("a\u{1b}[31mb", "x");
    assert_eq!(server.send(form).await.status, 400);
    let message = "The filename has control characters in it.";
    let form = Form::new().file("a\u{9b}31mb", "x");
    let refused = server.send(form).await;
    refused.refuses(400, message, Some("file"), None);
    for name in ["a\u{1b}[31mb", "a\0b", "a\nb", "a\u{9b}b"] {
        let upload = json!({ "filename": name, "purpose": "vision", "bytes": 1, "mime_type": "x" });
        let refused = server.post("/v1/uploads", &upload).await;
        let code = Some("invalid_value");
        refused.refuses(400, message, Some("filename"), code);
    }
    let data = server.stop().await;
    let stray = ["passwd", "C:", "\u{202e}"].map(|name| files_below(data.path(), name).len());
    assert_eq!(stray, [0, 0, 0]);
}

#[tokio::test]
async fn a_form_is_held_to_its_parts_and_names() {
    let server = TestServer::start().await;
    let mut form = Form::new();
    for _ in 0..33 {
        form = form.field("x", "y");
    }
    let refused = server.send(form).await;
    refused.refuses(400, "The form has more than 32 parts.", None, None);
    let form = Form::new().file(&"x".repeat(256), "{}");
    let message = "The filename is longer than 255 bytes.";
    server
        .send(form)
        .await
        .refuses(400, message, Some("file"), None);
    // A part whose headers have no end.
    let endless = format!("form-data; name=\"file\"; x=\"{}\"", "y".repeat(6 << 20));
    let refused = server.send(Form::new().part(&endless, "")).await;
    assert_eq!(refused.status, 400);
    assert_eq!(server.count_files().await, 0);
}

#[tokio::test]
async fn a_request_that_two_readers_would_read_in_two_ways_is_refused() {
    let server = TestServer::start().await;
    let head = "POST /v1/batches HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                content-type: application/json\r\n";
    for lengths in [
        "content-length: 2\r\ncontent-length: 3\r\n",
        "content-length: -1\r\n",
        "content-length: 2x\r\n",
        "transfer-encoding: gzip\r\n",
    ] {
        let answer = raw(&server, format!("{head}{lengths}\r\n{{}}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{lengths}: {answer}");
    }
    // Of a length and chunks the chunks count; what came behind them is no request to anybody.
    let both = "POST /v1/batches HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n\
                GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let answer = raw(&server, both.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
}

#[tokio::test]
async fn a_refusal_repeats_only_so_much_of_what_it_refuses() {
    let server = TestServer::start().await;
    let long = "é".repeat(200_000);
    let mut endpoint = create_body("file-none");
    endpoint["endpoint"] = json!(long);
    let refused = server.post("/v1/batches", &endpoint).await;
    assert_eq!(refused.status, 400);
    let message = refused.json()["error"]["message"].to_string();
    assert!(message.contains("Invalid value: 'é"), "{message}");
    assert!(message.contains("'/v1/moderations'."), "{message}");
    assert!(refused.body.len() < 4096, "{}", refused.body.len());

    let twice = format!("{{\"{long}\":1,\"{long}\":2}}");
    let request = server.ask(Method::POST, "/v1/batches");
    let request = request.header("content-type", "application/json");
    let refused = answer(request.body(twice)).await;
    assert_eq!(refused.json()["error"]["code"], "duplicate_key");
    assert!(refused.body.len() < 4096, "{}", refused.body.len());
}

#[tokio::test]
async fn a_body_that_is_compressed_is_refused_and_not_taken_for_what_it_is_not() {
    let server = TestServer::start().await;
    let message = "Unsupported encoding of the body: 'gzip'. Send it as it is, not compressed.";
    let (form, bytes) = Form::new()
        .field("purpose", "batch")
        .file("a.jsonl", "{}")
        .encode();
    let json = "application/json".to_owned();
    let nothing = create_body("file-none").to_string().into_bytes();
    for (path, content_type, body) in [
        ("/v1/files", form, bytes),
        ("/v1/batches", json.clone(), nothing.clone()),
        ("/v1/uploads", json, nothing),
    ] {
        let request = server
            .ask(Method::POST, path)
            .header("content-type", content_type)
            .header("content-encoding", "gzip")
            .body(body);
        let refused = answer(request).await;
        let code = Some("unsupported_content_encoding");
        refused.refuses(415, message, None, code);
        assert_eq!(refused.header("accept-encoding"), Some("identity"));
    }
}

#[tokio::test]
async fn two_hundred_connections_that_ask_nothing_keep_nobody_out() {
    let server = TestServer::start().await;
    let mut crowd = Vec::new();
    for _ in 0..200 {
        let mut client = TcpStream::connect(server.address()).await.unwrap();
        client
            .write_all(b"GET /v1/files HTTP/1.1\r\nx-a: ")
            .await
            .unwrap();
        crowd.push(client);
    }
    let asked = async {
        for _ in 0..20 {
            assert_eq!(server.get("/healthz").await.ok(), json!({ "status": "ok" }));
            assert_eq!(server.get("/v1/files").await.status, 200);
        }
    };
    tokio::time::timeout(Duration::from_secs(10), asked)
        .await
        .unwrap();
}
