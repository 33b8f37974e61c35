//! Run with `cargo run --release -p ditto-sim --example rate -- [SECONDS] [CONNECTIONS]`
//!
//! Requests a second of a bare hyper loop against the simulator, on this machine: one thread answers,
//! one asks over 64 connections, each with the next request as soon as it has its answer.
#![allow(clippy::print_stdout, reason = "an example talks")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ditto_sim::{Sim, SimConfig};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), AnyError> {
    let mut args = std::env::args().skip(1);
    let seconds = args.next().map_or(Ok(5.0), |arg| arg.parse::<f64>())?;
    let connections = args.next().map_or(Ok(64), |arg| arg.parse::<usize>())?;

    let sim = Sim::start(SimConfig {
        threads: Some(1),
        ..SimConfig::default()
    })?;
    let begun = Instant::now();
    let until = begun + Duration::from_secs_f64(seconds);
    let loops: Vec<_> = (0..connections)
        .map(|number| tokio::spawn(ask_until(sim.addr(), number, until)))
        .collect();
    let mut asked = 0;
    for one in loops {
        asked += one.await??;
    }
    let elapsed = begun.elapsed().as_secs_f64();

    let stats = sim.stats();
    println!(
        "{:.0} requests/s over {connections} connections, {elapsed:.1} s",
        asked as f64 / elapsed
    );
    println!(
        "asked {asked}, answered {}, distinct {}",
        stats.answered, stats.distinct
    );
    sim.stop().await;
    Ok(())
}

/// One connection's loop: ask, read the whole answer, ask again.
async fn ask_until(addr: SocketAddr, number: usize, until: Instant) -> Result<u64, AnyError> {
    let stream = tokio::net::TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut asked = 0;
    while Instant::now() < until {
        let body = Full::new(Bytes::from(question(number, asked)));
        let request = http::Request::post("/v1/chat/completions")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("idempotency-key", format!("line-{number}-{asked}"))
            .body(body)?;
        client.ready().await?;
        let answer = client.send_request(request).await?;
        answer.into_body().collect().await?;
        asked += 1;
    }
    Ok(asked)
}

fn question(number: usize, asked: u64) -> String {
    format!(
        r#"{{"model":"demo-small","messages":[{{"role":"user","content":"What is {number} plus {asked}?"}}]}}"#
    )
}
