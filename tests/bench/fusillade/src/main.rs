//! fusillade-peer DATABASE ORIGIN FILE PERMITS
//!
//! The lines of a batch file as one batch of fusillade: from its creation to its last line. Tells its cost as JSON.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fusillade::daemon::DaemonConfig;
use fusillade::{BatchInput, PostgresDaemon, RequestTemplateInput};
use fusillade_arsenal::{PostgresRequestManager, Storage, TestDbPools};
use serde::Deserialize;
use serde_json::value::RawValue;
use sqlx::postgres::PgPoolOptions;
use tokio_util::sync::CancellationToken;

/// As often as its own tests claim; as shipped it is once a second, and so many lines a second at most.
const CLAIM_INTERVAL_MS: u64 = 10;

const DATABASE_CONNECTIONS: u32 = 32;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [database, origin, file, permits] = args.as_slice() else {
        return Err("fusillade-peer DATABASE ORIGIN FILE PERMITS".into());
    };
    let pool = PgPoolOptions::new()
        .max_connections(DATABASE_CONNECTIONS)
        .connect(database)
        .await?;
    fusillade_arsenal::migrator().run(&pool).await?;
    let config = config(permits.parse()?);
    let store = Arc::new(PostgresRequestManager::new(
        TestDbPools::new(pool).await?,
        (&config).into(),
    ));
    let templates = templates(&std::fs::read_to_string(file)?, origin)?;
    let lines = templates.len();
    let file = store
        .create_file("bench".to_owned(), None, templates)
        .await?;

    let stop = CancellationToken::new();
    let daemon = Arc::new(PostgresDaemon::from_store(store.clone(), config));
    let running = daemon.run(stop.clone())?;
    let begun = Instant::now();
    let batch = store.create_batch(batch_of(file)).await?;
    loop {
        let status = store.get_batch_status(batch.id).await?;
        if status.failed_requests > 0 {
            return Err(format!("{} lines failed", status.failed_requests).into());
        }
        if status.completed_requests as usize == lines {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(r#"{{"lines": {lines}, "seconds": {seconds}, "cpu_seconds": 0}}"#);
    stop.cancel();
    running.abort();
    Ok(())
}

fn config(permits: usize) -> DaemonConfig {
    let config = DaemonConfig {
        claim_interval_ms: CLAIM_INTERVAL_MS,
        ..DaemonConfig::default()
    };
    config
        .model_concurrency_limits
        .insert("demo-small".to_owned(), permits);
    config
}

fn batch_of(file_id: fusillade::FileId) -> BatchInput {
    BatchInput {
        file_id,
        endpoint: "/v1/chat/completions".to_owned(),
        completion_window: "24h".to_owned(),
        metadata: None,
        created_by: None,
        api_key_id: None,
        api_key: None,
        total_requests: None,
    }
}

fn templates(content: &str, origin: &str) -> Result<Vec<RequestTemplateInput>, AnyError> {
    #[derive(Deserialize)]
    struct Line<'a> {
        custom_id: String,
        url: String,
        #[serde(borrow)]
        body: &'a RawValue,
    }
    content
        .lines()
        .map(|line| {
            let line: Line<'_> = serde_json::from_str(line)?;
            Ok(RequestTemplateInput {
                custom_id: Some(line.custom_id),
                endpoint: origin.to_owned(),
                method: "POST".to_owned(),
                path: line.url,
                body: line.body.get().to_owned(),
                model: "demo-small".to_owned(),
                api_key: "unused".to_owned(),
            })
        })
        .collect()
}
