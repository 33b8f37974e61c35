//! Stops and crashes at any moment: nothing recorded is asked again, every line comes back once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ditto_llm::wire::BatchStatus;
use ditto_sim::Sim;
use tokio::runtime::Runtime;

use super::rig::{Rig, config, ended, line_id, lines, prompts, sim, submit, until};
use crate::catalog::Usage;
use crate::journal::record::{self, MAGIC};
use crate::journal::{Kind, Record};
use crate::service::Service;
use crate::{Config, ErrorKind, Server};

const LINES: usize = 400;

#[tokio::test(flavor = "multi_thread")]
async fn after_clean_stops_nothing_is_asked_again() {
    let mut rig = Rig::with(|sim| sim.latency = "2ms".parse().unwrap(), |_| {}).await;
    let id = rig.submit(&lines(1_500)).await;
    for answered in [1, 200, 600, 601, 1_200, 1_490] {
        until(rig.service(), "some more are answered", async || {
            (rig.sim.stats().answered >= answered).then_some(())
        })
        .await;
        assert!(rig.stop().await, "all in flight ended within the grace");
        rig.open().await;
    }
    let left = rig.ended(&id).await;
    left.is(BatchStatus::Completed);
    left.is_conserved(1_500);
    let stats = rig.sim.stats();
    assert_eq!((stats.requests, stats.asked_more_than_once), (1_500, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_cuts_off_what_does_not_end_within_the_grace() {
    let mut rig = Rig::with(|_| {}, |c| c.sending.grace = Duration::from_millis(100)).await;
    let id = rig
        .submit(&prompts(&["sim: hang then ok", "say", "say"]))
        .await;
    until(rig.service(), "all are in flight", async || {
        (rig.sim.stats().answered == 2 && rig.sim.stats().in_flight == 1).then_some(())
    })
    .await;
    assert!(!rig.stop().await, "one was cut off");
    rig.open().await;
    rig.ended(&id).await.is_conserved(3);
    assert_eq!(
        [1, 2, 3].map(|n| rig.sim.asked(&line_id(&id, n))),
        [2, 1, 1]
    );
}

/// A server on a runtime that can be taken away from it.
struct Fragile {
    runtime: Option<Runtime>,
    service: Option<Service>,
}

impl Drop for Fragile {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Fragile {
    async fn open(config: &Config) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let config = config.clone();
        let server = runtime.spawn(open_when_free(config)).await.unwrap();
        let service = server.service();
        runtime.spawn(server.run_engine(std::future::pending()));
        Self {
            runtime: Some(runtime),
            service: Some(service),
        }
    }

    fn service(&self) -> &Service {
        self.service.as_ref().unwrap()
    }

    /// Every task ends where it stands: nothing is drained, given back or written down.
    async fn crash(mut self) {
        let inner = Arc::downgrade(&self.service.take().unwrap().engine.0);
        let runtime = self.runtime.take().unwrap();
        // Waits for the one thing that cannot be ended: a call to the disk that is under way.
        let shut_down = move || runtime.shutdown_timeout(Duration::from_secs(30));
        tokio::task::spawn_blocking(shut_down).await.unwrap();
        assert_eq!(inner.strong_count(), 0, "nothing of it runs any more");
    }
}

async fn open_when_free(config: Config) -> Server {
    loop {
        match Server::open(config.clone()).await {
            Ok(server) => return server,
            // The tasks of the one before are still ending.
            Err(error) if error.kind() == ErrorKind::Conflict => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// How often each recorded line had been asked by the time of a crash.
type Recorded = BTreeMap<u64, u32>;

fn recorded(data: &Path, batch: &str, sim: &Sim) -> Recorded {
    let mut numbers = Vec::new();
    for part in files(&data.join("journal")) {
        let bytes = std::fs::read(part).unwrap();
        let mut at = MAGIC.len();
        while let Ok(Some((record, payload))) = record::decode(&bytes, at.min(bytes.len())) {
            numbers.push(record.line);
            at = payload.end;
        }
    }
    let prefix = format!("{{\"id\":\"{}", line_id(batch, 0).trim_end_matches('0'));
    for blob in files(&data.join("blobs/batches").join(batch).join("segments")) {
        let bytes = std::fs::read(blob).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let found = text
            .split(&prefix)
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap());
        numbers.extend(found.map(|number| number.parse::<u64>().unwrap()));
    }
    numbers
        .into_iter()
        .map(|n| (n, sim.asked(&line_id(batch, n))))
        .collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    match std::fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => Vec::new(),
    }
}

/// What a write that was under way may have left behind the last record.
fn tear_tails(data: &Path, chance: &mut fastrand::Rng) {
    let record = Record {
        line: 1,
        ordinal: 0,
        kind: Kind::Answer,
        usage: Usage::default(),
    };
    let mut whole = Vec::new();
    record::encode(&mut whole, &record, b"{\"id\":\"never whole\"}\n");
    for part in files(&data.join("journal")) {
        let mut bytes = std::fs::read(&part).unwrap();
        match chance.u8(0..3) {
            0 => bytes.extend_from_slice(&whole[..chance.usize(1..whole.len())]),
            1 => bytes.extend(vec![0; chance.usize(1..200)]),
            _ => {}
        }
        std::fs::write(&part, bytes).unwrap();
    }
}

/// Crashes as often as there are moments (answers given so far), then lets the batch end.
async fn crash_at(moments: &[u64], seed: u64) {
    let mut chance = fastrand::Rng::with_seed(seed);
    let sim = sim(|sim| sim.latency = "lognormal:3ms:0.5".parse().unwrap());
    let data = tempfile::tempdir().unwrap();
    let config = config(&data, sim.base_url());
    let mut server = Fragile::open(&config).await;
    let id = submit(server.service(), &lines(LINES), |_| {}).await;
    let mut known = Recorded::new();
    for moment in moments {
        until(server.service(), "the moment has come", async || {
            (sim.stats().answered >= *moment).then_some(())
        })
        .await;
        server.crash().await;
        let now = recorded(&config.data, &id, &sim);
        assert!(
            known.keys().all(|line| now.contains_key(line)),
            "nothing recorded is gone"
        );
        known.extend(
            now.into_iter()
                .filter(|(line, _)| !known.contains_key(line))
                .collect::<Vec<_>>(),
        );
        tear_tails(&config.data, &mut chance);
        server = Fragile::open(&config).await;
    }
    let left = ended(server.service(), &id).await;
    left.is(BatchStatus::Completed);
    left.is_conserved(LINES);
    for (line, asked) in known {
        assert_eq!(
            sim.asked(&line_id(&id, line)),
            asked,
            "seed {seed}: line {line} was recorded"
        );
    }
    assert!(files(&config.data.join("journal")).len() <= moments.len() * 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_early_in_a_batch_no_recorded_line_is_asked_again() {
    crash_at(&[0, 1, 2], 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_in_the_middle_no_recorded_line_is_asked_again() {
    crash_at(&[150], 2).await;
    crash_at(&[60, 61, 200, 201], 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_late_in_a_batch_no_recorded_line_is_asked_again() {
    crash_at(&[390], 4).await;
    crash_at(&[400], 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_crashes_at_any_moment_no_recorded_line_is_asked_again() {
    for seed in 10..18 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut moments: Vec<_> = (0..chance.usize(1..6))
            .map(|_| chance.u64(0..400))
            .collect();
        moments.sort_unstable();
        crash_at(&moments, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_a_batch_is_cancelled_keeps_what_was_answered() {
    let sim = sim(|sim| sim.latency = "3ms".parse().unwrap());
    let data = tempfile::tempdir().unwrap();
    let config = config(&data, sim.base_url());
    let server = Fragile::open(&config).await;
    let id = submit(server.service(), &lines(6_000), |_| {}).await;
    until(server.service(), "some are answered", async || {
        (sim.stats().answered >= 100).then_some(())
    })
    .await;
    server
        .service()
        .cancel_batch(super::rig::TENANT, &id)
        .await
        .unwrap();
    server.crash().await;
    let known = recorded(&config.data, &id, &sim);
    let server = Fragile::open(&config).await;
    let left = ended(server.service(), &id).await;
    left.is(BatchStatus::Cancelled);
    left.is_conserved(6_000);
    let output: Vec<_> = left.output.iter().map(super::rig::number).collect();
    let errors: std::collections::BTreeSet<_> =
        left.errors.iter().map(super::rig::number).collect();
    let ended_before = known.keys().filter(|n| errors.contains(n)).count();
    assert!(output.len() + ended_before >= known.len());
    assert!(
        sim.stats().asked_more_than_once == 0,
        "an ending batch sends nothing again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_and_is_gone_after_a_crash_is_said_and_not_bought_again() {
    let sim = sim(|sim| sim.latency = "1ms".parse().unwrap());
    let data = tempfile::tempdir().unwrap();
    let config = config(&data, sim.base_url());
    let server = Fragile::open(&config).await;
    let asked = prompts(&["say", "say", "sim: hang then ok"]);
    let id = submit(server.service(), &asked, |_| {}).await;
    until(server.service(), "two are published", async || {
        let batch = server
            .service()
            .batch(super::rig::TENANT, &id)
            .await
            .unwrap();
        (batch.request_counts?.completed == 2).then_some(())
    })
    .await;
    server.crash().await;
    for part in files(&config.data.join("journal")) {
        std::fs::remove_file(part).unwrap();
    }
    let server = Fragile::open(&config).await;
    let reason = until(server.service(), "the reason can be read", async || {
        server.service().stuck().into_iter().next()
    })
    .await;
    assert!(reason.contains("2 results of segment"), "{reason}");
    assert!(reason.contains("0 are in its journal"), "{reason}");
    let asked = [1, 2].map(|n| sim.asked(&line_id(&id, n)));
    assert_eq!(asked, [1, 1]);
    server.crash().await;
}
