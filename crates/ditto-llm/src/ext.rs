//! Comfort built upon the clients' traits: whole lists, waiting, results.

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::error::{DittoError, Result};
use crate::files::{FileClient, ListFiles};
use crate::wire::FileObject;

#[cfg(feature = "batches")]
use crate::{
    batches::BatchClient,
    results,
    wait::{self, WaitPolicy},
    wire::{Batch, ResultLine},
};

/// Comfort for every [`BatchClient`], `dyn` ones included.
///
/// ```no_run
/// # use ditto_llm::{BatchClient, FileClient};
/// use ditto_llm::{BatchClientExt as _, FileClientExt as _, WaitPolicy};
/// use futures_util::StreamExt as _;
///
/// # async fn show(files: impl FileClient, batches: impl BatchClient) -> ditto_llm::Result<()> {
/// let batch = batches.wait("batch_abc", WaitPolicy::default()).await?;
/// let mut results = files.results(&batch);
/// while let Some(line) = results.next().await {
///     let line = line?;
///     println!("{:?}: {}", line.custom_id, line.is_success());
/// }
/// # Ok(()) }
/// ```
#[cfg(feature = "batches")]
pub trait BatchClientExt: BatchClient {
    /// All batches, newest first, page after page. The stream ends after an error.
    fn list_all(&self) -> BoxStream<'_, Result<Batch>> {
        pages(move |after| async move {
            let page = self.list(Some(100), after).await?;
            Ok((page.batches, page.after))
        })
    }

    /// Waits until a batch has ended, however it ended, and returns it as it then is.
    ///
    /// Passing errors are waited out. A batch that ended in failure is no error here: look at its
    /// status.
    ///
    /// # Errors
    /// [`DittoError::WaitedTooLong`] at the deadline; else what the provider refuses for good.
    fn wait(
        &self,
        batch_id: &str,
        policy: WaitPolicy,
    ) -> impl Future<Output = Result<Batch>> + Send {
        wait::until_ended(self, batch_id, policy)
    }
}

#[cfg(feature = "batches")]
impl<C: BatchClient + ?Sized> BatchClientExt for C {}

/// Comfort for every [`FileClient`], `dyn` ones included.
pub trait FileClientExt: FileClient {
    /// All files that `query` selects, page after page. The stream ends after an error.
    fn list_all_files(&self, query: ListFiles) -> BoxStream<'_, Result<FileObject>> {
        let first = query.after.clone();
        pages_from(first, move |after| {
            let query = ListFiles {
                after,
                ..query.clone()
            };
            async move {
                let page = self.list(query).await?;
                let after = page.data.last().map(|file| file.id.clone());
                Ok((page.data, after.filter(|_| page.has_more)))
            }
        })
    }

    /// The result lines of a batch that has ended, answered ones first, then failed ones. Their
    /// order within a file means nothing: go by `custom_id`.
    ///
    /// Lines are read while the files arrive. A line that cannot be read is an error item that
    /// names its number, and the stream goes on behind it.
    #[cfg(feature = "batches")]
    fn results(&self, batch: &Batch) -> BoxStream<'_, Result<ResultLine>> {
        results::of_batch(self, batch)
    }
}

impl<C: FileClient + ?Sized> FileClientExt for C {}

#[cfg(feature = "batches")]
fn pages<'a, T, F, P>(page: P) -> BoxStream<'a, Result<T>>
where
    T: Send + 'a,
    P: FnMut(Option<String>) -> F + Send + 'a,
    F: Future<Output = Result<(Vec<T>, Option<String>)>> + Send + 'a,
{
    pages_from(None, page)
}

/// Objects of all pages, each page asked for with the cursor of the one before.
fn pages_from<'a, T, F, P>(first: Option<String>, page: P) -> BoxStream<'a, Result<T>>
where
    T: Send + 'a,
    P: FnMut(Option<String>) -> F + Send + 'a,
    F: Future<Output = Result<(Vec<T>, Option<String>)>> + Send + 'a,
{
    stream::try_unfold(Some((first, page)), |state| async move {
        let Some((after, mut page)) = state else {
            return Ok(None);
        };
        let (objects, next) = page(after.clone()).await?;
        if next.is_some() && next == after {
            return Err(DittoError::InvalidResponse(
                "the list does not go on: the provider ignores `after`".to_owned(),
            ));
        }
        let objects = stream::iter(objects.into_iter().map(Ok));
        Ok(Some((objects, next.map(|after| (Some(after), page)))))
    })
    .try_flatten()
    .boxed()
}
