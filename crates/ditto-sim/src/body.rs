//! Bodies as they go out: whole, cut in the middle, or longer than memory should hold.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::file_body::FileBody;

/// Padding is sent in pieces of this size, all of them the same static bytes.
const PIECE: usize = 64 * 1024;
static FILL: [u8; PIECE] = [b'.'; PIECE];

/// The body of a reply: made here, or read from a file.
#[derive(Debug)]
pub(crate) enum ReplyBody {
    Made(AnswerBody),
    Stored(FileBody),
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        match self.get_mut() {
            Self::Made(body) => Pin::new(body).poll_frame(cx),
            Self::Stored(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Made(body) => body.is_end_stream(),
            Self::Stored(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Made(body) => body.size_hint(),
            Self::Stored(body) => body.size_hint(),
        }
    }
}

/// A body, and what is said of its length: all of it, also where it is not kept, or nothing.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    head: Bytes,
    padding: u64,
    tail: &'static [u8],
    cut: Cut,
    is_chunked: bool,
}

/// Whether the connection breaks in the middle, and how many announced bytes are then missing.
#[derive(Debug, PartialEq, Eq)]
enum Cut {
    No,
    AfterHead {
        missing: u64,
    },
    /// The head is out; the next poll breaks the connection.
    Now {
        missing: u64,
    },
}

/// The connection breaks in the middle of a body.
#[derive(Debug)]
pub(crate) struct CutShort;

impl std::fmt::Display for CutShort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the body was cut short, as asked for")
    }
}

impl std::error::Error for CutShort {}

impl AnswerBody {
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self {
            head: bytes.into(),
            padding: 0,
            tail: b"",
            cut: Cut::No,
            is_chunked: false,
        }
    }

    /// `head`, then so many bytes of filling, then `tail`.
    pub(crate) fn padded(head: Vec<u8>, padding: u64, tail: &'static [u8]) -> Self {
        Self {
            head: head.into(),
            padding,
            tail,
            cut: Cut::No,
            is_chunked: false,
        }
    }

    /// The first half of it, though all of it is announced.
    pub(crate) fn cut(self) -> Self {
        let whole = self.length();
        let kept = whole / 2;
        let of_head = self
            .head
            .len()
            .min(usize::try_from(kept).unwrap_or(usize::MAX));
        Self {
            head: self.head.slice(..of_head),
            // The tail is far shorter than half.
            padding: self.padding.min(kept - of_head as u64),
            tail: b"",
            cut: Cut::AfterHead {
                missing: whole - kept,
            },
            ..self
        }
    }

    /// The same with nothing said of its length, in chunks.
    pub(crate) fn chunked(self) -> Self {
        Self {
            is_chunked: true,
            ..self
        }
    }

    /// Of what is left to be sent.
    fn length(&self) -> u64 {
        self.head.len() as u64 + self.padding + self.tail.len() as u64
    }

    fn next_piece(&mut self) -> Option<Bytes> {
        if !self.head.is_empty() {
            return Some(std::mem::take(&mut self.head));
        }
        if self.padding > 0 {
            let piece = self.padding.min(PIECE as u64) as usize;
            self.padding -= piece as u64;
            return Some(Bytes::from_static(&FILL[..piece]));
        }
        let tail = std::mem::take(&mut self.tail);
        (!tail.is_empty()).then(|| Bytes::from_static(tail))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        if let Some(piece) = self.next_piece() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match self.cut {
            Cut::No => Poll::Ready(None),
            Cut::AfterHead { missing } => {
                // hyper sends what it holds only while the body has nothing ready: without this
                // pause the first half would never leave.
                self.cut = Cut::Now { missing };
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Cut::Now { .. } => Poll::Ready(Some(Err(CutShort))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.length() == 0 && self.cut == Cut::No
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_chunked {
            return SizeHint::default();
        }
        let missing = match self.cut {
            Cut::No => 0,
            Cut::AfterHead { missing } | Cut::Now { missing } => missing,
        };
        SizeHint::with_exact(self.length() + missing)
    }
}
