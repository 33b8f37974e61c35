//! Two tenants with a thousand ids each: whatever one asks with the ids of the other, it gets the answer
//! that an id gets which never was.

use std::collections::{BTreeMap, BTreeSet};

use ditto_server::{Config, TenantKey};
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};

use crate::form::Form;
use crate::server::{Answer, TestServer, answer, create_body, requests, scrubbed};

/// So many files, as many batches, as many uploads, and as many parts of these.
const EACH: usize = 250;
/// Requests at once.
const AT_ONCE: usize = 16;
const KEYS: [(&str, &str); 2] = [("a", "sk-alpha-0123456789"), ("b", "sk-beta-0123456789")];
/// As long as ours, and nobody's.
const NEVER_WAS: &str = "file-0123456789bcdfghjkmnpqrs";

/// What a call takes an id of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    File,
    Batch,
    Upload,
    Part,
}

/// What a request has behind its headers.
enum With {
    Nothing,
    Json(Value),
    Form(Form),
}

/// A way to ask with an id. A new call is a new row; a test says so where it is missing.
struct Route {
    of: Of,
    method: Method,
    /// `{id}` is the id, `{own}` an upload of the tenant who asks.
    path: &'static str,
    with: fn(&str) -> With,
    /// Of an id that never was, and so of another tenant's.
    status: u16,
}

fn routes() -> Vec<Route> {
    let route = |of, method: &Method, path, with, status| Route {
        of,
        method: method.clone(),
        path,
        with,
        status,
    };
    let (get, head, post, delete) = (&Method::GET, &Method::HEAD, &Method::POST, &Method::DELETE);
    let (file, batch, upload, part) = (Of::File, Of::Batch, Of::Upload, Of::Part);
    let newest = "/v1/files?purpose=batch&after={id}";
    vec![
        route(file, get, "/v1/files/{id}", nothing, 404),
        route(file, get, "/v1/files/{id}/content", nothing, 404),
        route(file, head, "/v1/files/{id}/content", nothing, 404),
        route(file, get, "/v1/files?after={id}", nothing, 400),
        route(file, get, "/v1/files?order=asc&after={id}", nothing, 400),
        route(file, get, newest, nothing, 400),
        route(file, delete, "/v1/files/{id}", nothing, 404),
        // At OpenAI, too, a file that is not there fails the batch later.
        route(file, post, "/v1/batches", a_batch, 200),
        route(batch, get, "/v1/batches/{id}", nothing, 404),
        route(batch, get, "/v1/batches?after={id}", nothing, 400),
        route(batch, get, "/v1/batches/{id}/results", nothing, 404),
        route(batch, post, "/v1/batches/{id}/retry", nothing, 404),
        route(batch, post, "/v1/batches/{id}/cancel", nothing, 404),
        route(upload, post, "/v1/uploads/{id}/parts", a_part, 404),
        route(upload, post, "/v1/uploads/{id}/complete", nobodys_part, 404),
        route(upload, post, "/v1/uploads/{id}/cancel", nothing, 404),
        route(part, post, "/v1/uploads/{own}/complete", of_part, 400),
    ]
}

fn nothing(_: &str) -> With {
    With::Nothing
}

fn a_batch(file: &str) -> With {
    With::Json(create_body(file))
}

fn an_upload(_: &str) -> With {
    With::Json(json!({
        "filename": "a.jsonl", "purpose": "batch", "bytes": 2, "mime_type": "text/jsonl",
    }))
}

fn a_part(_: &str) -> With {
    With::Form(Form::new().part("form-data; name=\"data\"; filename=\"a\"", "{}"))
}

fn of_part(part: &str) -> With {
    With::Json(json!({ "part_ids": [part] }))
}

fn nobodys_part(_: &str) -> With {
    of_part(NEVER_WAS)
}

impl Route {
    /// What its call is known by: `get /v1/files/{id}`.
    fn call(&self) -> String {
        let path = self.path.split('?').next().unwrap();
        let path = path.replace("{own}", "{id}");
        format!("{} {path}", self.method.as_str().to_lowercase())
    }

    async fn ask(&self, caller: Caller<'_>, own: &str, id: &str) -> Answer {
        let path = self.path.replace("{id}", id).replace("{own}", own);
        caller.ask(&self.method, &path, (self.with)(id)).await
    }
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

/// Somebody with a key.
#[derive(Clone, Copy)]
struct Caller<'a> {
    server: &'a TestServer,
    key: &'a str,
}

impl Caller<'_> {
    async fn ask(self, method: &Method, path: &str, with: With) -> Answer {
        let request = self.server.ask(method.clone(), path).bearer_auth(self.key);
        let (content_type, body) = match with {
            With::Nothing => return answer(request).await,
            With::Json(body) => ("application/json".to_owned(), body.to_string().into_bytes()),
            With::Form(form) => form.encode(),
        };
        let request = request.header("content-type", content_type);
        answer(request.body(body)).await
    }

    /// The id of what this call makes.
    async fn make(self, path: &str, with: With) -> String {
        let made = self.ask(&Method::POST, path, with).await.ok();
        made["id"].as_str().unwrap().to_owned()
    }

    /// All ids that this list has.
    async fn listed(self, path: &str) -> BTreeSet<String> {
        let mut ids = BTreeSet::new();
        let mut after = String::new();
        loop {
            let path = format!("{path}?limit=100&after={after}");
            let page = self.ask(&Method::GET, &path, With::Nothing).await.ok();
            let data = page["data"].as_array().unwrap().iter();
            ids.extend(data.map(|object| object["id"].as_str().unwrap().to_owned()));
            if page["has_more"] == json!(false) {
                return ids;
            }
            after = page["last_id"].as_str().unwrap().to_owned();
        }
    }
}

