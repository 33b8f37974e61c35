//! One request: routed, counted, and led to its end.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::HeaderName;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use xxhash_rust::xxh3::xxh3_64;

use crate::answer::Answer;
use crate::ask::{Endpoint, Question};
use crate::body::AnswerBody;
use crate::capacity::{Capacity, Gate};
use crate::config::SimConfig;
use crate::course::{Asking, Course, Ending};
use crate::envelope::Complaint;
use crate::faults::{Fault, Faults};
use crate::ledger::{Ledger, Owed};
use crate::models;
use crate::prefix_cache::PrefixCache;
use crate::provider::{Call, Provider, ProviderFaults};
use crate::rate_limit::{Meter, Metered};
use crate::reply::{
    Reply, UNCOUNTED_ID, complain, complain_plainly, json_reply, request_id, untold, with_id,
    with_retry_after,
};
use crate::script::Script;
use crate::stats::Stats;
use crate::tally::Tally;

const SCRIPT_HEADER: HeaderName = HeaderName::from_static("x-sim");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Where single requests are asked after.
const ASKED: &str = "/sim/asked";

/// Larger than any line that the batch file limits allow (16 MiB), with room for escapes.
const MAX_BODY: usize = 64 * 1024 * 1024;
/// Bytes that are neither JSON nor UTF-8.
const GARBAGE: &[u8] = b"<<<\xff\xfe not json \x80>>>";

/// A simulator's whole state, shared by its connections.
#[derive(Debug)]
pub(crate) struct World {
    config: SimConfig,
    gate: Gate,
    faults: RwLock<Faults>,
    meter: Meter,
    prefixes: PrefixCache,
    ledger: Ledger,
    tally: Tally,
    provider: Arc<Provider>,
}

/// The connection is to be reset, without an answer.
#[derive(Debug)]
pub(crate) struct Reset;

impl std::fmt::Display for Reset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is reset, as asked for")
    }
}

impl std::error::Error for Reset {}

impl World {
    pub(crate) fn new(config: SimConfig) -> Self {
        let gate = Gate::new(config.capacity);
        let provider = Arc::new(Provider::new(&config));
        Self {
            gate,
            faults: RwLock::new(config.faults.clone()),
            meter: Meter::new(config.limits),
            prefixes: PrefixCache::new(config.prefix_cache),
            config,
            ledger: Ledger::new(),
            tally: Tally::new(),
            provider,
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        self.ledger.tell(&mut stats);
        self.tally.tell(&mut stats);
        stats.prefix_hits = self.prefixes.hits();
        stats.batches = self.provider.bill();
        stats
    }

    pub(crate) fn reset(&self) {
        self.ledger.forget_all();
        self.tally.clear();
        self.prefixes.forget_all();
        self.provider.reset();
    }

    pub(crate) fn asked(&self, idempotency_key: &str) -> u32 {
        self.ledger.asked(xxh3_64(idempotency_key.as_bytes()))
    }

    pub(crate) fn set_capacity(&self, capacity: Option<Capacity>) {
        self.gate.set(capacity);
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        *self.faults.write().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    pub(crate) fn set_provider_faults(&self, faults: ProviderFaults) {
        self.provider.set_faults(faults);
    }

    /// Lets time pass for the provider of batches.
    pub(crate) fn advance(&self, span: Duration) {
        self.provider.advance(span);
    }

    /// Answers one request; an error resets the connection.
    pub(crate) async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Result<Reply, Reset> {
        if let Some(call) = Call::at(request.method(), request.uri().path()) {
            return self.provider.serve(call, request).await;
        }
        match (Endpoint::at(request.uri().path()), request.method()) {
            (Some(endpoint), &Method::POST) => self.ask(endpoint, request).await,
            (None, &Method::POST) if request.uri().path() == ASKED => {
                let told = self.tell_asked(request).await;
                Ok(told.unwrap_or_else(|complaint| untold(&complaint)))
            }
            (Some(_), _) => Ok(untold(&not_allowed(&request))),
            (None, _) => Ok(self
                .tell(&request)
                .unwrap_or_else(|complaint| untold(&complaint))),
        }
    }

    /// What is told without a model.
    fn tell(&self, request: &Request<Incoming>) -> Result<Reply, Complaint> {
        let get = request.method() == Method::GET;
        let body = match request.uri().path() {
            "/v1/models" if get => models::list(&self.config.models),
            "/sim/stats" if get => self.stats_json(),
            "/sim/reset" if request.method() == Method::POST => {
                self.reset();
                self.stats_json()
            }
            "/v1/models" | "/sim/stats" | "/sim/reset" | ASKED => {
                return Err(not_allowed(request));
            }
            path => match path.strip_prefix("/v1/models/") {
                Some(id) if get => models::one(&self.config.models, id)?,
                Some(_) => return Err(not_allowed(request)),
                None => return Err(unknown_url(request)),
            },
        };
        Ok(with_id(
            json_reply(StatusCode::OK, AnswerBody::whole(body)),
            UNCOUNTED_ID,
        ))
    }

    fn stats_json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.stats()).expect("counters are always JSON")
    }

