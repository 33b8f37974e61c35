//! Settles lines: reads a reply, asks the policy, and records what is final.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::Inner;
use super::answer::{self, Facts, Survey};
use super::lane::Lane;
use super::long_line::{Frame, LongLine};
use super::pool::Pool;
use super::result_line::{self, LineError, Name, Response, ResponseBody};
use super::segment::{LineJob, OpenSegment};
use super::work::Work;
use crate::catalog::Usage;
use crate::error::{Error, Result};
use crate::journal::{Kind, Record};
use crate::model::batch::Ending;
use crate::model::lane::{LaneView, Pause};
use crate::model::policy::{self, Answer, Attempt, Body, Charge, Next, Outcome, Verdict};
use crate::spool::Spooled;
use crate::upstream::{Content, Reply};

/// A batch of more lines than this shows a pattern in its first refusals.
const LARGE_BATCH: u64 = 100;
/// Room for what stands around a body in a result line.
const AROUND: usize = 256;
/// Keys of providers are longer than this, names of models and words are shorter.
const SECRET_LENGTH: usize = 16;
/// A longer id is no id.
const MAX_REQUEST_ID: usize = 256;

/// How a line was sent.
#[derive(Debug)]
pub(crate) struct Sending {
    /// What it was called at the upstream.
    pub(crate) line_id: String,
    pub(crate) sent: Duration,
    pub(crate) back: Duration,
}

impl Inner {
    /// What becomes of a line that was sent.
    pub(crate) async fn settle(
        self: &Arc<Self>,
        (pool, lane): (&Arc<Pool>, &Lane),
        mut job: LineJob,
        sending: Sending,
        reply: Reply,
    ) {
        let Sending {
            sent,
            back,
            line_id,
        } = sending;
        let (reply, survey, now) = self.survey(reply, back).await;
        let (outcome, facts) = read(&reply, survey.as_ref());
        let work = Arc::clone(&job.segment.work);
        let attempt = self.attempt(&job, sent);
        let view = self.view(pool, lane, &work);
        let next = policy::decide(outcome, &attempt, &view, now, fastrand::f64());
        if policy::is_failure(outcome) && lane.failed() && pool.another_is_open(lane) {
            pool.pause(lane, Pause::Fault, sent, now);
        }
        match next {
            Next::Settle(verdict) => {
                tell_lane(lane, outcome, verdict, facts.usage.total, now);
                let seen = Seen {
                    verdict,
                    reply,
                    survey,
                    usage: facts.usage,
                };
                match &seen.survey {
                    None => self.record_held(lane, &job, &line_id, &seen),
                    Some(_) => Box::pin(self.record_spooled(lane, &job, line_id, seen)).await,
                }
                // Behind it: an answer that is here waits for nothing.
                if facts.tells_cached && lane.tells_cached() {
                    Box::pin(self.arrange_waiting(pool)).await;
                }
                return;
            }
            // The batch is ending and this was the line's last chance.
            Next::RetryAt(..) | Next::PutBack(_) if work.ending().is_some() => {
                self.cut_off(&job);
                return;
            }
            Next::RetryAt(at, charge) => {
                job.tries += 1;
                job.retry_is_free = !policy::costs_budget(outcome);
                match charge {
                    Charge::Line => job.charged += 1,
                    Charge::Nobody => {
                        job.waiting_since.get_or_insert(now);
                    }
                }
                self.start_slots(pool.retry(job, at));
            }
            Next::PutBack(pause) => {
                job.tries += 1;
                tracing::warn!(
                    upstream = lane.upstream.name(),
                    reason = pause.reason(),
                    reply = %describe(&reply),
                    "lane paused"
                );
                pool.pause(lane, pause, sent, now);
                self.start_slots(pool.put_back(job));
                self.announce();
            }
        }
        // The ending may have emptied the lanes between the question above and the line's return.
        if work.ending().is_some() {
            self.end_waiting_lines(work.row.key);
        }
    }

    /// What the policy has to know of this sending of a line.
    fn attempt(&self, job: &LineJob, sent: Duration) -> Attempt {
        Attempt {
            charged: job.charged,
            tries: job.tries,
            limit: self.config.sending.attempts,
            sent,
            put_backs: job.put_backs,
            waiting_since: job.waiting_since,
            deadline: job.segment.work.deadline,
        }
    }

    /// And of the lane that it was sent in.
    fn view(&self, pool: &Pool, lane: &Lane, work: &Work) -> LaneView {
        LaneView {
            another_is_well: pool.another_is_well(lane),
            ..lane.view(
                self.config.sending.patience,
                work.row.total > LARGE_BATCH,
                work.row.completed > 0,
            )
        }
    }

