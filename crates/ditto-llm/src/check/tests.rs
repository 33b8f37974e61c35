use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;
use crate::{
    ids::IdSet,
    jsonl::{LineSplitter, split_lines},
};

const CHAT: &str = "/v1/chat/completions";

fn rules() -> Rules {
    let limits = Limits {
        max_line_bytes: 10_000,
        ..Limits::openai()
    };
    Rules {
        endpoint: Some(CHAT.into()),
        one_model: true,
        models: None,
        limits,
        fill: Fill::default(),
    }
}

fn bare() -> Fill {
    Fill {
        bare: Some(BareIds::default()),
        ..Fill::default()
    }
}

struct Checked {
    faults: Vec<Fault>,
    seen: Vec<Seen>,
    summary: Summary,
}

fn check_with(rules: Rules, max_ids: usize, file: impl AsRef<[u8]>) -> Checked {
    let dir = tempfile::tempdir().unwrap();
    let mut splitter = LineSplitter::new(usize::try_from(rules.limits.max_line_bytes).unwrap());
    let mut checker = Checker::new(rules, IdSet::new(dir.path(), max_ids));
    let (mut faults, mut seen) = (Vec::new(), Vec::new());
    let mut take = |line: crate::jsonl::Line<'_>| {
        seen.push(checker.line(&line, &mut faults)?);
        Ok::<_, std::io::Error>(())
    };
    splitter.feed(file.as_ref(), &mut take).unwrap();
    splitter.finish(&mut take).unwrap();
    let summary = checker.finish(&mut faults).unwrap();
    Checked {
        faults,
        seen,
        summary,
    }
}

fn check(rules: Rules, file: impl AsRef<[u8]>) -> Checked {
    check_with(rules, 1_000, file)
}

/// Faults as `line code param: message`.
fn told(rules: Rules, file: impl AsRef<[u8]>) -> Vec<String> {
    check(rules, file).faults.iter().map(tell).collect()
}

fn tell(fault: &Fault) -> String {
    let line = fault.line.map_or("-".to_owned(), |line| line.to_string());
    let param = fault.param.as_deref().unwrap_or("-");
    format!("{line} {} {param}: {}", fault.code.as_str(), fault.message)
}

