//! Rows that are missing, doubled, strange or hard to read.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::rig::{Rig, ids, line, lines};

/// What a batch of three lines brings: rows of both files, and how many lines were billed.
async fn rows(fault: &str) -> (Vec<Value>, Vec<Value>, u64) {
    let rig = Rig::faulty(fault);
    let batch = rig.finish(&lines(3)).await;
    let (output, errors) = (rig.output(&batch).await, rig.errors(&batch).await);
    (output, errors, rig.bill().billed)
}

#[tokio::test]
async fn lines_are_missing_doubled_or_unknown() {
    let stranger = "sim-nobody-sent-this";
    for (fault, expected, billed) in [
        ("line-missing", &["r1", "r2"][..], 2),
        ("line-lost", &["r1", "r2"], 3),
        ("line-lost:x2", &["r2"], 3),
        ("line-repeated", &["r0", "r0", "r1", "r2"], 3),
        ("line-unknown", &["r0", stranger, "r1", "r2"], 3),
        ("line-renamed", &[stranger, "r1", "r2"], 3),
    ] {
        let (output, errors, paid) = rows(fault).await;
        assert_eq!(ids(&output), expected, "{fault}");
        assert_eq!((errors.len(), paid), (0, billed), "{fault}");
    }
    let (output, _, billed) = rows("line-id-null").await;
    assert_eq!((&output[0]["custom_id"], billed), (&Value::Null, 3));
}

#[tokio::test]
async fn a_line_has_an_answer_and_an_error() {
    let (output, errors, billed) = rows("line-contradicted").await;
    assert_eq!(ids(&output), ["r0", "r1", "r2"]);
    assert_eq!(ids(&errors), ["r0"]);
    assert_eq!(errors[0]["response"]["status_code"], 500);
    assert_eq!(billed, 3);
}

#[tokio::test]
async fn a_line_has_no_answer_or_a_failure_and_is_not_billed() {
    for (fault, status) in [
        ("line-status-0", 0),
        ("line-failed", 500),
        ("line-failed:429", 429),
    ] {
        let (output, errors, billed) = rows(fault).await;
        assert_eq!(ids(&output), ["r1", "r2"], "{fault}");
        assert_eq!(errors[0]["response"]["status_code"], status, "{fault}");
        assert_eq!(errors[0]["error"], Value::Null, "{fault}");
        assert_eq!(billed, 2, "{fault}");
    }
}

#[tokio::test]
async fn an_answer_is_empty_cut_silent_or_a_refusal() {
    let body = async |fault| rows(fault).await.0[0]["response"]["body"].clone();
    assert_eq!(body("line-empty").await, json!({}));
    let truncated = body("line-truncated").await;
    assert_eq!(truncated["choices"][0]["finish_reason"], "length");
    let silent = body("line-silent").await;
    assert_eq!(silent["choices"][0]["message"]["content"], "");
    let refused = body("line-refused").await;
    assert!(refused["choices"][0]["message"]["refusal"].is_string());
}

/// The bytes of the output file of three lines, the last of which fails.
async fn bytes(fault: &str) -> Vec<u8> {
    let rig = Rig::faulty(fault);
    let batch = rig.finish(&(lines(2) + &line("bad", "sim: 400"))).await;
    let content = {
        use ditto_llm::FileClient as _;
        rig.files.content(&batch.output_file_id.unwrap()).await
    };
    content.unwrap().bytes().await.unwrap().to_vec()
}

#[tokio::test]
async fn a_row_cannot_be_read_and_the_next_one_can() {
    let all = bytes("line-unreadable").await;
    let rows: Vec<_> = all.split(|byte| *byte == b'\n').collect();
    assert!(serde_json::from_slice::<Value>(rows[0]).is_err());
    assert!(std::str::from_utf8(rows[0]).is_err());
    assert!(serde_json::from_slice::<Value>(rows[1]).is_ok());
}

#[tokio::test]
async fn files_end_begin_and_space_their_rows_otherwise() {
    let text = async |fault| String::from_utf8(bytes(fault).await).unwrap();
    let plain = text("").await;
    assert_eq!(text("crlf").await, plain.replace('\n', "\r\n"));
    assert_eq!(text("blank-lines").await, plain.replace('\n', "\n\n"));
    assert_eq!(text("bom").await, format!("\u{feff}{plain}"));
}

#[tokio::test]
async fn answers_hold_characters_that_end_lines_for_some() {
    let text = String::from_utf8(bytes("separators").await).unwrap();
    let rows: Vec<&str> = text.split('\n').filter(|row| !row.is_empty()).collect();
    assert_eq!(rows.len(), 2);
    for separator in ['\u{2028}', '\u{2029}', '\u{85}'] {
        assert!(rows[0].contains(separator), "{separator:?}");
    }
    let row: Value = serde_json::from_str(rows[0]).unwrap();
    let said = &row["response"]["body"]["choices"][0]["message"]["content"];
    assert!(said.as_str().unwrap().starts_with('\u{2028}'), "{said}");
}

#[tokio::test]
async fn rows_come_in_another_order() {
    let rig = Rig::faulty("shuffled");
    let batch = rig.finish(&lines(50)).await;
    let rows = rig.output(&batch).await;
    let found = ids(&rows);
    let sent: Vec<String> = (0..50).map(|n| format!("r{n}")).collect();
    assert_ne!(found, sent);
    let all: BTreeSet<&str> = found.into_iter().collect();
    assert_eq!(all, sent.iter().map(String::as_str).collect());
}

#[tokio::test]
async fn rows_that_failed_lie_or_look_otherwise() {
    let input = lines(1) + &line("bad", "sim: 400");
    let rig = Rig::faulty("misfiled");
    let batch = rig.finish(&input).await;
    assert_eq!(ids(&rig.output(&batch).await), ["r0", "bad"]);
    assert_eq!(batch.error_file_id, None);

    let rig = Rig::faulty("body-string");
    let batch = rig.finish(&input).await;
    let body = rig.errors(&batch).await[0]["response"]["body"].clone();
    let inner: Value = serde_json::from_str(body.as_str().unwrap()).unwrap();
    assert!(inner["error"]["message"].is_string());

    let rig = Rig::faulty("response-absent");
    let batch = rig.finish(&input).await;
    let row = rig.errors(&batch).await[0].clone();
    assert_eq!(row.get("response"), None);
    assert_eq!(row["error"]["code"], "400");
}
