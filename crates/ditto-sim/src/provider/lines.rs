//! The lines of an input file, one at a time, in memory that does not grow with the file.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

/// One line of an input file, as far as the provider looks at it.
#[derive(Debug, Deserialize)]
pub(crate) struct Line<'a> {
    #[serde(borrow)]
    pub(crate) custom_id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) url: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) body: Option<&'a RawValue>,
}

impl<'a> Line<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The JSON token, with its quotes.
    pub(crate) fn id_token(&self) -> &'a str {
        self.custom_id.map_or("null", RawValue::get)
    }

    pub(crate) fn body_bytes(&self) -> &'a [u8] {
        self.body.map_or(b"null", |body| body.get().as_bytes())
    }
}

/// Calls `each` with the number of a line, from 1, and its bytes; lines of white space are left out.
pub(crate) fn each_line(
    path: &Path,
    mut each: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = BufReader::with_capacity(256 * 1024, File::open(path)?);
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        if file.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        number += 1;
        if !line.trim_ascii().is_empty() {
            each(number, line.trim_ascii())?;
        }
    }
}