fn line(id: &str) -> String {
    with_body(id, r#"{"model":"m","messages":[]}"#)
}

fn with_body(id: &str, body: &str) -> String {
    format!("{{\"custom_id\":\"{id}\",\"method\":\"POST\",\"url\":\"{CHAT}\",\"body\":{body}}}\n")
}

#[test]
fn good_file_has_no_faults_and_is_summed_up() {
    let file = line("a") + "\n" + &line("b");
    let checked = check(
        Rules {
            endpoint: None,
            ..rules()
        },
        &file,
    );
    assert_eq!(checked.faults, []);
    let good = Seen::Request {
        faulty: false,
        custom_id: None,
    };
    assert_eq!(checked.seen, [good.clone(), Seen::Blank, good]);
    let summary = checked.summary;
    assert_eq!(
        (summary.lines, summary.requests, summary.bytes),
        (3, 2, file.len() as u64)
    );
    assert_eq!(
        (summary.endpoint.as_deref(), summary.model.as_deref()),
        (Some(CHAT), Some("m"))
    );
    assert_eq!(
        (summary.models, summary.bare_lines, summary.bare_suffix),
        (1, 0, String::new())
    );
}

#[test]
fn keys_that_are_missing_or_null_are_named() {
    assert_eq!(
        told(rules(), r#"{"custom_id":null}"#),
        [
            "1 missing_required_parameter custom_id: Missing required parameter: 'custom_id'.",
            "1 missing_required_parameter method: Missing required parameter: 'method'.",
            "1 missing_required_parameter url: Missing required parameter: 'url'.",
            "1 missing_required_parameter body: Missing required parameter: 'body'.",
        ]
    );
}

#[test]
fn values_of_the_wrong_type_are_named() {
    let file = r#"{"custom_id":7,"method":["POST"],"url":true,"body":"{}"}"#.to_owned()
        + "\n"
        + &with_body("a", r#"{"model":{},"messages":[]}"#);
    assert_eq!(
        told(rules(), file),
        [
            "1 invalid_type custom_id: Invalid type for 'custom_id': expected a string, but got a number instead.",
            "1 invalid_type method: Invalid type for 'method': expected a string, but got an array instead.",
            "1 invalid_type url: Invalid type for 'url': expected a string, but got a boolean instead.",
            "1 invalid_type body: Invalid type for 'body': expected an object, but got a string instead.",
            "2 invalid_type body.model: Invalid type for 'body.model': expected a string, but got an object instead.",
        ]
    );
}

#[test]
fn line_that_is_not_a_json_object_is_named() {
    let file = "{\"custom_id\":\"a\",\n[1]\n{} {}\n";
    assert_eq!(
        told(rules(), file),
        [
            "1 invalid_json_line -: This line is not parseable as valid JSON.",
            "2 invalid_json_line -: This line is not a JSON object.",
            "3 invalid_json_line -: This line is not parseable as valid JSON.",
        ]
    );
}

#[test]
fn line_that_is_not_utf8_is_named_with_the_byte_and_still_shows_its_id() {
    let mut file = with_body("a", r#"{"model":"m","messages":["x"]}"#).into_bytes();
    let at = file.iter().position(|b| *b == b'x').unwrap();
    file[at] = 0xFF;
    let checked = check(rules(), &file);
    assert_eq!(checked.faults[0].code, FaultCode::InvalidUtf8);
    assert_eq!(
        tell(&checked.faults[0]),
        format!(
            "1 invalid_json_line -: This line is not parseable as valid JSON: byte {} is not valid UTF-8.",
            at + 1
        )
    );
    assert_eq!(
        checked.seen,
        [Seen::Request {
            faulty: true,
            custom_id: Some("\"a\"".into())
        }]
    );
}

#[test]
fn id_of_a_faulty_line_keeps_its_spelling() {
    let file = r#"{"custom_id":"\u0061\/","body":{}"#;
    let seen = check(rules(), file).seen;
    assert_eq!(
        seen,
        [Seen::Request {
            faulty: true,
            custom_id: Some(r#""\u0061\/""#.into())
        }]
    );
}

#[test]
fn empty_id_and_id_that_is_not_text_are_refused() {
    let file = line("") + &line(r"\ud800");
    assert_eq!(
        told(rules(), file),
        [
            "1 invalid_value custom_id: Invalid value for 'custom_id': expected a string that is not empty.",
            "2 invalid_value custom_id: Invalid value for 'custom_id': half of a surrogate pair is not text.",
        ]
    );
}

#[test]
fn second_use_of_an_id_is_the_bad_one_however_it_is_escaped() {
    let checked = check(rules(), line("a") + &line("b") + &line(r"\u0061"));
    assert_eq!(
        tell(&checked.faults[0]),
        "3 duplicate_custom_id custom_id: The custom_id 'a' was already used on line 1."
    );
    assert_eq!(checked.faults.len(), 1);
}

#[test]
fn ids_on_disk_give_their_duplicates_at_the_end() {
    let checked = check_with(rules(), 1, line("a") + &line("b") + &line("b") + &line("a"));
    assert_eq!(checked.faults, []);
    let late: Vec<_> = checked
        .summary
        .late_duplicates
        .map(Result::unwrap)
        .collect();
    assert_eq!(late, [(3, 2), (4, 1)]);
    let fault = Fault::late_duplicate(3, 2);
    assert_eq!(
        tell(&fault),
        "3 duplicate_custom_id custom_id: The custom_id was already used on line 2."
    );
}

#[test]
fn method_is_post_and_url_is_the_endpoint() {
    let file = r#"{"custom_id":"a","method":"GET","url":"/v1/embeddings","body":{"model":"m","messages":[]}}"#;
    assert_eq!(
        told(rules(), file),
        [
            "1 invalid_method method: Invalid value: 'GET'. Supported values are: 'POST'",
            "1 invalid_url url: The URL provided for this request does not match the batch endpoint.",
        ]
    );
}

#[test]
fn method_and_url_may_be_escaped() {
    let file = r#"{"custom_id":"a","method":"\u0050OST","url":"\/v1\/chat\/completions","body":{"model":"m","messages":[]}}"#;
    assert_eq!(told(rules(), file), [""; 0]);
}

#[test]
fn without_an_endpoint_the_first_line_makes_the_rule() {
    let file = line("a") + &line("b").replace(CHAT, "/v1/completions");
    let checked = check(
        Rules {
            endpoint: None,
            ..rules()
        },
        file,
    );
    assert_eq!(checked.faults[0].code, FaultCode::InvalidUrl);
    assert_eq!((checked.faults.len(), checked.faults[0].line), (1, Some(2)));
}

#[test]
fn repeated_keys_that_decide_something_are_named_however_they_are_escaped() {
    let file = concat!(
        r#"{"custom_id":"a","custom_id":"b","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}"#,
        "\n",
        r#"{"custom_id":"c","x":1,"method":"POST","\u0078":2,"url":"/v1/chat/completions","body":{"model":"m","messages":[]}}"#,
        "\n",
        r#"{"custom_id":"d","method":"POST","url":"/v1/chat/completions","body":{"model":"m","m\u006fdel":"m","messages":[]}}"#,
        "\n",
        r#"{"custom_id":"e","method":"POST","url":"/v1/chat/completions","body":{"model":"m","stream":false,"stream":false,"messages":[]}}"#,
        "\n",
        r#"{"custom_id":"f","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[],"x":1,"x":{"model":1,"model":2}}}"#,
    );
    assert_eq!(
        told(rules(), file),
        [
            "1 duplicate_key custom_id: The key 'custom_id' appears more than once.",
            "2 duplicate_key x: The key 'x' appears more than once.",
            "3 duplicate_key body.model: The key 'model' appears more than once in 'body'.",
            r"3 ambiguous_key body.model: The key 'model' is spelled 'm\u006fdel', which not every reader takes for it.",
            "4 duplicate_key body.stream: The key 'stream' appears more than once in 'body'.",
        ]
    );
}

#[test]
fn keys_of_the_line_that_are_written_with_escapes_are_named() {
    let plain = line("a");
    for (key, spelled) in [
        ("custom_id", r"custom_i\u0064"),
        ("method", r"\u006dethod"),
        ("url", r"u\u0072l"),
        ("body", r"b\u006Fdy"),
    ] {
        let file = plain.replace(&format!("\"{key}\""), &format!("\"{spelled}\""));
        let fault = format!(
            "1 ambiguous_key {key}: The key '{key}' is spelled '{spelled}', which not every reader takes for it."
        );
        assert_eq!(told(rules(), file), [fault]);
    }
    // A key that means nothing here may be spelled as it likes.
    let file = plain.replacen('{', r#"{"gr\u00f6\u00dfe":1,"#, 1);
    assert_eq!(told(rules(), file), [""; 0]);
}

#[test]
fn model_and_stream_in_another_spelling_are_named_since_upstreams_may_take_them() {
    let body = |more: &str| with_body("a", &format!("{{\"model\":\"m\",{more}\"messages\":[]}}"));
    let table = [
        (r"mod\u0065l", "model"),
        ("Model", "model"),
        ("MODEL", "model"),
        (r"\u004dodel", "model"),
        (r"stre\u0061m", "stream"),
        ("Stream", "stream"),
        ("\u{17F}tream", "stream"),
        (r"\u017Ftream", "stream"),
    ];
    for (spelled, key) in table {
        let told = told(rules(), body(&format!("\"{spelled}\":false,")));
        let fault = format!(
            "1 ambiguous_key body.{key}: The key '{key}' is spelled '{spelled}', which not every reader takes for it."
        );
        assert!(told.contains(&fault), "{spelled}: {told:?}");
    }
    for harmless in [
        "models",
        "mode",
        "streams",
        "stream_options",
        "xmodel",
        "m\u{F6}del",
    ] {
        let told = told(rules(), body(&format!("\"{harmless}\":false,")));
        assert_eq!(told, [""; 0], "{harmless}");
    }
}

#[test]
fn a_bare_body_is_held_to_the_spelling_of_its_keys() {
    let rules = Rules {
        endpoint: None,
        fill: bare(),
        ..rules()
    };
    let file = r#"{"model":"m","Stream":true,"messages":[]}"#;
    assert_eq!(
        told(rules, file),
        [
            "1 ambiguous_key body.stream: The key 'stream' is spelled 'Stream', which not every reader takes for it."
        ]
    );
}

#[test]
fn body_needs_a_model_and_messages_and_no_stream() {
    let file = with_body("a", r#"{"messages":[]}"#)
        + &with_body("b", r#"{"model":null,"messages":[]}"#)
        + &with_body("c", r#"{"model":"","messages":[]}"#)
        + &with_body("d", r#"{"model":"m","messages":null}"#)
        + &with_body("e", r#"{"model":"m","messages":[],"stream":true}"#)
        + &with_body("f", r#"{"model":"m","messages":[],"stream":false}"#)
        + &with_body("g", r#"{"model":"m","messages":[],"stream":null}"#)
        + &with_body("h", r#"{"model":"m","messages":[],"stream":"true"}"#)
        + &with_body("i", r#"{"model":"m","messages":[],"stream":1}"#);
    assert_eq!(
        told(rules(), file),
        [
            "1 invalid_request body.model: Model parameter is required.",
            "2 invalid_request body.model: Model parameter is required.",
            "3 invalid_request body.model: Model parameter is required.",
            "4 invalid_request body.messages: Messages parameter is required.",
            "5 streaming_unsupported body.stream: Chat Completions: Streaming is not supported in the Batch API.",
            "8 invalid_type body.stream: Invalid type for 'body.stream': expected a boolean, but got a string instead.",
            "9 invalid_type body.stream: Invalid type for 'body.stream': expected a boolean, but got a number instead.",
        ]
    );
}

#[test]
fn messages_are_asked_of_chat_completions_only() {
    let file = with_body("a", r#"{"model":"m","prompt":"x"}"#).replace(CHAT, "/v1/completions");
    assert_eq!(
        told(
            Rules {
                endpoint: None,
                ..rules()
            },
            file
        ),
        [""; 0]
    );
}

#[test]
fn a_model_that_is_not_served_is_a_fault_where_the_served_ones_are_known() {
    let file = line("a") + &with_body("b", r#"{"model":"n","messages":[]}"#);
    let served = |names: &[&str]| Rules {
        one_model: false,
        models: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        ..rules()
    };
    let said =
        "2 model_not_found body.model: The provided model 'n' is not supported by the Batch API.";
    assert_eq!(told(served(&["m"]), &file), [said]);
    assert_eq!(told(served(&["n", "m"]), &file), [""; 0]);
}

#[test]
fn other_model_is_a_fault_only_where_one_model_is_the_rule() {
    let file = line("a") + &with_body("b", r#"{"model":"n","messages":[]}"#) + &line("c");
    assert_eq!(
        told(rules(), &file),
        [
            "2 mismatched_model body.model: All requests in a batch must use the same model; expected 'm', found 'n'."
        ]
    );
    let lenient = check(
        Rules {
            one_model: false,
            ..rules()
        },
        &file,
    );
    assert_eq!((lenient.faults.len(), lenient.summary.models), (0, 2));
}

#[test]
fn fifty_megabyte_line_is_named_and_the_next_one_is_checked() {
    let long = with_body("a", &format!("\"{}\"", "x".repeat(50_000_000)));
    let checked = check(rules(), long + &line("b"));
    assert_eq!(
        checked.faults.iter().map(tell).collect::<Vec<_>>(),
        ["1 line_too_long -: This line is longer than 10000 bytes."]
    );
    assert_eq!(checked.summary.requests, 2);
}

#[test]
fn limits_of_the_file_are_each_told_once() {
    let limits = Limits {
        max_lines: 1,
        max_file_bytes: 150,
        ..Limits::openai()
    };
    let file = line("a") + &line("b") + &line("c");
    let checked = check(Rules { limits, ..rules() }, file);
    assert_eq!(
        checked.faults.iter().map(tell).collect::<Vec<_>>(),
        [
            "- file_too_large -: The input file is larger than 150 bytes.",
            "- too_many_requests_in_file -: The input file has more than 1 requests.",
        ]
    );
    assert_eq!(
        checked.seen[2],
        Seen::Request {
            faulty: false,
            custom_id: None
        }
    );
}

#[test]
fn embedding_inputs_are_counted_over_the_file() {
    let embed = |id: &str, input: &str| {
        with_body(id, &format!("{{\"model\":\"m\",\"input\":{input}}}"))
            .replace(CHAT, "/v1/embeddings")
    };
    let file = embed("a", r#""one text""#)
        + &embed("b", "[1, 2, 3]")
        + &embed("c", r#"["x","y"]"#)
        + &embed("d", "[[1,2],[3]]");
    let with_max = |max| {
        let limits = Limits {
            max_embedding_inputs: Some(max),
            ..Limits::openai()
        };
        told(
            Rules {
                endpoint: None,
                limits,
                ..rules()
            },
            &file,
        )
    };
    assert_eq!(with_max(6), [""; 0]);
    assert_eq!(
        with_max(5),
        [
            "4 too_many_embedding_inputs body.input: The input file has more than 5 embedding inputs."
        ]
    );
}

#[test]
fn file_without_a_request_is_empty() {
    for file in ["", "\n \n", "\u{FEFF}", "\u{FEFF}\r\n"] {
        assert_eq!(
            told(rules(), file),
            ["- empty_file -: The input file has no requests."]
        );
    }
}

#[test]
fn bom_crlf_and_missing_last_line_feed_are_fine() {
    let file = format!(
        "\u{FEFF}{}\r\n\r\n{}",
        line("a").trim_end(),
        line("b").trim_end()
    );
    let checked = check(rules(), file);
    assert_eq!((checked.faults.len(), checked.summary.requests), (0, 2));
}

#[test]
fn what_is_absent_may_be_filled_in() {
    let fill = Fill {
        model: Some("m".into()),
        endpoint: Some(CHAT.into()),
        bare: None,
    };
    let rules = Rules {
        endpoint: None,
        fill,
        ..rules()
    };
    let file = "{\"custom_id\":\"a\",\"body\":{\"messages\":[]}}\n".to_owned() + &line("b");
    let checked = check(rules.clone(), file);
    assert_eq!(checked.faults, []);
    assert_eq!(checked.summary.endpoint.as_deref(), Some(CHAT));
    let file = with_body("a", r#"{"model":null,"messages":[]}"#);
    assert_eq!(
        told(rules, file),
        ["1 invalid_request body.model: Model parameter is required."]
    );
}

#[test]
fn bare_bodies_are_taken_where_they_are_allowed() {
    let file = "{\"model\":\"m\",\"messages\":[]}\n";
    let checked = check(
        Rules {
            endpoint: None,
            fill: bare(),
            ..rules()
        },
        file,
    );
    assert_eq!(checked.faults, []);
    assert_eq!(
        (
            checked.summary.bare_lines,
            checked.summary.endpoint.as_deref()
        ),
        (1, Some(CHAT))
    );
    assert_eq!(check(rules(), file).faults.len(), 4);
}

#[test]
fn bare_bodies_are_held_against_the_same_rules() {
    let file = concat!(
        r#"{"model":"m","messages":[],"temperature":1,"temperature":2}"#,
        "\n",
        r#"{"model":"m","model":"m","messages":[],"stream":true}"#,
        "\n",
        r#"{"messages":[]}"#,
        "\n",
        r#"{"model":"m","prompt":"x"}"#,
        "\n",
    );
    assert_eq!(
        told(
            Rules {
                endpoint: None,
                fill: bare(),
                ..rules()
            },
            file
        ),
        [
            "2 duplicate_key body.model: The key 'model' appears more than once in 'body'.",
            "2 streaming_unsupported body.stream: Chat Completions: Streaming is not supported in the Batch API.",
            "3 invalid_request body.model: Model parameter is required.",
            "4 invalid_request body.messages: Messages parameter is required.",
        ]
    );
}

#[test]
fn bare_input_does_not_say_where_it_goes() {
    let rules = Rules {
        endpoint: None,
        fill: bare(),
        ..rules()
    };
    let file = r#"{"model":"m","input":"x"}"#;
    assert_eq!(
        told(rules, file),
        ["1 missing_required_parameter url: Missing required parameter: 'url'."]
    );
}

#[test]
fn long_texts_are_cut_in_messages() {
    let id = "é".repeat(2_000);
    let message = &check(rules(), line(&id) + &line(&id)).faults[0].message;
    assert!(message.contains("é…' was already"), "{message}");
    assert!(message.len() < 500);
}

#[test]
fn fault_serialises_as_the_protocol_has_it() {
    let faults = check(rules(), "x").faults;
    assert_eq!(
        serde_json::to_string(&faults).unwrap(),
        r#"[{"line":1,"code":"invalid_json_line","param":null,"message":"This line is not parseable as valid JSON."}]"#
    );
}

#[test]
fn request_is_borrowed_byte_for_byte() {
    let body = r#"{ "a":1.00, "model" : "\u006d", "messages":[ ], "z":"\/" }"#;
    let line = with_body(r"i\/d", body);
    let request = parse_request(line.trim_end().as_bytes(), 1, &Fill::default()).unwrap();
    assert!(matches!(
        request.custom_id,
        std::borrow::Cow::Borrowed(r#""i\/d""#)
    ));
    assert!(matches!(request.body, std::borrow::Cow::Borrowed(raw) if raw == body.as_bytes()));
    assert_eq!(request.model, "m");
}

#[test]
fn filled_model_is_the_first_key_of_the_body() {
    let fill = Fill {
        model: Some("a\"b".into()),
        ..Fill::default()
    };
    let body_of = |body: &str| {
        let line = with_body("a", body);
        let request = parse_request(line.trim_end().as_bytes(), 1, &fill).unwrap();
        (
            String::from_utf8(request.body.into_owned()).unwrap(),
            request.model.into_owned(),
        )
    };
    let named = |body: &str| (body.to_owned(), "a\"b".to_owned());
    assert_eq!(body_of(r#"{"x":1}"#), named(r#"{"model":"a\"b","x":1}"#));
    assert_eq!(body_of("{ }"), named(r#"{"model":"a\"b" }"#));
    assert_eq!(
        body_of(r#"{"model":"m"}"#),
        (r#"{"model":"m"}"#.into(), "m".into())
    );
}

#[test]
fn bare_body_gets_an_id_from_its_line() {
    let fill = Fill {
        bare: Some(BareIds {
            suffix: "-2".into(),
        }),
        ..Fill::default()
    };
    let line = b"\xEF\xBB\xBF {\"model\":\"m\",\"messages\":[]} ";
    let request = parse_request(line, 1, &fill).unwrap();
    assert_eq!(request.custom_id, "\"line-1-2\"");
    assert_eq!(&*request.body, br#"{"model":"m","messages":[]}"#);
    assert_eq!(parse_request(&line[4..], 1, &Fill::default()), None);
}

#[test]
fn what_is_no_request_is_not_parsed() {
    for line in [
        "",
        "[]",
        "{}",
        r#"{"custom_id":1,"body":{"model":"m"}}"#,
        r#"{"custom_id":"a","body":[]}"#,
    ] {
        assert_eq!(parse_request(line.as_bytes(), 1, &Fill::default()), None);
    }
}

#[derive(serde::Deserialize)]
struct Reference<'a> {
    #[serde(borrow)]
    custom_id: &'a RawValue,
    #[serde(borrow)]
    body: &'a RawValue,
}

#[derive(serde::Deserialize)]
struct ReferenceBody {
    model: String,
}

fn json_text() -> impl Strategy<Value = String> {
    let plain = "[ -~é\u{2028}\u{1F600}\"\\\\\n]{0,20}";
    let escaped = plain.prop_map(|text| {
        let units = text.encode_utf16().map(|unit| format!("\\u{unit:04X}"));
        format!("\"{}\"", units.collect::<String>())
    });
    prop_oneof![
        plain.prop_map(|text| serde_json::to_string(&text).unwrap()),
        escaped
    ]
}

fn request_line() -> impl Strategy<Value = String> {
    let blank = "[ \t]{0,2}";
    let extra = prop_oneof![
        Just(String::new()),
        json_text().prop_map(|t| format!("\"x\":[{t},{{\"model\":1}}],")),
    ];
    (
        json_text(),
        json_text(),
        json_text(),
        extra,
        blank,
        any::<bool>(),
    )
        .prop_map(|(id, model, text, extra, s, swap)| {
            let body = format!(
                "{{{s}{extra}\"messages\"{s}:[{{\"content\":{text}}}{s}],\"model\":{s}{model}{s}}}"
            );
            let (a, b) = (
                format!("\"custom_id\":{s}{id}"),
                format!("\"body\"{s}:{body}"),
            );
            let (first, second) = if swap { (b, a) } else { (a, b) };
            format!("{s}{{{first}{s},{extra}\"method\":\"POST\",\"url\":\"{CHAT}\",{second}}}{s}")
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn our_reading_of_a_request_is_that_of_serde(line in request_line()) {
        let reference: Reference<'_> = serde_json::from_str(&line).unwrap();
        let body: ReferenceBody = serde_json::from_str(reference.body.get()).unwrap();
        let request = parse_request(line.as_bytes(), 2, &Fill::default()).unwrap();
        prop_assert_eq!(&*request.custom_id, reference.custom_id.get());
        prop_assert_eq!(&*request.body, reference.body.get().as_bytes());
        prop_assert_eq!(&*request.model, body.model);
    }

    #[test]
    fn any_bytes_are_judged_without_panic(file in proptest::collection::vec(any::<u8>(), 0..200)) {
        let checked = check(rules(), &file);
        let lines = split_lines(&file).count() as u64;
        prop_assert_eq!(checked.summary.lines, lines);
    }

    #[test]
    fn cut_line_is_a_fault_or_blank(line in request_line(), at in any::<prop::sample::Index>()) {
        let line = line.trim();
        let cut: String = line.chars().take(at.index(line.chars().count())).collect();
        prop_assert!(!check(rules(), &cut).faults.is_empty());
    }
}
