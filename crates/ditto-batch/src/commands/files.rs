//! `ditto-batch files`: the API calls, named as in the API.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use ditto_llm::{FileClient, FileUpload, ListFiles, OpenAICompatible};
use futures_util::StreamExt;

use super::api::{ApiArgs, show, unsaid};
use crate::exit;
use crate::failure::Result;

/// Files asked for at once.
const PAGE: usize = 1000;

/// Files of a server: one JSON object a line on stdout.
#[derive(Debug, Clone, Args)]
pub(crate) struct FilesArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(subcommand)]
    call: Call,
}

#[derive(Debug, Clone, Subcommand)]
enum Call {
    /// Files, newest first.
    List {
        /// Only files of this purpose.
        #[arg(long)]
        purpose: Option<String>,
        /// At most this many; all unless given.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// One file.
    Get { id: String },
    /// Uploads a file.
    Upload {
        path: PathBuf,
        #[arg(long, default_value = "batch")]
        purpose: String,
        /// Let the server delete it after this many seconds.
        #[arg(long, value_name = "SECONDS")]
        expires_after: Option<u64>,
    },
    /// The bytes of a file, on stdout or into a file.
    Content {
        id: String,
        /// Checked for length, resumed where possible, and there only when whole.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Deletes a file.
    Delete { id: String },
}

/// Makes one call; its answer goes to `out`.
pub(crate) async fn run(args: &FilesArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let result = match args.api.client() {
        Ok(client) => call(&client, &args.call, out).await,
        Err(failure) => Err(failure),
    };
    match result {
        Ok(()) => exit::DONE,
        Err(failure) => failure.report(err),
    }
}

async fn call(client: &OpenAICompatible, call: &Call, out: &mut dyn Write) -> Result<()> {
    match call {
        Call::List { purpose, limit } => list(client, purpose.clone(), *limit, out).await,
        Call::Get { id } => show(out, &client.retrieve(id).await?),
        Call::Upload {
            path,
            purpose,
            expires_after,
        } => {
            let upload = FileUpload::from_path(path).purpose(purpose);
            let upload = match expires_after {
                Some(seconds) => upload.expires_after(*seconds),
                None => upload,
            };
            show(out, &client.upload(upload).await?)
        }
        Call::Content {
            id,
            output: Some(path),
        } => {
            client.download_to(id, path).await?;
            Ok(())
        }
        Call::Content { id, output: None } => content(client, id, out).await,
        Call::Delete { id } => show(out, &client.delete(id).await?),
    }
}

async fn list(
    client: &OpenAICompatible,
    purpose: Option<String>,
    limit: Option<usize>,
    out: &mut dyn Write,
) -> Result<()> {
    let mut left = limit.unwrap_or(usize::MAX);
    let mut query = ListFiles {
        purpose,
        ..ListFiles::default()
    };
    while left > 0 {
        query.limit = Some(u32::try_from(left.min(PAGE)).expect("a page is small"));
        let page = client.list(query.clone()).await?;
        for file in page.data.iter().take(left) {
            show(out, file)?;
        }
        left = left.saturating_sub(page.data.len());
        query.after = page.data.last().map(|file| file.id.clone());
        if !page.has_more || query.after.is_none() {
            break;
        }
    }
    Ok(())
}

async fn content(client: &OpenAICompatible, id: &str, out: &mut dyn Write) -> Result<()> {
    let mut content = client.content(id).await?;
    while let Some(chunk) = content.next().await {
        out.write_all(&chunk?).map_err(|e| unsaid(&e))?;
    }
    out.flush().map_err(|e| unsaid(&e))
}
