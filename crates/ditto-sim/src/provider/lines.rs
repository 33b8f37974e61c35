//! The lines of an input file, one at a time, in memory that does not grow with the file.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::chance::{Purpose, draw};

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

/// Calls `each` with the lines in any order, and the place of each among them, from 1. It holds eight
/// bytes a line in memory.
pub(crate) fn each_line_shuffled(
    path: &Path,
    seed: u64,
    mut each: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let starts = starts(path)?;
    let mut places: Vec<usize> = (0..starts.len()).collect();
    for end in (1..places.len()).rev() {
        let chance = draw(seed, Purpose::RowOrder, end as u64, 0);
        places.swap(end, (chance * (end + 1) as f64) as usize);
    }
    let mut file = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    for place in places {
        line.clear();
        file.seek(SeekFrom::Start(starts[place]))?;
        file.read_until(b'\n', &mut line)?;
        each(place as u64 + 1, line.trim_ascii())?;
    }
    Ok(())
}

/// Where each line begins that is not of white space.
fn starts(path: &Path) -> io::Result<Vec<u64>> {
    let mut file = BufReader::with_capacity(256 * 1024, File::open(path)?);
    let (mut starts, mut line, mut at) = (Vec::new(), Vec::new(), 0);
    loop {
        line.clear();
        let read = file.read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(starts);
        }
        if !line.trim_ascii().is_empty() {
            starts.push(at);
        }
        at += read as u64;
    }
}
