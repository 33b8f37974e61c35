//! A JSON scanner over one line: it walks tokens and checks the grammar, and builds nothing.
//!
//! Envelope, model and the span of the body are found in one pass over the bytes. A general
//! parser would read every body twice, once for its span and once for what is in it.

use std::borrow::Cow;

/// How deep objects and arrays may nest. Deeper than any request; without an end, a line of
/// brackets would take memory for each of them.
pub(crate) const MAX_DEPTH: usize = 1024;

/// The bytes are not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotJson;

type Scan<T> = Result<T, NotJson>;

/// What a value begins as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Number,
    True,
    False,
    Null,
}

impl Kind {
    /// The word for it in the protocol's messages.
    pub(crate) fn with_article(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::String => "a string",
            Self::Number => "a number",
            Self::True | Self::False => "a boolean",
            Self::Null => "null",
        }
    }
}

/// A value as it stands in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    pub(crate) kind: Kind,
    /// Its bytes, without the blanks around it.
    pub(crate) raw: &'a [u8],
    /// Whether it is a string with escapes in it.
    escaped: bool,
}

impl<'a> Value<'a> {
    pub(crate) fn object(raw: &'a [u8]) -> Self {
        Self {
            kind: Kind::Object,
            raw,
            escaped: false,
        }
    }

    /// The unescaped text of a string; `None` for another kind, and for a string that is not text
    /// (half of a surrogate pair, or not UTF-8).
    pub(crate) fn text(&self) -> Option<Cow<'a, str>> {
        match (self.kind, self.escaped) {
            (Kind::String, false) => std::str::from_utf8(self.inner()).ok().map(Cow::Borrowed),
            (Kind::String, true) => serde_json::from_slice::<String>(self.raw)
                .ok()
                .map(Cow::Owned),
            _ => None,
        }
    }

    /// A key as it is meant: `"m\u006fdel"` is `model`. What is not text stays as it stands; it
    /// is none of the keys that mean something.
    pub(crate) fn name(&self) -> Cow<'a, [u8]> {
        match self.escaped.then(|| self.text()).flatten() {
            Some(text) => Cow::Owned(text.into_owned().into_bytes()),
            None => Cow::Borrowed(self.inner()),
        }
    }

    /// Whether it is a string that is spelled with escapes.
    pub(crate) fn is_escaped(&self) -> bool {
        self.escaped
    }

    /// A string between its quotes.
    pub(crate) fn inner(&self) -> &'a [u8] {
        &self.raw[1..self.raw.len() - 1]
    }
}

