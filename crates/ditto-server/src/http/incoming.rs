//! A request's body as it comes in, with a limit on everything that a slow or hostile client could
//! stretch.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{HeaderMap, header};
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::auth::refused;
use super::error::{Answer, Failure, Problem};
use super::key_life::KeyEnded;

/// A client that sends nothing for this long has gone away.
const IDLE: Duration = Duration::from_secs(60);
/// And one that sends fewer bytes than this in as much time of waiting for it holds a place: even a
/// bad line of a telephone is ten times as fast.
const SLOWEST: u64 = 16 << 10;
/// A small body is there at once, or its client means something else.
const WHOLE: Duration = Duration::from_secs(60);
/// What a reader may take in before it says that it got somewhere. Part headers of a form are
/// small; a client that sends more has no form in mind. Larger than a few reads of a socket.
const BACKLOG: u64 = 4 << 20;
/// How much of a refused body is read and thrown away. A client that is still sending when the
/// connection closes sees a reset in place of our answer.
const DRAIN_BYTES: u64 = 64 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// The bytes of a body. Gives one chunk each time it is polled, since some readers poll until there
/// is nothing and would take a fast client's whole body into memory.
#[derive(Debug)]
pub(super) struct Incoming {
    body: BodyDataStream,
    idle: Pin<Box<Sleep>>,
    gave: bool,
    backlog: Arc<AtomicU64>,
    /// The client sends nothing until we begin to read.
    waits_for_us: bool,
    speed: Speed,
}

/// How fast a client sends while it is waited for.
#[derive(Debug, Default)]
struct Speed {
    since: Option<Instant>,
    waited: Duration,
    bytes: u64,
}

impl Speed {
    fn waits(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// Whether it is fast enough, with what has just come.
    fn suffices(&mut self, bytes: u64) -> bool {
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
        self.bytes += bytes;
        if self.waited < IDLE {
            return true;
        }
        let brought = std::mem::take(self).bytes;
        brought >= SLOWEST
    }
}

/// Told by a reader that it got somewhere.
#[derive(Debug, Clone)]
pub(super) struct Progress(Arc<AtomicU64>);

impl Progress {
    pub(super) fn made(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Why no more bytes come.
#[derive(Debug)]
pub(super) enum Broken {
    Idle,
    Slow,
    NoProgress,
    KeyEnded,
    Cut(axum::Error),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("the client sent nothing for too long"),
            Self::Slow => f.write_str("the client sent too slowly"),
            Self::NoProgress => f.write_str("the body has no end of a header or part"),
            Self::KeyEnded => KeyEnded.fmt(f),
            Self::Cut(error) => write!(f, "the connection broke: {error}"),
        }
    }
}

impl std::error::Error for Broken {}

impl From<axum::Error> for Broken {
    fn from(error: axum::Error) -> Self {
        match KeyEnded::is_why(&error) {
            true => Self::KeyEnded,
            false => Self::Cut(error),
        }
    }
}

impl From<&Broken> for Failure {
    fn from(broken: &Broken) -> Self {
        match broken {
            Broken::Idle => Self::new(
                Problem::TooSlow,
                format!("No byte of the body came for {} seconds.", IDLE.as_secs()),
            ),
            Broken::Slow => Self::new(
                Problem::TooSlow,
                format!(
                    "The body came more slowly than {SLOWEST} bytes in {} seconds.",
                    IDLE.as_secs()
                ),
            ),
            Broken::NoProgress => {
                Self::invalid("The body is not a form: a part has no end, or headers too large.")
            }
            Broken::KeyEnded => refused(
                "The API key was revoked, or its time is over, while the body was on its way. Nothing of \
                 it was kept: send it again with another key.",
            ),
            Broken::Cut(_) => Self::invalid("The body ended before its end."),
        }
    }
}

impl Incoming {
    pub(super) fn new(headers: &HeaderMap, body: Body) -> Self {
        Self {
            body: body.into_data_stream(),
            idle: Box::pin(sleep(IDLE)),
            gave: false,
            backlog: Arc::default(),
            waits_for_us: headers.contains_key(header::EXPECT),
            speed: Speed::default(),
        }
    }

    /// Where a reader reports that it got somewhere.
    pub(super) fn progress(&self) -> Progress {
        Progress(self.backlog.clone())
    }

    /// A small body, whole.
    pub(super) async fn whole(&mut self, limit: usize) -> Answer<Vec<u8>> {
        let whole = timeout(WHOLE, self.read_whole(limit)).await;
        whole.unwrap_or_else(|_| {
            Err(Failure::new(
                Problem::TooSlow,
                format!("The body did not come within {} seconds.", WHOLE.as_secs()),
            ))
        })
    }

