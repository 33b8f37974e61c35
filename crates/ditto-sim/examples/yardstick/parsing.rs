//! A batch file, read as anybody would read it: each line parsed by serde_json, each id kept in a set.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::AnyError;
use crate::cost::Cost;

const READ_BUFFER: usize = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request<'a> {
    #[serde(borrow)]
    custom_id: Cow<'a, str>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    url: Cow<'a, str>,
    #[serde(borrow)]
    body: &'a RawValue,
}

pub(crate) fn parse(file: &Path) -> Result<Value, AnyError> {
    let cost = Cost::start();
    let mut reader = BufReader::with_capacity(READ_BUFFER, File::open(file)?);
    let mut ids = HashSet::new();
    let (mut line, mut body_bytes) = (Vec::new(), 0);
    while reader.read_until(b'\n', &mut line)? > 0 {
        let request: Request<'_> = serde_json::from_slice(&line)?;
        if request.method != "POST" || !request.url.starts_with("/v1/") {
            return Err(format!("{}: a line of another kind", request.custom_id).into());
        }
        body_bytes += request.body.get().len();
        if !ids.insert(request.custom_id.into_owned()) {
            return Err("an id is there twice".into());
        }
        line.clear();
    }
    Ok(json!({
        "lines": ids.len(),
        "body_bytes": body_bytes,
        "seconds": cost.seconds(),
        "cpu_seconds": cost.cpu_seconds(),
    }))
}
