//! What stands in a line, before anyone judges it.

use std::{borrow::Cow, collections::BTreeSet};

use xxhash_rust::xxh3::xxh3_64;

use super::scan::{NotJson, Scanner, Value};

/// The keys of a line that mean something. Nobody but a batch server reads them.
const ENVELOPE: [&str; 4] = ["custom_id", "method", "url", "body"];
/// The keys of a body that decide where it goes and how it is answered; upstreams read them too.
const DECISIVE: [&str; 2] = ["model", "stream"];

/// The parts of a line that the rules and the engine look at. Where a line turns out not to be
/// JSON, the parts before that place are kept: they tell which request it was meant to be.
#[derive(Debug, Default)]
pub(crate) struct Envelope<'a> {
    pub(crate) custom_id: Option<Value<'a>>,
    pub(crate) method: Option<Value<'a>>,
    pub(crate) url: Option<Value<'a>>,
    pub(crate) body: Option<Body<'a>>,
    /// The line itself, read as a body: what it is in a file of bare bodies.
    pub(crate) whole: Body<'a>,
    /// The first key that stands twice in the line.
    pub(crate) repeated: Option<Cow<'a, str>>,
    /// The first key of ours that is spelled otherwise.
    pub(crate) respelled: Option<Respelled<'a>>,
    /// Hashes of the keys that mean nothing here. Hashes, since a line may be made of keys.
    others: BTreeSet<u64>,
}

/// A request body: its bytes, and what is at its top level.
#[derive(Debug, Default)]
pub(crate) struct Body<'a> {
    pub(crate) value: Option<Value<'a>>,
    pub(crate) model: Option<Value<'a>>,
    pub(crate) stream: Option<Value<'a>>,
    pub(crate) messages: Option<Value<'a>>,
    pub(crate) input: Option<Value<'a>>,
    pub(crate) prompt: Option<Value<'a>>,
    /// `model` or `stream`, if one of them stands twice.
    pub(crate) repeated: Option<&'static str>,
    /// The first that is `model` or `stream` to some readers only.
    pub(crate) respelled: Option<Respelled<'a>>,
}

/// A key that says by its spelling one thing to one reader and another to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Respelled<'a> {
    pub(crate) meant: &'static str,
    /// As it stands between its quotes.
    pub(crate) spelled: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Reads a line: an object and nothing behind it. Any other JSON value has no parts.
    pub(crate) fn read(&mut self, line: &'a [u8]) -> Result<(), NotJson> {
        let mut scanner = Scanner::new(line);
        if scanner.peek()? == b'{' {
            let start = scanner.position();
            self.read_object(&mut scanner)?;
            let raw = scanner.since(start);
            self.whole.value = Some(Value::object(raw));
        } else {
            self.whole.value = Some(scanner.value()?);
        }
        scanner.end()
    }

    /// Whether the line is only a body, without the envelope around it.
    pub(crate) fn is_bare(&self) -> bool {
        self.custom_id.is_none() && self.body.is_none() && self.whole.asks_something()
    }

    fn read_object(&mut self, scanner: &mut Scanner<'a>) -> Result<(), NotJson> {
        scanner.enter_object()?;
        let mut first = true;
        while let Some(key) = scanner.next_key(first)? {
            first = false;
            let new = match key.name().as_ref() {
                b"custom_id" => set(&mut self.custom_id, scanner.value()?),
                b"method" => set(&mut self.method, scanner.value()?),
                b"url" => set(&mut self.url, scanner.value()?),
                b"body" => set(&mut self.body, Body::read(scanner)?),
                other => {
                    self.whole.take(&key, other, scanner.value()?)
                        && self.others.insert(xxh3_64(other))
                }
            };
            if !new && self.repeated.is_none() {
                self.repeated = key.text();
            }
            if self.respelled.is_none() {
                self.respelled = ENVELOPE.iter().find_map(|meant| escaped(&key, meant));
            }
        }
        Ok(())
    }
}

impl<'a> Body<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, NotJson> {
        let mut body = Self::default();
        if scanner.peek()? != b'{' {
            body.value = Some(scanner.value()?);
            return Ok(body);
        }
        let start = scanner.position();
        scanner.enter_object()?;
        let mut first = true;
        while let Some(key) = scanner.next_key(first)? {
            first = false;
            let value = scanner.value()?;
            body.take(&key, &key.name(), value);
        }
        let raw = scanner.since(start);
        body.value = Some(Value::object(raw));
        Ok(body)
    }

    /// Whether there is anything for a model to answer.
    fn asks_something(&self) -> bool {
        self.messages.is_some() || self.input.is_some() || self.prompt.is_some()
    }

    /// Takes the value of a key; false if it stood there before and that matters.
    fn take(&mut self, key: &Value<'a>, name: &[u8], value: Value<'a>) -> bool {
        if self.respelled.is_none() {
            self.respelled = DECISIVE
                .iter()
                .find_map(|meant| respelled(key, name, meant));
        }
        let (new, name) = match name {
            b"model" => (set(&mut self.model, value), "model"),
            b"stream" => (set(&mut self.stream, value), "stream"),
            b"messages" => return set(&mut self.messages, value),
            b"input" => return set(&mut self.input, value),
            b"prompt" => return set(&mut self.prompt, value),
            _ => return true,
        };
        if !new {
            self.repeated.get_or_insert(name);
        }
        new
    }
}

/// Fills a slot; false if it was filled. The last value wins, as with most readers.
fn set<T>(slot: &mut Option<T>, value: T) -> bool {
    slot.replace(value).is_none()
}

/// A key with escapes in it that is `meant` to whoever undoes them.
fn escaped<'a>(key: &Value<'a>, meant: &'static str) -> Option<Respelled<'a>> {
    (key.is_escaped() && *key.name() == *meant.as_bytes()).then(|| Respelled {
        meant,
        spelled: key.inner(),
    })
}

/// As [`escaped`], and a key that is `meant` to whoever does not tell capitals from small letters:
/// the JSON readers of Go and .NET, which many gateways and Ollama stand on. Beside `model` a `Model`
/// would be what they take, and what we let through unread.
fn respelled<'a>(key: &Value<'a>, name: &[u8], meant: &'static str) -> Option<Respelled<'a>> {
    let plain = !key.is_escaped() && name == meant.as_bytes();
    (!plain && is_alike(name, meant)).then(|| Respelled {
        meant,
        spelled: key.inner(),
    })
}

/// Whether the two differ in case at most. `ſ` is a small letter whose capital is S, for Go too.
fn is_alike(name: &[u8], meant: &str) -> bool {
    // Most keys are told apart by their length.
    if name.len() < meant.len() || name.len() > meant.len() + 1 {
        return false;
    }
    let fold = |letter: char| match letter {
        '\u{17F}' => 's',
        other => other.to_ascii_lowercase(),
    };
    std::str::from_utf8(name).is_ok_and(|name| name.chars().map(fold).eq(meant.chars()))
}
