use std::fs;

use flate2::{Compression, write::GzEncoder};

use super::*;

const GOOD: &str = r#"{"custom_id":"ID","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}"#;

fn good(id: &str) -> String {
    GOOD.replace("ID", id) + "\n"
}

fn args(input: impl Into<PathBuf>) -> CheckArgs {
    CheckArgs {
        input: input.into(),
        provider: None,
        profiles: ProfilesArgs::default(),
        endpoint: None,
        model: None,
        lenient_models: false,
        json: false,
    }
}

struct Ran {
    exit: u8,
    out: String,
    err: String,
}

fn ran(args: &CheckArgs) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = run(args, &mut out, &mut err);
    Ran {
        exit,
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
    }
}

/// Checks `bytes` under the file name `name`; the folder's path is left out of what is said.
fn checked(name: &str, bytes: impl AsRef<[u8]>, change: impl Fn(&mut CheckArgs)) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    let mut args = args(path);
    change(&mut args);
    let mut ran = ran(&args);
    ran.err = ran.err.replace(&format!("{}/", dir.path().display()), "");
    ran
}

#[test]
fn clean_file_is_summed_up_and_leaves_stdout_empty() {
    let ran = checked("x.jsonl", good("a") + "\n" + &good("b"), |_| {});
    assert_eq!((ran.exit, ran.out.as_str()), (exit::DONE, ""));
    assert_eq!(
        ran.err,
        "x.jsonl: 2 requests for /v1/chat/completions, model m: no faults\n"
    );
}

#[test]
fn twelve_different_faults_give_twelve_named_faults() {
    let mut file = [
        good("first"),
        "not json\n".into(),
        good("a").replace("\"custom_id\":\"a\",", ""),
        good("first"),
        good("b").replace("POST", "GET"),
        good("c").replace("/v1/chat/completions", "/v1/embeddings"),
        good("d").replace("\"m\"", "\"other\""),
        good("e").replace("\"model\":\"m\",", ""),
        good("f").replace("\"messages\":[]", "\"prompt\":\"x\""),
        good("g").replace("[]", "[],\"stream\":true"),
        good("h").replace("\"h\"", "7"),
        good("i").replace("\"model\":\"m\"", "\"model\":\"m\",\"model\":\"m\""),
    ]
    .concat()
    .into_bytes();
    file.extend_from_slice(b"{\"custom_id\":\"\xFF\"}\n");
    let ran = checked("x.jsonl", file, |_| {});
    assert_eq!(ran.exit, exit::REFUSED);
    let lines: Vec<_> = ran
        .out
        .lines()
        .filter(|line| !line.starts_with("  hint: "))
        .collect();
    assert_eq!(
        lines,
        [
            "line 2: invalid_json_line: This line is not parseable as valid JSON.",
            "line 3: missing_required_parameter: Missing required parameter: 'custom_id'.",
            "line 4: duplicate_custom_id: The custom_id 'first' was already used on line 1.",
            "line 5: invalid_method: Invalid value: 'GET'. Supported values are: 'POST'",
            "line 6: invalid_url: The URL provided for this request does not match the batch endpoint.",
            "line 7: mismatched_model: All requests in a batch must use the same model; expected 'm', found 'other'.",
            "line 8: invalid_request: Model parameter is required.",
            "line 9: invalid_request: Messages parameter is required.",
            "line 10: streaming_unsupported: Chat Completions: Streaming is not supported in the Batch API.",
            "line 11: invalid_type: Invalid type for 'custom_id': expected a string, but got a number instead.",
            "line 12: duplicate_key: The key 'model' appears more than once in 'body'.",
            "line 13: invalid_json_line: This line is not parseable as valid JSON: byte 15 is not valid UTF-8.",
        ]
    );
    assert!(
        ran.out
            .contains("\n  hint: give each line its own custom_id\n")
    );
    assert!(ran.err.ends_with(", 2 models: 12 faults\n"), "{}", ran.err);
}

#[test]
fn hint_is_given_once_a_kind_and_faults_end_at_a_hundred() {
    let ran = checked("x.jsonl", "x\n".repeat(250), |_| {});
    let lines: Vec<_> = ran.out.lines().collect();
    assert_eq!(lines.len(), 102);
    assert_eq!(
        lines[1],
        "  hint: write one JSON object a line, without line breaks in it"
    );
    assert_eq!(lines[101], "and 150 more; --json prints all");
    assert_eq!(ran.err, "x.jsonl: 250 requests: 250 faults\n");
}

