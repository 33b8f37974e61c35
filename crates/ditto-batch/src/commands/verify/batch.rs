//! The proof of a batch of a server, from the files that the server hands out.

use std::io::{self, Read, Write};
use std::rc::Rc;

use ditto_llm::wire::{Batch, BatchStatus};
use ditto_llm::{BatchClient, Content, FileClient, OpenAICompatible};
use futures_util::StreamExt;
use tokio::runtime::{Builder, Runtime};

use super::claim;
use super::finding::Finding;
use super::source::{Source, Sources};
use crate::commands::api::ApiArgs;
use crate::exit;
use crate::failure::{Failure, Result};
use crate::printer::say;

/// Of the batch with this id.
pub(crate) fn prove(api: &ApiArgs, id: &str, err: &mut dyn Write) -> Result<Finding> {
    let server = Server::new(api.client()?)?;
    let answer = server
        .runtime
        .block_on(server.client.batches().retrieve(id))?;
    for warning in &answer.warnings {
        say(err, format_args!("warning: {warning}"));
    }
    let batch = answer.batch;
    refuse_what_did_not_run(&batch)?;
    let input = batch.input_file_id.as_deref().ok_or_else(|| {
        Failure::new(
            exit::NOT_FOUND,
            format!("the server does not say which file {id} ran over"),
        )
        .hint("download its results, and name the files: ditto-batch verify INPUT OUTPUT ERRORS")
    })?;
    let sources = Sources {
        input: server.file("input", Some(input)),
        output: server.file("output", batch.output_file_id.as_deref()),
        errors: Some(server.file("error", batch.error_file_id.as_deref())),
    };
    let report = sources.prove()?.report;
    Ok(Finding {
        differences: claim::of_batch(&batch, &report),
        report,
        also: batch
            .request_counts
            .map(|_| "request_counts as the files say"),
    })
}

/// A batch that has not ended has no results yet, and one that ended before it ran never had any.
fn refuse_what_did_not_run(batch: &Batch) -> Result<()> {
    let Batch { id, status, .. } = batch;
    if !status.is_terminal() {
        return Err(Failure::new(
            exit::NOT_FINISHED,
            format!("{id} has not ended yet: it is {status}"),
        )
        .hint(format!("wait for it: ditto-batch batches wait {id}")));
    }
    let has_results = batch.output_file_id.is_some() || batch.error_file_id.is_some();
    let began = batch.request_counts.is_some_and(|counts| counts.total > 0);
    if has_results || began || *status == BatchStatus::Completed {
        return Ok(());
    }
    Err(match status {
        BatchStatus::Failed => Failure::new(
            exit::REFUSED,
            format!(
                "the input of {id} was refused: no line was sent and there is nothing to prove"
            ),
        )
        .hint("`ditto-batch check` names every fault of an input"),
        _ => Failure::new(
            exit::NOT_FINISHED,
            format!(
                "{id} is {status} from before it began: no line was sent and there is nothing to prove"
            ),
        ),
    })
}

/// A server, and the one thread that talks with it.
struct Server {
    client: OpenAICompatible,
    runtime: Rc<Runtime>,
}

impl Server {
    fn new(client: OpenAICompatible) -> Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| {
                Failure::new(exit::UNEXPECTED, format!("cannot talk with a server: {e}"))
            })?;
        Ok(Self {
            client,
            runtime: Rc::new(runtime),
        })
    }

    /// A file of the server; none has no lines.
    fn file(&self, what: &str, id: Option<&str>) -> Source {
        let Some(id) = id else {
            return Source::new(format!("no {what} file"), io::empty());
        };
        let remote = RemoteFile {
            client: self.client.clone(),
            runtime: Rc::clone(&self.runtime),
            id: id.to_owned(),
            content: None,
            chunk: Box::new(io::empty()),
        };
        Source::new(format!("the {what} file {id}"), remote)
    }
}

/// A file that is fetched while it is read, a chunk at a time. It is opened by the first read: a
/// server gives up on a connection that nobody reads from while another file is on its way.
struct RemoteFile {
    client: OpenAICompatible,
    runtime: Rc<Runtime>,
    id: String,
    content: Option<Content>,
    /// What came last.
    chunk: Box<dyn Read>,
}

impl Read for RemoteFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let runtime = Rc::clone(&self.runtime);
        loop {
            let length = self.chunk.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            match runtime.block_on(self.next()).map_err(io::Error::other)? {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
    }
}

impl RemoteFile {
    async fn next(&mut self) -> ditto_llm::Result<Option<Box<dyn Read>>> {
        let content = match &mut self.content {
            Some(content) => content,
            none => none.insert(self.client.content(&self.id).await?),
        };
        let chunk = content.next().await.transpose()?;
        Ok(chunk.map(|chunk| Box::new(io::Cursor::new(chunk)) as Box<dyn Read>))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(batch: serde_json::Value) -> Option<(u8, String)> {
        let batch: Batch = serde_json::from_value(batch).unwrap();
        let refused = refuse_what_did_not_run(&batch).err();
        refused.map(|failure| (failure.exit, failure.message))
    }

    #[test]
    fn a_batch_that_has_not_ended_says_so() {
        for status in [
            "validating",
            "in_progress",
            "finalizing",
            "cancelling",
            "queued",
        ] {
            let (exit, message) =
                refused(serde_json::json!({"id": "batch_1", "status": status})).unwrap();
            assert_eq!(exit, exit::NOT_FINISHED);
            assert_eq!(
                message,
                format!("batch_1 has not ended yet: it is {status}")
            );
        }
    }

    #[test]
    fn a_batch_that_ended_before_it_ran_has_nothing_to_prove() {
        let ended = |status: &str| {
            refused(serde_json::json!({"id": "batch_1", "status": status})).map(|(exit, _)| exit)
        };
        assert_eq!(ended("failed"), Some(exit::REFUSED));
        assert_eq!(ended("cancelled"), Some(exit::NOT_FINISHED));
        assert_eq!(ended("expired"), Some(exit::NOT_FINISHED));
        assert_eq!(ended("completed"), None);
    }

    #[test]
    fn a_batch_whose_results_are_gone_is_held_to_them() {
        let counts = serde_json::json!({"total": 2, "completed": 1, "failed": 0});
        let batch =
            serde_json::json!({"id": "batch_1", "status": "cancelled", "request_counts": counts});
        assert_eq!(refused(batch), None);
    }
}
