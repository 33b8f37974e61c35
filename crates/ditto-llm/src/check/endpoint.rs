//! Where the requests of a file go, and what is asked of a body there.

use super::scan::{Kind, Scanner, Value};

/// Where the requests of a file go.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) url: String,
    /// As it mostly stands in a line, so that most lines are compared without unescaping.
    pub(super) token: Vec<u8>,
    pub(super) asks: Asks,
}

/// What an endpoint wants in a body, as far as it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    Messages,
    Embeddings,
    Otherwise,
}

impl Endpoint {
    pub(super) fn new(url: &str) -> Self {
        // Providers put other versions in front, as in `/v4/chat/completions`.
        let asks = if url.ends_with("/chat/completions") {
            Asks::Messages
        } else if url.ends_with("/embeddings") {
            Asks::Embeddings
        } else {
            Asks::Otherwise
        };
        let token = serde_json::Value::from(url).to_string().into_bytes();
        Self {
            url: url.to_owned(),
            token,
            asks,
        }
    }
}

/// How many texts one `input` holds: a string or a list of token numbers is one.
pub(crate) fn inputs_in(input: Value<'_>) -> u64 {
    if input.kind != Kind::Array {
        return 1;
    }
    let mut scanner = Scanner::new(input.raw);
    let mut count = 0;
    while let Ok(Some(item)) = scanner.next_item(count == 0) {
        if item.kind == Kind::Number {
            return 1;
        }
        count += 1;
    }
    count
}