    /// Looks through an answer that is in a spool file, and tells the time behind that. One that cannot
    /// be read back is none.
    async fn survey(&self, reply: Reply, back: Duration) -> (Reply, Option<Survey>, Duration) {
        let Some(spooled) = spooled(&reply).cloned() else {
            return (reply, None, back);
        };
        // What is rare has a future of its own, so that the usual one is small.
        let survey = Box::pin(self.read_spooled(move || answer::survey(&spooled))).await;
        let now = self.host.now();
        match survey {
            Ok(survey) => (reply, Some(survey), now),
            Err(error) => (unreadable(&error), None, now),
        }
    }

    /// Reads a spool file on a thread that may wait for the disk. A few at a time: what decides may
    /// be long in an answer that means ill.
    async fn read_spooled<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let _permit = self.spool_readers.acquire().await;
        let read = async move { read().map_err(|e| Error::storage("read a spooled answer", e)) };
        self.host.compute(read).await
    }

    /// Records a reply that is held in memory, or none.
    fn record_held(&self, lane: &Lane, job: &LineJob, line_id: &str, seen: &Seen) {
        let message = self.sentence(seen.verdict, lane, &seen.reply);
        let error = code(seen.verdict).map(|code| LineError {
            code,
            message: &message,
        });
        let line = held_line(lane, (job, line_id), seen, error);
        job.segment.settle(&record(job, seen), &line);
    }

    /// Records a reply that is in a spool file. One that cannot be read back is none.
    async fn record_spooled(&self, lane: &Lane, job: &LineJob, line_id: String, seen: Seen) {
        match self.long_line(lane, job, line_id.clone(), &seen).await {
            Ok(line) => {
                let record = record(job, &seen);
                job.segment.settle_long(&record, Arc::new(line));
            }
            Err(error) => {
                let seen = Seen {
                    verdict: Verdict::Unreachable,
                    reply: unreadable(&error),
                    survey: None,
                    usage: seen.usage,
                };
                self.record_held(lane, job, &line_id, &seen);
            }
        }
    }

    async fn long_line(
        &self,
        lane: &Lane,
        job: &LineJob,
        line_id: String,
        seen: &Seen,
    ) -> Result<LongLine> {
        let (reply, survey) = (&seen.reply, seen.survey.clone());
        let message = self.sentence(seen.verdict, lane, reply);
        let error = code(seen.verdict).map(|code| (code, message));
        let secret = secret_of(lane).map(str::to_owned);
        let (status, request_id) = head(reply);
        let request_id = request_id_of(request_id, &line_id, secret.as_deref()).into_owned();
        let custom_id = job.custom_id.clone();
        let found = spooled(reply).cloned().zip(survey);
        let (spooled, survey) = found.ok_or_else(|| Error::internal("a survey of no file"))?;
        let make = move || {
            let name = Name {
                id: &line_id,
                custom_id: &custom_id,
            };
            let error = error.as_ref();
            let frame = Frame {
                name,
                status,
                request_id: &request_id,
                error: error.map(|(code, message)| LineError { code, message }),
            };
            LongLine::new(&frame, &spooled, &survey, secret.as_deref())
        };
        self.read_spooled(make).await
    }

    fn sentence(&self, verdict: Verdict, lane: &Lane, reply: &Reply) -> String {
        let upstream = lane.upstream.name();
        match (verdict, reply) {
            (Verdict::Output | Verdict::HttpError, _) => String::new(),
            (Verdict::Unreadable, _) => format!(
                "The upstream `{upstream}` answered with something that is not JSON; its raw text is in `response.body`."
            ),
            (Verdict::TooLarge, _) => format!(
                "The answer is larger than the limit of {} bytes; its first bytes are in `response.body`. The request was not sent again.",
                self.config.limits.answer_bytes
            ),
            (Verdict::Timeout, _) => format!(
                "The upstream `{upstream}` did not answer within {} s.",
                self.config.sending.timeout.as_secs()
            ),
            (Verdict::Unreachable, Reply::Unreachable { reason }) => {
                format!("The upstream `{upstream}` could not be reached: {reason}")
            }
            (Verdict::Unreachable, _) => format!("The upstream `{upstream}` could not be reached."),
        }
    }

    /// A line that will not be sent, or whose sending was cut off. On a stop it is left for the
    /// next owner; in an ending batch it ends.
    pub(crate) fn cut_off(&self, job: &LineJob) {
        if let Some(ending) = job.segment.work.ending() {
            settle_ended(
                &job.segment,
                job.ordinal,
                job.number,
                &job.custom_id,
                ending,
            );
        }
    }
}

