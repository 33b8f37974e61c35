//! Two tenants with a thousand ids each: whatever one asks with the ids of the other, it gets the answer
//! that an id gets which never was.

use std::collections::BTreeSet;

use ditto_server::{Config, TenantKey};
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};

use crate::form::Form;
use crate::server::{Answer, TestServer, answer, create_body, requests, scrubbed};

/// Half of its ids are files, half are batches.
const HALF: usize = 500;
/// Requests at once.
const AT_ONCE: usize = 16;
const KEYS: [(&str, &str); 2] = [("a", "sk-alpha-0123456789"), ("b", "sk-beta-0123456789")];

/// What a route takes an id for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    File,
    Batch,
}

/// A way to ask with an id. A new route is a new row.
struct Route {
    of: Of,
    method: Method,
    /// `{id}` is the id.
    path: &'static str,
    body: fn(&str) -> Option<Value>,
    /// Of an id that never was, and so of another tenant's.
    status: u16,
}

fn routes() -> Vec<Route> {
    let route = |of, method, path, status| Route {
        of,
        method,
        path,
        body: |_| None,
        status,
    };
    let (get, head, post, delete) = (Method::GET, Method::HEAD, Method::POST, Method::DELETE);
    vec![
        route(Of::File, get.clone(), "/v1/files/{id}", 404),
        route(Of::File, get.clone(), "/v1/files/{id}/content", 404),
        route(Of::File, head, "/v1/files/{id}/content", 404),
        route(Of::File, get.clone(), "/v1/files?after={id}", 400),
        route(Of::File, get.clone(), "/v1/files?order=asc&after={id}", 400),
        route(
            Of::File,
            get.clone(),
            "/v1/files?purpose=batch&after={id}",
            400,
        ),
        route(Of::File, delete, "/v1/files/{id}", 404),
        Route {
            of: Of::File,
            method: post.clone(),
            path: "/v1/batches",
            body: |id| Some(create_body(id)),
            // At OpenAI, too, a file that is not there fails the batch later.
            status: 200,
        },
        route(Of::Batch, get.clone(), "/v1/batches/{id}", 404),
        route(Of::Batch, get.clone(), "/v1/batches?after={id}", 400),
        route(Of::Batch, get.clone(), "/v1/batches/{id}/results", 404),
        route(Of::Batch, post.clone(), "/v1/batches/{id}/retry", 404),
        route(Of::Batch, post, "/v1/batches/{id}/cancel", 404),
    ]
}

async fn start() -> TestServer {
    TestServer::start_with(|config: &mut Config| {
        for (tenant, key) in KEYS {
            config.keys.push(TenantKey {
                tenant: tenant.to_owned(),
                key: key.to_owned().into(),
            });
        }
    })
    .await
}

/// What a tenant has.
#[derive(Debug, PartialEq)]
struct Ids {
    files: BTreeSet<String>,
    batches: BTreeSet<String>,
}

impl Ids {
    fn of(&self, of: Of) -> impl Iterator<Item = &str> {
        let ids = match of {
            Of::File => &self.files,
            Of::Batch => &self.batches,
        };
        ids.iter().map(String::as_str)
    }
}

async fn furnish(server: &TestServer, key: &str) -> Ids {
    let files = ids(|_| async {
        let form = Form::new().field("purpose", "batch").file("a.jsonl", "{}");
        let (content_type, body) = form.encode();
        let request = server.ask(Method::POST, "/v1/files").bearer_auth(key);
        answer(request.header("content-type", content_type).body(body)).await
    });
    let batches = ids(|_| async {
        let request = server.ask(Method::POST, "/v1/batches").bearer_auth(key);
        let body = create_body("file-nobodys").to_string();
        answer(
            request
                .header("content-type", "application/json")
                .body(body),
        )
        .await
    });
    Ids {
        files: files.await,
        batches: batches.await,
    }
}

/// The ids that half a thousand requests make.
async fn ids<F: Future<Output = Answer>>(make: impl Fn(usize) -> F) -> BTreeSet<String> {
    let made = stream::iter((0..HALF).map(make)).buffer_unordered(AT_ONCE);
    made.map(|made| made.ok()["id"].as_str().unwrap().to_owned())
        .collect()
        .await
}

async fn ask(server: &TestServer, key: &str, route: &Route, id: &str) -> Answer {
    let path = route.path.replace("{id}", id);
    let request = server.ask(route.method.clone(), &path).bearer_auth(key);
    match (route.body)(id) {
        Some(body) => {
            let request = request.header("content-type", "application/json");
            answer(request.body(body.to_string())).await
        }
        None => answer(request).await,
    }
}

