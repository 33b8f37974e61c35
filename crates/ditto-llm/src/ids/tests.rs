use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn late(set: IdSet) -> Vec<(u64, u64)> {
    set.finish().unwrap().map(Result::unwrap).collect()
}

#[test]
fn second_use_in_memory_names_the_first_line() {
    let dir = tempfile::tempdir().unwrap();
    let mut ids = IdSet::new(dir.path(), 10);
    assert_eq!(ids.insert(b"a", 3).unwrap(), Inserted::New);
    assert_eq!(ids.insert(b"b", 4).unwrap(), Inserted::New);
    assert_eq!(
        ids.insert(b"a", 1 << 39).unwrap(),
        Inserted::Seen { first_line: 3 }
    );
    assert_eq!(late(ids), []);
}

#[test]
fn past_the_limit_duplicates_come_at_the_end_sorted_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let mut ids = IdSet::new(dir.path(), 2);
    let given = [
        ("a", 1),
        ("b", 2),
        ("c", 3),
        ("b", 4),
        ("d", 5),
        ("a", 6),
        ("b", 7),
    ];
    let told: Vec<_> = given
        .iter()
        .map(|(id, line)| ids.insert(id.as_bytes(), *line).unwrap())
        .collect();
    assert_eq!(told[..2], [Inserted::New; 2]);
    assert_eq!(told[2..], [Inserted::Later; 5]);
    assert_eq!(late(ids), [(4, 2), (6, 1), (7, 2)]);
}

#[test]
fn full_set_still_tells_a_second_use_at_once_until_a_new_id_comes() {
    let dir = tempfile::tempdir().unwrap();
    let mut ids = IdSet::new(dir.path(), 1);
    assert_eq!(ids.insert(b"a", 1).unwrap(), Inserted::New);
    assert_eq!(
        ids.insert(b"a", 2).unwrap(),
        Inserted::Seen { first_line: 1 }
    );
    assert_eq!(ids.insert(b"b", 3).unwrap(), Inserted::Later);
    assert_eq!(late(ids), []);
}

#[test]
fn spilled_files_have_no_name_and_hold_every_id() {
    let dir = tempfile::tempdir().unwrap();
    let mut ids = IdSet::new(dir.path(), 100);
    // Enough for several buffers a part; every line of the second half repeats one of the first.
    let half = 100_000u64;
    for line in 1..=2 * half {
        ids.insert(&((line - 1) % half).to_le_bytes(), line)
            .unwrap();
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let expected: Vec<_> = (half + 1..=2 * half)
        .map(|line| (line, line - half))
        .collect();
    assert_eq!(late(ids), expected);
}

#[test]
fn missing_folder_is_an_error_and_not_a_lost_id() {
    let dir = tempfile::tempdir().unwrap();
    let mut ids = IdSet::new(dir.path().join("gone"), 0);
    let result = (1..=1_000_000u64).try_for_each(|n| ids.insert(&n.to_le_bytes(), n).map(drop));
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn sorting_in_several_passes_sees_every_group_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut parts = Parts::new(dir.path());
    let keys = 300_000u64;
    for key in (0..keys).chain(0..keys) {
        parts
            .push(
                0,
                Record {
                    key: key.into(),
                    number: key,
                },
            )
            .unwrap();
    }
    let mut groups = 0;
    let mut sum = 0;
    parts
        .for_each_group(0, |group| {
            assert_eq!(group.len(), 2);
            groups += 1;
            sum += group[0].number;
            Ok(())
        })
        .unwrap();
    assert_eq!((groups, sum), (keys, keys * (keys - 1) / 2));
}

proptest! {
    #[test]
    fn any_limit_finds_the_same_duplicates(
        ids in proptest::collection::vec(0u8..40, 0..200),
        max_in_memory in 0usize..60,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut set = IdSet::new(dir.path(), max_in_memory);
        let mut first = HashMap::new();
        let (mut expected, mut found) = (Vec::new(), Vec::new());
        for (line, id) in (1u64..).zip(&ids) {
            let first_line = *first.entry(*id).or_insert(line);
            if first_line != line {
                expected.push((line, first_line));
            }
            if let Inserted::Seen { first_line } = set.insert(&[*id], line).unwrap() {
                found.push((line, first_line));
            }
        }
        found.extend(late(set));
        found.sort_unstable();
        prop_assert_eq!(found, expected);
    }
}