/// Settles a line that an ending has overtaken.
pub(crate) fn settle_ended(
    segment: &OpenSegment,
    ordinal: u16,
    number: u64,
    custom_id: &[u8],
    ending: Ending,
) {
    let line = ended_line(&segment.work.line_id(number), custom_id, ending);
    let record = Record {
        line: number,
        ordinal,
        kind: Kind::Ended,
        usage: Usage::default(),
    };
    segment.settle(&record, &line);
}

/// The error line of a request that an ending has overtaken.
fn ended_line(line_id: &str, custom_id: &[u8], ending: Ending) -> Vec<u8> {
    let (code, message) = ending.error();
    let mut line = Vec::with_capacity(AROUND);
    let name = Name {
        id: line_id,
        custom_id,
    };
    result_line::write(&mut line, name, None, Some(LineError { code, message }));
    line
}

/// A final outcome, to be recorded.
struct Seen {
    verdict: Verdict,
    reply: Reply,
    /// Of an answer in a spool file.
    survey: Option<Survey>,
    usage: Usage,
}

/// What the journal has beside the line.
fn record(job: &LineJob, seen: &Seen) -> Record {
    Record {
        line: job.number,
        ordinal: job.ordinal,
        kind: match seen.verdict {
            Verdict::Output => Kind::Answer,
            _ => Kind::Error,
        },
        usage: seen.usage,
    }
}

/// The line of a reply that is held in memory, or of none.
fn held_line(
    lane: &Lane,
    (job, line_id): (&LineJob, &str),
    seen: &Seen,
    error: Option<LineError<'_>>,
) -> Vec<u8> {
    let (status, request_id) = head(&seen.reply);
    let body = without_secret(held(&seen.reply), lane.upstream.secret());
    let request_id = request_id_of(request_id, line_id, lane.upstream.secret());
    let body = match seen.verdict {
        Verdict::Output => Some(ResponseBody::Json(&body)),
        Verdict::HttpError => Some(json_or_raw(&body)),
        Verdict::Unreadable | Verdict::TooLarge => Some(ResponseBody::Raw(&body)),
        Verdict::Timeout | Verdict::Unreachable => None,
    };
    let mut line = Vec::with_capacity(AROUND + body.map_or(0, |body| body.length()));
    let name = Name {
        id: line_id,
        custom_id: &job.custom_id,
    };
    let response = body.map(|body| Response {
        status,
        request_id: &request_id,
        body,
    });
    result_line::write(&mut line, name, response, error);
    line
}

/// The code of a line that got no usable answer.
fn code(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Output | Verdict::HttpError => None,
        Verdict::Unreadable => Some("upstream_invalid_response"),
        Verdict::TooLarge => Some("answer_too_large"),
        Verdict::Timeout => Some("upstream_timeout"),
        Verdict::Unreachable => Some("upstream_unreachable"),
    }
}

/// What is in memory of a reply's body.
fn held(reply: &Reply) -> &[u8] {
    match reply {
        Reply::Answer {
            body: Content::Held { bytes, .. },
            ..
        }
        | Reply::TooLarge { head: bytes, .. } => bytes,
        Reply::Answer { .. } | Reply::Timeout | Reply::Unreachable { .. } => b"",
    }
}

/// The spool file of a reply's body.
fn spooled(reply: &Reply) -> Option<&Spooled> {
    match reply {
        Reply::Answer {
            body: Content::Spooled(spooled),
            ..
        } => Some(spooled),
        Reply::Answer { .. } | Reply::TooLarge { .. } => None,
        Reply::Timeout | Reply::Unreachable { .. } => None,
    }
}

/// Status and request id.
fn head(reply: &Reply) -> (u16, Option<&str>) {
    match reply {
        Reply::Answer {
            status, request_id, ..
        }
        | Reply::TooLarge {
            status, request_id, ..
        } => (*status, request_id.as_deref()),
        Reply::Timeout | Reply::Unreachable { .. } => (0, None),
    }
}

fn unreadable(error: &Error) -> Reply {
    Reply::Unreachable {
        reason: format!("its answer could not be kept: {error}"),
    }
}

/// What the lane learns from a final outcome.
fn tell_lane(lane: &Lane, outcome: Outcome, verdict: Verdict, tokens: u64, now: Duration) {
    match (verdict, outcome) {
        (Verdict::Output, _) => lane.succeeded(tokens, now),
        (
            _,
            Outcome::Answer(Answer {
                status: 403 | 404 | 405 | 410 | 501,
                ..
            }),
        ) => lane.refused(),
        (
            _,
            Outcome::Answer(Answer {
                status: 400..=499, ..
            })
            | Outcome::TooLarge,
        ) => {
            lane.answered();
        }
        (_, Outcome::Answer(_) | Outcome::Timeout | Outcome::Unreachable) => {}
    }
}

