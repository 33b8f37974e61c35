use std::fs;

use super::*;

fn of(subject: impl Into<PathBuf>) -> VerifyArgs {
    VerifyArgs {
        subject: subject.into(),
        output: None,
        errors: None,
        report: None,
        json: false,
        api: ApiArgs::default(),
    }
}

fn ran(input: &str, output: &str, errors: Option<&str>, json: bool) -> (u8, String) {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let args = VerifyArgs {
        output: Some(write("x.output.jsonl", output)),
        errors: errors.map(|text| write("x.errors.jsonl", text)),
        json,
        ..of(write("x.jsonl", input))
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
fn every_request_answered_once_is_exit_0() {
    let (exit, out) = ran(&requests(2), &(answer(2) + &answer(1)), None, false);
    assert_eq!(exit, exit::DONE);
    assert_eq!(
        out,
        "conserved: 2 requests, 2 results: 2 answered, 0 failed, matched by line number\n"
    );
}

#[test]
fn a_request_that_failed_for_good_is_accounted_for() {
    let failed = answer(2).replace("200", "400");
    let (exit, out) = ran(&requests(2), &answer(1), Some(&failed), false);
    assert_eq!(exit, exit::DONE);
    assert!(
        out.starts_with("conserved: 2 requests, 2 results: 1 answered, 1 failed"),
        "{out}"
    );
}

#[test]
fn lost_requests_are_exit_9_and_ten_are_named() {
    let (exit, out) = ran(&requests(20), &answer(3).repeat(2), None, false);
    assert_eq!(exit, exit::SOME_FAILED);
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
    assert_eq!(exit, exit::SOME_FAILED);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["conserved"], false);
    assert_eq!(report["offences"][0]["kind"], "missing");
}

#[test]
fn missing_file_is_exit_3_and_stdin_twice_is_exit_2() {
    let args = |input: &str, output: &str| VerifyArgs {
        output: Some(output.into()),
        ..of(input)
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
        output: Some(output),
        ..of(input)
    };
    let mut err = Vec::new();
    assert_eq!(run(&args, &mut io::sink(), &mut err), exit::LOCAL_IO);
    assert!(String::from_utf8(err).unwrap().contains("x.gz: "));
}

#[test]
fn what_the_end_of_a_batch_overtook_is_counted_apart() {
    let cancelled = "{\"id\":\"batch_req_b_2\",\"custom_id\":\"r2\",\"response\":null,\
                     \"error\":{\"code\":\"batch_cancelled\",\"message\":\"\"}}\n";
    let (exit, out) = ran(&requests(2), &answer(1), Some(cancelled), false);
    assert_eq!(exit, exit::DONE);
    assert!(
        out.contains("1 answered, 1 failed (1 of them cancelled or expired), matched"),
        "{out}"
    );
}

#[test]
fn a_folder_without_a_job_and_a_file_without_results_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let said = |subject: &Path| {
        let mut err = Vec::new();
        let exit = run(&of(subject), &mut io::sink(), &mut err);
        (exit, String::from_utf8(err).unwrap())
    };
    let (exit, err) = said(dir.path());
    assert_eq!(exit, exit::NOT_FOUND);
    assert!(err.contains("is not the folder of a job"), "{err}");
    let (exit, err) = said(&dir.path().join("x.ditto"));
    assert_eq!(exit, exit::NOT_FOUND);
    assert!(err.contains("there is no folder"), "{err}");
    let input = dir.path().join("x.jsonl");
    fs::write(&input, requests(1)).unwrap();
    let (exit, err) = said(&input);
    assert_eq!(exit, exit::USAGE);
    assert!(err.contains("where are its results?"), "{err}");
}

#[test]
fn what_is_no_report_is_a_mistake_of_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("x.jsonl");
    fs::write(&input, requests(1)).unwrap();
    let args = VerifyArgs {
        output: Some(input.clone()),
        report: Some(input.clone()),
        json: true,
        ..of(&input)
    };
    let mut out = Vec::new();
    assert_eq!(run(&args, &mut out, &mut io::sink()), exit::USAGE);
    let said: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(said["exit"], exit::USAGE);
}