    /// What is known of the requests whose `Idempotency-Key`s the body names, one a line.
    async fn tell_asked(&self, request: Request<Incoming>) -> Result<Reply, Complaint> {
        let keys = read(request.into_body()).await?;
        let keys = keys.split(|byte| *byte == b'\n');
        let identities = keys.filter(|key| !key.is_empty()).map(xxh3_64);
        let known = self.ledger.look_up(identities);
        let body = serde_json::to_vec(&known).expect("counters are always JSON");
        let reply = json_reply(StatusCode::OK, AnswerBody::whole(body));
        Ok(with_id(reply, UNCOUNTED_ID))
    }

    /// A question to the model: counted whatever becomes of it.
    async fn ask(&self, endpoint: Endpoint, request: Request<Incoming>) -> Result<Reply, Reset> {
        let _flight = self.tally.enter();
        let (head, body) = request.into_parts();
        let body = match read(body).await {
            Ok(body) => body,
            Err(complaint) => {
                self.tally.status(complaint.status);
                return Ok(untold(&complaint));
            }
        };
        let body_hash = xxh3_64(&body);
        let key = head.headers.get(IDEMPOTENCY_KEY);
        let identity = key.map_or(body_hash, |key| xxh3_64(key.as_bytes()));
        let asking = Asking {
            identity,
            nth: self.ledger.ask(identity),
        };

        let sheet = Sheet {
            endpoint,
            headers: &head.headers,
            body: &body,
            body_hash,
        };
        let mut owed = self.ledger.owe(identity);
        let acted = self.act(&sheet, asking, &mut owed).await;
        owed.settle();
        let reply = match acted {
            Ok(reply) => reply,
            Err(End::Complaint(complaint)) => complain(&complaint),
            Err(End::Reset) => return Err(Reset),
        };
        self.tally.status(reply.status().as_u16());
        Ok(with_id(reply, request_id(asking)))
    }

    /// Takes it within the limits, and says what is left of them.
    async fn act(
        &self,
        sheet: &Sheet<'_>,
        asking: Asking,
        owed: &mut Owed<'_>,
    ) -> Result<Reply, End> {
        let script = sheet.script()?;
        let answer = self.answer(sheet)?;
        let tokens = answer.prompt_tokens + answer.completion_tokens;
        let Metered { is_over, told } = self.meter.spend(tokens, Instant::now());
        let mut reply = match is_over {
            true => self.over_a_limit(),
            false => self.work(script, answer, asking, owed).await?,
        };
        reply.headers_mut().extend(told);
        Ok(reply)
    }

    fn answer(&self, sheet: &Sheet<'_>) -> Result<Answer, Complaint> {
        let mut question = Question::read(sheet.endpoint, sheet.body)?;
        question.cached_tokens = match sheet.endpoint {
            Endpoint::ChatCompletions | Endpoint::Responses => self.prefixes.look(&question.pieces),
            Endpoint::Completions | Endpoint::Embeddings | Endpoint::Moderations => 0,
        };
        Ok(Answer::to(sheet.endpoint, &question, sheet.body_hash))
    }

    /// Waits as the course says, then ends as it says. The place at the gate is held throughout.
    async fn work(
        &self,
        script: Option<Script>,
        answer: Answer,
        asking: Asking,
        owed: &mut Owed<'_>,
    ) -> Result<Reply, End> {
        let Ok(place) = self.gate.enter().await else {
            return Ok(self.refuse());
        };
        let course = self.course(asking, script.as_ref());
        let wait = course.wait + self.config.latency.under(place.crowd);
        match course.ending {
            Ending::Answer => {
                pause(wait + self.writing_time(&answer)).await;
                self.ledger.answer(asking.identity);
                Ok(json_reply(StatusCode::OK, answer.into_body(course.shape)))
            }
            Ending::Fail {
                fault,
                retry_after,
                plain,
            } => {
                pause(wait).await;
                self.tally.fault(fault);
                if fault == Fault::Hang {
                    owed.settle();
                }
                fail(fault, retry_after, plain, || answer.into_body(course.shape)).await
            }
        }
    }

    fn course(&self, asking: Asking, script: Option<&Script>) -> Course {
        let faults = self.faults.read().unwrap_or_else(PoisonError::into_inner);
        Course::with_faults(&self.config, &faults, asking, script)
    }

    fn over_a_limit(&self) -> Reply {
        let message = "Simulated limit: too many requests or tokens in this time.".into();
        let reply = complain(&Complaint {
            message,
            ..Complaint::simulated(429)
        });
        match self.config.retry_after() {
            Some(after) => with_retry_after(reply, after),
            None => reply,
        }
    }

