//! Who may ask: keys, `Host`, `Origin`.

use std::time::Duration;

use ditto_server::{Config, TenantKey, create_key, revoke_key, rotate_key};
use reqwest::Method;
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::form::Form;
use crate::server::{Answer, TestServer, answer};

fn with_keys(config: &mut Config) {
    for (tenant, key) in [("a", "sk-alpha-0123456789"), ("b", "sk-beta-0123456789")] {
        config.keys.push(TenantKey {
            tenant: tenant.to_owned(),
            key: key.to_owned().into(),
        });
    }
}

async fn get_as(server: &TestServer, path: &str, key: &str) -> Answer {
    answer(server.ask(Method::GET, path).bearer_auth(key)).await
}

async fn get_with(server: &TestServer, name: &str, value: &str) -> Answer {
    answer(server.ask(Method::GET, "/v1/files").header(name, value)).await
}

#[tokio::test]
async fn without_keys_only_loopback_names_are_served() {
    let server = TestServer::start().await;
    for host in [
        "localhost",
        "localhost:8650",
        "127.0.0.1:1",
        "127.1.2.3",
        "[::1]:8650",
    ] {
        assert_eq!(get_with(&server, "host", host).await.status, 200, "{host}");
    }
    for host in [
        "example.com",
        "localhost.evil.example",
        "10.0.0.7:8650",
        "127.0.0.1.nip.io",
    ] {
        get_with(&server, "host", host).await.refuses(
            403,
            "Without keys this server answers only to localhost, 127.0.0.1 and [::1]. Ask it by \
             one of these names, or give it keys (`ditto-batch keys create`, or --api-key-file).",
            None,
            Some("host_not_allowed"),
        );
    }
}

#[tokio::test]
async fn without_keys_no_web_page_is_served_unless_listed() {
    let page = "https://notes.example";
    let server = TestServer::start_with(|config| config.origins.push(page.to_owned())).await;
    for origin in [
        "https://evil.example",
        "null",
        "http://localhost:8650",
        "https://notes.example.evil",
    ] {
        get_with(&server, "origin", origin).await.refuses(
            403,
            "Web pages may not use this server. To let one, list its origin with --origin.",
            None,
            Some("origin_not_allowed"),
        );
    }
    let allowed = get_with(&server, "origin", page).await;
    assert_eq!(allowed.status, 200);
    assert_eq!(allowed.header("access-control-allow-origin"), Some(page));
    let preflight = answer(
        server
            .ask(Method::OPTIONS, "/v1/batches")
            .header("origin", page),
    )
    .await;
    assert_eq!(preflight.status, 204);
    assert_eq!(
        preflight.header("access-control-allow-methods"),
        Some("GET, HEAD, POST, DELETE")
    );
}

#[tokio::test]
async fn a_web_page_cannot_upload() {
    let server = TestServer::start().await;
    let (content_type, body) = Form::new()
        .field("purpose", "batch")
        .file("a.jsonl", "{}")
        .encode();
    let request = server
        .ask(Method::POST, "/v1/files")
        .header("content-type", content_type);
    let refused = answer(request.header("origin", "https://evil.example").body(body)).await;
    assert_eq!(refused.status, 403);
    assert_eq!(server.count_files().await, 0);
}

#[tokio::test]
async fn with_keys_a_key_is_asked_for_before_anything_else() {
    let server = TestServer::start_with(with_keys).await;
    let none = "You didn't provide an API key. Send it as a bearer token: 'Authorization: Bearer \
                YOUR_KEY'.";
    let code = Some("invalid_api_key");
    server.get("/v1/files").await.refuses(401, none, None, code);
    server
        .get("/v1/unknown")
        .await
        .refuses(401, none, None, code);
    let (content_type, body) = Form::new().file("a.jsonl", &"x".repeat(4 << 20)).encode();
    let upload = server
        .ask(Method::POST, "/v1/files")
        .header("content-type", content_type);
    answer(upload.body(body))
        .await
        .refuses(401, none, None, code);
    let wrong = get_as(&server, "/v1/files", "sk-gamma-0123456789").await;
    wrong.refuses(401, "Incorrect API key provided: sk-g***.", None, code);
    assert_eq!(wrong.header("www-authenticate"), Some("Bearer"));
    assert_eq!(
        get_as(&server, "/v1/files", "sk-alpha-0123456789")
            .await
            .status,
        200
    );
}

/// More than any socket holds.
const LARGE: usize = 32 << 20;

