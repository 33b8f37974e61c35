//! What an upstream says that it will still take, in headers of its answers: `x-ratelimit-remaining-*`
//! and `x-ratelimit-reset-*`, as OpenAI, Groq, Azure and gateways before them send them.
//!
//! Some mean a window that ends then, others a bucket that is full again then. What is left, spread over
//! the time until then, is right for both: a window lasts until its end, and a bucket comes to rest half
//! full.

use std::time::Duration;

/// What is left as of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Requests.
    pub requests: Option<Left>,
    /// Tokens, of prompts and answers together.
    pub tokens: Option<Left>,
}

/// So much of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// So many.
    pub count: u64,
    /// And anew after so long.
    pub resets_in: Duration,
}

/// What it means for a lane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Means {
    /// No more than so many requests a second, for so long.
    Pace(f64, Duration),
    /// None for so long.
    Pause(Duration),
}

/// Longer is not believed: a probe now and then costs nothing.
const LONGEST: Duration = Duration::from_secs(600);
/// Of what is left: it was so when the answer began, and requests came behind it.
const AT_LEAST: f64 = 0.5;

impl Allowance {
    /// It says nothing.
    pub fn is_empty(&self) -> bool {
        self.requests.is_none() && self.tokens.is_none()
    }

    /// Where a request takes so many tokens, and so many are under way that may not be counted yet. The
    /// stricter of both kinds.
    pub fn means(&self, tokens_each: f64, under_way: usize) -> Option<Means> {
        let requests = self.requests.map(|left| left.means(1.0, under_way));
        let tokens = self.tokens.filter(|_| tokens_each > 0.0);
        let tokens = tokens.map(|left| left.means(tokens_each, under_way));
        match (requests.flatten(), tokens.flatten()) {
            (Some(a), Some(b)) => Some(a.stricter(b)),
            (one, other) => one.or(other),
        }
    }
}

impl Left {
    fn means(self, each: f64, under_way: usize) -> Option<Means> {
        let long = self.resets_in.min(LONGEST);
        if long.is_zero() {
            return None;
        }
        let requests = self.count as f64 / each;
        if requests < 1.0 {
            return Some(Means::Pause(long));
        }
        let requests = (requests - under_way as f64).max(AT_LEAST);
        Some(Means::Pace(requests / long.as_secs_f64(), long))
    }
}

impl Means {
    fn stricter(self, other: Self) -> Self {
        match (self, other) {
            (Self::Pause(a), Self::Pause(b)) => Self::Pause(a.max(b)),
            (Self::Pause(_), _) => self,
            (_, Self::Pause(_)) => other,
            (Self::Pace(a, _), Self::Pace(b, _)) if a <= b => self,
            (Self::Pace(..), Self::Pace(..)) => other,
        }
    }
}

/// A time as these headers spell it: `1s`, `6m0s`, `17ms`, `1h2m3.5s`, or bare seconds.
pub fn parse_reset(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let mut sum = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, after) = rest.split_at(end);
        let unit_end = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let factor = match unit {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    (!text.is_empty())
        .then(|| Duration::try_from_secs_f64(sum).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn left(count: u64, resets_in: Duration) -> Option<Left> {
        Some(Left { count, resets_in })
    }

    #[test]
    fn times_are_read_as_they_are_spelled() {
        let table = [
            ("1s", 1_000),
            ("6m0s", 360_000),
            ("17ms", 17),
            ("1h2m3.5s", 3_723_500),
            ("2.5", 2_500),
            (" 30 ", 30_000),
            ("0s", 0),
        ];
        for (text, ms) in table {
            assert_eq!(parse_reset(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "soon", "s", "1", "-1s", "1x", "2026-11-30T00:00:00Z"] {
            let read = parse_reset(text);
            assert!(read.is_none() || text == "1", "{text}: {read:?}");
        }
    }

    #[test]
    fn what_is_left_is_spread_until_there_is_more() {
        let allowance = Allowance {
            requests: left(60, 10 * SECOND),
            tokens: left(3_000, 10 * SECOND),
        };
        let means = |each, under_way| allowance.means(each, under_way);
        assert_eq!(means(0.0, 0), Some(Means::Pace(6.0, 10 * SECOND)));
        assert_eq!(means(0.0, 20), Some(Means::Pace(4.0, 10 * SECOND)));
        assert_eq!(means(100.0, 0), Some(Means::Pace(3.0, 10 * SECOND)));
        assert_eq!(means(100.0, 99), Some(Means::Pace(0.05, 10 * SECOND)));
        // Not enough for one.
        assert_eq!(means(5_000.0, 0), Some(Means::Pause(10 * SECOND)));
    }

    #[test]
    fn what_says_no_time_says_nothing() {
        let allowance = Allowance {
            requests: left(0, Duration::ZERO),
            tokens: None,
        };
        assert_eq!(allowance.means(10.0, 1), None);
    }
}
