//! An answer's body that holds something until it has gone out, or its client has.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

/// The same body, which is dropped together with what it holds.
pub(super) fn held<T: Send + Unpin + 'static>(body: Body, until_then: T) -> Body {
    Body::new(Held {
        body,
        _until_then: until_then,
    })
}

struct Held<T> {
    body: Body,
    _until_then: T,
}

impl<T: Unpin> HttpBody for Held<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
