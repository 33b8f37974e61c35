//! One connection to an upstream, which works while whoever has it waits.
//!
//! It is no task: an answer wakes the slot that waits for it and nobody else, and what is under way on
//! it ends when it is dropped.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::rt::{Read, Write};

/// Speaks HTTP/1.1, one request after the other.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once the connection has ended.
    work: Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>,
}

impl Connection {
    pub(super) async fn over(
        io: impl Read + Write + Send + Unpin + 'static,
    ) -> hyper::Result<Self> {
        let (sender, work) = handshake(io).await?;
        Ok(Self {
            sender,
            work: Some(Box::pin(work)),
        })
    }

    /// The head of the answer. An error has the request in it if nothing of it was sent.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        let answer = self.sender.try_send_request(request);
        self.working(answer).await
    }

    /// Waits for this while the connection works. It comes to an end, well or badly, once the
    /// connection does.
    pub(super) async fn working<T>(&mut self, wanted: impl Future<Output = T>) -> T {
        let mut wanted = pin!(wanted);
        poll_fn(|context| {
            // In this order: what has just arrived is taken at once.
            let _ = self.work(context);
            wanted.as_mut().poll(context)
        })
        .await
    }

    /// Whether it takes a request. What the server has done meanwhile, such as to close it, counts.
    pub(super) async fn is_usable(&mut self) -> bool {
        poll_fn(|context| Poll::Ready(self.work(context).is_pending() && self.sender.is_ready()))
            .await
    }

    /// Ends when the server closes it.
    pub(super) async fn closed(&mut self) {
        poll_fn(|context| self.work(context)).await;
    }

    fn work(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(work) = &mut self.work else {
            return Poll::Ready(());
        };
        let ended = work.as_mut().poll(context);
        // An error is told to whoever waits for the answer; without one it only means the end.
        ended.map(|_| self.work = None)
    }
}

#[cfg(test)]
mod tests {
    use hyper_util::rt::TokioIo;

    use super::*;

    #[tokio::test]
    async fn a_request_of_which_nothing_was_sent_is_given_back() {
        let (ours, theirs) = tokio::io::duplex(1024);
        let mut connection = Connection::over(TokioIo::new(ours)).await.unwrap();
        drop(theirs);
        let request = Request::new(Full::new(Bytes::from_static(b"{}")));
        let mut error = connection.send(request).await.unwrap_err();
        assert!(error.take_message().is_some());
        assert!(!connection.is_usable().await);
    }
}