/// What a tenant has.
struct Ids {
    files: BTreeSet<String>,
    batches: BTreeSet<String>,
    /// The part of each upload.
    parts: BTreeMap<String, String>,
}

impl Ids {
    fn of(&self, of: Of) -> Vec<&str> {
        match of {
            Of::File => self.files.iter().map(String::as_str).collect(),
            Of::Batch => self.batches.iter().map(String::as_str).collect(),
            Of::Upload => self.parts.keys().map(String::as_str).collect(),
            Of::Part => self.parts.values().map(String::as_str).collect(),
        }
    }
}

async fn furnish(caller: Caller<'_>) -> Ids {
    let file = || Form::new().field("purpose", "batch").file("a.jsonl", "{}");
    Ids {
        files: each(async || caller.make("/v1/files", With::Form(file())).await).await,
        batches: each(async || caller.make("/v1/batches", a_batch(NEVER_WAS)).await).await,
        parts: each(async || {
            let upload = caller.make("/v1/uploads", an_upload("")).await;
            let path = format!("/v1/uploads/{upload}/parts");
            let part = caller.make(&path, a_part("")).await;
            (upload, part)
        })
        .await,
    }
}

/// What comes of so many calls.
async fn each<T, C: Default + Extend<T>>(make: impl AsyncFn() -> T) -> C {
    let made = stream::iter(0..EACH).map(|_| make());
    made.buffer_unordered(AT_ONCE).collect().await
}

/// What an answer says, with the id and whatever differs by chance taken out.
fn told(answer: &Answer, id: &str) -> (u16, String, Vec<String>) {
    let text = String::from_utf8_lossy(&answer.body).replace(id, "ID");
    let body = serde_json::from_str(&text).map_or(text, |value: Value| scrubbed(value).to_string());
    let names = answer.headers.keys().map(|name| name.to_string()).collect();
    (answer.status, body, names)
}

/// Asks for everything of another tenant, who is to be told apart from nobody.
async fn pry(caller: Caller<'_>, ours: &Ids, theirs: &Ids) {
    let own = ours.of(Of::Upload)[0];
    for route in &routes() {
        let nobodys = route.ask(caller, own, NEVER_WAS).await;
        assert_eq!(nobodys.status, route.status, "{}", route.path);
        let expected = told(&nobodys, NEVER_WAS);
        let asked = theirs.of(route.of).into_iter().map(async |id| {
            let told = told(&route.ask(caller, own, id).await, id);
            match told == expected {
                true => Ok(()),
                false => Err((route.path, id, told)),
            }
        });
        let leaks = stream::iter(asked).buffer_unordered(AT_ONCE);
        leaks.try_collect::<()>().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_tenants_with_a_thousand_ids_each_none_learns_an_id_of_the_other() {
    let server = start().await;
    let [alpha, beta] = KEYS.map(|(_, key)| Caller {
        server: &server,
        key,
    });
    let (of_alpha, of_beta) = (furnish(alpha).await, furnish(beta).await);
    pry(alpha, &of_alpha, &of_beta).await;
    pry(beta, &of_beta, &of_alpha).await;
    // Nothing was changed, and lists have each tenant's own.
    for (caller, ours, others) in [(alpha, &of_alpha, &of_beta), (beta, &of_beta, &of_alpha)] {
        assert_eq!(caller.listed("/v1/files").await, ours.files);
        let batches = caller.listed("/v1/batches").await;
        assert!(batches.is_superset(&ours.batches));
        assert!(batches.is_disjoint(&others.batches));
        assert_eq!(batches.len(), 2 * EACH + 1, "with those that were tried");
        for (upload, part) in &ours.parts {
            let path = format!("/v1/uploads/{upload}/complete");
            let completed = caller.ask(&Method::POST, &path, of_part(part)).await;
            assert_eq!(completed.ok()["file"]["bytes"], 2);
        }
    }
}

#[tokio::test]
async fn every_call_that_takes_an_id_is_tried_with_another_tenants() {
    let server = TestServer::start().await;
    let document = server.get("/openapi.json").await.ok();
    let tried: BTreeSet<_> = routes().iter().map(Route::call).collect();
    let calls = take_an_id(&document);
    assert!(calls.len() > 12, "{calls:?}");
    let untried: Vec<_> = calls.difference(&tried).collect();
    assert!(untried.is_empty(), "{untried:?}");
}

/// The calls that take an id: in the path, as a cursor, or in the body.
fn take_an_id(document: &Value) -> BTreeSet<String> {
    let mut calls = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if path.contains('{') || names(document, operation).any(is_of_an_id) {
                calls.insert(format!("{method} {path}"));
            }
        }
    }
    calls
}

fn is_of_an_id(name: &str) -> bool {
    name == "after" || name.ends_with("_id") || name.ends_with("_ids")
}

/// What the parameters and the fields of the body of a call are called.
fn names<'a>(document: &'a Value, operation: &'a Value) -> impl Iterator<Item = &'a str> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    let body = match body["$ref"].as_str() {
        Some(name) => &document.pointer(name.strip_prefix('#').unwrap()).unwrap()["properties"],
        None => &body["properties"],
    };
    let fields = body.as_object().into_iter().flatten();
    let parameters = parameters.map(|parameter| parameter["name"].as_str().unwrap());
    parameters.chain(fields.map(|(name, _)| name.as_str()))
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
        // So that a line that nobody serves is an error line.
        config.mode = ditto_server::Mode::Lenient;
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