    async fn read_whole(&mut self, limit: usize) -> Answer<Vec<u8>> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.next().await {
            let chunk = chunk.map_err(|broken| Failure::from(&broken))?;
            if whole.len() + chunk.len() > limit {
                return Err(Failure::new(
                    Problem::TooLarge,
                    format!("The request body is larger than the limit of {limit} bytes."),
                )
                .with_code("request_too_large"));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    }

    /// Reads on for a while before a refusal, so that the client gets to read it.
    pub(super) async fn drain(&mut self) {
        if self.waits_for_us {
            return;
        }
        let mut left = DRAIN_BYTES;
        let throw_away = async {
            while let Some(Ok(chunk)) = self.next().await {
                self.backlog.store(0, Ordering::Relaxed);
                left = left.saturating_sub(chunk.len() as u64);
                if left == 0 {
                    break;
                }
            }
        };
        // Over time: the client may miss the answer; that is all it loses.
        let _ = timeout(DRAIN_TIME, throw_away).await;
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.gave) {
            // From here on the client is waited for; while the reader was busy, it was not idle.
            self.idle.as_mut().reset(Instant::now() + IDLE);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.waits_for_us = false;
        let Poll::Ready(next) = self.body.poll_next_unpin(cx) else {
            self.speed.waits();
            ready!(self.idle.as_mut().poll(cx));
            return Poll::Ready(Some(Err(Broken::Idle)));
        };
        self.gave = true;
        Poll::Ready(match next {
            None => None,
            Some(Err(error)) => Some(Err(error.into())),
            Some(Ok(chunk)) => {
                let size = chunk.len() as u64;
                if !self.speed.suffices(size) {
                    return Poll::Ready(Some(Err(Broken::Slow)));
                }
                let behind = self.backlog.fetch_add(size, Ordering::Relaxed);
                // One chunk may be of any size: an in-process client hands over a body whole.
                if behind > BACKLOG {
                    Some(Err(Broken::NoProgress))
                } else {
                    Some(Ok(chunk))
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_falls_silent_is_given_up() {
        let silent = Body::from_stream(futures_util::stream::pending::<Result<Bytes, Broken>>());
        let mut incoming = Incoming::new(&HeaderMap::new(), silent);
        assert!(matches!(incoming.next().await, Some(Err(Broken::Idle))));
    }

    /// A byte each half of the time after which a client is taken for gone.
    fn trickle() -> Body {
        let bytes = futures_util::stream::unfold((), |()| async {
            sleep(IDLE / 2).await;
            Some((Ok::<_, Broken>(Bytes::from_static(b" ")), ()))
        });
        Body::from_stream(bytes)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_only_trickles_is_given_up() {
        let began = Instant::now();
        let mut incoming = Incoming::new(&HeaderMap::new(), trickle());
        let broken = loop {
            match incoming.next().await.unwrap() {
                Ok(_) => {}
                Err(broken) => break broken,
            }
        };
        assert!(matches!(broken, Broken::Slow), "{broken}");
        assert!(began.elapsed() <= IDLE, "{:?}", began.elapsed());
        let small = Incoming::new(&HeaderMap::new(), trickle())
            .whole(1000)
            .await;
        assert!(small.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_we_do_not_read_is_not_the_clients() {
        let chunks = (0..9).map(|_| Ok::<_, Broken>(Bytes::from_static(b"x")));
        let body = Body::from_stream(futures_util::stream::iter(chunks));
        let mut incoming = Incoming::new(&HeaderMap::new(), body);
        for _ in 0..9 {
            sleep(IDLE).await;
            incoming.next().await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn a_reader_that_gets_nowhere_is_stopped() {
        let chunks = (0..20).map(|_| Ok::<_, Broken>(Bytes::from(vec![b'x'; 1 << 20])));
        let body = Body::from_stream(futures_util::stream::iter(chunks));
        let mut incoming = Incoming::new(&HeaderMap::new(), body);
        let mut taken = 0;
        while let Some(Ok(chunk)) = incoming.next().await {
            taken += chunk.len() as u64;
        }
        assert!(taken <= BACKLOG + (2 << 20), "{taken}");
    }

    #[tokio::test]
    async fn a_small_body_is_held_to_its_limit() {
        let read = async |limit| {
            Incoming::new(&HeaderMap::new(), Body::from("12345"))
                .whole(limit)
                .await
        };
        assert_eq!(read(5).await.unwrap(), b"12345");
        assert!(read(4).await.is_err());
    }
}
