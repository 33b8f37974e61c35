//! How a job ended, and what is said of it at the end.

use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::job::InputIdentity;
use super::preview;
use crate::exit;
use crate::fingerprint::Fingerprint;
use crate::printer::{counted, say};

/// One result file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ResultFile {
    /// As it was given, for people.
    pub(crate) path: String,
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
    /// xxh3-128, in hex.
    pub(crate) xxh3: String,
}

impl ResultFile {
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            bytes: self.bytes,
            xxh3: self.xxh3.clone(),
        }
    }
}

/// How a job ended; also `X.report.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// Of the program that wrote it.
    pub(crate) version: String,
    pub(crate) exit: u8,
    pub(crate) status: String,
    pub(crate) total: u64,
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) total_tokens: u64,
    /// Of the command that brought it to its end.
    pub(crate) seconds: f64,
    pub(crate) input: InputIdentity,
    pub(crate) output: ResultFile,
    pub(crate) errors: ResultFile,
}

/// The exit code of a job with this many failed lines.
pub(crate) fn exit_of(failed: u64) -> u8 {
    if failed == 0 {
        exit::DONE
    } else {
        exit::SOME_FAILED
    }
}

impl Summary {
    /// The end, for people: what came of it, where it is, and what to do next.
    pub(crate) fn report(&self, err: &mut dyn Write) {
        let counts = format!(
            "{}: {} of {} lines answered, {} failed",
            self.status, self.answered, self.total, self.failed
        );
        let tokens = format!(
            "{} tokens in, {} out",
            self.input_tokens, self.output_tokens
        );
        say(err, format_args!("{counts}; {tokens}"));
        for file in [&self.output, &self.errors] {
            let lines = counted(file.lines, "line");
            say(err, format_args!("  {} ({lines})", file.path));
        }
        if self.total <= preview::MAX_LINES {
            let answers = preview::first_answers(Path::new(&self.output.path));
            if !answers.is_empty() {
                say(err, "first answers:");
            }
            for answer in answers {
                say(err, format_args!("  {answer}"));
            }
        }
        for step in self.next_steps() {
            say(err, step);
        }
    }

    fn next_steps(&self) -> Vec<String> {
        let errors = quoted(&self.errors.path);
        let why = (self.failed > 0).then(|| format!("why lines failed is in {errors}"));
        // What came by stdin is kept nowhere, so there is nothing to hold the results against.
        let prove = (self.input.path != "-").then(|| {
            let [input, output] = [&self.input.path, &self.output.path].map(|path| quoted(path));
            format!("to prove that nothing is lost: ditto-batch verify {input} {output} {errors}")
        });
        why.into_iter().chain(prove).collect()
    }
}

/// A path as a shell takes it.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, lines: u64) -> ResultFile {
        ResultFile {
            path: path.into(),
            lines,
            bytes: 0,
            xxh3: String::new(),
        }
    }

    fn summary(input: &str, failed: u64) -> Summary {
        Summary {
            version: "0".to_owned(),
            exit: exit_of(failed),
            status: "completed".to_owned(),
            total: 3,
            answered: 3 - failed,
            failed,
            input_tokens: 5,
            output_tokens: 7,
            total_tokens: 12,
            seconds: 1.0,
            input: InputIdentity {
                path: input.into(),
                bytes: 0,
                modified: 0,
                xxh3: String::new(),
            },
            output: file("none/my out.jsonl", 3 - failed),
            errors: file("none/x.errors.jsonl", failed),
        }
    }

    fn said(summary: &Summary) -> String {
        let mut err = Vec::new();
        summary.report(&mut err);
        String::from_utf8(err).unwrap()
    }

    #[test]
    fn after_the_counts_comes_the_command_that_proves_them() {
        assert_eq!(
            said(&summary("x.jsonl", 0)),
            "completed: 3 of 3 lines answered, 0 failed; 5 tokens in, 7 out\n  \
             none/my out.jsonl (3 lines)\n  \
             none/x.errors.jsonl (0 lines)\n\
             to prove that nothing is lost: \
             ditto-batch verify x.jsonl 'none/my out.jsonl' none/x.errors.jsonl\n"
        );
    }

    #[test]
    fn who_has_failed_lines_is_told_where_to_look() {
        let said = said(&summary("x.jsonl", 1));
        assert!(
            said.contains("\nwhy lines failed is in none/x.errors.jsonl\nto prove"),
            "{said}"
        );
    }

    #[test]
    fn stdin_cannot_be_verified_against() {
        assert!(!said(&summary("-", 0)).contains("verify"));
    }

    #[test]
    fn a_path_is_quoted_for_the_shell_only_where_it_must_be() {
        assert_eq!(quoted("a/b-1.jsonl.gz"), "a/b-1.jsonl.gz");
        assert_eq!(quoted("it's $1"), r"'it'\''s $1'");
    }
}
