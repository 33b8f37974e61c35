//! Batches of a few lines, ordered by many clients at once, each of which waits for one before the next.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::AnyError;
use crate::caller::{Caller, id};
use crate::cost::Cost;

/// When a client first asks whether its batch is done; then again each time a quarter of its wait so far
/// has passed, so that asking costs the server little and the answer is at most that late.
const FIRST_LOOK: Duration = Duration::from_millis(4);
const LOOKS_A_WAIT: u32 = 4;

/// A server takes so many uploads of one tenant at once, and more.
const UPLOADS: usize = 32;

/// What must not take longer takes for ever.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn order(
    address: SocketAddr,
    batches: usize,
    lines: usize,
    clients: usize,
) -> Result<Value, AnyError> {
    on_one_thread(async move {
        let uploading = Cost::start();
        let files = Arc::new(upload(address, batches, lines, clients.min(UPLOADS)).await?);
        println!("{}", json!({"seconds": uploading.seconds()}));
        // Whoever counts something looks at it now.
        std::io::stdin().read_line(&mut String::new())?;
        let cost = Cost::start();
        let waits = shared_out(clients, batches, move |turns| {
            order_in_turn(address, Arc::clone(&files), turns)
        })
        .await?;
        let seconds = cost.seconds();
        Ok(json!({
            "batches": waits.len(),
            "seconds": seconds,
            "cpu_seconds": cost.cpu_seconds(),
            "p50_ms": percentile(&waits, 50),
            "p99_ms": percentile(&waits, 99),
        }))
    })
}

/// Batches whose file has a fault: they are listed as others are, and nobody works on them.
pub(crate) fn crowd(
    address: SocketAddr,
    batches: usize,
    clients: usize,
) -> Result<Value, AnyError> {
    on_one_thread(async move {
        let cost = Cost::start();
        let file: Arc<str> = Caller::connect(address)
            .await?
            .upload(b"{}\n")
            .await?
            .into();
        let made = shared_out(clients, batches, move |turns| {
            create_in_turn(address, Arc::clone(&file), turns)
        })
        .await?;
        Ok(json!({"batches": made.len(), "seconds": cost.seconds()}))
    })
}

/// The server is what is measured: its client keeps to one thread.
fn on_one_thread<T>(work: impl Future<Output = Result<T, AnyError>>) -> Result<T, AnyError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(work)
}

/// Whose turn it is: each number once, whoever asks.
#[derive(Clone)]
struct Turns {
    next: Arc<AtomicUsize>,
    end: usize,
}

impl Turns {
    fn next(&self) -> Option<usize> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        (turn < self.end).then_some(turn)
    }
}

/// All that so many clients bring home.
async fn shared_out<T, F>(
    clients: usize,
    turns: usize,
    client: impl Fn(Turns) -> F,
) -> Result<Vec<T>, AnyError>
where
    T: Send + 'static,
    F: Future<Output = Result<Vec<T>, AnyError>> + Send + 'static,
{
    let turns = Turns {
        next: Arc::default(),
        end: turns,
    };
    let clients: Vec<_> = (0..clients)
        .map(|_| tokio::spawn(client(turns.clone())))
        .collect();
    let mut brought = Vec::new();
    for client in clients {
        brought.extend(client.await??);
    }
    Ok(brought)
}

async fn upload(
    address: SocketAddr,
    batches: usize,
    lines: usize,
    clients: usize,
) -> Result<Vec<String>, AnyError> {
    shared_out(clients, batches, move |turns| async move {
        let mut caller = Caller::connect(address).await?;
        let mut files = Vec::new();
        while let Some(turn) = turns.next() {
            files.push(caller.upload(content(turn, lines).as_bytes()).await?);
        }
        Ok(files)
    })
    .await
}

fn content(batch: usize, lines: usize) -> String {
    let line = |line| {
        let content = format!("What is {batch} plus {line}?");
        let body =
            json!({"model": "demo-small", "messages": [{"role": "user", "content": content}]});
        let url = "/v1/chat/completions";
        json!({"custom_id": format!("row-{line}"), "method": "POST", "url": url, "body": body})
    };
    (0..lines)
        .map(|number| format!("{}\n", line(number)))
        .collect()
}

async fn order_in_turn(
    address: SocketAddr,
    files: Arc<Vec<String>>,
    turns: Turns,
) -> Result<Vec<Duration>, AnyError> {
    let mut caller = Caller::connect(address).await?;
    let mut waits = Vec::new();
    while let Some(turn) = turns.next() {
        let begun = Instant::now();
        let batch = create(&mut caller, &files[turn]).await?;
        until_completed(&mut caller, &batch, begun).await?;
        waits.push(begun.elapsed());
    }
    Ok(waits)
}

async fn create_in_turn(
    address: SocketAddr,
    file: Arc<str>,
    turns: Turns,
) -> Result<Vec<()>, AnyError> {
    let mut caller = Caller::connect(address).await?;
    let mut made = Vec::new();
    while turns.next().is_some() {
        create(&mut caller, &file).await?;
        made.push(());
    }
    Ok(made)
}

async fn create(caller: &mut Caller, file: &str) -> Result<String, AnyError> {
    let wanted = json!({
        "input_file_id": file,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    });
    id(&caller.post("/v1/batches", &wanted).await?)
}

async fn until_completed(caller: &mut Caller, batch: &str, begun: Instant) -> Result<(), AnyError> {
    loop {
        let pause = FIRST_LOOK.max(begun.elapsed() / LOOKS_A_WAIT);
        tokio::time::sleep(pause).await;
        let found = caller.get(&format!("/v1/batches/{batch}")).await?;
        match found["status"].as_str().unwrap_or_default() {
            "completed" => return Ok(()),
            "validating" | "in_progress" | "finalizing" if begun.elapsed() < PATIENCE => {}
            other => return Err(format!("{batch} is {other}: {found}").into()),
        }
    }
}

/// In milliseconds.
fn percentile(waits: &[Duration], percent: usize) -> f64 {
    let mut sorted = waits.to_vec();
    sorted.sort_unstable();
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted
        .get(place)
        .map_or(f64::NAN, |wait| wait.as_secs_f64() * 1000.0)
}
