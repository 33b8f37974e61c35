//! `POST /v1/files` again, under a key of the client's own.

use std::path::Path;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::form::Form;
use crate::server::{Answer, TestServer, answer, files_below, requests, until};

async fn send(server: &TestServer, key: &str, form: Form) -> Answer {
    let (content_type, body) = form.encode();
    let request = server
        .ask(Method::POST, "/v1/files")
        .header("content-type", content_type)
        .header("idempotency-key", key);
    answer(request.body(body)).await
}

fn input(content: &str) -> Form {
    Form::new()
        .field("purpose", "batch")
        .file("job.jsonl", content)
}

fn id(file: &Value) -> &str {
    file["id"].as_str().unwrap()
}

/// Contents of files that are stored below this folder.
fn contents(folder: &Path) -> usize {
    let blobs = files_below(folder, "/files/").into_iter();
    blobs.filter(|blob| blob.ends_with("data")).count()
}

fn stored(server: &TestServer) -> usize {
    contents(&server.data())
}

#[tokio::test]
async fn the_same_key_and_file_are_the_file_as_it_is_and_its_bytes_are_kept_once() {
    let server = TestServer::start().await;
    let content = requests(3);
    let first = send(&server, "k", input(&content)).await.ok();
    assert_eq!(send(&server, "k", input(&content)).await.ok(), first);
    // Another order of the fields, and another word for the same lifetime, are the same file.
    let spelled = |form: Form| {
        form.field("expires_after[anchor]", "created_at")
            .field("expires_after[seconds]", "86400")
    };
    let day = spelled(Form::new().file("job.jsonl", &content)).field("purpose", "batch");
    let first_for_a_day = send(&server, "day", day).await.ok();
    let json = input(&content).field(
        "expires_after",
        r#"{"seconds": 86400, "anchor": "created_at"}"#,
    );
    assert_eq!(send(&server, "day", json).await.ok(), first_for_a_day);
    assert_eq!((server.count_files().await, stored(&server)), (2, 2));
}

#[tokio::test]
async fn a_key_may_stand_in_the_form_before_the_file() {
    let server = TestServer::start().await;
    let keyed = |key: &str| Form::new().field("idempotency_key", key);
    let whole = |form: Form| form.field("purpose", "batch").file("a.jsonl", "{}");
    let first = server.send(whole(keyed("k"))).await.ok();
    assert_eq!(server.send(whole(keyed("k"))).await.ok(), first);
    // It is the same key as that of the header, wherever it stands then.
    assert_eq!(send(&server, "k", whole(Form::new())).await.ok(), first);
    assert_eq!(send(&server, "k", whole(keyed("k"))).await.ok(), first);
    let behind = whole(Form::new()).field("idempotency_key", "k");
    assert_eq!(send(&server, "k", behind).await.ok(), first);
    assert_eq!(server.count_files().await, 1);

    let field = Some("idempotency_key");
    let refuses = |refused: Answer, message: &str| {
        refused.refuses(400, message, field, Some("invalid_value"));
    };
    let behind = whole(Form::new()).field("idempotency_key", "k");
    refuses(
        server.send(behind).await,
        "'idempotency_key' stands behind the bytes, which begin under their key: let it stand before \
         them, or send it as the 'Idempotency-Key' header.",
    );
    refuses(
        send(&server, "k", whole(keyed("other"))).await,
        "The 'Idempotency-Key' header and 'idempotency_key' in the body differ: send one of them, or \
         the same twice.",
    );
    refuses(
        server.send(whole(keyed("two words"))).await,
        "Invalid 'idempotency_key': expected a key of 1 to 255 visible ASCII characters.",
    );
    let message = "The form has more than one part 'idempotency_key'.";
    let twice = whole(keyed("k").field("idempotency_key", "k"));
    server.send(twice).await.refuses(400, message, field, None);
    assert_eq!((server.count_files().await, stored(&server)), (1, 1));
}

