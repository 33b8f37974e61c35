//! What becomes of one asking: settings, chance and script put together. Pure.

use std::time::Duration;

use crate::config::SimConfig;
use crate::faults::{Fault, Faults};
use crate::script::Script;

/// What becomes of one asking.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Course {
    pub(crate) wait: Duration,
    pub(crate) shape: Shape,
    pub(crate) ending: Ending,
}

/// What an answer looks like, whole or cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) pad_to: u64,
    pub(crate) is_chunked: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ending {
    Answer,
    Fail {
        fault: Fault,
        retry_after: Option<Duration>,
        plain: bool,
    },
}

/// One asking of one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking {
    pub(crate) identity: u64,
    /// From 1.
    pub(crate) nth: u32,
}

impl Course {
    /// With the faults of the config.
    pub(crate) fn of(config: &SimConfig, asking: Asking, script: Option<&Script>) -> Self {
        Self::with_faults(config, &config.faults, asking, script)
    }

    /// A script overrules the shares of faults; the latency holds for both.
    pub(crate) fn with_faults(
        config: &SimConfig,
        faults: &Faults,
        asking: Asking,
        script: Option<&Script>,
    ) -> Self {
        let Asking { identity, nth } = asking;
        let latency = config.latency.of(config.seed, identity, nth);
        let step = script.map(|script| script.step(nth)).unwrap_or_default();
        let fault = match script {
            Some(_) => step.fault,
            None => faults.of(config.seed, identity, nth),
        };
        let ending = match fault {
            None => Ending::Answer,
            Some(fault) => {
                let retry_after = step.retry_after.or(default_retry_after(config, fault));
                Ending::Fail {
                    fault,
                    retry_after,
                    plain: step.plain,
                }
            }
        };
        Self {
            wait: latency + step.delay,
            shape: Shape {
                pad_to: step.answer_bytes.or(config.answer_bytes).unwrap_or(0),
                is_chunked: step.chunked,
            },
            ending,
        }
    }
}

fn default_retry_after(config: &SimConfig, fault: Fault) -> Option<Duration> {
    config
        .retry_after()
        .filter(|_| matches!(fault, Fault::Status(429 | 503)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Asking = Asking {
        identity: 5,
        nth: 1,
    };

    #[test]
    fn a_script_overrules_chance_and_keeps_the_latency() {
        let config = SimConfig {
            latency: "20ms".parse().unwrap(),
            faults: "500:1".parse().unwrap(),
            ..SimConfig::default()
        };
        let script: Script = "ok delay 1s".parse().unwrap();
        let course = Course::of(&config, FIRST, Some(&script));
        assert_eq!(course.wait, Duration::from_millis(1020));
        assert_eq!(course.ending, Ending::Answer);

        let Ending::Fail { fault, .. } = Course::of(&config, FIRST, None).ending else {
            panic!("every request fails")
        };
        assert_eq!(fault, Fault::Status(500));
    }
}
