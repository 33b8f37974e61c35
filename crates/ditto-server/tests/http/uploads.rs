//! `POST /v1/files`

use std::path::PathBuf;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::form::Form;
use crate::server::{TestServer, files_below, requests, scrubbed};

const NOT_JSONL: &str = "Invalid file format for Batch API. Must be .jsonl";

#[tokio::test]
async fn an_upload_answers_with_the_file() {
    let server = TestServer::start().await;
    let content = requests(2);
    let file = server
        .send(
            Form::new()
                .field("purpose", "batch")
                .file("job.jsonl", &content),
        )
        .await
        .ok();

    let lifetime = file["expires_at"].as_i64().unwrap() - file["created_at"].as_i64().unwrap();
    assert_eq!(lifetime, 30 * 24 * 3600);
    assert_eq!(
        scrubbed(file.clone()),
        json!({
            "id": "file-ID", "object": "file", "bytes": content.len(), "created_at": "TIME",
            "expires_at": "TIME", "filename": "job.jsonl", "purpose": "batch",
            "status": "processed", "status_details": null,
        })
    );
    let path = format!("/v1/files/{}", file["id"].as_str().unwrap());
    assert_eq!(server.get(&path).await.ok(), file);
    server.stop().await;
}

#[tokio::test]
async fn fields_come_in_any_order() {
    let server = TestServer::start().await;
    let content = requests(1);
    let put = |form: Form, which: &str| match which {
        "purpose" => form.field("purpose", "batch"),
        "anchor" => form.field("expires_after[anchor]", "created_at"),
        "seconds" => form.field("expires_after[seconds]", "3600"),
        "file" => form.file("job.jsonl", &content),
        other => unreachable!("{other}"),
    };
    let orders = [
        ["purpose", "anchor", "seconds", "file"],
        ["file", "purpose", "anchor", "seconds"],
        ["anchor", "file", "seconds", "purpose"],
        ["seconds", "purpose", "file", "anchor"],
        ["purpose", "file", "seconds", "anchor"],
    ];
    for order in orders {
        let form = order.into_iter().fold(Form::new(), put);
        let file = server.send(form).await.ok();
        let lifetime = file["expires_at"].as_i64().unwrap() - file["created_at"].as_i64().unwrap();
        assert_eq!(lifetime, 3600, "{order:?}");
        let path = format!("/v1/files/{}/content", file["id"].as_str().unwrap());
        assert_eq!(
            server.get(&path).await.body,
            content.as_bytes(),
            "{order:?}"
        );
    }
}

#[tokio::test]
async fn a_field_that_stands_twice_is_refused_however_it_is_spelled() {
    let server = TestServer::start().await;
    let send = async |fields: &[(&str, &str)]| {
        let form = fields
            .iter()
            .fold(Form::new(), |form, (name, value)| form.field(name, value));
        server.send(form.file("job.jsonl", "{}")).await
    };
    let batch = ("purpose", "batch");
    let anchor = ("expires_after[anchor]", "created_at");
    let seconds = ("expires_after[seconds]", "3600");
    let dotted = ("expires_after.seconds", "7200");
    let json = r#"{"anchor": "created_at", "seconds": 7200}"#;
    let table: [(&[(&str, &str)], &str); 4] = [
        (&[batch, ("purpose", "vision")], "purpose"),
        (&[batch, anchor, seconds, seconds], seconds.0),
        (&[batch, anchor, seconds, dotted], dotted.0),
        (&[batch, seconds, ("expires_after", json)], "expires_after"),
    ];
    for (fields, twice) in table {
        let message = format!("The form has more than one part '{twice}'.");
        let refused = send(fields).await;
        refused.refuses(400, &message, Some(twice), None);
    }
    let json = r#"{"anchor": "created_at", "seconds": 3600, "seconds": 7200}"#;
    send(&[batch, ("expires_after", json)]).await.refuses(
        400,
        "Invalid body: the key 'expires_after.seconds' appears more than once.",
        Some("expires_after.seconds"),
        Some("duplicate_key"),
    );
    assert_eq!(server.count_files().await, 0);
}

