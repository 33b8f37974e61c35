//! Bytes in, bytes out: a body reaches the upstream as it stands, an answer keeps its text.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::HeaderMap;
use bytes::Bytes;
use tokio::net::TcpListener;

use super::rig::{CHAT, config, ended, submit, text};
use crate::Server;

/// Odd but valid: spaces, escapes, a number that no float keeps, keys out of order, U+2028.
const BODY: &str = "{ \"messages\" :[{\"content\":\"\\u00e9 \\/ \u{2028} 你好\",\"role\":\"user\"}] ,\"seed\":12345678901234567890123, \"t\":1.50E+2,\"model\":\"m\" }";
const ANSWER: &str = "{\n  \"z\": 1.50e+3,\r\n  \"a\": \"x\u{2028}y\u{2029}z\u{85} \\u00e9\",\n\t\"big\": 12345678901234567890123\n}\n";
const KEPT: &str = "{  \"z\": 1.50e+3,  \"a\": \"x\\u2028y\\u2029z\\u0085 \\u00e9\",\t\"big\": 12345678901234567890123}";

type Seen = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// Answers everything alike and keeps what it was asked; its base URL.
async fn recorder() -> (String, Seen) {
    let seen = Seen::default();
    let keep = Arc::clone(&seen);
    let router = Router::new().fallback(async move |headers: HeaderMap, body: Bytes| {
        keep.lock().unwrap().push((headers, body));
        ANSWER
    });
    let listener = free_port().await;
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (base, seen)
}

pub(super) async fn free_port() -> TcpListener {
    loop {
        // In use: another one.
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", fastrand::u16(20_000..32_000))).await
        {
            return listener;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_arrives_byte_for_byte_and_the_answer_keeps_its_text() {
    let (base, seen) = recorder().await;
    let data = tempfile::tempdir().unwrap();
    let server = Server::open(config(&data, base)).await.unwrap();
    let service = server.service();
    let running = tokio::spawn(server.run_engine(std::future::pending()));
    let line = format!(
        "{{\"custom_id\":\"\\u0041\u{2028}\",\"method\":\"POST\",\"url\":\"{CHAT}\",\"body\":{BODY}}}\n"
    );
    let id = submit(&service, line.as_bytes(), |_| {}).await;
    let left = ended(&service, &id).await;

    left.is_conserved(1);
    let (headers, body) = seen.lock().unwrap()[0].clone();
    assert_eq!(std::str::from_utf8(&body).unwrap(), BODY);
    let key = left.output[0]["id"].as_str().unwrap();
    assert_eq!(headers["idempotency-key"], key);
    assert_eq!(headers["x-request-id"], key);
    assert_eq!(headers["content-type"], "application/json");
    let output = text(&service, left.batch.output_file_id.as_deref().unwrap()).await;
    assert!(output.contains(&format!("\"body\":{KEPT}}}")), "{output}");
    assert!(output.contains(r#""custom_id":"\u0041\u2028""#), "{output}");
    assert_eq!(output.matches('\n').count(), 1);
    running.abort();
}