    fn refuse(&self) -> Reply {
        let message = "Simulated capacity: too many requests at once.".into();
        let complaint = Complaint {
            message,
            ..Complaint::simulated(429)
        };
        let seconds = self.config.retry_after_secs.unwrap_or(1);
        with_retry_after(complain(&complaint), Duration::from_secs(seconds.into()))
    }

    fn writing_time(&self, answer: &Answer) -> Duration {
        let Some(speed) = self.config.tokens_per_second else {
            return Duration::ZERO;
        };
        let seconds = answer.completion_tokens as f64 / speed;
        Duration::try_from_secs_f64(seconds)
            .unwrap_or(LONGEST_WRITING)
            .min(LONGEST_WRITING)
    }
}

/// No answer is written for longer, however slow the pen.
const LONGEST_WRITING: Duration = Duration::from_secs(3600);

/// One request as it arrived.
struct Sheet<'a> {
    endpoint: Endpoint,
    headers: &'a HeaderMap,
    body: &'a [u8],
    body_hash: u64,
}

/// A request that is not led to a reply of its course.
enum End {
    Complaint(Complaint),
    Reset,
}

impl From<Complaint> for End {
    fn from(complaint: Complaint) -> Self {
        Self::Complaint(complaint)
    }
}

impl Sheet<'_> {
    /// The script in the header, else the one in the text.
    fn script(&self) -> Result<Option<Script>, Complaint> {
        let Some(header) = self.headers.get(SCRIPT_HEADER) else {
            return Ok(Script::find(self.body));
        };
        let words = std::str::from_utf8(header.as_bytes()).unwrap_or("(not UTF-8)");
        let script = words
            .parse()
            .map_err(|error| Complaint::invalid(format!("x-sim: {error}")));
        Ok(Some(script?))
    }
}

/// By how much a timer is late on the average: it goes by whole milliseconds, as does the wait for it, and both are
/// rounded up.
const LATE: Duration = Duration::from_micros(1_200);

/// Waits for so long on the average, not at the least: a latency is held against what comes of it.
async fn pause(wait: Duration) {
    if !wait.is_zero() {
        tokio::time::sleep(wait.saturating_sub(LATE)).await;
    }
}

/// Acts out a fault; `answer` is what would have been given, for the one that gives half of it.
async fn fail(
    fault: Fault,
    retry_after: Option<Duration>,
    plain: bool,
    answer: impl FnOnce() -> AnswerBody,
) -> Result<Reply, End> {
    let complaint = match fault {
        // Until the caller gives up: hyper drops this future when the connection closes.
        Fault::Hang => std::future::pending().await,
        Fault::Reset => return Err(End::Reset),
        Fault::Cut => return Ok(json_reply(StatusCode::OK, answer().cut())),
        Fault::Garbage => return Ok(json_reply(StatusCode::OK, AnswerBody::whole(GARBAGE))),
        Fault::Empty => return Ok(json_reply(StatusCode::OK, AnswerBody::whole(&b""[..]))),
        Fault::Quota => Complaint::quota(),
        Fault::Status(status) => Complaint::simulated(status),
    };
    let reply = if plain {
        complain_plainly(&complaint)
    } else {
        complain(&complaint)
    };
    Ok(match retry_after {
        Some(after) => with_retry_after(reply, after),
        None => reply,
    })
}

/// Reads a body to its end; one that comes in one frame, as most do, is not copied.
pub(crate) async fn read(mut body: Incoming) -> Result<Bytes, Complaint> {
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(too_large());
    }
    let mut first = None;
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Complaint::invalid(format!("The request's body could not be read: {error}."))
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if whole.is_empty() && first.is_none() {
            first = Some(data);
            continue;
        }
        if let Some(first) = first.take() {
            whole.extend_from_slice(&first);
        }
        whole.extend_from_slice(&data);
        if whole.len() > MAX_BODY {
            return Err(too_large());
        }
    }
    Ok(first.unwrap_or_else(|| whole.freeze()))
}

fn too_large() -> Complaint {
    let message = format!("The request's body is larger than {MAX_BODY} bytes.");
    Complaint::invalid(message).with_status(413)
}

fn not_allowed(request: &Request<Incoming>) -> Complaint {
    let message = format!(
        "Not allowed to {} on {}.",
        request.method(),
        request.uri().path()
    );
    Complaint::invalid(message).with_status(405)
}

fn unknown_url(request: &Request<Incoming>) -> Complaint {
    let (method, path) = (request.method(), request.uri().path());
    let hint = "The simulator knows /v1/chat/completions, /v1/completions, /v1/embeddings, \
                /v1/responses, /v1/moderations, /v1/models, /v1/files and /v1/batches.";
    let message = format!("Unknown request URL: {method} {path}. {hint}");
    Complaint::invalid(message)
        .with_status(404)
        .with_code("unknown_url")
}
