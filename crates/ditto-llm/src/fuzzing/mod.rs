//! What holds for any bytes, as functions that panic where it does not.
//!
//! The targets in `fuzz/` call these with bytes that are bred to find a way through; the tests here
//! call them with the corpora that are kept there, so that no find is lost and no corpus rots. The
//! module is there only for the two: a `cfg` is no feature that a user could switch on, and what it
//! reaches stays private otherwise.

mod checks;
mod jsonl;
mod scanner;

pub use self::{checks::checks, jsonl::jsonl, scanner::scanner};

/// The next byte of a script; 0 past its end.
fn byte(script: &mut &[u8]) -> u8 {
    match script.split_first() {
        Some((first, rest)) => {
            *script = rest;
            *first
        }
        None => 0,
    }
}

/// Cuts `whole` into chunks of 1 to `most` bytes, of lengths that follow from `seed`.
fn chunks(mut whole: &[u8], most: u8, seed: u8) -> impl Iterator<Item = &[u8]> {
    let most = usize::from(most).max(1);
    let mut state = usize::from(seed);
    std::iter::from_fn(move || {
        if whole.is_empty() {
            return None;
        }
        state = state.wrapping_mul(181).wrapping_add(97) % 65_536;
        let (chunk, rest) = whole.split_at((1 + state % most).min(whole.len()));
        whole = rest;
        Some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// Runs what is kept for a target.
    fn replay(target: &str, claim: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../fuzz/corpus")
            .join(target);
        let mut kept = 0;
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            // Shown with a failure: which bytes it was.
            println!("{}", path.display());
            claim(&fs::read(&path).unwrap());
            kept += 1;
        }
        assert!(kept > 0, "{} is empty", folder.display());
    }

    #[test]
    fn kept_streams_are_split_the_same_however_they_are_chunked() {
        replay("jsonl", jsonl);
    }

    #[test]
    fn kept_files_are_judged_as_serde_reads_them() {
        replay("checks", checks);
    }

    #[test]
    fn kept_lines_are_scanned_as_serde_reads_them() {
        replay("scanner", scanner);
    }
}