#[test]
fn json_has_one_object_a_fault_and_no_end() {
    let ran = checked("x.jsonl", good("a") + &"{\n".repeat(150), |args| {
        args.json = true
    });
    let faults: Vec<serde_json::Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(faults.len(), 150);
    let expected = serde_json::json!({
        "line": 2, "code": "invalid_json_line", "param": null,
        "message": "This line is not parseable as valid JSON.",
    });
    assert_eq!(faults[0], expected);
    assert_eq!(ran.exit, exit::REFUSED);
}

#[test]
fn empty_file_is_refused() {
    let ran = checked("x.jsonl", "", |_| {});
    assert_eq!(ran.exit, exit::REFUSED);
    assert!(
        ran.out
            .starts_with("file: empty_file: The input file has no requests.\n")
    );
}

#[test]
fn missing_file_folder_and_unknown_provider_have_their_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let missing = ran(&args(dir.path().join("none.jsonl")));
    assert_eq!((missing.exit, missing.out.as_str()), (exit::NOT_FOUND, ""));
    assert!(
        missing.err.starts_with("error: cannot read "),
        "{}",
        missing.err
    );
    assert!(
        missing
            .err
            .ends_with("none.jsonl: no such file or directory\n"),
        "{}",
        missing.err
    );

    let folder = ran(&args(dir.path()));
    assert_eq!(folder.exit, exit::LOCAL_IO);
    assert!(folder.err.ends_with(": is a directory\n"), "{}", folder.err);

    let acme = CheckArgs {
        provider: Some("acme".into()),
        ..args("x")
    };
    let acme = ran(&acme);
    assert_eq!(acme.exit, exit::USAGE);
    assert!(
        acme.err
            .starts_with("error: no provider is known as `acme`\nhint: known are azure,")
    );
}

#[test]
fn compressed_files_are_unpacked() {
    let file = good("a") + &good("a");
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(file.as_bytes()).unwrap();
    let zst = zstd::encode_all(file.as_bytes(), 1).unwrap();
    for (name, bytes) in [("x.jsonl.gz", gz.finish().unwrap()), ("x.jsonl.zst", zst)] {
        let ran = checked(name, bytes, |_| {});
        assert_eq!(ran.exit, exit::REFUSED);
        assert!(ran.out.contains("already used on line 1"), "{}", ran.out);
    }
}

#[test]
fn broken_archive_is_an_input_that_is_refused() {
    for name in ["x.gz", "x.zst"] {
        let ran = checked(name, "no archive", |_| {});
        assert_eq!(ran.exit, exit::REFUSED);
        assert!(
            ran.err
                .starts_with(&format!("error: cannot unpack {name}: ")),
            "{}",
            ran.err
        );
    }
}

#[test]
fn bare_bodies_are_fine_for_run_but_not_for_a_provider() {
    let file = "{\"model\":\"m\",\"messages\":[]}\n";
    let free = checked("x.jsonl", file, |_| {});
    assert_eq!(free.exit, exit::DONE);
    assert!(
        free.err.contains("1 bare body named line-<n>: no faults"),
        "{}",
        free.err
    );
    let upload = checked("x.jsonl", file, |args| {
        args.provider = Some("openai".into())
    });
    assert_eq!(upload.exit, exit::REFUSED);
}

#[test]
fn provider_has_its_own_limits() {
    let file: String = (0..5_001).map(|n| good(&n.to_string())).collect();
    let run = |name: &str| checked("x.jsonl", &file, |args| args.provider = Some(name.into()));
    assert_eq!(run("openai").exit, exit::DONE);
    let small = run("siliconflow");
    assert!(
        small.out.starts_with("file: too_many_requests_in_file: "),
        "{}",
        small.out
    );
}

#[test]
fn options_fill_what_lines_lack_and_allow_many_models() {
    let file = "{\"custom_id\":\"a\",\"body\":{\"input\":\"x\"}}\n{\"custom_id\":\"b\",\"body\":{\"model\":\"n\",\"input\":\"x\"}}\n";
    let ran = checked("x.jsonl", file, |args| {
        args.endpoint = Some("/v1/embeddings".into());
        args.model = Some("m".into());
        args.lenient_models = true;
    });
    assert_eq!(
        ran.err,
        "x.jsonl: 2 requests for /v1/embeddings, 2 models: no faults\n"
    );
}

struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn closed_pipe_keeps_the_verdict_and_a_full_disk_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.jsonl");
    fs::write(&path, "x\n").unwrap();
    let run = |kind| run(&args(&path), &mut Broken(kind), &mut io::sink());
    assert_eq!(run(io::ErrorKind::BrokenPipe), exit::REFUSED);
    assert_eq!(run(io::ErrorKind::StorageFull), exit::LOCAL_IO);
}
