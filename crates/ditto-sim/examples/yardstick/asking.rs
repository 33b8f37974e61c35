//! The bare loop: the bodies of a batch file over so many connections, the answers read and dropped.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::AnyError;
use crate::caller::{Sender, connect};
use crate::cost::Cost;

/// As `wrk -t2`: each thread has a runtime and its share of the connections to itself.
const THREADS: usize = 2;

pub(crate) fn ask(file: &Path, address: SocketAddr, connections: usize) -> Result<Value, AnyError> {
    let bodies = Arc::new(bodies(file)?);
    let next = Arc::new(AtomicUsize::new(0));
    let cost = Cost::start();
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let (bodies, next) = (Arc::clone(&bodies), Arc::clone(&next));
            let share = (connections + number) / THREADS;
            std::thread::spawn(move || ask_on_one_thread(&bodies, &next, address, share))
        })
        .collect();
    for thread in threads {
        thread.join().expect("a thread that asks does not panic")?;
    }
    Ok(json!({
        "lines": bodies.len(),
        "seconds": cost.seconds(),
        "cpu_seconds": cost.cpu_seconds(),
    }))
}

/// Made before the clock starts: nothing but HTTP is to be measured.
fn bodies(file: &Path) -> Result<Vec<Bytes>, AnyError> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        body: &'a RawValue,
    }
    let whole = Bytes::from(std::fs::read(file)?);
    whole
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            let line: Line<'_> = serde_json::from_slice(line)?;
            Ok(whole.slice_ref(line.body.get().as_bytes()))
        })
        .collect()
}

fn ask_on_one_thread(
    bodies: &Arc<Vec<Bytes>>,
    next: &Arc<AtomicUsize>,
    address: SocketAddr,
    connections: usize,
) -> Result<(), AnyError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let loops: Vec<_> = (0..connections)
            .map(|_| tokio::spawn(ask_in_turn(Arc::clone(bodies), Arc::clone(next), address)))
            .collect();
        for one in loops {
            one.await??;
        }
        Ok(())
    })
}

/// One connection: the next body, its answer, and again.
async fn ask_in_turn(
    bodies: Arc<Vec<Bytes>>,
    next: Arc<AtomicUsize>,
    address: SocketAddr,
) -> Result<(), AnyError> {
    let mut sender = connect(address).await?;
    while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
        send(&mut sender, body.clone()).await?;
    }
    Ok(())
}

async fn send(sender: &mut Sender, body: Bytes) -> Result<(), AnyError> {
    let request = http::Request::post("/v1/chat/completions")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(body))?;
    sender.ready().await?;
    let answer = sender.send_request(request).await?;
    if !answer.status().is_success() {
        return Err(format!("answered {}", answer.status()).into());
    }
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}