#[tokio::test]
async fn a_key_with_another_file_is_a_conflict_that_names_the_first() {
    let server = TestServer::start().await;
    let content = requests(1);
    let first = send(&server, "k", input(&content)).await.ok();
    let message = format!(
        "This Idempotency-Key belongs to a request with another body, which made the file '{}'. Use a \
         new key for a new file.",
        id(&first)
    );
    let others = [
        input(&requests(2)),
        input(&content.replace("row-1", "row-2")),
        Form::new()
            .field("purpose", "batch")
            .file("other.jsonl", &content),
        Form::new()
            .field("purpose", "evals")
            .file("job.jsonl", &content),
        input(&content)
            .field("expires_after.anchor", "created_at")
            .field("expires_after.seconds", "3600"),
    ];
    for other in others {
        let refused = send(&server, "k", other).await;
        refused.refuses(409, &message, None, Some("idempotency_key_reused"));
    }
    send(&server, "K", input(&content)).await.ok();
    assert_eq!((server.count_files().await, stored(&server)), (2, 2));
}

#[tokio::test]
async fn a_file_that_was_deleted_since_is_not_made_again() {
    let server = TestServer::start().await;
    let first = send(&server, "k", input(&requests(1))).await.ok();
    let path = format!("/v1/files/{}", id(&first));
    server.delete(&path).await.ok();
    let message = format!("No such File object: {}", id(&first));
    let again = send(&server, "k", input(&requests(1))).await;
    again.refuses(404, &message, Some("id"), None);
    assert_eq!(server.count_files().await, 0);
}

#[tokio::test]
async fn an_upload_that_was_refused_does_not_use_its_key_up() {
    let server = TestServer::start().await;
    assert_eq!(send(&server, "k", input("no json")).await.status, 400);
    send(&server, "k", input(&requests(1))).await.ok();
}

#[tokio::test]
async fn a_key_of_files_is_no_key_of_batches() {
    let server = TestServer::start().await;
    let file = send(&server, "k", input(&requests(1))).await.ok();
    let mut body = crate::server::create_body(id(&file));
    body["idempotency_key"] = json!("k");
    server.post("/v1/batches", &body).await.ok();
    assert_eq!(send(&server, "k", input(&requests(1))).await.ok(), file);
}

#[tokio::test]
async fn a_bad_key_is_refused_by_name() {
    let server = TestServer::start().await;
    let message =
        "Invalid 'Idempotency-Key' header: expected one key of 1 to 255 visible ASCII characters.";
    let refused = send(&server, "two words", input(&requests(1))).await;
    let param = Some("Idempotency-Key");
    refused.refuses(400, message, param, Some("invalid_value"));
    assert_eq!(server.count_files().await, 0);
}

#[tokio::test]
async fn uploads_at_once_under_one_key_make_one_file() {
    let server = TestServer::start().await;
    let content = requests(200);
    let answers = join_all((0..10).map(|_| send(&server, "k", input(&content)))).await;
    let first = answers[0].ok();
    assert!(answers.iter().all(|answer| answer.ok() == first));
    assert_eq!((server.count_files().await, stored(&server)), (1, 1));
}

/// An upload under this key that is on its way, with a few bytes still to come.
async fn begun(server: &TestServer, content: &str) -> (TcpStream, Vec<u8>) {
    let (content_type, mut body) = input(content).encode();
    let rest = body.split_off(body.len() - 20);
    let mut client = TcpStream::connect(server.address()).await.unwrap();
    let head = format!(
        "POST /v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\n\
         idempotency-key: k\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len() + rest.len(),
    );
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&body).await.unwrap();
    until("its bytes are coming in", async || {
        let staged = files_below(&server.data(), "/data#");
        (!staged.is_empty()).then_some(())
    })
    .await;
    (client, rest)
}

#[tokio::test]
async fn the_second_under_a_key_waits_for_the_first_and_gets_its_file() {
    let server = TestServer::start().await;
    let content = requests(50);
    let (mut client, rest) = begun(&server, &content).await;
    let first = async {
        client.write_all(&rest).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let second = send(&server, "k", input(&content));
    let (answer, second) = tokio::join!(first, second);
    assert!(answer.contains(id(&second.ok())), "{answer}");
    assert_eq!((server.count_files().await, stored(&server)), (1, 1));
}

#[tokio::test]
async fn when_the_first_goes_away_the_second_under_its_key_makes_the_file() {
    let server = TestServer::start().await;
    let content = requests(50);
    let (client, _) = begun(&server, &content).await;
    let gone = async {
        drop(client);
    };
    let ((), second) = tokio::join!(gone, send(&server, "k", input(&content)));
    let path = format!("/v1/files/{}/content", id(&second.ok()));
    assert_eq!(server.get(&path).await.body, content.as_bytes());
    assert_eq!(server.count_files().await, 1);
    let data = server.stop().await;
    assert_eq!(contents(data.path()), 1);
}
