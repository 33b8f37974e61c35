//! Settles lines: reads a reply, asks the policy, and records what is final.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Inner;
use super::answer::{self, Facts};
use super::lane::Lane;
use super::result_line::{self, LineError, Name, Response, ResponseBody};
use super::segment::{LineJob, OpenSegment};
use crate::catalog::Usage;
use crate::journal::{Kind, Record};
use crate::model::batch::Ending;
use crate::model::policy::{self, Answer, Attempt, Body, Charge, Next, Outcome, Verdict};
use crate::upstream::Reply;

/// A batch of more lines than this shows a pattern in its first refusals.
const LARGE_BATCH: u64 = 100;
/// Room for what stands around a body in a result line.
const AROUND: usize = 256;
/// Keys of providers are longer than this, names of models and words are shorter.
const SECRET_LENGTH: usize = 16;
/// A longer id is no id.
const MAX_REQUEST_ID: usize = 256;

impl Inner {
    /// What becomes of a line that was sent at `sent`.
    pub(crate) async fn settle(
        self: &Arc<Self>,
        lane: &Arc<Lane>,
        mut job: LineJob,
        sent: Duration,
        reply: Reply,
    ) {
        let now = self.host.now();
        let (outcome, facts) = read(&reply);
        let work = Arc::clone(&job.segment.work);
        let attempt = Attempt {
            charged: job.charged,
            tries: job.tries,
            limit: self.config.sending.attempts,
            sent,
            put_backs: job.put_backs,
            waiting_since: job.waiting_since,
            deadline: work.deadline,
        };
        let view = lane.view(
            self.config.sending.patience,
            work.row.total > LARGE_BATCH,
            work.row.completed > 0,
        );
        match policy::decide(outcome, &attempt, &view, now, fastrand::f64()) {
            Next::Settle(verdict) => {
                tell_lane(lane, outcome, verdict, now);
                self.record_reply(lane, &job, verdict, &reply, facts.usage);
                return;
            }
            // The batch is ending and this was the line's last chance.
            Next::RetryAt(..) | Next::PutBack(_) if work.ending().is_some() => {
                self.cut_off(&job);
                return;
            }
            Next::RetryAt(at, charge) => {
                job.tries += 1;
                match charge {
                    Charge::Line => job.charged += 1,
                    Charge::Nobody => {
                        job.waiting_since.get_or_insert(now);
                    }
                }
                let start = lane.retry(job, at);
                self.start_slots(lane, start);
            }
            Next::PutBack(pause) => {
                job.tries += 1;
                tracing::warn!(
                    upstream = lane.upstream.name(),
                    reason = pause.reason(),
                    reply = %describe(&reply),
                    "lane paused"
                );
                lane.put_back(job, pause, sent, now);
                self.announce();
            }
        }
        // The ending may have emptied the lanes between the question above and the line's return.
        if work.ending().is_some() {
            self.end_waiting_lines(work.row.key);
        }
    }

    fn record_reply(
        &self,
        lane: &Lane,
        job: &LineJob,
        verdict: Verdict,
        reply: &Reply,
        usage: Usage,
    ) {
        let line_id = job.segment.work.line_id(job.number);
        let (status, body, request_id) = match reply {
            Reply::Answer {
                status,
                body,
                request_id,
                ..
            } => (*status, body.clone(), request_id),
            Reply::TooLarge {
                status,
                head,
                request_id,
            } => (*status, head.clone(), request_id),
            Reply::Timeout | Reply::Unreachable { .. } => (0, Bytes::new(), &None),
        };
        let body = without_secret(&body, lane.upstream.secret());
        let request_id = request_id_of(request_id.as_deref(), &line_id, lane.upstream.secret());
        let request_id = request_id.as_ref();
        let response = |body| {
            Some(Response {
                status,
                request_id,
                body,
            })
        };
        let message = self.sentence(verdict, lane, reply);
        let error = |code| {
            Some(LineError {
                code,
                message: &message,
            })
        };
        let (kind, response, error) = match verdict {
            Verdict::Output => (Kind::Answer, response(ResponseBody::Json(&body)), None),
            Verdict::HttpError => (Kind::Error, response(json_or_raw(&body)), None),
            Verdict::Unreadable => (
                Kind::Error,
                response(ResponseBody::Raw(&body)),
                error("upstream_invalid_response"),
            ),
            Verdict::TooLarge => (
                Kind::Error,
                response(ResponseBody::Raw(&body)),
                error("answer_too_large"),
            ),
            Verdict::Timeout => (Kind::Error, None, error("upstream_timeout")),
            Verdict::Unreachable => (Kind::Error, None, error("upstream_unreachable")),
        };
        let mut line = Vec::with_capacity(body.len() + AROUND);
        let name = Name {
            id: &line_id,
            custom_id: &job.custom_id,
        };
        result_line::write(&mut line, name, response, error);
        let record = Record {
            line: job.number,
            ordinal: job.ordinal,
            kind,
            usage,
        };
        job.segment.settle(&record, &line);
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
pub(crate) fn ended_line(line_id: &str, custom_id: &[u8], ending: Ending) -> Vec<u8> {
    let (code, message) = ending.error();
    let mut line = Vec::with_capacity(AROUND);
    let name = Name {
        id: line_id,
        custom_id,
    };
    result_line::write(&mut line, name, None, Some(LineError { code, message }));
    line
}

/// What the lane learns from a final outcome.
fn tell_lane(lane: &Lane, outcome: Outcome, verdict: Verdict, now: Duration) {
    match (verdict, outcome) {
        (Verdict::Output, _) => lane.succeeded(now),
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

fn read(reply: &Reply) -> (Outcome, Facts) {
    let nothing = Facts {
        body: Body::Empty,
        quota: false,
        usage: Usage::default(),
    };
    match reply {
        Reply::Answer {
            status,
            body,
            retry_after,
            ..
        } => {
            let facts = answer::read(body);
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

/// The body with the upstream's key replaced, should the upstream have echoed it. A short key is no
/// secret but a word (`ollama`, `EMPTY`): replacing it would change answers.
fn without_secret<'a>(body: &'a [u8], secret: Option<&str>) -> Cow<'a, [u8]> {
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
