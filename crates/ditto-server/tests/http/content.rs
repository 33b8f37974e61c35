//! `GET /v1/files/{id}/content`

use reqwest::Method;

use crate::form::Form;
use crate::server::{Answer, TestServer, answer};

const CONTENT: &str = "{\"n\":0123456789}";

async fn with_file() -> (TestServer, String) {
    let server = TestServer::start().await;
    let form = Form::new()
        .field("purpose", "user_data")
        .file("任务 1.jsonl", CONTENT);
    let id = server.send(form).await.ok()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    (server, format!("/v1/files/{id}/content"))
}

async fn ask(server: &TestServer, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = server.ask(method, path);
    answer(headers.iter().fold(request, |request, (name, value)| {
        request.header(*name, *value)
    }))
    .await
}

#[tokio::test]
async fn content_comes_with_its_length_and_a_strong_validator() {
    let (server, path) = with_file().await;
    let whole = ask(&server, Method::GET, &path, &[("accept-encoding", "gzip")]).await;
    assert_eq!(whole.status, 200);
    assert_eq!(whole.body, CONTENT.as_bytes());
    assert_eq!(whole.header("content-type"), Some("application/jsonl"));
    assert_eq!(
        whole.header("content-length"),
        Some(CONTENT.len().to_string().as_str())
    );
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    assert_eq!(whole.header("content-encoding"), None);
    let disposition = "attachment; filename=\"__ 1.jsonl\"";
    assert_eq!(whole.header("content-disposition"), Some(disposition));
    assert!(whole.header("etag").unwrap().starts_with('"'));

    let head = ask(&server, Method::HEAD, &path, &[("range", "bytes=3-5")]).await;
    assert_eq!(head.status, 200);
    assert_eq!(head.body, b"");
    for name in ["content-length", "etag", "content-type", "accept-ranges"] {
        assert_eq!(head.header(name), whole.header(name), "{name}");
    }
}

#[tokio::test]
async fn one_range_is_answered_with_that_part() {
    let (server, path) = with_file().await;
    let length = CONTENT.len();
    let table = [
        ("bytes=0-2", 0, 3),
        ("bytes=4-", 4, length),
        ("bytes=-3", length - 3, length),
    ];
    for (range, start, end) in table {
        let part = ask(&server, Method::GET, &path, &[("range", range)]).await;
        assert_eq!(part.status, 206, "{range}");
        assert_eq!(part.body, &CONTENT.as_bytes()[start..end], "{range}");
        let span = format!("bytes {start}-{}/{length}", end - 1);
        assert_eq!(part.header("content-range"), Some(span.as_str()), "{range}");
    }
}

#[tokio::test]
async fn several_ranges_are_answered_with_the_whole() {
    let (server, path) = with_file().await;
    let in_one = [("range", "bytes=0-1,3-4")];
    let in_two = [("range", "bytes=0-1"), ("range", "bytes=3-4")];
    for ranges in [&in_one[..], &in_two[..]] {
        let whole = ask(&server, Method::GET, &path, ranges).await;
        assert_eq!((whole.status, whole.body.len()), (200, CONTENT.len()));
    }
}

#[tokio::test]
async fn a_range_behind_the_end_is_416_with_the_length() {
    let (server, path) = with_file().await;
    let length = CONTENT.len();
    let refused = ask(&server, Method::GET, &path, &[("range", "bytes=99-")]).await;
    let message = format!("The range begins past the end of the file, which has {length} bytes.");
    refused.refuses(416, &message, None, None);
    assert_eq!(
        refused.header("content-range"),
        Some(format!("bytes */{length}").as_str())
    );
}

#[tokio::test]
async fn a_part_is_given_only_of_the_file_that_the_client_knows() {
    let (server, path) = with_file().await;
    let etag = server.get(&path).await.header("etag").unwrap().to_owned();
    let same = ask(
        &server,
        Method::GET,
        &path,
        &[("range", "bytes=4-"), ("if-range", &etag)],
    )
    .await;
    assert_eq!(same.status, 206);
    let other = ask(
        &server,
        Method::GET,
        &path,
        &[("range", "bytes=4-"), ("if-range", "\"x\"")],
    )
    .await;
    assert_eq!((other.status, other.body.len()), (200, CONTENT.len()));
}

#[tokio::test]
async fn a_deleted_file_is_gone_at_once() {
    let (server, path) = with_file().await;
    let object = path.strip_suffix("/content").unwrap();
    let id = object.strip_prefix("/v1/files/").unwrap();
    let gone = server.delete(object).await.ok();
    assert_eq!(
        gone,
        serde_json::json!({ "id": id, "object": "file", "deleted": true })
    );
    let message = format!("No such File object: {id}");
    for path in [object, path.as_str()] {
        server
            .get(path)
            .await
            .refuses(404, &message, Some("id"), None);
    }
    server
        .delete(object)
        .await
        .refuses(404, &message, Some("id"), None);
}

#[tokio::test]
async fn content_that_is_gone_from_the_disk_is_a_500_with_a_sentence_and_no_cut_stream() {
    for blob in ["data", "map"] {
        let (server, path) = with_file().await;
        let id = path.split('/').nth(3).unwrap();
        std::fs::remove_file(server.data().join("blobs/files").join(id).join(blob)).unwrap();
        for range in ["bytes=0-", "bytes=3-5"] {
            let answer = ask(&server, Method::GET, &path, &[("range", range)]).await;
            assert_eq!(answer.status, 500, "{blob}");
            let error: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(error["error"]["code"], "content_lost");
            let message = error["error"]["message"].as_str().unwrap();
            assert!(message.contains("restore it from a backup"), "{message}");
        }
    }
}
