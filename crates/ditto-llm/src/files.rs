//! The files of a provider: the trait, and the calls behind it.

use std::path::Path;

use async_trait::async_trait;

use crate::call::{Call, Payload};
use crate::content::Content;
use crate::download::Download;
use crate::error::Result;
use crate::http::{Transport, read_json};
use crate::operation::Operation;
use crate::upload::FileUpload;
use crate::wire::{DeletedFile, FileObject, Page};

/// What can be done with the files of a provider. Object safe.
///
/// Every call returns a [`DittoError`](crate::DittoError) where it fails; reads are repeated by
/// themselves as [`RetryPolicy`](crate::RetryPolicy) says.
///
/// ```no_run
/// use ditto_llm::{FileClient, FileUpload};
///
/// # async fn show(files: impl FileClient) -> ditto_llm::Result<()> {
/// let input = files.upload(FileUpload::from_path("requests.jsonl")).await?;
/// println!("{} has {:?} bytes", input.id, input.bytes);
/// files.download_to("file-results", "answers.jsonl".as_ref()).await?;
/// # Ok(()) }
/// ```
#[async_trait]
pub trait FileClient: Send + Sync {
    /// The provider's id, such as `openai`.
    fn provider(&self) -> &str;

    /// Uploads a file in a stream with its length announced. Sent again from the start after a
    /// failure that passes, unless its source is a reader.
    ///
    /// # Errors
    /// [`DittoError::Io`](crate::DittoError::Io) if the source cannot be read, or is shorter than
    /// announced.
    async fn upload(&self, file: FileUpload) -> Result<FileObject>;

    /// One page of the list of files.
    async fn list(&self, query: ListFiles) -> Result<Page<FileObject>>;

    /// What the provider knows of a file.
    async fn retrieve(&self, file_id: &str) -> Result<FileObject>;

    /// Deletes a file. One that is gone when the call is repeated after a failure counts as
    /// deleted.
    async fn delete(&self, file_id: &str) -> Result<DeletedFile>;

    /// The bytes of a file, as a stream.
    async fn content(&self, file_id: &str) -> Result<Content>;

    /// Fetches a file to disk: length checked, cut transfers resumed or begun anew, and renamed
    /// into place only when whole and durable. An existing file is replaced then, and only then.
    /// The new file is readable by its owner only.
    async fn download_to(&self, file_id: &str, path: &Path) -> Result<Download>;
}

/// Which files to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListFiles {
    /// Only files of this purpose.
    pub purpose: Option<String>,
    /// Files per page, 1 to 10,000 at OpenAI.
    pub limit: Option<u32>,
    /// `asc` or `desc` by time of creation; newest first unless set.
    pub order: Option<String>,
    /// The id of the last file of the page before.
    pub after: Option<String>,
}

pub(crate) async fn upload(transport: &Transport, file: &FileUpload) -> Result<FileObject> {
    let path: Vec<_> = transport.upload_path().split('/').collect();
    let mut call = Call::new(Operation::FileUpload, &path);
    call.payload = Payload::Upload(file);
    transport.json(call).await.map(|Unwrapped(file)| file)
}

pub(crate) async fn list(transport: &Transport, query: ListFiles) -> Result<Page<FileObject>> {
    let call = Call::new(Operation::FileList, &["files"])
        .query("purpose", query.purpose)
        .query("limit", query.limit)
        .query("order", query.order)
        .query("after", query.after);
    transport.json(call).await
}

pub(crate) async fn retrieve(transport: &Transport, file_id: &str) -> Result<FileObject> {
    let path = ["files", file_id];
    let mut call = Call::new(Operation::FileRetrieve, &path);
    call.subject = Some(file_id);
    transport.json(call).await.map(|Unwrapped(file)| file)
}

pub(crate) async fn delete(transport: &Transport, file_id: &str) -> Result<DeletedFile> {
    let path = ["files", file_id];
    let mut call = Call::new(Operation::FileDelete, &path);
    call.subject = Some(file_id);
    let sent = transport.send(call).await;
    match sent.outcome {
        Ok(answer) if answer.body.is_empty() => Ok(gone(file_id)),
        Ok(answer) => read_json(Operation::FileDelete, &answer.body),
        // The attempt before had deleted it; only its answer was lost.
        Err(error) if sent.attempts > 1 && error.status() == Some(404) => Ok(gone(file_id)),
        Err(error) => Err(error),
    }
}

fn gone(file_id: &str) -> DeletedFile {
    DeletedFile {
        id: file_id.to_owned(),
        object: "file".to_owned(),
        deleted: true,
    }
}

/// A file object, taken out of the envelope that SiliconFlow puts around it.
#[derive(serde::Deserialize)]
#[serde(from = "FileOrEnvelope")]
struct Unwrapped(FileObject);

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum FileOrEnvelope {
    Plain(FileObject),
    Envelope { data: FileObject },
}

impl From<FileOrEnvelope> for Unwrapped {
    fn from(read: FileOrEnvelope) -> Self {
        match read {
            FileOrEnvelope::Plain(file) | FileOrEnvelope::Envelope { data: file } => Self(file),
        }
    }
}
