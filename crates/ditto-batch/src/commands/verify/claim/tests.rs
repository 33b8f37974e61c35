use super::*;
use crate::commands::run::job::InputIdentity;
use crate::commands::run::summary::{ResultFile, Summary};
use ditto_llm::verify::{Files, verify};

fn print(text: &str) -> Fingerprint {
    Fingerprint::of(text.as_bytes())
}

/// Three requests, two answers and one error.
fn found() -> Proof {
    let request = "{\"custom_id\":\"a\",\"body\":{}}\n";
    let answer = |line: u32| {
        format!(
            "{{\"id\":\"batch_req_b_{line}\",\"custom_id\":\"a\",\"response\":{{\"status_code\":200,\"body\":{{\"x\":1}}}}}}\n"
        )
    };
    let (input, output) = (request.repeat(3), answer(1) + &answer(2));
    let errors =
        "{\"id\":\"batch_req_b_3\",\"custom_id\":\"a\",\"error\":{\"code\":\"batch_cancelled\"}}\n";
    let files = Files {
        input: &mut input.as_bytes(),
        output: &mut output.as_bytes(),
        errors: Some(&mut errors.as_bytes()),
    };
    Proof {
        report: verify(files, &std::env::temp_dir()).unwrap(),
        input: print(&input),
        unpacked_input: None,
        output: print(&output),
        errors: Some(print(errors)),
    }
}

/// What a job says that wrote them.
fn reported(proof: &Proof) -> Summary {
    let file = |lines, print: &Fingerprint| ResultFile {
        path: String::new(),
        lines,
        bytes: print.bytes,
        xxh3: print.xxh3.clone(),
    };
    Summary {
        version: "0".to_owned(),
        exit: 9,
        status: "completed".to_owned(),
        total: 3,
        answered: 2,
        failed: 1,
        input_tokens: 0,
        output_tokens: 0,
        total_tokens: 0,
        seconds: 0.0,
        input: InputIdentity {
            path: String::new(),
            bytes: proof.input.bytes,
            modified: 0,
            xxh3: proof.input.xxh3.clone(),
        },
        output: file(2, &proof.output),
        errors: file(1, proof.errors.as_ref().unwrap()),
    }
}

fn differences(said: &Summary, proof: &Proof) -> Vec<String> {
    let differences = of_report(&Reported::from(said), proof);
    differences.iter().map(ToString::to_string).collect()
}

fn batch(id: &str, total: u64, completed: u64, failed: u64) -> Batch {
    let counts = serde_json::json!({"total": total, "completed": completed, "failed": failed});
    let batch = serde_json::json!({"id": id, "status": "cancelled", "request_counts": counts});
    serde_json::from_value(batch).unwrap()
}

#[test]
fn files_that_are_as_reported_differ_in_nothing() {
    let proof = found();
    assert_eq!(differences(&reported(&proof), &proof), [""; 0]);
}

#[test]
fn each_file_with_other_bytes_is_named() {
    let mut proof = found();
    let said = reported(&proof);
    proof.input = Fingerprint {
        xxh3: "0".to_owned(),
        ..proof.input
    };
    proof.output.bytes = 1_000;
    proof.errors = Some(print("x"));
    let named = differences(&said, &proof);
    assert!(named[0].starts_with("input was altered: its hash is 0 and was "));
    assert!(named[1].starts_with("output has 1,000 bytes and had "));
    assert!(named[2].starts_with("errors has 1 byte and had "));
    assert_eq!(named.len(), 3);
}

#[test]
fn a_report_with_other_counts_than_its_files_is_found() {
    let proof = found();
    let mut said = reported(&proof);
    (said.total, said.answered, said.errors.lines) = (4, 1, 0);
    assert_eq!(
        differences(&said, &proof),
        [
            "lines of the input: 4 were reported and the files have 3",
            "answered lines: 1 were reported and the files have 2",
            "lines of the errors: 0 were reported and the files have 1",
        ]
    );
}

#[test]
fn an_error_file_that_was_not_given_is_not_held_against_the_report() {
    let mut proof = found();
    let said = reported(&proof);
    proof.errors = None;
    assert_eq!(differences(&said, &proof), [""; 0]);
}

#[test]
fn cancelled_lines_count_as_neither_completed_nor_failed() {
    let report = found().report;
    assert_eq!(of_batch(&batch("batch_b", 3, 2, 0), &report), []);
    let named: Vec<_> = of_batch(&batch("batch_b", 4, 2, 1), &report)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        named,
        [
            "total: 4 were reported and the files have 3",
            "failed: 1 were reported and the files have 0",
        ]
    );
}

#[test]
fn results_of_another_batch_are_named() {
    let differences = of_batch(&batch("batch_c", 3, 2, 0), &found().report);
    assert_eq!(
        differences[0].to_string(),
        "the results of batch_c are results of batch_b"
    );
}
