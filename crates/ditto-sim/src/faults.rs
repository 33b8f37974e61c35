//! What can go wrong with a request, and how often it does.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::chance::{Purpose, draw};
use crate::setting::{BadSetting, spelt_in_serde};

/// One way for a request to go wrong, spelt as its status or its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// This status, with OpenAI's error envelope.
    Status(u16),
    /// `quota`: 429 with the code `insufficient_quota`, which no waiting mends.
    Quota,
    /// `hang`: no answer, ever; the connection stays open.
    Hang,
    /// `reset`: the connection is reset before the answer.
    Reset,
    /// `cut`: 200, and the connection ends in the middle of the body.
    Cut,
    /// `garbage`: 200 with bytes that are neither JSON nor UTF-8.
    Garbage,
    /// `empty`: 200 with no body.
    Empty,
}

impl Fault {
    /// Whether the fault is the line's own: drawn once, it stays, whatever the number of retries.
    fn is_the_lines(self) -> bool {
        match self {
            Self::Status(status) => {
                (400..500).contains(&status) && !matches!(status, 408 | 409 | 425 | 429)
            }
            Self::Quota | Self::Hang | Self::Reset | Self::Cut | Self::Garbage | Self::Empty => {
                false
            }
        }
    }
}

impl FromStr for Fault {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        match text {
            "quota" => Ok(Self::Quota),
            "hang" => Ok(Self::Hang),
            "reset" => Ok(Self::Reset),
            "cut" => Ok(Self::Cut),
            "garbage" => Ok(Self::Garbage),
            "empty" => Ok(Self::Empty),
            _ => match text.parse() {
                Ok(status @ 200..=599) => Ok(Self::Status(status)),
                _ => Err(BadSetting::new(format!(
                    "`{text}` is no fault; write a status (200 to 599), quota, hang, reset, cut, \
                     garbage or empty"
                ))),
            },
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Quota => f.write_str("quota"),
            Self::Hang => f.write_str("hang"),
            Self::Reset => f.write_str("reset"),
            Self::Cut => f.write_str("cut"),
            Self::Garbage => f.write_str("garbage"),
            Self::Empty => f.write_str("empty"),
        }
    }
}

/// Shares of requests that go wrong, spelt `429:0.05,hang:0.001`.
///
/// A share is drawn from the seed, the request's identity and how often it was asked: a retry may go
/// well, and a run can be repeated. A refusal that is the request's own fault (4xx, except 408, 409,
/// 425 and 429) is drawn once for each identity and stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Faults {
    shares: Vec<(Fault, f64)>,
}

impl Faults {
    /// These shares, each in 0 to 1, together at most 1.
    pub fn new(shares: Vec<(Fault, f64)>) -> Result<Self, BadSetting> {
        if let Some((fault, share)) = shares
            .iter()
            .find(|(_, share)| !(0.0..=1.0).contains(share))
        {
            return Err(BadSetting::new(format!(
                "share `{fault}:{share}` is not in 0 to 1"
            )));
        }
        let sum: f64 = shares.iter().map(|(_, share)| share).sum();
        // Ten shares of 0.1 add up to a little more than 1 in floating point.
        if sum > 1.0 + 1e-9 {
            return Err(BadSetting::new(format!(
                "shares add up to {sum}; at most 1 is left to fail"
            )));
        }
        Ok(Self { shares })
    }

    /// What goes wrong with the `nth` asking of `identity`, if anything.
    pub(crate) fn of(&self, seed: u64, identity: u64, nth: u32) -> Option<Fault> {
        if self.shares.is_empty() {
            return None;
        }
        let lines: f64 = self.pick(true).map(|(_, share)| share).sum();
        let draw_line = draw(seed, Purpose::LineFault, identity, 0);
        if draw_line < lines {
            return land(self.pick(true), draw_line);
        }
        // Only what is left of 1 can meet a passing fault: so a share is one of all requests.
        let draw_passing = draw(seed, Purpose::PassingFault, identity, nth) * (1.0 - lines);
        land(self.pick(false), draw_passing)
    }

    fn pick(&self, the_lines: bool) -> impl Iterator<Item = (Fault, f64)> + '_ {
        self.shares
            .iter()
            .copied()
            .filter(move |(fault, _)| fault.is_the_lines() == the_lines)
    }
}

/// The fault on whose stretch of the line from 0 to 1 the draw lands.
fn land(shares: impl Iterator<Item = (Fault, f64)>, draw: f64) -> Option<Fault> {
    let mut end = 0.0;
    for (fault, share) in shares {
        end += share;
        if draw < end {
            return Some(fault);
        }
    }
    None
}

impl FromStr for Faults {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        let mut shares = Vec::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let bad = || BadSetting::new(format!("`{part}` is no share; write 429:0.05"));
            let (fault, share) = part.split_once(':').ok_or_else(bad)?;
            shares.push((fault.parse()?, share.parse().map_err(|_| bad())?));
        }
        Self::new(shares)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (fault, share)) in self.shares.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{fault}:{share}")?;
        }
        Ok(())
    }
}

spelt_in_serde!(Faults);

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Faults {
        text.parse().unwrap()
    }

    #[test]
    fn shares_come_out_as_asked_for() {
        let faults = faults("400:0.05,429:0.1,hang:0.02");
        let count = |wanted| {
            (0..20_000u64)
                .filter(|id| faults.of(7, id * 7919, 1) == Some(wanted))
                .count()
        };
        assert!((900..1100).contains(&count(Fault::Status(400))));
        assert!((1850..2150).contains(&count(Fault::Status(429))));
        assert!((330..470).contains(&count(Fault::Hang)));
    }

    #[test]
    fn a_refusal_stays_with_its_line_and_a_passing_fault_does_not() {
        let faults = faults("400:0.3,429:0.3");
        for id in 0..500 {
            let seen: Vec<_> = (1..=30).map(|nth| faults.of(7, id, nth)).collect();
            let refused = seen
                .iter()
                .filter(|f| **f == Some(Fault::Status(400)))
                .count();
            assert!(refused == 0 || refused == 30, "{seen:?}");
            assert!(refused == 30 || seen.contains(&None), "{seen:?}");
        }
    }

    #[test]
    fn spellings_read_back() {
        let text = "429:0.05,hang:0.001,503:0.5,quota:0.1,cut:0.01";
        assert_eq!(faults(text).to_string(), text);
        assert_eq!(faults(""), Faults::default());
        for text in [
            "429",
            "429:2",
            "42:0.1",
            "a:0.1",
            "429:0.6,500:0.6",
            "429:x",
            "429:NaN",
        ] {
            assert!(text.parse::<Faults>().is_err(), "{text}");
        }
    }
}
