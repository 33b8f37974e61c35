//! Result lines of answers that are in a spool file: the same bytes as [`result_line`] would write,
//! piece by piece and never whole in memory.

use std::io::{self, Read, Write};
use std::ops::Range;

use base64::Engine as _;

use super::answer::Survey;
use super::result_line::{self, LineError, Name};
use crate::journal::Long;
use crate::model::policy::Body;
use crate::spool::Spooled;

/// Read at a time.
const PIECE: usize = 64 * 1024;

/// One line, and where its body is.
#[derive(Debug)]
pub(crate) struct LongLine {
    before: Vec<u8>,
    body: Spooled,
    form: Form,
    secret: Option<String>,
    after: Vec<u8>,
    length: u32,
}

/// How the body stands in the line.
#[derive(Debug, Clone)]
enum Form {
    /// As it is, from here to there.
    Json(Range<u64>),
    /// As a JSON string.
    Text,
    /// As `{"base64": …}`.
    Base64,
}

/// What stands around the body.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) name: Name<'a>,
    pub(crate) status: u16,
    pub(crate) request_id: &'a str,
    pub(crate) error: Option<LineError<'a>>,
}

impl LongLine {
    /// The line of this answer, with the secret in it replaced.
    pub(crate) fn new(
        frame: &Frame<'_>,
        body: &Spooled,
        survey: &Survey,
        secret: Option<&str>,
    ) -> io::Result<Self> {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        result_line::open_response(&mut before, frame.name, frame.status, frame.request_id);
        result_line::close_response(&mut after, frame.error);
        let form = match survey.facts.body {
            Body::Json | Body::ApiError => Form::Json(survey.trimmed.clone()),
            Body::Empty | Body::Other if survey.is_utf8 => Form::Text,
            Body::Empty | Body::Other => Form::Base64,
        };
        let mut line = Self {
            before,
            body: body.clone(),
            form,
            secret: secret.map(str::to_owned),
            after,
            length: 0,
        };
        let mut counted = Counted(0);
        line.write_to(&mut counted)?;
        line.length = u32::try_from(counted.0).map_err(|_| io::ErrorKind::FileTooLarge)?;
        Ok(line)
    }

    fn write_body(&self, out: &mut dyn Write) -> io::Result<()> {
        let range = match &self.form {
            Form::Json(range) => range.clone(),
            Form::Text | Form::Base64 => 0..self.body.length(),
        };
        let reader = self.body.range(range);
        match &self.form {
            Form::Json(_) => self.pieces(reader, out, json_piece),
            Form::Text => {
                out.write_all(b"\"")?;
                self.pieces(reader, out, text_piece)?;
                out.write_all(b"\"")
            }
            Form::Base64 => {
                out.write_all(b"{\"base64\":\"")?;
                self.pieces(reader, out, base64_piece)?;
                out.write_all(b"\"}")
            }
        }
    }

    /// Takes the body through `form` piece by piece. It is told whether a piece is the last and says
    /// how much of it it took; the rest stands at the beginning of the next.
    fn pieces(
        &self,
        reader: impl Read,
        out: &mut dyn Write,
        form: fn(&[u8], bool, &mut Vec<u8>) -> usize,
    ) -> io::Result<()> {
        let (mut waiting, mut formed) = (Vec::new(), Vec::new());
        masked(reader, self.secret.as_deref(), |piece, is_last| {
            waiting.extend_from_slice(piece);
            formed.clear();
            let taken = form(&waiting, is_last, &mut formed);
            waiting.drain(..taken);
            out.write_all(&formed)
        })
    }
}

impl Long for LongLine {
    fn length(&self) -> u32 {
        self.length
    }

    fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self.before)?;
        self.write_body(out)?;
        out.write_all(&self.after)
    }
}

/// What is only counted.
struct Counted(u64);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives what is read piece by piece, the last one as such, with each secret replaced.
fn masked(
    mut reader: impl Read,
    secret: Option<&str>,
    mut take: impl FnMut(&[u8], bool) -> io::Result<()>,
) -> io::Result<()> {
    let secret = secret.unwrap_or_default().as_bytes();
    let finder = (!secret.is_empty()).then(|| memchr::memmem::Finder::new(secret));
    let mut piece = Vec::with_capacity(PIECE + secret.len());
    loop {
        let read = reader.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        let is_last = read == 0;
        let mut done = 0;
        while let Some(at) = finder.as_ref().and_then(|f| f.find(&piece[done..])) {
            take(&piece[done..done + at], false)?;
            take(b"***", false)?;
            done += at + secret.len();
        }
        // The beginning of a secret may stand at the end.
        let keep = if is_last {
            0
        } else {
            secret.len().saturating_sub(1)
        };
        let until = piece.len().saturating_sub(keep).max(done);
        take(&piece[done..until], is_last)?;
        piece.drain(..until);
        if is_last {
            return Ok(());
        }
    }
}

