//! A multipart form, written by hand so that a test decides every byte.

const BOUNDARY: &str = "XbX";

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

    pub(crate) fn part(mut self, disposition: &str, content: &str) -> Self {
        let part =
            format!("--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n{content}\r\n");
        self.0.extend_from_slice(part.as_bytes());
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
