//! What stands in a line, before anyone judges it.

use std::{borrow::Cow, collections::BTreeSet};

use xxhash_rust::xxh3::xxh3_64;

use super::scan::{NotJson, Scanner, Value};

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
                    self.whole.take(other, scanner.value()?) && self.others.insert(xxh3_64(other))
                }
            };
            if !new && self.repeated.is_none() {
                self.repeated = key.text();
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
            body.take(&key.name(), value);
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
    fn take(&mut self, name: &[u8], value: Value<'a>) -> bool {
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
