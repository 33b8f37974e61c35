use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use ditto_llm::{DittoError, FileClient as _, FileUpload, Timeouts};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, ReadBuf};

use crate::server::{Reply, Server, bind};

fn uploaded() -> Value {
    json!({"id": "file-1", "object": "file", "bytes": 3, "purpose": "batch"})
}

/// A file of 300 kB, more than one chunk.
fn big_file() -> (tempfile::NamedTempFile, Vec<u8>) {
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let mut file = tempfile::Builder::new()
        .suffix(".jsonl")
        .tempfile()
        .unwrap();
    file.write_all(&bytes).unwrap();
    (file, bytes)
}

fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn bytes_go_up_in_the_form_that_openai_wants() {
    let server = Server::json(uploaded()).await;

    let id = server
        .files()
        .upload_file_with_purpose(
            "in.jsonl",
            b"{}\n".to_vec(),
            "batch",
            Some("application/jsonl"),
        )
        .await
        .unwrap();

    assert_eq!(id, "file-1");
    let seen = &server.seen()[0];
    assert_eq!(seen.line(), "POST /v1/files");
    let kind = seen.header("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
    assert_eq!(
        seen.text(),
        format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"in.jsonl\"\r\n\
             Content-Type: application/jsonl\r\n\r\n{{}}\n\r\n--{boundary}--\r\n"
        )
    );
}

#[tokio::test]
async fn the_expiry_goes_in_brackets_and_before_the_file() {
    let server = Server::json(uploaded()).await;
    let file = FileUpload::from_bytes("in.jsonl", "{}\n").expires_after(86_400);

    server.files().upload(file).await.unwrap();

    let body = server.seen()[0].text();
    let at = |text: &str| body.find(text).unwrap();
    assert!(at("name=\"purpose\"") < at("name=\"expires_after[anchor]\"\r\n\r\ncreated_at"));
    assert!(at("name=\"expires_after[seconds]\"\r\n\r\n86400") < at("name=\"file\""));
}

#[tokio::test]
async fn a_path_is_streamed_with_its_length_announced() {
    let (file, bytes) = big_file();
    let server = Server::json(uploaded()).await;

    server
        .files()
        .upload(FileUpload::from_path(file.path()))
        .await
        .unwrap();

    let seen = &server.seen()[0];
    assert_eq!(seen.header("transfer-encoding"), None);
    assert_eq!(
        seen.header("content-length"),
        Some(&*seen.body.len().to_string())
    );
    assert!(contains(&seen.body, &bytes));
    let name = file.path().file_name().unwrap().to_str().unwrap();
    assert!(seen.text().contains(&format!("filename=\"{name}\"")));
}

