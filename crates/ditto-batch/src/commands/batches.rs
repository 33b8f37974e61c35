//! `ditto-batch batches`: the API calls, named as in the API, and `wait`.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand};
use ditto_llm::{
    Batch, BatchClient, BatchClientExt, BatchCreateRequest, BatchResponse, BatchStatus,
    CreateOptions, FailureClass, OpenAICompatibleBatches, WaitPolicy,
};
use futures_util::StreamExt as _;

use super::api::{ApiArgs, show, unsaid};
use crate::duration;
use crate::exit;
use crate::failure::Result;
use crate::printer::say;

/// OpenAI's largest page.
const PAGE: usize = 100;

/// Batches of a server: one JSON object a line on stdout.
#[derive(Debug, Clone, Args)]
pub(crate) struct BatchesArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(subcommand)]
    call: Call,
}

#[derive(Debug, Clone, Subcommand)]
enum Call {
    /// Batches, newest first.
    List {
        /// At most this many; all unless given.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// One batch.
    Get { id: String },
    /// Makes a batch over an uploaded file.
    Create(CreateArgs),
    /// Cancels a batch; what was answered is kept.
    Cancel { id: String },
    /// Runs the failed lines of an ended batch again, as a new batch. Ditto's server only.
    Retry {
        id: String,
        /// Which failures, as rate_limited,expired; all that can pass unless given.
        #[arg(long, value_name = "CLASS,…", value_delimiter = ',', value_parser = class)]
        only: Vec<FailureClass>,
    },
    /// Prints results as they are recorded, each once, in no order. Ditto's server only.
    Results {
        id: String,
        /// Go on behind this, which an earlier call has told on stderr.
        #[arg(long, value_name = "CURSOR", default_value = "")]
        after: String,
        /// Stay until the batch has ended.
        #[arg(long)]
        follow: bool,
    },
    /// Waits until a batch has ended: exit 0 if every line was answered, 9 if some failed, 12 if
    /// its file was refused, 10 if it was cancelled, has expired, or still runs at the deadline.
    Wait {
        id: String,
        /// Give up waiting after this long, as 90s, 10m or 2h; the batch goes on.
        #[arg(long, value_name = "TIME", value_parser = duration::parse)]
        deadline: Option<Duration>,
    },
}

#[derive(Debug, Clone, Args)]
struct CreateArgs {
    input_file_id: String,
    #[arg(long, value_name = "PATH", default_value = "/v1/chat/completions")]
    endpoint: String,
    #[arg(long, value_name = "WINDOW", default_value = "24h")]
    completion_window: String,
    /// A pair to keep with the batch; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// Let the server delete the results this many seconds after they are made.
    #[arg(long, value_name = "SECONDS")]
    output_expires_after: Option<u64>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

/// Makes one call; its answer goes to `out`, all talk to `err`.
pub(crate) async fn run(args: &BatchesArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let result = match args.api.client() {
        Ok(client) => call(&client.batches(), &args.call, out, err).await,
        Err(failure) => Err(failure),
    };
    match result {
        Ok(code) => code,
        Err(failure) => failure.report(err),
    }
}

async fn call(
    client: &OpenAICompatibleBatches,
    call: &Call,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<u8> {
    match call {
        Call::List { limit } => list(client, *limit, out).await?,
        Call::Get { id } => answer(client.retrieve(id).await?, out, err)?,
        Call::Create(args) => {
            let (request, options) = args.request();
            answer(client.create_with(request, options).await?, out, err)?;
        }
        Call::Cancel { id } => answer(client.cancel(id).await?, out, err)?,
        Call::Retry { id, only } => answer(client.retry_failed(id, only).await?, out, err)?,
        Call::Results { id, after, follow } => {
            results(client, id, after, *follow, out, err).await?;
        }
        Call::Wait { id, deadline } => return wait(client, id, *deadline, out).await,
    }
    Ok(exit::DONE)
}

fn class(text: &str) -> Result<FailureClass, String> {
    FailureClass::parse(text).ok_or_else(|| {
        let known = FailureClass::ALL.map(FailureClass::as_str);
        format!("one of {}", known.join(", "))
    })
}

/// How long the server waits for a row before it says that there is none.
const FOLLOW_WAIT: Duration = Duration::from_secs(20);

/// Page after page. The cursor goes to stderr whenever a page is whole, so that whoever is cut off
/// can go on from there.
async fn results(
    client: &OpenAICompatibleBatches,
    id: &str,
    after: &str,
    follow: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<()> {
    let mut after = after.to_owned();
    let wait = if follow { FOLLOW_WAIT } else { Duration::ZERO };
    loop {
        let mut page = client.recorded(id, &after, wait).await?;
        let mut empty = true;
        while let Some(chunk) = page.next().await {
            let chunk = chunk?;
            empty &= chunk.is_empty();
            out.write_all(&chunk).map_err(|e| unsaid(&e))?;
        }
        out.flush().map_err(|e| unsaid(&e))?;
        let news = page.next != after;
        after = page.next.clone();
        if news {
            say(err, format_args!("go on with --after {after}"));
        }
        if page.ended || (!follow && empty) {
            return Ok(());
        }
    }
}

impl CreateArgs {
    fn request(&self) -> (BatchCreateRequest, CreateOptions) {
        let metadata: BTreeMap<_, _> = self.metadata.iter().cloned().collect();
        let request = BatchCreateRequest {
            input_file_id: self.input_file_id.clone(),
            endpoint: self.endpoint.clone(),
            completion_window: self.completion_window.clone(),
            metadata: (!metadata.is_empty()).then_some(metadata),
            provider_options: None,
        };
        let options = match self.output_expires_after {
            Some(seconds) => CreateOptions::default().output_expires_after(seconds),
            None => CreateOptions::default(),
        };
        (request, options)
    }
}

fn answer(response: BatchResponse, out: &mut dyn Write, err: &mut dyn Write) -> Result<()> {
    for warning in &response.warnings {
        say(err, format_args!("warning: {warning}"));
    }
    show(out, &response.raw)
}

async fn list(
    client: &OpenAICompatibleBatches,
    limit: Option<usize>,
    out: &mut dyn Write,
) -> Result<()> {
    let mut left = limit.unwrap_or(usize::MAX);
    let mut after = None;
    while left > 0 {
        let size = u32::try_from(left.min(PAGE)).expect("a page is small");
        let page = client.list(Some(size), after).await?;
        for batch in page.batches.iter().take(left) {
            show(out, batch)?;
        }
        left = left.saturating_sub(page.batches.len());
        after = page.after;
        if !page.has_more || after.is_none() {
            break;
        }
    }
    Ok(())
}

async fn wait(
    client: &OpenAICompatibleBatches,
    id: &str,
    deadline: Option<Duration>,
    out: &mut dyn Write,
) -> Result<u8> {
    let policy = WaitPolicy::default()
        .first_pause(Duration::from_secs(1))
        .deadline(deadline);
    let batch = client.wait(id, policy).await?;
    show(out, &batch)?;
    Ok(exit_of(&batch))
}

pub(crate) fn exit_of(batch: &Batch) -> u8 {
    let counts = batch.request_counts.unwrap_or_default();
    match batch.status {
        BatchStatus::Completed if counts.completed == counts.total => exit::DONE,
        BatchStatus::Completed => exit::SOME_FAILED,
        BatchStatus::Failed => exit::REFUSED,
        BatchStatus::Expired | BatchStatus::Cancelled => exit::NOT_FINISHED,
        BatchStatus::Validating
        | BatchStatus::InProgress
        | BatchStatus::Finalizing
        | BatchStatus::Cancelling
        | BatchStatus::Other(_) => exit::UNEXPECTED,
    }
}
