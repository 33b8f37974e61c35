use super::*;
use crate::jsonl::LineSplitter;

fn answer(id: &str, n: u64) -> String {
    format!(r#"{{"custom_id":"{id}","response":{{"status_code":200,"body":{{"n":{n}}}}}}}"#)
}

fn failure(id: &str) -> String {
    format!(r#"{{"custom_id":"{id}","response":null,"error":{{"code":"server_error"}}}}"#)
}

fn request(id: &str) -> String {
    format!(r#"{{"custom_id":"{id}","method":"POST","url":"/v1/x","body":{{"model":"m"}}}}"#)
}

fn each(text: &str, mut on_line: impl FnMut(&Line<'_>) -> io::Result<()>) {
    let mut splitter = LineSplitter::new(1 << 20);
    splitter
        .feed(text.as_bytes(), |line| on_line(&line))
        .unwrap();
    splitter.finish(|line| on_line(&line)).unwrap();
}

/// The merged output and errors, and what was counted.
fn merged(requests: Option<&str>, files: &[String]) -> ([String; 2], Merged) {
    let dir = tempfile::tempdir().unwrap();
    let mut merge = Merge::new(dir.path()).unwrap();
    if let Some(requests) = requests {
        each(requests, |line| merge.request(line));
    }
    for text in files {
        let mut file = tempfile::tempfile_in(dir.path()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let number = merge.file(file).unwrap();
        each(text, |line| merge.result(number, line));
    }
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let outlets = Outlets {
        output: &mut output,
        errors: Some(&mut errors),
    };
    let counted = merge.write(outlets).unwrap();
    (
        [output, errors].map(|bytes| String::from_utf8(bytes).unwrap()),
        counted,
    )
}

fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_first_success_of_an_id_wins_over_failures_and_later_ones() {
    let files = [
        lines(&[failure("a"), failure("b")]),
        lines(&[answer("a", 1), failure("b"), answer("a", 2)]),
    ];
    let ([output, errors], counted) = merged(None, &files);
    assert_eq!(output, lines(&[answer("a", 1)]));
    assert_eq!(errors, lines(&[failure("b")]));
    assert_eq!((counted.results, counted.repeated), (5, 3));
    assert_eq!((counted.answered, counted.failed), (1, 1));
}

#[test]
fn results_come_in_the_order_of_the_requests_and_strangers_are_named() {
    let requests = lines(&[request("a"), String::new(), request("b"), request("c")]);
    let results = lines(&[answer("c", 3), answer("x", 9), answer("a", 1)]);
    let ([output, _], counted) = merged(Some(&requests), &[results]);
    assert_eq!(output, lines(&[answer("a", 1), answer("c", 3)]));
    assert_eq!((counted.requests, counted.missing), (Some(3), 1));
    assert_eq!(
        (counted.unknown, counted.unknown_ids),
        (1, vec!["x".to_owned()])
    );
}

#[test]
fn requests_of_one_name_get_a_result_each() {
    let requests = lines(&[request("a"), request("a"), request("a")]);
    let results = lines(&[failure("a"), answer("a", 1), answer("a", 2), failure("a")]);
    let ([output, errors], counted) = merged(Some(&requests), &[results]);
    assert_eq!(output, lines(&[answer("a", 1), answer("a", 2)]));
    assert_eq!(errors, lines(&[failure("a")]));
    assert_eq!(
        (counted.repeated_requests, counted.repeated, counted.missing),
        (2, 1, 0)
    );
}

#[test]
fn without_requests_results_stand_where_their_id_was_first_seen() {
    let results = lines(&[failure("b"), answer("a", 1), answer("b", 2)]);
    let ([output, _], _) = merged(None, &[results]);
    assert_eq!(output, lines(&[answer("b", 2), answer("a", 1)]));
}

#[test]
fn what_surrounds_a_line_and_what_is_no_result_is_left_behind() {
    let text = format!(
        "\u{feff}{}\r\n\nnot json\n{}",
        answer("a", 1),
        answer("b", 2)
    );
    let ([output, _], counted) = merged(None, &[text]);
    assert_eq!(output, lines(&[answer("a", 1), answer("b", 2)]));
    assert_eq!((counted.results, counted.unreadable), (2, 1));
}

#[test]
fn many_results_are_merged_by_way_of_the_disk() {
    let ids: Vec<String> = (0..50_000).map(|n| format!("id-{n}")).collect();
    let requests: String = ids.iter().map(|id| request(id) + "\n").collect();
    let results: String = ids
        .iter()
        .rev()
        .zip(0..)
        .map(|(id, n)| answer(id, n) + "\n")
        .collect();
    let ([output, _], counted) = merged(Some(&requests), &[results]);
    assert_eq!((counted.answered, counted.missing), (50_000, 0));
    let first = output.lines().next().unwrap();
    assert_eq!(first, answer("id-0", 49_999));
    assert!(output.ends_with(&(answer("id-49999", 0) + "\n")));
}