fn read(reply: &Reply, survey: Option<&Survey>) -> (Outcome, Facts) {
    let nothing = Facts {
        body: Body::Empty,
        quota: false,
        usage: Usage::default(),
        tells_cached: false,
    };
    match reply {
        Reply::Answer {
            status,
            body,
            retry_after,
            ..
        } => {
            let facts = match (body, survey) {
                (Content::Held { bytes, .. }, _) => answer::read(bytes),
                (Content::Spooled(_), Some(survey)) => survey.facts,
                (Content::Spooled(_), None) => nothing,
            };
            let answer = Answer {
                status: *status,
                body: facts.body,
                retry_after: *retry_after,
                quota: facts.quota,
            };
            (Outcome::Answer(answer), facts)
        }
        Reply::TooLarge { .. } => (Outcome::TooLarge, nothing),
        Reply::Timeout => (Outcome::Timeout, nothing),
        Reply::Unreachable { .. } => (Outcome::Unreachable, nothing),
    }
}

fn json_or_raw(body: &[u8]) -> ResponseBody<'_> {
    match answer::read(body).body {
        Body::Json | Body::ApiError => ResponseBody::Json(body),
        Body::Empty | Body::Other => ResponseBody::Raw(body),
    }
}

/// The upstream's id of the answer, else ours of the line. It comes from a header, so that anything
/// may stand in it.
fn request_id_of<'a>(
    given: Option<&'a str>,
    line_id: &'a str,
    secret: Option<&str>,
) -> Cow<'a, str> {
    match given.filter(|id| id.len() <= MAX_REQUEST_ID) {
        None => Cow::Borrowed(line_id),
        Some(id) => match without_secret(id.as_bytes(), secret) {
            Cow::Borrowed(_) => Cow::Borrowed(id),
            Cow::Owned(masked) => Cow::Owned(String::from_utf8_lossy(&masked).into_owned()),
        },
    }
}

/// The upstream's key. A short one is no secret but a word (`ollama`, `EMPTY`): replacing it would
/// change answers.
fn secret_of(lane: &Lane) -> Option<&str> {
    let secret = lane.upstream.secret();
    secret.filter(|secret| secret.len() >= SECRET_LENGTH)
}

/// The body with the upstream's key replaced, should the upstream have echoed it, as far as it is one
/// (see [`secret_of`]).
pub(super) fn without_secret<'a>(body: &'a [u8], secret: Option<&str>) -> Cow<'a, [u8]> {
    let Some(secret) = secret.filter(|secret| secret.len() >= SECRET_LENGTH) else {
        return Cow::Borrowed(body);
    };
    let finder = memchr::memmem::Finder::new(secret.as_bytes());
    if finder.find(body).is_none() {
        return Cow::Borrowed(body);
    }
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = finder.find(rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(b"***");
        rest = &rest[at + secret.len()..];
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

/// A reply in a word, without its body: prompts and answers are not logged.
fn describe(reply: &Reply) -> String {
    match reply {
        Reply::Answer { status, .. } => format!("status {status}"),
        Reply::TooLarge { status, .. } => format!("status {status}, too large"),
        Reply::Timeout => "no answer in time".to_owned(),
        Reply::Unreachable { reason } => reason.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echoed_key_is_replaced_everywhere() {
        const KEY: Option<&str> = Some("sk-canary-0123456789");
        let body = b"{\"error\":\"bad key sk-canary-0123456789, yes sk-canary-0123456789\"}";
        let masked = without_secret(body, KEY);
        assert_eq!(&masked[..], b"{\"error\":\"bad key ***, yes ***\"}");
        assert!(matches!(without_secret(body, None), Cow::Borrowed(_)));
        assert_eq!(
            request_id_of(Some("req-sk-canary-0123456789"), "ours", KEY),
            "req-***"
        );
    }

    #[test]
    fn a_key_that_is_only_a_word_changes_no_answer() {
        let body = b"{\"choices\":[\"use ollama\"],\"n\":1.0e5}";
        for word in ["ollama", "choices", "1", "EMPTY", ""] {
            assert_eq!(&without_secret(body, Some(word))[..], body);
        }
    }

    #[test]
    fn an_id_of_any_length_is_not_taken() {
        let long = "x".repeat(60_000);
        assert_eq!(request_id_of(Some(&long), "ours", None), "ours");
        assert_eq!(request_id_of(None, "ours", None), "ours");
    }
}
