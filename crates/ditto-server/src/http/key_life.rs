//! The life of the key that a request came with: what a revoked key has begun does not go on.
//!
//! Nothing asks the keys again while bytes flow. Who holds them looks once a second whether they have
//! changed, and tells those whose key has ended.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::auth::refused;

/// Until when the key of a request is taken.
#[derive(Debug)]
pub(super) struct KeyLife(Option<CancellationToken>);

impl KeyLife {
    /// No key, or one that is taken for as long as we run.
    pub(super) fn endless() -> Self {
        Self(None)
    }

    pub(super) fn until(ended: Option<CancellationToken>) -> Self {
        Self(ended)
    }

    /// The answer to this request. A call that only reads, and may wait for long, is given up when the key
    /// ends; one that changes something comes to an end that can be told.
    pub(super) async fn answer(&self, request: Request, next: Next) -> Response {
        let Some(ended) = self.0.as_ref().filter(|_| request.method().is_safe()) else {
            return next.run(request).await;
        };
        tokio::select! {
            biased;
            () = ended.cancelled() => refused(
                "The API key was revoked, or its time is over, before the answer was there: ask again with \
                 another key.",
            )
            .into_response(),
            answer = next.run(request) => answer,
        }
    }

    /// A request's body, which breaks off when the key ends.
    pub(super) fn sent(&self, body: Body) -> Body {
        match &self.0 {
            Some(ended) => breaking_off(body, ended),
            None => body,
        }
    }

    /// An answer's body, which breaks off when the key ends. One that is there as a whole goes out: it may
    /// be what tells that the key has ended.
    pub(super) fn answered(&self, body: Body) -> Body {
        match body.size_hint().exact() {
            Some(_) => body,
            None => self.sent(body),
        }
    }
}

/// Why a body broke off.
#[derive(Debug)]
pub(super) struct KeyEnded;

impl KeyEnded {
    pub(super) fn is_why(error: &axum::Error) -> bool {
        std::error::Error::source(error).is_some_and(|source| source.is::<Self>())
    }
}

impl fmt::Display for KeyEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key was revoked, or its time is over")
    }
}

impl std::error::Error for KeyEnded {}

fn breaking_off(body: Body, ended: &CancellationToken) -> Body {
    Body::new(BreakingOff {
        body,
        ended: Some(Box::pin(ended.clone().cancelled_owned())),
    })
}

struct BreakingOff {
    body: Body,
    /// `None`: it was told. Whoever reads on then throws away what comes, so that the client gets to read
    /// why.
    ended: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl HttpBody for BreakingOff {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(ended) = &mut self.ended
            && ended.as_mut().poll(cx).is_ready()
        {
            self.ended = None;
            return Poll::Ready(Some(Err(KeyEnded.into())));
        }
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        frame.map_err(BoxError::from)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
