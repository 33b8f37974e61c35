//! One file, served plainly over the stack that the server stands on, until stdin ends.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::AnyError;

/// As large a piece as pays: beyond it, copies leave the cache.
const PIECE: usize = 256 * 1024;

pub(crate) fn serve(file: &Path) -> Result<Value, AnyError> {
    let path: Arc<Path> = file.into();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    println!("{}", json!({"address": listener.local_addr()?.to_string()}));
    runtime.spawn(accept(listener, path));
    io::stdin().read_to_end(&mut Vec::new())?;
    runtime.shutdown_background();
    Ok(json!({"stopped": true}))
}

async fn accept(listener: TcpListener, path: Arc<Path>) {
    while let Ok((stream, _)) = listener.accept().await {
        let path = Arc::clone(&path);
        let service = service_fn(move |_| {
            let path = Arc::clone(&path);
            async move { Ok::<_, Infallible>(answer(&path)) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn answer(path: &Path) -> http::Response<Pieces> {
    let file = File::open(path).expect("the file is there while it is served");
    let left = file.metadata().map_or(0, |found| found.len());
    http::Response::builder()
        .header("content-length", left)
        .header("content-type", "application/jsonl")
        .body(Pieces {
            left,
            next: read(file),
        })
        .expect("made of valid parts only")
}

type Reading = JoinHandle<io::Result<(File, Bytes)>>;

/// The next piece is read on a thread that may block, while the one before is sent.
struct Pieces {
    left: u64,
    next: Reading,
}

fn read(mut file: File) -> Reading {
    tokio::task::spawn_blocking(move || {
        let mut piece = Vec::with_capacity(PIECE);
        file.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        Ok((file, piece.into()))
    })
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let Poll::Ready(done) = Pin::new(&mut self.next).poll(context) else {
            return Poll::Pending;
        };
        let (file, piece) = done.map_err(io::Error::other).flatten()?;
        self.left = self.left.saturating_sub(piece.len() as u64);
        if self.left > 0 {
            self.next = read(file);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}