#[tokio::test]
async fn who_sends_a_whole_body_before_it_reads_hears_that_there_is_no_such_route() {
    let server = TestServer::start().await;
    let mut client = TcpStream::connect(server.address()).await.unwrap();
    let head =
        format!("POST /v1/unknown HTTP/1.1\r\nhost: localhost\r\ncontent-length: {LARGE}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&vec![b'x'; LARGE]).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[tokio::test]
async fn of_two_keys_none_is_taken() {
    let server = TestServer::start_with(with_keys).await;
    let keys = ["sk-alpha-0123456789", "sk-beta-0123456789"];
    for (first, second) in [(keys[0], keys[1]), (keys[0], keys[0]), (keys[0], "none")] {
        let request = server.ask(Method::GET, "/v1/files");
        let refused = answer(request.bearer_auth(first).bearer_auth(second)).await;
        let message = "You provided more than one 'Authorization' header. Send one.";
        refused.refuses(401, message, None, Some("invalid_api_key"));
    }
}

#[tokio::test]
async fn with_keys_any_name_of_the_server_will_do() {
    let server = TestServer::start_with(with_keys).await;
    let request = server
        .ask(Method::GET, "/v1/files")
        .bearer_auth("sk-alpha-0123456789");
    let request = request
        .header("host", "batches.example")
        .header("origin", "https://app.example");
    assert_eq!(answer(request).await.status, 200);
}

#[tokio::test]
async fn tenants_do_not_see_each_other() {
    let server = TestServer::start_with(with_keys).await;
    let (content_type, body) = Form::new()
        .field("purpose", "batch")
        .file("a.jsonl", "{}")
        .encode();
    let request = server
        .ask(Method::POST, "/v1/files")
        .bearer_auth("sk-alpha-0123456789");
    let file = answer(request.header("content-type", content_type).body(body))
        .await
        .ok();
    let id = file["id"].as_str().unwrap();
    let path = format!("/v1/files/{id}");
    assert_eq!(
        get_as(&server, &path, "sk-alpha-0123456789").await.ok(),
        file
    );
    let message = format!("No such File object: {id}");
    for path in [path.clone(), format!("{path}/content")] {
        get_as(&server, &path, "sk-beta-0123456789")
            .await
            .refuses(404, &message, Some("id"), None);
    }
    let list = get_as(&server, "/v1/files", "sk-beta-0123456789")
        .await
        .ok();
    assert_eq!(list["data"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn probes_need_no_key() {
    let server = TestServer::start_with(with_keys).await;
    assert_eq!(server.get("/healthz").await.status, 200);
    assert_eq!(server.get("/readyz").await.status, 200);
}

/// Asks until the answer has this status, which a change of keys brings about within a second.
async fn until_status(server: &TestServer, key: &str, status: u16) -> Answer {
    let answered = async {
        loop {
            let answer = get_as(server, "/v1/files", key).await;
            if answer.status == status {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), answered)
        .await
        .expect("a change of keys is seen")
}

#[tokio::test]
async fn keys_are_made_rotated_and_revoked_while_the_server_runs() {
    let server = TestServer::start().await;
    assert_eq!(server.get("/v1/files").await.status, 200);
    let first = create_key(&server.data(), "a", None).await.unwrap();
    let first_secret = first.secret.expose_secret();
    until_status(&server, "nobody's", 401).await;
    assert_eq!(get_as(&server, "/v1/files", first_secret).await.status, 200);

    let grace = Duration::from_secs(3600);
    let (_, second) = rotate_key(&server.data(), &first.key.id, grace)
        .await
        .unwrap();
    let second_secret = second.secret.expose_secret();
    until_status(&server, second_secret, 200).await;
    assert_eq!(get_as(&server, "/v1/files", first_secret).await.status, 200);

    revoke_key(&server.data(), &first.key.id).await.unwrap();
    until_status(&server, first_secret, 401).await;
    assert_eq!(
        get_as(&server, "/v1/files", second_secret).await.status,
        200
    );
    // The last one: nobody is let in, and no door opens by itself.
    revoke_key(&server.data(), &second.key.id).await.unwrap();
    until_status(&server, second_secret, 401).await;
    assert_eq!(server.get("/v1/files").await.status, 401);
}

#[tokio::test]
async fn keys_of_the_settings_go_on_beside_those_that_are_made() {
    let server = TestServer::start_with(with_keys).await;
    let made = create_key(&server.data(), "b", None).await.unwrap();
    until_status(&server, made.secret.expose_secret(), 200).await;
    revoke_key(&server.data(), &made.key.id).await.unwrap();
    until_status(&server, made.secret.expose_secret(), 401).await;
    let kept = get_as(&server, "/v1/files", "sk-alpha-0123456789").await;
    assert_eq!(kept.status, 200);
}
