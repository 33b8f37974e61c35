//! The upstream of a simulated world.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};

use super::life::Life;
use crate::budget::Share;
use crate::clock::Steady;
use crate::error::Result;
use crate::model::allowance::Allowance;
use crate::upstream::{Caller, Content, Reply, Request, Upstream};

/// One line in so many is answered with 500 whenever it is sent.
const POISON: u64 = 41;

/// Answers most lines, and others with what goes wrong in the field.
#[derive(Debug)]
pub(super) struct SimUpstream(pub(super) Arc<Life>);

#[async_trait]
impl Upstream for SimUpstream {
    fn name(&self) -> &str {
        "sim"
    }

    fn caller(&self) -> Box<dyn Caller> {
        Box::new(Self(Arc::clone(&self.0)))
    }

    async fn models(&self) -> Result<Vec<Value>> {
        Ok(Vec::new())
    }

    fn secret(&self) -> Option<&str> {
        None
    }
}

#[async_trait]
impl Caller for SimUpstream {
    async fn send(&mut self, request: Request<'_>) -> Reply {
        let life = &self.0;
        if life.is_dead() {
            return std::future::pending().await;
        }
        life.note(format_args!("sends {}", request.line_id));
        let line = life.world.line(request.line_id);
        life.world.laws().sent(life.number, line, life.now());
        life.point("a request").await;
        let slow = if life.world.per_mille(20) { 8_000 } else { 400 };
        tokio::time::sleep(Duration::from_millis(1 + life.world.below(slow))).await;
        life.point("an answer").await;
        let reply = match line.1 % POISON {
            _ if life.world.is_away(&model_of(&request)) => unreachable(),
            0 => error(500, None),
            _ => self.reply(),
        };
        life.note(format_args!(
            "hears {} of {}",
            status(&reply),
            request.line_id
        ));
        if status(&reply) == 500 {
            life.world.laws().charged(line);
        }
        reply
    }
}

fn model_of(request: &Request<'_>) -> String {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    body["model"].as_str().unwrap().to_owned()
}

fn unreachable() -> Reply {
    Reply::Unreachable {
        reason: "connection refused".to_owned(),
    }
}

impl SimUpstream {
    fn reply(&self) -> Reply {
        let world = &self.0.world;
        let weather = world.weather();
        if weather.outage {
            return unreachable();
        }
        if !world.per_mille(weather.upstream) {
            return ok();
        }
        match world.below(9) {
            0 => error(429, Some(Duration::from_millis(world.below(3_000)))),
            1 | 2 => error(500, None),
            3 => error(503, None),
            4 => error(400, None),
            5 => Reply::Timeout,
            6 => Reply::TooLarge {
                status: 200,
                head: Bytes::from_static(b"{\"long\":"),
                request_id: None,
            },
            7 => answer(200, Bytes::from_static(b"<html>not JSON"), None),
            _ => Reply::Unreachable {
                reason: "connection reset".to_owned(),
            },
        }
    }
}

fn ok() -> Reply {
    let body = json!({
        "object": "chat.completion",
        "choices": [{"message": {"content": "yes"}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    });
    answer(200, Bytes::from(body.to_string()), None)
}

fn error(status: u16, retry_after: Option<Duration>) -> Reply {
    let body = json!({"error": {"message": "scripted", "type": "scripted"}});
    answer(status, Bytes::from(body.to_string()), retry_after)
}

fn answer(status: u16, body: Bytes, retry_after: Option<Duration>) -> Reply {
    Reply::Answer {
        status,
        body: Content::Held {
            _draw: Share::endless().overdraw(body.len() as u64),
            bytes: body,
        },
        retry_after,
        allowance: Allowance::default(),
        request_id: None,
    }
}

fn status(reply: &Reply) -> u16 {
    match reply {
        Reply::Answer { status, .. } | Reply::TooLarge { status, .. } => *status,
        Reply::Timeout | Reply::Unreachable { .. } => 0,
    }
}
