//! A provider of batches: files in, batches over them, files out, and a bill.
//!
//! Time passes only when someone looks: each call, and each look at the bill, first leads every
//! batch to where it is by now. Nothing runs in between, so that what is seen depends on the order of
//! calls and on the clock, never on a race.

mod batch;
mod bill;
mod call;
mod clock;
mod create;
mod disguise;
mod fault;
mod faults;
mod lines;
mod mischief;
mod obstacle;
mod pace;
mod page;
mod rows;
mod run;
mod settings;
mod show;
mod spoil;
mod state;
mod store;
mod upload;
mod validate;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderMap, RANGE};
use http::{Request, StatusCode};
use hyper::body::Incoming;

pub use bill::{BatchBill, Bill, MetadataBill};
pub(crate) use call::Call;
pub use fault::ProviderFault;
pub use faults::ProviderFaults;
pub use pace::Pace;
pub use settings::ProviderConfig;

use crate::body::AnswerBody;
use crate::config::SimConfig;
use crate::envelope::Complaint;
use crate::file_body::{FileBody, Span};
use crate::reply::{
    Reply, UNCOUNTED_ID, complain, complain_plainly, file_reply, json_reply, redirect, with_id,
    with_retry_after,
};
use crate::service::{Reset, read};
use state::State;

/// A provider's whole state, shared by the connections.
#[derive(Debug)]
pub(crate) struct Provider {
    state: Mutex<State>,
}

/// How a call ends.
pub(crate) enum End {
    Json(Vec<u8>),
    File(Box<Sheet>),
    Complaint(Complaint),
    /// An answer that is no API's, as of a gateway.
    Plain(Complaint),
    /// 429, and when to come again.
    Later(Complaint),
    /// 302 to this address.
    Elsewhere(String),
    /// The connection is reset without an answer.
    Reset,
    /// No answer, ever.
    Hang,
}

impl From<Complaint> for End {
    fn from(complaint: Complaint) -> Self {
        Self::Complaint(complaint)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Complaint(disk(&error))
    }
}

/// A file that goes out.
#[derive(Debug)]
pub(crate) struct Sheet {
    pub(crate) file: store::Stored,
    pub(crate) span: Span,
    pub(crate) cut: Option<u64>,
    pub(crate) has_ranges: bool,
    pub(crate) has_length: bool,
}

impl Sheet {
    fn reply(&self) -> io::Result<Reply> {
        let body = FileBody::open(&self.file.path, self.span, self.cut)?;
        let body = if self.has_length {
            body
        } else {
            body.without_length()
        };
        let tag = self.has_ranges.then_some(self.file.id.as_str());
        Ok(file_reply(body, tag, self.span))
    }
}

/// What came with a call, beside its address.
#[derive(Debug, Default)]
pub(crate) struct Parcel {
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Provider {
    pub(crate) fn new(config: &SimConfig) -> Self {
        Self {
            state: Mutex::new(State::new(config.clone())),
        }
    }

    /// Answers one call; an error resets the connection.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        call: Call,
        request: Request<Incoming>,
    ) -> Result<Reply, Reset> {
        let end = match self.lead(call, request).await {
            Ok(end) | Err(end) => end,
        };
        let reply = match end {
            End::Json(body) => json_reply(StatusCode::OK, AnswerBody::whole(body)),
            End::File(sheet) => sheet
                .reply()
                .unwrap_or_else(|error| complain(&disk(&error))),
            End::Complaint(complaint) => complain(&complaint),
            End::Plain(complaint) => complain_plainly(&complaint),
            End::Later(complaint) => with_retry_after(complain(&complaint), SOON),
            End::Elsewhere(address) => redirect(&address),
            End::Reset => return Err(Reset),
            End::Hang => std::future::pending().await,
        };
        Ok(with_id(reply, UNCOUNTED_ID))
    }

    async fn lead(self: &Arc<Self>, call: Call, request: Request<Incoming>) -> Result<End, End> {
        if call == Call::Upload {
            let key = key_of(request.headers());
            let headers = request.headers().clone();
            let may = self.work(move |state| state.before_upload(&key, &headers));
            let (folder, max_bytes) = may.await?;
            let upload = upload::receive(request, &folder, max_bytes).await?;
            return self.work(move |state| state.keep(upload)).await;
        }
        let (head, body) = request.into_parts();
        let parcel = Parcel {
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: head.headers,
            body: read(body).await?.to_vec(),
        };
        self.work(move |state| state.answer(&call, &parcel)).await
    }

    /// Works on the state where it may block: a batch that is due is run here.
    async fn work<T: Send + 'static>(
        self: &Arc<Self>,
        job: impl FnOnce(&mut State) -> Result<T, End> + Send + 'static,
    ) -> Result<T, End> {
        let this = Arc::clone(self);
        let job = move || {
            let mut state = this.lock();
            state.catch_up();
            job(&mut state)
        };
        match tokio::task::spawn_blocking(job).await {
            Ok(end) => end,
            Err(error) => Err(End::from(io::Error::other(error))),
        }
    }

    /// What it has billed, with every batch led to where it is by now.
    pub(crate) fn bill(&self) -> Bill {
        let mut state = self.lock();
        state.catch_up();
        state.bill()
    }

    pub(crate) fn set_faults(&self, faults: ProviderFaults) {
        self.lock().set_faults(faults);
    }

    pub(crate) fn advance(&self, span: Duration) {
        self.lock().advance(span);
    }

    pub(crate) fn reset(&self) {
        self.lock().forget_all();
    }

    /// The state is whole between two calls, whatever panicked.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a client that is too fast may come again.
const SOON: Duration = Duration::from_secs(1);

fn key_of(headers: &HeaderMap) -> String {
    let key = headers.get(AUTHORIZATION).and_then(|key| key.to_str().ok());
    key.unwrap_or("no key")
        .trim_start_matches("Bearer ")
        .to_owned()
}

fn disk(error: &io::Error) -> Complaint {
    let message = format!("The simulator's disk failed: {error}.");
    Complaint::invalid(message).with_status(500)
}

/// The span of a file that a `Range` header asks for: one range, else all of it.
pub(crate) fn asked_span(headers: &HeaderMap, length: u64) -> Result<Span, Complaint> {
    let Some(range) = headers.get(RANGE).and_then(|range| range.to_str().ok()) else {
        return Ok(Span::whole(length));
    };
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|r| r.split_once('-')) else {
        return Ok(Span::whole(length));
    };
    let Ok(first) = first.parse::<u64>() else {
        return Ok(Span::whole(length));
    };
    let end = last
        .parse::<u64>()
        .map_or(length, |last| last + 1)
        .min(length);
    if first >= end {
        let message = format!("The file has {length} bytes; `{range}` is not among them.");
        return Err(Complaint::invalid(message).with_status(416));
    }
    Ok(Span {
        first,
        end,
        length,
        is_part: true,
    })
}
