//! Lists and their cursors.

use serde_json::{Value, json};

use crate::form::Form;
use crate::server::TestServer;

fn ids(page: &Value) -> Vec<String> {
    let data = page["data"].as_array().unwrap();
    data.iter()
        .map(|object| object["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn an_empty_list_is_still_a_list() {
    let server = TestServer::start().await;
    let empty = json!({ "object": "list", "data": [], "first_id": null, "last_id": null, "has_more": false });
    for path in ["/v1/files", "/v1/batches"] {
        assert_eq!(server.get(path).await.ok(), empty, "{path}");
    }
}

#[tokio::test]
async fn batches_are_listed_newest_first_a_page_at_a_time() {
    let server = TestServer::start().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(
            server.submit("file-nope").await["id"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    made.reverse();
    let first = server.get("/v1/batches?limit=2").await.ok();
    assert_eq!(ids(&first), made[..2]);
    assert_eq!(first["first_id"], json!(made[0]));
    assert_eq!(first["last_id"], json!(made[1]));
    assert_eq!(first["has_more"], true);
    let last = server
        .get(&format!("/v1/batches?limit=3&after={}", made[1]))
        .await
        .ok();
    assert_eq!(ids(&last), made[2..]);
    assert_eq!(last["has_more"], false);
    // Some clients always send it.
    let from_the_start = server.get("/v1/batches?after=").await.ok();
    assert_eq!(ids(&from_the_start), made);
}

#[tokio::test]
async fn files_are_listed_by_purpose_and_in_either_order() {
    let server = TestServer::start().await;
    let mut made = Vec::new();
    for purpose in ["batch", "user_data", "batch"] {
        let form = Form::new().field("purpose", purpose).file("a.jsonl", "{}");
        made.push(
            server.send(form).await.ok()["id"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    let list = async |query: &str| ids(&server.get(&format!("/v1/files?{query}")).await.ok());
    assert_eq!(list("order=asc").await, made);
    assert_eq!(
        list("purpose=batch").await,
        [made[2].clone(), made[0].clone()]
    );
    assert_eq!(
        list(&format!("after={}", made[2])).await,
        [made[1].clone(), made[0].clone()]
    );
    assert_eq!(
        list(&format!("order=asc&limit=1&after={}", made[0])).await,
        made[1..2]
    );
    assert_eq!(list("after=").await.len(), 3);
}

#[tokio::test]
async fn a_reader_who_deletes_what_he_has_listed_walks_to_the_end() {
    for order in ["desc", "asc"] {
        let server = TestServer::start().await;
        for _ in 0..5 {
            server.upload(1).await;
        }
        let (mut deleted, mut after) = (0, String::new());
        loop {
            let query = format!("/v1/files?limit=2&order={order}&after={after}");
            let page = server.get(&query).await.ok();
            for id in ids(&page) {
                server.delete(&format!("/v1/files/{id}")).await.ok();
                deleted += 1;
                after = id;
            }
            if page["has_more"] == false {
                break;
            }
        }
        assert_eq!((deleted, server.count_files().await), (5, 0), "{order}");
    }
}

#[tokio::test]
async fn a_bad_query_is_refused_by_name() {
    let server = TestServer::start().await;
    let bounds = |path: &str, limit: &str, what: &str| {
        (
            format!("{path}?limit={limit}"),
            format!("Invalid 'limit': integer {what}, but got {limit} instead."),
        )
    };
    let table = [
        bounds(
            "/v1/batches",
            "0",
            "below minimum value. Expected a value >= 1",
        ),
        bounds(
            "/v1/batches",
            "101",
            "above maximum value. Expected a value <= 100",
        ),
        bounds(
            "/v1/files",
            "-1",
            "below minimum value. Expected a value >= 1",
        ),
        bounds(
            "/v1/files",
            "10001",
            "above maximum value. Expected a value <= 10000",
        ),
        bounds(
            "/v1/files",
            "99999999999999999999",
            "above maximum value. Expected a value <= 10000",
        ),
        bounds(
            "/v1/batches",
            "-99999999999999999999",
            "below minimum value. Expected a value >= 1",
        ),
    ];
    for (path, message) in table {
        let refused = server.get(&path).await;
        let code = refused.json()["error"]["code"].as_str().unwrap().to_owned();
        assert!(["integer_below_min_value", "integer_above_max_value"].contains(&code.as_str()));
        refused.refuses(400, &message, Some("limit"), Some(&code));
    }
    server.get("/v1/batches?limit=many").await.refuses(
        400,
        "Invalid type for 'limit': expected an integer, but got 'many' instead.",
        Some("limit"),
        Some("invalid_type"),
    );
    server.get("/v1/files?order=up").await.refuses(
        400,
        "Invalid value: 'up'. Supported values are: 'asc' and 'desc'.",
        Some("order"),
        Some("invalid_value"),
    );
    for path in ["/v1/batches", "/v1/files"] {
        server.get(&format!("{path}?after=gone")).await.refuses(
            400,
            "No object found with id 'gone' to list after.",
            Some("after"),
            Some("invalid_value"),
        );
        for (name, query) in [
            ("limit", "limit=1&limit=2"),
            ("after", "a=1&a=2&limit=1&after=&after="),
        ] {
            let message = format!("The query has more than one '{name}'.");
            let twice = server.get(&format!("{path}?{query}")).await;
            twice.refuses(400, &message, Some(name), None);
        }
    }
}
