//! A slot has a connection of its own and keeps it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::serve::ListenerExt;

use super::bytes::free_port;
use super::rig::{config, ended, lines, submit};
use crate::Server;
use crate::config::Concurrency;

/// Answers everything, and counts by whom it is connected to; its base URL.
async fn counting() -> (String, Arc<AtomicUsize>) {
    let connections = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&connections);
    let listener = free_port().await;
    let base = format!("http://{}", listener.local_addr().unwrap());
    let listener = listener.tap_io(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let router = Router::new().fallback(async || "{\"n\":1}");
    tokio::spawn(async move { axum::serve(listener, router).await });
    (base, connections)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_lines_of_a_slot_go_over_one_connection() {
    let (base, connections) = counting().await;
    let data = tempfile::tempdir().unwrap();
    let mut config = config(&data, base);
    config.upstreams[0].concurrency = Concurrency::Fixed(3);
    let server = Server::open(config).await.unwrap();
    let service = server.service();
    let running = tokio::spawn(server.run_engine(std::future::pending()));
    for _ in 0..3 {
        let id = submit(&service, &lines(200), |_| {}).await;
        ended(&service, &id).await.is_conserved(200);
    }
    let connections = connections.load(Ordering::Relaxed);
    assert!((1..=3).contains(&connections), "{connections}");
    running.abort();
}
