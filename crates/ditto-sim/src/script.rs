//! Scripts: what shall become of one request, written into it.

use std::str::FromStr;
use std::time::Duration;

use crate::faults::Fault;
use crate::setting::{BadSetting, bytes, span};

/// What shall become of one request, step by step, each time it is asked.
///
/// A script is the value of the header `x-sim`, or stands anywhere in the request's text after the
/// word `sim:`, up to the end of the line. This is the whole grammar:
///
/// ```text
/// script   = step { "then" step }
/// step     = ( action | modifier ) { modifier }
/// action   = ( "ok" | STATUS | "quota" | "hang" | "reset" | "cut" | "garbage" | "empty" ) [ "x" N ]
/// modifier = "delay" SPAN         wait that long first: 3s, 250ms
///          | "retry-after" SPAN   send Retry-After: 7 (seconds), 7s, or 50ms (then retry-after-ms too)
///          | "body" SIZE          pad the answer to about this size: 64kb, 200mb
///          | "chunked"            send no length, but chunks
///          | "plain"              a text that is no API's error body, as a proxy would send
/// ```
///
/// The n-th asking of a request (by its identity) meets the n-th step; `429x2` is two steps. After
/// the last step, a step with a count is followed by `ok`; one without a count stays for ever. A
/// step of modifiers only is `ok`, or 429 if it has a `retry-after`.
///
/// `sim: 429x2 then ok` · `sim: hang` · `sim: cut then ok` · `sim: delay 3s` ·
/// `sim: 503 retry-after 7 then ok` · `sim: body 200mb` · `sim: cut body 60mb chunked` · `sim: 404 plain`
///
/// In a header a word that does not fit is answered with 400 and the reason. In the request's text
/// the script ends before that word, and a text that has no step after `sim:` is no script.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    steps: Vec<Counted>,
}

/// More steps than a test can want; a prompt is not to make the simulator work.
const MAX_STEPS: usize = 64;

/// Bytes of a script in a text; a text that is full of `sim:` is not read to its end at each.
const MAX_LENGTH: usize = 1024;

#[derive(Debug, Clone, PartialEq)]
struct Counted {
    step: Step,
    times: Option<u32>,
}

/// One asking's part of a script.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Step {
    pub(crate) fault: Option<Fault>,
    pub(crate) delay: Duration,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) answer_bytes: Option<u64>,
    pub(crate) chunked: bool,
    pub(crate) plain: bool,
}

impl Script {
    /// The step that the `nth` asking meets, from 1.
    pub(crate) fn step(&self, nth: u32) -> Step {
        let mut before = 0u32;
        for counted in &self.steps {
            before = before.saturating_add(counted.times.unwrap_or(1));
            if nth <= before {
                return counted.step.clone();
            }
        }
        match self.steps.last() {
            Some(Counted { step, times: None }) => step.clone(),
            Some(Counted { times: Some(_), .. }) | None => Step::default(),
        }
    }

    /// Finds a script in a request's raw JSON text, where a line ends at a quote or an escape.
    pub(crate) fn find(body: &[u8]) -> Option<Self> {
        memchr::memmem::find_iter(body, b"sim:").find_map(|at| {
            let inside_a_word = match &body[..at] {
                // The escape of a line break or a tab ends in a letter that is none.
                [.., b'\\', b'n' | b'r' | b't'] => false,
                [.., before] => before.is_ascii_alphanumeric(),
                [] => false,
            };
            let rest = &body[at + "sim:".len()..];
            let rest = &rest[..rest.len().min(MAX_LENGTH)];
            let line = rest.split(|byte| matches!(byte, b'"' | b'\\')).next()?;
            let line = line.utf8_chunks().next()?.valid();
            if inside_a_word { None } else { parse(line).0 }
        })
    }
}

impl FromStr for Script {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        let text = text.trim();
        let words = text.strip_prefix("sim:").unwrap_or(text);
        match parse(words) {
            (Some(script), None) => Ok(script),
            (_, Some(odd)) => Err(BadSetting::new(format!(
                "script `{text}`: `{odd}` does not fit; write for example `429x2 then ok`"
            ))),
            (None, None) => Err(BadSetting::new(
                "script is empty; write for example `429x2 then ok`",
            )),
        }
    }
}

/// Reads steps up to the first word that does not fit; that word comes second.
fn parse(text: &str) -> (Option<Script>, Option<&str>) {
    let mut steps = Vec::new();
    let mut reading = Reading::default();
    let mut words = text
        .split_whitespace()
        .map(|word| word.trim_end_matches(['.', ',', ';']));
    let mut odd = None;
    while let Some(word) = words.next() {
        let fits = match word {
            "then" => reading.close(&mut steps).is_some(),
            "chunked" => reading.modify(|step| step.chunked = true).is_some(),
            "plain" => reading.modify(|step| step.plain = true).is_some(),
            "delay" | "retry-after" | "body" => reading.value(word, words.next()).is_some(),
            _ => reading.act(word).is_some(),
        };
        if !fits {
            odd = Some(word);
            break;
        }
    }
    let ends_in_a_step = reading.close(&mut steps).is_some();
    if !ends_in_a_step && !steps.is_empty() {
        odd = odd.or(Some("then"));
    }
    let script = (!steps.is_empty()).then_some(Script { steps });
    (script, odd)
}

