use std::path::Path;

use ditto_llm::{DittoError, FileClient as _, RetryPolicy};
use futures_util::StreamExt as _;
use serde_json::json;

use crate::server::{Reply, Seen, Server};

const ETAG: &str = "\"v1\"";

fn whole() -> Vec<u8> {
    (0..100_000_u32).flat_map(|n| n.to_le_bytes()).collect()
}

fn hash(bytes: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(bytes)
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Serves ranges as it should, and cuts every answer after so many bytes.
fn ranges(seen: &Seen, bytes: &[u8], cut: usize) -> Reply {
    let reply = match seen.header("range") {
        None => Reply::ok(bytes),
        Some(range) => {
            assert_eq!(seen.header("if-range"), Some(ETAG));
            let from = range
                .strip_prefix("bytes=")
                .unwrap()
                .strip_suffix('-')
                .unwrap();
            let from: usize = from.parse().unwrap();
            let last = bytes.len() - 1;
            Reply::status(206, &bytes[from..]).header(
                "content-range",
                format!("bytes {from}-{last}/{}", bytes.len()),
            )
        }
    };
    reply
        .header("etag", ETAG)
        .header("accept-ranges", "bytes")
        .cut_after(cut)
}

#[tokio::test]
async fn a_download_cut_again_and_again_is_resumed_and_whole() {
    for cut in [7_919, 65_536, 399_999] {
        let server = Server::answering(move |seen| ranges(seen, &whole(), cut)).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");

        let done = server.files().download_to("f", &path).await.unwrap();

        assert_eq!(
            hash(&std::fs::read(&path).unwrap()),
            hash(&whole()),
            "cut {cut}"
        );
        assert_eq!(done.bytes, 400_000);
        assert_eq!(done.resumed as usize, 400_000_usize.div_ceil(cut) - 1);
        assert_eq!(names_in(folder.path()), ["out.jsonl"]);
    }
}

#[tokio::test]
async fn a_stream_resumes_by_itself_too() {
    let server = Server::answering(|seen| ranges(seen, &whole(), 50_000)).await;

    let bytes = server
        .files()
        .content("f")
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();

    assert_eq!(hash(&bytes), hash(&whole()));
    assert_eq!(server.seen()[1].header("range"), Some("bytes=50000-"));
}

#[tokio::test]
async fn a_server_that_answers_a_range_with_the_whole_same_file_is_understood() {
    let server = Server::answering(|seen| {
        let cut = if seen.header("range").is_some() {
            usize::MAX
        } else {
            1000
        };
        Reply::ok(whole())
            .header("etag", ETAG)
            .header("accept-ranges", "bytes")
            .cut_after(cut)
    })
    .await;

    let bytes = server
        .files()
        .content("f")
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();

    assert_eq!(hash(&bytes), hash(&whole()));
}

#[tokio::test]
async fn where_ranges_are_not_to_be_trusted_a_download_begins_anew() {
    let unfit = [
        vec![],
        vec![("etag", ETAG)],
        vec![("accept-ranges", "bytes")],
        vec![("etag", "W/\"v1\""), ("accept-ranges", "bytes")],
    ];
    for headers in unfit {
        let reply = headers
            .iter()
            .fold(Reply::ok(whole()), |reply, (name, value)| {
                reply.header(name, value)
            });
        let server = Server::script([reply.clone().cut_after(1000), reply]).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");

        let done = server.files().download_to("f", &path).await.unwrap();

        assert_eq!(hash(&std::fs::read(&path).unwrap()), hash(&whole()));
        assert_eq!((done.resumed, done.restarted), (0, 1));
        assert!(
            server
                .seen()
                .iter()
                .all(|seen| seen.header("range").is_none())
        );
    }
}

#[tokio::test]
async fn a_file_that_changed_meanwhile_is_never_glued_together() {
    let server = Server::answering(|seen| {
        if seen.header("range").is_some() {
            return Reply::ok("new")
                .header("etag", "\"v2\"")
                .header("accept-ranges", "bytes");
        }
        Reply::ok("old old")
            .header("etag", ETAG)
            .header("accept-ranges", "bytes")
            .cut_after(4)
    })
    .await;

    let error = server
        .files()
        .content("f")
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap_err();

    assert!(
        matches!(error, DittoError::Incomplete { received: 4, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_part_of_another_version_is_refused_though_the_server_calls_it_the_rest() {
    // A server that knows ranges and ignores `If-Range`.
    let others = [
        ("\"v2\"", "bytes 4-6/7"),
        (ETAG, "bytes 4-8/9"),
        (ETAG, "bytes 5-6/7"),
    ];
    for (etag, range) in others {
        let server = Server::answering(move |seen| {
            let reply = match seen.header("range") {
                Some(_) => Reply::status(206, "new").header("content-range", range),
                None => Reply::ok("old old").cut_after(4),
            };
            let etag = if seen.header("range").is_some() {
                etag
            } else {
                ETAG
            };
            reply.header("etag", etag).header("accept-ranges", "bytes")
        })
        .await;

        let content = server.files().content("f").await.unwrap();
        let error = content.bytes().await.unwrap_err();

        assert!(
            matches!(error, DittoError::Incomplete { received: 4, .. }),
            "{etag} {range}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_download_that_never_gets_whole_leaves_the_old_file_and_no_litter() {
    let server = Server::answering(|_| Reply::ok(whole()).cut_after(1000)).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    std::fs::write(&path, "old").unwrap();

    let error = server.files().download_to("f", &path).await.unwrap_err();

    assert!(
        matches!(
            error,
            DittoError::Incomplete {
                expected: Some(400_000),
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(names_in(folder.path()), ["out.jsonl"]);
    assert_eq!(server.seen().len(), 5);
}

#[tokio::test]
async fn a_range_server_that_gives_no_byte_any_more_is_given_up() {
    let server = Server::answering(|seen| {
        let cut = if seen.header("range").is_some() {
            0
        } else {
            10
        };
        ranges(seen, &whole(), cut)
    })
    .await;
    let mut retry = RetryPolicy::default();
    retry.backoff.base = std::time::Duration::from_millis(1);

    let content = server.files().with_retry(retry).content("f").await.unwrap();
    let error = content.bytes().await.unwrap_err();

    assert!(
        matches!(error, DittoError::Incomplete { received: 10, .. }),
        "{error:?}"
    );
    assert_eq!(server.seen().len(), 6);
}

#[tokio::test]
async fn without_an_announced_length_the_file_object_has_the_last_word() {
    let server = Server::answering(|seen| match seen.target.as_str() {
        // Ends with the connection, as HTTP/1.0 does: a cut cannot be told from the end.
        "/v1/files/f/content" => Reply::ok("half").header("content-length", "none"),
        _ => Reply::ok(json!({"id": "f", "bytes": 8}).to_string()),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");

    let error = server.files().download_to("f", &path).await.unwrap_err();

    assert!(
        matches!(error, DittoError::Incomplete { received: 4, .. }),
        "{error:?}"
    );
    assert!(!path.exists());
}

#[tokio::test]
async fn the_file_of_another_moment_is_not_there_before_its_last_byte() {
    let server = Server::answering(|_| Reply::ok(whole()).silent_after(1000)).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let client = server.files();

    let download = client.download_to("f", &path);
    let some_time = tokio::time::timeout(std::time::Duration::from_millis(100), download);

    assert!(some_time.await.is_err(), "the server never sends the rest");
    assert_eq!(names_in(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_missing_folder_is_told_with_its_path() {
    let server = Server::answering(|_| Reply::ok("x")).await;

    let path = Path::new("/nowhere-at-all/out.jsonl");
    let error = server.files().download_to("f", path).await.unwrap_err();

    assert!(
        error.to_string().contains("/nowhere-at-all/out.jsonl"),
        "{error}"
    );
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn a_stream_is_over_after_its_error() {
    let server = Server::answering(|_| Reply::ok("0123456789").cut_after(4)).await;

    let mut content = server.files().content("f").await.unwrap();

    assert!(content.next().await.unwrap().is_ok());
    assert!(content.next().await.unwrap().is_err());
    assert!(content.next().await.is_none());
}
