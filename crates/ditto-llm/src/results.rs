//! The results of a batch, line by line, from both of its files.

use std::collections::VecDeque;

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::content::Content;
use crate::error::{DittoError, Result};
use crate::files::FileClient;
use crate::jsonl::{Content as LineContent, Line, LineSplitter};
use crate::wire::{Batch, ResultLine};

/// A result line may be this long: images come back as text within the line.
const MAX_LINE: usize = 256 << 20;

/// Both files of a batch, the answers first. See [`FileClientExt::results`].
///
/// [`FileClientExt::results`]: crate::FileClientExt::results
pub(crate) fn of_batch<'a, C>(client: &'a C, batch: &Batch) -> BoxStream<'a, Result<ResultLine>>
where
    C: FileClient + ?Sized,
{
    let ids: Vec<String> = [&batch.output_file_id, &batch.error_file_id]
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    if ids.is_empty() && !batch.status.is_terminal() {
        let status = &batch.status;
        let error = DittoError::InvalidRequest(format!(
            "{} is `{status}` and has no results yet; wait for its end",
            batch.id
        ));
        return stream::once(async { Err(error) }).boxed();
    }
    stream::iter(ids)
        .then(move |id| async move {
            match client.content(&id).await {
                Ok(content) => lines(id, content).boxed(),
                Err(error) => stream::once(async { Err(error) }).boxed(),
            }
        })
        .flatten()
        .boxed()
}

/// The lines of one file. A line that cannot be read is an error in its place; the stream goes on.
fn lines(file_id: String, content: Content) -> impl stream::Stream<Item = Result<ResultLine>> {
    let reader = Reader {
        file_id,
        content: Some(content),
        splitter: LineSplitter::new(MAX_LINE),
        ready: VecDeque::new(),
    };
    stream::unfold(reader, |mut reader| async move {
        let next = reader.next().await?;
        Some((next, reader))
    })
}

struct Reader {
    file_id: String,
    /// None once the file has been read to its end, or broke off.
    content: Option<Content>,
    splitter: LineSplitter,
    ready: VecDeque<Result<ResultLine>>,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<ResultLine>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            match self.content.as_mut()?.try_next().await {
                Ok(chunk) => self.read(chunk.as_deref()),
                Err(error) => {
                    self.content = None;
                    return Some(Err(error));
                }
            }
        }
    }

    /// Takes the lines of a chunk, or the last line at the end.
    fn read(&mut self, chunk: Option<&[u8]>) {
        let (file_id, ready) = (&self.file_id, &mut self.ready);
        let mut take = |line: Line<'_>| {
            if !line.is_blank() {
                ready.push_back(parse(file_id, &line));
            }
            Ok::<(), std::convert::Infallible>(())
        };
        let Ok(()) = match chunk {
            Some(chunk) => self.splitter.feed(chunk, &mut take),
            None => self.splitter.finish(&mut take),
        };
        if chunk.is_none() {
            self.content = None;
        }
    }
}

fn parse(file_id: &str, line: &Line<'_>) -> Result<ResultLine> {
    let wrong = |why: String| {
        DittoError::InvalidResponse(format!("line {} of {file_id}: {why}", line.number))
    };
    match line.content {
        LineContent::Bytes(bytes) => {
            serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))
        }
        LineContent::TooLong => Err(wrong(format!("longer than {MAX_LINE} bytes"))),
    }
}
