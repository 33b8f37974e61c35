//! How long an answer takes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::chance::{Purpose, draw};
use crate::setting::{BadSetting, span, spell_span, spelt_in_serde};

/// How long an answer takes, spelt `20ms`, `lognormal:20ms:0.5` (median and sigma) or
/// `load:100ms:5ms` (alone, and for each request that is worked on).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Latency {
    /// Always the same.
    Fixed(Duration),
    /// Half of the answers take longer than the median; `sigma` is the spread of the logarithm.
    Lognormal { median: Duration, sigma: f64 },
    /// So long, and so much more for each request that is worked on, itself among them, when its turn
    /// comes: a GPU.
    Load { base: Duration, each: Duration },
}

/// The tail of a lognormal is endless; the wait is not.
const LONGEST_DRAW: Duration = Duration::from_secs(3600);

impl Latency {
    /// No wait at all.
    pub const ZERO: Self = Self::Fixed(Duration::ZERO);

    /// The wait of the `nth` asking of `identity`, whatever else is asked; always the same for the same
    /// seed.
    pub(crate) fn of(self, seed: u64, identity: u64, nth: u32) -> Duration {
        match self {
            Self::Fixed(span) | Self::Load { base: span, .. } => span,
            Self::Lognormal { median, sigma } => {
                let factor = (sigma * normal(seed, identity, nth)).exp();
                let seconds = median.as_secs_f64() * factor;
                Duration::from_secs_f64(seconds.min(LONGEST_DRAW.as_secs_f64()))
            }
        }
    }

    /// What comes on top while so many are worked on.
    pub(crate) fn under(self, crowd: usize) -> Duration {
        match self {
            Self::Fixed(_) | Self::Lognormal { .. } => Duration::ZERO,
            Self::Load { each, .. } => {
                let crowd = u32::try_from(crowd).unwrap_or(u32::MAX);
                each.saturating_mul(crowd).min(LONGEST_DRAW)
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
        if let Some(rest) = text.strip_prefix("load:") {
            let bad = || BadSetting::new(format!("`{text}` is no latency; write load:100ms:5ms"));
            let (base, each) = rest.split_once(':').ok_or_else(bad)?;
            return Ok(Self::Load {
                base: span(base)?,
                each: span(each)?,
            });
        }
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
            Self::Load { base, each } => {
                write!(f, "load:{}:{}", spell_span(*base), spell_span(*each))
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
        for text in ["20ms", "0", "lognormal:20ms:0.5", "load:100ms:5ms"] {
            assert_eq!(text.parse::<Latency>().unwrap().to_string(), text);
        }
        assert!("lognormal:20ms".parse::<Latency>().is_err());
        assert!("lognormal:20ms:-1".parse::<Latency>().is_err());
        assert!("load:20ms".parse::<Latency>().is_err());
    }

    #[test]
    fn a_load_takes_longer_the_more_it_is() {
        let latency: Latency = "load:100ms:5ms".parse().unwrap();
        let takes = |crowd| latency.of(7, 1, 1) + latency.under(crowd);
        assert_eq!(takes(1), Duration::from_millis(105));
        assert_eq!(takes(20), Duration::from_millis(200));
        assert_eq!(Latency::ZERO.under(20), Duration::ZERO);
    }
}