/// Reads values from the front of a line.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The first byte of the next token.
    #[inline]
    pub(crate) fn peek(&mut self) -> Scan<u8> {
        while let Some(&byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Ok(byte);
            }
            self.at += 1;
        }
        Err(NotJson)
    }

    /// Steps into an object; [`Self::next_key`] then gives its keys.
    pub(crate) fn enter_object(&mut self) -> Scan<()> {
        self.punctuation(b'{')
    }

    /// The next key of the object, as a string; `None` at the closing brace, which
    /// is then behind us. The value must be taken before the next call.
    #[inline]
    pub(crate) fn next_key(&mut self, first: bool) -> Scan<Option<Value<'a>>> {
        match self.peek()? {
            b'}' => {
                self.at += 1;
                return Ok(None);
            }
            b',' if !first => {
                self.at += 1;
                self.peek()?;
            }
            _ if first => {}
            _ => return Err(NotJson),
        }
        let key = self.string()?;
        self.punctuation(b':')?;
        Ok(Some(key))
    }

    /// The next item of an array; `None` at the closing bracket. The first call steps in.
    pub(crate) fn next_item(&mut self, first: bool) -> Scan<Option<Value<'a>>> {
        if first {
            self.punctuation(b'[')?;
        }
        match self.peek()? {
            b']' => {
                self.at += 1;
                return Ok(None);
            }
            b',' if !first => self.at += 1,
            _ if first => {}
            _ => return Err(NotJson),
        }
        self.value().map(Some)
    }

    /// Takes the next value, whatever it is.
    pub(crate) fn value(&mut self) -> Scan<Value<'a>> {
        let first = self.peek()?;
        if first == b'"' {
            return self.string();
        }
        let start = self.at;
        let kind = match first {
            b'{' | b'[' => {
                self.nested()?;
                if first == b'{' {
                    Kind::Object
                } else {
                    Kind::Array
                }
            }
            _ => self.scalar(first)?,
        };
        Ok(Value {
            kind,
            raw: self.since(start),
            escaped: false,
        })
    }

    /// Where the next token begins, or the last one ended.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The bytes from `start` to here.
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    /// Makes sure that nothing but blanks is left.
    pub(crate) fn end(&mut self) -> Scan<()> {
        match self.peek() {
            Err(NotJson) => Ok(()),
            Ok(_) => Err(NotJson),
        }
    }

    #[inline]
    fn punctuation(&mut self, wanted: u8) -> Scan<()> {
        if self.peek()? != wanted {
            return Err(NotJson);
        }
        self.at += 1;
        Ok(())
    }

    /// An object or array with all that is in it, without recursion: a bit a level.
    fn nested(&mut self) -> Scan<()> {
        let mut open = Levels::default();
        loop {
            // Here a value is due.
            match self.peek()? {
                b'{' => {
                    self.at += 1;
                    if self.peek()? == b'}' {
                        self.at += 1;
                    } else {
                        open.push(true)?;
                        self.key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.at += 1;
                    if self.peek()? == b']' {
                        self.at += 1;
                    } else {
                        open.push(false)?;
                        continue;
                    }
                }
                b'"' => {
                    self.string()?;
                }
                other => {
                    self.scalar(other)?;
                }
            }
            // Here a value has ended, and with it perhaps those around it.
            loop {
                let Some(in_object) = open.top() else {
                    return Ok(());
                };
                match (self.peek()?, in_object) {
                    (b',', true) => {
                        self.at += 1;
                        self.key()?;
                        break;
                    }
                    (b',', false) => {
                        self.at += 1;
                        break;
                    }
                    (b'}', true) | (b']', false) => {
                        self.at += 1;
                        open.pop();
                    }
                    _ => return Err(NotJson),
                }
            }
        }
    }

    fn key(&mut self) -> Scan<()> {
        self.peek()?;
        self.string()?;
        self.punctuation(b':')
    }

    /// A string; we stand on its first quote.
    #[inline]
    fn string(&mut self) -> Scan<Value<'a>> {
        let start = self.at;
        let mut escaped = false;
        if self.bytes.get(start) != Some(&b'"') {
            return Err(NotJson);
        }
        self.at += 1;
        loop {
            self.at += plain_length(&self.bytes[self.at..]);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Value {
                        kind: Kind::String,
                        raw: self.since(start),
                        escaped,
                    });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                // A control character, or the end of the line.
                _ => return Err(NotJson),
            }
        }
    }

    #[inline]
    fn escape(&mut self) -> Scan<()> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 2..self.at + 6).ok_or(NotJson)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(NotJson);
                }
                self.at += 6;
            }
            _ => return Err(NotJson),
        }
        Ok(())
    }

    fn scalar(&mut self, first: u8) -> Scan<Kind> {
        match first {
            b't' => self.word(b"true", Kind::True),
            b'f' => self.word(b"false", Kind::False),
            b'n' => self.word(b"null", Kind::Null),
            b'-' | b'0'..=b'9' => self.number(),
            _ => Err(NotJson),
        }
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Scan<Kind> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(NotJson);
        }
        self.at += word.len();
        Ok(kind)
    }

    fn number(&mut self) -> Scan<Kind> {
        self.skip_if(|b| b == b'-');
        if !self.skip_if(|b| b == b'0') {
            self.digits()?;
        }
        if self.skip_if(|b| b == b'.') {
            self.digits()?;
        }
        if self.skip_if(|b| matches!(b, b'e' | b'E')) {
            self.skip_if(|b| matches!(b, b'+' | b'-'));
            self.digits()?;
        }
        Ok(Kind::Number)
    }

    fn digits(&mut self) -> Scan<()> {
        if !self.skip_if(|b| b.is_ascii_digit()) {
            return Err(NotJson);
        }
        while self.skip_if(|b| b.is_ascii_digit()) {}
        Ok(())
    }

    #[inline]
    fn skip_if(&mut self, wanted: impl Fn(u8) -> bool) -> bool {
        let found = self.bytes.get(self.at).is_some_and(|&b| wanted(b));
        self.at += usize::from(found);
        found
    }
}

