//! Logs, on stderr.

use std::fmt::{self, Debug, Write};
use std::io::IsTerminal;

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

/// Errors of the engine are said by the commands in their own words; logs are for looking deeper.
const QUIET: &str = "off";

/// What an operator of `serve` wants to see: batches that begin and end, lanes that pause, storage
/// that refuses.
const OPERATOR: &str = "warn,ditto_server=info";

/// Who reads stderr.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Audience {
    /// A person at a shell.
    Person,
    /// A log.
    Operator,
}

/// Starts logging, by the filter if one was given.
pub(crate) fn start(filter: Option<&str>, audience: Audience) {
    let usual = match audience {
        Audience::Person => QUIET,
        Audience::Operator => OPERATOR,
    };
    let filter = EnvFilter::try_new(filter.unwrap_or(usual));
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(usual));
    tracing_subscriber::fmt()
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(filter)
        .fmt_fields(debug_fn(write_field).delimited(" "))
        .with_writer(std::io::stderr)
        .init();
}

/// One field, or the message. What comes from outside, be it an upstream's answer or the words of an
/// error, can neither begin a line of its own nor speak to the terminal.
fn write_field(out: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(out, "{}=", field.name())?;
    }
    write!(Plain(out), "{value:?}")
}

/// Writes control characters by their names.
struct Plain<'a, W>(&'a mut W);

impl<W: Write> Write for Plain<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match is_plain(c) {
            true => self.0.write_char(c),
            false => write!(self.0, "{}", c.escape_default()),
        })
    }
}

/// Neither a control character nor one of those that break a line or turn its direction.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_can_begin_a_line_or_speak_to_the_terminal() {
        let mut out = String::new();
        let text = "a\nERROR forged\r\u{1b}[31m\u{202e}x\t数据";
        write!(Plain(&mut out), "{text}").unwrap();
        assert_eq!(out, "a\\nERROR forged\\r\\u{1b}[31m\\u{202e}x\\t数据");
    }
}