#[tokio::test]
async fn a_lifetime_is_read_in_every_spelling_and_held_to_its_bounds() {
    let server = TestServer::start().await;
    let send = async |fields: &[(&str, &str)]| {
        let form = Form::new().field("purpose", "batch");
        let form = fields
            .iter()
            .fold(form, |form, (name, value)| form.field(name, value));
        server.send(form.file("job.jsonl", "{}")).await
    };
    let good: [&[(&str, &str)]; 3] = [
        &[
            ("expires_after[anchor]", "created_at"),
            ("expires_after[seconds]", "2592000"),
        ],
        &[
            ("expires_after.seconds", "3600"),
            ("expires_after.anchor", "created_at"),
        ],
        &[(
            "expires_after",
            r#"{"anchor": "created_at", "seconds": 86400}"#,
        )],
    ];
    for fields in good {
        assert_eq!(send(fields).await.status, 200, "{fields:?}");
    }
    let anchor = ("expires_after[anchor]", "created_at");
    send(&[anchor, ("expires_after[seconds]", "3599")]).await.refuses(
        400,
        "Invalid 'expires_after.seconds': integer below minimum value. Expected a value >= 3600, \
         but got 3599 instead.",
        Some("expires_after.seconds"),
        Some("integer_below_min_value"),
    );
    send(&[anchor, ("expires_after[seconds]", "2592001")])
        .await
        .refuses(
            400,
            "Invalid 'expires_after.seconds': integer above maximum value. Expected a value <= \
         2592000, but got 2592001 instead.",
            Some("expires_after.seconds"),
            Some("integer_above_max_value"),
        );
    send(&[anchor, ("expires_after[seconds]", "soon")]).await.refuses(
        400,
        "Invalid type for 'expires_after.seconds': expected an integer, but got 'soon' instead.",
        Some("expires_after.seconds"),
        Some("invalid_type"),
    );
    send(&[anchor]).await.refuses(
        400,
        "Missing required parameter: 'expires_after.seconds'.",
        Some("expires_after.seconds"),
        Some("missing_required_parameter"),
    );
    send(&[
        ("expires_after[anchor]", "now"),
        ("expires_after[seconds]", "3600"),
    ])
    .await
    .refuses(
        400,
        "Invalid value: 'now'. Supported values are: 'created_at'.",
        Some("expires_after.anchor"),
        Some("invalid_value"),
    );
    for no_json in [
        "tomorrow",
        r#"{"anchor": "created_at", "seconds": 3600}, "x": {}"#,
    ] {
        send(&[("expires_after", no_json)]).await.refuses(
            400,
            "Invalid type for 'expires_after': expected an object.",
            Some("expires_after"),
            Some("invalid_type"),
        );
    }
    send(&[("expires_after", "3600")]).await.refuses(
        400,
        "Invalid type for 'expires_after': expected an object, but got an integer instead.",
        Some("expires_after"),
        Some("invalid_type"),
    );
    send(&[("expires_after", r#"{"anchor": "created_at"}"#)])
        .await
        .refuses(
            400,
            "Missing required parameter: 'expires_after.seconds'.",
            Some("expires_after.seconds"),
            Some("missing_required_parameter"),
        );
    assert_eq!(server.count_files().await, good.len());
}

#[tokio::test]
async fn a_batch_input_must_look_like_json_lines_wherever_the_purpose_stands() {
    let server = TestServer::start().await;
    let wrong = [
        ("job.json", "{}\n", NOT_JSONL.to_owned()),
        (".jsonl.", "{}\n", NOT_JSONL.to_owned()),
        ("job.jsonl", "", format!("{NOT_JSONL}: the file is empty")),
        (
            "job.jsonl",
            "\n\n",
            format!("{NOT_JSONL}: the file is empty"),
        ),
        (
            "job.jsonl",
            "id,text\n{}\n",
            format!("{NOT_JSONL}: the first line is not valid JSON"),
        ),
    ];
    for (name, content, message) in wrong {
        let before = Form::new().field("purpose", "batch").file(name, content);
        server.send(before).await.refuses(400, &message, None, None);
        let after = Form::new().file(name, content).field("purpose", "batch");
        server.send(after).await.refuses(400, &message, None, None);
    }
    assert_eq!(server.count_files().await, 0);
}

#[tokio::test]
async fn a_batch_input_without_an_extension_is_taken_as_sdks_name_bytes_that_way() {
    let server = TestServer::start().await;
    let form = Form::new().field("purpose", "batch").file("upload", "{}");
    let file = server.send(form).await.ok();
    assert_eq!(file["filename"], "upload");
}

#[tokio::test]
async fn files_of_other_purposes_are_not_looked_into() {
    let server = TestServer::start().await;
    let form = Form::new()
        .file("notes.txt", "plain text")
        .field("purpose", "user_data");
    let file = server.send(form).await.ok();
    assert_eq!(file["purpose"], "user_data");
    assert_eq!(file["expires_at"], json!(null));
}

#[tokio::test]
async fn a_form_that_lacks_something_is_refused_by_name() {
    let server = TestServer::start().await;
    let missing = |name| format!("Missing required parameter: '{name}'.");
    let code = Some("missing_required_parameter");

    let form = Form::new().file("job.jsonl", "{}");
    server
        .send(form)
        .await
        .refuses(400, &missing("purpose"), Some("purpose"), code);
    let form = Form::new().field("purpose", "batch");
    server
        .send(form)
        .await
        .refuses(400, &missing("file"), Some("file"), code);
    server
        .send(Form::new())
        .await
        .refuses(400, &missing("file"), Some("file"), code);
    let form = Form::new().field("purpose", "batch").field("file", "{}");
    let message = "The part 'file' has no filename.";
    server
        .send(form)
        .await
        .refuses(400, message, Some("file"), None);
    let form = Form::new()
        .field("purpose", "lunch")
        .file("job.jsonl", "{}");
    server.send(form).await.refuses(
        400,
        "Invalid value: 'lunch'. Supported values are: 'assistants', 'batch', 'fine-tune', \
         'vision', 'user_data', and 'evals'.",
        Some("purpose"),
        Some("invalid_value"),
    );
    let form = Form::new()
        .field("purpose", "batch")
        .file("a.jsonl", "{}")
        .file("b.jsonl", "{}");
    let message = "The form has more than one part 'file'.";
    server
        .send(form)
        .await
        .refuses(400, message, Some("file"), None);
    assert_eq!(server.count_files().await, 0);
}

#[tokio::test]
async fn a_part_that_is_coded_on_its_way_is_refused() {
    let server = TestServer::start().await;
    let file = |header: &str| {
        let names = format!("form-data; name=\"file\"; filename=\"a.jsonl\"\r\n{header}");
        let form = Form::new().field("purpose", "batch");
        form.part(&names, "{}")
    };
    for (header, coding) in [
        ("Content-Encoding: gzip", "gzip"),
        ("Content-Transfer-Encoding: base64", "base64"),
        (
            "Content-Transfer-Encoding: quoted-printable",
            "quoted-printable",
        ),
    ] {
        server.send(file(header)).await.refuses(
            415,
            &format!(
                "Unsupported encoding of the part 'file': '{coding}'. Send it as it is, neither \
                 compressed nor written as text."
            ),
            Some("file"),
            Some("unsupported_content_encoding"),
        );
    }
    assert_eq!(server.count_files().await, 0);
    // As some clients say of bytes that are what they are.
    let plain = file("Content-Transfer-Encoding: binary").part(
        "form-data; name=\"extra\"\r\nContent-Encoding: identity",
        "anything",
    );
    assert_eq!(server.send(plain).await.status, 200);
}

#[tokio::test]
async fn names_that_are_no_text_are_refused_as_such() {
    let server = TestServer::start().await;
    let names = b"form-data; name=\"file\"; filename=\"\xff.jsonl\"";
    let form = Form::new().field("purpose", "batch").bytes(names, "{}");
    let message = "The filename is not valid UTF-8.";
    let refused = server.send(form).await;
    refused.refuses(400, message, Some("file"), None);
    let form = Form::new().bytes(b"form-data; name=\"\xff\"", "batch");
    let message = "The name of a part of the form is not valid UTF-8.";
    server.send(form).await.refuses(400, message, None, None);
}

#[tokio::test]
async fn unknown_parts_are_skipped() {
    let server = TestServer::start().await;
    let form = Form::new()
        .field("extra", "anything")
        .field("purpose", "batch")
        .file("a.jsonl", "{}");
    assert_eq!(server.send(form).await.status, 200);
}

#[tokio::test]
async fn an_overlong_field_is_refused() {
    let server = TestServer::start().await;
    let form = Form::new().field("purpose", &"x".repeat(5000));
    let message = "Invalid 'purpose': string too long. Expected at most 4096 bytes.";
    server.send(form).await.refuses(
        400,
        message,
        Some("purpose"),
        Some("string_above_max_length"),
    );
}

#[tokio::test]
async fn a_file_over_the_limit_is_413() {
    let server = TestServer::start_with(|config| config.limits.file_bytes = 1000).await;
    let at_most = format!("\"{}\"", "x".repeat(998));
    let form = |content: &str| {
        Form::new()
            .field("purpose", "batch")
            .file("a.jsonl", content)
    };
    assert_eq!(server.send(form(&at_most)).await.status, 200);
    let message = "The file is larger than the limit of 1000 bytes.";
    let refused = server.send(form(&format!("{at_most}\n"))).await;
    refused.refuses(413, message, Some("file"), Some("file_too_large"));
    let far_over = "x".repeat(3 << 20);
    let refused = server.send(form(&far_over)).await;
    refused.refuses(413, message, Some("file"), Some("file_too_large"));
    assert_eq!(server.count_files().await, 1);
}

#[tokio::test]
async fn what_is_no_form_is_refused() {
    let server = TestServer::start().await;
    server
        .post("/v1/files", &json!({ "purpose": "batch" }))
        .await
        .refuses(
            415,
            "An upload is a form: 'Content-Type: multipart/form-data' with a boundary.",
            None,
            Some("unsupported_content_type"),
        );
    let (content_type, body) = Form::new()
        .field("purpose", "batch")
        .file("a.jsonl", "{}")
        .unfinished();
    let cut = crate::server::answer(
        server
            .ask(reqwest::Method::POST, "/v1/files")
            .header("content-type", content_type)
            .body(body),
    )
    .await;
    assert_eq!(cut.status, 400);
    assert!(
        cut.json()["error"]["message"]
            .as_str()
            .unwrap()
            .starts_with("The form cannot be read")
    );
    assert_eq!(server.count_files().await, 0);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_no_file() {
    let server = TestServer::start().await;
    let (content_type, body) = Form::new()
        .field("purpose", "batch")
        .file("a.jsonl", &requests(500))
        .unfinished();
    let mut client = TcpStream::connect(server.address()).await.unwrap();
    let head = format!(
        "POST /v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\n\
         content-length: {}\r\n\r\n",
        body.len() + 1000,
    );
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&body).await.unwrap();
    client.shutdown().await.unwrap();
    // The server closes once it has given the upload up.
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest).await;
    assert_eq!(server.count_files().await, 0);
    let data = server.stop().await;
    assert_eq!(files_below(data.path(), "/files/"), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_refused_unsent() {
    let server = TestServer::start_with(|config| config.limits.file_bytes = 1000).await;
    let mut client = TcpStream::connect(server.address()).await.unwrap();
    let head = "POST /v1/files HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
                content-type: multipart/form-data; boundary=XbX\r\n\
                content-length: 99000000\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("file_too_large"), "{answer}");
}