#[tokio::test]
async fn a_reader_of_known_length_is_streamed() {
    let server = Server::json(uploaded()).await;
    let reader = tokio::io::repeat(b'x');

    server
        .files()
        .upload(FileUpload::from_reader("x.jsonl", reader, 100_000))
        .await
        .unwrap();

    let seen = &server.seen()[0];
    assert_eq!(
        seen.header("content-length"),
        Some(&*seen.body.len().to_string())
    );
    assert_eq!(
        seen.body.iter().filter(|byte| **byte == b'x').count(),
        100_001
    );
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_sent_again_from_the_start() {
    let (file, bytes) = big_file();
    let server = Server::script([Reply::dropped(), Reply::ok(uploaded().to_string())]).await;

    server
        .files()
        .upload(FileUpload::from_path(file.path()))
        .await
        .unwrap();

    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert!(contains(&seen[1].body, &bytes));
}

#[tokio::test]
async fn a_reader_is_never_sent_twice() {
    let server = Server::script([Reply::dropped(), Reply::ok(uploaded().to_string())]).await;
    let upload = FileUpload::from_reader("x.jsonl", &b"abc"[..], 3);

    let error = server.files().upload(upload).await.unwrap_err();

    assert!(matches!(error, DittoError::Http(_)), "{error:?}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_source_that_ends_early_is_an_io_error_with_its_numbers() {
    let server = Server::json(uploaded()).await;
    let upload = FileUpload::from_reader("x.jsonl", &b"abc"[..], 10);

    let error = server.files().upload(upload).await.unwrap_err();

    assert!(matches!(error, DittoError::Io(_)), "{error:?}");
    assert_eq!(error.to_string(), "the source ended after 3 of 10 bytes");
}

#[tokio::test]
async fn a_path_that_cannot_be_read_is_named() {
    let server = Server::json(uploaded()).await;
    let folder = tempfile::tempdir().unwrap();

    for path in [
        folder.path().join("missing.jsonl"),
        folder.path().to_owned(),
    ] {
        let error = server
            .files()
            .upload(FileUpload::from_path(&path))
            .await
            .unwrap_err();
        assert!(matches!(error, DittoError::Io(_)), "{error:?}");
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
    }
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn an_upload_whose_source_stalls_ends_after_the_idle_time() {
    let server = Server::json(uploaded()).await;
    let (mut writer, reader) = tokio::io::duplex(64);
    tokio::io::AsyncWriteExt::write_all(&mut writer, b"abc")
        .await
        .unwrap();
    let timeouts = Timeouts {
        idle: Duration::from_millis(50),
        ..Timeouts::default()
    };
    let upload = FileUpload::from_reader("x.jsonl", reader, 10);

    let error = server
        .files()
        .with_timeouts(timeouts)
        .upload(upload)
        .await
        .unwrap_err();

    assert!(error.to_string().contains("timed out"), "{error}");
}

#[tokio::test]
async fn an_empty_file_goes_up_too_and_the_server_judges_it() {
    let server = Server::json(uploaded()).await;

    server
        .files()
        .upload(FileUpload::from_bytes("empty.jsonl", ""))
        .await
        .unwrap();

    assert_eq!(server.seen().len(), 1);
}

/// A source without end that counts what is taken of it.
struct Counted(Arc<AtomicUsize>);

impl AsyncRead for Counted {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let room = buffer.remaining();
        buffer.put_slice(&vec![b'x'; room]);
        self.0.fetch_add(room, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn no_more_is_read_than_the_server_takes() {
    let listener = bind().await;
    let address = listener.local_addr().unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let upload = FileUpload::from_reader("x.jsonl", Counted(Arc::clone(&taken)), 1 << 30);
    let timeouts = Timeouts {
        idle: Duration::from_millis(300),
        ..Timeouts::default()
    };
    let client = ditto_llm::OpenAI::new("k")
        .with_base_url(format!("http://{address}"))
        .with_timeouts(timeouts);

    // It is accepted, and then nobody reads.
    let (error, _kept) = tokio::join!(client.upload(upload), listener.accept());

    assert!(error.unwrap_err().to_string().contains("timed out"));
    // What the system keeps for the socket, and little more.
    let taken = taken.load(Ordering::Relaxed);
    assert!(taken < 32 << 20, "{taken} bytes are in memory");
}

#[tokio::test]
async fn a_refusal_that_comes_before_the_last_byte_is_told() {
    let listener = bind().await;
    let address = listener.local_addr().unwrap();
    let client = ditto_llm::OpenAI::new("k").with_base_url(format!("http://{address}"));
    let upload = FileUpload::from_bytes("x.jsonl", vec![b'x'; 64 << 20]);
    let refuse = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let answer = "HTTP/1.1 413 Too Large\r\ncontent-length: 9\r\n\r\ntoo large";
        tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1024])
            .await
            .unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes())
            .await
            .unwrap();
        stream
    };

    let (error, _kept) = tokio::join!(client.upload(upload), refuse);

    let error = error.unwrap_err();
    assert_eq!(error.status(), Some(413), "{error}");
}

#[tokio::test]
async fn an_idle_time_without_end_is_no_limit_and_no_panic() {
    let server = Server::json(uploaded()).await;
    let timeouts = Timeouts {
        connect: Duration::MAX,
        call: Duration::MAX,
        idle: Duration::MAX,
    };
    let client = server.files().with_timeouts(timeouts);

    let upload = FileUpload::from_bytes("x.jsonl", "{}");
    client.upload(upload).await.unwrap();
    client.retrieve("file-1").await.unwrap();
    client.content("file-1").await.unwrap();
}
