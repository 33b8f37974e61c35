//! How long an answer takes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::chance::{Purpose, draw};
use crate::setting::{BadSetting, span, spell_span, spelt_in_serde};

/// How long an answer takes, spelt `20ms` or `lognormal:20ms:0.5` (median and sigma).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Latency {
    /// Always the same.
    Fixed(Duration),
    /// Half of the answers take longer than the median; `sigma` is the spread of the logarithm.
    Lognormal { median: Duration, sigma: f64 },
}

/// The tail of a lognormal is endless; the wait is not.
const LONGEST_DRAW: Duration = Duration::from_secs(3600);

impl Latency {
    /// No wait at all.
    pub const ZERO: Self = Self::Fixed(Duration::ZERO);

    /// The wait of the `nth` asking of `identity`; always the same for the same seed.
    pub(crate) fn of(self, seed: u64, identity: u64, nth: u32) -> Duration {
        match self {
            Self::Fixed(span) => span,
            Self::Lognormal { median, sigma } => {
                let factor = (sigma * normal(seed, identity, nth)).exp();
                let seconds = median.as_secs_f64() * factor;
                Duration::from_secs_f64(seconds.min(LONGEST_DRAW.as_secs_f64()))
            }
        }
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::ZERO
    }
}

/// Box and Muller's: two even draws make one normal one.
fn normal(seed: u64, identity: u64, nth: u32) -> f64 {
    // Moved off zero, whose logarithm has no end.
    let u = 1.0 - draw(seed, Purpose::Latency, identity, nth);
    let v = draw(seed, Purpose::LatencyTwin, identity, nth);
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

impl FromStr for Latency {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        let Some(rest) = text.strip_prefix("lognormal:") else {
            return span(text).map(Self::Fixed);
        };
        let bad = || BadSetting::new(format!("`{text}` is no latency; write lognormal:20ms:0.5"));
        let (median, sigma) = rest.split_once(':').ok_or_else(bad)?;
        let sigma: f64 = sigma.parse().map_err(|_| bad())?;
        if !(0.0..=10.0).contains(&sigma) {
            return Err(BadSetting::new(format!(
                "sigma `{sigma}` is not in 0 to 10"
            )));
        }
        Ok(Self::Lognormal {
            median: span(median)?,
            sigma,
        })
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(span) => f.write_str(&spell_span(*span)),
            Self::Lognormal { median, sigma } => {
                write!(f, "lognormal:{}:{sigma}", spell_span(*median))
            }
        }
    }
}

spelt_in_serde!(Latency);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lognormal_draws_repeat_and_have_the_median_asked_for() {
        let latency: Latency = "lognormal:20ms:0.5".parse().unwrap();
        let mut waits: Vec<_> = (0..1001).map(|id| latency.of(7, id * 7919, 1)).collect();
        let again: Vec<_> = (0..1001).map(|id| latency.of(7, id * 7919, 1)).collect();
        assert_eq!(waits, again);
        assert_ne!(latency.of(8, 0, 1), waits[0]);

        waits.sort();
        let median = waits[500].as_secs_f64();
        assert!((0.018..0.022).contains(&median), "{median}");
        assert!(waits[1000] > Duration::from_millis(60));
    }

    #[test]
    fn spellings_read_back() {
        for text in ["20ms", "0", "lognormal:20ms:0.5"] {
            assert_eq!(text.parse::<Latency>().unwrap().to_string(), text);
        }
        assert!("lognormal:20ms".parse::<Latency>().is_err());
        assert!("lognormal:20ms:-1".parse::<Latency>().is_err());
    }
}
