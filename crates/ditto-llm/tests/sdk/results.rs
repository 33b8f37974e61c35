use ditto_llm::{Batch, BatchStatus, FileClientExt as _, ResultLine};
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::server::{Reply, Server};

fn ended(output: Option<&str>, errors: Option<&str>) -> Batch {
    Batch {
        id: "batch_1".to_string(),
        status: BatchStatus::Completed,
        output_file_id: output.map(str::to_string),
        error_file_id: errors.map(str::to_string),
        ..Batch::default()
    }
}

const ANSWERS: &str = "\u{feff}{\"custom_id\":\"a\",\"response\":{\"status_code\":200,\"body\":{\"text\":\"one\u{2028}two\"}},\"error\":null}\r\n\n\
    {\"custom_id\":\"b\",\"response\":{\"status_code\":200,\"body\":{\"x\":1.10}},\"error\":null}";
const FAILURES: &str = "{\"custom_id\":\"c\",\"response\":null,\"error\":{\"code\":\"batch_expired\",\"message\":\"late\"}}\n";

async fn provider() -> Server {
    Server::answering(|seen| match seen.target.as_str() {
        "/v1/files/out/content" => Reply::ok(ANSWERS),
        "/v1/files/err/content" => Reply::ok(FAILURES),
        "/v1/files/cut/content" => Reply::ok(FAILURES.repeat(2)).cut_after(FAILURES.len() + 9),
        "/v1/files/empty/content" => Reply::ok(""),
        "/v1/files/broken/content" => Reply::ok(format!("{{oops\n{FAILURES}")),
        _ => Reply::status(404, "no such file"),
    })
    .await
}

#[tokio::test]
async fn results_come_from_both_files_with_bodies_as_they_were_written() {
    let server = provider().await;
    let client = server.files();

    let lines: Vec<ResultLine> = client
        .results(&ended(Some("out"), Some("err")))
        .try_collect()
        .await
        .unwrap();

    let ids: Vec<_> = lines
        .iter()
        .map(|line| line.custom_id.as_deref().unwrap())
        .collect();
    assert_eq!(ids, ["a", "b", "c"]);
    assert_eq!(
        lines.iter().map(ResultLine::is_success).collect::<Vec<_>>(),
        [true, true, false]
    );
    let body = lines[1].response.as_ref().unwrap().body.as_ref().unwrap();
    assert_eq!(body.get(), "{\"x\":1.10}");
    assert_eq!(
        lines[2].error.as_ref().unwrap().code.as_deref(),
        Some("batch_expired")
    );
}

#[tokio::test]
async fn an_empty_error_file_and_a_missing_output_file_are_normal() {
    let server = provider().await;
    let client = server.files();

    let lines: Vec<_> = client.results(&ended(None, Some("empty"))).collect().await;

    assert!(lines.is_empty());
}

#[tokio::test]
async fn a_line_that_cannot_be_read_is_told_and_the_rest_still_comes() {
    let server = provider().await;
    let client = server.files();

    let lines: Vec<_> = client.results(&ended(None, Some("broken"))).collect().await;

    assert_eq!(lines.len(), 2);
    let text = lines[0].as_ref().unwrap_err().to_string();
    assert!(text.starts_with("line 1 of broken:"), "{text}");
    assert_eq!(lines[1].as_ref().unwrap().custom_id.as_deref(), Some("c"));
}

#[tokio::test]
async fn a_file_that_is_gone_is_an_error_and_the_other_file_still_comes() {
    let server = provider().await;
    let client = server.files();

    let lines: Vec<_> = client
        .results(&ended(Some("gone"), Some("err")))
        .collect()
        .await;

    assert_eq!(lines[0].as_ref().unwrap_err().status(), Some(404));
    assert!(lines[1].is_ok());
}

#[tokio::test]
async fn a_batch_that_still_runs_has_no_results_and_says_so() {
    let server = provider().await;
    let client = server.files();
    let running = Batch {
        status: BatchStatus::InProgress,
        ..ended(None, None)
    };

    let lines: Vec<_> = client.results(&running).collect().await;

    let text = lines[0].as_ref().unwrap_err().to_string();
    assert!(text.contains("`in_progress`"), "{text}");
}

#[tokio::test]
async fn a_file_that_breaks_off_gives_its_whole_lines_then_the_error_then_the_other_file() {
    let server = provider().await;
    let client = server.files();

    let lines: Vec<_> = client
        .results(&ended(Some("cut"), Some("err")))
        .collect()
        .await;

    let whole: Vec<_> = lines.iter().map(Result::is_ok).collect();
    assert_eq!(whole, [true, false, true]);
    let text = lines[1].as_ref().unwrap_err().to_string();
    assert!(text.contains("broke off"), "{text}");
}
