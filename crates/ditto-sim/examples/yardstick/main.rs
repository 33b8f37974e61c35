//! Run with `cargo run --release -p ditto-sim --example yardstick -- ask FILE ADDRESS [CONNECTIONS]`
//!
//! The programs that `scripts/bench` holds ours against. Each does the least that the task takes, and
//! tells in one JSON object on stdout what it did and what it cost:
//!
//! - `ask FILE ADDRESS [CONNECTIONS]` sends the bodies of a batch file and drops the answers
//! - `parse FILE` reads a batch file as anybody would, and keeps its ids
//! - `serve FILE` answers every request with this file, until stdin ends
//! - `order ADDRESS BATCHES LINES CLIENTS` has small batches done by a server, by many clients at once: it
//!   uploads the files, says so, and begins with the next line on stdin
//! - `crowd ADDRESS BATCHES CLIENTS` leaves that many batches there that failed, to be listed
#![allow(clippy::print_stdout, reason = "an example talks")]

use std::net::SocketAddr;
use std::path::Path;

mod asking;
mod caller;
mod cost;
mod ordering;
mod parsing;
mod serving;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), AnyError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let told = match args.as_slice() {
        ["ask", file, address] => asking::ask(Path::new(file), address.parse()?, 64)?,
        ["ask", file, address, connections] => {
            asking::ask(Path::new(file), address.parse()?, connections.parse()?)?
        }
        ["parse", file] => parsing::parse(Path::new(file))?,
        ["serve", file] => serving::serve(Path::new(file))?,
        ["order", address, batches, lines, clients] => {
            let address: SocketAddr = address.parse()?;
            ordering::order(address, batches.parse()?, lines.parse()?, clients.parse()?)?
        }
        ["crowd", address, batches, clients] => {
            ordering::crowd(address.parse()?, batches.parse()?, clients.parse()?)?
        }
        _ => return Err("see the top of examples/yardstick/main.rs".into()),
    };
    println!("{told}");
    Ok(())
}