/// What an answer says, with the id and whatever differs by chance taken out.
fn told(answer: &Answer, id: &str) -> (u16, String, Vec<String>) {
    let text = String::from_utf8_lossy(&answer.body).replace(id, "ID");
    let body = serde_json::from_str(&text).map_or(text, |value: Value| scrubbed(value).to_string());
    let names = answer.headers.keys().map(|name| name.to_string()).collect();
    (answer.status, body, names)
}

/// All ids that the lists of this tenant have.
async fn listed(server: &TestServer, key: &str, path: &str) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let mut after = String::new();
    loop {
        let page = server.ask(Method::GET, &format!("{path}?limit=100&after={after}"));
        let page = answer(page.bearer_auth(key)).await.ok();
        let data = page["data"].as_array().unwrap();
        ids.extend(
            data.iter()
                .map(|object| object["id"].as_str().unwrap().to_owned()),
        );
        if page["has_more"] == json!(false) {
            return ids;
        }
        after = page["last_id"].as_str().unwrap().to_owned();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_tenants_with_a_thousand_ids_each_none_learns_an_id_of_the_other() {
    let server = start().await;
    let [(_, alpha), (_, beta)] = KEYS;
    let (of_alpha, of_beta) = (furnish(&server, alpha).await, furnish(&server, beta).await);
    let never_was = "file-0123456789bcdfghjkmnpqrs";
    for (key, theirs) in [(alpha, &of_beta), (beta, &of_alpha)] {
        for route in &routes() {
            let nobodys = ask(&server, key, route, never_was).await;
            assert_eq!(nobodys.status, route.status, "{}", route.path);
            let expected = told(&nobodys, never_was);
            let asked = theirs.of(route.of).map(async |id| {
                let answer = ask(&server, key, route, id).await;
                match told(&answer, id) == expected {
                    true => Ok(()),
                    false => Err((route.path, id, told(&answer, id))),
                }
            });
            let leaks = stream::iter(asked).buffer_unordered(AT_ONCE);
            leaks.try_collect::<()>().await.unwrap();
        }
    }
    // Nothing was changed, and lists have each tenant's own.
    for (key, ours, others) in [(alpha, &of_alpha, &of_beta), (beta, &of_beta, &of_alpha)] {
        assert_eq!(listed(&server, key, "/v1/files").await, ours.files);
        let batches = listed(&server, key, "/v1/batches").await;
        assert!(batches.is_superset(&ours.batches));
        assert!(batches.is_disjoint(&others.batches));
        assert_eq!(batches.len(), 2 * HALF + 1, "with those that were tried");
    }
}

#[tokio::test]
async fn an_upstream_of_one_tenant_answers_no_other() {
    let server = TestServer::start_with(|config| {
        for (tenant, key) in KEYS {
            config.keys.push(TenantKey {
                tenant: tenant.to_owned(),
                key: key.to_owned().into(),
            });
        }
        config.upstreams[0].tenants = Some(vec!["a".to_owned()]);
    })
    .await;
    let [(_, alpha), (_, beta)] = KEYS;
    let models = async |key| {
        let list = server.ask(Method::GET, "/v1/models").bearer_auth(key);
        let list = answer(list).await.ok();
        list["data"].as_array().unwrap().len()
    };
    assert!(models(alpha).await > 0);
    assert_eq!(models(beta).await, 0);
    for (key, expected) in [(alpha, (1, 0)), (beta, (0, 1))] {
        let form = Form::new().field("purpose", "batch");
        let (content_type, body) = form.file("a.jsonl", &requests(1)).encode();
        let upload = server.ask(Method::POST, "/v1/files").bearer_auth(key);
        let upload = upload.header("content-type", content_type).body(body);
        let file = answer(upload).await.ok();
        let create = create_body(file["id"].as_str().unwrap()).to_string();
        let batch = server.ask(Method::POST, "/v1/batches").bearer_auth(key);
        let batch = batch
            .header("content-type", "application/json")
            .body(create);
        let id = answer(batch).await.ok()["id"].as_str().unwrap().to_owned();
        let counts = ended(&server, key, &id).await;
        assert_eq!(counts, expected);
    }
}

/// Answers and errors of a batch that has ended.
async fn ended(server: &TestServer, key: &str, id: &str) -> (u64, u64) {
    let path = format!("/v1/batches/{id}");
    loop {
        let batch = answer(server.ask(Method::GET, &path).bearer_auth(key))
            .await
            .ok();
        if batch["status"] == "completed" {
            let counts = &batch["request_counts"];
            let count = |name: &str| counts[name].as_u64().unwrap();
            return (count("completed"), count("failed"));
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