/// JSON, fit for a line. A separator that would break it may be cut by the end of a piece.
fn json_piece(piece: &[u8], is_last: bool, out: &mut Vec<u8>) -> usize {
    let cut = match piece {
        _ if is_last => 0,
        [.., 0xe2, 0x80] => 2,
        [.., 0xe2 | 0xc2] => 1,
        _ => 0,
    };
    let taken = piece.len() - cut;
    result_line::write_json(out, &piece[..taken]);
    taken
}

/// Text as the inside of a JSON string. A character may be cut by the end of a piece.
fn text_piece(piece: &[u8], _is_last: bool, out: &mut Vec<u8>) -> usize {
    let text = match std::str::from_utf8(piece) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&piece[..error.valid_up_to()]).unwrap_or_default(),
    };
    let mut quoted = Vec::with_capacity(text.len() + 2);
    result_line::write_value(&mut quoted, text);
    out.extend_from_slice(&quoted[1..quoted.len() - 1]);
    text.len()
}

/// Three bytes are four characters; what is left over is padded at the very end only.
fn base64_piece(piece: &[u8], is_last: bool, out: &mut Vec<u8>) -> usize {
    let cut = if is_last { 0 } else { piece.len() % 3 };
    let taken = piece.len() - cut;
    let text = base64::engine::general_purpose::STANDARD.encode(&piece[..taken]);
    out.extend_from_slice(text.as_bytes());
    taken
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::super::answer::{self, survey};
    use super::super::result_line::{Response, ResponseBody};
    use super::super::settle::without_secret;
    use super::*;
    use crate::spool::SpoolFolder;

    const KEY: &str = "sk-canary-0123456789";
    const FRAME: Frame<'_> = Frame {
        name: Name {
            id: "batch_req_b_1",
            custom_id: b"\"a\"",
        },
        status: 200,
        request_id: "req_1",
        error: None,
    };

    /// The line by way of a spool file, and by way of memory.
    async fn both(body: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let spooling = SpoolFolder::new(folder.path()).begin(BytesMut::from(body));
        let spooled = spooling.finish().await;
        let survey = survey(&spooled).unwrap();
        let facts = answer::read(body);
        assert_eq!(survey.facts, facts);

        let line = LongLine::new(&FRAME, &spooled, &survey, Some(KEY)).unwrap();
        let mut long = Vec::new();
        line.write_to(&mut long).unwrap();
        assert_eq!(line.length() as usize, long.len());

        let masked = without_secret(body, Some(KEY));
        let body = match facts.body {
            Body::Json | Body::ApiError => ResponseBody::Json(&masked),
            Body::Empty | Body::Other => ResponseBody::Raw(&masked),
        };
        let response = Response {
            status: FRAME.status,
            request_id: FRAME.request_id,
            body,
        };
        let mut held = Vec::new();
        result_line::write(&mut held, FRAME.name, Some(response), FRAME.error);
        (long, held)
    }

    /// A piece's end falls on each place of the text once.
    async fn are_the_same(start: &str, middle: &[u8], end: &str) {
        for shift in 0..middle.len() + 2 {
            let filling = vec![b'.'; PIECE - start.len() - shift];
            let body = [start.as_bytes(), &filling, middle, end.as_bytes()].concat();
            let (long, held) = both(&body).await;
            let text = String::from_utf8_lossy(middle);
            assert!(long == held, "cut at {shift} of {text:?}");
        }
    }

    #[tokio::test]
    async fn a_long_line_is_what_a_short_one_would_be_wherever_a_piece_ends() {
        let text = format!("\u{2028}{KEY}\u{85}\u{4f60}\u{e9}\u{1f600}{KEY}{KEY}\u{2029}");
        let middle = text.as_bytes();
        let end = "\",\n\"usage\":{\"total_tokens\":9}}\r\n ";
        are_the_same(" \n{\"s\":\"", middle, end).await;
        are_the_same("<html>\n\"\\", middle, "\t</html>\n").await;
        are_the_same("{\"s\":\"", &[middle, b"\xff"].concat(), "\"}").await;
        let quota = "{\"error\":{\"code\":\"insufficient_quota\"},\"s\":\"";
        are_the_same(quota, b"\\n", "\"}").await;
    }

    #[tokio::test]
    async fn nothing_and_white_space_are_empty_also_when_spooled() {
        for body in ["", " \r\n"] {
            let (long, held) = both(body.as_bytes()).await;
            assert_eq!(long, held);
        }
    }
}