/// A step as far as it has been read. Its methods give `None` for what does not fit.
#[derive(Debug, Default)]
struct Reading {
    step: Step,
    times: Option<u32>,
    acted: bool,
    begun: bool,
}

impl Reading {
    fn act(&mut self, word: &str) -> Option<()> {
        if self.acted {
            return None;
        }
        let (action, times) = match word.rsplit_once('x') {
            Some((action, times)) if times.bytes().all(|b| b.is_ascii_digit()) => {
                (action, Some(times.parse().ok().filter(|times| *times > 0)?))
            }
            _ => (word, None),
        };
        let fault = match action {
            "ok" => None,
            _ => Some(action.parse().ok()?),
        };
        (self.acted, self.times) = (true, times);
        self.modify(|step| step.fault = fault)
    }

    fn value(&mut self, modifier: &str, value: Option<&str>) -> Option<()> {
        let value = value?;
        match modifier {
            "delay" => {
                let delay = span(value).ok()?;
                self.modify(|step| step.delay = delay)
            }
            "retry-after" => {
                let seconds = value.parse().ok().map(Duration::from_secs);
                let after = seconds.or_else(|| span(value).ok())?;
                self.modify(|step| step.retry_after = Some(after))
            }
            _ => {
                let size = bytes(value).ok()?;
                self.modify(|step| step.answer_bytes = Some(size))
            }
        }
    }

    fn modify(&mut self, change: impl FnOnce(&mut Step)) -> Option<()> {
        change(&mut self.step);
        self.begun = true;
        Some(())
    }

    fn close(&mut self, steps: &mut Vec<Counted>) -> Option<()> {
        let Self {
            mut step,
            times,
            acted,
            begun,
        } = std::mem::take(self);
        if !begun || steps.len() >= MAX_STEPS {
            return None;
        }
        if !acted && step.retry_after.is_some() {
            step.fault = Some(Fault::Status(429));
        }
        steps.push(Counted { step, times });
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(script: &str, askings: u32) -> String {
        let script: Script = script.parse().unwrap();
        let spell = |nth| {
            script
                .step(nth)
                .fault
                .map_or("ok".into(), |fault| fault.to_string())
        };
        (1..=askings).map(spell).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_asking_meets_its_step() {
        assert_eq!(faults("sim: 429x2 then ok", 4), "429 429 ok ok");
        assert_eq!(faults("429x2", 4), "429 429 ok ok");
        assert_eq!(faults("hang", 3), "hang hang hang");
        assert_eq!(
            faults("cut then garbagex2 then 500", 5),
            "cut garbage garbage 500 500"
        );
        assert_eq!(faults("retry-after 7", 2), "429 429");
        assert_eq!(faults("delay 3s", 2), "ok ok");
    }

    #[test]
    fn modifiers_belong_to_their_step() {
        let script: Script = "503 retry-after 7 delay 250ms then ok body 64kb"
            .parse()
            .unwrap();
        let first = script.step(1);
        assert_eq!(first.retry_after, Some(Duration::from_secs(7)));
        assert_eq!(first.delay, Duration::from_millis(250));
        assert_eq!(
            script.step(2),
            Step {
                answer_bytes: Some(64_000),
                ..Step::default()
            }
        );
    }

    #[test]
    fn a_header_with_an_odd_word_is_refused() {
        for text in [
            "",
            "sim:",
            "then",
            "429 then",
            "429 hang",
            "429x0",
            "delay",
            "delay soon",
            "no",
        ] {
            assert!(text.parse::<Script>().is_err(), "{text}");
        }
        let error = "429x2 than ok".parse::<Script>().unwrap_err().to_string();
        assert!(error.contains("`than`"), "{error}");
    }

    #[test]
    fn a_script_in_a_text_ends_at_the_first_word_that_does_not_fit() {
        let found = |text: &str| Script::find(text.as_bytes());
        assert_eq!(
            found(r#"{"content":"sim: 429x2 then ok"}"#),
            "429x2 then ok".parse().ok()
        );
        assert_eq!(
            found(r#""hello sim: hang. And then\nmore""#),
            "hang".parse().ok()
        );
        assert_eq!(found(r#""netsim: hang""#), None);
        assert_eq!(found(r#""Label this.\nsim: hang""#), "hang".parse().ok());
        assert_eq!(found(r#""sim: a card game; sim: 500""#), "500".parse().ok());
        assert_eq!(found(r#""nothing""#), None);
        assert_eq!(found("sim: hang 标签"), "hang".parse().ok());
        assert_eq!(found(&"sim: ".repeat(100_000)), None);
    }
}
