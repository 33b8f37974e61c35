use ditto_llm::{FileClient, FileClientExt as _, ListFiles, Timeouts};
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};

use crate::server::{CANARY, Reply, Server};

fn file(id: &str) -> Value {
    json!({"id": id, "object": "file", "bytes": 3, "created_at": 1_790_000_000,
        "filename": "a.jsonl", "purpose": "batch"})
}

#[tokio::test]
async fn every_call_works_behind_a_dyn_client() {
    let server = Server::script([
        Reply::ok(
            json!({"object": "list", "data": [file("file-1")], "has_more": false}).to_string(),
        ),
        Reply::ok(file("file-1").to_string()),
        Reply::ok("abc"),
        Reply::ok(json!({"id": "file-1", "object": "file", "deleted": true}).to_string()),
    ])
    .await;
    let client: Box<dyn FileClient> = Box::new(server.files());
    let query = ListFiles {
        purpose: Some("batch".into()),
        limit: Some(5),
        ..Default::default()
    };

    let list = client.list(query).await.unwrap();
    let one = client.retrieve("file-1").await.unwrap();
    let content = client.content("file-1").await.unwrap();
    let length = content.length();
    let bytes = content.bytes().await.unwrap();
    let deleted = client.delete("file-1").await.unwrap();

    assert_eq!((list.data[0].id.as_str(), one.bytes), ("file-1", Some(3)));
    assert_eq!(
        (length, bytes.as_ref(), deleted.deleted),
        (Some(3), &b"abc"[..], true)
    );
    assert_eq!(
        server.lines(),
        [
            "GET /v1/files?purpose=batch&limit=5",
            "GET /v1/files/file-1",
            "GET /v1/files/file-1/content",
            "DELETE /v1/files/file-1",
        ]
    );
    assert_eq!(server.seen()[2].header("accept-encoding"), Some("identity"));
}

#[tokio::test]
async fn list_all_files_goes_through_the_pages() {
    let page = |id: &str, has_more: bool| {
        Reply::ok(json!({"data": [file(id)], "has_more": has_more}).to_string())
    };
    let server = Server::script([page("f2", true), page("f1", false)]).await;
    let query = ListFiles {
        purpose: Some("batch".into()),
        ..ListFiles::default()
    };

    let client = server.files();
    let all: Vec<_> = client
        .list_all_files(query)
        .map_ok(|file| file.id)
        .try_collect()
        .await
        .unwrap();

    assert_eq!(all, ["f2", "f1"]);
    assert_eq!(server.lines()[1], "GET /v1/files?purpose=batch&after=f2");
}

#[tokio::test]
async fn a_file_in_siliconflows_envelope_is_found() {
    let answer = json!({"code": 20000, "message": "Ok", "status": true, "data": {"id": "file-s1",
        "object": "file", "bytes": 900, "createdAt": 1_790_000_000}});
    let server = Server::json(answer).await;

    let file = server.files().retrieve("file-s1").await.unwrap();

    assert_eq!(
        (file.id.as_str(), file.created_at),
        ("file-s1", Some(1_790_000_000))
    );
}

#[tokio::test]
async fn content_follows_a_redirect_and_leaves_the_key_at_home() {
    let storage = Server::answering(|_| Reply::ok("the bytes")).await;
    let link = format!("{}/bucket/x?signature=abc", storage.url());
    let server = Server::answering(move |_| Reply::status(302, "").header("location", &link)).await;
    let client = server
        .files()
        .with_header("api-key", CANARY)
        .with_query_param("api-version", "2025");

    let bytes = client
        .content("file-1")
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();

    assert_eq!(bytes.as_ref(), b"the bytes");
    let asked = &storage.seen()[0];
    assert_eq!(asked.target, "/bucket/x?signature=abc");
    assert_eq!(
        (asked.header("authorization"), asked.header("api-key")),
        (None, None)
    );
    assert!(asked.header("user-agent").is_some());
    assert!(server.seen()[0].header("authorization").is_some());
}

#[tokio::test]
async fn a_redirect_on_the_same_host_keeps_the_key() {
    let server = Server::answering(|seen| match seen.target.as_str() {
        "/v1/files/f/content" => Reply::status(307, "").header("location", "/elsewhere"),
        _ => Reply::ok("the bytes"),
    })
    .await;

    server.files().content("f").await.unwrap();

    assert_eq!(server.seen()[1].target, "/elsewhere");
    assert!(server.seen()[1].header("authorization").is_some());
}

#[tokio::test]
async fn the_key_does_not_come_back_with_a_redirect_that_comes_back() {
    let storage = Server::answering(|seen| {
        let home = seen.target.trim_start_matches("/to/").to_owned();
        Reply::status(302, "").header("location", format!("http://{home}/back"))
    })
    .await;
    let away = storage.url();
    let server = Server::answering(move |seen| match seen.target.as_str() {
        "/back" => Reply::ok("x"),
        _ => {
            let home = seen.header("host").unwrap();
            Reply::status(302, "").header("location", format!("{away}/to/{home}"))
        }
    })
    .await;

    server.files().content("f").await.unwrap();

    assert_eq!(server.seen()[1].target, "/back");
    assert_eq!(server.seen()[1].header("authorization"), None);
}

#[tokio::test]
async fn redirects_end_after_five_hops() {
    let server = Server::answering(|_| Reply::status(302, "").header("location", "/again")).await;

    let error = server.files().content("f").await.unwrap_err();

    assert!(error.to_string().contains("redirects"), "{error}");
    assert_eq!(server.seen().len(), 6);
}

#[tokio::test]
async fn other_calls_do_not_follow_redirects() {
    let elsewhere = "http://127.0.0.1:1/v1/files/f?token=abc";
    let server =
        Server::answering(move |_| Reply::status(307, "").header("location", elsewhere)).await;

    for error in [
        server.files().retrieve("f").await.unwrap_err(),
        server.files().delete("f").await.unwrap_err(),
    ] {
        assert_eq!(error.status(), Some(307));
        assert!(
            error.to_string().contains("http://127.0.0.1:1/v1/files/f"),
            "{error}"
        );
        assert!(!error.to_string().contains("token=abc"), "{error}");
    }
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_download_that_falls_silent_ends_after_the_idle_time() {
    let server = Server::answering(|_| Reply::ok("0123456789").silent_after(4)).await;
    let timeouts = Timeouts {
        idle: std::time::Duration::from_millis(50),
        ..Timeouts::default()
    };

    let content = server
        .files()
        .with_timeouts(timeouts)
        .content("f")
        .await
        .unwrap();
    let error = content.bytes().await.unwrap_err();

    assert_eq!(
        error.to_string(),
        "the download of f broke off after 4 bytes of 10"
    );
    assert!(error.is_transient());
}

#[tokio::test]
async fn an_encoding_that_changes_no_byte_is_none() {
    // The last is what object storage keeps of some uploads.
    for encoding in ["identity", "", "aws-chunked"] {
        let server =
            Server::answering(move |_| Reply::ok("abc").header("content-encoding", encoding)).await;

        let content = server.files().content("f").await.unwrap();

        assert_eq!(content.bytes().await.unwrap().as_ref(), b"abc");
    }
}

#[tokio::test]
async fn a_file_that_comes_compressed_is_refused_rather_than_saved() {
    let server = Server::answering(|_| Reply::ok("??").header("content-encoding", "gzip")).await;

    let error = server.files().content("f").await.unwrap_err();

    assert!(error.to_string().contains("compressed"), "{error}");
}
