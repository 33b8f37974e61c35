//! How long the stages of a batch last.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::setting::{BadSetting, span, spell_span, spelt_in_serde};

/// How long a batch stays `validating`, `in_progress` and `finalizing`, spelt `1s/5s/1s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pace {
    /// From its creation until its lines are checked.
    pub validating: Duration,
    /// Until all of its lines have run.
    pub in_progress: Duration,
    /// Until its files are there; also how long a batch stays `cancelling`.
    pub finalizing: Duration,
}

impl Pace {
    /// Short enough for a test that only polls.
    pub const QUICK: Self = Self {
        validating: Duration::from_millis(2),
        in_progress: Duration::from_millis(5),
        finalizing: Duration::from_millis(2),
    };
}

impl FromStr for Pace {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        let spans: Vec<&str> = text.split('/').collect();
        let [validating, in_progress, finalizing] = spans[..] else {
            return Err(BadSetting::new(format!(
                "`{text}` is no pace; write 1s/5s/1s: validating, in progress, finalizing"
            )));
        };
        Ok(Self {
            validating: span(validating)?,
            in_progress: span(in_progress)?,
            finalizing: span(finalizing)?,
        })
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [validating, in_progress, finalizing] =
            [self.validating, self.in_progress, self.finalizing].map(spell_span);
        write!(f, "{validating}/{in_progress}/{finalizing}")
    }
}

spelt_in_serde!(Pace);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_reads_back_as_it_is_spelt() {
        assert_eq!(
            "1s/20ms/0".parse::<Pace>().unwrap().to_string(),
            "1s/20ms/0"
        );
        for text in ["", "1s", "1s/2s", "1s/2s/3s/4s", "1s/x/1s"] {
            assert!(text.parse::<Pace>().is_err(), "{text}");
        }
    }
}
