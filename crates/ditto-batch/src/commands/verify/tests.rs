use std::fs;

use super::*;

fn ran(input: &str, output: &str, errors: Option<&str>, json: bool) -> (u8, String) {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let args = VerifyArgs {
        input: write("x.jsonl", input),
        output: write("x.output.jsonl", output),
        errors: errors.map(|text| write("x.errors.jsonl", text)),
        json,
    };
    let mut out = Vec::new();
    let exit = run(&args, &mut out, &mut io::sink());
    (exit, String::from_utf8(out).unwrap())
}

fn requests(count: usize) -> String {
    (1..=count)
        .map(|n| format!("{{\"custom_id\":\"r{n}\",\"body\":{{}}}}\n"))
        .collect()
}

fn answer(line: usize) -> String {
    format!(
        "{{\"id\":\"batch_req_b_{line}\",\"custom_id\":\"r{line}\",\
         \"response\":{{\"status_code\":200,\"body\":{{\"x\":1}}}},\"error\":null}}\n"
    )
}

#[test]
fn all_answered_is_exit_0() {
    let (exit, out) = ran(&requests(2), &(answer(2) + &answer(1)), None, false);
    assert_eq!(exit, exit::DONE);
    assert_eq!(
        out,
        "conserved: 2 requests, 2 results: 2 answered, 0 failed, matched by line number\n"
    );
}

#[test]
fn failed_for_good_is_exit_9() {
    let failed = answer(2).replace("200", "400");
    let (exit, out) = ran(&requests(2), &answer(1), Some(&failed), false);
    assert_eq!(exit, exit::SOME_FAILED);
    assert!(
        out.starts_with("conserved: 2 requests, 2 results: 1 answered, 1 failed"),
        "{out}"
    );
}

#[test]
fn lost_requests_are_exit_5_and_ten_are_named() {
    let (exit, out) = ran(&requests(20), &answer(3).repeat(2), None, false);
    assert_eq!(exit, exit::CONFLICT);
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(
        lines[0],
        "NOT conserved: 20 requests, 2 results: 2 answered, 0 failed, matched by line number; 20 offences"
    );
    assert_eq!(lines[1], "  input line 1 has no result");
    assert_eq!((lines[11], lines.len()), ("  and 10 more", 12));
}

#[test]
fn json_is_one_object() {
    let (exit, out) = ran(&requests(1), "", None, true);
    assert_eq!(exit, exit::CONFLICT);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["conserved"], false);
    assert_eq!(report["offences"][0]["kind"], "missing");
}

#[test]
fn missing_file_is_exit_3_and_stdin_twice_is_exit_2() {
    let args = |input: &str, output: &str| VerifyArgs {
        input: input.into(),
        output: output.into(),
        errors: None,
        json: false,
    };
    let mut err = Vec::new();
    assert_eq!(
        run(&args("none.in", "none.out"), &mut io::sink(), &mut err),
        exit::NOT_FOUND
    );
    assert_eq!(
        err,
        b"error: cannot read none.in: no such file or directory\n"
    );
    assert_eq!(
        run(&args("-", "-"), &mut io::sink(), &mut io::sink()),
        exit::USAGE
    );
}

#[test]
fn report_names_the_file_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let (input, output) = (dir.path().join("x.jsonl"), dir.path().join("x.gz"));
    fs::write(&input, requests(1)).unwrap();
    fs::write(&output, "no archive").unwrap();
    let args = VerifyArgs {
        input,
        output,
        errors: None,
        json: false,
    };
    let mut err = Vec::new();
    assert_eq!(run(&args, &mut io::sink(), &mut err), exit::LOCAL_IO);
    assert!(String::from_utf8(err).unwrap().contains("x.gz: "));
}
