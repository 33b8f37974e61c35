//! Bodies that come from a file, in pieces, whatever its size.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::body::CutShort;

const PIECE: u64 = 64 * 1024;

/// Which bytes of a file go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u64,
    /// The byte after the last one.
    pub(crate) end: u64,
    /// Of the whole file.
    pub(crate) length: u64,
    /// Asked for as a range, and answered as one.
    pub(crate) is_part: bool,
}

impl Span {
    pub(crate) fn whole(length: u64) -> Self {
        Self {
            first: 0,
            end: length,
            length,
            is_part: false,
        }
    }

    fn bytes(&self) -> u64 {
        self.end - self.first
    }
}

/// Part of a file. It is read where the body is polled: the files are fresh, so the bytes are in
/// memory, and a piece costs less than handing it to another thread.
#[derive(Debug)]
pub(crate) struct FileBody {
    file: File,
    left: u64,
    announced: Option<u64>,
    cut: Cut,
}

/// Whether the connection breaks before the end.
#[derive(Debug, PartialEq, Eq)]
enum Cut {
    No,
    /// After so many more bytes.
    After(u64),
    /// The bytes are out; the next poll breaks the connection.
    Now,
}

impl FileBody {
    /// Cut after so many bytes, if the file goes on behind them.
    pub(crate) fn open(path: &Path, span: Span, cut: Option<u64>) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(span.first))?;
        Ok(Self {
            file,
            left: span.bytes(),
            announced: Some(span.bytes()),
            cut: match cut {
                Some(kept) if kept < span.bytes() => Cut::After(kept),
                Some(_) | None => Cut::No,
            },
        })
    }

    /// The same with nothing said of its length.
    pub(crate) fn without_length(self) -> Self {
        Self {
            announced: None,
            ..self
        }
    }

    fn next_piece(&mut self) -> io::Result<Option<Bytes>> {
        let mut wanted = self.left.min(PIECE);
        if let Cut::After(kept) = self.cut {
            wanted = wanted.min(kept);
            self.cut = Cut::After(kept - wanted);
        }
        if wanted == 0 {
            return Ok(None);
        }
        let mut piece = vec![0; wanted as usize];
        self.file.read_exact(&mut piece)?;
        self.left -= wanted;
        Ok(Some(piece.into()))
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        if self.cut == Cut::Now {
            return Poll::Ready(Some(Err(CutShort)));
        }
        match self.next_piece() {
            Ok(Some(piece)) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            Ok(None) if self.left == 0 => Poll::Ready(None),
            // hyper sends what it holds only while the body has nothing ready: without this pause
            // the last pieces would never leave.
            Ok(None) => {
                self.cut = Cut::Now;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Err(error) => {
                tracing::error!(%error, "the simulator cannot read its own file");
                Poll::Ready(Some(Err(CutShort)))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.announced
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
