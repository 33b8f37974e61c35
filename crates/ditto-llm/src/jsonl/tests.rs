use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

/// A line by number, span and content; too long is `None`.
type Owned = (u64, u64, u64, Option<Vec<u8>>);

fn lines_of<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, max: usize) -> Vec<Owned> {
    let mut lines = Vec::new();
    let mut take = |line: Line<'_>| {
        let content = match line.content {
            Content::Bytes(bytes) => Some(bytes.to_vec()),
            Content::TooLong => None,
        };
        lines.push((line.number, line.start, line.end, content));
        Ok::<_, Infallible>(())
    };
    let mut splitter = LineSplitter::new(max);
    for chunk in chunks {
        splitter.feed(chunk, &mut take).unwrap();
    }
    splitter.finish(&mut take).unwrap();
    lines
}

fn contents(file: &[u8]) -> Vec<Vec<u8>> {
    lines_of([file], 1024)
        .into_iter()
        .map(|line| line.3.unwrap())
        .collect()
}

#[test]
fn unicode_line_separators_do_not_end_a_line() {
    let file = "{\"a\":\"\u{2028}\u{2029}\u{85}\x0B\x0C\"}\n{}\n";
    assert_eq!(contents(file.as_bytes()).len(), 2);
}

#[test]
fn bom_is_dropped_from_line_one_only_and_counts_in_its_span() {
    let file = b"\xEF\xBB\xBF{}\n\xEF\xBB\xBF{}\n";
    let lines = lines_of([&file[..]], 1024);
    assert_eq!(lines[0], (1, 0, 6, Some(b"{}".to_vec())));
    assert_eq!(lines[1], (2, 6, 12, Some(b"\xEF\xBB\xBF{}".to_vec())));
}

#[test]
fn one_carriage_return_before_the_line_feed_is_dropped() {
    assert_eq!(contents(b"a\r\nb\r\r\nc\r"), [&b"a"[..], b"b\r", b"c"]);
}

#[test]
fn blank_lines_keep_their_numbers() {
    let mut blank = Vec::new();
    let mut splitter = LineSplitter::new(64);
    splitter
        .feed(b"{}\n\n \t\r\n{}\n", |line| {
            blank.push((line.number, line.is_blank()));
            Ok::<_, Infallible>(())
        })
        .unwrap();
    assert_eq!(blank, [(1, false), (2, true), (3, true), (4, false)]);
}

#[test]
fn last_line_needs_no_line_feed() {
    assert_eq!(
        lines_of([&b"a\nb"[..]], 8)[1],
        (2, 2, 3, Some(b"b".to_vec()))
    );
    assert_eq!(lines_of([&b"a\n"[..]], 8).len(), 1);
}

#[test]
fn empty_stream_has_no_lines() {
    assert_eq!(lines_of([], 8), []);
    assert_eq!(lines_of([&b""[..], b""], 8), []);
}

#[test]
fn over_long_line_is_not_kept_in_memory() {
    let mut splitter = LineSplitter::new(1000);
    let chunk = vec![b'x'; 64 << 10];
    let none = |_: Line<'_>| -> Result<(), Infallible> { panic!("the line has not ended") };
    for _ in 0..800 {
        splitter.feed(&chunk, none).unwrap();
        assert!(splitter.carried.capacity() <= 2 * 1004);
    }
    let mut seen = Vec::new();
    splitter
        .feed(b"\nnext\n", |line| {
            seen.push((line.number, line.end, line.content == Content::TooLong));
            Ok::<_, Infallible>(())
        })
        .unwrap();
    let end = 800 * (64 << 10) + 1;
    assert_eq!(seen, [(1, end, true), (2, end + 5, false)]);
}

#[test]
fn error_of_the_taker_comes_back() {
    let mut splitter = LineSplitter::new(8);
    assert_eq!(splitter.feed(b"a\nb\n", |line| Err(line.number)), Err(1));
}

#[test]
fn limit_counts_the_content_alone() {
    let file = b"\xEF\xBB\xBF12345678\r\n12345678\r\n123456789\n";
    let kept: Vec<_> = lines_of([&file[..]], 8)
        .iter()
        .map(|line| line.3.is_some())
        .collect();
    assert_eq!(kept, [true, true, false]);
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        3 => Just(b'\n'), 2 => Just(b'\r'), 6 => any::<u8>(),
        1 => Just(0xEF), 1 => Just(0xBB), 1 => Just(0xBF),
    ];
    let bom = prop_oneof![Just(&b""[..]), Just(BOM)];
    (bom, proptest::collection::vec(byte, 0..80)).prop_map(|(bom, rest)| [bom, &rest].concat())
}

proptest! {
    #[test]
    fn where_chunks_end_changes_nothing(
        file in text(),
        cuts in proptest::collection::vec(0usize..90, 0..6),
        max in 0usize..12,
    ) {
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(file.len())).collect();
        cuts.extend([0, file.len()]);
        cuts.sort_unstable();
        let chunks = cuts.windows(2).map(|pair| &file[pair[0]..pair[1]]);
        prop_assert_eq!(lines_of(chunks, max), lines_of([&file[..]], max));
    }

    #[test]
    fn lines_tile_the_stream(file in text()) {
        let lines = lines_of([&file[..]], 16);
        let mut at = 0;
        for (index, line) in lines.iter().enumerate() {
            prop_assert_eq!((line.0, line.1), (index as u64 + 1, at));
            at = line.2;
        }
        prop_assert_eq!(at, file.len() as u64);
    }

    #[test]
    fn whole_buffer_gives_the_same_lines(file in text()) {
        let split: Vec<_> = (1..).zip(split_lines(&file)).map(|(n, l)| trimmed_again(l, n)).collect();
        prop_assert_eq!(split, contents(&file));
    }
}

/// `split_lines` does not know whether its buffer is the start of a file, so the BOM is left.
fn trimmed_again(line: &[u8], number: u64) -> Vec<u8> {
    let line = if number == 1 {
        line.strip_prefix(BOM).unwrap_or(line)
    } else {
        line
    };
    line.to_vec()
}
