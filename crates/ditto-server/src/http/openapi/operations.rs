//! Every call of the server. A new route gets its entry here; a test says so where it is missing.

use ditto_llm::wire::{Batch, DeletedFile, FileObject, Page, UploadObject, UploadPartObject};
use serde_json::json;

use super::operation::Operation;
use super::shapes::{
    CompleteUpload, CreateBatch, CreateUpload, Document, Health, Models, PartForm, Readiness,
    RetryBatch, UploadForm,
};
use crate::config::Config;
use crate::http::{batches, files, results};

pub(super) fn all(config: &Config) -> Vec<Operation> {
    let mut all = files();
    all.extend(uploads());
    all.extend(batches(config));
    all.extend(beside());
    all
}

fn files() -> Vec<Operation> {
    const FILE: &str = "/v1/files/{id}";
    const CONTENT: &str = "/v1/files/{id}/content";
    vec![
        Operation::new::<Page<FileObject>>("get", "/v1/files", "listFiles", "List files.")
            .query::<files::ListParams>(),
        Operation::new::<FileObject>("post", "/v1/files", "uploadFile", "Upload a file.")
            .header("Idempotency-Key", "Makes one file of equal uploads.", KEY)
            .body::<UploadForm>("multipart/form-data")
            .refuses(&[400, 404, 408, 409, 413, 415, 429]),
        Operation::new::<FileObject>("get", FILE, "retrieveFile", "Look at a file.")
            .refuses(&[404]),
        Operation::new::<DeletedFile>("delete", FILE, "deleteFile", "Delete a file.")
            .refuses(&[404]),
        Operation::new::<()>("get", CONTENT, "downloadFile", "Read a file's bytes.")
            // One that is not understood is answered with the whole file, as the standard has it.
            .header("Range", "One range of bytes.", ANY)
            .header(
                "If-Range",
                "The `ETag` of the file that the range is of.",
                ANY,
            )
            .bytes()
            .refuses(&[404, 416]),
        Operation::new::<()>("head", CONTENT, "describeFile", "A file's size and `ETag`.")
            .bodiless()
            .refuses(&[404]),
    ]
}

fn uploads() -> Vec<Operation> {
    const PARTS: &str = "/v1/uploads/{id}/parts";
    const COMPLETE: &str = "/v1/uploads/{id}/complete";
    const CANCEL: &str = "/v1/uploads/{id}/cancel";
    vec![
        Operation::new::<UploadObject>(
            "post",
            "/v1/uploads",
            "createUpload",
            "Begin a file in parts.",
        )
        .header("Idempotency-Key", "Makes one upload of equal creates.", KEY)
        .body::<CreateUpload>("application/json")
        .refuses(&[400, 408, 409, 413, 415, 429]),
        Operation::new::<UploadPartObject>("post", PARTS, "addUploadPart", "Send a part.")
            .header("Idempotency-Key", "Makes one part of equal ones.", KEY)
            .body::<PartForm>("multipart/form-data")
            .refuses(&[400, 404, 408, 409, 413, 415, 429]),
        Operation::new::<UploadObject>(
            "post",
            COMPLETE,
            "completeUpload",
            "Make the parts a file.",
        )
        .header("Idempotency-Key", "Tells a call that comes again.", KEY)
        .body::<CompleteUpload>("application/json")
        .refuses(&[400, 404, 408, 409, 413, 415, 429]),
        Operation::new::<UploadObject>("post", CANCEL, "cancelUpload", "Give an upload up.")
            .header("Idempotency-Key", "Tells a call that comes again.", KEY)
            .refuses(&[400, 404, 408, 409, 413, 415]),
    ]
}

/// An `Idempotency-Key`.
const KEY: &str = "^[!-~]{1,255}$";
/// Any text.
const ANY: &str = "";

/// A call whose batches have the field `ditto` for clients that ask for it.
fn extended(operation: Operation) -> Operation {
    let description = "`1` shows what goes beyond the protocol, in the field `ditto` of a batch.";
    operation.header("Ditto-Extensions", description, ANY)
}

fn batches(config: &Config) -> Vec<Operation> {
    const BATCH: &str = "/v1/batches/{id}";
    const CANCEL: &str = "/v1/batches/{id}/cancel";
    const RETRY: &str = "/v1/batches/{id}/retry";
    const RESULTS: &str = "/v1/batches/{id}/results";
    let endpoints = json!(config.endpoints);
    let windows = config.windows.iter().map(|window| json!(window.name));
    vec![
        extended(Operation::new::<Page<Batch>>(
            "get",
            "/v1/batches",
            "listBatches",
            "List batches.",
        ))
        .query::<batches::ListParams>(),
        extended(Operation::new::<Batch>(
            "post",
            "/v1/batches",
            "createBatch",
            "Make a batch.",
        ))
        .header("Idempotency-Key", "Makes one batch of equal creates.", KEY)
        .body::<CreateBatch>("application/json")
        .narrowed("endpoint", "enum", endpoints)
        .narrowed("completion_window", "enum", windows.collect())
        .refuses(&[400, 408, 409, 413, 415, 429]),
        extended(Operation::new::<Batch>(
            "get",
            BATCH,
            "retrieveBatch",
            "Look at a batch.",
        ))
        .refuses(&[404]),
        extended(Operation::new::<Batch>(
            "post",
            CANCEL,
            "cancelBatch",
            "Cancel a batch.",
        ))
        .refuses(&[404, 409]),
        Operation::new::<Batch>("post", RETRY, "retryBatch", "Run failed lines again.")
            .query::<batches::RetryParams>()
            .header("Idempotency-Key", "Makes one batch of equal calls.", KEY)
            .optional_body::<RetryBatch>("application/json")
            .refuses(&[400, 404, 408, 409, 413, 415, 429]),
        Operation::new::<()>("get", RESULTS, "readResults", "Read results as they come.")
            .query::<results::ResultParams>()
            .lines()
            .refuses(&[404]),
    ]
}

fn beside() -> Vec<Operation> {
    vec![
        Operation::new::<Models>(
            "get",
            "/v1/models",
            "listModels",
            "What the upstreams offer.",
        ),
        Operation::new::<Health>("get", "/healthz", "health", "Whether the process lives.").open(),
        Operation::new::<Readiness>("get", "/readyz", "readiness", "Whether work is done.").open(),
        Operation::new::<Document>("get", "/openapi.json", "openapi", "This document.").open(),
    ]
}