/// How many bytes from the front of `text` are neither quote, backslash nor control character.
/// Eight at a time: prompts are long strings, and this is where their time goes.
fn plain_length(text: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let mut at = 0;
    for eight in text.chunks_exact(8) {
        let word = u64::from_le_bytes(eight.try_into().expect("a chunk of eight has eight bytes"));
        let quote = word ^ (ONES * 0x22);
        let backslash = word ^ (ONES * 0x5C);
        // The high bit of a byte is set where that byte is below 0x20 or equal to one of the two.
        // A borrow can set bits above the first hit only, so the first one is always true.
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quote = quote.wrapping_sub(ONES) & !quote;
        let backslash = backslash.wrapping_sub(ONES) & !backslash;
        let hits = (control | quote | backslash) & HIGHS;
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let stop = |&b: &u8| b == b'"' || b == b'\\' || b < 0x20;
    at + text[at..].iter().position(stop).unwrap_or(text.len() - at)
}

/// Which of the open levels are objects, a bit each.
struct Levels {
    bits: [u64; MAX_DEPTH / 64],
    depth: usize,
}

impl Default for Levels {
    fn default() -> Self {
        Self {
            bits: [0; MAX_DEPTH / 64],
            depth: 0,
        }
    }
}

impl Levels {
    fn push(&mut self, object: bool) -> Scan<()> {
        let word = self.bits.get_mut(self.depth / 64).ok_or(NotJson)?;
        let bit = 1 << (self.depth % 64);
        *word = if object { *word | bit } else { *word & !bit };
        self.depth += 1;
        Ok(())
    }

    fn pop(&mut self) {
        self.depth -= 1;
    }

    fn top(&self) -> Option<bool> {
        let top = self.depth.checked_sub(1)?;
        Some(self.bits[top / 64] >> (top % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn is_json(line: &[u8]) -> bool {
        let mut scanner = Scanner::new(line);
        scanner.value().and_then(|_| scanner.end()).is_ok()
    }

    fn serde_says(line: &[u8]) -> bool {
        serde_json::from_slice::<IgnoredAny>(line).is_ok()
    }

    #[test]
    fn grammar_is_that_of_json() {
        for good in [
            "null",
            " true ",
            "-0",
            "-0.5e+10",
            "1E3",
            "\"\"",
            r#""\u00e9\"\\\/\b\f\n\r\t""#,
            "[]",
            "[ ]",
            "{ }",
            r#"{"a":[{"b":null},2,[]],"c":{}}"#,
            "[1,[2,[3]]]",
            r#""\ud800""#,
        ] {
            assert!(is_json(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            " ",
            "nul",
            "truee",
            "01",
            "1.",
            ".5",
            "-",
            "1e",
            "+1",
            "\"",
            "\"\\x\"",
            "\"\\u12G4\"",
            "\"\\u12",
            "\"\t\"",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[",
            "]",
            "{",
            "}",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "[1}",
            "{\"a\":1]",
            "1 2",
            "{} {}",
            "'a'",
            "NaN",
        ] {
            assert!(!is_json(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn nesting_ends_at_a_limit_and_takes_no_stack() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(is_json(nested(MAX_DEPTH).as_bytes()));
        assert!(!is_json(nested(MAX_DEPTH + 2).as_bytes()));
        assert!(!is_json("[".repeat(10_000_000).as_bytes()));
    }

    #[test]
    fn string_ends_are_found_at_every_place_of_a_word() {
        for length in 0..40 {
            for stop in [b'"', b'\\', 0x1F, b'\n', 0] {
                let mut text = vec![0xFF; length];
                text.push(stop);
                text.extend_from_slice(&[0, b'"', b'\\', b' ', b'!', b'#']);
                assert_eq!(plain_length(&text), length);
            }
            assert_eq!(plain_length(&vec![b' '; length]), length);
        }
    }

    #[test]
    fn items_of_an_array_come_one_by_one() {
        let mut scanner = Scanner::new(br#"[1, "a", [2, 3], {}] "#);
        let mut items = Vec::new();
        while let Some(item) = scanner.next_item(items.is_empty()).unwrap() {
            items.push(item.raw);
        }
        assert_eq!(items, [&b"1"[..], b"\"a\"", b"[2, 3]", b"{}"]);
        scanner.end().unwrap();
    }

    /// JSON, and JSON with a byte changed, dropped or doubled.
    fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            Just("false".to_owned()),
            any::<i64>().prop_map(|n| n.to_string()),
            any::<f32>().prop_map(|n| serde_json::to_string(&n).unwrap_or_default()),
            ".{0,12}".prop_map(|s| serde_json::to_string(&s).unwrap_or_default()),
            Just(r#""a\u0000\ud83d\ude00\/""#.to_owned()),
            Just("1.5E-7".to_owned()),
        ];
        let value = leaf.prop_recursive(4, 24, 4, |inner| {
            let members = proptest::collection::vec((".{0,4}", inner.clone()), 0..4);
            prop_oneof![
                proptest::collection::vec(inner, 0..4).prop_map(|v| format!("[{}]", v.join(" ,"))),
                members.prop_map(|m| {
                    let members: Vec<_> = m
                        .iter()
                        .map(|(k, v)| format!("{}:\t{v}", serde_json::to_string(k).unwrap()))
                        .collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        });
        let change = prop_oneof![
            2 => Just(None),
            3 => (0usize..200, 0u8..3, prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\'), Just(b'}')])
                .prop_map(Some),
        ];
        (value, change).prop_map(|(value, change)| {
            let mut bytes = value.into_bytes();
            if let Some((at, how, byte)) = change {
                let at = at % bytes.len().max(1);
                match how {
                    0 => bytes[at] = byte,
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, byte),
                }
            }
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn we_take_for_json_what_serde_does(line in nearly_json()) {
            // Whether bytes are UTF-8 is checked beside this, once for the whole line.
            if std::str::from_utf8(&line).is_ok() {
                prop_assert_eq!(is_json(&line), serde_says(&line));
            } else {
                is_json(&line);
            }
        }
    }
}
