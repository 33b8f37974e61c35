//! A file fetched to disk: it is there whole, or not at all.

use std::io;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};

use crate::content::Fetch;
use crate::error::{DittoError, Result};
use crate::files;
use crate::http::Transport;

/// Downloads begun anew from the first byte, where the server cannot go on in the middle.
const STARTS: u32 = 5;

/// How a download went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Download {
    /// Bytes of the file.
    pub bytes: u64,
    /// How often the transfer was cut and went on where it was.
    pub resumed: u32,
    /// How often it was begun anew.
    pub restarted: u32,
}

/// Fetches into a temporary file beside `path`, and renames it when it is whole and on disk.
///
/// If we stop in the middle, the temporary file goes and `path` is what it was before.
pub(crate) async fn to_path(transport: &Transport, id: &str, path: &Path) -> Result<Download> {
    let (part, file) = open_part(path).await.map_err(|error| at(path, error))?;
    let mut file = tokio::fs::File::from_std(file);
    let mut done = Download {
        bytes: 0,
        resumed: 0,
        restarted: 0,
    };
    loop {
        match once(transport, id, &mut file, path, &mut done).await {
            Ok(bytes) => {
                done.bytes = bytes;
                break;
            }
            Err(DittoError::Incomplete { .. }) if done.restarted + 1 < STARTS => {
                done.restarted += 1;
                rewind(&mut file).await.map_err(|error| at(path, error))?;
            }
            Err(error) => return Err(error),
        }
    }
    file.sync_all().await.map_err(|error| at(path, error))?;
    let place = path.to_owned();
    blocking(move || part.persist(&place).map(drop).map_err(|error| error.error))
        .await
        .map_err(|error| at(path, error))?;
    Ok(done)
}

async fn once(
    transport: &Transport,
    id: &str,
    file: &mut tokio::fs::File,
    path: &Path,
    done: &mut Download,
) -> Result<u64> {
    let mut fetch = Fetch::open(transport, id).await?;
    let copied = copy(&mut fetch, file, path).await;
    done.resumed += fetch.resumptions();
    copied?;
    check_length(transport, id, &fetch).await?;
    Ok(fetch.received())
}

async fn copy(fetch: &mut Fetch, file: &mut tokio::fs::File, path: &Path) -> Result<()> {
    while let Some(chunk) = fetch.chunk().await? {
        file.write_all(&chunk)
            .await
            .map_err(|error| at(path, error))?;
    }
    file.flush().await.map_err(|error| at(path, error))
}

/// Without an announced length a cut may look like the end; the file object knows better.
async fn check_length(transport: &Transport, id: &str, fetch: &Fetch) -> Result<()> {
    if fetch.total().is_some() {
        return Ok(());
    }
    match files::retrieve(transport, id).await?.bytes {
        // Some providers leave the size of result files at 0.
        Some(bytes) if bytes > fetch.received() => Err(fetch.incomplete()),
        _ => Ok(()),
    }
}

async fn open_part(path: &Path) -> io::Result<(NamedTempFile, std::fs::File)> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    blocking(move || {
        let part = tempfile::Builder::new()
            .prefix(".ditto-")
            .suffix(".part")
            .tempfile_in(folder)?;
        let file = part.reopen()?;
        Ok((part, file))
    })
    .await
}

async fn rewind(file: &mut tokio::fs::File) -> io::Result<()> {
    file.set_len(0).await?;
    file.rewind().await.map(drop)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

fn at(path: &Path, error: io::Error) -> DittoError {
    DittoError::Io(io::Error::new(
        error.kind(),
        format!("{}: {error}", path.display()),
    ))
}
