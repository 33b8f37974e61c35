//! No fault without a test, and none without a word in the reference.

use std::path::Path;

use ditto_sim::ProviderFault;

const TESTS: [&str; 5] = [
    include_str!("calls.rs"),
    include_str!("courses.rs"),
    include_str!("downloads.rs"),
    include_str!("limits.rs"),
    include_str!("looks.rs"),
];
const ROW_TESTS: &str = include_str!("rows.rs");

/// Whether the name stands there as a whole: `cut` is not in `cut-short`.
fn names(text: &str, name: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '-');
    text.match_indices(name).any(|(at, _)| {
        !is_part(text[..at].chars().next_back()) && !is_part(text[at + name.len()..].chars().next())
    })
}

#[test]
fn every_fault_is_seen_by_a_test() {
    let tests = TESTS.concat() + ROW_TESTS;
    let unseen: Vec<_> = ProviderFault::all()
        .map(ProviderFault::name)
        .filter(|name| !names(&tests, name))
        .collect();
    assert_eq!(unseen, Vec::<&str>::new());
}

#[test]
fn every_fault_is_in_the_reference() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/simulator.md");
    let page = std::fs::read_to_string(page).unwrap();
    let missing: Vec<_> = ProviderFault::all()
        .filter(|fault| !page.contains(&format!("| `{}", fault.name())))
        .map(ProviderFault::name)
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}
