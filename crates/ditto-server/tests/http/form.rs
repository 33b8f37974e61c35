//! A multipart form, written by hand so that a test decides every byte.

const BOUNDARY: &str = "XbX";

#[derive(Debug, Clone)]
pub(crate) struct Form(Vec<u8>);

impl Form {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn field(self, name: &str, value: &str) -> Self {
        self.part(&format!("form-data; name=\"{name}\""), value)
    }

    pub(crate) fn file(self, filename: &str, content: &str) -> Self {
        self.part(
            &format!("form-data; name=\"file\"; filename=\"{filename}\""),
            content,
        )
    }

    pub(crate) fn part(self, disposition: &str, content: &str) -> Self {
        self.bytes(disposition.as_bytes(), content)
    }

    /// A part whose names need not be text.
    pub(crate) fn bytes(mut self, disposition: &[u8], content: &str) -> Self {
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: ");
        let rest = format!("\r\n\r\n{content}\r\n");
        self.0
            .extend([head.as_bytes(), disposition, rest.as_bytes()].concat());
        self
    }

    /// The bytes so far, without the end.
    pub(crate) fn unfinished(self) -> (String, Vec<u8>) {
        (format!("multipart/form-data; boundary={BOUNDARY}"), self.0)
    }

    pub(crate) fn encode(self) -> (String, Vec<u8>) {
        let (content_type, mut body) = self.unfinished();
        body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        (content_type, body)
    }
}
