//! What a look at one thing has found, and how it is told.

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Ok,
    /// It works, and something about it will hurt one day.
    Warn,
    /// It does not work.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at.
    pub(super) check: String,
    pub(super) verdict: Verdict,
    /// What was found, in one sentence.
    pub(super) said: String,
    /// What to do about it.
    pub(super) hint: Option<String>,
    /// The exit code, if this is the first that is bad.
    #[serde(skip)]
    pub(super) exit: u8,
}

impl Finding {
    pub(super) fn ok(check: &str, said: impl Into<String>) -> Self {
        Self {
            check: check.to_owned(),
            verdict: Verdict::Ok,
            said: said.into(),
            hint: None,
            exit: crate::exit::DONE,
        }
    }

    pub(super) fn warn(check: &str, said: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warn,
            hint: Some(hint.into()),
            ..Self::ok(check, said)
        }
    }

    pub(super) fn bad(
        check: &str,
        exit: u8,
        said: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            verdict: Verdict::Bad,
            exit,
            ..Self::warn(check, said, hint)
        }
    }

    /// As lines for people: verdict, check, sentence; a hint on its own line.
    pub(super) fn lines(&self, width: usize) -> String {
        let verdict = match self.verdict {
            Verdict::Ok => "ok  ",
            Verdict::Warn => "warn",
            Verdict::Bad => "bad ",
        };
        let mut text = format!("{verdict}  {:width$}  {}", self.check, self.said);
        if let Some(hint) = &self.hint {
            text.push_str(&format!("\n{:>1$}hint: {hint}", "", width + 8));
        }
        text
    }
}

/// The exit code of the first that is bad.
pub(super) fn exit_of(findings: &[Finding]) -> u8 {
    let bad = findings.iter().find(|f| f.verdict == Verdict::Bad);
    bad.map_or(crate::exit::DONE, |finding| finding.exit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit;

    #[test]
    fn the_first_bad_thing_gives_the_exit_code() {
        let fine = Finding::ok("a", "fine");
        let odd = Finding::warn("b", "odd", "look");
        let key = Finding::bad("c", exit::NOT_ALLOWED, "no", "do");
        let disk = Finding::bad("d", exit::LOCAL_IO, "no", "do");
        let table = [
            (vec![], exit::DONE),
            (vec![fine.clone(), odd.clone()], exit::DONE),
            (
                vec![fine, odd, key.clone(), disk.clone()],
                exit::NOT_ALLOWED,
            ),
            (vec![disk, key], exit::LOCAL_IO),
        ];
        for (findings, code) in table {
            assert_eq!(exit_of(&findings), code);
        }
    }

    #[test]
    fn a_hint_stands_on_a_line_of_its_own() {
        let finding = Finding::warn("clock", "it is late", "go home");
        assert_eq!(
            finding.lines(6),
            "warn  clock   it is late\n              hint: go home"
        );
    }
}
