use super::*;

fn input(ids: &[&str]) -> String {
    ids.iter()
        .map(|id| format!("{{\"custom_id\":\"{id}\",\"body\":{{}}}}\n"))
        .collect()
}

fn answer(id: &str, custom_id: &str) -> String {
    format!(
        "{{\"id\":\"{id}\",\"custom_id\":\"{custom_id}\",\"response\":\
         {{\"status_code\":200,\"body\":{{\"id\":\"x\"}}}},\"error\":null}}\n"
    )
}

fn refusal(id: &str, custom_id: &str) -> String {
    format!(
        "{{\"id\":\"{id}\",\"custom_id\":{custom_id},\"response\":null,\
         \"error\":{{\"code\":\"batch_expired\",\"message\":\"\"}}}}\n"
    )
}

fn report(input: &str, output: &str, errors: &str) -> VerifyReport {
    let dir = tempfile::tempdir().unwrap();
    let files = Files {
        input: &mut input.as_bytes(),
        output: &mut output.as_bytes(),
        errors: Some(&mut errors.as_bytes()),
    };
    verify(files, dir.path()).unwrap()
}

fn offences(report: &VerifyReport) -> Vec<String> {
    report.offences.iter().map(ToString::to_string).collect()
}

#[test]
fn results_of_our_own_are_matched_by_line_number() {
    let output = answer("batch_req_b_2", "a") + &answer("batch_req_b_1", "a");
    let errors = refusal("batch_req_b_4", "null");
    let report = report(&(input(&["a", "a"]) + "\nnot json\n"), &output, &errors);
    assert_eq!(report.matched_by, Some(MatchedBy::LineNumber));
    assert_eq!((report.requests, report.answered, report.failed), (3, 2, 1));
    assert_eq!((report.output_lines, report.error_lines), (2, 1));
    assert_eq!((report.unfinished, report.batch.as_deref()), (1, Some("b")));
    assert_eq!(offences(&report), [""; 0]);
    assert!(report.is_conserved() && !report.is_all_answered());
}

#[test]
fn every_way_to_break_conservation_by_line_number_is_named() {
    let output = [
        answer("batch_req_b_1", "a"),
        answer("batch_req_b_1", "a"),
        answer("batch_req_b_9", "b"),
        answer("batch_req_c_2", "b"),
        answer("req_2", "b"),
        answer("batch_req_b_3", "x"),
        "{\"id\":\n".to_owned(),
    ];
    let report = report(&input(&["a", "b", "c"]), &output.concat(), "");
    assert_eq!(
        offences(&report),
        [
            "input line 2 has no result",
            "output line 2 is a second result for its request",
            "output line 3 belongs to no request of the input",
            "output line 4 is a result of another batch",
            "output line 5 does not say which line it answers",
            "output line 6 has the number of one request and the id of another",
            "output line 7 is not a JSON object that can be read",
        ]
    );
}

#[test]
fn results_of_others_are_matched_by_custom_id() {
    let output = answer("batch_req_67cb", "b") + &answer("batch_req_67cc", "a");
    let report = report(&input(&["a", "b"]), &output, "");
    assert_eq!(report.matched_by, Some(MatchedBy::CustomId));
    assert!(report.is_all_answered());
}

#[test]
fn every_way_to_break_conservation_by_custom_id_is_named() {
    let output = answer("r1", "a") + &answer("r2", "a") + &answer("r3", "x") + "[]\n";
    let errors = refusal("r4", "null");
    let report = report(&input(&["a", "b"]), &output, &errors);
    assert_eq!(
        offences(&report),
        [
            "input line 2 has no result",
            "output line 2 is a second result for its request",
            "output line 3 belongs to no request of the input",
            "output line 4 is not a JSON object that can be read",
            "errors line 1 belongs to no request of the input",
        ]
    );
    assert_eq!(report.offence_count, 5);
}

#[test]
fn repeated_ids_want_as_many_results() {
    let output = answer("r1", "a") + &answer("r2", "a");
    assert!(report(&input(&["a", "a"]), &output, "").is_all_answered());
    let report = report(&input(&["a", "a", "a"]), &output, "");
    assert_eq!(offences(&report), ["input line 3 has no result"]);
}

#[test]
fn one_id_for_all_lines_is_counted_and_the_last_are_named() {
    let many = 400_000;
    let input = input(&["a"]).repeat(many);
    let output = answer("r", "a").repeat(many - 2);
    let report = report(&input, &output, "");
    assert_eq!(
        offences(&report),
        [
            "input line 399999 has no result",
            "input line 400000 has no result"
        ]
    );
}

#[test]
fn requests_without_an_id_are_matched_by_number_of_results_without_one() {
    let input = "{}\n{\"custom_id\":3}\n\n[1]\n".to_owned() + &input(&["a"]);
    let output = answer("r1", "a");
    let errors = refusal("r2", "null") + &refusal("r3", "null");
    let report = report(&input, &output, &errors);
    assert_eq!(offences(&report), ["input line 4 has no result"]);
}

#[test]
fn bare_bodies_are_known_by_the_names_that_run_gives_them() {
    let bare = "{\"model\":\"m\",\"messages\":[]}\n";
    let output = answer("r1", "line-1") + &answer("r2", "line-2");
    assert!(report(&bare.repeat(2), &output, "").is_conserved());
    let taken = bare.to_owned() + &input(&["line-1"]);
    let output = answer("r1", "line-1-2") + &answer("r2", "line-1");
    assert!(report(&taken, &output, "").is_conserved());
}

#[test]
fn escaped_ids_are_the_same_as_plain_ones() {
    let output = answer("r1", "a\\u00e9\\/");
    assert!(report(&input(&["aé/"]), &output, "").is_conserved());
}

#[test]
fn without_results_every_request_is_missing_and_ten_are_named() {
    let ids: Vec<_> = (0..25).map(|n| n.to_string()).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let report = report(&input(&ids), "", "\n");
    assert_eq!((report.matched_by, report.offence_count), (None, 25));
    assert_eq!(report.offences.len(), 10);
    assert_eq!(report.offences[9].line, 10);
}

#[test]
fn many_ids_are_matched_on_disk_as_in_memory() {
    let ids: Vec<_> = (0..120_000).map(|n| format!("row-{n}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let output: String = ids.iter().rev().skip(1).map(|id| answer("x", id)).collect();
    let report = report(&input(&ids), &output, "");
    assert_eq!(report.answered, 119_999);
    assert_eq!(offences(&report), ["input line 120000 has no result"]);
}

#[test]
fn report_serialises_for_programs() {
    let report = report(&input(&["a"]), "", "");
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(
        json,
        r#"{"requests":1,"results":0,"answered":0,"failed":0,"unfinished":0,"output_lines":0,"error_lines":0,"matched_by":null,"batch":null,"offence_count":1,"offences":[{"file":"input","line":1,"kind":"missing"}]}"#
    );
}
