//! An upstream that answers with any status and any bytes, or in any way does not answer: what a
//! client of HTTP meets, byte by byte. Each request says in its prompt what shall become of it.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::model::policy::Body;

/// A body of each kind, as the prompt names it.
pub(super) const BODIES: [(&str, Body, &[u8]); 6] = [
    ("json", Body::Json, b"{\"said\":\"yes\",\"n\":1.0e2}"),
    (
        "error",
        Body::ApiError,
        b"{\"error\":{\"message\":\"no\",\"code\":\"some\"}}",
    ),
    (
        "object",
        Body::ApiError,
        b"{\"object\":\"error\",\"message\":\"no\"}",
    ),
    ("empty", Body::Empty, b""),
    ("page", Body::Other, b"<html>no</html>"),
    ("bytes", Body::Other, b"\xff\xfe\x00"),
];

/// Below the range from which the system gives ports to clients.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Listens for as long as the runtime lives; its base URL.
pub(super) async fn start() -> String {
    let listener = bind().await;
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that goes away in the middle is what some of these tests are about.
            tokio::spawn(async move { drop(talk(stream).await) });
        }
    });
    format!("http://{address}/v1")
}

/// A port on which nobody listens.
pub(super) async fn nobody() -> String {
    let listener = bind().await;
    format!("http://{}/v1", listener.local_addr().unwrap())
}

async fn bind() -> TcpListener {
    for _ in 0..200 {
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, fastrand::u16(PORTS))).await {
            return listener;
        }
    }
    panic!("no port is free");
}

/// One request a connection.
async fn talk(mut stream: TcpStream) -> std::io::Result<()> {
    let prompt = prompt_of(&mut stream).await?;
    let words: Vec<_> = prompt.split(' ').collect();
    match words[..] {
        ["status", status, kind] => {
            let body = BODIES.iter().find(|(name, ..)| *name == kind).unwrap().2;
            stream.write_all(&answer(status, body.len(), body)).await?;
        }
        ["never"] => std::future::pending().await,
        ["head"] => {
            stream.write_all(&answer("200", 100, b"")).await?;
            std::future::pending::<()>().await;
        }
        ["half"] => {
            stream.write_all(&answer("200", 100, b"{\"half\":")).await?;
            std::future::pending::<()>().await;
        }
        ["close"] => {}
        ["reset"] => stream.set_zero_linger()?,
        ["cut"] => stream.write_all(&answer("200", 100, b"{\"half\":")).await?,
        ["cut-chunks"] => {
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{\"half\":\r\n";
            stream.write_all(head).await?;
        }
        ["no-http"] => stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").await?,
        ["large", bytes] => {
            let body = vec![b'x'; bytes.parse().unwrap()];
            stream.write_all(&answer("200", body.len(), &body)).await?;
        }
        ["large-chunks"] => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                .await?;
            // Without an end: whoever waits for one never answers the line.
            loop {
                stream.write_all(b"4\r\nlong\r\n").await?;
            }
        }
        _ => panic!("an unknown script: {prompt}"),
    }
    stream.shutdown().await
}

fn answer(status: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} Some Words\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Reads one request; the text of its only message.
async fn prompt_of(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut read = Vec::new();
    loop {
        let gone = std::io::ErrorKind::UnexpectedEof;
        if stream.read_buf(&mut read).await? == 0 {
            return Err(gone.into());
        }
        // The greeting of TLS: who does not speak it goes away.
        if read[0] == 0x16 {
            return Err(gone.into());
        }
        let Some(head) = memchr::memmem::find(&read, b"\r\n\r\n") else {
            continue;
        };
        if let Ok(body) = serde_json::from_slice::<serde_json::Value>(&read[head + 4..]) {
            return Ok(body["messages"][0]["content"].as_str().unwrap().to_owned());
        }
    }
}
