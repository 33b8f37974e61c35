//! Any bytes as an input file, held against rules.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{byte, chunks};
use crate::{
    check::{
        BareIds, Checker, Fault, FaultCode, Fill, Limits, Request, Rules, Seen, Summary,
        parse_request,
    },
    ids::IdSet,
    jsonl::{Content, Line, LineSplitter},
};

const CHAT: &str = "/v1/chat/completions";

/// What a checker said of a file.
struct Judged {
    seen: Vec<Seen>,
    faults: Vec<Fault>,
    summary: Summary,
    /// The lines that were found good, with their numbers.
    good: Vec<(u64, Vec<u8>)>,
}

/// Three bytes say the rules and how the file comes in, the rest is the file. Its faults are the same
/// however it comes; and of each good line the engine and any strict reader of JSON see the same.
///
/// # Panics
///
/// Where that does not hold.
pub fn checks(mut script: &[u8]) {
    let (bits, most, seed) = (byte(&mut script), byte(&mut script), byte(&mut script));
    let rules = rules(bits);
    let whole = judged(&rules, [script].into_iter());
    let cut = judged(&rules, chunks(script, most, seed));
    assert_eq!((&cut.seen, &cut.faults), (&whole.seen, &whole.faults));
    assert_eq!(
        (cut.summary.lines, cut.summary.requests, cut.summary.models),
        (
            whole.summary.lines,
            whole.summary.requests,
            whole.summary.models
        )
    );
    assert_eq!(whole.summary.bytes, script.len() as u64);

    let fill = Fill {
        bare: rules.fill.bare.clone().map(|_| BareIds {
            suffix: whole.summary.bare_suffix.clone(),
        }),
        ..rules.fill.clone()
    };
    let endpoint = whole.summary.endpoint.as_deref();
    for (number, line) in &whole.good {
        let request = parse_request(line, *number, &fill).expect("a good line is a request");
        assert!(!request.model.is_empty());
        if !is_bare(line, &fill) {
            held_against_serde(
                line,
                &request,
                &fill,
                endpoint.expect("a good line has one"),
            );
        }
    }
}

fn rules(bits: u8) -> Rules {
    let has = |bit: u8| bits >> bit & 1 == 1;
    Rules {
        endpoint: has(0).then(|| CHAT.to_owned()),
        one_model: has(1),
        models: None,
        limits: Limits {
            max_lines: if has(2) { 2 } else { 1_000 },
            max_file_bytes: if has(2) { 300 } else { 1_000_000 },
            max_line_bytes: if has(3) { 160 } else { 100_000 },
            max_embedding_inputs: has(4).then_some(3),
        },
        fill: Fill {
            model: has(5).then(|| "filled".to_owned()),
            endpoint: has(6).then(|| CHAT.to_owned()),
            bare: has(7).then(BareIds::default),
        },
    }
}

fn judged<'a>(rules: &Rules, chunks: impl Iterator<Item = &'a [u8]>) -> Judged {
    let limit = usize::try_from(rules.limits.max_line_bytes).expect("small here");
    let mut splitter = LineSplitter::new(limit);
    let mut checker = Checker::new(rules.clone(), IdSet::new(std::env::temp_dir(), 1_000));
    let (mut seen, mut faults, mut good) = (Vec::new(), Vec::new(), Vec::new());
    let mut take = |line: Line<'_>| {
        let told = checker.line(&line, &mut faults)?;
        if let (Seen::Request { faulty: false, .. }, Content::Bytes(bytes)) = (&told, line.content)
        {
            good.push((line.number, bytes.to_vec()));
        }
        seen.push(told);
        Ok::<_, std::io::Error>(())
    };
    for chunk in chunks {
        splitter.feed(chunk, &mut take).expect("ids stay in memory");
    }
    splitter.finish(&mut take).expect("ids stay in memory");
    let summary = checker.finish(&mut faults).expect("ids stay in memory");
    let whole_file = |fault: &Fault| fault.code == FaultCode::EmptyFile;
    assert_eq!(faults.iter().any(whole_file), summary.requests == 0);
    Judged {
        seen,
        faults,
        summary,
        good,
    }
}

/// What must be in a good line, each key once: `serde` refuses a second one.
#[derive(Deserialize)]
struct Reference<'a> {
    custom_id: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(borrow)]
    body: &'a RawValue,
}

#[derive(Deserialize)]
struct ReferenceBody<'a> {
    #[serde(default)]
    model: Option<String>,
    #[serde(default, borrow)]
    stream: Option<&'a RawValue>,
}

fn held_against_serde(line: &[u8], request: &Request<'_>, fill: &Fill, endpoint: &str) {
    if has_half_pairs(line) {
        return;
    }
    let theirs: Reference<'_> = serde_json::from_slice(line).expect("a good line is strict JSON");
    let ours: String = serde_json::from_str(&request.custom_id).expect("a JSON string");
    assert_eq!(ours, theirs.custom_id);
    assert!(!ours.is_empty());
    let or_filled = |text: Option<String>, filled: &str| {
        text.or_else(|| fill.endpoint.is_some().then(|| filled.to_owned()))
    };
    assert_eq!(or_filled(theirs.method, "POST").as_deref(), Some("POST"));
    let url = or_filled(theirs.url, fill.endpoint.as_deref().unwrap_or_default());
    assert_eq!(url.as_deref(), Some(endpoint));

    let sent = std::str::from_utf8(&request.body).expect("a good line is UTF-8");
    let body: ReferenceBody<'_> = serde_json::from_str(sent).expect("what is sent is strict JSON");
    assert_eq!(body.model.as_deref(), Some(&*request.model));
    assert_ne!(body.stream.map(RawValue::get), Some("true"));
    let named = serde_json::from_str::<ReferenceBody<'_>>(theirs.body.get())
        .is_ok_and(|body| body.model.is_some());
    assert_eq!(named, sent == theirs.body.get(), "byte for byte, or filled");
}

/// Half of a surrogate pair is grammar to us and no text to `serde`, which then refuses the line for
/// a key or a value that nobody reads. Told apart roughly, and on the safe side.
fn has_half_pairs(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line).to_ascii_lowercase();
    [
        "\\ud8", "\\ud9", "\\uda", "\\udb", "\\udc", "\\udd", "\\ude", "\\udf",
    ]
    .iter()
    .any(|half| text.contains(half))
}

fn is_bare(line: &[u8], fill: &Fill) -> bool {
    let unnamed = Fill {
        bare: None,
        ..fill.clone()
    };
    // A line that is a request only where bodies alone are taken.
    fill.bare.is_some() && parse_request(line, 2, &unnamed).is_none()
}
